"use strict";
// Runs the engine of live pages in node: node live_engine.js FOLDER, with what live_engine.py wrote.
// Arrays go to result.bin, float32; result.json says where each is.

const fs = require("fs");
const path = require("path");

const folder = process.argv[2];
const read = (name) => fs.readFileSync(path.join(folder, name));
const buffer = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);

require(path.join(folder, "engine.js"));
const live = globalThis.esmkitLive;
const { manifest, requests, slices } = JSON.parse(read("request.json"));
const kernel = fs.existsSync(path.join(folder, "kernel.wasm")) ? buffer(read("kernel.wasm")) : null;

const chunks = [];
let size = 0;
function stored(value) {
  if (ArrayBuffer.isView(value)) {
    chunks.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    const at = size;
    size += value.length;
    return { at, length: value.length };
  }
  if (Array.isArray(value)) return value.map(stored);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, stored(one)]));
  }
  return value;
}

async function main() {
  const progress = [];
  const engine = live.createEngine({ manifest, weights: buffer(read("weights.bin")), kernel }, (p) => progress.push(p));
  const answers = [];
  for (const { sequence, options, steps } of requests) {
    try {
      const run = slices
        ? await engine.runInSlices(sequence, options, { slice: 0, pause: live.pausing(), stale: () => false })
        : engine.run(sequence, options);
      answers.push(stored({ ...run, steps: steps.map(([layer, token]) => engine.steps(run, layer, token)) }));
    } catch (error) {
      answers.push({ error: error.message });
    }
  }
  const facts = { kind: engine.kind, why: engine.why, heapBytes: engine.heapBytes, progress };
  fs.writeFileSync(path.join(folder, "result.bin"), Buffer.concat(chunks));
  fs.writeFileSync(path.join(folder, "result.json"), JSON.stringify({ ...facts, answers }));
}

main();

"use strict";
// The engine in a worker, and the page's side of it. Messages to a worker are {id, kind, ...}; from it
// come {id, result}, {id, error} and {id, progress}.

(function (live) {
  /** The text that a worker is made of: the script element that this file is in. */
  live.source = typeof document !== "undefined" && document.currentScript ? document.currentScript.textContent : "";

  /** Bytes of base64, in pieces so that no text of all of them is made at once. */
  live.bytesOf = function (text) {
    const PIECE = 4 * 65536;
    const trimmed = text.trim();
    const padding = trimmed.endsWith("==") ? 2 : trimmed.endsWith("=") ? 1 : 0;
    const bytes = new Uint8Array((trimmed.length / 4) * 3 - padding);
    for (let from = 0, at = 0; from < trimmed.length; from += PIECE) {
      const piece = atob(trimmed.slice(from, from + PIECE));
      for (let i = 0; i < piece.length; i++) bytes[at++] = piece.charCodeAt(i);
    }
    return bytes.buffer;
  };

  const buffer = (given) => (typeof given === "string" ? live.bytesOf(given) : given);

  /** A promise that is kept as soon as others have had their turn. */
  live.pausing = function () {
    if (typeof setImmediate === "function") return () => new Promise((done) => setImmediate(done)); // node
    const { port1, port2 } = new MessageChannel();
    const waiting = [];
    port1.onmessage = () => waiting.shift()();
    return () => new Promise((done) => {
      waiting.push(done);
      port2.postMessage(0);
    });
  };

  /** What answers messages: `post(message, transfers)` sends. Only the newest run of a lane is computed. */
  live.answering = function (post) {
    const pause = live.pausing();
    let engine = null;
    const newest = new Map(); // id of the newest run of each lane
    let busy = Promise.resolve(); // until the runs before are done: one at a time, for the heap is one

    const kinds = {
      start({ manifest, weights, kernel }, report) {
        engine = live.createEngine({ manifest, weights: buffer(weights), kernel: kernel && buffer(kernel) }, report);
        return { kind: engine.kind, why: engine.why, heapBytes: engine.heapBytes };
      },
      async run({ id, sequence, options }, report) {
        const lane = options.lane || "";
        newest.set(lane, id);
        const stale = () => newest.get(lane) !== id;
        const before = busy;
        let free;
        busy = new Promise((done) => (free = done));
        try {
          await before;
          await pause(); // newer ones that have come already
          const run = stale() ? null : await engine.runInSlices(sequence, options, { pause, stale, report });
          return run && { ...run, heapBytes: engine.heapBytes };
        } finally {
          free();
        }
      },
      steps: ({ part }) => engine.stepsOfPart(part),
    };

    return async function (message) {
      const { id, kind } = message;
      try {
        const result = await kinds[kind](message, (progress) => post({ id, progress }));
        post({ id, result }, transfers(result));
      } catch (error) {
        post({ id, error: error.message });
      }
    };
  };

  function transfers(result) {
    const arrays = Object.values(result || {}).flat().filter((value) => ArrayBuffer.isView(value));
    return [...new Set(arrays.map((array) => array.buffer))];
  }

  /** Answer the messages of a worker's own scope. */
  live.serve = function (scope) {
    const answer = live.answering((message, moved) => scope.postMessage(message, moved));
    scope.onmessage = ({ data }) => answer(data);
  };

  /** A worker of the engine's own text, or null where workers are refused. */
  function startWorker(source) {
    if (!source || typeof Worker === "undefined") return null;
    const url = URL.createObjectURL(
      new Blob([source, "\nglobalThis.esmkitLive.serve(self);\n"], { type: "text/javascript" }));
    try {
      return new Worker(url);
    } catch {
      return null;
    } finally {
      setTimeout(() => URL.revokeObjectURL(url), 60000);
    }
  }

  /**
   * Start the engine in a worker, or in this page where workers are refused.
   *
   * `weights` and `kernel` are ArrayBuffers or base64. Resolves to a client: `run(sequence, options)`
   * is a promise of a run, or of null where a newer one was asked for before it was done. Runs of
   * different lanes (`options.lane`, any text) wait for each other, and replace only those of their
   * own. `steps(run, layer, token)` is a promise of the steps of one token.
   */
  live.connect = async function ({ manifest, weights, kernel = null, source = live.source, worker = true, progress = () => {} }) {
    const waiting = new Map();
    let count = 0;
    let send = null;
    const found = worker ? startWorker(source) : null;

    function received({ id, result, error, progress: share }) {
      const one = waiting.get(id);
      if (!one) return;
      if (share !== undefined) return one.report(share);
      waiting.delete(id);
      if (error === undefined) one.resolve(result);
      else one.reject(new Error(error));
    }

    function ask(message, report = () => {}) {
      const id = ++count;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject, report });
        send({ ...message, id });
      });
    }

    function inPage() {
      const answer = live.answering((message) => received(message));
      send = (message) => void answer(message);
    }

    const start = () => ask({ kind: "start", manifest, weights, kernel }, progress);
    let place = "page";
    let facts;
    if (found) {
      place = "worker";
      send = (message) => found.postMessage(message);
      found.onmessage = ({ data }) => received(data);
      const refused = new Promise((resolve) => (found.onerror = (event) => {
        event.preventDefault?.();
        resolve(null);
      }));
      facts = await Promise.race([start(), refused]);
    }
    if (!facts) {
      place = "page";
      inPage();
      facts = await start();
    }
    return {
      ...facts, manifest, place,
      run: (sequence, options = {}, report) => ask({ kind: "run", sequence, options }, report),
      steps: (run, layer, token) => ask({ kind: "steps", part: live.partOf(run, layer, token, manifest.width) }),
      close: () => place === "worker" && found.terminate(),
    };
  };
})(globalThis.esmkitLive);

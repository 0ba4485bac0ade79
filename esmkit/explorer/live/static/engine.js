"use strict";
// The forward pass of ESM-2, as esmkit's reference writes it: embedding, layers, final norm; contacts
// from the maps; logits of the masked-LM head. No DOM: it runs in a page, in a worker and in node.
//
// T tokens with BOS and EOS, R = T - 2 residues, N layers, H heads, D width, K = D / H, F hidden.

(function (live) {
  const HEAD = /^L(\d+)H(\d+)$/i;

  /** An engine for one model. `weights` and `kernel` are ArrayBuffers; without a kernel it is slower. */
  live.createEngine = function ({ manifest, weights, kernel = null }, progress = () => {}) {
    const heap = live.createHeap(kernel);
    const model = live.unpackModel(heap, manifest, weights, progress);
    const base = heap.mark();
    const { layers, heads, width } = manifest;
    const size = width / heads;
    const idOf = new Map(manifest.tokens.map((token, id) => [token, id]));
    const compute = live.computing(heap, manifest, model);
    let passes = 0; // the heap has room for one run: a newer one takes the place of one that rests

    /** Token ids of residues, BOS and EOS around them, or an error that says which is wrong. */
    function encode(sequence, masked) {
      if (!sequence) throw new Error("the sequence is empty; give at least one residue");
      if (sequence.length > manifest.mostResidues) {
        throw new Error(
          `${sequence.length} residues are too many for this page: at most ${manifest.mostResidues}`);
      }
      const ids = new Uint8Array(sequence.length + 2);
      ids[0] = idOf.get("<cls>");
      ids[ids.length - 1] = idOf.get("<eos>");
      for (let i = 0; i < sequence.length; i++) {
        const id = /[A-Z]/.test(sequence[i]) ? idOf.get(sequence[i]) : undefined;
        if (id === undefined) {
          throw new Error(
            `residue ${i + 1}: ${JSON.stringify(sequence[i])} has no token in ESM-2; ` +
            "use one of the 20 amino acids or X");
        }
        ids[i + 1] = id;
      }
      for (const i of masked) {
        if (!Number.isInteger(i) || i < 0 || i >= sequence.length) {
          throw new Error(`cannot mask residue index ${i}: there are 0 to ${sequence.length - 1}`);
        }
        ids[i + 1] = idOf.get("<mask>");
      }
      return ids;
    }

    /** Heads by name as [Set of head] over layers. */
    function headsOf(names) {
      const found = Array.from({ length: layers }, () => new Set());
      for (const name of names) {
        const [, layer, head] = HEAD.exec(name) || [];
        if (!(layer < layers && head < heads)) {
          throw new Error(`there is no head ${JSON.stringify(name)}: L0H0 to L${layers - 1}H${heads - 1}`);
        }
        found[layer].add(Number(head));
      }
      return found;
    }

    /** Token embeddings, (T, D), with token dropout: a masked token is 0, the rest is scaled. */
    function embed(ids) {
      const mask = idOf.get("<mask>");
      const masked = ids.filter((id) => id === mask).length;
      const scale = manifest.keptInTraining / (1 - masked / ids.length);
      const x = new Float32Array(ids.length * width);
      ids.forEach((id, t) => {
        if (id === mask) return;
        for (let i = 0; i < width; i++) x[t * width + i] = model.embedding[id * width + i] * scale;
      });
      return x;
    }

    /** The pass in pieces of some milliseconds: yields the share that is done, returns the run. */
    function* pass(sequence, { off = [], offMap = [], mask = [] } = {}) {
      const started = live.now();
      const ids = encode(sequence, mask);
      const without = headsOf(off);
      const withoutMap = headsOf(offMap);
      passes += 1;
      heap.release(base);
      const place = compute.room(ids.length);
      const run = {
        sequence, tokens: ids.length, off: [...off], offMap: [...offMap], mask: [...mask],
        query: [], key: [], value: [], contribution: [], lengths: [], hidden: [],
        contacts: null, logits: null, seconds: 0,
      };
      const x = embed(ids);
      run.hidden.push(x);
      heap.view(place.x, x.length).set(x);
      for (let n = 0; n < layers; n++) {
        for (const done of compute.layer(n, place, run, without[n], withoutMap[n])) {
          yield (n + done) / (layers + 0.5);
        }
        if (n < layers - 1) run.hidden.push(heap.copy(place.x, x.length));
      }
      run.hidden.push(compute.final(place));
      if (model.head) run.logits = yield* mapped(compute.logits(place), layers);
      if (manifest.contact) run.contacts = yield* mapped(compute.contacts(place), layers + 0.2);
      run.seconds = (live.now() - started) / 1000;
      return run;
    }

    function* mapped(parts, from) {
      for (;;) {
        const { done, value } = parts.next();
        if (done) return value;
        yield (from + 0.2 * value) / (layers + 0.5);
      }
    }

    /** Run at once. */
    function run(sequence, options) {
      const parts = pass(sequence, options);
      for (;;) {
        const { done, value } = parts.next();
        if (done) return value;
      }
    }

    /**
     * Run in slices, and let others work in between: `pause()` is a promise, `stale()` says that the
     * result is not wanted any more. Resolves to the run, or to null where it was given up.
     */
    async function runInSlices(sequence, options, { slice = 25, pause, stale, report = () => {} }) {
      const parts = pass(sequence, options);
      let since = live.now();
      const mine = passes + 1; // the pass begins with its first part
      for (;;) {
        const { done, value } = parts.next();
        if (done) return value;
        if (live.now() - since < slice) continue;
        report(value);
        await pause();
        if (stale() || passes !== mine) return null;
        since = live.now();
      }
    }

    /** Every step of one token of one layer of a run, by the names of the reference's trace. */
    function steps(run, layer, token) {
      if (!(layer >= 0 && layer < layers)) throw new Error(`there is no layer ${layer}: 0 to ${layers - 1}`);
      if (!(token >= 0 && token < run.tokens)) throw new Error(`there is no token ${token}: 0 to ${run.tokens - 1}`);
      return live.stepsOf(live.partOf(run, layer, token, width), heap, manifest, model);
    }

    return {
      kind: heap.kind, why: heap.why, manifest, run, runInSlices, steps,
      stepsOfPart: (part) => live.stepsOf(part, heap, manifest, model),
      get heapBytes() { return heap.bytes; },
      headWidth: size,
    };
  };

  live.now = () => (typeof performance === "undefined" ? Date.now() : performance.now());
})(globalThis.esmkitLive);

"use strict";
// What the views of the explorer share: the sequence, the maps made from its numbers, the state.

(function (app) {
  app.heads = new Map(app.data.heads.map((head) => [head.name, head]));
  app.gridOf = {
    heads: app.data.heads, side: 0, pictures: "thumbnails", section: "map-section",
    words: app.data.labels ? `Colours and words are from ${app.data.labels.source}.` : "",
  };

  const floats = (name) => new Float32Array(app.bytes(name));

  /** Where numbers are read from: here from the page itself, where they lie packed. */
  app.stored = {
    vectors(name) {
      const head = app.heads.get(name);
      const codes = new Int16Array(app.bytes("head-" + name));
      const size = codes.length / 3;
      const part = (n) => Float32Array.from(codes.subarray(n * size, (n + 1) * size), (c) => c * head.scales[n]);
      return { query: part(0), key: part(1), value: part(2) };
    },
    contribution: (name) => floats(`contribution-${name}`),
    lengths: (layer) => floats(`lengths-${layer}`),
    /** The vectors before and added by a layer at one token, and W^O with its scale; null if left out. */
    residual(layer, token) {
      const output = app.bytes(`output-${layer}`);
      if (!output) return null;
      const width = app.data.model.width;
      const vector = (name) => {
        const buffer = app.bytes(`${name}-${layer}`);
        const scale = new Float32Array(buffer, app.tokens * width)[token];
        return Float32Array.from(new Int8Array(buffer, token * width, width), (code) => code * scale);
      };
      return { before: vector("before"), added: vector("added"), output: new Int16Array(output), scale: app.data.layers[layer].outputScale };
    },
    /** Scores of the contact head by number of the pair, row by row above the diagonal; NaN: not known. */
    contacts() {
      if (!app.data.contacts) return null;
      const codes = new Uint16Array(app.bytes("probabilities"));
      return (pair) => (codes[pair] === 65535 ? NaN : codes[pair] / 65534);
    },
    scores: () => app.data.contacts && app.data.contacts.scores,
    pictures: () => app.bytes("thumbnails") && new Uint8Array(app.bytes("thumbnails")),
  };

  let scoresOfContacts = null;

  /** Take over a sequence: its windows, where its numbers are read from, and for each residue which one
   *  of the structure it is (-1: none; null: all, in order; false: the structure is not of it). */
  app.load = function ({ sequence, pieces, store, places = null }) {
    app.sequence = sequence;
    app.residues = sequence.length;
    app.store = store;
    app.places = places || null;
    app.structure = places === false ? null : app.data.structure;
    app.gridOf.side = Math.min(app.residues, 64);
    // Windows of a long protein lie one after the other, each with BOS and EOS around its residues.
    let first = 0;
    app.windows = pieces.map(([start, stop]) => {
      const piece = { start, stop, first, tokens: stop - start + 2 };
      first += piece.tokens;
      return piece;
    });
    app.tokens = first;
    scoresOfContacts = store.contacts();
    for (const kept of [app.vectors, app.mapOf, app.corrected]) kept.forget();
  };

  /** Queries, keys and values of a head: Float32Array, tokens x head width each. */
  app.vectors = app.remember((name) => app.store.vectors(name), 4);

  /** Scores of one query token against all tokens of its window, before the softmax. */
  app.scoresOf = function (vectors, window, token) {
    const width = app.data.model.headWidth;
    const scores = new Float64Array(window.tokens);
    const q = (window.first + token) * width;
    for (let s = 0; s < window.tokens; s++) {
      const k = (window.first + s) * width;
      let sum = 0;
      for (let d = 0; d < width; d++) sum += vectors.query[q + d] * vectors.key[k + d];
      scores[s] = sum;
    }
    return scores;
  };

  /** Turn scores into weights that sum to 1. */
  app.softmax = function (scores) {
    let top = -Infinity;
    for (const s of scores) if (s > top) top = s;
    let total = 0;
    const weights = new Float64Array(scores.length);
    for (let i = 0; i < scores.length; i++) total += weights[i] = Math.exp(scores[i] - top);
    for (let i = 0; i < scores.length; i++) weights[i] /= total;
    return weights;
  };

  /** The map of a head from its vectors: weights R x R by [query, key], and what goes to BOS and EOS. */
  app.mapFrom = function (vectors) {
    const size = app.residues;
    const weights = new Float32Array(size * size);
    const bos = new Float32Array(size);
    const eos = new Float32Array(size);
    const rows = new Float32Array(size);
    const several = app.windows.length > 1;
    const seen = several ? new Uint8Array(size * size) : null;
    for (const window of app.windows) {
      for (let token = 1; token < window.tokens - 1; token++) {
        const row = app.softmax(app.scoresOf(vectors, window, token));
        const query = window.start + token - 1;
        const at = query * size + window.start - 1;
        bos[query] += row[0];
        eos[query] += row[window.tokens - 1];
        rows[query] += 1;
        for (let s = 1; s < window.tokens - 1; s++) {
          weights[at + s] += row[s];
          if (several) seen[at + s] += 1;
        }
      }
    }
    if (several) {
      for (let i = 0; i < weights.length; i++) weights[i] = seen[i] ? weights[i] / seen[i] : NaN;
      for (let i = 0; i < size; i++) {
        bos[i] /= rows[i];
        eos[i] /= rows[i];
      }
    }
    return { weights, bos, eos };
  };

  app.mapOf = app.remember((name) => app.mapFrom(app.vectors(name)), 2);

  /** Symmetrise a map and take off its average product, as contact heads do. */
  app.correctedFrom = function (weights) {
    const size = app.residues;
    const values = new Float32Array(size * size);
    const sums = new Float64Array(size);
    let total = 0;
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        const both = weights[i * size + j] + weights[j * size + i];
        values[i * size + j] = both;
        if (both === both) sums[i] += both;
      }
      total += sums[i];
    }
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) values[i * size + j] -= (sums[i] * sums[j]) / (total || 1);
    }
    return values;
  };

  app.corrected = app.remember((name) => app.correctedFrom(app.mapOf(name).weights), 1);

  /** The values that are shown: weights, or the corrected map. */
  app.shown = () => (app.state.apc ? app.corrected(app.state.head) : app.mapOf(app.state.head).weights);

  // -------------------------------------------------------------------------- what is known

  const coordinates = app.data.structure ? floats("coordinates") : null;

  /** Which residue of the structure's sequence a residue is; -1: none. */
  app.placeOf = (i) => (!app.structure ? -1 : app.places ? app.places[i] : i);

  /** Distance of two residues in Å, between Cβ (glycine: Cα); NaN where it is not known. */
  app.distance = function (i, j) {
    const [a, b] = [app.placeOf(i), app.placeOf(j)];
    if (a < 0 || b < 0) return NaN;
    const x = coordinates[3 * a] - coordinates[3 * b];
    const y = coordinates[3 * a + 1] - coordinates[3 * b + 1];
    const z = coordinates[3 * a + 2] - coordinates[3 * b + 2];
    return Math.fround(Math.sqrt(x * x + y * y + z * z));
  };

  app.CONTACT = 8;
  app.isContact = (i, j) => i !== j && app.distance(i, j) < app.CONTACT;

  /** Score of the contact head, 0 to 1; NaN where there is none. */
  app.probability = function (i, j) {
    if (!scoresOfContacts || i === j) return NaN;
    const [a, b] = i < j ? [i, j] : [j, i];
    return scoresOfContacts(a * app.residues - (a * (a + 1)) / 2 + (b - a - 1));
  };

  const SECONDARY = {
    H: "α-helix", G: "3-10 helix", I: "π-helix", E: "β-strand", B: "β-bridge", T: "turn",
    S: "bend", "-": "coil", P: "PPII helix", ".": "not known",
  };

  app.secondary = (i) => app.structure?.secondary[app.placeOf(i)] ?? ".";
  app.secondaryName = (i) => SECONDARY[app.secondary(i)] || "not known";

  /** Helices and strands: first and last residue from 0, and which of the two. */
  app.elements = function () {
    const kinds = { H: "helix", G: "helix", I: "helix", E: "strand", B: "strand" };
    const found = [];
    for (let i = 0; i < app.residues; i++) {
      const kind = kinds[app.secondary(i)];
      const before = found[found.length - 1];
      if (kind && before && before.kind === kind && before.last === i - 1) before.last = i;
      else if (kind) found.push({ first: i, last: i, kind });
    }
    return found;
  };

  /** Name of a residue: letter and number from 1. */
  app.residue = (i) => app.sequence[i] + (i + 1);

  /** The same with its number in the structure where that is another, and secondary structure. */
  app.describe = function (i) {
    let text = app.residue(i);
    if (!app.structure) return text;
    const theirs = app.structure.numbers[app.placeOf(i)];
    if (theirs && theirs !== String(i + 1)) text += ` (${theirs} in the structure)`;
    return `${text}, ${app.secondaryName(i)}`;
  };

  /** Where an axis over residues has ticks, some ten at round numbers, and at both ends. */
  app.ticks = function (start, end) {
    const low = Math.max(1, Math.ceil(Math.min(start, end)));
    const high = Math.min(app.residues, Math.floor(Math.max(start, end)));
    const least = Math.max(1, (high - low) / 10);
    const power = 10 ** Math.floor(Math.log10(least));
    const step = power * [1, 2, 5, 10].find((times) => times * power >= least);
    const found = [];
    for (let tick = step * Math.ceil(low / step); tick <= high; tick += step) found.push(tick);
    // The ends, where their labels have room beside the next one
    if (low === 1 && step > 1) found.splice(0, found[0] - 1 <= step / 2 ? 1 : 0, 1);
    const room = step * (high > 999 ? 0.9 : high > 99 ? 0.7 : 0.5);
    if (high === app.residues && high - (found.at(-1) ?? 0) > room) found.push(high);
    return found;
  };

  app.tick = (tick) => {
    const number = Math.round(tick);
    if (Math.abs(tick - number) > 1e-6 || number < 1 || number > app.residues) return "";
    return app.residue(number - 1);
  };

  /** The same for tokens: BOS is 0, EOS follows the last residue. */
  app.tokenTick = (tick) => (tick === 0 ? "BOS" : tick === app.residues + 1 ? "EOS" : app.tick(tick));

  /** Ticks over tokens: BOS and EOS stand for the residues beside them where numbers are sparse. */
  app.tokenTicks = function (start, end) {
    const found = app.ticks(start, end);
    const sparse = found.length > 2 && found[2] - found[1] > 1;
    if (Math.min(start, end) <= 0) {
      if (sparse && found[0] === 1) found.shift();
      found.unshift(0);
    }
    if (Math.max(start, end) >= app.residues + 1) {
      if (sparse && found.at(-1) === app.residues) found.pop();
      found.push(app.residues + 1);
    }
    return found;
  };

  // ----------------------------------------------------------------------------------- state

  app.state = {
    run: 0, // goes up whenever another sequence, or another run of it, is on show
    head: app.data.heads[0].name, // the head that is open
    query: null, key: null, // the picked pair, from 0
    threshold: 0, apc: false, truth: true, scale: "linear",
    brush: null, // {q0, q1, k0, k1, either}: residues from 0, both ends included
    top: 50, separation: 6, farthest: null, // separations of links: the least, and the largest if any
    sort: { column: "weight", down: true },
  };

  /** Tell whether a pair is in the brushed region. */
  app.inBrush = function (query, key) {
    const b = app.state.brush;
    if (!b) return true;
    const q = query >= b.q0 && query <= b.q1;
    const k = key >= b.k0 && key <= b.k1;
    return b.either ? q || k : q && k;
  };

  if (app.data.sequence && !app.data.live)
    app.load({ sequence: app.data.sequence, pieces: app.data.pieces, store: app.stored });

  // Events of Bokeh figures, by figure and event
  const handlers = {};
  app.on = (figure, event, handler) => (handlers[`${figure}/${event}`] = handler);
  app.fromBokeh = function (figure, event) {
    const handler = handlers[`${figure}/${event.event_name}`];
    if (handler) handler(event);
  };

})(esmkitExplorer);

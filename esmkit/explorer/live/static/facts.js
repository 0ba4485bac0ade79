"use strict";
// What explorer/facts.py says about the maps of heads, made in the page: maps of a run, facts,
// thumbnails, precision; and how much a map has changed.

(function (app) {
  const FAR = 6; // least separation that counts, as in attention/choosing.py
  const FAR_ENOUGH = 30;
  const THUMBNAIL = 64;
  const RANGES = { short: [6, 11], medium: [12, 23], long: [24, Infinity] };
  const CUTS = { "P@L": 1, "P@L/2": 2, "P@L/5": 5 };

  /** Queries, keys and values of a head of a run: tokens x head width each. */
  app.vectorsOf = function (run, head) {
    const size = run.query[head.layer].length / app.data.model.heads;
    const part = (all) => all[head.layer].subarray(head.head * size, (head.head + 1) * size);
    return { query: part(run.query), key: part(run.key), value: part(run.value) };
  };

  /** The map of a head of any run: weights R x R by [query, key], and what goes to BOS and EOS. */
  app.mapOfRun = function (run, head) {
    const { query, key } = app.vectorsOf(run, head);
    const width = app.data.model.headWidth;
    const tokens = run.tokens;
    const size = tokens - 2;
    const weights = new Float32Array(size * size);
    const [bos, eos] = [new Float32Array(size), new Float32Array(size)];
    const row = new Float64Array(tokens);
    for (let i = 0; i < size; i++) {
      const q = (i + 1) * width;
      let top = -Infinity;
      for (let s = 0; s < tokens; s++) {
        let sum = 0;
        for (let d = 0, k = s * width; d < width; d++) sum += query[q + d] * key[k + d];
        row[s] = sum;
        if (sum > top) top = sum;
      }
      let total = 0;
      for (let s = 0; s < tokens; s++) total += row[s] = Math.exp(row[s] - top);
      bos[i] = row[0] / total;
      eos[i] = row[tokens - 1] / total;
      for (let j = 0; j < size; j++) weights[i * size + j] = row[j + 1] / total;
    }
    return { weights, bos, eos };
  };

  /** The value at a place of the order from the largest on, the rest on either side of it. */
  app.nthLargest = function (values, place) {
    let [low, high] = [0, values.length - 1];
    while (low < high) {
      const pivot = values[(low + high) >> 1];
      let [i, j] = [low, high];
      while (i <= j) {
        while (values[i] > pivot) i++;
        while (values[j] < pivot) j--;
        if (i <= j) {
          const value = values[i];
          values[i++] = values[j];
          values[j--] = value;
        }
      }
      if (place <= j) high = j;
      else if (place >= i) low = i;
      else break;
    }
    return values[place];
  };

  /** How strongly residues far apart look at each other: `reach` of attention/choosing.py. */
  function reach(weights, size, distance) {
    if (size <= FAR) return 0;
    const mutual = new Float32Array(((size - FAR) * (size - FAR + 1)) / 2);
    let count = 0;
    for (let i = 0; i < size; i++)
      for (let j = i + FAR; j < size; j++) mutual[count++] = Math.min(weights[i * size + j], weights[j * size + i]);
    if (count > size) app.nthLargest(mutual, size - 1);
    let sum = 0;
    for (let n = 0; n < Math.min(count, size); n++) sum += mutual[n];
    return (sum / size) * Math.min(distance, FAR_ENOUGH);
  }

  const mean = (values) => values.reduce((a, b) => a + b, 0) / (values.length || 1);

  /** Facts about a head from its map, and with a structure how it does on contacts. */
  app.factsOf = function ({ weights, bos, eos }) {
    const size = bos.length;
    let [total, apart, spread, largest] = [0, 0, 0, 0];
    for (let i = 0; i < size; i++) {
      let mass = 0;
      for (let j = 0; j < size; j++) {
        const weight = weights[i * size + j];
        mass += weight;
        apart += weight * Math.abs(i - j);
        if (weight > largest) largest = weight;
      }
      total += mass;
      for (let j = 0; j < size; j++) {
        const share = weights[i * size + j] / (mass || 1);
        if (share > 0) spread -= share * Math.log(share);
      }
    }
    const entropy = size > 1 ? spread / size / Math.log(size) : 0;
    const distance = total > 0 ? apart / total : 0;
    const known = {
      bos: mean(bos), eos: mean(eos), focus: (total / size) * (1 - entropy), distance,
      reach: total > 0 ? reach(weights, size, distance) : 0, largest,
    };
    const unknown = { on_contacts: null, background: null, precision: null, precision_half: null };
    return { ...known, ...(app.structure ? against(weights, size) : unknown) };
  };

  /** Which residues have a place in the structure. */
  app.resolved = () => Array.from({ length: app.residues }, (_, i) => !Number.isNaN(app.distance(i, i)));

  function against(weights, size) {
    const resolved = app.resolved();
    const sums = new Float64Array(size);
    let [total, right, pairs, true_pairs, all] = [0, 0, 0, 0, 0];
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) {
        const weight = weights[i * size + j];
        sums[i] += weight + weights[j * size + i];
        all += 2 * weight;
        if (!resolved[i] || !resolved[j] || Math.abs(i - j) < 6) continue;
        const contact = app.isContact(i, j);
        pairs++;
        total += weight;
        if (contact) {
          true_pairs++;
          right += weight;
        }
      }
    const corrected = (i, j) => weights[i * size + j] + weights[j * size + i] - (sums[i] * sums[j]) / (all || 1);
    const length = app.structure.resolved;
    const best = ranked(corrected, size, resolved, RANGES.long, length);
    const precision = (count) => (count && best.length ? hits(best, count) / count : null);
    return {
      on_contacts: total > 0 ? right / total : null, background: pairs ? true_pairs / pairs : null,
      precision: precision(length), precision_half: precision(Math.floor(length / 2)),
    };
  }

  const hits = (pairs, count) => pairs.slice(0, count).filter(({ i, j }) => app.isContact(i, j)).length;

  /** The first pairs of a range by value; ties in the order of i, then j. */
  function ranked(value, size, resolved, [least, most], count) {
    let found = [];
    let edge = -Infinity;
    const cut = () => {
      found.sort((a, b) => b.value - a.value || a.i - b.i || a.j - b.j);
      found.length = Math.min(found.length, count);
      if (found.length === count) edge = found[count - 1].value;
    };
    for (let i = 0; i < size; i++) {
      if (!resolved[i]) continue;
      for (let j = i + least; j < Math.min(size, i + most + 1); j++) {
        if (!resolved[j]) continue;
        const one = value(i, j);
        if (!(one > edge) || Number.isNaN(one)) continue;
        found.push({ i, j, value: one });
        if (found.length > 4 * count + 64) cut();
      }
    }
    cut();
    return found;
  }

  /** How good the predicted contacts of the run on show are: rows as `score_map` has them. */
  app.scoresOfRun = function (probability) {
    const [size, resolved] = [app.residues, app.resolved()];
    const length = app.structure.resolved;
    return Object.entries(RANGES).map(([range, [least, most]]) => {
      let [pairs, contacts] = [0, 0];
      for (let i = 0; i < size; i++)
        for (let j = i + least; j < Math.min(size, i + most + 1); j++)
          if (resolved[i] && resolved[j]) {
            pairs++;
            if (app.isContact(i, j)) contacts++;
          }
      const best = ranked(probability, size, resolved, [least, most], length);
      const row = { range, pairs, contacts, background: pairs ? contacts / pairs : null };
      for (const [cut, divisor] of Object.entries(CUTS)) {
        const count = Math.floor(length / divisor);
        const enough = count > 0 && pairs > 0;
        row[cut] = enough ? hits(best, count) / count : null;
        row[`ceiling ${cut}`] = enough ? Math.min(1, contacts / count) : null;
      }
      return row;
    });
  };

  /** A map shrunk by the maximum of each block, to 8 bits: `thumbnail` of explorer/facts.py. */
  app.thumbnailOf = function (weights, size) {
    const side = Math.min(size, THUMBNAIL);
    const edges = Array.from({ length: side + 1 }, (_, n) => Math.floor((n * size) / side));
    const rank = Math.max(1, Math.floor(size / 2));
    const cut = app.nthLargest(weights.slice(), rank - 1) || 1;
    const picture = new Uint8Array(side * side);
    for (let row = 0; row < side; row++)
      for (let column = 0; column < side; column++) {
        let top = 0;
        for (let i = edges[row]; i < edges[row + 1]; i++)
          for (let j = edges[column]; j < edges[column + 1]; j++) top = Math.max(top, weights[i * size + j]);
        picture[row * side + column] = Math.round(255 * Math.min(1, top / cut));
      }
    return picture;
  };

  /** The share of its weight that a head has moved elsewhere, 0 to 1: half the sum of absolute
   *  changes of a query's row, mean over the queries of both maps; BOS and EOS included. */
  app.movedWeight = function (before, after, places) {
    const [was, size] = [before.bos.length, after.bos.length];
    let [sum, rows] = [0, 0];
    for (let i = 0; i < size; i++) {
      const a = places[i];
      if (a < 0) continue;
      let row = Math.abs(after.bos[i] - before.bos[a]) + Math.abs(after.eos[i] - before.eos[a]);
      let [lost, gained] = [1 - before.bos[a] - before.eos[a], 0]; // on residues that the other has not
      for (let j = 0; j < size; j++) {
        const weight = after.weights[i * size + j];
        if (places[j] < 0) {
          gained += weight;
          continue;
        }
        const old = before.weights[a * was + places[j]];
        lost -= old;
        row += Math.abs(weight - old);
      }
      sum += (row + Math.max(0, lost) + gained) / 2;
      rows++;
    }
    return rows ? sum / rows : null;
  };
})(esmkitExplorer);

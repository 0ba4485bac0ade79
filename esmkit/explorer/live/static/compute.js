"use strict";
// One layer, the final norm, the contacts and the logits of a run, on the heap.

(function (live) {
  const LINEAR_WORK = { wasm: 2e8, javascript: 1e7 }; // products in one piece: some 20 ms

  live.computing = function (heap, manifest, model) {
    const { layers, heads, width, hidden, epsilon } = manifest;
    const size = width / heads;
    const kernel = heap.kernel;

    /** Room on the heap for a run of T tokens, and its tables of rotary positions. */
    function room(tokens) {
      const residues = tokens - 2;
      const padded = (tokens + 7) & ~7;
      const place = { tokens, residues, padded };
      for (const name of ["x", "normed", "projected", "query", "key", "value", "mixed"]) {
        place[name] = heap.take(tokens * width);
      }
      place.wide = heap.take(tokens * hidden);
      place.scratch = heap.take(padded * size + ((size + 7) & ~7) * tokens + 8 * padded);
      place.cos = heap.take((tokens * size) / 2);
      place.sin = heap.take((tokens * size) / 2);
      place.map = heap.take(manifest.contact ? residues * residues : 0);
      place.sums = heap.take(manifest.contact ? layers * heads * residues : 0);
      place.read = new Float64Array(layers * heads); // weight of each map in the contacts
      const [cos, sin] = [heap.view(place.cos, (tokens * size) / 2), heap.view(place.sin, (tokens * size) / 2)];
      for (let t = 0, at = 0; t < tokens; t++) {
        for (const frequency of manifest.frequencies) {
          cos[at] = Math.cos(t * frequency);
          sin[at++] = Math.sin(t * frequency);
        }
      }
      heap.view(place.map, manifest.contact ? residues * residues : 0).fill(0);
      return place;
    }

    /** y = x W^T + b over T tokens, in pieces. */
    function* linear(x, p, y, tokens, add) {
      const piece = Math.max(4, Math.floor(LINEAR_WORK[heap.kind] / (p.rows * p.columns)) & ~3);
      for (let t = 0; t < tokens; t += piece) {
        const count = Math.min(piece, tokens - t);
        kernel.linear(
          x + 4 * t * p.columns, p.columns, count, p.columns, p.weight, p.bias, p.rows,
          y + 4 * t * p.rows, p.rows, add ? 1 : 0);
        yield;
      }
    }

    const norm = (x, p, y, tokens) => kernel.norm(x, tokens, width, p.gain, p.bias, epsilon, y);

    /** Length of each row of a (T, D) array. */
    function lengthsOf(pointer, tokens, to, at) {
      const values = heap.view(pointer, tokens * width);
      for (let t = 0; t < tokens; t++) {
        let sum = 0;
        for (let i = t * width; i < (t + 1) * width; i++) sum += values[i] * values[i];
        to[at + t] = Math.sqrt(sum);
      }
    }

    /** Run a layer on `place.x`; yields the share that is done, and adds to the arrays of the run. */
    function* layer(number, place, run, without, withoutMap) {
      const p = model.layers[number];
      const { tokens } = place;
      const count = tokens * width;
      const lengths = new Float32Array(3 * tokens);
      lengthsOf(place.x, tokens, lengths, 0);
      norm(place.x, p.attentionNorm, place.normed, tokens);
      for (const name of ["query", "key", "value"]) {
        for (const _ of linear(place.normed, p[name], place.projected, tokens)) yield 0.1;
        const [cos, sin] = name === "value" ? [0, 0] : [place.cos, place.sin];
        kernel.turn(place.projected, tokens, heads, size, cos, sin, name === "query" ? size ** -0.5 : 1, place[name]);
        run[name].push(heap.copy(place[name], count));
      }
      for (let h = 0; h < heads; h++) {
        attendOne(number, h, place, withoutMap.has(h));
        if (without.has(h)) clear(place, h);
        yield 0.3;
      }
      run.contribution.push(contributions(p, place));
      for (const _ of linear(place.mixed, p.output, place.projected, tokens)) yield 0.4;
      lengthsOf(place.projected, tokens, lengths, tokens);
      addTo(place.x, place.projected, count);
      lengthsOf(place.x, tokens, lengths, 2 * tokens);
      run.lengths.push(lengths);
      norm(place.x, p.feedForwardNorm, place.normed, tokens);
      for (const _ of linear(place.normed, p.expand, place.wide, tokens)) yield 0.6;
      kernel.gelu(place.wide, tokens * hidden);
      for (const _ of linear(place.wide, p.contract, place.x, tokens, true)) yield 0.9;
    }

    function attendOne(number, head, place, mapless) {
      const { tokens, residues } = place;
      const at = 4 * head * tokens * size;
      const index = number * heads + head;
      const weight = manifest.contact && !mapless ? manifest.contact.weight[index] : 0;
      place.read[index] = weight;
      kernel.attend(
        place.query + at, place.key + at, place.value + at, tokens, size, place.scratch,
        place.mixed + 4 * head * size, width, weight, place.map, place.sums + 4 * index * residues);
    }

    /** Take a head's output away, before W^O. */
    function clear(place, head) {
      const mixed = heap.view(place.mixed, place.tokens * width);
      for (let t = 0; t < place.tokens; t++) {
        mixed.fill(0, t * width + head * size, t * width + (head + 1) * size);
      }
    }

    /** Length of what each head adds to each token, (H, T): sqrt(m W^T W m) of its own output m. */
    function contributions(p, place) {
      const { tokens } = place;
      const mixed = heap.view(place.mixed, tokens * width);
      const found = new Float32Array(heads * tokens);
      for (let h = 0; h < heads; h++) {
        for (let t = 0; t < tokens; t++) {
          const m = t * width + h * size;
          let sum = 0;
          for (let a = 0; a < size; a++) {
            const row = (h * size + a) * size;
            let part = 0;
            for (let b = 0; b < a; b++) part += p.gram[row + b] * mixed[m + b];
            sum += (2 * part + p.gram[row + a] * mixed[m + a]) * mixed[m + a]; // it is symmetric
          }
          found[h * tokens + t] = Math.sqrt(Math.max(0, sum));
        }
      }
      return found;
    }

    function addTo(x, y, count) {
      const [a, b] = [heap.view(x, count), heap.view(y, count)];
      for (let i = 0; i < count; i++) a[i] += b[i];
    }

    /** The last hidden states, (T, D); they stay in `place.normed`. */
    function final(place) {
      norm(place.x, model.finalNorm, place.normed, place.tokens);
      return heap.copy(place.normed, place.tokens * width);
    }

    /** Logits of the masked-LM head, (T, V), from `place.normed`. */
    function* logits(place) {
      const { tokens } = place;
      const { dense, norm: after, decoder } = model.head;
      for (const _ of linear(place.normed, dense, place.projected, tokens)) yield 0.5;
      kernel.gelu(place.projected, tokens * width);
      norm(place.projected, after, place.mixed, tokens);
      const rows = heap.take(tokens * decoder.rows);
      for (const _ of linear(place.mixed, decoder, rows, tokens)) yield 1;
      return heap.copy(rows, tokens * decoder.rows);
    }

    /**
     * Probabilities of contacts, upper triangle row by row. The weighted sum of maps is in
     * `place.map`; what rows and columns of each explain on average is taken off here.
     */
    function* contacts(place) {
      const { residues } = place;
      const count = layers * heads;
      const scaled = heap.take(residues * count); // (R, N H): weight times sum over total
      const panels = heap.take(((residues + 7) & ~7) * count);
      const expected = heap.take(residues * residues);
      const sums = heap.view(place.sums, count * residues);
      const left = heap.view(scaled, residues * count);
      for (let n = 0; n < count; n++) {
        let total = 0;
        if (place.read[n]) for (let i = 0; i < residues; i++) total += sums[n * residues + i];
        else sums.fill(0, n * residues, (n + 1) * residues); // never written: this map is not read
        const factor = total ? place.read[n] / total : 0;
        for (let i = 0; i < residues; i++) left[i * count + n] = factor * sums[n * residues + i];
      }
      kernel.pack(place.sums, residues, count, 1, residues, panels);
      const p = { weight: panels, bias: 0, rows: residues, columns: count };
      for (const _ of linear(scaled, p, expected, residues)) yield 0.5;
      const [map, off] = [heap.view(place.map, residues ** 2), heap.view(expected, residues ** 2)];
      const found = new Float32Array((residues * (residues - 1)) / 2);
      const { bias } = manifest.contact;
      for (let i = 0, at = 0; i < residues; i++) {
        for (let j = i + 1; j < residues; j++) {
          const logit = bias + map[i * residues + j] + map[j * residues + i] - off[i * residues + j];
          found[at++] = 1 / (1 + Math.exp(-logit));
        }
      }
      return found;
    }

    return { room, layer, final, logits, contacts };
  };
})(globalThis.esmkitLive);

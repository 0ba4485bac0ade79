"use strict";
// Step by step: everything that happens to one token in one layer of a finished run.

(function (live) {
  /** What the steps of one token need of a run; small, so that it travels to a worker in no time. */
  live.partOf = function (run, layer, token, width) {
    const row = (values) => values.slice(token * width, (token + 1) * width);
    return {
      layer, token, tokens: run.tokens, off: run.off || [],
      stream: row(run.hidden[layer]), final: row(run.hidden[run.hidden.length - 1]),
      key: run.key[layer], value: run.value[layer],
    };
  };

  /** Steps by name: of heads (H, K) or (H, T), else (D,) or (F,); the logits (V,). */
  live.stepsOf = function (part, heap, manifest, model) {
    const mark = heap.mark(); // a run may be under way: what it has on the heap stays
    const { heads, width, epsilon } = manifest;
    const size = width / heads;
    const { token } = part;
    const p = model.layers[part.layer];
    const kernel = heap.kernel;

    function linear(values, q) {
      const [from, to] = [heap.put(values), heap.take(q.rows)];
      kernel.linear(from, q.columns, 1, q.columns, q.weight, q.bias, q.rows, to, q.rows, 0);
      return heap.copy(to, q.rows);
    }

    function norm(values, q) {
      const [from, to] = [heap.put(values), heap.take(width)];
      kernel.norm(from, 1, width, q.gain, q.bias, epsilon, to);
      return heap.copy(to, width);
    }

    function gelu(values) {
      const at = heap.put(values);
      kernel.gelu(at, values.length);
      return heap.copy(at, values.length);
    }

    const plus = (a, b) => a.map((value, i) => value + b[i]);

    /** Turn the pairs (k, k + K/2) of each head by the position of the token. */
    function turned(values, scale) {
      const half = size / 2;
      const found = new Float32Array(width);
      for (let h = 0; h < heads; h++) {
        for (let i = 0; i < half; i++) {
          const angle = token * manifest.frequencies[i];
          const [a, b] = [h * size + i, h * size + half + i];
          found[a] = (values[a] * Math.cos(angle) - values[b] * Math.sin(angle)) * scale;
          found[b] = (values[b] * Math.cos(angle) + values[a] * Math.sin(angle)) * scale;
        }
      }
      return found;
    }

    const s = { stream: part.stream };
    s.attention_input = norm(part.stream, p.attentionNorm);
    for (const name of ["query", "key", "value"]) s[name] = linear(s.attention_input, p[name]);
    s.rotated_query = turned(s.query, size ** -0.5);
    s.rotated_key = turned(s.key, 1);
    Object.assign(s, attended(s.rotated_query, part, heads, size));
    for (const name of part.off) {
      const [, layer, head] = /^L(\d+)H(\d+)$/i.exec(name);
      if (Number(layer) === part.layer) s.head_output.fill(0, head * size, (Number(head) + 1) * size);
    }
    s.attention_output = linear(s.head_output, p.output);
    s.attention_residual = plus(part.stream, s.attention_output);
    s.feed_forward_input = norm(s.attention_residual, p.feedForwardNorm);
    s.feed_forward_expanded = linear(s.feed_forward_input, p.expand);
    s.feed_forward_hidden = gelu(s.feed_forward_expanded);
    s.feed_forward_output = linear(s.feed_forward_hidden, p.contract);
    s.residual = plus(s.attention_residual, s.feed_forward_output);
    s.final = part.final;
    if (model.head) {
      s.lm_dense = linear(s.final, model.head.dense);
      s.lm_hidden = gelu(s.lm_dense);
      s.lm_normed = norm(s.lm_hidden, model.head.norm);
      s.logits = linear(s.lm_normed, model.head.decoder);
    }
    heap.release(mark);
    return s;
  };

  /** Scores and weights (H, T) of the token's queries, and what its heads gather (H, K). */
  function attended(query, part, heads, size) {
    const { tokens, key, value } = part;
    const scores = new Float32Array(heads * tokens);
    const weights = new Float32Array(heads * tokens);
    const output = new Float32Array(heads * size);
    for (let h = 0; h < heads; h++) {
      let top = -Infinity, total = 0;
      for (let j = 0; j < tokens; j++) {
        let sum = 0;
        const at = (h * tokens + j) * size;
        for (let i = 0; i < size; i++) sum += query[h * size + i] * key[at + i];
        scores[h * tokens + j] = sum;
        top = Math.max(top, sum);
      }
      for (let j = 0; j < tokens; j++) total += Math.exp(scores[h * tokens + j] - top);
      const mixed = new Float64Array(size);
      for (let j = 0; j < tokens; j++) {
        const weight = Math.exp(scores[h * tokens + j] - top) / total;
        const at = (h * tokens + j) * size;
        weights[h * tokens + j] = weight;
        for (let i = 0; i < size; i++) mixed[i] += weight * value[at + i];
      }
      output.set(mixed, h * size);
    }
    return { scores, weights, head_output: output };
  }
})(globalThis.esmkitLive);

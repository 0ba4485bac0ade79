"use strict";
// The weights of a model, unpacked from the file into the heap.

(function (live) {
  const FORMAT = "esmkit live weights 1";

  /** Lengths of what heads add follow from W^T W of their columns of W^O: (K, K) for each head. */
  function gramMatrices(values, width, heads) {
    const size = width / heads;
    const gram = new Float64Array(heads * size * size);
    for (let row = 0; row < width; row++) {
      for (let h = 0; h < heads; h++) {
        const from = row * width + h * size;
        for (let a = 0; a < size; a++) {
          const to = (h * size + a) * size, value = values[from + a];
          for (let b = 0; b < size; b++) gram[to + b] += value * values[from + b];
        }
      }
    }
    return gram;
  }

  /** Unpack all weights; `progress` is called with the share that is done. */
  live.unpackModel = function (heap, manifest, weights, progress) {
    if (manifest.format !== FORMAT) {
      throw new Error(`these weights are ${JSON.stringify(manifest.format)}; this page reads ${FORMAT}`);
    }
    if (weights.byteLength !== manifest.bytes) {
      throw new Error(`the weights have ${weights.byteLength} bytes, not ${manifest.bytes}: the page is damaged`);
    }
    const { width, hidden, layers, heads } = manifest;
    let unpacked = 0;
    heap.reserve(unpackedBytes(manifest));

    function vector(name) {
      return heap.put(live.tensorOf(manifest, weights, name));
    }

    function matrix(name, rows, columns) {
      const values = live.tensorOf(manifest, weights, name);
      const pointer = live.putPanels(heap, values, rows, columns);
      progress((unpacked += rows * columns) / total);
      return { pointer, values };
    }

    function affine(name, rows, columns) {
      const { pointer, values } = matrix(name + ".weight", rows, columns);
      return { weight: pointer, bias: vector(name + ".bias"), rows, columns, values };
    }

    const norm = (name) => ({ gain: vector(name + ".weight"), bias: vector(name + ".bias") });
    const total = Object.values(manifest.tensors)
      .filter((tensor) => tensor.shape.length === 2)
      .reduce((sum, { shape }) => sum + shape[0] * shape[1], 0);

    const model = { layers: [], embedding: live.tensorOf(manifest, weights, "embedding"), head: null };
    for (let n = 0; n < layers; n++) {
      const of = `L${n}.`;
      const layer = {
        attentionNorm: norm(of + "attention_norm"),
        query: affine(of + "query", width, width),
        key: affine(of + "key", width, width),
        value: affine(of + "value", width, width),
        output: affine(of + "output", width, width),
        feedForwardNorm: norm(of + "feed_forward_norm"),
        expand: affine(of + "expand", hidden, width),
        contract: affine(of + "contract", width, hidden),
      };
      layer.gram = gramMatrices(layer.output.values, width, heads);
      for (const part of Object.values(layer)) delete part.values; // the heap has them
      model.layers.push(layer);
    }
    model.finalNorm = norm("final_norm");
    if (manifest.lmHead) {
      const own = manifest.tensors["lm_decoder.weight"] ? "lm_decoder.weight" : "embedding";
      const rows = manifest.tokens.length;
      model.head = {
        dense: affine("lm_dense", width, width),
        norm: norm("lm_norm"),
        decoder: { weight: matrix(own, rows, width).pointer, bias: vector("lm_decoder.bias"), rows, columns: width },
      };
    }
    progress(1);
    return model;
  };

  /** Bytes of all tensors as float32, panels filled up, so that the heap grows once. */
  function unpackedBytes(manifest) {
    let bytes = 2 * 65536;
    for (const { shape } of Object.values(manifest.tensors)) {
      bytes += 4 * (shape.length === 1 ? shape[0] : ((shape[0] + 7) & ~7) * shape[1]) + 16;
    }
    return bytes;
  }
})(globalThis.esmkitLive);

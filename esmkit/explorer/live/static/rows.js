"use strict";
// Single rows of the weights, read from the base64 text of the page: equations are written with the
// real weights, and the worker that runs the model is not asked for them.

(function (app) {
  const textOf = () => app.byId("data-weights")?.textContent || "";

  /** Bytes of the weights from an offset on; null where the page no longer holds them. */
  function piece(offset, count) {
    const text = textOf();
    const first = Math.floor(offset / 3);
    const last = Math.ceil((offset + count) / 3);
    if (!text || text.length < 4 * last) return null;
    const decoded = atob(text.slice(4 * first, 4 * last));
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i++) bytes[i] = decoded.charCodeAt(offset - 3 * first + i);
    return bytes.buffer;
  }

  /** Rows of a matrix, one after the other, or all of a vector: Float64Array; null if not there. */
  app.weightRows = function (name, from = 0, count = 1) {
    const tensor = app.live.manifest.tensors[name];
    if (!tensor) return null;
    const { shape, bits, offset, scales } = tensor;
    const columns = shape.length === 1 ? shape[0] : shape[1];
    const rows = shape.length === 1 ? 1 : count;
    const bytes = bits / 8;
    const codes = piece(offset + from * columns * bytes, rows * columns * bytes);
    if (!codes) return null;
    if (bits === 32) return Float64Array.from(new Float32Array(codes));
    const scaleOf = new Float32Array(piece(scales + 4 * from, 4 * rows));
    const integers = esmkitLive.codesOf(codes, { offset: 0, bits }, rows * columns);
    return Float64Array.from(integers, (code, i) => code * scaleOf[Math.floor(i / columns)]);
  };

  /** Gain and bias of a LayerNorm, or null. */
  app.normWeights = function (name) {
    const gain = app.weightRows(`${name}.weight`);
    return gain && { gain, bias: app.weightRows(`${name}.bias`) };
  };

  /** One output of a linear map: its row of weights and its bias, or null. */
  app.linearRow = function (name, row, weights = `${name}.weight`) {
    const found = app.weightRows(weights, row);
    return found && { weights: found, bias: app.weightRows(`${name}.bias`)[row] };
  };

  /** What one head alone adds to the stream: its columns of W^O times its output; null if not known. */
  app.headPart = function (layer, head, output) {
    const { width } = app.live.manifest;
    const all = app.weightRows(`L${layer}.output.weight`, 0, width);
    if (!all) return null;
    return Float64Array.from({ length: width }, (_, d) => {
      const at = d * width + head * output.length;
      return output.reduce((sum, value, i) => sum + value * all[at + i], 0);
    });
  };
})(esmkitExplorer);

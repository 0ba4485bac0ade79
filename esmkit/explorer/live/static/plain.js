"use strict";
// The arithmetic of the engine in plain JavaScript: what runs where WebAssembly is not allowed.
// The functions, their arguments and their results are those of kernel/kernel.c. Pointers are bytes.

globalThis.esmkitLive = globalThis.esmkitLive || {};

(function (live) {
  const PANEL = 8; // rows of a matrix that lie together
  const ROOT_HALF = Math.SQRT1_2;

  // erfc(z) exp(z^2) for z >= 0, a polynomial in u = (z - 2) / (z + 2); kernel/fit.py fits it.
  const ERFCX = [
    2.553956790e-1, -4.271858488e-1, 2.416579987e-1, -7.897848173e-2, 3.735239379e-3,
    6.996307599e-3, -8.577544686e-4, -9.770972138e-4, 6.633547087e-5, 1.651740522e-4,
    2.503717080e-6, -2.005526972e-5,
  ];

  /** GELU with the exact normal distribution function: x less what erfc takes off. */
  live.geluOf = function (x) {
    const z = Math.abs(x) * ROOT_HALF;
    const u = (z - 2) / (z + 2);
    let tail = 0;
    for (let i = ERFCX.length - 1; i >= 0; i--) tail = tail * u + ERFCX[i];
    return Math.max(x, 0) - 0.5 * Math.abs(x) * tail * Math.exp(-z * z);
  };

  /** Return the functions of the kernel over a heap whose `floats` is a Float32Array of all of it. */
  live.plainKernel = function (heap) {
    /** y = x W^T + b for rows of x; W lies in panels, 8 rows after each other for each column. */
    function linear(x, xStride, tokens, inner, w, b, outer, y, yStride, add) {
      const f = heap.floats;
      const [X, W, B, Y] = [x >> 2, w >> 2, b >> 2, y >> 2];
      for (let first = 0; first < outer; first += 4) {
        const panel = W + (first >> 3) * inner * PANEL + (first & 7);
        const columns = Math.min(4, outer - first);
        const b0 = b ? f[B + first] : 0;
        const b1 = b && columns > 1 ? f[B + first + 1] : 0;
        const b2 = b && columns > 2 ? f[B + first + 2] : 0;
        const b3 = b && columns > 3 ? f[B + first + 3] : 0;
        for (let t = 0; t < tokens; t += 2) {
          const both = t + 1 < tokens;
          const rowA = X + t * xStride;
          const rowB = both ? rowA + xStride : rowA;
          let a0 = b0, a1 = b1, a2 = b2, a3 = b3, c0 = b0, c1 = b1, c2 = b2, c3 = b3;
          for (let k = 0, at = panel; k < inner; k++, at += PANEL) {
            const w0 = f[at], w1 = f[at + 1], w2 = f[at + 2], w3 = f[at + 3];
            const p = f[rowA + k], q = f[rowB + k];
            a0 += p * w0; a1 += p * w1; a2 += p * w2; a3 += p * w3;
            c0 += q * w0; c1 += q * w1; c2 += q * w2; c3 += q * w3;
          }
          let to = Y + t * yStride + first;
          put(f, to, columns, a0, a1, a2, a3, add);
          if (both) put(f, to + yStride, columns, c0, c1, c2, c3, add);
        }
      }
    }

    function put(f, to, columns, v0, v1, v2, v3, add) {
      f[to] = add ? f[to] + v0 : v0;
      if (columns > 1) f[to + 1] = add ? f[to + 1] + v1 : v1;
      if (columns > 2) f[to + 2] = add ? f[to + 2] + v2 : v2;
      if (columns > 3) f[to + 3] = add ? f[to + 3] + v3 : v3;
    }

    /** Mean 0 and variance 1 for each row, then gain and bias. */
    function norm(x, tokens, width, gain, bias, epsilon, y) {
      const f = heap.floats;
      const [X, G, B, Y] = [x >> 2, gain >> 2, bias >> 2, y >> 2];
      for (let t = 0; t < tokens; t++) {
        const from = X + t * width, to = Y + t * width;
        let mean = 0, variance = 0;
        for (let i = 0; i < width; i++) mean += f[from + i];
        mean /= width;
        for (let i = 0; i < width; i++) variance += (f[from + i] - mean) ** 2;
        const scale = 1 / Math.sqrt(variance / width + epsilon);
        for (let i = 0; i < width; i++) f[to + i] = (f[from + i] - mean) * scale * f[G + i] + f[B + i];
      }
    }

    function gelu(x, count) {
      const f = heap.floats, X = x >> 2;
      for (let i = X; i < X + count; i++) f[i] = live.geluOf(f[i]);
    }

    /** (T, H K) to (H, T, K), times scale, and turned by cos and sin (T, K/2) where these are given. */
    function turn(x, tokens, heads, width, cos, sin, scale, y) {
      const f = heap.floats;
      const [X, C, S, Y] = [x >> 2, cos >> 2, sin >> 2, y >> 2];
      const half = width / 2;
      for (let h = 0; h < heads; h++) {
        for (let t = 0; t < tokens; t++) {
          const from = X + (t * heads + h) * width, to = Y + (h * tokens + t) * width;
          for (let i = 0; i < half; i++) {
            const a = f[from + i] * scale, b = f[from + half + i] * scale;
            const c = cos ? f[C + t * half + i] : 1, s = cos ? f[S + t * half + i] : 0;
            f[to + i] = a * c - b * s;
            f[to + half + i] = b * c + a * s;
          }
        }
      }
    }

    /** Rows of a matrix into panels of 8; rows that are missing in the last become 0. */
    function pack(x, rows, columns, rowStride, columnStride, y) {
      const f = heap.floats, X = x >> 2, Y = y >> 2;
      for (let first = 0; first < rows; first += PANEL) {
        for (let c = 0; c < columns; c++) {
          const to = Y + first * columns + c * PANEL;
          for (let lane = 0; lane < PANEL; lane++) {
            const row = first + lane;
            f[to + lane] = row < rows ? f[X + row * rowStride + c * columnStride] : 0;
          }
        }
      }
    }

    function softmax(row, tokens) {
      const f = heap.floats;
      let top = -Infinity, total = 0;
      for (let i = row; i < row + tokens; i++) if (f[i] > top) top = f[i];
      for (let i = row; i < row + tokens; i++) total += f[i] = Math.exp(f[i] - top);
      const scale = 1 / total;
      for (let i = row; i < row + tokens; i++) f[i] *= scale;
    }

    /**
     * One head: y = softmax(q k^T) v, rows `stride` apart. Where `weight` is not 0, the map of
     * residues times it is added to `map` (R, R), and `sums` (R) becomes its row plus column sums.
     */
    function attend(q, k, v, tokens, width, scratch, y, stride, weight, map, sums) {
      const f = heap.floats;
      const padded = (tokens + 7) & ~7, residues = tokens - 2;
      const keys = scratch;
      const values = keys + padded * width * 4;
      const scores = values + ((width + 7) & ~7) * tokens * 4;
      pack(k, tokens, width, width, 1, keys);
      pack(v, width, tokens, 1, width, values);
      const M = map >> 2, S = sums >> 2;
      if (weight) f.fill(0, S, S + residues);
      for (let first = 0; first < tokens; first += 4) {
        const count = Math.min(4, tokens - first);
        linear(q + first * width * 4, width, count, width, keys, 0, tokens, scores, padded, 0);
        for (let i = 0; i < count; i++) softmax((scores >> 2) + i * padded, tokens);
        linear(scores, padded, count, tokens, values, 0, width, y + first * stride * 4, stride, 0);
        if (!weight) continue;
        for (let i = 0; i < count; i++) {
          const residue = first + i - 1;
          if (residue < 0 || residue >= residues) continue;
          const row = (scores >> 2) + i * padded + 1, to = M + residue * residues;
          let sum = 0;
          for (let j = 0; j < residues; j++) {
            const value = f[row + j];
            f[to + j] += weight * value;
            f[S + j] += value;
            sum += value;
          }
          f[S + residue] += sum;
        }
      }
    }

    return { linear, norm, gelu, turn, pack, attend };
  };
})(globalThis.esmkitLive);

/* The arithmetic of the engine for WebAssembly with 128-bit SIMD; plain.js has the same functions.

   float32 throughout. Matrices lie in panels: 8 rows together, column after column, so that one tile of
   4 tokens times 8 rows is computed in registers. Rows beyond the last are there and are 0.

   No library: exp and GELU are polynomials, checked against float64 in tests. Built by build.py. */

#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

typedef v128_t vec;

#define PANEL 8
#define TILE 4

INLINE vec load(const float *p) { return wasm_v128_load(p); }
INLINE void store(float *p, vec v) { wasm_v128_store(p, v); }
INLINE vec all(float x) { return wasm_f32x4_splat(x); }
INLINE vec add(vec a, vec b) { return wasm_f32x4_add(a, b); }
INLINE vec sub(vec a, vec b) { return wasm_f32x4_sub(a, b); }
INLINE vec mul(vec a, vec b) { return wasm_f32x4_mul(a, b); }

INLINE float sum_of(vec v) {
  return (wasm_f32x4_extract_lane(v, 0) + wasm_f32x4_extract_lane(v, 2)) +
         (wasm_f32x4_extract_lane(v, 1) + wasm_f32x4_extract_lane(v, 3));
}

/* --------------------------------------------------------------------------------- functions */

/* e^x: 2^n times a polynomial of what is left, |r| <= ln(2) / 2. Below -87 the result is about 1e-38. */
INLINE vec exp_of(vec x) {
  x = wasm_f32x4_max(x, all(-87.0f));
  x = wasm_f32x4_min(x, all(88.0f));
  vec n = wasm_f32x4_nearest(mul(x, all(1.44269504f)));
  /* ln(2) in two parts, so that n ln(2) is exact */
  vec r = sub(sub(x, mul(n, all(0.693359375f))), mul(n, all(-2.12194440e-4f)));
  vec p = all(1.0f / 5040);
  p = add(mul(p, r), all(1.0f / 720));
  p = add(mul(p, r), all(1.0f / 120));
  p = add(mul(p, r), all(1.0f / 24));
  p = add(mul(p, r), all(1.0f / 6));
  p = add(mul(p, r), all(0.5f));
  p = add(mul(p, r), all(1.0f));
  p = add(mul(p, r), all(1.0f));
  vec exponent = wasm_i32x4_shl(wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_splat(127)), 23);
  return mul(p, exponent);
}

/* erfc(z) exp(z^2) as a polynomial in (z - 2) / (z + 2), from fit.py */
static const float ERFCX[] = {2.553956790e-1f,  -4.271858488e-1f, 2.416579987e-1f,  -7.897848173e-2f,
                              3.735239379e-3f,  6.996307599e-3f,  -8.577544686e-4f, -9.770972138e-4f,
                              6.633547087e-5f,  1.651740522e-4f,  2.503717080e-6f,  -2.005526972e-5f};

INLINE vec gelu_of(vec x) {
  vec z = mul(wasm_f32x4_abs(x), all(0.707106781f));
  vec u = wasm_f32x4_div(sub(z, all(2.0f)), add(z, all(2.0f)));
  vec tail = all(ERFCX[11]);
#pragma unroll
  for (int i = 10; i >= 0; i--) tail = add(mul(tail, u), all(ERFCX[i]));
  tail = mul(tail, exp_of(wasm_f32x4_neg(mul(z, z))));
  return sub(wasm_f32x4_max(x, all(0.0f)), mul(mul(all(0.5f), wasm_f32x4_abs(x)), tail));
}

/* ---------------------------------------------------------------------------------- products */

/* `count` (1 to 4, known where this is inlined) rows of x times one panel. */
INLINE void tile(const float *x, int32_t x_stride, int32_t count, int32_t inner, const float *w,
                 const float *b, int32_t columns, float *y, int32_t y_stride, int32_t adding) {
  vec low[TILE], high[TILE];
  vec b_low = all(0), b_high = all(0);
  if (b) {
    if (columns == PANEL) {
      b_low = load(b);
      b_high = load(b + 4);
    } else {
      float padded[PANEL] = {0};
      for (int32_t i = 0; i < columns; i++) padded[i] = b[i];
      b_low = load(padded);
      b_high = load(padded + 4);
    }
  }
#pragma unroll
  for (int32_t t = 0; t < count; t++) low[t] = b_low, high[t] = b_high;
  for (int32_t k = 0; k < inner; k++) {
    vec w_low = load(w + PANEL * k), w_high = load(w + PANEL * k + 4);
#pragma unroll
    for (int32_t t = 0; t < count; t++) {
      vec value = wasm_v128_load32_splat(x + t * x_stride + k);
      low[t] = add(low[t], mul(value, w_low));
      high[t] = add(high[t], mul(value, w_high));
    }
  }
#pragma unroll
  for (int32_t t = 0; t < count; t++) {
    float *to = y + t * y_stride;
    if (columns == PANEL) {
      store(to, adding ? add(load(to), low[t]) : low[t]);
      store(to + 4, adding ? add(load(to + 4), high[t]) : high[t]);
    } else {
      float row[PANEL];
      store(row, low[t]);
      store(row + 4, high[t]);
      for (int32_t i = 0; i < columns; i++) to[i] = adding ? to[i] + row[i] : row[i];
    }
  }
}

/* y = x W^T + b for `tokens` rows of x, or y + that. Blocks of tokens keep x in the first cache. */
EXPORT void linear(const float *x, int32_t x_stride, int32_t tokens, int32_t inner, const float *w,
                   const float *b, int32_t outer, float *y, int32_t y_stride, int32_t adding) {
  for (int32_t first = 0; first < outer; first += PANEL) {
    const float *panel = w + first * inner;
    const float *bias = b ? b + first : 0;
    int32_t columns = outer - first < PANEL ? outer - first : PANEL;
    int32_t t = 0;
    for (; t + TILE <= tokens; t += TILE) {
      tile(x + t * x_stride, x_stride, TILE, inner, panel, bias, columns, y + t * y_stride + first,
           y_stride, adding);
    }
    for (; t < tokens; t++) {
      tile(x + t * x_stride, x_stride, 1, inner, panel, bias, columns, y + t * y_stride + first,
           y_stride, adding);
    }
  }
}

/* Rows of a matrix into panels; rows that are missing in the last become 0. */
EXPORT void pack(const float *x, int32_t rows, int32_t columns, int32_t row_stride,
                 int32_t column_stride, float *y) {
  for (int32_t first = 0; first < rows; first += PANEL) {
    for (int32_t c = 0; c < columns; c++) {
      float *to = y + first * columns + c * PANEL;
      for (int32_t lane = 0; lane < PANEL; lane++) {
        int32_t row = first + lane;
        to[lane] = row < rows ? x[row * row_stride + c * column_stride] : 0.0f;
      }
    }
  }
}

/* ---------------------------------------------------------------------------- rows of numbers */

/* Mean 0 and variance 1 for each row, then gain and bias. */
EXPORT void norm(const float *x, int32_t tokens, int32_t width, const float *gain, const float *bias,
                 float epsilon, float *y) {
  int32_t even = width & ~3;
  for (int32_t t = 0; t < tokens; t++, x += width, y += width) {
    vec sums = all(0);
    int32_t i;
    for (i = 0; i < even; i += 4) sums = add(sums, load(x + i));
    float mean = sum_of(sums);
    for (; i < width; i++) mean += x[i];
    mean /= (float)width;
    vec squares = all(0);
    for (i = 0; i < even; i += 4) {
      vec centred = sub(load(x + i), all(mean));
      squares = add(squares, mul(centred, centred));
    }
    float variance = sum_of(squares);
    for (; i < width; i++) variance += (x[i] - mean) * (x[i] - mean);
    float scale = 1.0f / __builtin_sqrtf(variance / (float)width + epsilon);
    for (i = 0; i < even; i += 4) {
      vec normed = mul(sub(load(x + i), all(mean)), all(scale));
      store(y + i, add(mul(normed, load(gain + i)), load(bias + i)));
    }
    for (; i < width; i++) y[i] = (x[i] - mean) * scale * gain[i] + bias[i];
  }
}

EXPORT void gelu(float *x, int32_t count) {
  int32_t i = 0;
  for (; i + 4 <= count; i += 4) store(x + i, gelu_of(load(x + i)));
  for (; i < count; i++) x[i] = wasm_f32x4_extract_lane(gelu_of(all(x[i])), 0);
}

/* (T, H K) to (H, T, K), times scale, and turned by cos and sin (T, K/2) where these are given. */
EXPORT void turn(const float *x, int32_t tokens, int32_t heads, int32_t width, const float *cos,
                 const float *sin, float scale, float *y) {
  int32_t half = width / 2;
  for (int32_t h = 0; h < heads; h++) {
    for (int32_t t = 0; t < tokens; t++) {
      const float *from = x + (t * heads + h) * width;
      float *to = y + (h * tokens + t) * width;
      for (int32_t i = 0; i < half; i++) {
        float a = from[i] * scale, b = from[half + i] * scale;
        float c = cos ? cos[t * half + i] : 1.0f, s = cos ? sin[t * half + i] : 0.0f;
        to[i] = a * c - b * s;
        to[half + i] = b * c + a * s;
      }
    }
  }
}

/* ---------------------------------------------------------------------------------- attention */

/* `padded` is a multiple of 8 and at least `tokens`; what is between is made to count for nothing. */
INLINE void softmax(float *row, int32_t tokens, int32_t padded) {
  for (int32_t i = tokens; i < padded; i++) row[i] = -1e30f;
  vec tops = load(row);
  for (int32_t i = 4; i < padded; i += 4) tops = wasm_f32x4_max(tops, load(row + i));
  tops = wasm_f32x4_max(tops, wasm_i32x4_shuffle(tops, tops, 2, 3, 0, 1));
  tops = wasm_f32x4_max(tops, wasm_i32x4_shuffle(tops, tops, 1, 0, 3, 2));
  vec totals = all(0);
  for (int32_t i = 0; i < padded; i += 4) {
    vec value = exp_of(sub(load(row + i), tops));
    store(row + i, value);
    totals = add(totals, value);
  }
  vec scale = all(1.0f / sum_of(totals)); /* what is beyond `tokens` adds 1e-38 at most */
  for (int32_t i = 0; i < padded; i += 4) store(row + i, mul(load(row + i), scale));
}

/* Add weight times a row of a map to `to`, and the row to `sums`; return the sum of the row. */
INLINE float gather(const float *row, int32_t residues, float weight, float *to, float *sums) {
  vec total = all(0), factor = all(weight);
  int32_t j = 0;
  for (; j + 4 <= residues; j += 4) {
    vec value = load(row + j);
    store(to + j, add(load(to + j), mul(factor, value)));
    store(sums + j, add(load(sums + j), value));
    total = add(total, value);
  }
  float sum = sum_of(total);
  for (; j < residues; j++) {
    to[j] += weight * row[j];
    sums[j] += row[j];
    sum += row[j];
  }
  return sum;
}

/* One head: y = softmax(q k^T) v, rows `stride` apart. Where `weight` is not 0, the map of residues
   times it is added to `map` (R, R), and `sums` (R) becomes its row plus column sums. */
EXPORT void attend(const float *q, const float *k, const float *v, int32_t tokens, int32_t width,
                   float *scratch, float *y, int32_t stride, float weight, float *map, float *sums) {
  int32_t padded = (tokens + 7) & ~7, residues = tokens - 2;
  float *keys = scratch;
  float *values = keys + padded * width;
  float *scores = values + ((width + 7) & ~7) * tokens;
  pack(k, tokens, width, width, 1, keys);
  pack(v, width, tokens, 1, width, values);
  if (weight != 0) {
    for (int32_t i = 0; i < residues; i++) sums[i] = 0;
  }
  for (int32_t first = 0; first < tokens; first += TILE) {
    int32_t count = tokens - first < TILE ? tokens - first : TILE;
    linear(q + first * width, width, count, width, keys, 0, tokens, scores, padded, 0);
    for (int32_t i = 0; i < count; i++) softmax(scores + i * padded, tokens, padded);
    linear(scores, padded, count, tokens, values, 0, width, y + first * stride, stride, 0);
    if (weight == 0) continue;
    for (int32_t i = 0; i < count; i++) {
      int32_t residue = first + i - 1;
      if (residue < 0 || residue >= residues) continue;
      sums[residue] +=
          gather(scores + i * padded + 1, residues, weight, map + residue * residues, sums);
    }
  }
}

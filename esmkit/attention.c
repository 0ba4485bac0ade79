/* Scaled dot-product attention within each sequence of a pack, for one layer of an encoder, on a CPU.

For every sequence and head, six queries at a time: their scores with all keys, the softmax of these
six rows, and the weighted sum of the values. The rows are at most some kilobytes, so that all of it
happens in the innermost cache. PyTorch's kernel asks a matrix library for the same products in
small pieces, whose shapes (head width 16) are far from what such a library is made for.

Compiled by esmkit/compiled.py for the machine at hand; plain C with the vectors of GCC and Clang. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define ROWS 6 /* 2 * ROWS sums, two vectors of keys and a query fill the registers of AVX2 */
#define INLINE static inline __attribute__((always_inline))
#define EACH_ROW _Pragma("GCC unroll 6") for (int r = 0; r < ROWS; r++)

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4)));

INLINE vec load(const float *from) { return *(const vec *)from; }
INLINE void store(float *to, vec x) { *(vec *)to = x; }
INLINE vec splat(float x) { return x - (vec){0}; }

INLINE vec larger(vec a, vec b)
{
    ints mask = a > b;
    return (vec)(((ints)a & mask) | ((ints)b & ~mask));
}

INLINE float largest(vec x)
{
    float lane[LANES];
    store(lane, x);
    for (int half = LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lane[l] = lane[l] > lane[l + half] ? lane[l] : lane[l + half];
    return lane[0];
}

INLINE float total(vec x)
{
    float lane[LANES];
    store(lane, x);
    for (int half = LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

/* exp of numbers <= 0: 2^n e^r with |r| <= ln(2)/2, ln(2) in two parts (Cody and Waite), e^r by its
   Taylor series to r^7, whose rest is below 1e-8; below -87, the smallest normal number. */
INLINE vec exponential(vec x)
{
    const vec rounds = splat(12582912.0f); /* 1.5 * 2^23: what is added to it becomes a whole number */
    x = larger(x, splat(-87.0f));
    vec n = (x * 1.44269504f + rounds) - rounds;
    vec r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    vec series = splat(1.0f / 5040);
    series = series * r + 1.0f / 720;
    series = series * r + 1.0f / 120;
    series = series * r + 1.0f / 24;
    series = series * r + 1.0f / 6;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    ints exponent = (__builtin_convertvector(n, ints) + 127) << 23;
    vec power;
    memcpy(&power, &exponent, sizeof power);
    return series * power;
}

/* ROWS rows of scores: query[r] . key[j], for the keys from j on, `vectors` times LANES of them. */
INLINE void score(const float *const *query, const float *keys, float *scores, int j, int padded,
                  int width, int vectors)
{
    vec sum[ROWS][2];
    EACH_ROW sum[r][0] = sum[r][1] = splat(0);
    for (int d = 0; d < width; d++) {
        vec first = load(keys + (size_t)d * padded + j);
        vec second = vectors == 2 ? load(keys + (size_t)d * padded + j + LANES) : first;
        EACH_ROW {
            sum[r][0] += query[r][d] * first;
            if (vectors == 2) sum[r][1] += query[r][d] * second;
        }
    }
    EACH_ROW {
        store(scores + (size_t)r * padded + j, sum[r][0]);
        if (vectors == 2) store(scores + (size_t)r * padded + j + LANES, sum[r][1]);
    }
}

/* Turn a row of scores into exp(score - largest); return 1 / their sum. Places from n on get -inf,
   whose exponential, 1e-38, is lost beside the largest, 1. NaN spreads to the whole row. */
INLINE float soften(float *row, int n, int padded)
{
    for (int j = n; j < padded; j++) row[j] = -INFINITY;
    vec most = load(row), sum = splat(0);
    for (int j = LANES; j < padded; j += LANES) most = larger(load(row + j), most);
    float peak = largest(most);
    for (int j = 0; j < padded; j += LANES) {
        vec x = load(row + j) - peak;
        vec e = exponential(x);
        e = (vec)((ints)e | (x != x)); /* all bits set are a NaN */
        store(row + j, e);
        sum += e;
    }
    return 1.0f / total(sum);
}

/* Where q, k, v and out are, and how far, in floats, it is to the next head and the next token. */
typedef struct {
    const float *q, *k, *v;
    float *out;
    int64_t q_head, q_token, k_head, k_token, v_head, v_token, out_head, out_token;
} Tensors;

/* One head of one sequence, tokens begin to begin + n. */
INLINE void one_head(const Tensors *t, int head, int64_t begin, int n, int width, float scaling,
                     float *scratch)
{
    const int padded = (n + LANES - 1) / LANES * LANES, wide = (width + LANES - 1) / LANES * LANES;
    const float *q = t->q + head * t->q_head + begin * t->q_token;
    const float *k = t->k + head * t->k_head + begin * t->k_token;
    const float *v = t->v + head * t->v_head + begin * t->v_token;
    float *out = t->out + head * t->out_head + begin * t->out_token;
    float *keys = scratch;                            /* (width, padded): transposed, and scaled */
    float *values = keys + (size_t)width * padded;    /* (n, wide) */
    float *scores = values + (size_t)padded * wide;   /* (ROWS, padded) */
    memset(keys, 0, sizeof(float) * width * padded);
    memset(values, 0, sizeof(float) * n * wide);
    for (int j = 0; j < n; j++) {
        for (int d = 0; d < width; d++) keys[(size_t)d * padded + j] = k[j * t->k_token + d] * scaling;
        memcpy(values + (size_t)j * wide, v + j * t->v_token, sizeof(float) * width);
    }
    for (int i = 0; i < n; i += ROWS) {
        const int rows = n - i < ROWS ? n - i : ROWS;
        const float *query[ROWS];
        float inverse[ROWS];
        EACH_ROW query[r] = q + (i + (r < rows ? r : 0)) * t->q_token; /* the last block repeats one */
        int j = 0;
        for (; j + 2 * LANES <= padded; j += 2 * LANES) score(query, keys, scores, j, padded, width, 2);
        if (j < padded) score(query, keys, scores, j, padded, width, 1);
        for (int r = 0; r < ROWS; r++) inverse[r] = soften(scores + (size_t)r * padded, n, padded);
        for (int w = 0; w < width; w += LANES) {
            vec even[ROWS], odd[ROWS]; /* twice as many sums, for one has to wait for itself */
            EACH_ROW even[r] = odd[r] = splat(0);
            for (j = 0; j + 2 <= n; j += 2) {
                vec first = load(values + (size_t)j * wide + w);
                vec second = load(values + (size_t)(j + 1) * wide + w);
                EACH_ROW {
                    even[r] += scores[(size_t)r * padded + j] * first;
                    odd[r] += scores[(size_t)r * padded + j + 1] * second;
                }
            }
            if (j < n) {
                vec last = load(values + (size_t)j * wide + w);
                EACH_ROW even[r] += scores[(size_t)r * padded + j] * last;
            }
            for (int r = 0; r < rows; r++) {
                vec mixed = (even[r] + odd[r]) * inverse[r];
                size_t bytes = sizeof(float) * (width - w < LANES ? width - w : LANES);
                memcpy(out + (i + r) * t->out_token + w, &mixed, bytes);
            }
        }
    }
}

/* All heads of all sequences; sequence s has the tokens starts[s] to starts[s + 1]. Returns 0, or 1
   if there was no memory. */
int esmkit_attention(const Tensors *t, const int64_t *starts, int sequences, int heads, int width,
                     float scaling, int threads)
{
    int64_t longest = 0;
    for (int s = 0; s < sequences; s++)
        if (starts[s + 1] - starts[s] > longest) longest = starts[s + 1] - starts[s];
    const size_t padded = (longest + LANES - 1) / LANES * LANES;
    const size_t wide = (width + LANES - 1) / LANES * LANES;
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        float *scratch = malloc(sizeof(float) * padded * (width + wide + ROWS));
        if (!scratch) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(dynamic, 1)
        for (int task = 0; task < sequences * heads; task++) {
            const int s = task / heads, head = task % heads;
            const int n = (int)(starts[s + 1] - starts[s]);
            if (!scratch) continue;
            if (width == 16) /* ESM-2 8M: the compiler unrolls what it knows */
                one_head(t, head, starts[s], n, 16, scaling, scratch);
            else
                one_head(t, head, starts[s], n, width, scaling, scratch);
        }
        free(scratch);
    }
    return failed;
}

/* Scaled dot-product attention within each sequence of a pack, for one layer of an encoder, on a CPU.

For every sequence and head, six queries at a time: their scores with all keys, the softmax of these
six rows, and the weighted sum of the values. The rows are at most some kilobytes, so that all of it
happens in the innermost cache. PyTorch's kernel asks a matrix library for the same products in
small pieces, whose shapes (head width 16) are far from what such a library is made for.

Compiled by compiled.py for the machine at hand; plain C with the vectors of GCC and Clang. */

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

typedef float four __attribute__((vector_size(16), aligned(4)));
typedef int32_t four_ints __attribute__((vector_size(16), aligned(4)));

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
    four part[LANES / 4];
    memcpy(part, &x, sizeof x);
    for (int half = LANES / 8; half; half /= 2)
        for (int l = 0; l < half; l++) {
            four_ints mask = part[l] > part[l + half];
            part[l] = (four)(((four_ints)part[l] & mask) | ((four_ints)part[l + half] & ~mask));
        }
    float a = part[0][0] > part[0][1] ? part[0][0] : part[0][1];
    float b = part[0][2] > part[0][3] ? part[0][2] : part[0][3];
    return a > b ? a : b;
}

INLINE float total(vec x)
{
    four part[LANES / 4];
    memcpy(part, &x, sizeof x);
    for (int half = LANES / 8; half; half /= 2)
        for (int l = 0; l < half; l++) part[l] += part[l + half];
    return (part[0][0] + part[0][1]) + (part[0][2] + part[0][3]);
}

/* exp of numbers <= 0: 2^n e^r with |r| <= ln(2)/2, ln(2) in two parts (Cody and Waite), e^r by its
   Taylor series to r^7, whose rest is below 1e-8; below -87, the smallest normal number. */
INLINE vec exponential(vec x)
{
    const vec rounds = splat(12582912.0f); /* 1.5 * 2^23: what is added to it becomes a whole number */
    ints low = x < -87.0f; /* false for NaN, which goes on */
    x = (vec)(((ints)splat(-87.0f) & low) | ((ints)x & ~low));
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

/* Added to scores: nothing, and what takes the places behind the last key out of the softmax. */
static const float edge[2 * LANES] = {[LANES ... 2 * LANES - 1] = -INFINITY};

/* ROWS rows of scores: query[r] . key[j], for `vectors` times LANES keys from j on, of n in all; and
   the largest of each lane so far. */
INLINE void score(const float *const *query, const float *keys, float *scores, vec *most, int j, int n,
                  int padded, int width, int vectors)
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
    if (j + vectors * LANES > n) {
        vec outside = load(edge + j + vectors * LANES - n);
        EACH_ROW sum[r][vectors - 1] += outside;
    }
    EACH_ROW {
        for (int v = 0; v < vectors; v++) {
            store(scores + (size_t)r * padded + j + v * LANES, sum[r][v]);
            most[r] = larger(sum[r][v], most[r]);
        }
    }
}

/* Turn a row of scores into exp(score - largest); return 1 / their sum. -inf becomes 1e-38, which is
   lost beside the largest, 1. NaN spreads to the whole row. */
INLINE float soften(float *row, int padded, vec most)
{
    const float peak = largest(most);
    vec sum = splat(0);
    for (int j = 0; j < padded; j += LANES) {
        vec e = exponential(load(row + j) - peak);
        store(row + j, e);
        sum += e;
    }
    return 1.0f / total(sum);
}

/* Where q, k, v and out are, and how far, in floats, it is to the next head and the next token; and
   the cosines and sines of the rotary positions, (tokens, width), or NULL if q and k are rotated. */
typedef struct {
    const float *q, *k, *v;
    float *out;
    const float *cosines, *sines;
    int64_t q_head, q_token, k_head, k_token, v_head, v_token, out_head, out_token;
} Tensors;

/* What rotary positions make of a query or key: its two halves are the coordinates that are turned. */
INLINE void rotate(const float *x, const float *cosines, const float *sines, int width, float *to)
{
    const int half = width / 2;
    for (int d = 0; d < half; d++) {
        to[d] = x[d] * cosines[d] - x[d + half] * sines[d];
        to[d + half] = x[d + half] * cosines[d + half] + x[d] * sines[d + half];
    }
}

/* One head of one sequence, tokens begin to begin + n. */
INLINE void one_head(const Tensors *t, int head, int64_t begin, int n, int width, float scaling,
                     float *scratch)
{
    const int padded = (n + LANES - 1) / LANES * LANES, wide = (width + LANES - 1) / LANES * LANES;
    const float *q = t->q + head * t->q_head + begin * t->q_token;
    const float *k = t->k + head * t->k_head + begin * t->k_token;
    const float *cosines = t->cosines ? t->cosines + begin * width : NULL;
    const float *sines = t->cosines ? t->sines + begin * width : NULL;
    const float *v = t->v + head * t->v_head + begin * t->v_token;
    float *out = t->out + head * t->out_head + begin * t->out_token;
    float *keys = scratch;                            /* (width, padded): transposed, and scaled */
    float *values = keys + (size_t)width * padded;    /* (n, wide) */
    float *scores = values + (size_t)padded * wide;   /* (ROWS, padded) */
    float *turned = scores + (size_t)ROWS * padded;   /* (ROWS, width) */
    memset(keys, 0, sizeof(float) * width * padded);
    memset(values, 0, sizeof(float) * n * wide);
    for (int j = 0; j < n; j++) {
        const float *key = k + j * t->k_token;
        if (cosines) {
            rotate(key, cosines + (size_t)j * width, sines + (size_t)j * width, width, turned);
            key = turned;
        }
        for (int d = 0; d < width; d++) keys[(size_t)d * padded + j] = key[d] * scaling;
        memcpy(values + (size_t)j * wide, v + j * t->v_token, sizeof(float) * width);
    }
    for (int i = 0; i < n; i += ROWS) {
        const int rows = n - i < ROWS ? n - i : ROWS;
        const float *query[ROWS];
        float inverse[ROWS];
        for (int r = 0; r < ROWS; r++) {
            const int row = i + (r < rows ? r : 0); /* the last block repeats one */
            query[r] = q + row * t->q_token;
            if (cosines) {
                float *to = turned + r * width;
                rotate(query[r], cosines + (size_t)row * width, sines + (size_t)row * width, width, to);
                query[r] = to;
            }
        }
        vec most[ROWS];
        EACH_ROW most[r] = splat(-INFINITY);
        int j = 0;
        for (; j + 2 * LANES <= padded; j += 2 * LANES)
            score(query, keys, scores, most, j, n, padded, width, 2);
        if (j < padded) score(query, keys, scores, most, j, n, padded, width, 1);
        for (int r = 0; r < ROWS; r++) inverse[r] = soften(scores + (size_t)r * padded, padded, most[r]);
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
        float *scratch = malloc(sizeof(float) * (padded * (width + wide + ROWS) + ROWS * width));
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

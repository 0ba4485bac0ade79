/* Products, norms and attention in bfloat16, summed in float32, for processors that multiply bfloat16
   (AVX512-BF16: two products and two sums for each of 16 lanes at once).

   A matrix of weights is packed once: 64 outputs side by side, of each two inputs after each other,
   as the instruction takes them. Six rows of tokens meet such a panel at a time, and their 6 x 64 sums
   stay in registers from the first input to the last; what comes after a product (bias, GELU, the
   residual stream) is done as the sums are written.

   Compiled by compiled.py for the machine at hand. With ESMKIT_PLAIN the instructions are written out in
   plain C, so that all of it can be tried on any machine, slowly. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define LANES 16
#define ROWS 6    /* 24 sums, 4 vectors of weights and a token's pair fill the 32 registers */
#define PANEL 64  /* outputs of a panel: four vectors */

typedef uint16_t half; /* a bfloat16 */

INLINE float wide(half h) { uint32_t u = (uint32_t)h << 16; float f; memcpy(&f, &u, 4); return f; }
INLINE half narrow(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if (f != f) return (half)(u >> 16 | 0x40);
    return (half)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

#ifdef ESMKIT_PLAIN
typedef struct { float x[16]; } vec;
typedef struct { half x[32]; } pairs;
#define EACH for (int l = 0; l < 16; l++)
INLINE vec splat(float f) { vec v; EACH v.x[l] = f; return v; }
INLINE vec load(const float *p) { vec v; memcpy(&v, p, 64); return v; }
INLINE void store(float *p, vec v) { memcpy(p, &v, 64); }
INLINE vec add(vec a, vec b) { EACH a.x[l] += b.x[l]; return a; }
INLINE vec sub(vec a, vec b) { EACH a.x[l] -= b.x[l]; return a; }
INLINE vec mul(vec a, vec b) { EACH a.x[l] *= b.x[l]; return a; }
INLINE vec muladd(vec a, vec b, vec c) { EACH a.x[l] = fmaf(a.x[l], b.x[l], c.x[l]); return a; }
INLINE vec larger(vec a, vec b) { EACH a.x[l] = a.x[l] > b.x[l] ? a.x[l] : b.x[l]; return a; }
INLINE vec over(vec a, vec b) { EACH a.x[l] /= b.x[l]; return a; }
INLINE vec signed_as(vec a, vec b) { EACH a.x[l] = copysignf(a.x[l], b.x[l]); return a; }
INLINE vec whole(vec a) { EACH a.x[l] = nearbyintf(a.x[l]); return a; }
INLINE vec power(vec a, vec n) { EACH a.x[l] = ldexpf(a.x[l], (int)n.x[l]); return a; }
INLINE float total(vec a) { float s = 0; EACH s += a.x[l]; return s; }
INLINE float largest(vec a) { float s = a.x[0]; EACH s = a.x[l] > s ? a.x[l] : s; return s; }
INLINE pairs load_pairs(const half *p) { pairs v; memcpy(&v, p, 64); return v; }
INLINE pairs splat_pair(const half *p) { pairs v; EACH { v.x[2 * l] = p[0]; v.x[2 * l + 1] = p[1]; } return v; }
INLINE vec dot(vec sum, pairs a, pairs b)
{
    EACH sum.x[l] += wide(a.x[2 * l]) * wide(b.x[2 * l]) + wide(a.x[2 * l + 1]) * wide(b.x[2 * l + 1]);
    return sum;
}
INLINE void store_halves(half *p, vec v) { EACH p[l] = narrow(v.x[l]); }
INLINE vec load_halves(const half *p) { vec v; EACH v.x[l] = wide(p[l]); return v; }
#else
#include <immintrin.h>
typedef __m512 vec;
typedef __m512bh pairs;
INLINE vec splat(float f) { return _mm512_set1_ps(f); }
INLINE vec load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store(float *p, vec v) { _mm512_storeu_ps(p, v); }
INLINE vec add(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
INLINE vec mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec muladd(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec larger(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec over(vec a, vec b) { return _mm512_div_ps(a, b); }
INLINE vec signed_as(vec a, vec b)
{
    const __m512i sign = _mm512_set1_epi32((int)0x80000000);
    __m512i bits = _mm512_castps_si512(b);
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(sign, bits, _mm512_castps_si512(a), 0xca));
}
INLINE vec whole(vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vec power(vec a, vec n) { return _mm512_scalef_ps(a, n); }
INLINE float total(vec a) { return _mm512_reduce_add_ps(a); }
INLINE float largest(vec a) { return _mm512_reduce_max_ps(a); }
INLINE pairs load_pairs(const half *p) { return (pairs)_mm512_loadu_si512(p); }
INLINE pairs splat_pair(const half *p) { int32_t both; memcpy(&both, p, 4); return (pairs)_mm512_set1_epi32(both); }
INLINE vec dot(vec sum, pairs a, pairs b) { return _mm512_dpbf16_ps(sum, a, b); }
INLINE void store_halves(half *p, vec v) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(v)); }
INLINE vec load_halves(const half *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
#endif

#define EACH_ROW _Pragma("GCC unroll 6") for (int r = 0; r < ROWS; r++)
#define EACH_VECTOR _Pragma("GCC unroll 4") for (int v = 0; v < PANEL / LANES; v++)

/* exp of numbers <= 0: 2^n e^r with |r| <= ln(2)/2 (Cody and Waite), e^r by its Taylor series to r^6;
   what is below -87 is taken for -87, and NaN goes on. */
INLINE vec exponential(vec x)
{
    x = larger(splat(-87.0f), x);
    vec n = whole(mul(x, splat(1.44269504f)));
    vec r = muladd(n, splat(-0.693359375f), x);
    r = muladd(n, splat(2.12194440e-4f), r);
    vec series = splat(1.0f / 720);
    series = muladd(series, r, splat(1.0f / 120));
    series = muladd(series, r, splat(1.0f / 24));
    series = muladd(series, r, splat(1.0f / 6));
    series = muladd(series, r, splat(0.5f));
    series = muladd(series, r, splat(1.0f));
    series = muladd(series, r, splat(1.0f));
    return power(series, n);
}

/* x (1 + erf(x / sqrt(2))) / 2, erf by Abramowitz and Stegun 7.1.26, whose error is below 1.5e-7. */
INLINE vec gelu(vec x)
{
    vec z = mul(x, splat(0.70710678f));
    vec size = signed_as(z, splat(0.0f));
    vec t = over(splat(1.0f), muladd(size, splat(0.3275911f), splat(1.0f)));
    vec series = splat(1.061405429f);
    series = muladd(series, t, splat(-1.453152027f));
    series = muladd(series, t, splat(1.421413741f));
    series = muladd(series, t, splat(-0.284496736f));
    series = muladd(series, t, splat(0.254829592f));
    vec tail = mul(mul(series, t), exponential(sub(splat(0.0f), mul(z, z))));
    vec erf = signed_as(sub(splat(1.0f), tail), z);
    return mul(mul(x, splat(0.5f)), add(splat(1.0f), erf));
}

/* What becomes of the sums of a product. */
enum { HALVES, GELU, FLOATS };

typedef struct {
    const half *x;    /* (rows, inputs) */
    const half *w;    /* (panels, inputs / 2, PANEL, 2) */
    const float *bias; /* (panels * PANEL,) */
    const float *add; /* (rows, outputs) or NULL; of FLOATS only */
    void *out;        /* (rows, outputs), halves or floats */
    int64_t x_row, add_row, out_row; /* how far it is to the next row */
    int64_t rows, inputs, outputs;
    int64_t kind;
} Product;

/* Six rows and one panel. */
INLINE void six_rows(const Product *p, int64_t row, int rows, int64_t panel)
{
    const half *x[ROWS], *w = p->w + panel * p->inputs * PANEL;
    vec sum[ROWS][PANEL / LANES];
    for (int r = 0; r < ROWS; r++) x[r] = p->x + (row + (r < rows ? r : 0)) * p->x_row;
    EACH_VECTOR {
        vec bias = load(p->bias + panel * PANEL + v * LANES);
        EACH_ROW sum[r][v] = bias;
    }
    for (int64_t k = 0; k < p->inputs; k += 2) {
        pairs weights[PANEL / LANES];
        EACH_VECTOR weights[v] = load_pairs(w + k * PANEL + v * 2 * LANES);
        EACH_ROW {
            pairs given = splat_pair(x[r] + k);
            EACH_VECTOR sum[r][v] = dot(sum[r][v], given, weights[v]);
        }
    }
    const int64_t first = panel * PANEL;
    for (int r = 0; r < rows; r++) {
        for (int v = 0; v < PANEL / LANES; v++) {
            const int64_t at = first + v * LANES;
            if (at >= p->outputs) break; /* outputs are a multiple of LANES */
            vec made = sum[r][v];
            if (p->kind == FLOATS) {
                if (p->add) made = add(made, load(p->add + (row + r) * p->add_row + at));
                store((float *)p->out + (row + r) * p->out_row + at, made);
            } else {
                if (p->kind == GELU) made = gelu(made);
                store_halves((half *)p->out + (row + r) * p->out_row + at, made);
            }
        }
    }
}

#define CHUNK (16 * ROWS) /* rows of a task */

void esmkit_product(const Product *p, int threads)
{
    const int64_t panels = (p->outputs + PANEL - 1) / PANEL, chunks = (p->rows + CHUNK - 1) / CHUNK;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (threads > 1)
    for (int64_t task = 0; task < panels * chunks; task++) {
        const int64_t panel = task / chunks, begin = task % chunks * CHUNK;
        const int64_t end = begin + CHUNK < p->rows ? begin + CHUNK : p->rows;
        for (int64_t row = begin; row < end; row += ROWS)
            six_rows(p, row, end - row < ROWS ? (int)(end - row) : ROWS, panel);
    }
}

/* Layer norm of float32 rows to halves; the width is a multiple of LANES. */
void esmkit_norm(const float *x, const float *scale, const float *shift, half *out, int64_t rows,
                 int64_t width, float epsilon, int threads)
{
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * width;
        vec sum = splat(0), square = splat(0);
        for (int64_t d = 0; d < width; d += LANES) sum = add(sum, load(from + d));
        const vec mean = splat(total(sum) / (float)width);
        for (int64_t d = 0; d < width; d += LANES) {
            vec apart = sub(load(from + d), mean);
            square = muladd(apart, apart, square);
        }
        const vec inverse = splat(1.0f / sqrtf(total(square) / (float)width + epsilon));
        for (int64_t d = 0; d < width; d += LANES) {
            vec normed = mul(sub(load(from + d), mean), inverse);
            store_halves(out + row * width + d, muladd(normed, load(scale + d), load(shift + d)));
        }
    }
}

/* Where q, k, v and out are, in halves, and how far it is to the next head and the next token; and
   the cosines and sines of the rotary positions, (tokens, width), float32. */
typedef struct {
    const half *q, *k, *v;
    half *out;
    const float *cosines, *sines;
    int64_t q_head, q_token, k_head, k_token, v_head, v_token, out_head, out_token;
} Tensors;

INLINE void turned(const half *x, const float *cosines, const float *sines, int width, float scaling,
                   half *to)
{
    const int middle = width / 2;
    for (int d = 0; d < middle; d++) {
        const float a = wide(x[d]), b = wide(x[d + middle]);
        to[d] = narrow((a * cosines[d] - b * sines[d]) * scaling);
        to[d + middle] = narrow((b * cosines[d + middle] + a * sines[d + middle]) * scaling);
    }
}

/* Scores of ROWS queries with `vectors` times LANES keys from j on, of n in all. */
INLINE void score(half queries[ROWS][256], const half *keys, float *scores, vec *most, int j, int n,
                  int padded, int width, int vectors)
{
    vec sum[ROWS][2];
    EACH_ROW sum[r][0] = sum[r][1] = splat(0);
    for (int d = 0; d < width; d += 2) {
        const half *at = keys + (size_t)d * padded + 2 * j;
        pairs first = load_pairs(at), second = vectors == 2 ? load_pairs(at + 2 * LANES) : first;
        EACH_ROW {
            pairs query = splat_pair(queries[r] + d);
            sum[r][0] = dot(sum[r][0], query, first);
            if (vectors == 2) sum[r][1] = dot(sum[r][1], query, second);
        }
    }
    if (j + vectors * LANES > n) {
        float outside[LANES];
        for (int l = 0; l < LANES; l++)
            outside[l] = j + (vectors - 1) * LANES + l < n ? 0.0f : -INFINITY;
        EACH_ROW sum[r][vectors - 1] = add(sum[r][vectors - 1], load(outside));
    }
    EACH_ROW for (int v = 0; v < vectors; v++) {
        store(scores + (size_t)r * padded + j + v * LANES, sum[r][v]);
        most[r] = larger(most[r], sum[r][v]);
    }
}

/* One head of one sequence, tokens begin to begin + n. */
static void one_head(const Tensors *t, int head, int64_t begin, int n, int width, float scaling,
                     void *scratch)
{
    const int padded = (n + LANES - 1) / LANES * LANES, broad = (width + LANES - 1) / LANES * LANES;
    const half *q = t->q + head * t->q_head + begin * t->q_token;
    const half *k = t->k + head * t->k_head + begin * t->k_token;
    const half *v = t->v + head * t->v_head + begin * t->v_token;
    const float *cosines = t->cosines + begin * width, *sines = t->sines + begin * width;
    half *out = t->out + head * t->out_head + begin * t->out_token;
    float *scores = scratch;                                  /* (ROWS, padded) */
    half *keys = (half *)(scores + (size_t)ROWS * padded);    /* (width / 2, padded, 2) */
    half *values = keys + (size_t)width * padded;             /* (padded / 2, broad, 2) */
    half *weights = values + (size_t)padded * broad;          /* (ROWS, padded) */
    half queries[ROWS][256];
    memset(keys, 0, sizeof(half) * (size_t)padded * (width + broad));
    for (int j = 0; j < n; j++) {
        turned(k + j * t->k_token, cosines + (size_t)j * width, sines + (size_t)j * width, width, 1.0f,
               queries[0]);
        for (int d = 0; d < width; d++)
            keys[((size_t)(d / 2) * padded + j) * 2 + d % 2] = queries[0][d];
        for (int d = 0; d < width; d++)
            values[((size_t)(j / 2) * broad + d) * 2 + j % 2] = v[j * t->v_token + d];
    }
    for (int i = 0; i < n; i += ROWS) {
        const int rows = n - i < ROWS ? n - i : ROWS;
        float inverse[ROWS];
        vec most[ROWS];
        for (int r = 0; r < ROWS; r++) {
            const int row = i + (r < rows ? r : 0); /* the last block repeats one */
            turned(q + row * t->q_token, cosines + (size_t)row * width, sines + (size_t)row * width,
                   width, scaling, queries[r]);
            most[r] = splat(-INFINITY);
        }
        int j = 0;
        for (; j + 2 * LANES <= padded; j += 2 * LANES)
            score(queries, keys, scores, most, j, n, padded, width, 2);
        if (j < padded) score(queries, keys, scores, most, j, n, padded, width, 1);
        for (int r = 0; r < ROWS; r++) {
            const vec peak = splat(largest(most[r]));
            vec sum = splat(0);
            for (j = 0; j < padded; j += LANES) {
                vec e = exponential(sub(load(scores + (size_t)r * padded + j), peak));
                store_halves(weights + (size_t)r * padded + j, e);
                sum = add(sum, e);
            }
            inverse[r] = 1.0f / total(sum);
        }
        for (int d = 0; d < broad; d += LANES) {
            vec mixed[ROWS];
            EACH_ROW mixed[r] = splat(0);
            for (j = 0; j < n; j += 2) {
                pairs value = load_pairs(values + ((size_t)(j / 2) * broad + d) * 2);
                EACH_ROW mixed[r] = dot(mixed[r], splat_pair(weights + (size_t)r * padded + j), value);
            }
            for (int r = 0; r < rows; r++) {
                half made[LANES];
                store_halves(made, mul(mixed[r], splat(inverse[r])));
                const int many = width - d < LANES ? width - d : LANES;
                memcpy(out + (i + r) * t->out_token + d, made, sizeof(half) * many);
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
    const size_t broad = (width + LANES - 1) / LANES * LANES;
    const size_t bytes = padded * (ROWS * sizeof(float) + (width + broad + ROWS) * sizeof(half));
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        void *scratch = malloc(bytes);
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

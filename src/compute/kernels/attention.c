/*
 * Causal attention of one head, by blocks of queries.
 *
 * A block of queries sees the keys up to its own end only, so most of the upper triangle is never
 * computed, and a block of scores stays in cache. Products are those of simd/panels.h: scores come
 * out in the layout in which they go into the next product. The derivative computes the
 * probabilities again: keeping them would take T x T values for every head of every row.
 *
 * Extents that are no multiples of 16 are filled up with zeros, which add nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "clones.h"
#include "elementary.h"
#include "kernels_internal.h"
#include "simd/gemm.h"
#include "simd/panels.h"

#include <math.h>
#include <string.h>

/* Queries of a block: a multiple of LMN__ROW_UNIT. */
#define BLOCK ((size_t)48)
#define PANEL ((size_t)LMN__PANEL)

static size_t panels_of(size_t extent)
{
    return (extent + PANEL - 1) / PANEL;
}

/* Packed parts of one head. t and d count in panels below. */
typedef struct packed {
    const lmn__head *head;
    size_t t_panels, d_panels;
    float *keys, *values;                       /* [d panel][t][16] */
    float *keys_transposed, *values_transposed; /* [t panel][d][16] */
    float *q, *dout;                            /* of a block: [d panel][BLOCK][16] */
    float *p, *ds;                              /* of a block: [t panel][BLOCK][16] */
    float *out;                                 /* one panel of a block: [BLOCK][16] */
    float *dk, *dv;                             /* [t panel][d panel][16][16] */
} packed;

size_t lmn__attention_workspace(size_t t, size_t d)
{
    const size_t whole = panels_of(t) * panels_of(d) * PANEL * PANEL;
    const size_t block = BLOCK * PANEL;
    return 6 * whole + 2 * block * (panels_of(t) + panels_of(d)) + block;
}

static packed lay_out(const lmn__head *head, float *workspace)
{
    packed a = {.head = head, .t_panels = panels_of(head->t), .d_panels = panels_of(head->d)};
    const size_t whole = a.t_panels * a.d_panels * PANEL * PANEL;
    const size_t block = BLOCK * PANEL;
    a.keys = workspace;
    a.values = a.keys + whole;
    a.keys_transposed = a.values + whole;
    a.values_transposed = a.keys_transposed + whole;
    a.dk = a.values_transposed + whole;
    a.dv = a.dk + whole;
    a.q = a.dv + whole;
    a.dout = a.q + block * a.d_panels;
    a.p = a.dout + block * a.d_panels;
    a.ds = a.p + block * a.t_panels;
    a.out = a.ds + block * a.t_panels;
    return a;
}

/* x [n, d] with rows `stride` apart to [d panel][n_rows][16]; rows from n on are zero. */
static void pack(size_t n, size_t d, size_t stride, const float *x, size_t n_rows, float *to)
{
    for (size_t first = 0; first < d; first += PANEL) {
        const size_t width = d - first < PANEL ? d - first : PANEL;
        for (size_t row = 0; row < n; row++) {
            memcpy(to + row * PANEL, x + row * stride + first, width * sizeof *to);
            memset(to + row * PANEL + width, 0, (PANEL - width) * sizeof *to);
        }
        memset(to + n * PANEL, 0, (n_rows - n) * PANEL * sizeof *to);
        to += n_rows * PANEL;
    }
}

/* x [n, d] with rows `stride` apart to its transpose [n panel][d panels * 16][16]. */
static void pack_transposed(size_t n, size_t d, size_t stride, const float *x, float *to)
{
    const lmn__gemm_kernels *kernels = lmn__gemm_kernels_get();
    const size_t depth = panels_of(d) * PANEL;
    for (size_t row = 0; row < n; row += PANEL) {
        const size_t width = n - row < PANEL ? n - row : PANEL;
        kernels->pack_transposed(d, width, x + row * stride, stride, PANEL, to);
        memset(to + d * PANEL, 0, (depth - d) * PANEL * sizeof *to);
        to += depth * PANEL;
    }
}

/* [n, width of one panel] back to rows `stride` apart. */
static void unpack(size_t n, size_t width, const float *panel, float *x, size_t stride)
{
    for (size_t row = 0; row < n; row++) {
        memcpy(x + row * stride, panel + row * PANEL, width * sizeof *x);
    }
}

/* Queries first .. first + n - 1, which see the keys of n_panels panels. */
typedef struct block {
    size_t first;
    size_t n;
    size_t n_panels;
} block;

static block make_block(const lmn__head *head, size_t first)
{
    const size_t n = head->t - first < BLOCK ? head->t - first : BLOCK;
    return (block){.first = first, .n = n, .n_panels = panels_of(first + n)};
}

/* The largest of [n_panels][16], whose panels are BLOCK rows apart. */
static inline float largest_of(size_t n_panels, const float *row)
{
    float largest[LMN__PANEL];
    memcpy(largest, row, sizeof largest);
    for (size_t panel = 1; panel < n_panels; panel++) {
        const float *line = row + panel * BLOCK * PANEL;
#pragma omp simd
        for (size_t i = 0; i < PANEL; i++) {
            largest[i] = line[i] > largest[i] ? line[i] : largest[i];
        }
    }
    for (size_t width = PANEL / 2; width > 0; width /= 2) {
        for (size_t i = 0; i < width; i++) {
            largest[i] = largest[i + width] > largest[i] ? largest[i + width] : largest[i];
        }
    }
    return largest[0];
}

/*
 * One row of scores to probabilities: the first `valid` of [n_panels][16], whose panels are BLOCK
 * rows apart; the others become 0. A row with NaN becomes NaN.
 */
LMN__CLONES static void softmax_row(size_t valid, size_t n_panels, float factor, float *row)
{
    const size_t step = BLOCK * PANEL;
    const size_t n_used = (valid + PANEL - 1) / PANEL;
    float *last = row + (n_used - 1) * step;
    for (size_t i = valid - (n_used - 1) * PANEL; i < PANEL; i++) {
        last[i] = -INFINITY;
    }
    const float largest = largest_of(n_used, row);
    float sums[LMN__PANEL] = {0.0F};
    for (size_t panel = 0; panel < n_used; panel++) {
        float *line = row + panel * step;
#pragma omp simd
        for (size_t i = 0; i < PANEL; i++) {
            line[i] = lmn__exp(factor * (line[i] - largest));
            sums[i] += line[i];
        }
    }
    const float scale = 1.0F / lmn__kernel_sum(PANEL, sums);
    for (size_t panel = 0; panel < n_panels; panel++) {
        float *line = row + panel * step;
        const float used = panel < n_used ? scale : 0.0F;
#pragma omp simd
        for (size_t i = 0; i < PANEL; i++) {
            line[i] = used == 0.0F ? 0.0F : line[i] * used;
        }
    }
}

/* ds = factor p (dp - sum of p dp) for one row; ds holds dp. */
LMN__CLONES static void softmax_row_grad(size_t n_panels, float factor, const float *p, float *ds)
{
    const size_t step = BLOCK * PANEL;
    float sums[LMN__PANEL] = {0.0F};
    for (size_t panel = 0; panel < n_panels; panel++) {
#pragma omp simd
        for (size_t i = 0; i < PANEL; i++) {
            sums[i] += p[panel * step + i] * ds[panel * step + i];
        }
    }
    const float mean = lmn__kernel_sum(PANEL, sums);
    for (size_t panel = 0; panel < n_panels; panel++) {
#pragma omp simd
        for (size_t i = 0; i < PANEL; i++) {
            ds[panel * step + i] = factor * p[panel * step + i] * (ds[panel * step + i] - mean);
        }
    }
}

/* What scores are multiplied by. */
static float score_factor(const lmn__head *head)
{
    return (float)(1.0 / sqrt((double)head->d));
}

/* rows [n, d] in panels times a transposed matrix, to [t panel][BLOCK][16]. */
static void multiply_by_transposed(const packed *a, block b, const float *rows,
                                   const float *transposed, float *product)
{
    const lmn__panel_kernels *kernels = lmn__panel_kernels_get();
    for (size_t panel = 0; panel < b.n_panels; panel++) {
        kernels->multiply(b.n, a->d_panels, rows, BLOCK * PANEL,
                          transposed + panel * a->d_panels * PANEL * PANEL, false,
                          product + panel * BLOCK * PANEL);
    }
}

/* weights [n, t] in panels times a matrix [t, d], to rows of `to`, `stride` apart. */
static void multiply_to_rows(const packed *a, block b, const float *weights, const float *matrix,
                             float *to, size_t stride)
{
    const lmn__panel_kernels *kernels = lmn__panel_kernels_get();
    for (size_t panel = 0; panel < a->d_panels; panel++) {
        const size_t left = a->head->d - panel * PANEL;
        kernels->multiply(b.n, b.n_panels, weights, BLOCK * PANEL,
                          matrix + panel * a->t_panels * PANEL * PANEL, false, a->out);
        unpack(b.n, left < PANEL ? left : PANEL, a->out, to + panel * PANEL, stride);
    }
}

/* sums [t, d] += weights' rows, by tiles of 16 x 16. */
static void add_transposed(const packed *a, block b, const float *weights, const float *rows,
                           float *sums)
{
    const lmn__panel_kernels *kernels = lmn__panel_kernels_get();
    for (size_t panel = 0; panel < b.n_panels; panel++) {
        for (size_t column = 0; column < a->d_panels; column++) {
            kernels->multiply_transposed(b.n, weights + panel * BLOCK * PANEL,
                                         rows + column * BLOCK * PANEL, sums);
            sums += PANEL * PANEL;
        }
    }
}

/* The probabilities of a block, from its packed queries. */
static void find_probabilities(const packed *a, block b)
{
    const lmn__head *head = a->head;
    pack(b.n, head->d, head->stride, head->q + b.first * head->stride, BLOCK, a->q);
    multiply_by_transposed(a, b, a->q, a->keys_transposed, a->p);
    for (size_t row = 0; row < b.n; row++) {
        softmax_row(b.first + row + 1, b.n_panels, score_factor(head), a->p + row * PANEL);
    }
}

void lmn__attention(const lmn__head *head, float *workspace, float *out, size_t out_stride)
{
    const packed a = lay_out(head, workspace);
    pack_transposed(head->t, head->d, head->stride, head->k, a.keys_transposed);
    pack(head->t, head->d, head->stride, head->v, a.t_panels * PANEL, a.values);
    for (size_t first = 0; first < head->t; first += BLOCK) {
        const block b = make_block(head, first);
        find_probabilities(&a, b);
        multiply_to_rows(&a, b, a.p, a.values, out + first * out_stride, out_stride);
    }
}

/* Tiles of 16 x 16 to rows [t, d] that are `stride` apart. */
static void unpack_tiles(const packed *a, const float *tiles, float *to, size_t stride)
{
    const lmn__head *head = a->head;
    for (size_t row = 0; row < head->t; row += PANEL) {
        const size_t n = head->t - row < PANEL ? head->t - row : PANEL;
        for (size_t column = 0; column < head->d; column += PANEL) {
            const size_t width = head->d - column < PANEL ? head->d - column : PANEL;
            unpack(n, width, tiles, to + row * stride + column, stride);
            tiles += PANEL * PANEL;
        }
    }
}

static void add_block_grad(const packed *a, block b, const float *dout, size_t out_stride,
                           float *dq)
{
    const lmn__head *head = a->head;
    find_probabilities(a, b);
    pack(b.n, head->d, out_stride, dout + b.first * out_stride, BLOCK, a->dout);
    multiply_by_transposed(a, b, a->dout, a->values_transposed, a->ds);
    for (size_t row = 0; row < b.n; row++) {
        softmax_row_grad(b.n_panels, score_factor(head), a->p + row * PANEL, a->ds + row * PANEL);
    }
    multiply_to_rows(a, b, a->ds, a->keys, dq + b.first * head->stride, head->stride);
    add_transposed(a, b, a->ds, a->q, a->dk);
    add_transposed(a, b, a->p, a->dout, a->dv);
}

void lmn__attention_grad(const lmn__head *head, const float *dout, size_t out_stride,
                         float *workspace, float *dq, float *dk, float *dv)
{
    const packed a = lay_out(head, workspace);
    const size_t whole = a.t_panels * a.d_panels * PANEL * PANEL;
    pack_transposed(head->t, head->d, head->stride, head->k, a.keys_transposed);
    pack_transposed(head->t, head->d, head->stride, head->v, a.values_transposed);
    pack(head->t, head->d, head->stride, head->k, a.t_panels * PANEL, a.keys);
    memset(a.dk, 0, whole * sizeof *a.dk);
    memset(a.dv, 0, whole * sizeof *a.dv);
    for (size_t first = 0; first < head->t; first += BLOCK) {
        add_block_grad(&a, make_block(head, first), dout, out_stride, dq);
    }
    unpack_tiles(&a, a.dk, dk, head->stride);
    unpack_tiles(&a, a.dv, dv, head->stride);
}

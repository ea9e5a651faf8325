/*
 * Causal attention of one head, by blocks of queries.
 *
 * A block of queries sees the keys up to its own end only, so most of the upper triangle is never
 * computed, and a block of scores stays in cache. The derivative computes the probabilities again:
 * keeping them would take T x T values for every head of every row of the batch.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels_internal.h"

#include <math.h>

/* Queries of a block. */
#define BLOCK ((size_t)64)

size_t lmn__attention_workspace(size_t t)
{
    const size_t rows = t < BLOCK ? t : BLOCK;
    return 2 * rows * t;
}

/* Queries first .. first + n - 1, which see keys 0 .. n_keys - 1. */
typedef struct block {
    size_t first;
    size_t n;
    size_t n_keys;
} block;

static block make_block(const lmn__head *head, size_t first)
{
    const size_t n = head->t - first < BLOCK ? head->t - first : BLOCK;
    return (block){.first = first, .n = n, .n_keys = first + n};
}

static lmn__matrix rows_of(const float *data, size_t stride)
{
    return (lmn__matrix){.data = data, .row_stride = stride};
}

static lmn__matrix transposed(const float *data, size_t stride)
{
    return (lmn__matrix){.data = data, .row_stride = stride, .transposed = true};
}

/* What scores are multiplied by. */
static float score_factor(const lmn__head *head)
{
    return (float)(1.0 / sqrt((double)head->d));
}

/* probabilities [n, n_keys] = softmax of the scores up to the diagonal. */
static void find_probabilities(const lmn__head *head, block b, float *probabilities)
{
    lmn__gemm_scaled(b.n, b.n_keys, head->d, score_factor(head),
                     rows_of(head->q + b.first * head->stride, head->stride),
                     transposed(head->k, head->stride), false, probabilities, b.n_keys);
    for (size_t i = 0; i < b.n; i++) {
        lmn__softmax_row(b.first + i + 1, b.n_keys, probabilities + i * b.n_keys);
    }
}

void lmn__attention(const lmn__head *head, float *workspace, float *out, size_t out_stride)
{
    for (size_t first = 0; first < head->t; first += BLOCK) {
        const block b = make_block(head, first);
        find_probabilities(head, b, workspace);
        lmn__gemm_scaled(b.n, head->d, b.n_keys, 1.0F, rows_of(workspace, b.n_keys),
                         rows_of(head->v, head->stride), false, out + first * out_stride,
                         out_stride);
    }
}

void lmn__attention_grad(const lmn__head *head, const float *dout, size_t out_stride,
                         float *workspace, float *dq, float *dk, float *dv)
{
    const size_t stride = head->stride;
    const float factor = score_factor(head);
    /* Later blocks see all the keys of earlier ones: begun with the last, dk and dv are set whole.
     */
    const size_t n_blocks = (head->t + BLOCK - 1) / BLOCK;
    for (size_t i = n_blocks; i > 0; i--) {
        const block b = make_block(head, (i - 1) * BLOCK);
        const bool adds = i < n_blocks;
        float *p = workspace;
        float *ds = workspace + b.n * b.n_keys;
        const float *dout_block = dout + b.first * out_stride;
        find_probabilities(head, b, p);
        lmn__gemm_scaled(b.n_keys, head->d, b.n, 1.0F, transposed(p, b.n_keys),
                         rows_of(dout_block, out_stride), adds, dv, stride);
        lmn__gemm_scaled(b.n, b.n_keys, head->d, 1.0F, rows_of(dout_block, out_stride),
                         transposed(head->v, stride), false, ds, b.n_keys);
        for (size_t row = 0; row < b.n; row++) {
            float *line = ds + row * b.n_keys;
            lmn__softmax_row_grad(b.n_keys, p + row * b.n_keys, line, line);
        }
        lmn__gemm_scaled(b.n, head->d, b.n_keys, factor, rows_of(ds, b.n_keys),
                         rows_of(head->k, stride), false, dq + b.first * stride, stride);
        lmn__gemm_scaled(b.n_keys, head->d, b.n, factor, transposed(ds, b.n_keys),
                         rows_of(head->q + b.first * stride, stride), adds, dk, stride);
    }
}

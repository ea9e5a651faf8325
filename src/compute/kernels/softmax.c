/*
 * Softmax and what classification needs with it, row by row.
 *
 * The maximum of a row is subtracted before exponentials are taken, so that large logits do not
 * overflow and logits of minus infinity count as probability 0. Labels that name no class stand for
 * rows without a sample: their loss is 0.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels_internal.h"

#include <math.h>
#include <string.h>

#define LANES 16

/* NaN counts as largest, as in the other maxima. */
static size_t find_largest(size_t n, const float *x)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (x[i] > x[best] || (isnan(x[i]) && !isnan(x[best]))) {
            best = i;
        }
    }
    return best;
}

void lmn__kernel_softmax(size_t rows, size_t n, const float *x, float *out)
{
    for (size_t row = 0; row < rows; row++) {
        const float *from = x + row * n;
        float *to = out + row * n;
        const float largest = from[find_largest(n, from)];
        for (size_t i = 0; i < n; i++) {
            to[i] = expf(from[i] - largest);
        }
        lmn__kernel_scale(n, to, 1.0F / lmn__kernel_sum(n, to), to);
    }
}

static bool is_class(int32_t label, size_t n)
{
    return label >= 0 && (size_t)label < n;
}

void lmn__kernel_one_hot(size_t rows, size_t n, const int32_t *labels, float *out)
{
    memset(out, 0, rows * n * sizeof *out);
    for (size_t row = 0; row < rows; row++) {
        if (is_class(labels[row], n)) {
            out[row * n + (size_t)labels[row]] = 1.0F;
        }
    }
}

/* Sum of exp(x - shift), 16 at a time: the partial sums of lmn__kernel_sum. */
static float sum_of_exponentials(size_t n, const float *x, float shift)
{
    float sums[LANES] = {0.0F};
    for (size_t i = 0; i < n; i++) {
        sums[i % LANES] += expf(x[i] - shift);
    }
    return lmn__kernel_sum(LANES, sums);
}

void lmn__kernel_softmax_cross_entropy(size_t rows, size_t n, const float *logits,
                                       const int32_t *labels, float *out)
{
    for (size_t row = 0; row < rows; row++) {
        const float *x = logits + row * n;
        out[row] = 0.0F;
        if (is_class(labels[row], n)) {
            const float largest = x[find_largest(n, x)];
            const float difference = largest - x[labels[row]];
            out[row] = difference + logf(sum_of_exponentials(n, x, largest));
        }
    }
}

void lmn__kernel_hits(size_t rows, size_t n, const float *logits, const int32_t *labels, float *out)
{
    for (size_t row = 0; row < rows; row++) {
        const size_t best = find_largest(n, logits + row * n);
        const bool is_hit = is_class(labels[row], n) && (size_t)labels[row] == best;
        out[row] = is_hit ? 1.0F : 0.0F;
    }
}

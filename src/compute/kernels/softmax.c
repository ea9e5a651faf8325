/*
 * Softmax and what classification needs with it, row by row.
 *
 * The maximum of a row is subtracted before exponentials are taken, so that large logits do not
 * overflow and logits of minus infinity count as probability 0. Labels that name no class stand for
 * rows without a sample: their loss is 0.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "clones.h"
#include "elementary.h"
#include "kernels_internal.h"

#include <math.h>
#include <string.h>

#define LANES 16

/* The largest of [n]; NaN when there is one. 16 at a time. */
LMN__CLONES static float largest_of(size_t n, const float *x)
{
    float largest[LANES];
    float poison[LANES] = {0.0F}; /* becomes NaN with the first NaN */
    for (size_t lane = 0; lane < LANES; lane++) {
        largest[lane] = x[0];
    }
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (size_t lane = 0; lane < LANES; lane++) {
            const float value = x[i + lane];
            largest[lane] = value > largest[lane] ? value : largest[lane];
            poison[lane] += value != value ? value : 0.0F;
        }
    }
    for (; i < n; i++) {
        largest[0] = x[i] > largest[0] ? x[i] : largest[0];
        poison[0] += x[i] != x[i] ? x[i] : 0.0F;
    }
    for (size_t lane = 1; lane < LANES; lane++) {
        largest[0] = largest[lane] > largest[0] ? largest[lane] : largest[0];
        poison[0] += poison[lane];
    }
    return largest[0] + poison[0];
}

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

/* exp(x - shift) */
LMN__CLONES static void exponentials(size_t n, const float *x, float shift, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        out[i] = lmn__exp(x[i] - shift);
    }
}

void lmn__kernel_softmax(size_t rows, size_t n, const float *x, float *out)
{
#pragma omp parallel for schedule(static) if (rows * n > LMN__PARALLEL_COUNT)
    for (size_t row = 0; row < rows; row++) {
        const float *from = x + row * n;
        float *to = out + row * n;
        exponentials(n, from, largest_of(n, from), to);
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
LMN__CLONES static float sum_of_exponentials(size_t n, const float *x, float shift)
{
    float sums[LANES] = {0.0F};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (size_t lane = 0; lane < LANES; lane++) {
            sums[lane] += lmn__exp(x[i + lane] - shift);
        }
    }
    for (size_t lane = 0; i + lane < n; lane++) {
        sums[lane] += lmn__exp(x[i + lane] - shift);
    }
    return lmn__kernel_sum(LANES, sums);
}

void lmn__kernel_softmax_cross_entropy(size_t rows, size_t n, const float *logits,
                                       const int32_t *labels, float *out)
{
#pragma omp parallel for schedule(static) if (rows * n > LMN__PARALLEL_COUNT)
    for (size_t row = 0; row < rows; row++) {
        const float *x = logits + row * n;
        out[row] = 0.0F;
        if (is_class(labels[row], n)) {
            const float largest = largest_of(n, x);
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

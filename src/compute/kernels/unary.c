/*
 * Elementwise kernels with one operand, and the gate.
 *
 * Transcendental functions are the C library's. `out` may be the operand itself: each element is
 * read before it is written, hence simd without restrict.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "clones.h"
#include "kernels_internal.h"

#include <math.h>

/* NaN passes, so that a diverged run shows itself. */
LMN__CLONES void lmn__kernel_relu(size_t n, const float *x, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        out[i] = x[i] < 0.0F ? 0.0F : x[i];
    }
}

void lmn__kernel_tanh(size_t n, const float *x, float *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = tanhf(x[i]);
    }
}

/* The exponential overflows to infinity for very negative x, and 1 / infinity is the right 0. */
void lmn__kernel_sigmoid(size_t n, const float *x, float *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = 1.0F / (1.0F + expf(-x[i]));
    }
}

void lmn__kernel_sin(size_t n, const float *x, float *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = sinf(x[i]);
    }
}

void lmn__kernel_cos(size_t n, const float *x, float *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = cosf(x[i]);
    }
}

void lmn__kernel_log(size_t n, const float *x, float *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = logf(x[i]);
    }
}

void lmn__kernel_sqrt(size_t n, const float *x, float *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = sqrtf(x[i]);
    }
}

LMN__CLONES void lmn__kernel_scale(size_t n, const float *x, float factor, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        out[i] = x[i] * factor;
    }
}

LMN__CLONES void lmn__kernel_gate(size_t n, const float *x, const float *gate, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float value = x[i]; /* read in any case, so that the loop has no branch */
        out[i] = gate[i] > 0.0F ? value : 0.0F;
    }
}

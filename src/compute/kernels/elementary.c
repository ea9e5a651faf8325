/*
 * Loops over the elementary functions of elementary.h, and the Gaussian error linear unit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elementary.h"

#include "clones.h"
#include "kernels_internal.h"

/* The distribution function of the normal distribution. */
static inline float normal_distribution(float x)
{
    return 0.5F * (1.0F + lmn__erf(x * 0.70710678F));
}

LMN__CLONES void lmn__kernel_erf(size_t n, const float *x, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        out[i] = lmn__erf(x[i]);
    }
}

LMN__CLONES void lmn__kernel_exp(size_t n, const float *x, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        out[i] = lmn__exp(x[i]);
    }
}

LMN__CLONES void lmn__kernel_gelu(size_t n, const float *x, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        out[i] = x[i] * normal_distribution(x[i]);
    }
}

/* d/dx x Phi(x) = Phi(x) + x phi(x), phi the density. */
LMN__CLONES void lmn__kernel_gelu_grad(size_t n, const float *x, const float *dy, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float density = 0.39894228F * lmn__exp(-0.5F * x[i] * x[i]);
        out[i] = dy[i] * (normal_distribution(x[i]) + x[i] * density);
    }
}

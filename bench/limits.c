/*
 * What one core of this machine can do at best: products of matrices, and memory.
 *
 * Prints one line of JSON: GFLOP/s of the best of several large square products in OpenBLAS, and
 * GB/s of the STREAM triad a = b + s c (J. D. McCalpin, 1995) over arrays of 128 MiB.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "lamina/memory.h"
#include "lamina/plan.h"

#include <stdio.h>

#include <cblas.h>

enum { REPEATS = 7, TRIAD_COUNT = 32 * 1024 * 1024 };

static float *filled(size_t count)
{
    lmn_error err = lmn_error_none();
    float *values = lmn_alloc(count, sizeof *values, &err);
    for (size_t i = 0; i < count && values != NULL; i++) {
        values[i] = 1.0F / (float)(1 + i % 7);
    }
    return values;
}

static double measure_product(int n)
{
    const size_t count = (size_t)n * (size_t)n;
    float *a = filled(count);
    float *b = filled(count);
    float *c = filled(count);
    double best = 0.0;
    for (int i = 0; i < REPEATS && a != NULL && b != NULL && c != NULL; i++) {
        const double start = lmn_clock_seconds();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1.0F, a, n, b, n, 0.0F, c,
                    n);
        const double rate =
            2e-9 * (double)n * (double)n * (double)n / (lmn_clock_seconds() - start);
        best = rate > best ? rate : best;
    }
    lmn_free(a);
    lmn_free(b);
    lmn_free(c);
    return best;
}

static void triad(const float *restrict b, const float *restrict c, float *restrict a)
{
#pragma omp simd
    for (size_t i = 0; i < TRIAD_COUNT; i++) {
        a[i] = b[i] + 3.0F * c[i];
    }
}

static double measure_triad(void)
{
    float *a = filled(TRIAD_COUNT);
    float *b = filled(TRIAD_COUNT);
    float *c = filled(TRIAD_COUNT);
    double best = 0.0;
    for (int i = 0; i < REPEATS && a != NULL && b != NULL && c != NULL; i++) {
        const double start = lmn_clock_seconds();
        triad(b, c, a);
        const double rate = 12e-9 * (double)TRIAD_COUNT / (lmn_clock_seconds() - start);
        best = rate > best ? rate : best;
    }
    lmn_free(a);
    lmn_free(b);
    lmn_free(c);
    return best;
}

int main(void)
{
    lmn_compute_set_threads(1);
    double gemm = 0.0;
    for (int n = 512; n <= 2048; n *= 2) {
        const double rate = measure_product(n);
        gemm = rate > gemm ? rate : gemm;
    }
    (void)printf("{\"gemm_gflops\": %.1f, \"triad_gbs\": %.1f}\n", gemm, measure_triad());
    return 0;
}

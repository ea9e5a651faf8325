/*
 * Measures of a bucket, for one instruction set: see buckets.h and lamina_add_isa_variants.
 *
 * Sums are made in double by 16 partial sums, of which number i takes elements i, i + 16, ..., so
 * that neither overflow nor the width of the registers can show.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "buckets.h"

#include <math.h>
#include <string.h>

#define AT_ONCE ((size_t)16)
#if defined(__AVX512F__)
#define LANES 8
#elif defined(__AVX__)
#define LANES 4
#else
#define LANES 2
#endif
#define PARTS (AT_ONCE / LANES)

typedef double sums __attribute__((vector_size(LANES * sizeof(double))));
typedef int64_t masks __attribute__((vector_size(LANES * sizeof(double))));

extern const lmn__measure_kernels VARIANT_NAME(lmn__measure_kernels_);

static uint32_t largest_key(const float *x, size_t n)
{
    /* Signed, since baseline x86-64 has no unsigned comparison; keys are below 2^31. */
    int32_t largest = 0;
#pragma omp simd reduction(max : largest)
    for (size_t i = 0; i < n; i++) {
        int32_t key = 0;
        memcpy(&key, &x[i], sizeof key);
        key &= INT32_MAX;
        largest = key > largest ? key : largest;
    }
    return (uint32_t)largest;
}

static inline sums widen(const float *x)
{
#if LANES == 2
    return (sums){(double)x[0], (double)x[1]};
#else
    typedef float lane __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
    return __builtin_convertvector(*(const lane *)x, sums);
#endif
}

static inline sums magnitude(sums x)
{
    return (sums)((masks)x & INT64_MAX);
}

/* Element i of a rest shorter than AT_ONCE goes where it would have gone in a full line. */
static double total(const sums part[PARTS], const double rest[AT_ONCE])
{
    double sum = 0.0;
    for (size_t i = 0; i < AT_ONCE; i++) {
        sum += part[i / LANES][i % LANES] + rest[i];
    }
    return sum;
}

static double magnitudes(const float *x, size_t n)
{
    sums part[PARTS] = {{0.0}};
    const size_t whole = n / AT_ONCE * AT_ONCE;
    for (size_t i = 0; i < whole; i += AT_ONCE) {
        for (size_t j = 0; j < PARTS; j++) {
            part[j] += magnitude(widen(x + i + LANES * j));
        }
    }
    double rest[AT_ONCE] = {0.0};
    for (size_t i = whole; i < n; i++) {
        rest[i - whole] = fabs((double)x[i]);
    }
    return total(part, rest);
}

static void sides(const float *x, size_t n, double sums_out[2])
{
    sums below[PARTS] = {{0.0}};
    sums other[PARTS] = {{0.0}};
    const size_t whole = n / AT_ONCE * AT_ONCE;
    for (size_t i = 0; i < whole; i += AT_ONCE) {
        for (size_t j = 0; j < PARTS; j++) {
            const sums wide = widen(x + i + LANES * j);
            const masks is_below = wide < 0.0;
            below[j] += (sums)((masks)wide & is_below);
            other[j] += (sums)((masks)wide & ~is_below);
        }
    }
    double rest_below[AT_ONCE] = {0.0};
    double rest_other[AT_ONCE] = {0.0};
    for (size_t i = whole; i < n; i++) {
        double *const side = x[i] < 0.0F ? rest_below : rest_other;
        side[i - whole] = (double)x[i];
    }
    sums_out[0] = total(below, rest_below);
    sums_out[1] = total(other, rest_other);
}

static double distance(const float *x, const float *y, size_t n)
{
    sums part[PARTS] = {{0.0}};
    const size_t whole = n / AT_ONCE * AT_ONCE;
    for (size_t i = 0; i < whole; i += AT_ONCE) {
        for (size_t j = 0; j < PARTS; j++) {
            const sums apart = widen(x + i + LANES * j) - widen(y + i + LANES * j);
            part[j] += apart * apart;
        }
    }
    double rest[AT_ONCE] = {0.0};
    for (size_t i = whole; i < n; i++) {
        const double apart = (double)x[i] - (double)y[i];
        rest[i - whole] = apart * apart;
    }
    return total(part, rest);
}

static double energy(const float *x, size_t n)
{
    sums part[PARTS] = {{0.0}};
    const size_t whole = n / AT_ONCE * AT_ONCE;
    for (size_t i = 0; i < whole; i += AT_ONCE) {
        for (size_t j = 0; j < PARTS; j++) {
            const sums wide = widen(x + i + LANES * j);
            part[j] += wide * wide;
        }
    }
    double rest[AT_ONCE] = {0.0};
    for (size_t i = whole; i < n; i++) {
        rest[i - whole] = (double)x[i] * (double)x[i];
    }
    return total(part, rest);
}

static void difference(const float *x, const float *y, size_t n, float *out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        out[i] = x[i] - y[i];
    }
}

const lmn__measure_kernels VARIANT_NAME(lmn__measure_kernels_) = {
    .largest_key = largest_key,
    .magnitudes = magnitudes,
    .sides = sides,
    .energy = energy,
    .distance = distance,
    .difference = difference,
};

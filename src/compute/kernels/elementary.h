/*
 * Elementary functions that compilers can vectorise: no branch, no call, no table.
 *
 * Polynomials were fitted to minimise the largest error over Chebyshev points. Errors are those
 * against the true value, measured by tests/unit/test_elementary.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_ELEMENTARY_H
#define LAMINA_ELEMENTARY_H

#include <stdint.h>

/** 2^n for whole n of -126 .. 127. */
static inline float lmn__power_of_two(float n)
{
    const union {
        int32_t bits;
        float value;
    } pun = {.bits = (int32_t)(((uint32_t)((int32_t)n + 127)) << 23)};
    return pun.value;
}

/**
 * exp(x), within 2 units in the last place. Results below the smallest normal number are 0; NaN
 * stays NaN. Method: x = n log 2 + r, exp(r) by a polynomial of degree 6.
 */
static inline float lmn__exp(float x)
{
    const float magic = 12582912.0F; /* 1.5 2^23: adding it rounds to a whole number */
    const float high = 88.72283F;
    const float low = -87.336540F;
    const float inside = x > low ? (x < high ? x : high) : low; /* NaN becomes low */
    const float n = (inside * 1.44269504F + magic) - magic;
    const float r = (inside - n * 0.693359375F) + n * 2.12194440e-4F;
    float p = 1.395604957e-3F;
    p = p * r + 8.375128581e-3F;
    p = p * r + 4.166608371e-2F;
    p = p * r + 1.666641548e-1F;
    p = p * r + 5.000000168e-1F;
    p = p * r + 1.0F;
    p = p * r + 1.0F;
    /* In two factors, since 2^128 is no number. */
    const float lift = n > 0.0F ? 1.0F : 0.0F;
    const float value = p * lmn__power_of_two(n - lift) * (1.0F + lift);
    const float flushed = x < low ? 0.0F : value;
    const float limited = x > high ? 1.0F / 0.0F : flushed;
    return x == x ? limited : x;
}

/**
 * The error function, within 6 units in the last place. Method: x P(x^2) / Q(x^2) of degrees 5 and
 * 5 below 3.92, from where on the result is 1 but for rounding.
 */
static inline float lmn__erf(float x)
{
    const float limit = 3.92F;
    const float t = x < -limit ? -limit : (x > limit ? limit : x);
    const float s = t * t;
    float p = 2.050087612e-6F;
    p = p * s + 2.848834356e-4F;
    p = p * s + 3.765636512e-3F;
    p = p * s + 5.274878450e-2F;
    p = p * s + 1.904068859e-1F;
    p = p * s + 1.128379146F;
    float q = 3.809175557e-5F;
    q = q * s + 1.162540754e-3F;
    q = q * s + 1.496925559e-2F;
    q = q * s + 1.141092904e-1F;
    q = q * s + 5.020764499e-1F;
    q = q * s + 1.0F;
    const float value = t * p / q;
    return value > 1.0F ? 1.0F : (value < -1.0F ? -1.0F : value);
}

#endif

/*
 * Conversion to 16-bit numbers and back, for one instruction set: see buckets.h and
 * lamina_add_isa_variants.
 *
 * All on the bits, since the instructions for it are neither everywhere nor do they all round
 * alike.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "buckets.h"

#include <string.h>

#define SIGN          INT32_C(0x8000)
#define BF16_LARGEST  INT32_C(0x7F7F)
#define FP16_LARGEST  INT32_C(0x77FF)     /* the largest below 2^15 */
#define FP16_SMALLEST INT32_C(0x38800000) /* bits of 2^-14, below which fp16 is denormal */
/* Exponents of f32 are larger by 127 - 15. */
#define REBIAS (INT32_C(112) << 23)

extern const lmn__half_kernels VARIANT_NAME(lmn__half_kernels_);

static inline int32_t bits_of(float number)
{
    int32_t bits = 0;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static inline float number_of(int32_t bits)
{
    float number = 0.0F;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static inline float from_bf16(int32_t half)
{
    return number_of((int32_t)((uint32_t)half << 16));
}

/* Numbers too large for bf16 become its largest, not infinity. */
static void to_bf16(const float *x, size_t n, uint16_t *halves, float *sent)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const int32_t key = bits_of(x[i]) & INT32_MAX;
        const int32_t sign = (int32_t)((uint32_t)bits_of(x[i]) >> 16) & SIGN;
        const int32_t rounded = (key + (0x7FFF + (key >> 16 & 1))) >> 16;
        const int32_t half = (rounded > BF16_LARGEST ? BF16_LARGEST : rounded) | sign;
        halves[i] = (uint16_t)half;
        sent[i] = from_bf16(half);
    }
}

static void add_bf16(const uint16_t *halves, size_t n, float weight, float *acc)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        acc[i] += weight * from_bf16(halves[i]);
    }
}

static inline float from_fp16(int32_t half)
{
    const int32_t key = half & INT16_MAX;
    const float normal = number_of((key << 13) + REBIAS);
    const float denormal = (float)key * 0x1p-24F;
    const float magnitude = key < 0x400 ? denormal : normal;
    return number_of(bits_of(magnitude) | (int32_t)((uint32_t)(half & SIGN) << 16));
}

static void to_fp16(const float *x, size_t n, float up, float down, uint16_t *halves, float *sent)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const int32_t bits = bits_of(x[i] * up);
        const int32_t key = bits & INT32_MAX;
        const int32_t normal = (key - REBIAS + (0xFFF + (key >> 13 & 1))) >> 13;
        /* The sum has the spacing of denormals, so it is their code, rounded. */
        const int32_t denormal = bits_of(number_of(key) + 0.5F) - bits_of(0.5F);
        const int32_t rounded = key < FP16_SMALLEST ? denormal : normal;
        const int32_t sign = (int32_t)((uint32_t)bits >> 16) & SIGN;
        const int32_t half = (rounded > FP16_LARGEST ? FP16_LARGEST : rounded) | sign;
        halves[i] = (uint16_t)half;
        sent[i] = from_fp16(half) * down;
    }
}

static void add_fp16(const uint16_t *halves, size_t n, float down, float weight, float *acc)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float value = from_fp16(halves[i]) * down;
        acc[i] += weight * value;
    }
}

static uint16_t largest(const uint16_t *halves, size_t n)
{
    int32_t most = 0;
#pragma omp simd reduction(max : most)
    for (size_t i = 0; i < n; i++) {
        const int32_t key = halves[i] & INT16_MAX;
        most = key > most ? key : most;
    }
    return (uint16_t)most;
}

const lmn__half_kernels VARIANT_NAME(lmn__half_kernels_) = {
    .to_bf16 = to_bf16,
    .add_bf16 = add_bf16,
    .to_fp16 = to_fp16,
    .add_fp16 = add_fp16,
    .largest = largest,
};

/*
 * What an allreduce does with numbers.
 *
 * Every loop treats its elements alike and apart from each other, so compilers vectorise it and the
 * bits do not depend on how.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "arithmetic_internal.h"

#include <string.h>

/* bf16 that are moved at a time: read before what they become overwrites them. */
#define BLOCK_COUNT 512

static void take_f32(void *sum, const void *term, size_t count)
{
    memcpy(sum, term, count * sizeof(float));
}

static void sum_f32(void *sum, const void *low, const void *high, size_t count)
{
    float *s = sum;
    const float *a = low;
    const float *b = high;
#pragma omp simd
    for (size_t i = 0; i < count; ++i) {
        s[i] = a[i] + b[i];
    }
}

static void add_f32(void *sum, const void *term, size_t count)
{
    sum_f32(sum, sum, term, count);
}

/* A NaN on any rank wins, so that all ranks see it. */
static void max_f32(void *sum, const void *low, const void *high, size_t count)
{
    float *s = sum;
    const float *a = low;
    const float *b = high;
#pragma omp simd
    for (size_t i = 0; i < count; ++i) {
        const float x = a[i];
        const float y = b[i];
        s[i] = y > x || y != y ? y : x;
    }
}

static void raise_f32(void *sum, const void *term, size_t count)
{
    max_f32(sum, sum, term, count);
}

static void take_i8(void *sum, const void *term, size_t count)
{
    memcpy(sum, term, count);
}

static void sum_i8(void *sum, const void *low, const void *high, size_t count)
{
    int8_t *s = sum;
    const int8_t *a = low;
    const int8_t *b = high;
#pragma omp simd
    for (size_t i = 0; i < count; ++i) {
        s[i] = (int8_t)(a[i] + b[i]);
    }
}

static void add_i8(void *sum, const void *term, size_t count)
{
    sum_i8(sum, sum, term, count);
}

static void take_i16(void *sum, const void *term, size_t count)
{
    memcpy(sum, term, count * sizeof(int16_t));
}

static void sum_i16(void *sum, const void *low, const void *high, size_t count)
{
    int16_t *s = sum;
    const int16_t *a = low;
    const int16_t *b = high;
#pragma omp simd
    for (size_t i = 0; i < count; ++i) {
        s[i] = (int16_t)(a[i] + b[i]);
    }
}

static void add_i16(void *sum, const void *term, size_t count)
{
    sum_i16(sum, sum, term, count);
}

static uint32_t bits_of(float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float value_of(uint32_t bits)
{
    float value = 0.0F;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint16_t rounded(float value)
{
    const uint32_t infinity = 0x7F800000U;
    const uint32_t bits = bits_of(value);
    const uint32_t magnitude = bits & 0x7FFFFFFFU;
    const uint32_t high = (bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16;
    /* Only a finite number can round up to infinity, by one unit. */
    const uint32_t overflow = magnitude < infinity && (high & 0x7FFFU) == infinity >> 16 ? 1U : 0U;
    return (uint16_t)(magnitude > infinity ? bits >> 16 | 0x40U : high - overflow);
}

void lmn__bf16_encode(uint16_t *wire, const float *values, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; ++i) {
        wire[i] = rounded(values[i]);
    }
}

void lmn__bf16_decode(float *values, const void *wire, size_t count)
{
    uint16_t block[BLOCK_COUNT];
    for (size_t first = 0; first < count; first += BLOCK_COUNT) {
        const size_t n = count - first < BLOCK_COUNT ? count - first : BLOCK_COUNT;
        memcpy(block, (const unsigned char *)wire + first * sizeof *block, n * sizeof *block);
#pragma omp simd
        for (size_t i = 0; i < n; ++i) {
            values[first + i] = value_of((uint32_t)block[i] << 16);
        }
    }
}

static void take_bf16(void *sum, const void *term, size_t count)
{
    lmn__bf16_decode(sum, term, count);
}

static void add_bf16(void *sum, const void *term, size_t count)
{
    float *s = sum;
    const uint16_t *t = term;
#pragma omp simd
    for (size_t i = 0; i < count; ++i) {
        s[i] += value_of((uint32_t)t[i] << 16);
    }
}

const lmn__arithmetic *lmn__arithmetic_of(lmn_reduction reduction)
{
    static const lmn__arithmetic table[] = {
        [LMN_REDUCTION_SUM_F32] = {"f32 sums", sizeof(float), sizeof(float), true, true, false,
                                   take_f32, add_f32, sum_f32},
        [LMN_REDUCTION_MAX_F32] = {"f32 maxima", sizeof(float), sizeof(float), false, false, false,
                                   take_f32, raise_f32, max_f32},
        [LMN_REDUCTION_SUM_I8] = {"i8 sums", sizeof(int8_t), sizeof(int8_t), false, true, true,
                                  take_i8, add_i8, sum_i8},
        [LMN_REDUCTION_SUM_I16] = {"i16 sums", sizeof(int16_t), sizeof(int16_t), false, true, true,
                                   take_i16, add_i16, sum_i16},
        [LMN_REDUCTION_SUM_BF16] = {"bf16 sums", sizeof(float), sizeof(uint16_t), true, false,
                                    false, take_bf16, add_bf16, NULL},
    };
    const size_t index = (size_t)reduction;
    return index < sizeof table / sizeof table[0] ? &table[index] : NULL;
}

bool lmn__arithmetic_is_rounded(const lmn__arithmetic *arithmetic)
{
    return arithmetic->wire_bytes != arithmetic->bytes;
}

void lmn__arithmetic_scale(const lmn__arithmetic *arithmetic, void *values, size_t count,
                           float factor)
{
    if (!arithmetic->has_factor) {
        return;
    }
    float *v = values;
#pragma omp simd
    for (size_t i = 0; i < count; ++i) {
        v[i] *= factor;
    }
}

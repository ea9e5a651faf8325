/*
 * Value blocks of sparse messages: f32, bf16, or whole multiples of a scale.
 *
 * A scaled block holds the largest magnitude M of each 512 values as f32, then codes. A code c
 * stands for (c - limit) * (M / limit). Blocks below 2^-100, whose inverse would overflow, are
 * written as zeros. Whatever a checked block holds, its values are finite.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "select_internal.h"
#include "sparse_internal.h"

#include <float.h>
#include <math.h>

#define SMALLEST_SCALE 0x1p-100F
#define BF16_INFINITY  UINT16_C(0x7F80)
#define BF16_LARGEST   UINT16_C(0x7F7F)
/* Added and taken away again, it leaves a small number rounded to nearest, ties to even. */
#define ROUNDER 12582912.0F

static size_t scale_count(size_t n)
{
    return (n + LMN__SPARSE_BLOCK - 1) / LMN__SPARSE_BLOCK;
}

static bool is_scaled(lmn_sparse_values format)
{
    return format == LMN_SPARSE_Q8 || format == LMN_SPARSE_Q4;
}

static float limit_of(lmn_sparse_values format)
{
    return format == LMN_SPARSE_Q8 ? 127.0F : 7.0F;
}

size_t lmn__sparse_value_bytes(lmn_sparse_values format, size_t n)
{
    switch (format) {
    case LMN_SPARSE_F32:
        return sizeof(float) * n;
    case LMN_SPARSE_BF16:
        return (sizeof(uint16_t) * n + 3) / 4 * 4;
    case LMN_SPARSE_Q8:
        return sizeof(float) * scale_count(n) + (n + 3) / 4 * 4;
    default:
        return sizeof(float) * scale_count(n) + (n + 7) / 8 * 4;
    }
}

static uint16_t bf16_of(float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    bits += 0x7FFFU + (bits >> 16 & 1U);
    const uint16_t half = (uint16_t)(bits >> 16);
    const bool overflows = (half & 0x7FFFU) == BF16_INFINITY;
    return overflows ? (uint16_t)((half & 0x8000U) | BF16_LARGEST) : half;
}

static float of_bf16(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value = 0.0F;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The largest magnitude, or 0 where it is too small to divide by. */
static float scale_of(const float *values, size_t count)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t key = lmn__key(values[i]);
        largest = key > largest ? key : largest;
    }
    float scale = 0.0F;
    memcpy(&scale, &largest, sizeof scale);
    return scale < SMALLEST_SCALE ? 0.0F : scale;
}

/* What a code stands for; limit times it must not overflow by rounding. */
static float step_of(float scale, float limit)
{
    const float step = scale / limit;
    return step * limit > FLT_MAX ? nextafterf(step, 0.0F) : step;
}

static float multiple_of(float value, float inverse, float limit)
{
    const float multiple = (value * inverse + ROUNDER) - ROUNDER;
    return multiple > limit ? limit : (multiple < -limit ? -limit : multiple);
}

/* codes [count], a byte each */
static void to_codes(const float *values, size_t count, float scale, float limit, uint8_t *codes)
{
    const float inverse = scale > 0.0F ? limit / scale : 0.0F;
    for (size_t i = 0; i < count; i++) {
        codes[i] = (uint8_t)(int)(multiple_of(values[i], inverse, limit) + limit);
    }
}

static void of_codes(const uint8_t *codes, size_t count, float scale, float limit, float *values)
{
    const float step = step_of(scale, limit);
    for (size_t i = 0; i < count; i++) {
        values[i] = ((float)codes[i] - limit) * step;
    }
}

/* Two codes a byte, the first in its lower half; a missing last one is written as 0. */
static void pack(const uint8_t *codes, size_t count, unsigned char *bytes)
{
    for (size_t i = 0; i + 1 < count; i += 2) {
        bytes[i / 2] = (unsigned char)(codes[i] | (unsigned)codes[i + 1] << 4);
    }
    if (count % 2 != 0) {
        bytes[count / 2] = codes[count - 1];
    }
}

static void unpack(const unsigned char *bytes, size_t count, uint8_t *codes)
{
    for (size_t i = 0; i < count; i++) {
        codes[i] = (uint8_t)((unsigned)bytes[i / 2] >> 4 * (i % 2) & 0xFU);
    }
}

/* Where the codes of block `block` lie. */
static size_t codes_offset(lmn_sparse_values format, size_t n, size_t block)
{
    const size_t block_bytes = format == LMN_SPARSE_Q8 ? LMN__SPARSE_BLOCK : LMN__SPARSE_BLOCK / 2;
    return sizeof(float) * scale_count(n) + block_bytes * block;
}

static void write_scaled(lmn_sparse_values format, const float *values, size_t n,
                         unsigned char *block)
{
    const float limit = limit_of(format);
    uint8_t codes[LMN__SPARSE_BLOCK];
    for (size_t i = 0; i < scale_count(n); i++) {
        const size_t first = i * LMN__SPARSE_BLOCK;
        const size_t count = n - first < LMN__SPARSE_BLOCK ? n - first : LMN__SPARSE_BLOCK;
        const float scale = scale_of(values + first, count);
        unsigned char *const to = block + codes_offset(format, n, i);
        memcpy(block + sizeof scale * i, &scale, sizeof scale);
        to_codes(values + first, count, scale, limit, codes);
        if (format == LMN_SPARSE_Q8) {
            memcpy(to, codes, count);
        } else {
            pack(codes, count, to);
        }
    }
}

void lmn__sparse_value_write(lmn_sparse_values format, const float *values, size_t n,
                             unsigned char *block)
{
    if (format == LMN_SPARSE_F32) {
        memcpy(block, values, n * sizeof values[0]);
        return;
    }
    /* Padding is zero. */
    const size_t bytes = lmn__sparse_value_bytes(format, n);
    if (bytes > 0) {
        memset(block + bytes - 4, 0, 4);
    }
    if (is_scaled(format)) {
        write_scaled(format, values, n, block);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = bf16_of(values[i]);
        memcpy(block + sizeof half * i, &half, sizeof half);
    }
}

/* The codes of a block, a byte each. */
static void read_codes(lmn_sparse_values format, const unsigned char *block, size_t n, size_t first,
                       size_t count, uint8_t *codes)
{
    const unsigned char *from = block + codes_offset(format, n, first / LMN__SPARSE_BLOCK);
    if (format == LMN_SPARSE_Q8) {
        memcpy(codes, from, count);
    } else {
        unpack(from, count, codes);
    }
}

static float read_scale(const unsigned char *block, size_t first)
{
    float scale = 0.0F;
    memcpy(&scale, block + sizeof scale * (first / LMN__SPARSE_BLOCK), sizeof scale);
    return scale;
}

void lmn__sparse_value_read(lmn_sparse_values format, const unsigned char *block, size_t n,
                            size_t first, size_t count, float *values)
{
    if (format == LMN_SPARSE_F32) {
        memcpy(values, block + sizeof *values * first, count * sizeof *values);
        return;
    }
    if (is_scaled(format)) {
        uint8_t codes[LMN__SPARSE_BLOCK];
        read_codes(format, block, n, first, count, codes);
        of_codes(codes, count, read_scale(block, first), limit_of(format), values);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t half = 0;
        memcpy(&half, block + sizeof half * (first + i), sizeof half);
        values[i] = of_bf16(half);
    }
}

/* The first of a block of codes that no writer writes, or count. */
static size_t check_codes(lmn_sparse_values format, const unsigned char *block, size_t n,
                          size_t first, size_t count)
{
    const unsigned largest = 2 * (unsigned)limit_of(format);
    uint8_t codes[LMN__SPARSE_BLOCK];
    read_codes(format, block, n, first, count, codes);
    if (lmn__key(read_scale(block, first)) >= LMN__KEY_INFINITY) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (codes[i] > largest) {
            return i;
        }
    }
    return count;
}

size_t lmn__sparse_value_check(lmn_sparse_values format, const unsigned char *block, size_t n)
{
    float values[LMN__SPARSE_BLOCK];
    for (size_t first = 0; first < n; first += LMN__SPARSE_BLOCK) {
        const size_t count = n - first < LMN__SPARSE_BLOCK ? n - first : LMN__SPARSE_BLOCK;
        size_t i = 0;
        if (is_scaled(format)) {
            i = check_codes(format, block, n, first, count);
        } else {
            lmn__sparse_value_read(format, block, n, first, count, values);
            while (i < count && lmn__key(values[i]) < LMN__KEY_INFINITY) {
                i++;
            }
        }
        if (i < count) {
            return first + i;
        }
    }
    return n;
}

void lmn_sparse_round(float *values, size_t n, lmn_sparse_values format)
{
    if (format == LMN_SPARSE_BF16) {
        for (size_t i = 0; i < n; i++) {
            values[i] = of_bf16(bf16_of(values[i]));
        }
    }
    if (!is_scaled(format)) {
        return;
    }
    const float limit = limit_of(format);
    uint8_t codes[LMN__SPARSE_BLOCK];
    for (size_t first = 0; first < n; first += LMN__SPARSE_BLOCK) {
        const size_t count = n - first < LMN__SPARSE_BLOCK ? n - first : LMN__SPARSE_BLOCK;
        const float scale = scale_of(values + first, count);
        to_codes(values + first, count, scale, limit, codes);
        of_codes(codes, count, scale, limit, values + first);
    }
}

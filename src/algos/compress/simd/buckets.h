/*
 * The inner loops of sliced compressors, compiled once for each instruction set.
 *
 * They are plain C that compilers vectorise. Every variant computes the same bits: no product and
 * sum is fused, sums go through 16 partial sums whatever the width of the registers, and rounding
 * is to nearest, ties to even. Numbers are finite unless said otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SIMD_BUCKETS_H
#define LAMINA_SIMD_BUCKETS_H

#include "lamina/random.h"

#include <stddef.h>
#include <stdint.h>

/** A grid of 2 limit + 1 values, step apart and symmetric about zero. */
typedef struct lmn__grid {
    float inverse; /* 1 / step, or 0 when all is zero */
    float step;
    float limit; /* a whole number, at most 127 */
} lmn__grid;

/** What a bucket of signs stands for. */
typedef struct lmn__sides {
    float negative, other; /* of code 0, of code 1 */
} lmn__sides;

/** Measures of x [n], and how far it is from y [n]. */
typedef struct lmn__measure_kernels {
    uint32_t (*largest_key)(const float *x, size_t n);           /* bits of the largest magnitude */
    double (*magnitudes)(const float *x, size_t n);              /* sum of magnitudes */
    void (*sides)(const float *x, size_t n, double sums_out[2]); /* of x below 0, of all else */
    double (*energy)(const float *x, size_t n);                  /* sum of squares */
    double (*distance)(const float *x, const float *y, size_t n); /* sum of squares of x - y */
    void (*difference)(const float *x, const float *y, size_t n, float *out); /* x - y */
} lmn__measure_kernels;

/** Numbers of x [n] to codes of a byte each, what the codes stand for, and codes to acc [n]. */
typedef struct lmn__code_kernels {
    /* Code c is (c - limit) * step. Numbers beyond the grid go to its ends. */
    void (*to_grid)(const float *x, size_t n, const lmn__grid *grid, uint8_t *codes, float *sent);
    /* The same, up or down at random so that the mean is x; words [n]. */
    void (*to_grid_randomly)(const float *x, size_t n, const lmn__grid *grid, const uint32_t *words,
                             uint8_t *codes, float *sent);
    /* acc += weight * value */
    void (*add_grid)(const uint8_t *codes, size_t n, const lmn__grid *grid, float weight,
                     float *acc);
    /* Code 0 for x below 0, else 1: also for -0. */
    void (*to_signs)(const float *x, size_t n, const lmn__sides *sides, uint8_t *codes,
                     float *sent);
    void (*add_signs)(const uint8_t *codes, size_t n, const lmn__sides *sides, float weight,
                      float *acc);
    /* The exponent of a power of two next to x, as in f32, 0 for 0; sign 1 for a negative x. Up
       from more than the middle on, or with words [n] at random so that the mean is x. */
    void (*to_powers)(const float *x, size_t n, uint8_t *exponents, uint8_t *signs, float *sent);
    void (*to_powers_randomly)(const float *x, size_t n, const uint32_t *words, uint8_t *exponents,
                               uint8_t *signs, float *sent);
    void (*add_powers)(const uint8_t *exponents, const uint8_t *signs, size_t n, float weight,
                       float *acc);
    uint8_t (*largest)(const uint8_t *codes, size_t n);
    /* Groups of 8 codes of `bits` bits each, 1 to 8, to `bits` bytes, the first code lowest. */
    void (*pack)(const uint8_t *codes, size_t n_groups, unsigned bits, unsigned char *bytes);
    void (*unpack)(const unsigned char *bytes, size_t n_groups, unsigned bits, uint8_t *codes);
    /* Groups of 5 codes below 3 to a byte each, the first code lowest. */
    void (*pack_trits)(const uint8_t *codes, size_t n_groups, unsigned char *bytes);
    void (*unpack_trits)(const unsigned char *bytes, size_t n_groups, uint8_t *codes);
} lmn__code_kernels;

/** 16-bit numbers, as they lie in a message, 2-byte aligned. */
typedef struct lmn__half_kernels {
    void (*to_bf16)(const float *x, size_t n, uint16_t *halves, float *sent);
    void (*add_bf16)(const uint16_t *halves, size_t n, float weight, float *acc);
    /* fp16 of x * up; up and down are powers of two whose product is 1, and up keeps x below 2^15.
     */
    void (*to_fp16)(const float *x, size_t n, float up, float down, uint16_t *halves, float *sent);
    void (*add_fp16)(const uint16_t *halves, size_t n, float down, float weight, float *acc);
    uint16_t (*largest)(const uint16_t *halves, size_t n); /* without signs */
} lmn__half_kernels;

/** Random numbers. */
typedef struct lmn__word_kernels {
    /* Elements 4 first_block .. 4 (first_block + n_blocks) - 1 of a stream, as lmn_stream_u32. */
    void (*words)(const lmn_stream *stream, uint32_t first_block, size_t n_blocks, uint32_t *out);
} lmn__word_kernels;

/** One variant of everything; constant. */
typedef struct lmn__bucket_kernels {
    const char *isa; /* "baseline", "avx2", "avx512" */
    const lmn__measure_kernels *measure;
    const lmn__code_kernels *code;
    const lmn__half_kernels *half;
    const lmn__word_kernels *word;
} lmn__bucket_kernels;

/** The variants that this processor can run, the widest first; NULL past the last. */
const lmn__bucket_kernels *lmn__bucket_kernels_variant(size_t index);

/* Names of what a variant defines: VARIANT_NAME(lmn__code_kernels_) is lmn__code_kernels_avx2. */
#define VARIANT_JOIN(a, b)   a##b
#define VARIANT_PASTE(a, b)  VARIANT_JOIN(a, b)
#define VARIANT_NAME(prefix) VARIANT_PASTE(prefix, LMN__VARIANT)

#endif

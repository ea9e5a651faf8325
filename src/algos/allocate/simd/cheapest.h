/*
 * The inner loop of the rounded knapsack, compiled once for each instruction set.
 *
 * Bytes and the level that they belong to are one number, bytes * 256 + level, so the cheapest
 * level, and the lowest of equal ones, is one minimum. Plain C on integers: all variants compute
 * the same.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SIMD_CHEAPEST_H
#define LAMINA_SIMD_CHEAPEST_H

#include <stddef.h>
#include <stdint.h>

/* Rows are worked on in tiles of so many entries. */
#define LMN__CHEAPEST_TILE ((size_t)64)

/* No sum of bytes is reached: above all that are, and sums of it and any of them do not wrap. */
#define LMN__UNREACHABLE (INT64_C(1) << 61)

/** One level of a layer. */
typedef struct lmn__offer {
    size_t buckets; /* that its error takes */
    int64_t value;  /* bytes * 256 + level */
} lmn__offer;

typedef struct lmn__cheapest_kernels {
    const char *isa; /* "baseline", "avx2", "avx512" */

    /**
     * to[b] = bytes * 256 of the cheapest of from[b - offer.buckets] + offer.value over all offers
     * of at most b buckets, choices[b] = its level.
     * from     [n], each a multiple of 256, behind a tile of entries that are unreachable
     * to       [n], choices [n]; n is a multiple of the tile
     */
    void (*choose)(const int64_t *restrict from, size_t n, const lmn__offer *restrict offers,
                   size_t n_offers, int64_t *restrict to, uint8_t *restrict choices);
} lmn__cheapest_kernels;

/** The variants that this processor can run, the widest first; NULL past the last. Constant. */
const lmn__cheapest_kernels *lmn__cheapest_kernels_variant(size_t index);

#endif

/*
 * The inner loop of the rounded knapsack.
 *
 * A tile of the new row stays in the nearest cache, or in registers, while all offers pass by.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cheapest.h"

#define VARIANT_JOIN(a, b)   a##b
#define VARIANT_PASTE(a, b)  VARIANT_JOIN(a, b)
#define VARIANT_NAME(prefix) VARIANT_PASTE(prefix, LMN__VARIANT)

#define TILE LMN__CHEAPEST_TILE

/* best[i] = the smaller of it and from[i] + value */
static inline void offer_tile(const int64_t *restrict from, int64_t value, int64_t *restrict best)
{
#pragma omp simd
    for (size_t i = 0; i < TILE; i++) {
        const int64_t candidate = from[i] + value;
        best[i] = candidate < best[i] ? candidate : best[i];
    }
}

static void choose(const int64_t *restrict from, size_t n, const lmn__offer *restrict offers,
                   size_t n_offers, int64_t *restrict to, uint8_t *restrict choices)
{
    for (size_t first = 0; first < n; first += TILE) {
        int64_t best[TILE];
        for (size_t i = 0; i < TILE; i++) {
            best[i] = LMN__UNREACHABLE;
        }
        for (size_t k = 0; k < n_offers; k++) {
            if (offers[k].buckets < first + TILE) {
                offer_tile(from + first - offers[k].buckets, offers[k].value, best);
            }
        }
        for (size_t i = 0; i < TILE; i++) {
            choices[first + i] = (uint8_t)(best[i] & 255);
            to[first + i] = best[i] & ~INT64_C(255);
        }
    }
}

extern const lmn__cheapest_kernels VARIANT_NAME(lmn__cheapest_kernels_);

#define VARIANT_TEXT(name)  #name
#define VARIANT_QUOTE(name) VARIANT_TEXT(name)

const lmn__cheapest_kernels VARIANT_NAME(lmn__cheapest_kernels_) = {
    .isa = VARIANT_QUOTE(LMN__VARIANT), .choose = choose};

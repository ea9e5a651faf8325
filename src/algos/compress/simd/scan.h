/*
 * Picking out large entries, compiled once for each instruction set.
 *
 * The key of a number is its bit pattern without the sign; see select_internal.h. All variants give
 * the same bits: only the energy is arithmetic, and it goes through 16 partial sums in double,
 * which entry i joins at i modulo 16, whatever the width of the registers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SIMD_SCAN_H
#define LAMINA_SIMD_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define LMN__ENERGY_LANES 16

/** floor is a key, at least 1, so that zeros are never picked. */
typedef struct lmn__scan_kernels {
    const char *isa; /* "baseline", "avx2", "avx512" */

    /**
     * Copy out the entries of x [n] with keys of at least `floor`; the index of x[0] is `first`.
     * Returns their number. indices, values have room for n, and may be overwritten so far.
     */
    size_t (*pick)(const float *x, size_t n, uint32_t floor, uint32_t first, uint32_t *indices,
                   float *values);

    /** The same, and the squares of all other entries are added to `energy`. n is a multiple of
     *  LMN__ENERGY_LANES, but for the last part of a vector. */
    size_t (*pick_and_weigh)(const float *x, size_t n, uint32_t floor, uint32_t first,
                             uint32_t *indices, float *values, double energy[LMN__ENERGY_LANES]);

    /** Of entries [n] keep those with keys of at least `floor`, in place. Returns their number. */
    size_t (*keep)(uint32_t *indices, float *values, size_t n, uint32_t floor);
} lmn__scan_kernels;

/** The variants that this processor can run, the widest first; NULL past the last. Constant. */
const lmn__scan_kernels *lmn__scan_kernels_variant(size_t index);

#endif

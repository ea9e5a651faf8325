/*
 * Selection: which entries of a vector are its k largest by magnitude, exactly and without sorting.
 *
 * The key of a number is its bit pattern without the sign; as an unsigned integer it orders
 * magnitudes, denormals included, and both zeros have key 0. Entries are ordered by descending key,
 * then by ascending index, so the k largest are unique and no result depends on how work is split.
 * Zeros are never selected.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SELECT_INTERNAL_H
#define LAMINA_SELECT_INTERNAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LMN__KEY_MASK     UINT32_C(0x7FFFFFFF)
#define LMN__KEY_INFINITY UINT32_C(0x7F800000) /* NaN lies above */

static inline uint32_t lmn__key(float number)
{
    uint32_t bits = 0;
    memcpy(&bits, &number, sizeof bits);
    return bits & LMN__KEY_MASK;
}

/** Where the selected entries end: all with a larger key, and the first few with this key. */
typedef struct lmn__cut {
    uint32_t key;
    size_t n_above; /* entries with a larger key */
    size_t n_equal; /* selected entries with this key */
} lmn__cut;

/** Bytes of scratch memory, to be 64-byte aligned, that the functions below need. */
size_t lmn__select_scratch_bytes(size_t count);

/**
 * The cut after the k largest.
 * vector  [count] finite; count < 2^32;  k  1 .. count
 */
lmn__cut lmn__select_cut(const float *vector, size_t count, size_t k, void *scratch);

/**
 * For several k at once, the sum of squares of all but the k largest; in double, in a fixed order.
 * vector      [count] finite; 1 <= count < 2^32
 * kept        [n_kept] values of k, each 1 .. count; n_kept <= LMN__SELECT_CUTS_MAX
 * energy_out  [n_kept]
 */
void lmn__select_rest_energy(const float *vector, size_t count, const size_t *kept, size_t n_kept,
                             double *energy_out, void *scratch);

#define LMN__SELECT_CUTS_MAX 64

#endif

/*
 * The largest of a list of entries.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_LARGEST_H
#define LAMINA_LARGEST_H

#include <stddef.h>
#include <stdint.h>

/**
 * Keep the k entries of largest magnitude, of equal ones those of lower index, in ascending order.
 * Returns their number, less than k when there are not so many.
 * indices  [n] ascending, values  [n] finite; the kept ones come first in them
 */
size_t lmn__keep_largest(uint32_t *indices, float *values, size_t n, size_t k);

/** Keep the entries whose magnitude is at least `threshold`. Returns their number. */
size_t lmn__keep_above(uint32_t *indices, float *values, size_t n, float threshold);

#endif

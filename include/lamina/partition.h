/*
 * Cutting a row of elements into nearly equal contiguous parts.
 *
 * The one rule by which slices of batches, buffers and files are dealt out to ranks, so that every
 * room cuts at the same places.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PARTITION_H
#define LAMINA_PARTITION_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_range {
    size_t first;
    size_t count;
} lmn_range;

/**
 * Part `index` of `count` elements cut into `parts`: part i starts at floor(i * count / parts).
 * Sizes differ by at most one; parts may be empty. Requires parts >= 1 and index < parts.
 */
lmn_range lmn_partition(size_t count, size_t parts, size_t index);

/**
 * How much old part i of n and new part j of m have in common, in units of 1 / (n m) of the whole:
 * the length of the intersection of [i m, (i + 1) m) and [j n, (j + 1) n). Over all j it adds up to
 * m, over all i to n. So rows x_i become y_j = sum over i of overlap(i, j) / n x_i of the same
 * mean. Requires i < n and j < m.
 */
size_t lmn_partition_overlap(size_t n, size_t m, size_t i, size_t j);

#ifdef __cplusplus
}
#endif

#endif

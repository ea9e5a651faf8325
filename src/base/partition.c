/*
 * Cutting a row of elements into nearly equal contiguous parts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/partition.h"

#include <assert.h>

/* floor(index * count / parts) without overflow: the quotient and the remainder are split apart. */
static size_t part_start(size_t count, size_t parts, size_t index)
{
    return count / parts * index + count % parts * index / parts;
}

lmn_range lmn_partition(size_t count, size_t parts, size_t index)
{
    assert(parts >= 1 && index < parts);
    const size_t first = part_start(count, parts, index);
    return (lmn_range){.first = first, .count = part_start(count, parts, index + 1) - first};
}

size_t lmn_partition_overlap(size_t n, size_t m, size_t i, size_t j)
{
    assert(i < n && j < m);
    const size_t first = i * m > j * n ? i * m : j * n;
    const size_t end = (i + 1) * m < (j + 1) * n ? (i + 1) * m : (j + 1) * n;
    return end > first ? end - first : 0;
}

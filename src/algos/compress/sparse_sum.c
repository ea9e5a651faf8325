/*
 * Cutting sparse entries into ranges, and the sum of what arrives for one range.
 *
 * A sum is kept dense, with a bit for each element that any message had: messages are added at the
 * speed of plain decoding (sparse.c), and the entries come out in order without sorting.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "sparse_internal.h"

#define WORD_BITS ((size_t)64)

static size_t word_count(size_t span)
{
    return (span + WORD_BITS - 1) / WORD_BITS;
}

/* The number of indices below `bound`. */
static size_t count_below(const uint32_t *indices, size_t n, size_t bound)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (indices[middle] < bound) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void lmn_sparse_split(const uint32_t *indices, size_t n, const size_t *bounds, size_t n_bounds,
                      size_t *cuts)
{
    size_t before = 0;
    for (size_t i = 0; i < n_bounds; i++) {
        before += count_below(indices + before, n - before, bounds[i]);
        cuts[i] = before;
    }
}

size_t lmn_sparse_sum_bytes(size_t span)
{
    return lmn_align_up(span * sizeof(float)) + lmn_align_up(word_count(span) * sizeof(uint64_t));
}

lmn_sparse_sum lmn_sparse_sum_of(lmn_range range, void *memory)
{
    unsigned char *const marks =
        (unsigned char *)memory + lmn_align_up(range.count * sizeof(float));
    return (lmn_sparse_sum){.range = range, .sum = memory, .marks = (uint64_t *)(void *)marks};
}

size_t lmn_sparse_sum_count(const lmn_sparse_sum *sum)
{
    size_t count = 0;
    for (size_t i = 0; i < word_count(sum->range.count); i++) {
        count += (size_t)__builtin_popcountll((unsigned long long)sum->marks[i]);
    }
    return count;
}

size_t lmn_sparse_sum_take(lmn_sparse_sum *sum, uint32_t *indices, float *values)
{
    size_t n = 0;
    for (size_t word = 0; word < word_count(sum->range.count); word++) {
        for (uint64_t bits = sum->marks[word]; bits != 0; bits &= bits - 1) {
            const size_t place =
                WORD_BITS * word + (size_t)__builtin_ctzll((unsigned long long)bits);
            indices[n] = (uint32_t)(sum->range.first + place);
            values[n] = sum->sum[place];
            sum->sum[place] = 0.0F;
            n++;
        }
        sum->marks[word] = 0;
    }
    return n;
}

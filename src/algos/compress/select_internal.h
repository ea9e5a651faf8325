/*
 * Selection: which entries of a vector are its k largest by magnitude, exactly and without sorting.
 *
 * The key of a number is its bit pattern without the sign; as an unsigned integer it orders
 * magnitudes, denormals included, and both zeros have key 0. Entries are ordered by descending key,
 * then by ascending index, so the k largest are unique and no result depends on how work is split.
 * Zeros are never selected.
 *
 * It takes two steps. A walk over the vector picks all entries whose key reaches a floor; it forms
 * the vector tile by tile and reads memory once. Of the entries picked, usually some percent, a cut
 * after the k largest is found by histograms. The floor is a guess that cannot spoil the result: if
 * fewer than k entries reach it, the walk is repeated with the lowest floor.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SELECT_INTERNAL_H
#define LAMINA_SELECT_INTERNAL_H

#include "lamina/compressor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LMN__KEY_MASK     UINT32_C(0x7FFFFFFF)
#define LMN__KEY_INFINITY UINT32_C(0x7F800000) /* NaN lies above */
#define LMN__FLOOR_LOWEST UINT32_C(1)          /* all but zeros */

static inline uint32_t lmn__key(float number)
{
    uint32_t bits = 0;
    memcpy(&bits, &number, sizeof bits);
    return bits & LMN__KEY_MASK;
}

/** Entries of a vector, ascending by index. */
typedef struct lmn__entries {
    size_t n;
    uint32_t *indices;
    float *values;
} lmn__entries;

/* select_cut.c */

/** Where the selected entries end: all with a larger key, and the first few with this key. */
typedef struct lmn__cut {
    uint32_t key;
    size_t n_equal; /* selected entries with this key */
    size_t n_ties;  /* all entries with this key */
} lmn__cut;

/** Bytes of `work`, 64-byte aligned memory for a cut. */
size_t lmn__cut_work_bytes(void);

/** The cut after the k largest of n finite values, 1 <= k <= n. */
lmn__cut lmn__cut_after(const float *values, size_t n, size_t k, void *work);

/** Drop what a cut of just these entries does not select. */
void lmn__cut_apply(const lmn__cut *cut, lmn__entries *entries);

/** The sum of squares of what it drops, in double and in a fixed order. */
double lmn__cut_energy_below(const lmn__cut *cut, const lmn__entries *entries);

/* select_walk.c */

/** Vectors at least so long are shared between threads. */
#define LMN__WALK_PARALLEL ((size_t)1 << 18)

/** A walk over a vector. */
typedef struct lmn__walk {
    const lmn_source *source;
    size_t count;    /* below 2^32 */
    uint32_t floor;  /* smallest key that is picked, at least LMN__FLOOR_LOWEST */
    bool tell_sent;  /* call source->sent for each tile */
    bool weigh_rest; /* work out rest_energy */
    /* Out: */
    bool is_finite;
    double rest_energy; /* sum of squares of all that was not picked */
} lmn__walk;

/** Pick entries; there is room for walk->count of them. */
void lmn__walk_pick(lmn__walk *walk, lmn__entries *entries);

/**
 * A floor that k entries are likely to reach and not many more, from a sample of a long vector.
 * hint  a floor that is taken when the sample has nothing against it; 0: none
 * entries, work  are overwritten; room for walk->count entries
 */
uint32_t lmn__walk_floor(const lmn_source *source, size_t count, size_t k, uint32_t hint,
                         const lmn__entries *entries, void *work);

#endif

/*
 * Levels of families whose strength is one number: a density or a rank.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_LEVELS_INTERNAL_H
#define LAMINA_LEVELS_INTERNAL_H

#include "lamina/spec.h"

#include <stddef.h>

#define LMN__LEVELS_MAX (LMN_SPEC_LIST_MAX + 1)

/** What levels 1, 2, ... keep, descending, each once: values[level - 1]. */
typedef struct lmn__level_list {
    size_t count;
    double values[LMN__LEVELS_MAX];
} lmn__level_list;

/** Put a value in its place, once. Returns its level as it is now; later insertions move it. At
 *  most LMN__LEVELS_MAX different values. */
size_t lmn__level_insert(lmn__level_list *list, double value);

/**
 * Densities to choose from: those of `levels`, or if there are none the usual multiples of
 * `density` up to 1; and `density` itself. Returns the level of `density`.
 */
size_t lmn__density_levels(double density, const lmn_spec_list *levels, lmn__level_list *list_out);

/** Entries that a density keeps: ceil(density * count), at least one unless count is 0. */
size_t lmn__entries_kept(double density, size_t count);

#endif

/*
 * What tests of sums of entries do: reducers that name their collective, every way to choose
 * entries with every mechanism, and a step of one layer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_SPARSE_CHECK_H
#define LAMINA_TESTS_SPARSE_CHECK_H

#include "reducer_check.h"
#include "train/owners_internal.h"

/** The layer that these tests look at, alone in its bucket. */
enum { CHECK_SPARSE_LAYER = 1 };

lmn_reducer *check_new_sparse_reducer(lmn_world *world, const char *compress, const char *feedback,
                                      const char *collective);

/** Specs that choose and write entries in different ways, with each mechanism. */
typedef void (*check_sparse_property)(lmn_world *world, const char *compress, const char *feedback);
void check_for_all_sparse(check_sparse_property holds);

/** Element i of the gradient of a rank. */
typedef float (*check_filling)(int rank, int size, size_t i);

/** Step 0, in which CHECK_SPARSE_LAYER has what `fill` says and all else is zero. */
void check_run_filled(lmn_reducer *reducer, lmn_world *world, check_filling fill);

/** Some number that is not zero, for rank below 0 or above 14. */
float check_number(int rank, size_t i);

/** The exchange with owners of the bucket of CHECK_SPARSE_LAYER. */
const lmn__owners *check_owners_of(const lmn_reducer *reducer);

/** A message of rank 0 to all is changed on its way: the step fails and nothing has changed. */
void check_damage_is_refused(lmn_world *world, const char *collective);

#endif

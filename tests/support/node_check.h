/*
 * What tests of two levels need: the ranks of this host divided into nodes in several ways, and
 * reducers with a hierarchy.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_NODE_CHECK_H
#define LAMINA_TESTS_NODE_CHECK_H

#include "lamina/reducer.h"
#include "lamina/world.h"

/* One node; nodes of two ranks; two nodes in alternation; one rank alone and the rest; of three. */
typedef enum check_division {
    CHECK_ONE,
    CHECK_PAIRS,
    CHECK_ALTERNATING,
    CHECK_UNEVEN,
    CHECK_TRIPLES,
    CHECK_DIVISIONS
} check_division;

/** Which node a rank belongs to. */
int check_color(check_division how, int rank);

lmn_world *check_divided_world(check_division how);

/** A reducer over the layers of reducer_check.h. */
lmn_reducer *check_new_levels(lmn_world *world, const char *hierarchy, const char *compress,
                              const char *feedback, const char *allocate);

#endif

/*
 * Helpers of the tests of two levels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "node_check.h"

#include "comm/comm_internal.h"
#include "reducer_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <mpi.h>

#include <cmocka.h>

int check_color(check_division how, int rank)
{
    switch (how) {
    case CHECK_PAIRS:
        return rank / 2;
    case CHECK_ALTERNATING:
        return rank % 2;
    case CHECK_UNEVEN:
        return rank == 0 ? 0 : 1;
    case CHECK_TRIPLES:
        return rank / 3;
    default:
        return 0;
    }
}

lmn_world *check_divided_world(check_division how)
{
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    lmn_world *world = NULL;
    lmn_error err = lmn_error_none();
    const int color = check_color(how, rank);
    assert_int_equal(lmn__world_create_split(MPI_COMM_WORLD, NULL, color, &world, &err), LMN_OK);
    return world;
}

lmn_reducer *check_new_levels(lmn_world *world, const char *hierarchy, const char *compress,
                              const char *feedback, const char *allocate)
{
    lmn_reducer_options options = check_reducer_options(compress, feedback, allocate);
    options.hierarchy = hierarchy;
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_reducer_create(world, check_layers, CHECK_LAYERS, &options, &reducer, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return reducer;
}

/*
 * What the comm room does without running ranks: MPI codes as errors, refusals before MPI_Init.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm/mpi_error_internal.h"
#include "lamina/collective.h"
#include "lamina/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

static void mpi_check_success_leaves_the_error_alone(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn__mpi_check(MPI_SUCCESS, &err, "do %d things", 3), LMN_OK);
    assert_int_equal(err.status, LMN_OK);
}

static void world_create_before_mpi_init_is_refused(void **state)
{
    (void)state;
    lmn_world *world = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_create(MPI_COMM_WORLD, NULL, &world, &err), LMN_ERR_ARGUMENT);
    assert_null(world);
    assert_non_null(strstr(err.message, "MPI_Init"));
}

static void destroy_null_is_allowed(void **state)
{
    (void)state;
    lmn_world_destroy(NULL);
    lmn_collective_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mpi_check_success_leaves_the_error_alone),
        cmocka_unit_test(world_create_before_mpi_init_is_refused),
        cmocka_unit_test(destroy_null_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

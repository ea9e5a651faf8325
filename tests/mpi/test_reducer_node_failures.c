/*
 * The reducer with two levels, in steps that do not count: NaN, ranks that give up, damage.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/reducer.h"
#include "node_check.h"
#include "reducer_check.h"
#include "train/node_internal.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

/* Every rank's last step `step`, in which `layer` of `poisoned` holds the value everywhere. */
static void run_poisoned(lmn_world *world, lmn_reducer *reducer, size_t layer, int first_poisoned,
                         float value, const char *expected)
{
    lmn_error err = lmn_error_none();
    const uint64_t before = check_state_hash(reducer);
    assert_int_equal(lmn_reducer_begin(reducer, 5, &err), LMN_OK);
    for (size_t i = 0; i < CHECK_LAYERS; i++) {
        float *gradient = lmn_reducer_gradient(reducer, i);
        check_fill_gradient(lmn_world_rank(world), i, 5, gradient);
        if (i == layer && lmn_world_rank(world) >= first_poisoned) {
            gradient[check_counts[i] / 2] = value;
        }
        assert_int_equal(lmn_reducer_ready(reducer, i, gradient, &err), LMN_OK);
    }
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    assert_false(report.applied);
    if (strstr(report.reason, expected) == NULL ||
        strstr(report.reason, check_layers[layer].name) == NULL) {
        fail_msg("'%s' does not say '%s'", report.reason, expected);
    }
    assert_true(check_state_hash(reducer) == before);
}

static void poison_every_layer(lmn_world *world, lmn_reducer *reducer)
{
    for (uint64_t step = 0; step < 3; step++) {
        assert_true(check_run_step(reducer, world, step).applied);
    }
    const int last = lmn_world_size(world) - 1;
    char expected[64];
    (void)snprintf(expected, sizeof expected, "on rank %d in step 5", last);
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        run_poisoned(world, reducer, layer, last, layer % 2 == 0 ? NAN : -INFINITY, expected);
    }
    assert_true(check_run_step(reducer, world, 6).applied);
    check_same_everywhere(world, check_estimate_hash(reducer));
}

static void finish_names_the_rank_that_brought_nan(void **state)
{
    (void)state;
    for (check_division how = CHECK_ONE; how < CHECK_DIVISIONS; how++) {
        lmn_world *world = check_divided_world(how);
        lmn_reducer *sparse = check_new_levels(world, "node", "topk:density=0.02", "econtrol",
                                               "lgreco:warmup=2,window=2,every=4");
        poison_every_layer(world, sparse);
        lmn_reducer_destroy(sparse);
        lmn_reducer *dense = check_new_levels(world, "node", "dense", "none", "uniform");
        poison_every_layer(world, dense);
        lmn_reducer_destroy(dense);
        lmn_world_destroy(world);
    }
}

static void finish_tells_all_ranks_of_a_sum_that_overflows(void **state)
{
    (void)state;
    const char *const specs[] = {"topk:density=0.02", "quant:bits=8,bucket=64"};
    for (size_t i = 0; i < 2; i++) {
        lmn_world *world = check_divided_world(CHECK_ONE);
        lmn_reducer *reducer = check_new_levels(world, "node", specs[i], "none", "uniform");
        if (lmn_world_size(world) > 1) {
            run_poisoned(world, reducer, 1, 0, FLT_MAX, "mean gradient of layer");
            run_poisoned(world, reducer, 2, 0, FLT_MAX, "mean gradient of layer");
        }
        assert_true(check_run_step(reducer, world, 6).applied);
        lmn_reducer_destroy(reducer);
        lmn_world_destroy(world);
    }
}

static void fail_on_any_rank_is_the_same_error_on_all(void **state)
{
    (void)state;
    for (check_division how = CHECK_ONE; how < CHECK_DIVISIONS; how++) {
        lmn_world *world = check_divided_world(how);
        lmn_reducer *reducer = check_new_levels(world, "node", "quant:bits=4,bucket=64",
                                                "econtrol:init=zero", "uniform");
        (void)check_run_step(reducer, world, 0);
        for (int failing = 0; failing < lmn_world_size(world); failing++) {
            const uint64_t before = check_state_hash(reducer);
            lmn_error err = lmn_error_none();
            if (lmn_world_rank(world) == failing) {
                assert_int_equal(lmn_reducer_begin(reducer, 1, &err), LMN_OK);
                assert_int_equal(lmn_reducer_fail(reducer, LMN_ERR_IO, NULL, &err), LMN_OK);
            } else {
                check_hand_over(reducer, world, 1);
            }
            lmn_step_report report;
            assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_ERR_IO);
            assert_int_equal(err.rank, failing);
            assert_true(check_state_hash(reducer) == before);
        }
        assert_true(check_run_step(reducer, world, 2).applied);
        check_same_everywhere(world, check_estimate_hash(reducer));
        lmn_reducer_destroy(reducer);
        lmn_world_destroy(world);
    }
}

static void finish_without_a_layer_is_an_error_everywhere(void **state)
{
    (void)state;
    lmn_world *world = check_divided_world(CHECK_PAIRS);
    lmn_reducer *reducer = check_new_levels(world, "node", "topk:density=0.02", "ec", "uniform");
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_reducer_begin(reducer, 0, &err), LMN_OK);
    for (size_t i = 0; i < CHECK_LAYERS; i++) {
        if (lmn_world_rank(world) != lmn_world_size(world) - 1 || i != 2) {
            assert_int_equal(lmn_reducer_ready(reducer, i, NULL, &err), LMN_OK);
        }
    }
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "dense1/weight"));
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static void await_first_bucket(lmn_reducer *reducer)
{
    lmn_error err = lmn_error_none();
    while (reducer->buckets[0].leads && !reducer->buckets[0].started) {
        assert_int_equal(lmn_reducer_progress(reducer, &err), LMN_OK);
    }
}

static void finish_damaged_message_stops_the_whole_node(void **state)
{
    (void)state;
    lmn_world *world = check_divided_world(CHECK_PAIRS);
    lmn_reducer *reducer =
        check_new_levels(world, "node", "topk:density=0.02", "ef21:init=zero", "uniform");
    (void)check_run_step(reducer, world, 0);
    const uint64_t before = check_state_hash(reducer);
    check_hand_over(reducer, world, 1);
    await_first_bucket(reducer);
    lmn_error err = lmn_error_none();
    if (reducer->buckets[0].leads) {
        lmn_collective *gather = lmn__gather_collective(reducer->buckets[0].exchanges[0]);
        assert_int_equal(lmn_collective_wait(gather, &err), LMN_OK);
        size_t bytes = 0;
        const int last = reducer->team.size - 1;
        const unsigned char *received = lmn_allgatherv_message(gather, last, &bytes);
        assert_true(bytes > 60);
        unsigned char *message = NULL;
        memcpy(&message, &received, sizeof message); /* damage is not what const foresees */
        message[0] ^= 0xFF;                          /* of the frame's magic number */
    }
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_ERR_MESSAGE);
    char expected[64];
    (void)snprintf(expected, sizeof expected, "message of rank %d in step 1",
                   (lmn_world_size(world) - 1) / 2 * 2);
    assert_non_null(strstr(err.message, expected));
    assert_true(check_state_hash(reducer) == before);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finish_names_the_rank_that_brought_nan),
        cmocka_unit_test(finish_tells_all_ranks_of_a_sum_that_overflows),
        cmocka_unit_test(fail_on_any_rank_is_the_same_error_on_all),
        cmocka_unit_test(finish_without_a_layer_is_an_error_everywhere),
        cmocka_unit_test(finish_damaged_message_stops_the_whole_node),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}

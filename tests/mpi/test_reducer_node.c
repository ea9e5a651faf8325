/*
 * The reducer with two levels: nodes as workers.
 *
 * The ranks of this host are divided into nodes in several ways. What a node does is compared with
 * a reducer of one level over one rank of every node, which gets the means of the nodes' gradients:
 * every rank can compute everybody's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/reducer.h"
#include "node_check.h"
#include "reducer_check.h"
#include "train/node_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mpi.h>

#include <cmocka.h>

enum { STEPS = 3 };

/* The gradient that the caller's node leads to the other nodes. Ranks are added in their order,
   which is that of node ranks. */
static void fill_node_mean(const lmn_world *world, check_division how, size_t layer, uint64_t step,
                           float *mean)
{
    const lmn_placement *place = lmn_world_placement(world);
    const size_t count = check_counts[layer];
    const float share = (float)place->node_count / (float)lmn_world_size(world);
    float *gradient = calloc(count, sizeof *gradient);
    assert_non_null(gradient);
    bool is_first = true;
    for (int rank = 0; rank < lmn_world_size(world); rank++) {
        if (check_color(how, rank) != check_color(how, lmn_world_rank(world))) {
            continue;
        }
        check_fill_gradient(rank, layer, step, gradient);
        for (size_t i = 0; i < count; i++) {
            mean[i] = is_first ? gradient[i] : mean[i] + gradient[i];
        }
        is_first = false;
    }
    for (size_t i = 0; i < count; i++) {
        mean[i] *= share;
    }
    free(gradient);
}

static void run_reference_step(lmn_reducer *reference, const lmn_world *world, check_division how,
                               uint64_t step)
{
    lmn_error err = lmn_error_none();
    lmn_step_report report;
    assert_int_equal(lmn_reducer_begin(reference, step, &err), LMN_OK);
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        float *gradient = lmn_reducer_gradient(reference, layer);
        fill_node_mean(world, how, layer, step, gradient);
        assert_int_equal(lmn_reducer_ready(reference, layer, gradient, &err), LMN_OK);
    }
    assert_int_equal(lmn_reducer_finish(reference, &report, &err), LMN_OK);
    assert_true(report.applied);
}

static void assert_near(float value, float expected, double relative, const char *what, size_t i)
{
    const double limit = relative * (1.0 + fabs((double)expected));
    if (fabs((double)value - (double)expected) > limit) {
        fail_msg("%s, element %zu: %g, and %g of one level", what, i, (double)value,
                 (double)expected);
    }
}

/* Large layers to the bit; small ones travel in one level, so they are added in another order. */
static void assert_same_estimates(const lmn_reducer *reducer, const lmn_reducer *reference,
                                  const char *what)
{
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        const float *estimate = lmn_reducer_estimate(reducer, layer);
        const float *expected = lmn_reducer_estimate(reference, layer);
        const bool is_small = check_counts[layer] < 1024;
        assert_int_equal(lmn_reducer_level(reducer, layer), lmn_reducer_level(reference, layer));
        for (size_t i = 0; i < check_counts[layer]; i++) {
            assert_near(estimate[i], expected[i], is_small ? 1e-5 : 0.0, what, i);
        }
    }
}

/* A division of the ranks, and the world of one rank of every node. */
typedef struct worlds {
    check_division how;
    lmn_world *all;
    lmn_world *leaders; /* NULL where this rank is not node rank 0 */
} worlds;

static worlds new_worlds(check_division how)
{
    worlds made = {.how = how, .all = check_divided_world(how)};
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_create_leaders(made.all, 0, &made.leaders, &err), LMN_OK);
    return made;
}

static void free_worlds(worlds made)
{
    lmn_world_destroy(made.leaders);
    lmn_world_destroy(made.all);
}

static void compare_with_one_level(worlds on, const char *compress, const char *feedback,
                                   const char *allocate, uint64_t n_steps)
{
    lmn_reducer *reducer = check_new_levels(on.all, "node", compress, feedback, allocate);
    lmn_reducer *reference = NULL;
    if (on.leaders != NULL) {
        reference = check_new_levels(on.leaders, "flat", compress, feedback, allocate);
    }
    for (uint64_t step = 0; step < n_steps; step++) {
        assert_true(check_run_step(reducer, on.all, step).applied);
        check_same_everywhere(on.all, check_estimate_hash(reducer));
        if (reference != NULL) {
            run_reference_step(reference, on.all, on.how, step);
            assert_same_estimates(reducer, reference, compress);
        }
    }
    lmn_reducer_destroy(reference);
    lmn_reducer_destroy(reducer);
}

/* Every combination once, in one division or another. */
static void estimates_are_those_of_node_means_for_every_family_and_mechanism(void **state)
{
    (void)state;
    const char *const feedbacks[] = {"none", "ec", "ef21:init=zero", "econtrol"};
    for (check_division how = CHECK_ONE; how < CHECK_DIVISIONS; how++) {
        const worlds on = new_worlds(how);
        for (size_t i = 0; check_compressor_spec(i / 4) != NULL; i++) {
            if ((i / 4 + i) % CHECK_DIVISIONS == (size_t)how) {
                compare_with_one_level(on, check_compressor_spec(i / 4), feedbacks[i % 4],
                                       "uniform", STEPS);
            }
        }
        free_worlds(on);
    }
}

static void estimates_are_those_of_node_means_in_every_division(void **state)
{
    (void)state;
    for (check_division how = CHECK_ONE; how < CHECK_DIVISIONS; how++) {
        const worlds on = new_worlds(how);
        compare_with_one_level(on, "topk:density=0.05", "econtrol", "uniform", STEPS);
        compare_with_one_level(on, "quant:bits=4,bucket=64", "econtrol", "uniform", STEPS);
        compare_with_one_level(on, "lowrank:rank=2", "ec", "uniform", STEPS);
        compare_with_one_level(on, "dense", "none", "uniform", 2);
        free_worlds(on);
    }
}

static void levels_are_decided_from_what_leaders_observed(void **state)
{
    (void)state;
    for (check_division how = CHECK_ONE; how < CHECK_DIVISIONS; how++) {
        const worlds on = new_worlds(how);
        compare_with_one_level(on, "topk:density=0.02", "econtrol",
                               "lgreco:warmup=2,every=3,window=2", 8);
        free_worlds(on);
    }
}

/* ------------------------------------------------------------------ time, memory, bytes */

static void doze(long milliseconds)
{
    const struct timespec pause = {.tv_nsec = milliseconds * 1000000};
    (void)nanosleep(&pause, NULL);
}

static void ready_late_in_any_order_and_without_progress_gives_the_same_bits(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    lmn_world *world = check_divided_world(CHECK_PAIRS);
    const int rank = lmn_world_rank(world);
    lmn_reducer *ordered =
        check_new_levels(world, "node", "quant:bits=4,bucket=64", "econtrol", "uniform");
    lmn_reducer *late =
        check_new_levels(world, "node", "quant:bits=4,bucket=64", "econtrol", "uniform");
    float *elsewhere = calloc(CHECK_COUNT_2, sizeof *elsewhere);
    assert_non_null(elsewhere);
    for (uint64_t step = 0; step < 12; step++) {
        (void)check_run_step(ordered, world, step);
        assert_int_equal(lmn_reducer_begin(late, step, &err), LMN_OK);
        for (size_t i = 0; i < CHECK_LAYERS; i++) {
            const size_t layer = (2 * (size_t)rank + 3 * i + step) % CHECK_LAYERS;
            check_fill_gradient(rank, layer, step, elsewhere);
            if (((uint64_t)rank + step + i) % 5 == 0) {
                doze(3);
            }
            assert_int_equal(lmn_reducer_ready(late, layer, elsewhere, &err), LMN_OK);
        }
        lmn_step_report report;
        assert_int_equal(lmn_reducer_finish(late, &report, &err), LMN_OK);
        assert_true(check_estimate_hash(ordered) == check_estimate_hash(late));
    }
    free(elsewhere);
    lmn_reducer_destroy(ordered);
    lmn_reducer_destroy(late);
    lmn_world_destroy(world);
}

/* The other ranks are as far in the next step as they can get, and one of them has given up. */
static void estimates_stay_until_their_reader_begins_the_next_step(void **state)
{
    (void)state;
    lmn_error err = lmn_error_none();
    lmn_world *world = check_divided_world(CHECK_ONE);
    const int reader = lmn_world_size(world) - 1;
    const char *const specs[] = {"dense", "topk:density=0.02", "sign:bucket=64"};
    for (size_t i = 0; i < 3; i++) {
        lmn_reducer *reducer = check_new_levels(world, "node", specs[i], "none", "uniform");
        (void)check_run_step(reducer, world, 0);
        const uint64_t hash = check_estimate_hash(reducer);
        if (lmn_world_rank(world) != reader) {
            check_hand_over(reducer, world, 1);
            if (lmn_world_rank(world) == 0) {
                assert_int_equal(lmn_reducer_fail(reducer, LMN_ERR_IO, NULL, &err), LMN_OK);
            }
            assert_int_equal(lmn_reducer_progress(reducer, &err), LMN_OK);
        } else {
            doze(20);
            assert_true(check_estimate_hash(reducer) == hash);
            check_hand_over(reducer, world, 1);
        }
        lmn_step_report report;
        const lmn_status status = lmn_reducer_finish(reducer, &report, &err);
        assert_int_equal(status, reader == 0 ? LMN_OK : LMN_ERR_IO);
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

static void compare_with_its_copy(lmn_world *world, const char *const spec[3])
{
    lmn_reducer *first = check_new_levels(world, "node", spec[0], spec[1], spec[2]);
    lmn_reducer *second = check_new_levels(world, "node", spec[0], spec[1], spec[2]);
    for (uint64_t step = 0; step < 4; step++) {
        assert_true(check_run_step(first, world, step).applied);
    }
    check_copy_state(first, second);
    for (uint64_t step = 4; step < 7; step++) {
        assert_true(check_run_step(first, world, step).applied);
        assert_true(check_run_step(second, world, step).applied);
        assert_true(check_estimate_hash(first) == check_estimate_hash(second));
        assert_true(check_state_hash(first) == check_state_hash(second));
    }
    lmn_reducer_destroy(first);
    lmn_reducer_destroy(second);
}

static void states_copied_as_a_checkpoint_does_give_the_same_bits(void **state)
{
    (void)state;
    const char *const specs[][3] = {
        {"topk:density=0.05", "econtrol", "lgreco:warmup=2,every=3,window=2"},
        {"quant:bits=2,bucket=32,rounding=stochastic", "econtrol", "uniform"},
        {"lowrank:rank=2", "ec", "uniform"},
        {"randk:density=0.05", "ef21", "uniform"}};
    for (check_division how = CHECK_ONE; how < CHECK_DIVISIONS; how++) {
        lmn_world *world = check_divided_world(how);
        for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
            compare_with_its_copy(world, specs[i]);
        }
        lmn_world_destroy(world);
    }
}

static uint64_t bytes_of_a_step(lmn_world *world, const char *hierarchy, const char *compress)
{
    lmn_error err = lmn_error_none();
    lmn_reducer *reducer = check_new_levels(world, hierarchy, compress, "none", "uniform");
    uint64_t bytes = check_run_step(reducer, world, 0).bytes_sent;
    assert_int_equal(lmn_world_sum_u64(world, &bytes, 1, &err), LMN_OK);
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        check_same_everywhere(world, lmn_reducer_layer_bytes(reducer, layer));
        assert_true(lmn_reducer_layer_bytes(reducer, layer) > 0);
    }
    lmn_reducer_destroy(reducer);
    return bytes;
}

static void bytes_are_those_between_nodes(void **state)
{
    (void)state;
    lmn_world *world = check_divided_world(CHECK_PAIRS);
    const int size = lmn_world_size(world);
    const int nodes = lmn_world_placement(world)->node_count;
    const uint64_t last = lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, size, 16 + 112 + 4);
    const uint64_t first = lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, nodes, CHECK_COUNT_1 + 8);
    const uint64_t second = lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, nodes, CHECK_COUNT_2 + 8);
    assert_true(bytes_of_a_step(world, "node", "dense") == first + second + last);
    if (size == 4 || size == 8) {
        const uint64_t flat = bytes_of_a_step(world, "flat", "sign:bucket=64");
        const uint64_t node = bytes_of_a_step(world, "node", "sign:bucket=64");
        assert_true(2 * (node - last) <= flat - last);
    }
    lmn_world_destroy(world);
}

static void auto_takes_two_levels_where_they_save_traffic(void **state)
{
    (void)state;
    for (check_division how = CHECK_ONE; how < CHECK_DIVISIONS; how++) {
        lmn_world *world = check_divided_world(how);
        int lowest = 0;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn__node_lowest_size(world, &lowest, &err), LMN_OK);
        int smallest = lmn_world_size(world);
        for (int rank = 0; rank < lmn_world_size(world); rank++) {
            int same = 0;
            for (int other = 0; other < lmn_world_size(world); other++) {
                same += check_color(how, other) == check_color(how, rank) ? 1 : 0;
            }
            smallest = same < smallest ? same : smallest;
        }
        assert_int_equal(lowest, smallest);
        lmn_reducer *reducer = check_new_levels(world, "auto", "dense", "none", "uniform");
        const bool wants = lmn_world_placement(world)->node_count > 1 && smallest > 1;
        assert_true((reducer->node != NULL) == wants);
        lmn_reducer_destroy(reducer);
        lmn_world_destroy(world);
    }
}

static void create_refuses_a_hierarchy_that_does_not_exist(void **state)
{
    (void)state;
    lmn_world *world = check_divided_world(CHECK_ONE);
    lmn_reducer_options options = check_reducer_options("dense", "none", "uniform");
    options.hierarchy = "tree";
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(
        lmn_reducer_create(world, check_layers, CHECK_LAYERS, &options, &reducer, &err),
        LMN_ERR_USAGE);
    assert_non_null(strstr(err.message, "tree"));
    lmn_world_destroy(world);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(estimates_are_those_of_node_means_for_every_family_and_mechanism),
        cmocka_unit_test(estimates_are_those_of_node_means_in_every_division),
        cmocka_unit_test(levels_are_decided_from_what_leaders_observed),
        cmocka_unit_test(ready_late_in_any_order_and_without_progress_gives_the_same_bits),
        cmocka_unit_test(estimates_stay_until_their_reader_begins_the_next_step),
        cmocka_unit_test(states_copied_as_a_checkpoint_does_give_the_same_bits),
        cmocka_unit_test(bytes_are_those_between_nodes),
        cmocka_unit_test(auto_takes_two_levels_where_they_save_traffic),
        cmocka_unit_test(create_refuses_a_hierarchy_that_does_not_exist),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}

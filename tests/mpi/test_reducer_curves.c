/*
 * Error curves of the ranks: dealt out or taken by all, and what allocators that remember get.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "reducer_check.h"
#include "train/reducer_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

/* A step in which rank r has 2^r times the gradient of rank 0. */
static lmn_step_report run_proportional_step(lmn_reducer *reducer, lmn_world *world, uint64_t step)
{
    lmn_error err = lmn_error_none();
    lmn_step_report report = {0};
    float *gradient = calloc(CHECK_COUNT_2, sizeof *gradient);
    assert_non_null(gradient);
    assert_int_equal(lmn_reducer_begin(reducer, step, &err), LMN_OK);
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        check_fill_gradient(0, layer, step, gradient);
        for (size_t i = 0; i < check_counts[layer]; i++) {
            gradient[i] = ldexpf(gradient[i], lmn_world_rank(world));
        }
        assert_int_equal(lmn_reducer_ready(reducer, layer, gradient, &err), LMN_OK);
    }
    if (lmn_reducer_finish(reducer, &report, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    free(gradient);
    return report;
}

static lmn_allocation_report decide(lmn_world *world, const char *compress, const char *curves)
{
    char allocate[96];
    (void)snprintf(allocate, sizeof allocate, "lgreco:warmup=3,every=9,window=2,curves=%s", curves);
    lmn_reducer *reducer = check_new_reducer(world, compress, "none", allocate);
    lmn_step_report report = {0};
    for (uint64_t step = 0; step < 3; step++) {
        report = run_proportional_step(reducer, world, step);
        assert_true(report.adjusted == (step == 2));
        assert_true((report.seconds_adapt > 0.0) == (step == 2));
    }
    lmn_reducer_destroy(reducer);
    return report.allocation;
}

/* What one rank says about a layer, scaled to the energy of all, is then what all say. */
static void dealt_curves_of_proportional_gradients_are_those_of_all(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const specs[] = {"topk:density=0.02", "quant:bits=4", "lowrank:rank=2",
                                 "randk:density=0.05"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        const lmn_allocation_report all = decide(world, specs[i], "all");
        const lmn_allocation_report dealt = decide(world, specs[i], "dealt");
        assert_true(all.budget > 0.0);
        assert_true(fabs(dealt.budget - all.budget) <= 1e-12 * all.budget);
        assert_true(fabs(dealt.error - all.error) <= 1e-12 * all.error);
        assert_int_equal(dealt.bytes, all.bytes);
        assert_int_equal(dealt.static_bytes, all.static_bytes);
    }
    lmn_world_destroy(world);
}

static void large_layers_are_dealt_to_different_ranks(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer = check_new_reducer(world, "topk:density=0.02", "none", "lgreco");
    assert_int_equal(reducer->layers[2].hand, 0); /* the largest goes first */
    assert_int_equal(reducer->layers[1].hand, lmn_world_size(world) > 1 ? 1 : 0);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static size_t rows_of(size_t n_dims, size_t a, size_t b, size_t c, size_t d)
{
    const lmn__layer layer = {.n_dims = n_dims, .dims = {a, b, c, d}, .count = a * b * c * d};
    return lmn__layer_shape(&layer).rows;
}

static void shape_of_a_layer_is_the_matrix_with_the_longest_shorter_side(void **state)
{
    (void)state;
    assert_int_equal(rows_of(4, 3, 3, 16, 32), 144); /* taps and channels in, channels out */
    assert_int_equal(rows_of(4, 32, 16, 3, 3), 32);  /* channels out first */
    assert_int_equal(rows_of(2, 10, 700, 1, 1), 10);
    assert_int_equal(rows_of(3, 4, 4, 4, 1), 4); /* the first of equal ones */
    assert_int_equal(rows_of(3, 1, 1, 7, 1), 1);
    assert_int_equal(rows_of(1, 50, 1, 1, 1), 1);
    assert_int_equal(rows_of(2, 0, 5, 1, 1), 1);
}

/* Mean over ranks of the squared norm of a rank's mean over two steps. */
static double mean_energy(int size, size_t layer, uint64_t first_step)
{
    const size_t count = check_counts[layer];
    float *gradients = calloc(2 * count, sizeof *gradients);
    assert_non_null(gradients);
    double sum = 0.0;
    for (int rank = 0; rank < size; rank++) {
        check_fill_gradient(rank, layer, first_step, gradients);
        check_fill_gradient(rank, layer, first_step + 1, gradients + count);
        for (size_t i = 0; i < count; i++) {
            const double mean = 0.5 * ((double)gradients[i] + (double)gradients[count + i]);
            sum += mean * mean;
        }
    }
    free(gradients);
    return sum / size;
}

static void who_remembers_gets_the_mean_energy_of_all_ranks(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const curves[] = {"dealt", "all"};
    for (size_t i = 0; i < 2; i++) {
        char allocate[96];
        (void)snprintf(allocate, sizeof allocate, "accordion:warmup=4,every=9,window=2,curves=%s",
                       curves[i]);
        lmn_reducer *reducer = check_new_reducer(world, "topk:density=0.02", "none", allocate);
        for (uint64_t step = 0; step < 4; step++) {
            (void)check_run_step(reducer, world, step);
        }
        for (size_t layer = 1; layer < 3; layer++) {
            const double expected = mean_energy(lmn_world_size(world), layer, 2);
            assert_true(fabs(reducer->allocator_memory[layer] - expected) <= 1e-5 * expected);
        }
        assert_true(reducer->allocator_memory[0] == 0.0); /* a small layer */
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

/* Gradients differ from rank to rank and from step to step, and so do the hands. */
static void rivals_decide_alike_on_all_ranks_and_go_on_from_a_checkpoint(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const specs[] = {"accordion:warmup=2,every=3,window=2,threshold=0.02",
                                 "lgreco:warmup=2,every=3,window=2,accordion=yes",
                                 "global-topk:warmup=2,every=3,window=2"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        lmn_reducer *straight = check_new_reducer(world, "topk:density=0.02", "econtrol", specs[i]);
        lmn_reducer *resumed = check_new_reducer(world, "topk:density=0.02", "econtrol", specs[i]);
        for (uint64_t step = 0; step < 7; step++) {
            (void)check_run_step(straight, world, step);
        }
        check_copy_state(straight, resumed);
        for (uint64_t step = 7; step < 14; step++) {
            const lmn_step_report report = check_run_step(straight, world, step);
            const lmn_step_report again = check_run_step(resumed, world, step);
            assert_true(again.adjusted == report.adjusted);
            assert_true(again.allocation.bytes == report.allocation.bytes);
            assert_true(check_estimate_hash(resumed) == check_estimate_hash(straight));
        }
        check_same_everywhere(world, check_estimate_hash(straight));
        lmn_reducer_destroy(straight);
        lmn_reducer_destroy(resumed);
    }
    lmn_world_destroy(world);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dealt_curves_of_proportional_gradients_are_those_of_all),
        cmocka_unit_test(shape_of_a_layer_is_the_matrix_with_the_longest_shorter_side),
        cmocka_unit_test(large_layers_are_dealt_to_different_ranks),
        cmocka_unit_test(who_remembers_gets_the_mean_energy_of_all_ranks),
        cmocka_unit_test(rivals_decide_alike_on_all_ranks_and_go_on_from_a_checkpoint),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}

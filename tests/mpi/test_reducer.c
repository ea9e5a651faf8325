/*
 * The reducer against references that are computed by hand from every rank's gradients.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/reducer.h"
#include "reducer_check.h"
#include "train/exchange_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { STEPS = 12 };

static void assert_estimate_is_mean(const lmn_reducer *reducer, int size, uint64_t step)
{
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        const float *estimate = lmn_reducer_estimate(reducer, layer);
        double *mean = check_mean_gradient(size, layer, step);
        for (size_t i = 0; i < check_counts[layer]; i++) {
            assert_true(fabs((double)estimate[i] - mean[i]) <= 1e-5 * (1.0 + fabs(mean[i])));
        }
        free(mean);
    }
}

static void finish_dense_estimates_the_mean(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const feedbacks[] = {"none", "ec", "ef21", "econtrol"};
    const char *const compressors[] = {"dense", "topk:density=1"};
    for (size_t i = 0; i < 8; i++) {
        lmn_reducer *reducer =
            check_new_reducer(world, compressors[i % 2], feedbacks[i / 2], "uniform");
        for (uint64_t step = 0; step < 3; step++) {
            const lmn_step_report report = check_run_step(reducer, world, step);
            assert_true(report.applied);
            assert_estimate_is_mean(reducer, lmn_world_size(world), step);
            check_same_everywhere(world, check_estimate_hash(reducer));
        }
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

static void finish_scalars_are_summed(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer = check_new_reducer(world, "dense", "none", "uniform");
    const lmn_step_report report = check_run_step(reducer, world, 0);
    const int size = lmn_world_size(world);
    assert_true(report.scalars[0] == 0.0F);
    int sum = 0;
    for (int rank = 0; rank < size; rank++) {
        sum += rank + 1;
    }
    assert_true(report.scalars[1] == (float)sum);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static void finish_every_mechanism_is_identical_on_all_ranks(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const feedbacks[] = {"none",
                                     "ec",
                                     "ef21:init=zero",
                                     "ef21",
                                     "econtrol",
                                     "econtrol:init=zero,eta=0.01",
                                     "ef21_sgdm:double=yes",
                                     "ef21_sgdm:init=zero",
                                     "econtrol:momentum=0.3"};
    for (size_t i = 0; i < sizeof feedbacks / sizeof feedbacks[0]; i++) {
        lmn_reducer *reducer = check_new_reducer(world, "topk:density=0.02", feedbacks[i],
                                                 "lgreco:warmup=2,every=3,window=2");
        for (uint64_t step = 0; step < STEPS; step++) {
            assert_true(check_run_step(reducer, world, step).applied);
            check_same_everywhere(world, check_estimate_hash(reducer));
        }
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

/* Sliced and summed families, too: averages are states like any other. */
static void finish_averaging_mechanisms_work_with_every_exchange(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const compressors[] = {"quant:bits=4", "randk:density=0.05", "lowrank:rank=2"};
    const char *const feedbacks[] = {"ef21_sgdm:double=yes", "econtrol:momentum=0.3"};
    for (size_t i = 0; i < 6; i++) {
        lmn_reducer *reducer =
            check_new_reducer(world, compressors[i % 3], feedbacks[i / 3], "uniform");
        for (uint64_t step = 0; step < 4; step++) {
            assert_true(check_run_step(reducer, world, step).applied);
            check_same_everywhere(world, check_estimate_hash(reducer));
        }
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

/* sum over steps of u, plus mean e, is the sum over steps of mean g (EC and EControl). */
static void assert_virtual_iterate(lmn_world *world, const char *feedback, size_t error_state)
{
    const int size = lmn_world_size(world);
    lmn_reducer *reducer = check_new_reducer(world, "topk:density=0.05", feedback, "uniform");
    const size_t layer = 2;
    double *sum = calloc(check_counts[layer], sizeof *sum);
    assert_non_null(sum);
    for (uint64_t step = 0; step < STEPS; step++) {
        assert_true(check_run_step(reducer, world, step).applied);
        double *mean = check_mean_gradient(size, layer, step);
        const float *estimate = lmn_reducer_estimate(reducer, layer);
        for (size_t i = 0; i < check_counts[layer]; i++) {
            sum[i] += mean[i] - (double)estimate[i];
        }
        free(mean);
    }
    double *mean_error = calloc(check_counts[layer], sizeof *mean_error);
    assert_non_null(mean_error);
    for (size_t i = 0; i < check_counts[layer]; i++) {
        mean_error[i] = (double)reducer->layers[layer].state[error_state][i] / size;
    }
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_sum_f64(world, mean_error, check_counts[layer], &err), LMN_OK);
    double largest = 0.0;
    for (size_t i = 0; i < check_counts[layer]; i++) {
        assert_true(fabs(sum[i] - mean_error[i]) <= 1e-4 * (10.0 + fabs(sum[i])));
        largest = fmax(largest, fabs(mean_error[i]));
    }
    assert_true(largest > 1.0); /* the test would be empty without stored error */
    free(sum);
    free(mean_error);
    lmn_reducer_destroy(reducer);
}

static void finish_error_feedback_loses_nothing(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    assert_virtual_iterate(world, "ec", 0);
    assert_virtual_iterate(world, "econtrol:init=zero", 1);
    assert_virtual_iterate(world, "econtrol:init=grad", 1);
    lmn_world_destroy(world);
}

static void finish_econtrol_without_eta_is_ef21(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *ef21 = check_new_reducer(world, "topk:density=0.03", "ef21:init=zero", "uniform");
    lmn_reducer *econtrol =
        check_new_reducer(world, "topk:density=0.03", "econtrol:eta=0,init=zero", "uniform");
    for (uint64_t step = 0; step < STEPS; step++) {
        (void)check_run_step(ef21, world, step);
        (void)check_run_step(econtrol, world, step);
        assert_true(check_estimate_hash(ef21) == check_estimate_hash(econtrol));
    }
    lmn_reducer_destroy(ef21);
    lmn_reducer_destroy(econtrol);
    lmn_world_destroy(world);
}

static void finish_counts_what_leaves(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const int size = lmn_world_size(world);
    lmn_error err = lmn_error_none();
    lmn_reducer *dense = check_new_reducer(world, "dense", "none", "uniform");
    lmn_reducer *sparse =
        check_new_reducer(world, "topk:density=0.01", "ef21:init=zero", "uniform");
    const lmn_step_report whole = check_run_step(dense, world, 0);
    const lmn_step_report part = check_run_step(sparse, world, 0);
    uint64_t bytes[] = {whole.bytes_sent, whole.bytes_dense, part.bytes_sent, part.bytes_dense};
    assert_int_equal(lmn_world_sum_u64(world, bytes, 4, &err), LMN_OK);
    /* The last bucket's padding and verdict are what dense training sends beside its gradients. */
    const uint64_t slack = 256U * (uint64_t)(size * (size - 1)) * 4U;
    assert_true(bytes[0] >= bytes[1] && bytes[0] <= bytes[1] + slack);
    assert_true(bytes[3] == bytes[1]);
    if (size == 1) {
        assert_true(bytes[0] == 0 && bytes[2] == 0);
    } else {
        const uint64_t entries = (CHECK_COUNT_1 + CHECK_COUNT_2) / 100;
        const uint64_t payload = (uint64_t)size * (uint64_t)(size - 1) * entries * 8;
        assert_true(bytes[2] >= payload && bytes[2] <= payload + slack + bytes[1] / 10);
    }
    lmn_reducer_destroy(dense);
    lmn_reducer_destroy(sparse);
    lmn_world_destroy(world);
}

static void poison_one_rank(lmn_world *world, lmn_reducer *reducer, size_t layer, float poison)
{
    lmn_error err = lmn_error_none();
    const int last = lmn_world_size(world) - 1;
    const uint64_t before = check_state_hash(reducer);
    assert_int_equal(lmn_reducer_begin(reducer, 5, &err), LMN_OK);
    for (size_t i = 0; i < CHECK_LAYERS; i++) {
        float *gradient = lmn_reducer_gradient(reducer, i);
        check_fill_gradient(lmn_world_rank(world), i, 5, gradient);
        if (i == layer && lmn_world_rank(world) == last) {
            gradient[check_counts[i] / 2] = poison;
        }
        assert_int_equal(lmn_reducer_ready(reducer, i, gradient, &err), LMN_OK);
    }
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    assert_false(report.applied);
    char expected[64];
    (void)snprintf(expected, sizeof expected, "on rank %d in step 5", last);
    assert_non_null(strstr(report.reason, expected));
    assert_non_null(strstr(report.reason, check_layers[layer].name));
    assert_true(check_state_hash(reducer) == before);
}

static void finish_nonfinite_on_one_rank_changes_nothing_anywhere(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const feedbacks[] = {"none", "ec", "econtrol"};
    for (size_t i = 0; i < 3; i++) {
        lmn_reducer *reducer = check_new_reducer(world, "topk:density=0.02", feedbacks[i],
                                                 "lgreco:warmup=2,window=2,every=4");
        for (uint64_t step = 0; step < 4; step++) {
            (void)check_run_step(reducer, world, step);
        }
        for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
            poison_one_rank(world, reducer, layer, layer % 2 == 0 ? NAN : -INFINITY);
        }
        assert_true(check_run_step(reducer, world, 6).applied);
        check_same_everywhere(world, check_estimate_hash(reducer));
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

static void ready_in_any_order_gives_the_same_bits(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_error err = lmn_error_none();
    lmn_reducer *ordered = check_new_reducer(world, "topk:density=0.02", "econtrol", "uniform");
    lmn_reducer *shuffled = check_new_reducer(world, "topk:density=0.02", "econtrol", "uniform");
    float *elsewhere = calloc(CHECK_COUNT_2, sizeof *elsewhere);
    assert_non_null(elsewhere);
    for (uint64_t step = 0; step < 4; step++) {
        (void)check_run_step(ordered, world, step);
        assert_int_equal(lmn_reducer_begin(shuffled, step, &err), LMN_OK);
        for (size_t i = 0; i < CHECK_LAYERS; i++) {
            const size_t layer = (2 * (size_t)lmn_world_rank(world) + 3 * i + step) % CHECK_LAYERS;
            check_fill_gradient(lmn_world_rank(world), layer, step, elsewhere);
            assert_int_equal(lmn_reducer_ready(shuffled, layer, elsewhere, &err), LMN_OK);
        }
        lmn_step_report report;
        assert_int_equal(lmn_reducer_finish(shuffled, &report, &err), LMN_OK);
        assert_true(check_estimate_hash(ordered) == check_estimate_hash(shuffled));
    }
    free(elsewhere);
    lmn_reducer_destroy(ordered);
    lmn_reducer_destroy(shuffled);
    lmn_world_destroy(world);
}

static void fail_on_one_rank_is_the_same_error_on_all(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer = check_new_reducer(world, "topk:density=0.02", "econtrol", "uniform");
    (void)check_run_step(reducer, world, 0);
    for (int failing = 0; failing < lmn_world_size(world); failing++) {
        const uint64_t before = check_state_hash(reducer);
        lmn_error err = lmn_error_none();
        if (lmn_world_rank(world) == failing) {
            assert_int_equal(lmn_reducer_begin(reducer, 1, &err), LMN_OK);
            lmn_error cause = lmn_error_none();
            const lmn_status why =
                lmn_error_set(&cause, LMN_ERR_IO, "disk of rank %d burnt", failing);
            assert_int_equal(lmn_reducer_fail(reducer, why, &cause, &err), LMN_OK);
        } else {
            check_hand_over(reducer, world, 1);
        }
        lmn_step_report report;
        assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_ERR_IO);
        char expected[64];
        (void)snprintf(expected, sizeof expected, "disk of rank %d burnt", failing);
        assert_string_equal(err.message, expected);
        assert_true(check_state_hash(reducer) == before);
    }
    assert_true(check_run_step(reducer, world, 2).applied);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static void finish_without_a_layer_is_an_error_everywhere(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer = check_new_reducer(world, "dense", "none", "uniform");
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_reducer_begin(reducer, 0, &err), LMN_OK);
    for (size_t i = 0; i < CHECK_LAYERS; i++) {
        if (lmn_world_rank(world) != 0 || i != 2) {
            assert_int_equal(lmn_reducer_ready(reducer, i, NULL, &err), LMN_OK);
        }
    }
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "dense1/weight"));
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static void finish_damaged_message_is_refused_before_anything_changes(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_error err = lmn_error_none();
    lmn_reducer *reducer =
        check_new_reducer(world, "topk:density=0.02", "ef21:init=zero", "uniform");
    (void)check_run_step(reducer, world, 0);
    const uint64_t before = check_state_hash(reducer);
    check_hand_over(reducer, world, 1);
    lmn_collective *gather = lmn__gather_collective(reducer->buckets[0].exchanges[0]);
    assert_int_equal(lmn_collective_wait(gather, &err), LMN_OK);
    size_t bytes = 0;
    const unsigned char *received = lmn_allgatherv_message(gather, 0, &bytes);
    assert_true(bytes > 60);
    unsigned char *message = NULL;
    memcpy(&message, &received, sizeof message); /* damage is not what const foresees */
    message[47] = 0xFF;                          /* the high byte of the first index */
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_ERR_MESSAGE);
    assert_non_null(strstr(err.message, "rank 0"));
    assert_non_null(strstr(err.message, "dense2/weight"));
    assert_true(check_state_hash(reducer) == before);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static void adjust_lgreco_never_costs_more_than_uniform(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer = check_new_reducer(world, "topk:density=0.02", "econtrol",
                                             "lgreco:warmup=2,every=4,window=2,alpha=1");
    size_t decisions = 0;
    for (uint64_t step = 0; step < 20; step++) {
        const lmn_step_report report = check_run_step(reducer, world, step);
        if (report.adjusted) {
            decisions++;
            assert_true(report.allocation.bytes <= report.allocation.static_bytes);
            assert_true(report.allocation.error <= report.allocation.budget * (1.0 + 1e-9));
            assert_int_equal(lmn_reducer_level(reducer, 0), 0);
        }
    }
    assert_true(decisions == 5);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static void create_bad_options_are_refused_everywhere(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const specs[][3] = {{"topk:density=2", "none", "uniform"},
                                    {"topk:density=0", "none", "uniform"},
                                    {"topk", "sorcery", "uniform"},
                                    {"topk", "none", "lgreco:aplha=1"}};
    for (size_t i = 0; i < 4; i++) {
        const lmn_reducer_options options =
            check_reducer_options(specs[i][0], specs[i][1], specs[i][2]);
        lmn_reducer *reducer = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(
            lmn_reducer_create(world, check_layers, CHECK_LAYERS, &options, &reducer, &err),
            LMN_ERR_USAGE);
        assert_null(reducer);
        assert_true(strlen(err.message) > 0);
    }
    lmn_world_destroy(world);
}

static void create_different_layers_are_refused(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer_options options = check_reducer_options("dense", "none", "uniform");
    options.dense_below = lmn_world_rank(world) == 0 ? 1024 : 2048;
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    const lmn_status status =
        lmn_reducer_create(world, check_layers, CHECK_LAYERS, &options, &reducer, &err);
    assert_int_equal(status, lmn_world_size(world) == 1 ? LMN_OK : LMN_ERR_DIVERGED);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finish_dense_estimates_the_mean),
        cmocka_unit_test(finish_scalars_are_summed),
        cmocka_unit_test(finish_every_mechanism_is_identical_on_all_ranks),
        cmocka_unit_test(finish_averaging_mechanisms_work_with_every_exchange),
        cmocka_unit_test(finish_error_feedback_loses_nothing),
        cmocka_unit_test(finish_econtrol_without_eta_is_ef21),
        cmocka_unit_test(finish_counts_what_leaves),
        cmocka_unit_test(finish_nonfinite_on_one_rank_changes_nothing_anywhere),
        cmocka_unit_test(ready_in_any_order_gives_the_same_bits),
        cmocka_unit_test(fail_on_one_rank_is_the_same_error_on_all),
        cmocka_unit_test(finish_without_a_layer_is_an_error_everywhere),
        cmocka_unit_test(finish_damaged_message_is_refused_before_anything_changes),
        cmocka_unit_test(adjust_lgreco_never_costs_more_than_uniform),
        cmocka_unit_test(create_bad_options_are_refused_everywhere),
        cmocka_unit_test(create_different_layers_are_refused),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}

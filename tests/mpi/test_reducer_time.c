/*
 * The reducer with an allocator that weighs times: what is measured, decided, tried and taken back.
 *
 * The link and the times that a decision rests on are set by hand, so that decisions do not depend
 * on the machine; that a plan turns out faster or slower is brought about by waiting inside steps,
 * or by stating what dense steps took.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/reducer.h"
#include "reducer_check.h"
#include "train/timing_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <mpi.h>

#include <cmocka.h>

#define SPEC "time:warmup=4,window=2,every=1000"
enum { WARMUP = 4 };

static const lmn_link slow_link = {.sum = {1e-6, 1e-5}, .gather = {1e-6, 1e-5}};

/* A reducer on a link of our choice. */
static lmn_reducer *new_reducer(lmn_world *world, const char *compress, lmn_link link)
{
    lmn_reducer *reducer = check_new_reducer(world, compress, "econtrol", SPEC);
    assert_non_null(reducer->timing);
    reducer->timing->link = link;
    return reducer;
}

/* A step in which the rank also computes for `seconds`. */
static lmn_step_report run_step(lmn_reducer *reducer, lmn_world *world, uint64_t step,
                                double seconds)
{
    check_hand_over(reducer, world, step);
    const struct timespec wait = {.tv_nsec = (long)(seconds * 1e9)};
    (void)nanosleep(&wait, NULL);
    lmn_step_report report;
    lmn_error err = lmn_error_none();
    if (lmn_reducer_finish(reducer, &report, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return report;
}

/* What was measured so far, made to say: dense layers take nothing to encode and decode, compressed
 * ones a millisecond each. A step that follows is one of many and does not move the medians. */
static void state_times(lmn_reducer *reducer)
{
    static const double step[LMN__TIME_COUNT] = {
        [LMN__TIME_STEP] = 2e-3, [LMN__TIME_COMPUTE] = 1e-3};
    lmn__timing *timing = reducer->timing;
    for (size_t i = 0; i < LMN__TIMING_STEPS; i++) {
        for (size_t k = 0; k < LMN__TIME_COUNT; k++) {
            timing->steps[k][i] = step[k];
        }
        for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
            timing->ready_steps[layer * LMN__TIMING_STEPS + i] = step[LMN__TIME_COMPUTE];
        }
    }
    timing->n_steps = LMN__TIMING_STEPS;
    for (size_t cell = 0; cell < CHECK_LAYERS * timing->n_levels; cell++) {
        const bool is_dense = cell % timing->n_levels == 0;
        timing->encode[cell] = is_dense ? 0.0 : 1e-3;
        timing->decode[cell] = is_dense ? 0.0 : 1e-3;
        timing->share[cell] = is_dense ? 0.0 : 1.0;
    }
    timing->is_calibrated = 1;
}

/* Dense steps up to the first decision, which is made on stated times. */
static lmn_step_report warm_up(lmn_reducer *reducer, lmn_world *world)
{
    lmn_step_report report = {0};
    for (uint64_t step = 0; step < WARMUP; step++) {
        assert_false(report.adjusted);
        assert_int_equal(lmn_reducer_level(reducer, 1), 0);
        if (step == WARMUP - 1) {
            state_times(reducer);
        }
        report = run_step(reducer, world, step, 0.0);
    }
    assert_true(report.adjusted);
    assert_true(reducer->timing->dense_step == 2e-3);
    return report;
}

static size_t compressed_layers(const lmn_reducer *reducer)
{
    size_t n = 0;
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        n += lmn_reducer_level(reducer, layer) != 0 ? 1 : 0;
    }
    return n;
}

static void check_same_levels(lmn_reducer *reducer, lmn_world *world)
{
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        check_same_everywhere(world, lmn_reducer_level(reducer, layer));
    }
}

static void a_link_that_takes_no_time_leaves_all_layers_dense(void **state)
{
    lmn_world *world = *state;
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", (lmn_link){0});
    const lmn_step_report report = warm_up(reducer, world);
    assert_true(report.allocation.seconds == report.allocation.dense_seconds);
    assert_true(report.allocation.seconds > 0.0);
    assert_int_equal(compressed_layers(reducer), 0);
    assert_int_equal(reducer->timing->phase, LMN__PLAN_DENSE);
    lmn_reducer_destroy(reducer);
}

static void a_slow_link_is_worth_compressing_in_every_family(void **state)
{
    lmn_world *world = *state;
    static const char *const specs[] = {"topk:density=0.05", "quant:bits=4,bucket=64",
                                        "lowrank:rank=2"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0] && lmn_world_size(world) > 1; i++) {
        lmn_reducer *reducer = new_reducer(world, specs[i], slow_link);
        const lmn_allocation_report told = warm_up(reducer, world).allocation;
        assert_true(told.seconds < 0.95 * told.dense_seconds);
        assert_true(told.error <= told.budget);
        assert_true(compressed_layers(reducer) > 0);
        assert_int_equal(reducer->timing->phase, LMN__PLAN_ON_TRIAL);
        check_same_levels(reducer, world);
        const lmn_step_report next = run_step(reducer, world, WARMUP, 0.0);
        assert_true(next.applied && next.bytes_sent < next.bytes_dense);
        check_same_everywhere(world, check_estimate_hash(reducer));
        lmn_reducer_destroy(reducer);
    }
}

/* Encoding is made slow behind the back of who measured it. */
static void a_plan_slower_than_dense_is_reverted_after_its_trial(void **state)
{
    lmn_world *world = *state;
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", slow_link);
    (void)warm_up(reducer, world);
    if (lmn_world_size(world) > 1) {
        const size_t used = lmn_reducer_level(reducer, 1);
        const size_t other = lmn_reducer_level(reducer, 2);
        const double slower = 0.002 + 2.0 * reducer->timing->dense_step;
        lmn_step_report report = {0};
        for (uint64_t i = 0; i < LMN__TIMING_STEPS; i++) {
            assert_false(report.adjusted);
            assert_int_equal(reducer->timing->phase, LMN__PLAN_ON_TRIAL);
            report = run_step(reducer, world, WARMUP + i, slower);
        }
        assert_true(report.adjusted); /* decided anew, with costs as they were seen */
        assert_true(used == 0 || reducer->timing->raised[used] >= 1.25);
        assert_true(other == 0 || reducer->timing->raised[other] >= 1.25);
        check_same_levels(reducer, world);
    }
    lmn_reducer_destroy(reducer);
}

static void a_plan_faster_than_dense_is_kept(void **state)
{
    lmn_world *world = *state;
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", slow_link);
    (void)warm_up(reducer, world);
    if (lmn_world_size(world) > 1) {
        const size_t levels[2] = {lmn_reducer_level(reducer, 1), lmn_reducer_level(reducer, 2)};
        reducer->timing->dense_step = 1e3; /* what dense steps would take on a slow link */
        for (uint64_t i = 0; i < LMN__TIMING_STEPS; i++) {
            (void)run_step(reducer, world, WARMUP + i, 0.0);
        }
        assert_int_equal(reducer->timing->phase, LMN__PLAN_KEPT);
        assert_int_equal(lmn_reducer_level(reducer, 1), levels[0]);
        assert_int_equal(lmn_reducer_level(reducer, 2), levels[1]);
    }
    lmn_reducer_destroy(reducer);
}

static void calibrating_changes_no_estimate(void **state)
{
    lmn_world *world = *state;
    lmn_reducer *timed = new_reducer(world, "topk:density=0.05", (lmn_link){0});
    lmn_reducer *plain = check_new_reducer(world, "dense", "econtrol", "uniform");
    for (uint64_t step = 0; step < WARMUP + 2; step++) {
        (void)run_step(timed, world, step, 0.0);
        (void)run_step(plain, world, step, 0.0);
        /* Whatever was decided on times of this machine. */
        memset(timed->levels, 0, CHECK_LAYERS * sizeof *timed->levels);
        if (lmn_world_size(world) <= 2) { /* with more, tuned sums have an order of their own */
            assert_true(check_estimate_hash(timed) == check_estimate_hash(plain));
        }
    }
    assert_int_equal(timed->timing->is_calibrated, 1);
    const size_t n_levels = timed->timing->n_levels;
    assert_true(timed->timing->encode[2 * n_levels - 1] > 0.0); /* layer 1 at the sparsest level */
    lmn_reducer_destroy(plain);
    lmn_reducer_destroy(timed);
}

/* While all is dense nothing is fed back; the first compressed step must not notice. */
static void layers_that_rested_go_on_as_if_they_had_not(void **state)
{
    lmn_world *world = *state;
    static const char *const feedbacks[] = {"econtrol", "ef21", "ec"};
    for (size_t f = 0; f < sizeof feedbacks / sizeof feedbacks[0]; f++) {
        lmn_reducer *timed = check_new_reducer(world, "topk:density=0.05", feedbacks[f], SPEC);
        lmn_reducer *plain =
            check_new_reducer(world, "topk:density=0.05", feedbacks[f], "uniform:warmup=4");
        timed->timing->link = (lmn_link){0};
        for (uint64_t step = 0; step < WARMUP + 6; step++) {
            (void)run_step(plain, world, step, 0.0);
            (void)run_step(timed, world, step, 0.0);
            assert_int_equal(timed->layers[1].rests, step < WARMUP);
            if (lmn_world_size(world) <= 2) {
                assert_true(check_estimate_hash(timed) == check_estimate_hash(plain));
            }
            if (step == 1) {
                lmn_reducer_settle(timed); /* as for a checkpoint */
            }
            if (step == WARMUP - 1) {
                timed->levels[1] = plain->levels[1];
                timed->levels[2] = plain->levels[2];
            }
        }
        lmn_reducer_destroy(plain);
        lmn_reducer_destroy(timed);
    }
}

static void decisions_and_what_they_rest_on_outlast_a_checkpoint(void **state)
{
    lmn_world *world = *state;
    lmn_reducer *first = new_reducer(world, "topk:density=0.05", slow_link);
    (void)warm_up(first, world);
    (void)run_step(first, world, WARMUP, 0.0);
    lmn_reducer *second = new_reducer(world, "topk:density=0.05", slow_link);
    check_copy_state(first, second);
    assert_true(second->timing->dense_step == first->timing->dense_step);
    assert_int_equal(second->timing->phase, first->timing->phase);
    assert_int_equal(second->timing->trial_steps, 0);
    for (uint64_t step = WARMUP + 1; step < WARMUP + 4; step++) {
        (void)run_step(first, world, step, 0.0);
        (void)run_step(second, world, step, 0.0);
        for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
            assert_int_equal(lmn_reducer_level(first, layer), lmn_reducer_level(second, layer));
        }
        if (lmn_world_size(world) <= 2) {
            assert_true(check_estimate_hash(first) == check_estimate_hash(second));
        }
    }
    lmn_reducer_destroy(second);
    lmn_reducer_destroy(first);
}

/* One world for all tests: its link is measured once. */
static int make_world(void **state)
{
    *state = check_new_world();
    return 0;
}

static int end_world(void **state)
{
    lmn_world_destroy(*state);
    return 0;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_that_takes_no_time_leaves_all_layers_dense),
        cmocka_unit_test(a_slow_link_is_worth_compressing_in_every_family),
        cmocka_unit_test(a_plan_slower_than_dense_is_reverted_after_its_trial),
        cmocka_unit_test(a_plan_faster_than_dense_is_kept),
        cmocka_unit_test(calibrating_changes_no_estimate),
        cmocka_unit_test(layers_that_rested_go_on_as_if_they_had_not),
        cmocka_unit_test(decisions_and_what_they_rest_on_outlast_a_checkpoint),
    };
    const int failures = cmocka_run_group_tests(tests, make_world, end_world);
    MPI_Finalize();
    return failures;
}

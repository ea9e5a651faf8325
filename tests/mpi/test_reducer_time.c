/*
 * The reducer with an allocator that weighs times: what is measured, decided, tried and kept.
 *
 * The link and the times that a decision rests on are set by hand, so that decisions do not depend
 * on the machine; what steps of a plan on trial take is stated after each of them, but for the last
 * of a round, which is one of five and does not move their median.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/reducer.h"
#include "reducer_check.h"
#include "train/timing_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <mpi.h>

#include <cmocka.h>

#define SPEC "time:warmup=4,window=2,every=1000"
enum { WARMUP = 4 };
static const size_t n_plans = LMN_LEVELS_COUNT;
static const uint64_t second_decision = 2 * (uint64_t)WARMUP;

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
    assert_int_equal(reducer->timing->phase, LMN__TIME_SETTLED);
    assert_int_equal(reducer->timing->kept, LMN_LEVELS_DENSE);
    lmn_reducer_destroy(reducer);
}

static void a_slow_link_is_worth_trying_in_every_family(void **state)
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
        assert_int_equal(reducer->timing->phase, LMN__TIME_TRYING);
        check_same_levels(reducer, world);
        const lmn_step_report next = run_step(reducer, world, WARMUP, 0.0);
        assert_true(next.applied && next.bytes_sent < next.bytes_dense);
        check_same_everywhere(world, check_estimate_hash(reducer));
        lmn_reducer_destroy(reducer);
    }
}

/* Plans of our choice, all different, at the first turn of a trial. */
static lmn_reducer *begin_trial(lmn_world *world)
{
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", slow_link);
    (void)warm_up(reducer, world);
    lmn__timing *timing = reducer->timing;
    assert_int_equal(timing->phase, LMN__TIME_TRYING);
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT; plan++) {
        timing->plans[plan * CHECK_LAYERS + 1] = plan == LMN_LEVELS_DENSE ? 0 : 2 + plan;
        timing->plans[plan * CHECK_LAYERS + 2] = plan == LMN_LEVELS_DENSE ? 0 : 2 + plan;
        timing->parts[plan] = plan == LMN_LEVELS_DENSE ? LMN__TRIAL_KNOWN : LMN__TRIAL_IN;
    }
    lmn__trial_restart(reducer);
    return reducer;
}

/* Steps until the trial is over, each taking what is stated for the plan that has the turn; counts
 * the turns of each. Returns the report of the last. */
static lmn_step_report run_trial(lmn_reducer *reducer, lmn_world *world, uint64_t first,
                                 const double *seconds, size_t *turns)
{
    lmn__timing *timing = reducer->timing;
    lmn_step_report report = {0};
    for (uint64_t step = first; timing->phase == LMN__TIME_TRYING; step++) {
        const size_t plan = timing->turn;
        assert_true(step < first + 4 * n_plans * LMN__TURN_STEPS);
        assert_false(report.tried || report.adjusted);
        assert_int_equal(lmn_reducer_level(reducer, 1), timing->plans[plan * CHECK_LAYERS + 1]);
        turns[plan] += timing->turn_steps == 0 ? 1 : 0;
        report = run_step(reducer, world, step, 0.0);
        lmn__samples *samples = &timing->samples[plan];
        if (timing->phase == LMN__TIME_TRYING && samples->n > 0) {
            const bool is_slowest = lmn_world_rank(world) == lmn_world_size(world) - 1;
            samples->seconds[samples->n - 1] = (is_slowest ? 1.0 : 0.5) * seconds[plan];
        }
    }
    return report;
}

static void the_plan_whose_steps_are_shortest_is_kept(void **state)
{
    lmn_world *world = *state;
    static const double seconds[][LMN_LEVELS_COUNT] = {{1.10, 1.0, 1.03, 1.08},
                                                       {1.10, 1.03, 1.0, 1.08},
                                                       {1.10, 1.03, 1.08, 1.0},
                                                       {1.0, 1.03, 1.02, 1.03},
                                                       {1.0, 0.995, 1.2, 0.995}};
    static const size_t kept[] = {LMN_LEVELS_SHORTEST, LMN_LEVELS_UNIFORM, LMN_LEVELS_SMALLEST,
                                  LMN_LEVELS_DENSE, LMN_LEVELS_DENSE};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0] && lmn_world_size(world) > 1; i++) {
        lmn_reducer *reducer = begin_trial(world);
        reducer->timing->measured[LMN_LEVELS_DENSE] = 1.4; /* as if links had been cold */
        size_t turns[LMN_LEVELS_COUNT] = {0};
        const lmn_step_report report = run_trial(reducer, world, WARMUP, seconds[i], turns);
        assert_true(report.tried && report.adjusted);
        assert_int_equal(reducer->timing->kept, kept[i]);
        assert_true(turns[LMN_LEVELS_DENSE] >= 1 && turns[kept[i]] >= 2);
        assert_int_equal(lmn_reducer_level(reducer, 2), kept[i] == 0 ? 0 : 2 + kept[i]);
        check_same_levels(reducer, world);
        lmn_level_trial trials[LMN_LEVELS_COUNT];
        assert_true(lmn_reducer_trials(reducer, trials));
        assert_true(trials[kept[i]].is_kept && trials[kept[i]].steps >= 10);
        assert_int_equal(trials[kept[i]].n_compressed, kept[i] == 0 ? 0 : 2);
        assert_true(fabs(trials[kept[i]].measured - seconds[i][kept[i]]) < 1e-8);
        lmn_reducer_destroy(reducer);
    }
}

/* Where dense takes long, no dense step is made to find out. */
static void a_plan_that_is_far_slower_has_one_turn_at_most(void **state)
{
    lmn_world *world = *state;
    static const double seconds[LMN_LEVELS_COUNT] = {0.0, 1.0, 1.2, 1.02};
    if (lmn_world_size(world) > 1) {
        lmn_reducer *reducer = begin_trial(world);
        reducer->timing->measured[LMN_LEVELS_DENSE] = 1.6;
        size_t turns[LMN_LEVELS_COUNT] = {0};
        (void)run_trial(reducer, world, WARMUP, seconds, turns);
        assert_int_equal(reducer->timing->kept, LMN_LEVELS_SHORTEST);
        assert_int_equal(turns[LMN_LEVELS_DENSE], 0);
        assert_int_equal(turns[LMN_LEVELS_UNIFORM], 1);
        assert_int_equal(turns[LMN_LEVELS_SMALLEST], LMN__TRIAL_ROUNDS);
        lmn_reducer_destroy(reducer);
    }
}

static void a_turn_counts_its_steps_but_the_first(void **state)
{
    lmn_world *world = *state;
    if (lmn_world_size(world) > 1) {
        lmn_reducer *reducer = begin_trial(world);
        const lmn__samples *samples = &reducer->timing->samples[LMN_LEVELS_SHORTEST];
        for (size_t i = 0; i < LMN__TURN_STEPS; i++) {
            assert_int_equal(samples->n, i <= LMN__TURN_SKIPS ? 0 : i - LMN__TURN_SKIPS);
            (void)run_step(reducer, world, WARMUP + i, 2e-3);
        }
        assert_int_equal(samples->n, LMN__TURN_STEPS - LMN__TURN_SKIPS);
        for (size_t i = 0; i < samples->n; i++) {
            assert_true(samples->compute[i] >= 2e-3 && samples->seconds[i] >= samples->compute[i]);
        }
        assert_int_equal(reducer->timing->turn, LMN_LEVELS_UNIFORM);
        lmn_reducer_destroy(reducer);
    }
}

/* A trial may cost a hundredth of the time since the one before. */
static void later_trials_are_of_plans_that_cost_little(void **state)
{
    lmn_world *world = *state;
    lmn_reducer *reducer = lmn_world_size(world) > 1 ? begin_trial(world) : NULL;
    if (reducer == NULL) {
        return;
    }
    static const double measured[LMN_LEVELS_COUNT] = {20.0, 1.0, 1.01, 1.1};
    static const struct {
        uint64_t steps;
        uint64_t takes_part[LMN_LEVELS_COUNT];
    } cases[] = {{20, {0, 0, 0, 0}},
                 {30, {0, 1, 1, 0}},
                 {300, {0, 1, 1, 1}},
                 {10000, {0, 1, 1, 1}},
                 {20000, {1, 1, 1, 1}}};
    lmn__timing *timing = reducer->timing;
    memcpy(timing->measured, measured, sizeof measured);
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT; plan++) {
        timing->predicted[plan] = 1.0;
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        timing->phase = LMN__TIME_SETTLED;
        timing->kept = LMN_LEVELS_SHORTEST;
        timing->settled_steps = cases[i].steps;
        lmn__trial_open(reducer);
        const bool tries = timing->phase == LMN__TIME_TRYING;
        assert_int_equal(tries, cases[i].takes_part[LMN_LEVELS_SHORTEST]);
        for (size_t plan = 0; plan < LMN_LEVELS_COUNT && tries; plan++) {
            assert_int_equal(timing->parts[plan], cases[i].takes_part[plan]);
        }
    }
    lmn_reducer_destroy(reducer);
}

/* Of two plans that became the same one has turns, and the plan kept goes by its name. */
static void plans_that_are_the_same_are_tried_once(void **state)
{
    lmn_world *world = *state;
    if (lmn_world_size(world) > 1) {
        lmn_reducer *reducer = begin_trial(world);
        lmn__timing *timing = reducer->timing;
        const size_t row = CHECK_LAYERS * sizeof *timing->plans;
        memcpy(timing->plans + (size_t)LMN_LEVELS_SMALLEST * CHECK_LAYERS,
               timing->plans + (size_t)LMN_LEVELS_UNIFORM * CHECK_LAYERS, row);
        timing->phase = LMN__TIME_SETTLED;
        timing->kept = LMN_LEVELS_SMALLEST;
        timing->settled_steps = 1000000000;
        lmn__trial_open(reducer);
        assert_int_equal(timing->kept, LMN_LEVELS_UNIFORM);
        assert_int_equal(timing->parts[LMN_LEVELS_SMALLEST], LMN__TRIAL_OUT);
        assert_int_equal(timing->parts[LMN_LEVELS_UNIFORM], LMN__TRIAL_IN);
        lmn_reducer_destroy(reducer);
    }
}

/* One rank is enough to find that adapting takes too much of the time. */
static void a_decision_waits_while_the_last_one_was_dear(void **state)
{
    lmn_world *world = *state;
    for (int is_dear = 0; is_dear < 2; is_dear++) {
        lmn_reducer *reducer =
            check_new_reducer(world, "topk:density=0.05", "econtrol", "time:warmup=4,every=4");
        reducer->timing->link = (lmn_link){0};
        (void)warm_up(reducer, world);
        assert_int_equal(reducer->timing->phase, LMN__TIME_SETTLED);
        for (uint64_t step = WARMUP; step < second_decision; step++) {
            reducer->timing->adapt_seconds = is_dear == 1 && lmn_world_rank(world) == 0 ? 1e6 : 0.0;
            state_times(reducer);
            const lmn_step_report report = run_step(reducer, world, step, 0.0);
            assert_int_equal(report.adjusted, is_dear == 0 && step == second_decision - 1);
        }
        lmn_reducer_destroy(reducer);
    }
}

/* Time that computing takes less while hardly any messages travel belongs to the messages. */
static void processor_time_of_messages_is_charged_to_dense_layers(void **state)
{
    lmn_world *world = *state;
    lmn_reducer *reducer = new_reducer(world, "topk:density=0.05", (lmn_link){0});
    (void)warm_up(reducer, world);
    lmn__timing *timing = reducer->timing;
    const size_t dense = 2 * timing->n_levels; /* layer 2 */
    assert_true(timing->dense_compute == 1e-3);
    const double before =
        lmn__timing_tables(reducer, &timing->link, lmn_world_size(world)).encode[dense];
    timing->light_compute = 0.25e-3;
    const double after =
        lmn__timing_tables(reducer, &timing->link, lmn_world_size(world)).encode[dense];
    const double part = (double)CHECK_COUNT_2 / (CHECK_COUNT_1 + CHECK_COUNT_2 + 110);
    assert_true(fabs(after - before - 0.75e-3 * part) < 1e-9);
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
    assert_int_equal(second->timing->turn_steps, 0);
    assert_int_equal(second->timing->turn, first->timing->turn);
    assert_memory_equal(second->timing->plans, first->timing->plans,
                        n_plans * CHECK_LAYERS * sizeof(uint64_t));
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
        cmocka_unit_test(a_slow_link_is_worth_trying_in_every_family),
        cmocka_unit_test(the_plan_whose_steps_are_shortest_is_kept),
        cmocka_unit_test(a_plan_that_is_far_slower_has_one_turn_at_most),
        cmocka_unit_test(a_turn_counts_its_steps_but_the_first),
        cmocka_unit_test(later_trials_are_of_plans_that_cost_little),
        cmocka_unit_test(plans_that_are_the_same_are_tried_once),
        cmocka_unit_test(a_decision_waits_while_the_last_one_was_dear),
        cmocka_unit_test(processor_time_of_messages_is_charged_to_dense_layers),
        cmocka_unit_test(calibrating_changes_no_estimate),
        cmocka_unit_test(layers_that_rested_go_on_as_if_they_had_not),
        cmocka_unit_test(decisions_and_what_they_rest_on_outlast_a_checkpoint),
    };
    const int failures = cmocka_run_group_tests(tests, make_world, end_world);
    MPI_Finalize();
    return failures;
}

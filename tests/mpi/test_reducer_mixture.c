/*
 * Mixtures of families in the reducer: layers of one bucket in three families at once, layers that
 * change family, and the choice between families.
 *
 * Layer 0 is a matrix of low rank, layer 1 has few large entries, layer 2 is noise: each of them
 * suits another family.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/hash.h"
#include "lamina/random.h"
#include "lamina/reducer.h"
#include "node_check.h"
#include "reducer_check.h"
#include "train/timing_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { LARGE = 3, LAYERS = 4, COUNT_MAX = 4096, STEPS = 9 };

static const lmn_reducer_layer layers[LAYERS] = {
    {.name = "low", .n_dims = 2, .dims = {64, 64}},
    {.name = "sparse", .n_dims = 2, .dims = {64, 64}},
    {.name = "noise", .n_dims = 2, .dims = {48, 80}},
    {.name = "bias", .n_dims = 1, .dims = {10}},
};
static const size_t counts[LAYERS] = {4096, 4096, 3840, 10};

/* Levels of the mixture: 1, 2 of topk, 3, 4 of quant, 5, 6 of lowrank. */
static const char *const families[] = {
    "topk:density=0.05,levels=0.1", "quant:bits=4,levels=8,bucket=64", "lowrank:rank=2,levels=4"};
static const char mixture[] =
    "topk:density=0.05,levels=0.1+quant:bits=4,levels=8,bucket=64+lowrank:rank=2,levels=4";
enum { LEVELS = 7 };

/* Levels are the test's, not an allocator's. */
static const char by_hand[] = "lgreco:every=1000000,warmup=0";

static const char *const mechanisms[] = {
    "none", "ec", "ef21:init=zero", "econtrol", "econtrol:init=zero,eta=0.05", "ef21_sgdm"};
enum { N_MECHANISMS = sizeof mechanisms / sizeof mechanisms[0] };

/* Layers go from every family to every other, and to dense and back. */
static const uint64_t schedule[STEPS][LARGE] = {{6, 2, 4}, {4, 6, 2}, {2, 4, 6},
                                                {2, 4, 6}, {4, 0, 0}, {6, 2, 3},
                                                {5, 3, 1}, {1, 3, 5}, {3, 5, 1}};

static void fill(int rank, size_t layer, uint64_t step, float *gradient)
{
    const lmn_stream stream = {.seed = 17,
                               .layer = (uint32_t)layer,
                               .step = (uint32_t)step,
                               .purpose = LMN_STREAM_USER,
                               .rank = (uint16_t)rank};
    lmn_stream_normal(&stream, 0, counts[layer], gradient);
    for (size_t i = 0; i < counts[layer] && layer < 2; i++) {
        const size_t row = i / 64;
        const size_t column = i % 64;
        const float small = 1e-3F * gradient[i];
        const float low = (float)(row % 5 + 1) * (float)((column * 7) % 11);
        const float large = i % 29 == 0 ? 8.0F * gradient[i] : 0.0F;
        gradient[i] = small + (layer == 0 ? 0.1F * low : large);
    }
}

static lmn_reducer *new_reducer(lmn_world *world, const char *compress, const char *feedback,
                                const char *allocate, const char *hierarchy)
{
    lmn_reducer_options options = check_reducer_options(compress, feedback, allocate);
    options.bucket_bytes = (size_t)1 << 20;
    options.hierarchy = hierarchy;
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_reducer_create(world, layers, LAYERS, &options, &reducer, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return reducer;
}

static void set_levels(lmn_reducer *reducer, const uint64_t *levels)
{
    for (size_t layer = 0; layer < LARGE; layer++) {
        reducer->levels[layer] = levels[layer];
    }
}

/* With `bad` the last rank's gradient of layer 0 is no number. */
static lmn_step_report run_step(lmn_reducer *reducer, uint64_t step, bool bad)
{
    lmn_error err = lmn_error_none();
    lmn_step_report report;
    assert_int_equal(lmn_reducer_begin(reducer, step, &err), LMN_OK);
    for (size_t layer = 0; layer < LAYERS; layer++) {
        float *gradient = lmn_reducer_gradient(reducer, layer);
        fill(reducer->rank, layer, step, gradient);
        if (bad && layer == 0 && reducer->rank == reducer->size - 1) {
            gradient[5] = (float)NAN;
        }
        assert_int_equal(lmn_reducer_ready(reducer, layer, gradient, &err), LMN_OK);
        assert_int_equal(lmn_reducer_progress(reducer, &err), LMN_OK);
    }
    if (lmn_reducer_finish(reducer, &report, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    assert_true(report.applied == !bad);
    return report;
}

static uint64_t estimate_hash(const lmn_reducer *reducer)
{
    uint64_t hash = 0;
    for (size_t layer = 0; layer < LAYERS; layer++) {
        hash =
            lmn_hash64(lmn_reducer_estimate(reducer, layer), counts[layer] * sizeof(float), hash);
    }
    return hash;
}

/* Sums over ranks may be taken in another order where numbers lie elsewhere in a buffer. */
static void assert_same_layer(const lmn_reducer *all, const lmn_reducer *one, size_t layer)
{
    const float *estimate = lmn_reducer_estimate(all, layer);
    const float *expected = lmn_reducer_estimate(one, layer);
    const double slack = all->layers[layer].way == LMN_COMBINE_ROUNDS && all->size > 2 ? 1e-4 : 0.0;
    double largest = 0.0;
    for (size_t i = 0; i < counts[layer]; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
    }
    assert_true(largest > 0.0);
    for (size_t i = 0; i < counts[layer]; i++) {
        if (fabs((double)estimate[i] - (double)expected[i]) > slack * largest) {
            fail_msg("layer %zu, element %zu: %g, and %g of the family alone", layer, i,
                     (double)estimate[i], (double)expected[i]);
        }
    }
    assert_int_equal(lmn_reducer_layer_bytes(all, layer), lmn_reducer_layer_bytes(one, layer));
}

static void compare_with_families(lmn_world *world, const char *feedback)
{
    static const uint64_t mixed[LARGE] = {6, 2, 4};
    static const size_t family_of[LARGE] = {2, 0, 1};
    static const uint64_t own[LARGE] = {2, 2, 2};
    lmn_reducer *all = new_reducer(world, mixture, feedback, by_hand, "flat");
    lmn_reducer *alone[LARGE];
    for (size_t i = 0; i < LARGE; i++) {
        alone[i] = new_reducer(world, families[i], feedback, by_hand, "flat");
        set_levels(alone[i], own);
    }
    set_levels(all, mixed);
    for (uint64_t step = 0; step < 4; step++) {
        (void)run_step(all, step, false);
        for (size_t i = 0; i < LARGE; i++) {
            (void)run_step(alone[i], step, false);
        }
        for (size_t layer = 0; layer < LARGE; layer++) {
            assert_same_layer(all, alone[family_of[layer]], layer);
        }
        check_same_everywhere(world, estimate_hash(all));
    }
    for (size_t i = 0; i < LARGE; i++) {
        lmn_reducer_destroy(alone[i]);
    }
    lmn_reducer_destroy(all);
}

static void layers_in_three_families_at_once_have_the_bits_of_each_family(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    for (size_t i = 0; i < N_MECHANISMS; i++) {
        compare_with_families(world, mechanisms[i]);
    }
    lmn_world_destroy(world);
}

/* The level at which a layer has to travel: dense once between slices and a way that adds to h. */
static uint64_t expected_level(const lmn_reducer *reducer, size_t layer, uint64_t step,
                               bool was_sliced)
{
    const bool starts = step == 0 && lmn_feedback_starts_dense(reducer->feedback);
    const uint64_t level = schedule[step][layer];
    const bool is_sliced = level == 3 || level == 4;
    const bool is_settled = was_sliced && !is_sliced && lmn_feedback_tracks(reducer->feedback);
    return starts || is_settled ? 0 : level;
}

/* Every step: the same bits on all ranks, and h the mean of the h_i wherever it is kept. */
static void follow_schedule(lmn_world *world, const char *feedback, const char *hierarchy)
{
    lmn_reducer *reducer = new_reducer(world, mixture, feedback, by_hand, hierarchy);
    bool was_sliced[LARGE] = {false};
    for (uint64_t step = 0; step < STEPS; step++) {
        set_levels(reducer, schedule[step]);
        lmn__drift_ask(reducer);
        const lmn_step_report report = run_step(reducer, step, false);
        check_same_everywhere(world, estimate_hash(reducer));
        assert_true(report.drift < 1e-5);
        assert_int_equal(report.drift_resets, 0);
        for (size_t layer = 0; layer < LARGE; layer++) {
            const size_t level = reducer->layers[layer].travel_level;
            assert_int_equal(level, expected_level(reducer, layer, step, was_sliced[layer]));
            was_sliced[layer] = level == 3 || level == 4;
        }
    }
    lmn_reducer_destroy(reducer);
}

static void layers_that_change_family_agree_on_all_ranks_and_keep_h(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    for (size_t i = 0; i < N_MECHANISMS; i++) {
        follow_schedule(world, mechanisms[i], "flat");
    }
    lmn_world_destroy(world);
}

/* What more ranks than this show nothing new of, and take long for on few cores. */
static bool has_many_ranks(void)
{
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size > 4;
}

static void layers_that_change_family_agree_with_two_levels_of_ranks(void **state)
{
    (void)state;
    if (has_many_ranks()) {
        return;
    }
    for (check_division how = CHECK_ONE; how < CHECK_DIVISIONS; how++) {
        lmn_world *world = check_divided_world(how);
        follow_schedule(world, "ec", "node");
        follow_schedule(world, "econtrol:init=zero,eta=0.05", "node");
        lmn_world_destroy(world);
    }
}

/* sum of mean gradients = sum of estimates + what is owed, whichever family owes it. */
static void nothing_is_lost_when_layers_change_family(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer = new_reducer(world, mixture, "ec", by_hand, "flat");
    double *sums = calloc((size_t)LARGE * COUNT_MAX, sizeof *sums);
    float *gradient = calloc(COUNT_MAX, sizeof *gradient);
    lmn_error err = lmn_error_none();
    assert_non_null(sums);
    assert_non_null(gradient);
    for (uint64_t step = 0; step < STEPS; step++) {
        set_levels(reducer, schedule[step]);
        (void)run_step(reducer, step, false);
        for (size_t layer = 0; layer < LARGE; layer++) {
            const float *estimate = lmn_reducer_estimate(reducer, layer);
            double *const sum = sums + layer * COUNT_MAX;
            fill(reducer->rank, layer, step, gradient);
            for (size_t i = 0; i < counts[layer]; i++) {
                sum[i] += ((double)gradient[i] - (double)estimate[i]) / reducer->size;
            }
        }
    }
    for (size_t layer = 0; layer < LARGE; layer++) {
        double *owed = calloc(counts[layer], sizeof *owed);
        assert_non_null(owed);
        check_add_errors(reducer, layer, owed);
        double *const sum = sums + layer * COUNT_MAX;
        assert_int_equal(lmn_world_sum_f64(world, owed, counts[layer], &err), LMN_OK);
        assert_int_equal(lmn_world_sum_f64(world, sum, counts[layer], &err), LMN_OK);
        for (size_t i = 0; i < counts[layer]; i++) {
            assert_true(fabs(owed[i] - sum[i]) < 1e-3);
        }
        free(owed);
    }
    free(gradient);
    free(sums);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

/* Through a checkpoint after `cut` steps. */
static void resume_after(lmn_world *world, const char *feedback, uint64_t cut)
{
    lmn_reducer *reducer = new_reducer(world, mixture, feedback, by_hand, "flat");
    lmn_reducer *resumed = new_reducer(world, mixture, feedback, by_hand, "flat");
    for (uint64_t step = 0; step < STEPS; step++) {
        if (step == cut) {
            check_copy_state(reducer, resumed);
        }
        set_levels(reducer, schedule[step]);
        (void)run_step(reducer, step, false);
        if (step >= cut) {
            set_levels(resumed, schedule[step]);
            (void)run_step(resumed, step, false);
            assert_true(estimate_hash(resumed) == estimate_hash(reducer));
        }
    }
    assert_true(check_state_hash(resumed) == check_state_hash(reducer));
    lmn_reducer_destroy(resumed);
    lmn_reducer_destroy(reducer);
}

static void resume_between_changes_of_family_gives_the_same_bits(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    for (uint64_t cut = 1; cut < STEPS && !has_many_ranks(); cut += 2) {
        resume_after(world, mechanisms[cut % N_MECHANISMS], cut);
        resume_after(world, "econtrol:init=zero", cut);
    }
    lmn_world_destroy(world);
}

/* A reducer that a bad step came over goes on like one that never saw it. */
static void skipped_steps_leave_no_trace_when_layers_change_family(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    for (size_t i = 1; i < N_MECHANISMS && !has_many_ranks(); i += 2) {
        lmn_reducer *reducer = new_reducer(world, mixture, mechanisms[i], by_hand, "flat");
        lmn_reducer *other = new_reducer(world, mixture, mechanisms[i], by_hand, "flat");
        for (uint64_t step = 0; step < STEPS; step++) {
            set_levels(reducer, schedule[step]);
            set_levels(other, schedule[step]);
            (void)run_step(reducer, step, true);
            (void)run_step(reducer, step, false);
            (void)run_step(other, step, false);
            assert_true(estimate_hash(reducer) == estimate_hash(other));
        }
        assert_true(check_state_hash(reducer) == check_state_hash(other));
        lmn_reducer_destroy(reducer);
        lmn_reducer_destroy(other);
    }
    lmn_world_destroy(world);
}

/* ------------------------------------------------------------------ the choice */

/* The fewest bytes of all LEVELS^LARGE plans whose errors add up to `budget` at most. */
static uint64_t fewest_bytes(const lmn_cost_table *table, double budget)
{
    uint64_t fewest = UINT64_MAX;
    for (size_t code = 0; code < (size_t)LEVELS * LEVELS * LEVELS; code++) {
        const size_t plan[LARGE] = {code % LEVELS, code / LEVELS % LEVELS, code / LEVELS / LEVELS};
        double error = 0.0;
        uint64_t bytes = table->bytes[(size_t)LARGE * LEVELS];
        for (size_t layer = 0; layer < LARGE; layer++) {
            const size_t cell = layer * LEVELS + plan[layer];
            error += table->error[cell];
            bytes += table->bytes[cell];
        }
        fewest = error <= budget && bytes < fewest ? bytes : fewest;
    }
    return fewest;
}

/* Let lgreco decide once, and compare. levels_out [LARGE] */
static void decide(lmn_world *world, const char *feedback, const char *allocate, double alpha,
                   uint64_t *levels_out)
{
    lmn_reducer *reducer = new_reducer(world, mixture, feedback, allocate, "flat");
    (void)run_step(reducer, 0, false);
    const lmn_step_report report = run_step(reducer, 1, false);
    assert_true(report.adjusted);
    const lmn_cost_table table = lmn_reducer_costs(reducer);
    assert_int_equal(table.n_levels, LEVELS);
    double budget = 0.0;
    double error = 0.0;
    uint64_t bytes = table.bytes[(size_t)LARGE * LEVELS];
    for (size_t layer = 0; layer < LARGE; layer++) {
        const size_t row = layer * LEVELS;
        assert_int_equal(table.static_level[layer], 2); /* what the first family names */
        budget += alpha * table.error[row + 2];
        error += table.error[row + reducer->levels[layer]];
        bytes += table.bytes[row + reducer->levels[layer]];
        levels_out[layer] = reducer->levels[layer];
    }
    assert_true(error <= budget * (1.0 + 1e-12));
    assert_int_equal(bytes, fewest_bytes(&table, budget));
    assert_int_equal(report.allocation.bytes, bytes);
    check_same_everywhere(world, lmn_hash64(reducer->levels, LAYERS * sizeof(uint64_t), 0));
    (void)run_step(reducer, 2, false);
    check_same_everywhere(world, estimate_hash(reducer));
    lmn_reducer_destroy(reducer);
}

static void lgreco_chooses_the_family_as_trying_all_plans_does(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    uint64_t levels[LARGE] = {0};
    decide(world, "none", "lgreco:alpha=1,every=2,warmup=2,window=2", 1.0, levels);
    decide(world, "ec", "lgreco:alpha=0.3,every=2,warmup=2,window=2,curves=all", 0.3, levels);
    decide(world, "econtrol", "lgreco:alpha=0.05,every=2,warmup=2,window=2", 0.05, levels);
    /* Each layer in the family that suits it; to many ranks entries are too many. */
    assert_true(levels[0] == 5 || levels[0] == 6);
    assert_true(levels[1] == 1 || levels[1] == 2 || lmn_world_size(world) > 4);
    assert_true(levels[2] == 3 || levels[2] == 4);
    lmn_world_destroy(world);
}

/* One message after the other for entries, two for slices, two allreduces for rounds. */
static void time_charges_each_way_its_own_latency(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer =
        new_reducer(world, mixture, "econtrol", "time:every=4,warmup=4,window=2,gain=0", "flat");
    for (uint64_t step = 0; step < 10; step++) {
        (void)run_step(reducer, step, false);
        check_same_everywhere(world, estimate_hash(reducer));
    }
    const lmn_link link = {.sum = {.latency = 3.0, .per_byte = 1e-9},
                           .gather = {.latency = 7.0, .per_byte = 1e-9}};
    static const uint8_t expected[LEVELS] = {0, 1, 1, 2, 2, 3, 3};
    const lmn_cost_timings timings = lmn__timing_tables(reducer, &link, 4);
    assert_memory_equal(timings.kind, expected, sizeof expected);
    assert_true(timings.latency[0] == lmn_link_sum_latency(&link, 4));
    assert_true(timings.latency[1] == lmn_link_gather_latency(&link, 4));
    assert_true(timings.latency[2] == 2.0 * lmn_link_gather_latency(&link, 4));
    assert_true(timings.latency[3] == 2.0 * lmn_link_sum_latency(&link, 4));
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static void uniform_takes_the_first_family(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *all = new_reducer(world, mixture, "ec", "uniform", "flat");
    lmn_reducer *first = new_reducer(world, families[0], "ec", "uniform", "flat");
    for (uint64_t step = 0; step < 2; step++) {
        (void)run_step(all, step, false);
        (void)run_step(first, step, false);
        assert_true(estimate_hash(all) == estimate_hash(first));
    }
    char text[64] = "";
    lmn_reducer_level_format(all, 1, text, sizeof text);
    assert_string_equal(text, "topk:density=0.05");
    lmn_reducer_destroy(all);
    lmn_reducer_destroy(first);
    lmn_world_destroy(world);
}

static void create_refuses_what_a_mixture_cannot_do(void **state)
{
    (void)state;
    const struct {
        const char *compress, *allocate, *collective, *expected;
    } cases[] = {
        {mixture, "accordion", "auto", "order"},
        {mixture, "lgreco:accordion=yes", "auto", "order"},
        {"quant+lowrank", "lgreco", "merge", "single entries"},
        {"topk+quant:bits=0", "lgreco", "auto", "bits"},
    };
    lmn_world *world = check_new_world();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lmn_reducer_options options =
            check_reducer_options(cases[i].compress, "ec", cases[i].allocate);
        options.collective = cases[i].collective;
        lmn_reducer *reducer = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_reducer_create(world, layers, LAYERS, &options, &reducer, &err),
                         LMN_ERR_USAGE);
        if (strstr(err.message, cases[i].expected) == NULL) {
            fail_msg("%s", err.message);
        }
    }
    lmn_world_destroy(world);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_in_three_families_at_once_have_the_bits_of_each_family),
        cmocka_unit_test(layers_that_change_family_agree_on_all_ranks_and_keep_h),
        cmocka_unit_test(layers_that_change_family_agree_with_two_levels_of_ranks),
        cmocka_unit_test(nothing_is_lost_when_layers_change_family),
        cmocka_unit_test(resume_between_changes_of_family_gives_the_same_bits),
        cmocka_unit_test(skipped_steps_leave_no_trace_when_layers_change_family),
        cmocka_unit_test(lgreco_chooses_the_family_as_trying_all_plans_does),
        cmocka_unit_test(time_charges_each_way_its_own_latency),
        cmocka_unit_test(uniform_takes_the_first_family),
        cmocka_unit_test(create_refuses_what_a_mixture_cannot_do),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}

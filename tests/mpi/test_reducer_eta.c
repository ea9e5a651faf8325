/*
 * eta=auto against what compression keeps, found here with the compressor alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/hash.h"
#include "lamina/memory.h"
#include "lamina/plan.h"
#include "lamina/reducer.h"
#include "reducer_check.h"
#include "train/exchange_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { LAYER = 2, COUNT = CHECK_COUNT_2 };

static lmn_layer_shape shape_of_layer(void)
{
    return (lmn_layer_shape){.count = COUNT, .rows = 100};
}

/* The mean over ranks of |v - C(v)|^2 / |v|^2 where v is the gradient of step 0. */
static double lost_in_first_step(const char *compress, int n_ranks)
{
    lmn_compressor *compressor = check_new_compressor(compress);
    check_encoding *encoding =
        check_new_encoding(compressor, lmn_compressor_static_level(compressor), shape_of_layer());
    float *gradient = check_new_floats(COUNT);
    double lost = 0.0;
    for (int rank = 0; rank < n_ranks; rank++) {
        check_fill_gradient(rank, LAYER, 0, gradient);
        check_encode(compressor, gradient, encoding);
        lost += check_energy(encoding->vector, COUNT) / check_energy(gradient, COUNT) / n_ranks;
    }
    lmn_free(gradient);
    check_free_encoding(encoding);
    lmn_compressor_destroy(compressor);
    return lost;
}

static lmn_eta_rule static_rule(const lmn_reducer *reducer)
{
    return lmn_compressor_eta(reducer->compressor, lmn_compressor_static_level(reducer->compressor),
                              shape_of_layer());
}

/* What is seen in a step rides on the next one, and is made use of in the one after. */
static void observed_share_is_that_of_the_compressor(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const int size = lmn_world_size(world);
    const char *const specs[] = {"sign:bucket=64",    "quant:bits=2,bucket=32",
                                 "quant:bits=4",      "bf16",
                                 "topk:density=0.05", "topk:density=0.05,values=q8"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        lmn_reducer *reducer = check_new_reducer(world, specs[i], "econtrol:init=zero", "uniform");
        const lmn_eta_rule rule = static_rule(reducer);
        (void)check_run_step(reducer, world, 0);
        assert_true(isnan(lmn_reducer_feedback(reducer, LAYER).kept));
        (void)check_run_step(reducer, world, 1);
        assert_true(lmn_reducer_feedback(reducer, LAYER).eta == rule.suggested);
        const double kept = lmn_reducer_feedback(reducer, LAYER).kept;
        const double expected = 1.0 - lost_in_first_step(specs[i], size);
        if (fabs(kept - expected) > 4e-4) { /* values=q8 counts what entries hold for right */
            fail_msg("%s keeps %.9g, %.9g was seen", specs[i], expected, kept);
        }
        (void)check_run_step(reducer, world, 2);
        const double eta = lmn_reducer_feedback(reducer, LAYER).eta;
        const bool is_sparse = lmn_compressor_combine(reducer->compressor, 1) == LMN_COMBINE_SPARSE;
        const double wanted = is_sparse ? rule.suggested : 0.5 * kept;
        assert_true(fabs(eta - fmin(fmax(wanted, rule.lowest), rule.highest)) < 1e-12);
        assert_true(lmn_reducer_feedback(reducer, 0).eta == 0.0); /* a small layer has none */
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

static void eta_of_families_that_only_know_their_level_stays(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const specs[] = {"topk:density=0.05", "randk:density=0.05", "lowrank:rank=2"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        lmn_reducer *reducer = check_new_reducer(world, specs[i], "econtrol:init=zero", "uniform");
        for (uint64_t step = 0; step < 12; step++) {
            (void)check_run_step(reducer, world, step);
            assert_true(lmn_reducer_feedback(reducer, LAYER).eta == static_rule(reducer).suggested);
        }
        const double kept = lmn_reducer_feedback(reducer, LAYER).kept;
        assert_true(kept > 0.0 && kept < 1.0);
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

static void eta_by_value_is_not_touched_and_nobody_looks(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const feedbacks[] = {"econtrol:init=zero,eta=0.3", "ef21:init=zero", "ec", "none"};
    for (size_t i = 0; i < 4; i++) {
        lmn_reducer *reducer = check_new_reducer(world, "sign:bucket=64", feedbacks[i], "uniform");
        for (uint64_t step = 0; step < 4; step++) {
            (void)check_run_step(reducer, world, step);
            assert_true(lmn_reducer_feedback(reducer, LAYER).eta == (i == 0 ? 0.3 : 0.0));
            assert_true(isnan(lmn_reducer_feedback(reducer, LAYER).kept));
        }
        lmn_reducer_destroy(reducer);
    }
    lmn_world_destroy(world);
}

/* Random rounding to three values makes these errors larger than the vectors. */
static void eta_is_held_in_its_bounds(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer = check_new_reducer(world, "ternary", "econtrol:init=zero", "uniform");
    (void)check_run_step(reducer, world, 0);
    (void)check_run_step(reducer, world, 1);
    assert_true(lmn_reducer_feedback(reducer, LAYER).kept < 0.0);
    (void)check_run_step(reducer, world, 2);
    assert_true(lmn_reducer_feedback(reducer, LAYER).eta == static_rule(reducer).lowest);
    assert_true(static_rule(reducer).lowest > 0.0);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

/* h_i after one step from zero has this rank's entries that survived, and no others. */
static void balanced_eta_is_the_share_of_entries_that_survived(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer_options options =
        check_reducer_options("topk:density=0.05", "econtrol:init=zero", "uniform");
    options.collective = "balanced";
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(
        lmn_reducer_create(world, check_layers, CHECK_LAYERS, &options, &reducer, &err), LMN_OK);
    (void)check_run_step(reducer, world, 0);
    double survivors = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        survivors += reducer->layers[LAYER].state[0][i] != 0.0F ? 1.0 : 0.0;
    }
    assert_int_equal(lmn_world_sum_f64(world, &survivors, 1, &err), LMN_OK);
    (void)check_run_step(reducer, world, 1);
    (void)check_run_step(reducer, world, 2);
    const lmn_eta_rule rule = static_rule(reducer);
    const double density = survivors / COUNT / lmn_world_size(world);
    const double eta = lmn_reducer_feedback(reducer, LAYER).eta;
    assert_true(fabs(eta - fmax(density, rule.lowest)) < 1e-12);
    assert_true(lmn_world_size(world) == 1 || eta < 0.9 * rule.suggested);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static void change_of_level_forgets_what_was_seen(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer = check_new_reducer(world, "quant:bits=4,bucket=64", "econtrol:init=zero",
                                             "lgreco:warmup=0,every=1000,window=1");
    for (uint64_t step = 0; step < 4; step++) {
        (void)check_run_step(reducer, world, step);
    }
    assert_true(!isnan(lmn_reducer_feedback(reducer, LAYER).kept));
    const size_t before = reducer->layers[LAYER].travel_level;
    reducer->levels[LAYER] = before == 5 ? 7 : 5;
    (void)check_run_step(reducer, world, 4);
    const lmn_eta_rule rule =
        lmn_compressor_eta(reducer->compressor, (size_t)reducer->levels[LAYER], shape_of_layer());
    assert_true(lmn_reducer_feedback(reducer, LAYER).eta == rule.suggested);
    assert_true(isnan(lmn_reducer_feedback(reducer, LAYER).kept));
    (void)check_run_step(reducer, world, 5);
    assert_true(!isnan(lmn_reducer_feedback(reducer, LAYER).kept));
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

/* A layer that threads share, and what is remembered of it. */
static uint64_t hash_with_threads(lmn_world *world, const char *compress, int n_threads)
{
    enum { LARGE = 300000, STEPS = 4 };
    const lmn_reducer_layer layer = {.name = "large", .n_dims = 2, .dims = {500, LARGE / 500}};
    const lmn_reducer_options options =
        check_reducer_options(compress, "econtrol:init=zero", "uniform");
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    lmn_compute_set_threads(n_threads);
    assert_int_equal(lmn_reducer_create(world, &layer, 1, &options, &reducer, &err), LMN_OK);
    for (uint64_t step = 0; step < STEPS; step++) {
        assert_int_equal(lmn_reducer_begin(reducer, step, &err), LMN_OK);
        float *gradient = lmn_reducer_gradient(reducer, 0);
        check_fill(gradient, LARGE, CHECK_NORMAL,
                   (uint32_t)(step * 16 + (uint64_t)lmn_world_rank(world)));
        assert_int_equal(lmn_reducer_ready(reducer, 0, gradient, &err), LMN_OK);
        lmn_step_report report;
        assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    }
    const double kept = lmn_reducer_feedback(reducer, 0).kept;
    assert_true(!isnan(kept));
    check_same_everywhere(world, lmn_hash64(&kept, sizeof kept, 0));
    const uint64_t hash = check_state_hash(reducer);
    lmn_reducer_destroy(reducer);
    return hash;
}

static void threads_do_not_show_in_what_is_seen(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const char *const specs[] = {"sign", "topk:density=0.01"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        const uint64_t hash = hash_with_threads(world, specs[i], 1);
        assert_true(hash_with_threads(world, specs[i], 3) == hash);
    }
    lmn_compute_set_threads(1);
    lmn_world_destroy(world);
}

/* The reducer's sums of u and errors, E of slices among them, against the sums of gradients. */
static void assert_nothing_is_lost(lmn_world *world, const char *compress, const char *feedback,
                                   const char *collective, uint64_t n_steps)
{
    lmn_reducer_options options = check_reducer_options(compress, feedback, "uniform");
    options.collective = collective;
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(
        lmn_reducer_create(world, check_layers, CHECK_LAYERS, &options, &reducer, &err), LMN_OK);
    double *owed = check_new_bytes(COUNT * sizeof *owed);
    double *sum = check_new_bytes(COUNT * sizeof *sum);
    double *moved = check_new_bytes(COUNT * sizeof *moved);
    for (uint64_t step = 0; step < n_steps; step++) {
        assert_true(check_run_step(reducer, world, step % 16).applied);
        const float *own = lmn_reducer_gradient(reducer, LAYER);
        const float *estimate = lmn_reducer_estimate(reducer, LAYER);
        const double share = 1.0 / lmn_world_size(world);
        for (size_t i = 0; i < COUNT; i++) {
            sum[i] += share * ((double)own[i] - (double)estimate[i]);
            moved[i] += (double)estimate[i];
        }
    }
    check_add_errors(reducer, LAYER, owed);
    assert_int_equal(lmn_world_sum_f64(world, owed, COUNT, &err), LMN_OK);
    assert_int_equal(lmn_world_sum_f64(world, sum, COUNT, &err), LMN_OK);
    double apart = 0.0;
    double whole = 0.0;
    double way = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        apart += (sum[i] - owed[i]) * (sum[i] - owed[i]);
        whole += owed[i] * owed[i];
        way += moved[i] * moved[i];
    }
    if (!(whole > 1.0) || !(sqrt(apart) <= 1e-4 * sqrt(way))) {
        fail_msg("%s with %s, %s: errors of %g miss %g after a way of %g", compress, feedback,
                 collective, sqrt(whole), sqrt(apart), sqrt(way));
    }
    lmn_free(moved);
    lmn_free(owed);
    lmn_free(sum);
    lmn_reducer_destroy(reducer);
}

static void a_thousand_steps_owe_what_both_encodings_left_out(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    assert_nothing_is_lost(world, "quant:bits=2,bucket=64", "econtrol", "auto", 1000);
    assert_nothing_is_lost(world, "quant:bits=2,bucket=64", "ec", "auto", 200);
    assert_nothing_is_lost(world, "topk:density=0.05", "econtrol", "balanced", 200);
    lmn_world_destroy(world);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(observed_share_is_that_of_the_compressor),
        cmocka_unit_test(eta_of_families_that_only_know_their_level_stays),
        cmocka_unit_test(eta_by_value_is_not_touched_and_nobody_looks),
        cmocka_unit_test(eta_is_held_in_its_bounds),
        cmocka_unit_test(balanced_eta_is_the_share_of_entries_that_survived),
        cmocka_unit_test(change_of_level_forgets_what_was_seen),
        cmocka_unit_test(threads_do_not_show_in_what_is_seen),
        cmocka_unit_test(a_thousand_steps_owe_what_both_encodings_left_out),
    };
    MPI_Init(&argc, &argv);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}

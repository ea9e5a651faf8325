/*
 * The programme of step times: equal to brute force over a simulated pipeline, never above its
 * budget, never slower than dense.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/allocator.h"
#include "lamina/memory.h"
#include "lamina/random.h"
#include "lamina/timeplan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LAYERS ((size_t)6)
#define LEVELS ((size_t)4)
#define CELLS  (LAYERS * LEVELS)

/* A problem with memory of its own. */
typedef struct instance {
    lmn_time_problem problem;
    size_t bucket[LAYERS];
    double ready[LAYERS];
    double encode[CELLS], decode[CELLS], wire[CELLS], error[CELLS];
    uint64_t bytes[CELLS];
    uint8_t kind[LEVELS];
    double budget;
} instance;

static void connect(instance *p, size_t n_layers, size_t n_levels)
{
    p->problem.n_layers = n_layers;
    p->problem.n_levels = n_levels;
    p->problem.bucket = p->bucket;
    p->problem.ready = p->ready;
    p->problem.encode = p->encode;
    p->problem.decode = p->decode;
    p->problem.wire = p->wire;
    p->problem.error = p->error;
    p->problem.bytes = p->bytes;
    p->problem.kind = p->kind;
}

/* The clocks of a simulated step. */
typedef struct clocks {
    double encoder, message, decode;
} clocks;

/* Layers first .. end - 1 of a bucket whose messages are of a kind. */
static void send_part(const lmn_time_problem *p, const size_t *levels, size_t first, size_t end,
                      size_t kind, clocks *c)
{
    bool any = false;
    for (size_t i = first; i < end; i++) {
        if (p->kind[levels[i]] == kind) {
            any = true;
            c->encoder += p->encode[i * p->n_levels + levels[i]];
            c->message += p->wire[i * p->n_levels + levels[i]];
            c->decode += p->decode[i * p->n_levels + levels[i]];
        }
    }
    c->message += any ? p->latency[kind] : 0.0;
}

/* A core and a link with clocks of their own, event by event: what lmn_time_predict has closed
 * formulas for. */
static double simulate(const lmn_time_problem *p, const size_t *levels)
{
    double core = 0.0;
    double computed = 0.0;
    double link = 0.0;
    clocks c = {0};
    size_t layer = 0;
    while (layer < p->n_layers) {
        const size_t bucket = p->bucket[layer];
        size_t end = layer;
        while (end < p->n_layers && p->bucket[end] == bucket) {
            core += fmax(0.0, p->ready[end] - computed);
            computed = fmax(computed, p->ready[end]);
            end++;
        }
        c.encoder = p->has_spare_cores ? computed : core;
        c.message = 0.0;
        for (size_t kind = 0; kind < LMN_TIME_KINDS; kind++) {
            send_part(p, levels, layer, end, kind, &c);
        }
        core = p->has_spare_cores ? core : c.encoder;
        link = fmax(link, c.encoder) + c.message;
        layer = end;
    }
    core += p->compute - computed;
    return fmax(core, link) + c.decode + p->update;
}

static void solve_in(const instance *p, size_t buckets, size_t *levels_out)
{
    lmn_error err = lmn_error_none();
    void *scratch = lmn_alloc(lmn_time_scratch_bytes(p->problem.n_layers, buckets), 1, &err);
    assert_non_null(scratch);
    if (lmn_time_solve(&p->problem, p->budget, buckets, scratch, levels_out, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_free(scratch);
}

/* Errors are whole numbers, and so is the budget: with as many buckets nothing is rounded. */
static instance random_instance(uint32_t seed, size_t n_layers, size_t n_buckets)
{
    const lmn_stream stream = {.seed = seed, .layer = 7};
    float u[4 * CELLS + LAYERS + 4];
    lmn_stream_uniform(&stream, 0, sizeof u / sizeof u[0], u);
    const float *rest = u + 4 * CELLS;
    instance p = {.budget = 6.0};
    double ready = 0.0;
    for (size_t layer = 0; layer < n_layers; layer++) {
        ready += (double)rest[layer];
        p.ready[layer] = ready;
        p.bucket[layer] = layer * n_buckets / n_layers;
        for (size_t level = 0; level < LEVELS; level++) {
            const size_t cell = layer * LEVELS + level;
            p.encode[cell] = level == 0 ? 0.0 : 0.5 * (double)u[cell];
            p.decode[cell] = level == 0 ? 0.0 : 0.3 * (double)u[CELLS + cell];
            p.wire[cell] = 2.0 * (double)u[2 * CELLS + cell] / (double)(1 + 2 * level);
            p.error[cell] = level == 0 ? 0.0 : floor(4.0 * (double)u[3 * CELLS + cell]);
            p.bytes[cell] = (uint64_t)(1e6 * p.wire[cell]);
        }
    }
    /* One family, or one for every level. */
    for (size_t level = 1; level < LEVELS; level++) {
        p.kind[level] = seed % 2 == 0 ? 1 : (uint8_t)level;
    }
    p.problem.latency[0] = 0.2 * (double)rest[LAYERS];
    p.problem.latency[1] = 0.1 * (double)rest[LAYERS + 1];
    p.problem.latency[2] = 0.3 * (double)rest[LAYERS + 1];
    p.problem.latency[3] = 0.1 * (double)rest[LAYERS];
    p.problem.compute = ready + (double)rest[LAYERS + 2];
    p.problem.update = 0.1;
    p.problem.has_spare_cores = rest[LAYERS + 3] < 0.3F;
    return p;
}

/* The shortest step by trying all plans, and the smallest error within 1 % of it. */
static double shortest(const instance *p, double *error_out)
{
    double best = (double)INFINITY;
    const size_t n_codes = (size_t)pow((double)LEVELS, (double)p->problem.n_layers);
    for (int round = 0; round < 2; round++) {
        for (size_t code = 0; code < n_codes; code++) {
            size_t levels[LAYERS];
            double error = 0.0;
            size_t rest = code;
            for (size_t layer = 0; layer < p->problem.n_layers; layer++) {
                levels[layer] = rest % LEVELS;
                rest /= LEVELS;
                error += p->error[layer * LEVELS + levels[layer]];
            }
            const double seconds = simulate(&p->problem, levels);
            if (error <= p->budget && round == 0) {
                best = fmin(best, seconds);
                *error_out = (double)INFINITY;
            } else if (error <= p->budget && seconds <= 1.01 * best) {
                *error_out = fmin(*error_out, error);
            }
        }
    }
    return best;
}

static void prediction_equals_a_simulated_pipeline(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 200; seed++) {
        instance p = random_instance(seed, LAYERS, 1 + seed % LAYERS);
        connect(&p, LAYERS, LEVELS);
        size_t levels[LAYERS];
        for (size_t layer = 0; layer < LAYERS; layer++) {
            levels[layer] = (seed + layer * layer) % LEVELS;
        }
        const double predicted = lmn_time_predict(&p.problem, levels).seconds;
        assert_float_equal(predicted, simulate(&p.problem, levels), 1e-9);
    }
}

static void solution_is_the_shortest_step_by_brute_force(void **state)
{
    (void)state;
    size_t n_compressed = 0;
    for (uint32_t seed = 0; seed < 60; seed++) {
        const size_t n_layers = 1 + seed % LAYERS;
        instance p = random_instance(seed, n_layers, 1 + (seed / 7) % n_layers);
        connect(&p, n_layers, LEVELS);
        double least_error = 0.0;
        const double best = shortest(&p, &least_error);
        size_t levels[LAYERS];
        solve_in(&p, 6, levels);
        const lmn_time_prediction found = lmn_time_predict(&p.problem, levels);
        assert_true(found.error <= p.budget);
        assert_true(found.seconds <= 1.015 * best + 1e-9); /* 1 % for less error, and rounding */
        assert_true(n_layers > 4 || found.error <= least_error);
        n_compressed += found.error > 0.0 ? 1 : 0;
    }
    assert_true(n_compressed > 20);
}

static void two_layers_of_the_specification_compress_the_second_only(void **state)
{
    (void)state;
    instance p = {.bucket = {0, 1},
                  .ready = {2.0, 6.0},
                  .encode = {0.0, 1.0, 0.0, 1.0},
                  .wire = {5.0, 1.0, 8.0, 2.0},
                  .error = {0.0, 3.0, 0.0, 3.0},
                  .bytes = {5, 1, 8, 2}};
    connect(&p, 2, 2);
    p.problem.compute = 6.0;
    p.problem.has_spare_cores = true;
    const size_t plans[4][2] = {{0, 0}, {1, 0}, {0, 1}, {1, 1}};
    const double expected[4] = {15.0, 14.0, 9.0, 9.0};
    for (size_t i = 0; i < 4; i++) {
        assert_float_equal(lmn_time_predict(&p.problem, plans[i]).seconds, expected[i], 0.0);
    }
    for (size_t budget = 3; budget < 9; budget++) {
        size_t levels[2] = {9, 9};
        p.budget = (double)budget;
        solve_in(&p, 100, levels);
        assert_int_equal(levels[0], 0);
        assert_int_equal(levels[1], 1);
    }
    p.budget = 2.9;
    size_t levels[2] = {9, 9};
    solve_in(&p, 100, levels);
    assert_int_equal(levels[0] + levels[1], 0);
}

static void an_infinitely_fast_link_leaves_all_layers_dense(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 50; seed++) {
        instance p = random_instance(seed, LAYERS, 3);
        connect(&p, LAYERS, LEVELS);
        memset(p.wire, 0, sizeof p.wire);
        p.problem.latency[0] = 0.0;
        p.budget = 1e9;
        size_t levels[LAYERS];
        solve_in(&p, 10, levels);
        for (size_t layer = 0; layer < LAYERS; layer++) {
            assert_int_equal(levels[layer], 0);
        }
    }
}

/* All gradients at once, free encoding: what remains is the sum of times on the link. */
static void without_computation_it_is_the_knapsack_of_lgreco(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 50; seed++) {
        instance p = random_instance(seed, LAYERS, LAYERS);
        connect(&p, LAYERS, LEVELS);
        memset(p.encode, 0, sizeof p.encode);
        memset(p.decode, 0, sizeof p.decode);
        memset(p.ready, 0, sizeof p.ready);
        memset(p.problem.latency, 0, sizeof p.problem.latency);
        p.problem.compute = p.problem.update = 0.0;
        uint64_t error[CELLS];
        for (size_t cell = 0; cell < CELLS; cell++) {
            error[cell] = (uint64_t)p.error[cell];
            p.wire[cell] = 1e-6 * (double)p.bytes[cell];
        }
        const lmn_lgreco_problem knapsack = {.n_layers = LAYERS,
                                             .n_levels = LEVELS,
                                             .bytes = p.bytes,
                                             .error = error,
                                             .budget = 6,
                                             .buckets = 6};
        lmn_error err = lmn_error_none();
        void *scratch = lmn_alloc(lmn_lgreco_scratch_bytes(LAYERS, 6), 1, &err);
        assert_non_null(scratch);
        size_t fewest[LAYERS];
        bool feasible = false;
        assert_int_equal(lmn_lgreco_solve(&knapsack, scratch, fewest, &feasible, &err), LMN_OK);
        lmn_free(scratch);
        assert_true(feasible);
        size_t levels[LAYERS];
        solve_in(&p, 6, levels);
        const double least = lmn_time_predict(&p.problem, fewest).seconds;
        const double found = lmn_time_predict(&p.problem, levels).seconds;
        assert_true(found >= least - 1e-9);
        assert_true(found <= 1.01 * least + 1e-9);
    }
}

static void levels_that_are_not_allowed_are_never_taken(void **state)
{
    (void)state;
    instance p = random_instance(3, LAYERS, 2);
    connect(&p, LAYERS, LEVELS);
    p.budget = 1e9;
    for (size_t layer = 0; layer < LAYERS; layer++) {
        p.error[layer * LEVELS + 2] = (double)INFINITY;
        p.error[layer * LEVELS + 3] = (double)INFINITY;
    }
    size_t levels[LAYERS];
    solve_in(&p, 50, levels);
    for (size_t layer = 0; layer < LAYERS; layer++) {
        assert_true(levels[layer] < 2);
    }
}

static void many_layers_with_many_levels_stay_within_the_budget(void **state)
{
    (void)state;
    enum { MANY = 60, KINDS = 12 };
    static size_t bucket[MANY];
    static double ready[MANY];
    static double encode[MANY * KINDS];
    static double wire[MANY * KINDS];
    static double error[MANY * KINDS];
    static uint64_t bytes[MANY * KINDS];
    for (size_t i = 0; i < MANY; i++) {
        bucket[i] = i / 4;
        ready[i] = 0.01 * (double)i;
        for (size_t level = 0; level < KINDS; level++) {
            const size_t cell = i * KINDS + level;
            bytes[cell] = (1 + i % 7) * 4096 >> level;
            wire[cell] = 1e-5 * (double)bytes[cell];
            encode[cell] = level == 0 ? 0.0 : 1e-4 * (double)(1 + (i * 7 + level * 5) % 11);
            error[cell] = (double)(level * level) * (double)(1 + i % 5);
        }
    }
    uint8_t kind[KINDS];
    memset(kind, 1, sizeof kind);
    kind[0] = 0;
    instance p = {.budget = 2000.0};
    p.problem = (lmn_time_problem){.n_layers = MANY,
                                   .n_levels = KINDS,
                                   .bucket = bucket,
                                   .ready = ready,
                                   .encode = encode,
                                   .decode = encode,
                                   .wire = wire,
                                   .error = error,
                                   .bytes = bytes,
                                   .kind = kind,
                                   .latency = {1e-3, 1e-3},
                                   .compute = 0.6};
    size_t levels[MANY];
    size_t dense[MANY] = {0};
    solve_in(&p, 200, levels);
    const lmn_time_prediction found = lmn_time_predict(&p.problem, levels);
    assert_true(found.error <= p.budget);
    assert_true(found.seconds < 0.8 * lmn_time_predict(&p.problem, dense).seconds);
}

static void problems_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    instance p = random_instance(1, 2, 2);
    connect(&p, 2, LEVELS);
    size_t levels[LAYERS];
    void *scratch = lmn_alloc(lmn_time_scratch_bytes(2, 10), 1, NULL);
    assert_non_null(scratch);
    lmn_error err = lmn_error_none();
    p.wire[1] = (double)NAN;
    assert_int_equal(lmn_time_solve(&p.problem, 1.0, 10, scratch, levels, &err), LMN_ERR_ARGUMENT);
    p.wire[1] = 0.0;
    p.error[0] = 1.0;
    assert_int_equal(lmn_time_solve(&p.problem, 1.0, 10, scratch, levels, &err), LMN_ERR_ARGUMENT);
    p.error[0] = 0.0;
    p.bucket[0] = 3;
    assert_int_equal(lmn_time_solve(&p.problem, 1.0, 10, scratch, levels, &err), LMN_ERR_ARGUMENT);
    p.bucket[0] = 0;
    assert_int_equal(lmn_time_solve(&p.problem, 1.0, 0, scratch, levels, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_time_solve(&p.problem, 1.0, 10, scratch, levels, &err), LMN_OK);
    lmn_free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prediction_equals_a_simulated_pipeline),
        cmocka_unit_test(solution_is_the_shortest_step_by_brute_force),
        cmocka_unit_test(two_layers_of_the_specification_compress_the_second_only),
        cmocka_unit_test(an_infinitely_fast_link_leaves_all_layers_dense),
        cmocka_unit_test(without_computation_it_is_the_knapsack_of_lgreco),
        cmocka_unit_test(levels_that_are_not_allowed_are_never_taken),
        cmocka_unit_test(many_layers_with_many_levels_stay_within_the_budget),
        cmocka_unit_test(problems_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

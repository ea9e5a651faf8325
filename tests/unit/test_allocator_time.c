/*
 * `time` as an allocator: the plans that it can be asked for, against each other and lgreco's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/allocator.h"
#include "lamina/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LAYERS        ((size_t)7)
#define LEVELS        ((size_t)5)
#define UNIFORM_LEVEL ((size_t)2)

/* Each layer has a bucket of its own, in reverse order. */
typedef struct costs {
    uint64_t bytes[LAYERS * LEVELS];
    double error[LAYERS * LEVELS];
    double encode[LAYERS * LEVELS], decode[LAYERS * LEVELS], wire[LAYERS * LEVELS];
    double ready[LAYERS];
    size_t order[LAYERS], bucket[LAYERS], static_level[LAYERS], levels[LAYERS];
} costs;

/* Fewer bytes and larger errors as levels go up; `rate` seconds a byte. */
static costs random_costs(uint32_t seed, double rate)
{
    const lmn_stream stream = {.seed = seed, .layer = 4};
    float u[3 * LAYERS * LEVELS];
    lmn_stream_uniform(&stream, 0, sizeof u / sizeof u[0], u);
    costs c = {.bytes = {0}};
    for (size_t layer = 0; layer < LAYERS; layer++) {
        double error = 0.0;
        for (size_t level = 0; level < LEVELS; level++) {
            const size_t cell = layer * LEVELS + level;
            c.bytes[cell] = (1000000 + 100 * seed) >> (2 * level + layer % 3);
            error += level == 0 ? 0.0 : (double)u[3 * cell] * (double)(1U << level);
            c.error[cell] = error;
            c.encode[cell] = level == 0 ? 0.0 : 1e-4 * (double)u[3 * cell + 1];
            c.decode[cell] = level == 0 ? 0.0 : 1e-4 * (double)u[3 * cell + 2];
            c.wire[cell] = rate * (double)c.bytes[cell];
        }
        c.order[layer] = LAYERS - 1 - layer;
        c.bucket[layer] = LAYERS - 1 - layer;
        c.ready[layer] = 1e-3 * (double)(LAYERS - layer);
        c.static_level[layer] = UNIFORM_LEVEL;
    }
    return c;
}

/* Levels into c->levels. plan NULL: an allocator that weighs no times. */
static lmn_allocation_report decide(const char *spec, costs *c, const lmn_time_plan *plan)
{
    lmn_allocator *allocator = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_allocator_create(spec, LAYERS, LEVELS, &allocator, &err) != LMN_OK) {
        fail_msg("%s: %s", spec, err.message);
    }
    uint8_t kinds[LEVELS] = {0};
    memset(kinds + 1, 1, LEVELS - 1);
    lmn_cost_timings timings = {.order = c->order,
                                .bucket = c->bucket,
                                .ready = c->ready,
                                .encode = c->encode,
                                .decode = c->decode,
                                .wire = c->wire,
                                .kind = kinds,
                                .latency = {1e-5, 1e-5},
                                .compute = 8e-3,
                                .update = 1e-3};
    timings.plan = plan != NULL ? *plan : LMN_TIME_PLAN_PREDICTED;
    const lmn_cost_table table = {.n_layers = LAYERS,
                                  .n_levels = LEVELS,
                                  .bytes = c->bytes,
                                  .error = c->error,
                                  .static_level = c->static_level,
                                  .timings = plan != NULL ? &timings : NULL};
    lmn_allocation_report report = {0};
    if (lmn_allocator_decide(allocator, &table, c->levels, &report, &err) != LMN_OK) {
        fail_msg("%s: %s", spec, err.message);
    }
    lmn_allocator_destroy(allocator);
    return report;
}

static lmn_allocation_report ask(const char *spec, costs *c, lmn_time_plan plan)
{
    return decide(spec, c, &plan);
}

static void time_smallest_plan_is_what_lgreco_chooses(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        costs c = random_costs(seed, 1e-8);
        costs other = c;
        const lmn_allocation_report report = ask("time", &c, LMN_TIME_PLAN_SMALLEST);
        const lmn_allocation_report expected = decide("lgreco", &other, NULL);
        assert_memory_equal(c.levels, other.levels, sizeof c.levels);
        assert_int_equal(report.bytes, expected.bytes);
        assert_true(fabs(report.error - expected.error) <= 1e-12 * expected.error);
        assert_true(report.error <= report.budget);
    }
}

static void time_shortest_plan_is_no_slower_than_any_other_and_keeps_the_budget(void **state)
{
    (void)state;
    static const double rates[] = {1e-10, 1e-9, 1e-8, 1e-7};
    for (uint32_t seed = 1; seed <= 20; seed++) {
        costs c = random_costs(seed, rates[seed % 4]);
        const lmn_allocation_report shortest = ask("time", &c, LMN_TIME_PLAN_SHORTEST);
        const lmn_allocation_report uniform = ask("time", &c, LMN_TIME_PLAN_UNIFORM);
        assert_memory_equal(c.levels, c.static_level, sizeof c.levels);
        const lmn_allocation_report smallest = ask("time", &c, LMN_TIME_PLAN_SMALLEST);
        assert_true(shortest.error <= shortest.budget);
        assert_true(shortest.seconds <= shortest.dense_seconds);
        assert_true(shortest.seconds <= uniform.seconds);
        /* Errors are rounded up to parts of the budget, and what hardly matters is left out. */
        assert_true(shortest.seconds <= 1.02 * smallest.seconds);
        assert_true(uniform.error == uniform.budget && smallest.bytes <= uniform.bytes);
    }
}

static void time_predicted_plan_is_dense_unless_another_saves_the_gain(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        costs c = random_costs(seed, 1e-8);
        const lmn_allocation_report shortest = ask("time", &c, LMN_TIME_PLAN_SHORTEST);
        assert_true(shortest.seconds < 0.9 * shortest.dense_seconds);
        const lmn_allocation_report taken = ask("time:gain=0.1", &c, LMN_TIME_PLAN_PREDICTED);
        assert_true(taken.seconds == shortest.seconds && taken.gain == 0.1);
        const lmn_allocation_report left = ask("time:gain=0.9", &c, LMN_TIME_PLAN_PREDICTED);
        assert_true(left.seconds == left.dense_seconds && left.error == 0.0);
    }
}

static void time_uniform_plan_beyond_the_budget_is_dense(void **state)
{
    (void)state;
    costs c = random_costs(1, 1e-8);
    const lmn_allocation_report report = ask("time:alpha=0.5", &c, LMN_TIME_PLAN_UNIFORM);
    assert_true(report.error == 0.0 && report.budget > 0.0);
    assert_true(report.seconds == report.dense_seconds);
    for (size_t layer = 0; layer < LAYERS; layer++) {
        assert_int_equal(c.levels[layer], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_smallest_plan_is_what_lgreco_chooses),
        cmocka_unit_test(time_shortest_plan_is_no_slower_than_any_other_and_keeps_the_budget),
        cmocka_unit_test(time_predicted_plan_is_dense_unless_another_saves_the_gain),
        cmocka_unit_test(time_uniform_plan_beyond_the_budget_is_dense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

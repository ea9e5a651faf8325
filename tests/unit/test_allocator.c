/*
 * Allocators: what they decide from a cost table, and the steps at which they do.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
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

#define LAYERS ((size_t)6)
#define LEVELS ((size_t)5)

static lmn_allocator *new_allocator(const char *spec, size_t n_layers, size_t n_levels)
{
    lmn_allocator *allocator = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_allocator_create(spec, n_layers, n_levels, &allocator, &err) != LMN_OK) {
        fail_msg("%s: %s", spec, err.message);
    }
    return allocator;
}

/* A cost table with memory of its own, and the levels that go in and come out. */
typedef struct costs {
    size_t n_layers;
    size_t n_levels;
    uint64_t bytes[LAYERS * LEVELS];
    double error[LAYERS * LEVELS];
    double energy[LAYERS];
    size_t static_level[LAYERS];
    size_t levels[LAYERS];
} costs;

static lmn_cost_table table_of(const costs *c)
{
    return (lmn_cost_table){.n_layers = c->n_layers,
                            .n_levels = c->n_levels,
                            .bytes = c->bytes,
                            .error = c->error,
                            .energy = c->energy,
                            .static_level = c->static_level};
}

static lmn_allocation_report decide(const char *spec, costs *c)
{
    lmn_allocator *allocator = new_allocator(spec, c->n_layers, c->n_levels);
    const lmn_cost_table table = table_of(c);
    lmn_allocation_report report = {0};
    lmn_error err = lmn_error_none();
    if (lmn_allocator_decide(allocator, &table, c->levels, &report, &err) != LMN_OK) {
        fail_msg("%s: %s", spec, err.message);
    }
    lmn_allocator_destroy(allocator);
    return report;
}

/* Layers of any size whose error falls as the bytes grow; level 0 is dense and exact. */
static costs random_costs(uint32_t seed)
{
    const lmn_stream stream = {.seed = seed, .layer = 99};
    float u[LAYERS * LEVELS + LAYERS];
    lmn_stream_uniform(&stream, 0, sizeof u / sizeof u[0], u);
    costs c = {.n_layers = LAYERS, .n_levels = LEVELS};
    for (size_t layer = 0; layer < LAYERS; layer++) {
        const double size = exp2(10.0 + 10.0 * (double)u[LAYERS * LEVELS + layer]);
        double error = 0.0;
        for (size_t level = 0; level < LEVELS; level++) {
            const size_t cell = layer * LEVELS + level;
            c.bytes[cell] = (uint64_t)(size * exp2(-2.0 * (double)level));
            c.error[cell] = error;
            error += (double)u[cell] * (double)(layer + 1);
        }
        c.static_level[layer] = 2;
        c.levels[layer] = 2;
    }
    return c;
}

static double norm_of(double error, bool is_l2)
{
    return is_l2 ? sqrt(error) : error;
}

/* The best assignment by trying all, in double; 5^6 of them. */
static uint64_t fewest_bytes(const costs *c, double budget, bool is_l2)
{
    uint64_t best = UINT64_MAX;
    for (size_t code = 0; code < 15625; code++) {
        uint64_t bytes = 0;
        double error = 0.0;
        size_t rest = code;
        for (size_t layer = 0; layer < LAYERS; layer++) {
            const size_t cell = layer * LEVELS + rest % LEVELS;
            rest /= LEVELS;
            bytes += c->bytes[cell];
            error += norm_of(c->error[cell], is_l2);
        }
        if (error <= budget && bytes < best) {
            best = bytes;
        }
    }
    return best;
}

static double error_of(const costs *c, const size_t *levels, bool is_l2)
{
    double sum = 0.0;
    for (size_t layer = 0; layer < c->n_layers; layer++) {
        sum += norm_of(c->error[layer * c->n_levels + levels[layer]], is_l2);
    }
    return sum;
}

/* With few buckets the answer may be larger than the best; with 10^5 it hardly is. */
static void assert_good(const char *spec, double alpha, bool is_l2)
{
    size_t n_better = 0;
    for (uint32_t seed = 0; seed < 30; seed++) {
        costs c = random_costs(seed);
        const double budget = alpha * error_of(&c, c.static_level, is_l2);
        const lmn_allocation_report report = decide(spec, &c);
        const uint64_t best = fewest_bytes(&c, budget * (1.0 - 1e-4), is_l2);
        assert_true(report.error <= report.budget);
        assert_true(error_of(&c, c.levels, is_l2) <= budget * (1.0 + 1e-11));
        assert_true(fabs(report.budget - budget) <= 1e-9 * budget);
        assert_true(report.bytes <= best);
        assert_true(alpha < 1.0 || report.bytes <= report.static_bytes);
        n_better += report.bytes < report.static_bytes ? 1 : 0;
    }
    assert_true(alpha < 1.0 || n_better > 20);
}

static void decide_random_tables_is_best_within_the_budget(void **state)
{
    (void)state;
    assert_good("lgreco:buckets=100000", 1.0, false);
    assert_good("lgreco:buckets=100000,norm=l2", 1.0, true);
    assert_good("lgreco:buckets=100000,alpha=2.5", 2.5, false);
    assert_good("lgreco:buckets=100000,alpha=0.3", 0.3, false);
}

static void decide_few_buckets_is_never_larger_than_uniform(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 100; seed++) {
        costs c = random_costs(seed);
        const lmn_allocation_report report = decide("lgreco:buckets=1", &c);
        assert_true(report.bytes <= report.static_bytes);
        assert_true(report.error <= report.budget);
    }
}

static void decide_larger_alpha_never_sends_more(void **state)
{
    (void)state;
    const char *const specs[] = {"lgreco:alpha=0.1", "lgreco:alpha=0.5", "lgreco:alpha=1",
                                 "lgreco:alpha=2", "lgreco:alpha=10"};
    for (uint32_t seed = 0; seed < 20; seed++) {
        uint64_t last = UINT64_MAX;
        for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
            costs c = random_costs(seed);
            const lmn_allocation_report report = decide(specs[i], &c);
            assert_true(report.bytes <= last);
            last = report.bytes;
        }
    }
}

static void decide_scaled_errors_chooses_the_same(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 20; seed++) {
        costs c = random_costs(seed);
        costs tiny = c;
        for (size_t cell = 0; cell < LAYERS * LEVELS; cell++) {
            tiny.error[cell] = ldexp(c.error[cell], -300);
        }
        (void)decide("lgreco", &c);
        (void)decide("lgreco", &tiny);
        assert_memory_equal(c.levels, tiny.levels, sizeof c.levels);
    }
}

/* What is left over at a level once feedback has settled, by making step after step of it: a
 * vector of `fresh` and the rest of the one before, of which a part is sent. */
static double rest_after_many_steps(double fresh, double part)
{
    double rest = 0.0;
    for (int step = 0; step < 2000; step++) {
        rest = (1.0 - part) * (fresh + rest);
    }
    return rest;
}

static void decide_settled_errors_are_what_feedback_ends_with(void **state)
{
    (void)state;
    size_t n_different = 0;
    for (uint32_t seed = 0; seed < 20; seed++) {
        costs c = random_costs(seed);
        costs settled = c;
        for (size_t layer = 0; layer < LAYERS; layer++) {
            const double *const error = c.error + layer * LEVELS;
            c.levels[layer] = (seed + layer) % LEVELS;
            c.energy[layer] = 1.05 * error[LEVELS - 1];
            const double now = error[c.levels[layer]] / c.energy[layer];
            for (size_t level = 0; level < LEVELS; level++) {
                settled.error[layer * LEVELS + level] = rest_after_many_steps(
                    c.energy[layer] * (1.0 - now), 1.0 - error[level] / c.energy[layer]);
            }
        }
        costs message = c;
        const lmn_allocation_report report = decide("lgreco:error=settled", &c);
        const lmn_allocation_report expected = decide("lgreco", &settled);
        (void)decide("lgreco", &message);
        assert_memory_equal(c.levels, settled.levels, sizeof c.levels);
        assert_true(fabs(report.error - expected.error) <= 1e-6 * expected.error);
        n_different += memcmp(c.levels, message.levels, sizeof c.levels) != 0 ? 1 : 0;
    }
    assert_true(n_different > 10);
}

static void decide_settled_layer_without_energy_has_no_error(void **state)
{
    (void)state;
    costs c = {.n_layers = 2,
               .n_levels = 3,
               .bytes = {100, 10, 1, 100, 10, 1},
               .error = {0, 0, 0, 0, 4, 6},
               .energy = {0, 8},
               .static_level = {1, 1},
               .levels = {1, 1}};
    const lmn_allocation_report report = decide("lgreco:error=settled", &c);
    assert_int_equal(c.levels[0], 2);
    assert_int_equal(c.levels[1], 1);
    assert_true(fabs(report.budget - 4.0) < 1e-9); /* settled at the level in force */
}

static void decide_settled_without_energies_is_refused(void **state)
{
    (void)state;
    lmn_allocator *allocator = new_allocator("lgreco:error=settled", LAYERS, LEVELS);
    costs c = random_costs(1);
    const costs before = c;
    lmn_cost_table table = table_of(&c);
    lmn_allocation_report report;
    lmn_error err = lmn_error_none();
    table.energy = NULL;
    assert_int_equal(lmn_allocator_decide(allocator, &table, c.levels, &report, &err),
                     LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "energy"));
    c.energy[3] = (double)NAN;
    table.energy = c.energy;
    assert_int_equal(lmn_allocator_decide(allocator, &table, c.levels, &report, &err),
                     LMN_ERR_NONFINITE);
    assert_memory_equal(c.levels, before.levels, sizeof c.levels);
    lmn_allocator_destroy(allocator);
}

static void decide_golden_table(void **state)
{
    (void)state;
    /* A dense level in front of the three that the hand computation is about; errors of just the
     * budget would be rounded up above it. */
    costs c = {.n_layers = 2,
               .n_levels = 4,
               .bytes = {20, 10, 6, 3, 20, 7, 5, 2},
               .error = {0, 1, 2, 4, 0, 1, 3, 5},
               .static_level = {2, 2},
               .levels = {2, 2}};
    const lmn_allocation_report report = decide("lgreco:alpha=1.002", &c);
    assert_int_equal(c.levels[0], 3);
    assert_int_equal(c.levels[1], 1);
    assert_int_equal(report.bytes, 10);
    assert_int_equal(report.static_bytes, 11);
    assert_true(report.changed);
    assert_true(fabs(report.budget - 5.01) < 1e-9);
    assert_true(fabs(report.error - 5.0) < 1e-9);
}

static void decide_level_as_large_as_dense_becomes_dense(void **state)
{
    (void)state;
    costs c = {.n_layers = 2,
               .n_levels = 2,
               .bytes = {100, 100, 1000, 10},
               .error = {0, 50, 0, 1},
               .static_level = {1, 1},
               .levels = {1, 1}};
    const lmn_allocation_report report = decide("lgreco", &c);
    assert_int_equal(c.levels[0], 0);
    assert_int_equal(c.levels[1], 1);
    assert_true(fabs(report.budget - 1.0) < 1e-9);
    assert_int_equal(report.bytes, 110);
}

static void decide_all_zero_errors_keeps_the_levels(void **state)
{
    (void)state;
    costs c = random_costs(1);
    memset(c.error, 0, sizeof c.error);
    c.levels[3] = 4;
    const size_t before[LAYERS] = {2, 2, 2, 4, 2, 2};
    const lmn_allocation_report report = decide("lgreco", &c);
    assert_memory_equal(c.levels, before, sizeof before);
    assert_false(report.changed);
    assert_true(report.bytes < report.static_bytes);
}

static void decide_nan_is_refused_and_keeps_the_levels(void **state)
{
    (void)state;
    const double bad[] = {(double)NAN, (double)INFINITY, -1.0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        costs c = random_costs(2);
        const costs before = c;
        c.error[3 * LEVELS + 4] = bad[i];
        lmn_allocator *allocator = new_allocator("lgreco", LAYERS, LEVELS);
        const lmn_cost_table table = table_of(&c);
        lmn_allocation_report report = {.bytes = 1234};
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_allocator_decide(allocator, &table, c.levels, &report, &err),
                         LMN_ERR_NONFINITE);
        assert_non_null(strstr(err.message, "layer 3 at level 4"));
        assert_memory_equal(c.levels, before.levels, sizeof before.levels);
        assert_int_equal(report.bytes, 1234);
        lmn_allocator_destroy(allocator);
    }
}

static void decide_one_layer_and_one_level_work(void **state)
{
    (void)state;
    costs one_layer = random_costs(3);
    one_layer.n_layers = 1;
    (void)decide("lgreco", &one_layer);
    assert_int_equal(one_layer.levels[0], 2);
    costs one_level = {.n_layers = 3, .n_levels = 1, .bytes = {4, 5, 6}};
    const lmn_allocation_report report = decide("lgreco", &one_level);
    assert_int_equal(report.bytes, 15);
    assert_false(report.changed);
    costs nothing = {.n_layers = 0, .n_levels = 1};
    (void)decide("lgreco", &nothing);
}

static void decide_table_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    costs c = random_costs(4);
    const lmn_cost_table table = table_of(&c);
    lmn_allocation_report report = {0};
    lmn_allocator *small = new_allocator("lgreco", LAYERS - 1, LEVELS);
    assert_int_equal(lmn_allocator_decide(small, &table, c.levels, &report, NULL),
                     LMN_ERR_ARGUMENT);
    lmn_allocator_destroy(small);
    lmn_allocator *allocator = new_allocator("uniform", LAYERS, LEVELS);
    c.static_level[5] = LEVELS;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allocator_decide(allocator, &table, c.levels, &report, &err),
                     LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "layer 5"));
    lmn_allocator_destroy(allocator);
}

static void decide_uniform_takes_the_static_levels(void **state)
{
    (void)state;
    costs c = random_costs(5);
    c.levels[0] = 4;
    lmn_allocation_report report = decide("uniform", &c);
    assert_memory_equal(c.levels, c.static_level, sizeof c.levels);
    assert_true(report.changed);
    assert_int_equal(report.bytes, report.static_bytes);
    report = decide("uniform", &c);
    assert_false(report.changed);
}

/* The steps of 0 .. n - 1 for which a predicate holds, as a string of 0 and 1. */
static void assert_calendar(const char *spec,
                            bool (*predicate)(const lmn_allocator *allocator, uint64_t step),
                            const char *expected)
{
    lmn_allocator *allocator = new_allocator(spec, 3, 3);
    for (size_t step = 0; expected[step] != '\0'; step++) {
        if (predicate(allocator, step) != (expected[step] == '1')) {
            fail_msg("%s: step %zu", spec, step);
        }
    }
    lmn_allocator_destroy(allocator);
}

static void adjusts_at_the_end_of_warmup_and_every_so_often(void **state)
{
    (void)state;
    assert_calendar("lgreco:warmup=3,every=4", lmn_allocator_adjusts, "001000100010001");
    assert_calendar("lgreco:warmup=0,every=4", lmn_allocator_adjusts, "000100010001000");
    assert_calendar("lgreco:warmup=1,every=1", lmn_allocator_adjusts, "1111");
    assert_calendar("uniform:warmup=3", lmn_allocator_adjusts, "000000000");
}

static void observes_the_window_before_a_decision(void **state)
{
    (void)state;
    assert_calendar("lgreco:warmup=3,every=4,window=2", lmn_allocator_observes, "011001100110011");
    assert_calendar("lgreco:warmup=3,every=4,window=5", lmn_allocator_observes, "1111111111");
    assert_calendar("lgreco:warmup=0,every=4,window=1", lmn_allocator_observes, "000100010001");
    assert_calendar("uniform", lmn_allocator_observes, "000000");
}

static void warms_up_for_the_steps_of_the_key(void **state)
{
    (void)state;
    assert_calendar("lgreco:warmup=3", lmn_allocator_warms_up, "1110000");
    assert_calendar("lgreco:warmup=0", lmn_allocator_warms_up, "0000");
    assert_calendar("uniform:warmup=2", lmn_allocator_warms_up, "1100");
    assert_calendar("uniform", lmn_allocator_warms_up, "0000");
}

static void create_defaults_are_as_documented(void **state)
{
    (void)state;
    lmn_allocator *allocator = new_allocator("lgreco", 3, 3);
    assert_true(lmn_allocator_adapts(allocator));
    assert_true(lmn_allocator_warms_up(allocator, 19));
    assert_false(lmn_allocator_warms_up(allocator, 20));
    assert_true(lmn_allocator_adjusts(allocator, 19));
    assert_true(lmn_allocator_adjusts(allocator, 219));
    assert_true(lmn_allocator_observes(allocator, 210));
    assert_false(lmn_allocator_observes(allocator, 209));
    lmn_allocator_destroy(allocator);
    allocator = new_allocator("uniform", 3, 3);
    assert_false(lmn_allocator_adapts(allocator));
    lmn_allocator_destroy(allocator);
    lmn_allocator_destroy(NULL);
}

static void create_bad_specs_are_refused_by_key(void **state)
{
    (void)state;
    const char *const bad[][2] = {
        {"lgreko", "lgreco"},           {"lgreco:alpha=0", "alpha"},
        {"lgreco:every=0", "every"},    {"lgreco:window=0", "window"},
        {"lgreco:norm=l1", "l2sq|l2"},  {"lgreco:buckets=0", "buckets"},
        {"lgreco:warmup=-1", "warmup"}, {"uniform:alpha=1", "alpha"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lmn_allocator *allocator = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_allocator_create(bad[i][0], 2, 2, &allocator, &err), LMN_ERR_USAGE);
        assert_null(allocator);
        assert_non_null(strstr(err.message, bad[i][1]));
    }
}

static void create_more_than_memory_holds_is_refused(void **state)
{
    (void)state;
    lmn_allocator *allocator = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allocator_create("lgreco", SIZE_MAX / 4, 9, &allocator, &err),
                     LMN_ERR_MEMORY);
    assert_int_equal(err.status, LMN_ERR_MEMORY);
    assert_null(allocator);
}

static void entries_of_the_registry_have_names_and_summaries(void **state)
{
    (void)state;
    size_t n_entries = 0;
    while (lmn_allocator_entry(n_entries) != NULL) {
        const lmn_spec_entry *entry = lmn_allocator_entry(n_entries);
        assert_true(strlen(entry->name) > 0 && strlen(entry->summary) > 0);
        lmn_allocator_destroy(new_allocator(entry->name, 4, 4));
        n_entries++;
    }
    assert_true(n_entries >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decide_random_tables_is_best_within_the_budget),
        cmocka_unit_test(decide_few_buckets_is_never_larger_than_uniform),
        cmocka_unit_test(decide_larger_alpha_never_sends_more),
        cmocka_unit_test(decide_scaled_errors_chooses_the_same),
        cmocka_unit_test(decide_settled_errors_are_what_feedback_ends_with),
        cmocka_unit_test(decide_settled_layer_without_energy_has_no_error),
        cmocka_unit_test(decide_settled_without_energies_is_refused),
        cmocka_unit_test(decide_golden_table),
        cmocka_unit_test(decide_level_as_large_as_dense_becomes_dense),
        cmocka_unit_test(decide_all_zero_errors_keeps_the_levels),
        cmocka_unit_test(decide_nan_is_refused_and_keeps_the_levels),
        cmocka_unit_test(decide_one_layer_and_one_level_work),
        cmocka_unit_test(decide_table_that_does_not_fit_is_refused),
        cmocka_unit_test(decide_uniform_takes_the_static_levels),
        cmocka_unit_test(adjusts_at_the_end_of_warmup_and_every_so_often),
        cmocka_unit_test(observes_the_window_before_a_decision),
        cmocka_unit_test(warms_up_for_the_steps_of_the_key),
        cmocka_unit_test(create_defaults_are_as_documented),
        cmocka_unit_test(create_bad_specs_are_refused_by_key),
        cmocka_unit_test(create_more_than_memory_holds_is_refused),
        cmocka_unit_test(entries_of_the_registry_have_names_and_summaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

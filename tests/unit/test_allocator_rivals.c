/*
 * The allocators that lgreco is compared with, and its own options: what they choose.
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
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Layers of ENTRIES numbers; level c sends the ENTRIES - c largest, so level 0 is dense. */
#define LAYERS  ((size_t)5)
#define ENTRIES ((size_t)12)
#define LEVELS  (ENTRIES + 1)

typedef struct costs {
    uint64_t bytes[LAYERS * LEVELS];
    double error[LAYERS * LEVELS];
    double energy[LAYERS];
    double memory[LAYERS];
    size_t static_level[LAYERS];
    size_t levels[LAYERS];
    double squares[LAYERS * ENTRIES]; /* of all layers, descending */
} costs;

static int descending(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Whole squares, so that sums are exact in any order; layers of quite different size. */
static costs topk_costs(uint32_t seed, size_t static_level)
{
    const lmn_stream stream = {.seed = seed, .layer = 3};
    uint32_t words[LAYERS * ENTRIES];
    lmn_stream_u32(&stream, 0, LAYERS * ENTRIES, words);
    costs c = {.bytes = {0}};
    for (size_t layer = 0; layer < LAYERS; layer++) {
        double *squares = c.squares + layer * ENTRIES;
        for (size_t i = 0; i < ENTRIES; i++) {
            squares[i] = (double)(1 + words[layer * ENTRIES + i] % (100U << (2 * layer)));
        }
        qsort(squares, ENTRIES, sizeof *squares, descending);
        for (size_t level = 0; level < LEVELS; level++) {
            c.bytes[layer * LEVELS + level] = ENTRIES - level;
            for (size_t i = ENTRIES - level; i < ENTRIES; i++) {
                c.error[layer * LEVELS + level] += squares[i];
            }
        }
        c.energy[layer] = c.error[layer * LEVELS + LEVELS - 1];
        c.static_level[layer] = static_level;
        c.levels[layer] = static_level;
    }
    qsort(c.squares, LAYERS * ENTRIES, sizeof *c.squares, descending);
    return c;
}

static lmn_status try_decide(const char *spec, costs *c, lmn_allocation_report *report,
                             lmn_error *err)
{
    lmn_allocator *allocator = NULL;
    if (lmn_allocator_create(spec, LAYERS, LEVELS, &allocator, err) != LMN_OK) {
        fail_msg("%s: %s", spec, err->message);
    }
    const lmn_cost_table table = {.n_layers = LAYERS,
                                  .n_levels = LEVELS,
                                  .bytes = c->bytes,
                                  .error = c->error,
                                  .energy = c->energy,
                                  .memory = c->memory,
                                  .static_level = c->static_level};
    const lmn_status status = lmn_allocator_decide(allocator, &table, c->levels, report, err);
    lmn_allocator_destroy(allocator);
    return status;
}

static lmn_allocation_report decide(const char *spec, costs *c)
{
    lmn_allocation_report report = {0};
    lmn_error err = lmn_error_none();
    if (try_decide(spec, c, &report, &err) != LMN_OK) {
        fail_msg("%s: %s", spec, err.message);
    }
    return report;
}

/* The energy that top-k of all layers in one vector leaves out. */
static double left_out(const costs *c, size_t k)
{
    double sum = 0.0;
    for (size_t i = k; i < LAYERS * ENTRIES; i++) {
        sum += c->squares[i];
    }
    return sum;
}

static void global_topk_with_all_levels_is_topk_of_all_layers_together(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 40; seed++) {
        const size_t static_level = 1 + seed % (LEVELS - 2);
        costs c = topk_costs(seed, static_level);
        const lmn_allocation_report report = decide("global-topk", &c);
        const size_t k = LAYERS * (ENTRIES - static_level);
        assert_int_equal(report.bytes, k);
        assert_int_equal(report.static_bytes, k);
        assert_true(report.error == left_out(&c, k));
        assert_true(report.error <= report.budget);
    }
}

/* The exchange argument: within an error budget fewest entries are the largest of all layers. */
static void lgreco_with_all_levels_is_the_smallest_global_topk_within_the_budget(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 40; seed++) {
        costs c = topk_costs(seed, 1 + seed % (LEVELS - 2));
        const lmn_allocation_report report = decide("lgreco", &c);
        size_t k = 0;
        while (left_out(&c, k) > report.budget) {
            k++;
        }
        assert_int_equal(report.bytes, k);
        assert_true(report.bytes <= report.static_bytes);
    }
}

/* Three levels a layer: the bytes of the uniform level are kept, and its error. */
static void global_topk_with_few_levels_keeps_bytes_and_error(void **state)
{
    (void)state;
    size_t n_better = 0;
    for (uint32_t seed = 0; seed < 40; seed++) {
        costs c = topk_costs(seed, 8);
        for (size_t cell = 0; cell < LAYERS * LEVELS; cell++) {
            const size_t row = cell / LEVELS * LEVELS;
            const size_t kept = cell % LEVELS < 5 ? 0 : cell % LEVELS < 10 ? 8 : 11;
            c.bytes[cell] = ENTRIES - kept;
            c.error[cell] = c.error[row + kept];
        }
        const lmn_allocation_report report = decide("global-topk", &c);
        assert_true(report.bytes <= report.static_bytes);
        assert_true(report.error <= report.budget);
        n_better += report.error < report.budget ? 1 : 0;
    }
    assert_true(n_better > 10);
}

static void global_topk_dense_layers_and_zero_gradients_stay(void **state)
{
    (void)state;
    costs c = topk_costs(1, 6);
    c.static_level[2] = 0;
    decide("global-topk", &c);
    assert_int_equal(c.levels[2], 0);
    memset(c.error, 0, sizeof c.error);
    const costs before = c;
    assert_false(decide("global-topk", &c).changed);
    assert_memory_equal(before.levels, c.levels, sizeof c.levels);
}

static void accordion_takes_mild_levels_where_norms_change_by_half(void **state)
{
    (void)state;
    costs c = topk_costs(2, 6);
    c.static_level[4] = 0;
    lmn_allocation_report report = decide("accordion", &c); /* nothing to compare with: critical */
    const size_t first[LAYERS] = {5, 5, 5, 5, 0};
    assert_memory_equal(c.levels, first, sizeof first);
    assert_memory_equal(c.memory, c.energy, sizeof c.energy);
    assert_true(report.changed);
    c.energy[0] *= 0.25 * 1.01 * 1.01; /* norms: down by 49.5 % */
    c.energy[1] *= 0.24;               /* down by 51 % */
    c.energy[2] *= 2.24;               /* up by 49.7 % */
    c.energy[3] *= 2.26;               /* up by 50.3 % */
    report = decide("accordion", &c);
    const size_t second[LAYERS] = {7, 5, 7, 5, 0};
    assert_memory_equal(c.levels, second, sizeof second);
    assert_memory_equal(c.memory, c.energy, sizeof c.energy);
    assert_int_equal(report.bytes, 5 + 7 + 5 + 7 + 12);
    decide("accordion:mild=100,strong=100,threshold=1", &c);
    const size_t third[LAYERS] = {12, 12, 12, 12, 0}; /* as far as there are levels */
    assert_memory_equal(c.levels, third, sizeof third);
    memset(c.memory, 0, sizeof c.memory);
    decide("accordion:mild=100", &c);
    assert_int_equal(c.levels[0], 1); /* mild is not dense */
}

static void lgreco_with_accordion_has_the_error_of_its_levels_as_budget(void **state)
{
    (void)state;
    costs c = topk_costs(3, 6);
    costs follower = c;
    for (size_t turn = 0; turn < 2; turn++) {
        const lmn_allocation_report guide = decide("accordion", &c);
        const lmn_allocation_report report = decide("lgreco:accordion=yes", &follower);
        assert_true(report.budget == guide.error);
        assert_true(report.error <= guide.error);
        assert_true(report.bytes <= guide.bytes);
        assert_memory_equal(follower.memory, c.memory, sizeof c.memory);
    }
}

static void lgreco_stays_within_its_range_of_levels(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 20; seed++) {
        costs c = topk_costs(seed, 6);
        c.static_level[1] = 0;
        const lmn_allocation_report wide = decide("lgreco", &c);
        const lmn_allocation_report narrow = decide("lgreco:min=4,max=7", &c);
        for (size_t layer = 0; layer < LAYERS; layer++) {
            const bool is_static = c.levels[layer] == c.static_level[layer];
            assert_true(is_static || (c.levels[layer] >= 4 && c.levels[layer] <= 7));
        }
        assert_true(narrow.bytes >= wide.bytes);
        assert_true(narrow.bytes <= narrow.static_bytes);
    }
}

static void lgreco_whose_range_leaves_nothing_keeps_the_levels(void **state)
{
    (void)state;
    costs c = topk_costs(4, 6);
    const lmn_allocation_report report = decide("lgreco:alpha=0.5,min=6,max=9", &c);
    assert_false(report.changed);
    assert_int_equal(report.bytes, report.static_bytes);
    for (size_t layer = 0; layer < LAYERS; layer++) {
        assert_int_equal(c.levels[layer], 6);
    }
}

static void broken_energies_and_errors_change_nothing(void **state)
{
    (void)state;
    const char *const specs[] = {"accordion", "lgreco:accordion=yes", "global-topk"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        costs c = topk_costs(5, 6);
        c.energy[3] = (double)NAN;
        c.error[3 * LEVELS + 2] = i == 2 ? HUGE_VAL : 1.0;
        const costs before = c;
        lmn_allocation_report report = {0};
        lmn_error err = lmn_error_none();
        assert_int_equal(try_decide(specs[i], &c, &report, &err), LMN_ERR_NONFINITE);
        assert_non_null(strstr(err.message, "layer 3"));
        assert_memory_equal(c.levels, before.levels, sizeof c.levels);
        assert_memory_equal(c.memory, before.memory, sizeof c.memory);
    }
}

static void who_remembers_wants_energies(void **state)
{
    (void)state;
    lmn_allocator *allocator = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allocator_create("accordion", LAYERS, LEVELS, &allocator, &err), LMN_OK);
    assert_true(lmn_allocator_remembers(allocator));
    costs c = topk_costs(6, 6);
    const lmn_cost_table table = {.n_layers = LAYERS,
                                  .n_levels = LEVELS,
                                  .bytes = c.bytes,
                                  .error = c.error,
                                  .static_level = c.static_level};
    lmn_allocation_report report = {0};
    assert_int_equal(lmn_allocator_decide(allocator, &table, c.levels, &report, &err),
                     LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "energy"));
    lmn_allocator_destroy(allocator);
    assert_int_equal(lmn_allocator_create("lgreco", LAYERS, LEVELS, &allocator, &err), LMN_OK);
    assert_false(lmn_allocator_remembers(allocator));
    lmn_allocator_destroy(allocator);
    assert_int_equal(lmn_allocator_create("lgreco:min=3,max=2", 1, 1, &allocator, &err),
                     LMN_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(global_topk_with_all_levels_is_topk_of_all_layers_together),
        cmocka_unit_test(lgreco_with_all_levels_is_the_smallest_global_topk_within_the_budget),
        cmocka_unit_test(global_topk_with_few_levels_keeps_bytes_and_error),
        cmocka_unit_test(global_topk_dense_layers_and_zero_gradients_stay),
        cmocka_unit_test(accordion_takes_mild_levels_where_norms_change_by_half),
        cmocka_unit_test(lgreco_with_accordion_has_the_error_of_its_levels_as_budget),
        cmocka_unit_test(lgreco_stays_within_its_range_of_levels),
        cmocka_unit_test(lgreco_whose_range_leaves_nothing_keeps_the_levels),
        cmocka_unit_test(broken_energies_and_errors_change_nothing),
        cmocka_unit_test(who_remembers_wants_energies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

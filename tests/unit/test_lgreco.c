/*
 * The knapsack of L-GreCo: equal to brute force, never above its budget.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/allocator.h"
#include "lamina/memory.h"
#include "lamina/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LAYERS_MAX 6
#define LEVELS_MAX 5

/* A small problem with memory of its own. */
typedef struct instance {
    size_t n_layers;
    size_t n_levels;
    uint64_t bytes[LAYERS_MAX * LEVELS_MAX];
    uint64_t error[LAYERS_MAX * LEVELS_MAX];
    uint64_t budget;
} instance;

/* What a solver says. */
typedef struct answer {
    bool feasible;
    uint64_t bytes;
    uint64_t error;
    size_t levels[LAYERS_MAX];
} answer;

static void price(const instance *p, answer *a)
{
    a->bytes = 0;
    a->error = 0;
    for (size_t layer = 0; layer < p->n_layers; layer++) {
        const size_t cell = layer * p->n_levels + a->levels[layer];
        a->bytes += p->bytes[cell];
        a->error += p->error[cell];
    }
}

static answer solve(const instance *p, size_t buckets)
{
    const lmn_lgreco_problem problem = {.n_layers = p->n_layers,
                                        .n_levels = p->n_levels,
                                        .bytes = p->bytes,
                                        .error = p->error,
                                        .budget = p->budget,
                                        .buckets = buckets};
    void *scratch = check_new_bytes(lmn_lgreco_scratch_bytes(p->n_layers, buckets));
    answer a = {.levels = {99, 99, 99, 99, 99, 99}};
    lmn_error err = lmn_error_none();
    if (lmn_lgreco_solve(&problem, scratch, a.levels, &a.feasible, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_free(scratch);
    if (a.feasible) {
        price(p, &a);
    }
    return a;
}

/* Every assignment in turn; fewest bytes, then smallest error. */
static answer brute_force(const instance *p)
{
    answer best = {.feasible = false};
    size_t n_assignments = 1;
    for (size_t layer = 0; layer < p->n_layers; layer++) {
        n_assignments *= p->n_levels;
    }
    for (size_t code = 0; code < n_assignments; code++) {
        answer a = {.feasible = true};
        size_t rest = code;
        for (size_t layer = 0; layer < p->n_layers; layer++) {
            a.levels[layer] = rest % p->n_levels;
            rest /= p->n_levels;
            const bool allowed = p->error[layer * p->n_levels + a.levels[layer]] != UINT64_MAX;
            a.feasible = a.feasible && allowed;
        }
        price(p, &a);
        if (!a.feasible || a.error > p->budget) {
            continue;
        }
        if (!best.feasible || a.bytes < best.bytes ||
            (a.bytes == best.bytes && a.error < best.error)) {
            best = a;
        }
    }
    return best;
}

static uint32_t draw(uint32_t seed, uint32_t index)
{
    const lmn_stream stream = {.seed = seed};
    uint32_t word = 0;
    lmn_stream_u32(&stream, index, 1, &word);
    return word;
}

/* Errors from 0, many ties, and now and then a level that is not allowed. */
static instance random_instance(uint32_t seed)
{
    instance p = {.n_layers = 1 + draw(seed, 0) % LAYERS_MAX,
                  .n_levels = 1 + draw(seed, 1) % LEVELS_MAX,
                  .budget = draw(seed, 2) % 120};
    const uint32_t range = draw(seed, 3) % 2 == 0 ? 8 : 60;
    for (uint32_t cell = 0; cell < p.n_layers * p.n_levels; cell++) {
        p.bytes[cell] = draw(seed, 10 + 3 * cell) % range;
        p.error[cell] = draw(seed, 11 + 3 * cell) % range;
        if (draw(seed, 12 + 3 * cell) % 20 == 0) {
            p.error[cell] = UINT64_MAX;
        }
    }
    return p;
}

static void solve_200_random_instances_equals_brute_force(void **state)
{
    (void)state;
    size_t n_feasible = 0;
    for (uint32_t seed = 0; seed < 200; seed++) {
        const instance p = random_instance(seed);
        const answer expected = brute_force(&p);
        const answer found = solve(&p, p.budget > 0 ? p.budget : 1);
        assert_int_equal(found.feasible, expected.feasible);
        n_feasible += expected.feasible ? 1 : 0;
        if (expected.feasible) {
            assert_int_equal(found.bytes, expected.bytes);
            assert_int_equal(found.error, expected.error);
        }
    }
    assert_in_range(n_feasible, 100, 199); /* both outcomes occur */
}

static void solve_more_buckets_than_budget_is_still_exact(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 100; seed++) {
        const instance p = random_instance(seed);
        const answer expected = brute_force(&p);
        const answer found = solve(&p, 10000);
        assert_int_equal(found.feasible, expected.feasible);
        assert_int_equal(found.bytes, expected.bytes);
        assert_int_equal(found.error, expected.error);
    }
}

/* Rounded to few buckets, the answer may be larger than the best, but keeps the budget. */
static void solve_few_buckets_never_exceeds_the_budget(void **state)
{
    (void)state;
    size_t n_found = 0;
    for (uint32_t seed = 0; seed < 400; seed++) {
        instance p = random_instance(seed);
        for (size_t cell = 0; cell < p.n_layers * p.n_levels; cell++) {
            p.error[cell] = p.error[cell] == UINT64_MAX ? UINT64_MAX : p.error[cell] * 1000003;
        }
        p.budget *= 1000003;
        const answer best = brute_force(&p);
        const answer found = solve(&p, 7 + seed % 50);
        if (found.feasible) {
            n_found++;
            assert_true(best.feasible);
            assert_true(found.error <= p.budget);
            assert_true(found.bytes >= best.bytes);
        }
    }
    assert_true(n_found > 200);
}

static void solve_golden_instance(void **state)
{
    (void)state;
    const instance p = {.n_layers = 2,
                        .n_levels = 3,
                        .bytes = {10, 6, 3, 7, 5, 2},
                        .error = {1, 2, 4, 1, 3, 5},
                        .budget = 5};
    const answer found = solve(&p, 5);
    assert_true(found.feasible);
    assert_int_equal(found.bytes, 10);
    assert_int_equal(found.error, 5);
    assert_int_equal(found.levels[0], 2);
    assert_int_equal(found.levels[1], 0);
}

static void solve_larger_budget_never_sends_more(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 60; seed++) {
        instance p = random_instance(seed);
        uint64_t last = UINT64_MAX;
        for (p.budget = 0; p.budget < 150; p.budget += 1 + p.budget / 8) {
            const answer found = solve(&p, 150);
            if (found.feasible) {
                assert_true(found.bytes <= last);
                last = found.bytes;
            } else {
                assert_true(last == UINT64_MAX);
            }
        }
    }
}

/* Distinct powers of two as sizes: no two assignments tie, so the best one is unique. */
static void solve_permuted_layers_permutes_the_levels(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 60; seed++) {
        instance p = random_instance(seed);
        p.n_layers = LAYERS_MAX;
        p.n_levels = LEVELS_MAX;
        p.budget = 60;
        instance turned = p;
        for (size_t cell = 0; cell < (size_t)LAYERS_MAX * LEVELS_MAX; cell++) {
            const size_t other = (cell + LEVELS_MAX) % ((size_t)LAYERS_MAX * LEVELS_MAX);
            p.bytes[cell] = UINT64_C(1) << ((cell * 7 + seed) % 30);
            p.error[cell] = draw(seed, (uint32_t)(500 + cell)) % 25;
            turned.bytes[other] = p.bytes[cell];
            turned.error[other] = p.error[cell];
        }
        const answer a = solve(&p, 60);
        const answer b = solve(&turned, 60);
        assert_int_equal(a.feasible, b.feasible);
        for (size_t layer = 0; a.feasible && layer < LAYERS_MAX; layer++) {
            assert_int_equal(b.levels[(layer + 1) % LAYERS_MAX], a.levels[layer]);
        }
    }
}

static void solve_ties_go_to_the_smaller_error_then_the_lower_level(void **state)
{
    (void)state;
    const instance by_error = {
        .n_layers = 1, .n_levels = 3, .bytes = {9, 5, 5}, .error = {0, 4, 2}, .budget = 10};
    assert_int_equal(solve(&by_error, 10).levels[0], 2);
    const instance by_level = {
        .n_layers = 1, .n_levels = 3, .bytes = {9, 5, 5}, .error = {0, 2, 2}, .budget = 10};
    assert_int_equal(solve(&by_level, 10).levels[0], 1);
}

static void solve_zero_budget_allows_exact_levels_only(void **state)
{
    (void)state;
    instance p = {
        .n_layers = 2, .n_levels = 2, .bytes = {8, 1, 8, 1}, .error = {0, 1, 0, 0}, .budget = 0};
    const answer found = solve(&p, 100);
    assert_true(found.feasible);
    assert_int_equal(found.levels[0], 0);
    assert_int_equal(found.levels[1], 1);
    p.error[0] = 1;
    assert_false(solve(&p, 100).feasible);
}

static void solve_infeasible_leaves_the_levels(void **state)
{
    (void)state;
    const instance p = {.n_layers = 1,
                        .n_levels = 2,
                        .bytes = {8, 1},
                        .error = {UINT64_MAX, UINT64_MAX},
                        .budget = UINT64_MAX};
    const answer found = solve(&p, 5); /* divides the budget */
    assert_false(found.feasible);
    assert_int_equal(found.levels[0], 99);
}

static void solve_no_layers_is_feasible(void **state)
{
    (void)state;
    const instance p = {.n_layers = 0, .n_levels = 3, .budget = 5};
    assert_true(solve(&p, 10).feasible);
}

static void solve_huge_numbers_do_not_wrap(void **state)
{
    (void)state;
    const uint64_t huge = UINT64_C(1) << 51;
    const instance p = {.n_layers = 2,
                        .n_levels = 2,
                        .bytes = {huge, 5, huge, 5},
                        .error = {0, UINT64_MAX - 1, 0, UINT64_MAX / 4},
                        .budget = UINT64_MAX / 2};
    const answer found = solve(&p, 1000);
    assert_int_equal(found.levels[0], 0);
    assert_int_equal(found.levels[1], 1);
}

static void assert_refused(size_t n_levels, uint64_t bytes, size_t buckets, const char *part)
{
    uint64_t table[600] = {bytes, 0, bytes};
    const uint64_t error[600] = {0};
    const lmn_lgreco_problem problem = {.n_layers = 2,
                                        .n_levels = n_levels,
                                        .bytes = table,
                                        .error = error,
                                        .budget = 10,
                                        .buckets = buckets};
    void *scratch = check_new_bytes(lmn_lgreco_scratch_bytes(2, buckets));
    size_t levels[2] = {7, 7};
    bool feasible = true;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_lgreco_solve(&problem, scratch, levels, &feasible, &err),
                     LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, part));
    assert_int_equal(levels[0], 7);
    lmn_free(scratch);
}

static void solve_bad_problem_is_refused(void **state)
{
    (void)state;
    assert_refused(0, 1, 10, "0 levels");
    assert_refused(257, 1, 10, "257 levels");
    assert_refused(2, 1, 0, "0 buckets");
    assert_refused(2, UINT64_C(1) << 52, 10, "2^53");
}

static void scratch_bytes_too_many_to_count_is_the_largest_number(void **state)
{
    (void)state;
    assert_true(lmn_lgreco_scratch_bytes(SIZE_MAX, 10000) == SIZE_MAX);
    assert_true(lmn_lgreco_scratch_bytes(1, SIZE_MAX) == SIZE_MAX);
    assert_true(lmn_lgreco_scratch_bytes(60, 10000) < 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(solve_200_random_instances_equals_brute_force),
        cmocka_unit_test(solve_more_buckets_than_budget_is_still_exact),
        cmocka_unit_test(solve_few_buckets_never_exceeds_the_budget),
        cmocka_unit_test(solve_golden_instance),
        cmocka_unit_test(solve_larger_budget_never_sends_more),
        cmocka_unit_test(solve_permuted_layers_permutes_the_levels),
        cmocka_unit_test(solve_ties_go_to_the_smaller_error_then_the_lower_level),
        cmocka_unit_test(solve_zero_budget_allows_exact_levels_only),
        cmocka_unit_test(solve_infeasible_leaves_the_levels),
        cmocka_unit_test(solve_no_layers_is_feasible),
        cmocka_unit_test(solve_huge_numbers_do_not_wrap),
        cmocka_unit_test(solve_bad_problem_is_refused),
        cmocka_unit_test(scratch_bytes_too_many_to_count_is_the_largest_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The rounded knapsack of L-GreCo, for problems too large to be solved exactly: equal to a plain
 * dynamic programme of the same rounding, and the same with every instruction set.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos/allocate/simd/cheapest.h"
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

#define LAYERS  ((size_t)40)
#define LEVELS  ((size_t)12)
#define CELLS   (LAYERS * LEVELS)
#define BUCKETS ((size_t)1500)

/* Every level is of use and hardly two sums are equal, so that the exact way gives up. */
typedef struct instance {
    uint64_t bytes[CELLS];
    uint64_t error[CELLS];
    uint64_t budget;
} instance;

static instance random_instance(uint32_t seed)
{
    const lmn_stream stream = {.seed = seed, .layer = 5};
    uint32_t words[2 * CELLS];
    lmn_stream_u32(&stream, 0, 2 * CELLS, words);
    instance p = {.budget = 0};
    for (size_t cell = 0; cell < CELLS; cell++) {
        const size_t level = cell % LEVELS;
        const uint64_t size = 1000 + words[cell - level] % 100000;
        const uint64_t weight = 1000 + words[CELLS + cell - level] % 100000;
        p.bytes[cell] = size * (LEVELS - level) * (LEVELS - level) + words[cell] % 1000;
        p.error[cell] = level == 0 ? 0 : weight * level * level * level + words[CELLS + cell] % 999;
        p.budget += level == LEVELS / 2 ? p.error[cell] / (1 + seed % 3) : 0;
        if (level > 0 && words[cell] % 23 == 0) {
            p.error[cell] = UINT64_MAX;
        }
    }
    return p;
}

static uint64_t buckets_of(const instance *p, size_t cell)
{
    const uint64_t unit = p->budget / BUCKETS;
    return p->error[cell] == UINT64_MAX ? UINT64_MAX
                                        : p->error[cell] / unit + (p->error[cell] % unit != 0);
}

/* Of the layers before and this one, within b buckets. */
static uint64_t fewest_with(const instance *p, size_t layer, size_t b, const uint64_t *row)
{
    uint64_t best = UINT64_MAX / 2;
    for (size_t cell = layer * LEVELS; cell < (layer + 1) * LEVELS; cell++) {
        const uint64_t taken = buckets_of(p, cell);
        if (taken <= b && row[b - taken] + p->bytes[cell] < best) {
            best = row[b - taken] + p->bytes[cell];
        }
    }
    return best;
}

/* Fewest bytes within the buckets, by the textbook. */
static uint64_t fewest_bytes(const instance *p)
{
    static uint64_t row[BUCKETS + 1];
    memset(row, 0, sizeof row);
    for (size_t layer = 0; layer < LAYERS; layer++) {
        for (size_t b = BUCKETS + 1; b-- > 0;) {
            row[b] = fewest_with(p, layer, b, row);
        }
    }
    return row[BUCKETS];
}

static void solve_large_problem_equals_a_plain_programme_of_the_same_rounding(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 6; seed++) {
        const instance p = random_instance(seed);
        const lmn_lgreco_problem problem = {.n_layers = LAYERS,
                                            .n_levels = LEVELS,
                                            .bytes = p.bytes,
                                            .error = p.error,
                                            .budget = p.budget,
                                            .buckets = BUCKETS};
        void *scratch = check_new_bytes(lmn_lgreco_scratch_bytes(LAYERS, BUCKETS));
        size_t levels[LAYERS];
        bool feasible = false;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_lgreco_solve(&problem, scratch, levels, &feasible, &err), LMN_OK);
        lmn_free(scratch);
        assert_true(feasible);
        uint64_t bytes = 0;
        uint64_t error = 0;
        for (size_t layer = 0; layer < LAYERS; layer++) {
            bytes += p.bytes[layer * LEVELS + levels[layer]];
            error += p.error[layer * LEVELS + levels[layer]];
        }
        assert_int_equal(bytes, fewest_bytes(&p));
        assert_true(error <= p.budget);
        assert_true(error > p.budget - p.budget / 10); /* the budget is used */
    }
}

static void kernels_of_all_instruction_sets_agree(void **state)
{
    (void)state;
    enum { N = 5 * 64 };
    const instance p = random_instance(3);
    lmn__offer offers[LEVELS];
    int64_t from[64 + N];
    for (size_t i = 0; i < 64 + (size_t)N; i++) {
        from[i] = i < 64 + 9 ? LMN__UNREACHABLE : (int64_t)(p.bytes[i] << 8);
    }
    for (size_t i = 0; i < LEVELS; i++) {
        offers[i] = (lmn__offer){.buckets = i * i * 3, /* the last one beyond the row */
                                 .value = (int64_t)(p.bytes[CELLS - 1 - i] << 8 | i)};
    }
    offers[4].value = offers[3].value - (3 << 8) + 4; /* negative differences, and ties */
    for (size_t v = 0; lmn__cheapest_kernels_variant(v) != NULL; v++) {
        int64_t to[N];
        uint8_t choices[N];
        lmn__cheapest_kernels_variant(v)->choose(from + 64, N, offers, LEVELS, to, choices);
        for (size_t b = 0; b < (size_t)N; b++) {
            int64_t best = LMN__UNREACHABLE;
            for (size_t i = 0; i < LEVELS; i++) {
                const bool fits = offers[i].buckets <= b;
                const int64_t value = fits ? from[64 + b - offers[i].buckets] + offers[i].value : 0;
                best = fits && value < best ? value : best;
            }
            assert_int_equal(to[b], best & ~INT64_C(255));
            assert_int_equal(choices[b], best & 255);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(solve_large_problem_equals_a_plain_programme_of_the_same_rounding),
        cmocka_unit_test(kernels_of_all_instruction_sets_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

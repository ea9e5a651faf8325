/*
 * The multiple-choice knapsack of L-GreCo: one level per layer, fewest bytes within an error
 * budget.
 *
 * The budget is cut into buckets of `unit` errors each. Row l of the table says, for every number
 * of buckets b, the fewest bytes in which layers 0 .. l fit when their errors take at most b
 * buckets:
 *
 *     F_l(b) = min over levels c of F_{l-1}(b - q(l, c)) + bytes(l, c),   q = ceil(error / unit)
 *
 * Only two rows are kept, with the level chosen at every (l, b) to walk back. Since q is rounded up
 * and the unit down, sum error <= unit * sum q <= unit * n <= budget without exception, and errors
 * of 0 take no bucket. A budget below the number of buckets is solved exactly, one error a bucket.
 * Problems that are small enough are solved without rounding instead (front.c).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "front_internal.h"
#include "lamina/memory.h"

#include <string.h>

/* Larger than any sum of bytes that is let in, and small enough to add one to. */
#define UNREACHABLE (UINT64_C(1) << 62)
#define LEVELS_MAX  256

/* The table; rows and choices lie in the scratch memory. */
typedef struct knapsack {
    const lmn_lgreco_problem *problem;
    size_t n_buckets;       /* used: at most problem->buckets */
    uint64_t unit;          /* errors in a bucket */
    uint64_t *previous;     /* [n_buckets + 1] F of the layers so far */
    uint64_t *current;      /* [n_buckets + 1] F with one more */
    unsigned char *choices; /* [n_layers][n_buckets + 1] level taken */
} knapsack;

size_t lmn_lgreco_scratch_bytes(size_t n_layers, size_t buckets)
{
    const size_t row = buckets + 1;
    if (buckets >= SIZE_MAX / 32 || (n_layers > 0 && row > SIZE_MAX / 2 / n_layers)) {
        return SIZE_MAX;
    }
    const size_t table = 2 * lmn_align_up(row * sizeof(uint64_t)) + lmn_align_up(row * n_layers);
    const size_t front = lmn__front_scratch_bytes(n_layers);
    return table > front ? table : front;
}

static lmn_status check_problem(const lmn_lgreco_problem *problem, lmn_error *err)
{
    if (problem->n_levels == 0 || problem->n_levels > LEVELS_MAX || problem->buckets == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "lgreco: %zu levels and %zu buckets; 1 to %d levels and at least one "
                             "bucket are possible",
                             problem->n_levels, problem->buckets, LEVELS_MAX);
    }
    uint64_t total = 0;
    for (size_t layer = 0; layer < problem->n_layers; layer++) {
        uint64_t largest = 0;
        for (size_t level = 0; level < problem->n_levels; level++) {
            const uint64_t bytes = problem->bytes[layer * problem->n_levels + level];
            largest = bytes > largest ? bytes : largest;
        }
        if (largest >= UNREACHABLE - total) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "lgreco: the bytes of layers 0 to %zu add up to 2^62 or more",
                                 layer);
        }
        total += largest;
    }
    return LMN_OK;
}

static knapsack lay_out(const lmn_lgreco_problem *problem, void *scratch)
{
    const size_t n =
        problem->budget < problem->buckets ? (size_t)problem->budget : problem->buckets;
    const size_t row_bytes = lmn_align_up((problem->buckets + 1) * sizeof(uint64_t));
    unsigned char *memory = scratch;
    return (knapsack){
        .problem = problem,
        .n_buckets = n,
        .unit = n == 0 ? 1 : problem->budget / n,
        .previous = scratch,
        .current = (void *)(memory + row_bytes),
        .choices = memory + 2 * row_bytes,
    };
}

/* Buckets that an error takes; more than there are when it does not fit. */
static size_t buckets_of(const knapsack *table, uint64_t error)
{
    const uint64_t whole = error / table->unit;
    const uint64_t needed = whole + (uint64_t)(error % table->unit != 0);
    return needed > table->n_buckets ? table->n_buckets + 1 : (size_t)needed;
}

/* Offer one level to every state that it can lead to; only a strict gain is taken. */
static void offer(const uint64_t *restrict from, uint64_t bytes, unsigned char level, size_t count,
                  uint64_t *restrict to, unsigned char *restrict choice)
{
#pragma omp simd
    for (size_t b = 0; b < count; b++) {
        const uint64_t candidate = from[b] + bytes;
        const uint64_t best = to[b];
        choice[b] = candidate < best ? level : choice[b];
        to[b] = candidate < best ? candidate : best;
    }
}

static void add_layer(knapsack *table, size_t layer)
{
    const size_t row = table->n_buckets + 1;
    const size_t n_levels = table->problem->n_levels;
    unsigned char *choice = table->choices + layer * row;
    memset(choice, 0, row);
    for (size_t b = 0; b < row; b++) {
        table->current[b] = UNREACHABLE;
    }
    for (size_t level = 0; level < n_levels; level++) {
        const size_t cell = layer * n_levels + level;
        const size_t taken = buckets_of(table, table->problem->error[cell]);
        if (table->problem->error[cell] != UINT64_MAX && taken < row) {
            offer(table->previous, table->problem->bytes[cell], (unsigned char)level, row - taken,
                  table->current + taken, choice + taken);
        }
    }
    uint64_t *finished = table->current;
    table->current = table->previous;
    table->previous = finished;
}

/* From the smallest number of buckets with the fewest bytes back to the first layer. */
static void walk_back(const knapsack *table, size_t *levels_out)
{
    const lmn_lgreco_problem *problem = table->problem;
    const size_t row = table->n_buckets + 1;
    size_t b = table->n_buckets;
    while (b > 0 && table->previous[b - 1] == table->previous[table->n_buckets]) {
        b--;
    }
    for (size_t layer = problem->n_layers; layer-- > 0;) {
        levels_out[layer] = table->choices[layer * row + b];
        b -= buckets_of(table, problem->error[layer * problem->n_levels + levels_out[layer]]);
    }
}

static void solve_rounded(const lmn_lgreco_problem *problem, void *scratch, size_t *levels_out,
                          bool *feasible_out)
{
    knapsack table = lay_out(problem, scratch);
    for (size_t b = 0; b <= table.n_buckets; b++) {
        table.previous[b] = 0;
    }
    for (size_t layer = 0; layer < problem->n_layers; layer++) {
        add_layer(&table, layer);
    }
    const bool is_feasible = table.previous[table.n_buckets] < UNREACHABLE;
    if (is_feasible) {
        walk_back(&table, levels_out);
    }
    *feasible_out = is_feasible;
}

lmn_status lmn_lgreco_solve(const lmn_lgreco_problem *problem, void *scratch, size_t *levels_out,
                            bool *feasible_out, lmn_error *err)
{
    const lmn_status status = check_problem(problem, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn__front_outcome outcome = lmn__front_solve(problem, scratch, levels_out);
    if (outcome != LMN__FRONT_TOO_LONG) {
        *feasible_out = outcome == LMN__FRONT_SOLVED;
        return LMN_OK;
    }
    solve_rounded(problem, scratch, levels_out, feasible_out);
    return LMN_OK;
}

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
#include "simd/cheapest.h"

#include <string.h>

/* Sums of bytes stay below, so that they fit beside a level (simd/cheapest.h). */
#define BYTES_LIMIT (UINT64_C(1) << 53)
#define LEVELS_MAX  256
#define TILE        LMN__CHEAPEST_TILE

/* The table; rows and choices lie in the scratch memory. Rows are of whole tiles. */
typedef struct knapsack {
    const lmn_lgreco_problem *problem;
    const lmn__cheapest_kernels *kernels;
    size_t n_buckets; /* used: at most problem->buckets */
    uint64_t unit;    /* errors in a bucket */
    size_t row;       /* entries of a row, of which n_buckets + 1 count */
    int64_t
        *previous;    /* [row] F of the layers so far, times 256; a tile before it is unreachable */
    int64_t *current; /* [row] the same with one more */
    uint8_t *choices; /* [n_layers][row] level taken */
} knapsack;

static size_t row_entries(size_t buckets)
{
    return (buckets / TILE + 1) * TILE;
}

size_t lmn_lgreco_scratch_bytes(size_t n_layers, size_t buckets)
{
    if (buckets >= SIZE_MAX / 64 ||
        (n_layers > 0 && row_entries(buckets) > SIZE_MAX / 2 / n_layers)) {
        return SIZE_MAX;
    }
    const size_t row = row_entries(buckets);
    const size_t table = 2 * (TILE + row) * sizeof(int64_t) + row * n_layers;
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
        if (largest >= BYTES_LIMIT - total) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "lgreco: the bytes of layers 0 to %zu add up to 2^53 or more",
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
    knapsack table = {
        .problem = problem,
        .kernels = lmn__cheapest_kernels_variant(0),
        .n_buckets = n,
        .unit = n == 0 ? 1 : problem->budget / n,
        .row = row_entries(n),
    };
    int64_t *rows = scratch;
    for (size_t i = 0; i < TILE; i++) {
        rows[i] = LMN__UNREACHABLE;
        rows[TILE + table.row + i] = LMN__UNREACHABLE;
    }
    table.previous = rows + TILE;
    table.current = table.previous + table.row + TILE;
    table.choices = (void *)(table.current + table.row);
    return table;
}

/* Buckets that an error takes; more than there are when it does not fit. */
static size_t buckets_of(const knapsack *table, uint64_t error)
{
    const uint64_t whole = error / table->unit;
    const uint64_t needed = whole + (uint64_t)(error % table->unit != 0);
    return needed > table->n_buckets ? table->n_buckets + 1 : (size_t)needed;
}

/* Levels that some budget could want: each is cheaper than all that take no more buckets. Equal
 * ones go to the lower level. Ascending in buckets. Returns their number. */
static size_t list_offers(const knapsack *table, size_t layer, lmn__offer *offers)
{
    const size_t n_levels = table->problem->n_levels;
    size_t n = 0;
    for (size_t level = 0; level < n_levels; level++) {
        const size_t cell = layer * n_levels + level;
        const uint64_t error = table->problem->error[cell];
        const size_t taken = buckets_of(table, error);
        if (error == UINT64_MAX || taken > table->n_buckets) {
            continue;
        }
        const lmn__offer added = {.buckets = taken,
                                  .value = (int64_t)(table->problem->bytes[cell] * 256 + level)};
        size_t place = n;
        while (place > 0 &&
               (offers[place - 1].buckets > taken ||
                (offers[place - 1].buckets == taken && offers[place - 1].value > added.value))) {
            place--;
        }
        memmove(offers + place + 1, offers + place, (n - place) * sizeof *offers);
        offers[place] = added;
        n++;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || offers[i].value / 256 < offers[kept - 1].value / 256) {
            offers[kept++] = offers[i];
        }
    }
    return kept;
}

static void add_layer(knapsack *table, size_t layer)
{
    lmn__offer offers[LEVELS_MAX];
    const size_t n_offers = list_offers(table, layer, offers);
    table->kernels->choose(table->previous, table->row, offers, n_offers, table->current,
                           table->choices + layer * table->row);
    int64_t *finished = table->current;
    table->current = table->previous;
    table->previous = finished;
}

/* From the smallest number of buckets with the fewest bytes back to the first layer. */
static void walk_back(const knapsack *table, size_t *levels_out)
{
    const lmn_lgreco_problem *problem = table->problem;
    size_t b = table->n_buckets;
    while (b > 0 && table->previous[b - 1] == table->previous[table->n_buckets]) {
        b--;
    }
    for (size_t layer = problem->n_layers; layer-- > 0;) {
        levels_out[layer] = table->choices[layer * table->row + b];
        b -= buckets_of(table, problem->error[layer * problem->n_levels + levels_out[layer]]);
    }
}

static void solve_rounded(const lmn_lgreco_problem *problem, void *scratch, size_t *levels_out,
                          bool *feasible_out)
{
    knapsack table = lay_out(problem, scratch);
    memset(table.previous, 0, table.row * sizeof *table.previous);
    for (size_t layer = 0; layer < problem->n_layers; layer++) {
        add_layer(&table, layer);
    }
    const bool is_feasible = table.previous[table.n_buckets] < LMN__UNREACHABLE;
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

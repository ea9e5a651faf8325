/*
 * Fewest bytes within an error budget: from real errors to the knapsack in whole numbers, and back.
 *
 * Errors become multiples of a unit of 2^-40 of the budget, rounded to a power of two: multiples of
 * it, such as whole numbers of moderate size, are carried over exactly, so a solution that just
 * fits is found. All others are rounded up and given one unit more. That one is worth more than all
 * roundings of a sum in double, so what fits in whole numbers fits as a sum of the errors, too.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "budget_internal.h"
#include "lamina/memory.h"

#include <float.h>
#include <math.h>

static size_t table_bytes(size_t n_layers, size_t n_levels)
{
    return lmn_align_up(n_layers * n_levels * sizeof(uint64_t));
}

size_t lmn__budget_scratch_bytes(size_t n_layers, size_t n_levels, size_t buckets)
{
    if (n_levels > 0 && n_layers > SIZE_MAX / 64 / n_levels) {
        return SIZE_MAX;
    }
    const size_t head_bytes = table_bytes(n_layers, n_levels);
    const size_t solver_bytes = lmn_align_up(lmn_lgreco_scratch_bytes(n_layers, buckets));
    return solver_bytes < lmn_lgreco_scratch_bytes(n_layers, buckets) ||
                   solver_bytes > SIZE_MAX - head_bytes
               ? SIZE_MAX
               : head_bytes + solver_bytes;
}

lmn__totals lmn__budget_totals(const lmn__budget_problem *problem, const size_t *levels)
{
    lmn__totals sum = {0};
    for (size_t layer = 0; layer < problem->n_layers; layer++) {
        const size_t cell = layer * problem->n_levels + levels[layer];
        sum.bytes += problem->bytes[cell];
        sum.error += problem->error[cell];
    }
    return sum;
}

/* A power of two; the smallest normal number where the budget is next to nothing. */
static double unit_of(double budget)
{
    return budget < DBL_MIN ? DBL_MIN : fmax(ldexp(1.0, ilogb(budget) - 40), DBL_MIN);
}

/* What no budget could hold becomes a level that is not allowed. */
static uint64_t to_units(double error, double unit)
{
    const double exact = error / unit;
    const double whole = ceil(exact);
    const double units = whole == exact ? whole : whole + 1.0;
    return units < 0x1p62 ? (uint64_t)units : UINT64_MAX;
}

static bool static_wins(const lmn__budget_problem *problem, const lmn__totals *uniform,
                        const lmn__budget_answer *solution)
{
    if (uniform->error > problem->budget) {
        return false;
    }
    return !solution->is_feasible || uniform->bytes < solution->totals.bytes ||
           (uniform->bytes == solution->totals.bytes && uniform->error <= solution->totals.error);
}

lmn_status lmn__budget_solve(const lmn__budget_problem *problem, void *scratch, size_t *levels_out,
                             lmn__budget_answer *answer_out, lmn_error *err)
{
    const double unit = unit_of(problem->budget);
    uint64_t *units = scratch;
    for (size_t cell = 0; cell < problem->n_layers * problem->n_levels; cell++) {
        units[cell] = to_units(problem->error[cell], unit);
    }
    const lmn_lgreco_problem whole = {.n_layers = problem->n_layers,
                                      .n_levels = problem->n_levels,
                                      .bytes = problem->bytes,
                                      .error = units,
                                      .budget = (uint64_t)floor(problem->budget / unit),
                                      .buckets = problem->buckets};
    void *rest = (unsigned char *)scratch + table_bytes(problem->n_layers, problem->n_levels);
    lmn__budget_answer answer = {0};
    const lmn_status status = lmn_lgreco_solve(&whole, rest, levels_out, &answer.is_feasible, err);
    if (status != LMN_OK) {
        return status;
    }
    if (answer.is_feasible) {
        answer.totals = lmn__budget_totals(problem, levels_out);
    }
    const lmn__totals uniform = lmn__budget_totals(problem, problem->static_level);
    if (static_wins(problem, &uniform, &answer)) {
        answer = (lmn__budget_answer){.is_feasible = true, .totals = uniform};
        for (size_t layer = 0; layer < problem->n_layers; layer++) {
            levels_out[layer] = problem->static_level[layer];
        }
    }
    *answer_out = answer;
    return LMN_OK;
}

lmn_status lmn__budget_check_errors(const lmn_cost_table *table, const char *who, lmn_error *err)
{
    for (size_t cell = 0; cell < table->n_layers * table->n_levels; cell++) {
        if (!isfinite(table->error[cell]) || table->error[cell] < 0.0) {
            return lmn_error_set(err, LMN_ERR_NONFINITE,
                                 "%s: the error of layer %zu at level %zu is %g; errors are finite "
                                 "and not negative",
                                 who, cell / table->n_levels, cell % table->n_levels,
                                 table->error[cell]);
        }
    }
    return LMN_OK;
}

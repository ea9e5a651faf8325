/*
 * Solving a cost table as it is stated: no level is dense, and none is exact but those of error 0.
 *
 * Method: budget.c, knapsack.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "budget_internal.h"
#include "lamina/memory.h"

#include <math.h>

/* Scratch: errors as they are added up, then that of the solver. */
static size_t errors_bytes(size_t n_layers, size_t n_levels)
{
    return lmn_align_up(n_layers * n_levels * sizeof(double));
}

size_t lmn_cost_table_scratch_bytes(size_t n_layers, size_t n_levels, size_t buckets)
{
    const size_t solver_bytes = lmn__budget_scratch_bytes(n_layers, n_levels, buckets);
    if (solver_bytes == SIZE_MAX) {
        return SIZE_MAX;
    }
    const size_t head_bytes = errors_bytes(n_layers, n_levels);
    return solver_bytes > SIZE_MAX - head_bytes ? SIZE_MAX : head_bytes + solver_bytes;
}

static lmn_status check_limits(const lmn_cost_table *table, const lmn_cost_limits *limits,
                               lmn_error *err)
{
    if (!isfinite(limits->alpha) || limits->alpha < 0.0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "alpha is %g; it must be finite and not negative", limits->alpha);
    }
    for (size_t layer = 0; layer < table->n_layers; layer++) {
        if (table->static_level[layer] >= table->n_levels) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "layer %zu: static level %zu must be below %zu", layer,
                                 table->static_level[layer], table->n_levels);
        }
    }
    return lmn__budget_check_errors(table, "cost table", err);
}

/* The least that errors can add up to. */
static double least_error(const lmn__budget_problem *problem)
{
    double sum = 0.0;
    for (size_t layer = 0; layer < problem->n_layers; layer++) {
        double least = (double)INFINITY;
        for (size_t level = 0; level < problem->n_levels; level++) {
            least = fmin(least, problem->error[layer * problem->n_levels + level]);
        }
        sum += least;
    }
    return sum;
}

lmn_status lmn_cost_table_solve(const lmn_cost_table *table, const lmn_cost_limits *limits,
                                void *scratch, size_t *levels_out, lmn_cost_answer *answer_out,
                                lmn_error *err)
{
    lmn_status status = check_limits(table, limits, err);
    if (status != LMN_OK) {
        return status;
    }
    double *error = scratch;
    for (size_t cell = 0; cell < table->n_layers * table->n_levels; cell++) {
        error[cell] = limits->takes_roots ? sqrt(table->error[cell]) : table->error[cell];
    }
    lmn__budget_problem problem = {.n_layers = table->n_layers,
                                   .n_levels = table->n_levels,
                                   .bytes = table->bytes,
                                   .error = error,
                                   .static_level = table->static_level,
                                   .buckets = limits->buckets};
    const lmn__totals uniform = lmn__budget_totals(&problem, table->static_level);
    problem.budget = limits->alpha * uniform.error;
    if (!isfinite(problem.budget)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cost table: the errors of the static levels times alpha add up to "
                             "%g; divide them by a common factor",
                             problem.budget);
    }
    void *rest = (unsigned char *)scratch + errors_bytes(table->n_layers, table->n_levels);
    lmn__budget_answer answer = {0};
    status = lmn__budget_solve(&problem, rest, levels_out, &answer, err);
    if (status == LMN_OK) {
        *answer_out = (lmn_cost_answer){.is_feasible = answer.is_feasible,
                                        .bytes = answer.totals.bytes,
                                        .error = answer.totals.error,
                                        .static_bytes = uniform.bytes,
                                        .static_error = uniform.error,
                                        .budget = problem.budget,
                                        .least_error = least_error(&problem)};
    }
    return status;
}

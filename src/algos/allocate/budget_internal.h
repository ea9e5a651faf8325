/*
 * Fewest bytes within an error budget, of tables whose errors are real numbers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_BUDGET_INTERNAL_H
#define LAMINA_BUDGET_INTERNAL_H

#include "lamina/allocator.h"

/** What an assignment costs. */
typedef struct lmn__totals {
    uint64_t bytes;
    double error; /* added up layer by layer, in order */
} lmn__totals;

/** A table and what its errors may add up to. No level has a meaning of its own. */
typedef struct lmn__budget_problem {
    size_t n_layers, n_levels;
    const uint64_t *bytes;      /* [n_layers][n_levels] */
    const double *error;        /* [n_layers][n_levels] finite, not negative, added up as it is */
    const size_t *static_level; /* [n_layers] an assignment that competes */
    double budget;              /* finite, not negative */
    size_t buckets;
} lmn__budget_problem;

typedef struct lmn__budget_answer {
    bool is_feasible; /* some assignment keeps the budget; else nothing below is set */
    lmn__totals totals;
} lmn__budget_answer;

/** Bytes of scratch for lmn__budget_solve, a multiple of 64; SIZE_MAX when too many. */
size_t lmn__budget_scratch_bytes(size_t n_layers, size_t n_levels, size_t buckets);

/** What `levels` cost. */
lmn__totals lmn__budget_totals(const lmn__budget_problem *problem, const size_t *levels);

/**
 * The levels of fewest bytes whose errors keep the budget, to the rounding of lmn_lgreco_solve.
 * Never more bytes than the static levels where those keep it; of equal bytes the smaller error.
 * levels_out  [n_layers] written when feasible; not static_level
 * scratch     64-byte aligned
 * The sum in totals.error is at most the budget in double arithmetic, too.
 * Errors: those of lmn_lgreco_solve.
 */
lmn_status lmn__budget_solve(const lmn__budget_problem *problem, void *scratch, size_t *levels_out,
                             lmn__budget_answer *answer_out, lmn_error *err) LMN_NODISCARD;

/** Whether all errors of a table are finite and not negative.
 *  Errors: LMN_ERR_NONFINITE, naming the first that is not. */
lmn_status lmn__budget_check_errors(const lmn_cost_table *table, const char *who,
                                    lmn_error *err) LMN_NODISCARD;

#endif

/*
 * Allocation: which compression level each layer gets, and when that is decided.
 *
 * An allocator is chosen by a spec such as `lgreco:alpha=1,every=200`. Deciding is a pure function
 * of a cost table that is identical on all ranks, so all ranks reach the same levels without
 * talking.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_ALLOCATOR_H
#define LAMINA_ALLOCATOR_H

#include "lamina/spec.h"
#include "lamina/status.h"
#include "lamina/timeplan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_allocator lmn_allocator;

/**
 * An allocator for up to n_layers layers of n_levels levels; takes all memory that deciding needs.
 * Errors: LMN_ERR_USAGE, LMN_ERR_MEMORY.
 */
lmn_status lmn_allocator_create(const char *spec, size_t n_layers, size_t n_levels,
                                lmn_allocator **allocator_out, lmn_error *err) LMN_NODISCARD;
void lmn_allocator_destroy(lmn_allocator *allocator);

/** True when the allocator looks at error curves at all (uniform does not). */
bool lmn_allocator_adapts(const lmn_allocator *allocator);

/** True for the steps (from 0) before compression begins; all layers then travel dense. */
bool lmn_allocator_warms_up(const lmn_allocator *allocator, uint64_t step);

/** True when the vectors of this step belong to the mean that the next error curves are taken of.
 */
bool lmn_allocator_observes(const lmn_allocator *allocator, uint64_t step);

/** True when levels are decided anew after this step. */
bool lmn_allocator_adjusts(const lmn_allocator *allocator, uint64_t step);

/** True when the allocator goes from a level to the next stronger one (accordion), so that levels
 *  have to be in the order of their strength: those of a mixture of families are not. */
bool lmn_allocator_needs_order(const lmn_allocator *allocator);

/** True when the allocator weighs times (lmn_cost_table.timings), which somebody must measure. */
bool lmn_allocator_needs_times(const lmn_allocator *allocator);

/** Which plan an allocator that weighs times is asked for. */
typedef enum lmn_time_plan {
    LMN_TIME_PLAN_PREDICTED, /* the shortest step, or dense where that is hardly longer */
    LMN_TIME_PLAN_SHORTEST,  /* the shortest step that was found, whatever dense takes */
    LMN_TIME_PLAN_UNIFORM,   /* the uniform levels; dense where they exceed the budget */
    LMN_TIME_PLAN_SMALLEST   /* fewest bytes */
} lmn_time_plan;

/** What layers cost in seconds, for allocators that weigh times; as in lamina/timeplan.h, but
 *  tables have the rows of lmn_cost_table. */
typedef struct lmn_cost_timings {
    const size_t *order;  /* [n_layers] layers as they pass the link */
    const size_t *bucket; /* [n_layers] by layer: equal where layers leave together */
    const double *ready;  /* [n_layers] by layer */
    const double *encode, *decode, *wire; /* [n_layers][n_levels] */
    const uint8_t *kind;                  /* [n_levels] of messages */
    double latency[LMN_TIME_KINDS];
    double compute, update;
    lmn_time_plan plan; /* to be decided on */
} lmn_cost_timings;

/** True when each error curve is to be taken by one rank only (curves=dealt), not by all. */
bool lmn_allocator_deals_curves(const lmn_allocator *allocator);

/**
 * True when decisions depend on earlier ones (accordion): lmn_cost_table.memory then holds one
 * number of each layer, zeroed at first, and belongs to a checkpoint.
 */
bool lmn_allocator_remembers(const lmn_allocator *allocator);

/**
 * Costs of every layer at every level, row-major [n_layers][n_levels]. A level of no fewer bytes
 * than level 0 counts as level 0, without error.
 */
typedef struct lmn_cost_table {
    size_t n_layers;
    size_t n_levels;
    const uint64_t *bytes; /* that all ranks together send for the layer, collective included */
    const double *error;   /* squared error, mean over ranks; finite and not negative */
    const double *energy;  /* [n_layers] squared norm of the vectors, mean over ranks; NULL: not
                              known, which allocators that remember refuse */
    double *memory;        /* [n_layers] of allocators that remember: in and out; else unused */
    const size_t *static_level;      /* [n_layers] the level of the uniform assignment */
    const lmn_cost_timings *timings; /* NULL: nobody measured times */
} lmn_cost_table;

/** What a decision did; plain data. */
typedef struct lmn_allocation_report {
    uint64_t bytes;        /* of the levels chosen */
    uint64_t static_bytes; /* of the uniform assignment */
    double error;          /* in the allocator's norm */
    double budget;         /* what error may be at most */
    bool changed;          /* false: the levels handed in were kept */
    double seconds;        /* of a step with the levels chosen; 0 where times are not weighed */
    double dense_seconds;  /* the same with all layers dense */
    double gain;           /* part of dense_seconds that compressing must save */
} lmn_allocation_report;

/**
 * Decide the levels.
 * levels  [n_layers] in: current levels; out: new ones; unchanged where nothing can be decided (all
 *         gradients zero)
 * No heap allocation. Errors, with levels and memory unchanged: LMN_ERR_NONFINITE (an error or an
 * energy that is NaN, infinite or negative; uniform does not look), LMN_ERR_ARGUMENT (a table
 * larger than lmn_allocator_create was told, a level that does not exist, or no energy, memory
 * or times where they are wanted).
 */
lmn_status lmn_allocator_decide(lmn_allocator *allocator, const lmn_cost_table *table,
                                size_t *levels, lmn_allocation_report *report_out,
                                lmn_error *err) LMN_NODISCARD;

/** A multiple-choice knapsack in integers: the core of L-GreCo, for tests and tools. */
typedef struct lmn_lgreco_problem {
    size_t n_layers;
    size_t n_levels;
    const uint64_t *bytes; /* [n_layers][n_levels] to be minimised */
    const uint64_t *error; /* [n_layers][n_levels]; UINT64_MAX marks a level that is not allowed */
    uint64_t budget;       /* the errors chosen may add up to this */
    size_t buckets;        /* resolution of the budget, such as 10000 */
} lmn_lgreco_problem;

/**
 * Solve by dynamic programming over the discretised budget. Errors are rounded up to buckets, so
 * the budget is never exceeded; the answer is optimal to that rounding; small problems are
 * solved exactly. Ties go to the smaller error, then to the lower level.
 * levels_out    [n_layers], written only when feasible
 * feasible_out  false when no assignment fits
 * scratch       [lmn_lgreco_scratch_bytes], 64-byte aligned
 * Time n_layers * n_levels * buckets. Errors: LMN_ERR_ARGUMENT.
 * Method: I. Markov, K. Alimohammadi, E. Frantar, D. Alistarh, "L-GreCo: Layerwise-adaptive
 * gradient compression for efficient and accurate deep learning", MLSys 2024, arXiv:2210.17357.
 */
lmn_status lmn_lgreco_solve(const lmn_lgreco_problem *problem, void *scratch, size_t *levels_out,
                            bool *feasible_out, lmn_error *err) LMN_NODISCARD;

/** Bytes of scratch memory that lmn_lgreco_solve needs. */
size_t lmn_lgreco_scratch_bytes(size_t n_layers, size_t buckets);

/** What a stated table is solved under. */
typedef struct lmn_cost_limits {
    double alpha;     /* budget: alpha times what the static levels' errors add up to */
    size_t buckets;   /* resolution of the budget, as in lmn_lgreco_problem */
    bool takes_roots; /* the square roots of the table's errors are added up */
} lmn_cost_limits;

/** The outcome; plain data. */
typedef struct lmn_cost_answer {
    bool is_feasible; /* some assignment keeps the budget; else bytes and error are 0 */
    uint64_t bytes;
    double error; /* at most the budget */
    uint64_t static_bytes;
    double static_error;
    double budget;
    double least_error; /* what the errors add up to at least, whatever the levels */
} lmn_cost_answer;

/**
 * Solve a cost table as it is stated: level 0 is a level like any other. Never more bytes than the
 * static levels where those keep the budget, which they do for alpha of at least 1.
 * levels_out  [n_layers] written when feasible
 * scratch     [lmn_cost_table_scratch_bytes], 64-byte aligned
 * Errors: LMN_ERR_NONFINITE (an error that is NaN, infinite or negative), LMN_ERR_ARGUMENT (a
 * static level that does not exist, alpha, sums that overflow), those of lmn_lgreco_solve.
 */
lmn_status lmn_cost_table_solve(const lmn_cost_table *table, const lmn_cost_limits *limits,
                                void *scratch, size_t *levels_out, lmn_cost_answer *answer_out,
                                lmn_error *err) LMN_NODISCARD;

/** Bytes of scratch memory that lmn_cost_table_solve needs; SIZE_MAX when too many to count. */
size_t lmn_cost_table_scratch_bytes(size_t n_layers, size_t n_levels, size_t buckets);

/** Allocators that exist, for help texts: entry `index`, or NULL past the last. */
const lmn_spec_entry *lmn_allocator_entry(size_t index);

#ifdef __cplusplus
}
#endif

#endif

/*
 * Plans: graphs made ready to run.
 *
 * A plan fixes the order of the tensors that its outputs need, gives every intermediate value a
 * place in one arena by its lifetime, runs ops in place where that is safe, and fuses elementwise
 * ops into the op before them, so that they work on values that are still in cache. Inputs,
 * parameters and (where wanted) outputs live in memory that the caller binds. A run allocates
 * nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PLAN_H
#define LAMINA_PLAN_H

#include "lamina/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_plan lmn_plan;

/** How to plan; lmn_plan_options_default says what is usual. */
typedef struct lmn_plan_options {
    bool fuse; /* elementwise ops into the op before them; true. Changes speed, but no bit. */
    size_t memory_bytes; /* limit of lmn_plan_stats.memory_bytes; 0: none. A plan that needs more
                            gives values up between two uses and computes them again, which takes
                            time and changes no bit. */
} lmn_plan_options;

lmn_plan_options lmn_plan_options_default(void);

/**
 * Plan the computation of `outputs`.
 * graph    borrowed until lmn_plan_destroy; must be without errors
 * outputs  [n_outputs] tensors of the graph, all different
 * options  NULL: the default
 * Gradients are scheduled as early as their inputs allow, so that communication can start.
 * Errors: the graph's own, LMN_ERR_ARGUMENT, LMN_ERR_MEMORY (also: a limit that recomputation does
 * not reach; the message names the smallest limit that it does, and that one is then accepted).
 */
lmn_status lmn_plan_create(const lmn_graph *graph, const lmn_tensor *const *outputs,
                           size_t n_outputs, const lmn_plan_options *options, lmn_plan **plan_out,
                           lmn_error *err) LMN_NODISCARD;

/** NULL is allowed. Bound memory stays the caller's. */
void lmn_plan_destroy(lmn_plan *plan);

/** The order in which outputs become final in a run: order_out [n_outputs] indices into outputs. */
void lmn_plan_output_order(const lmn_plan *plan, size_t *order_out);

/**
 * Let `tensor` (an input, a parameter or an output) live in `memory`.
 * memory  [count of its shape] of its dtype, 64-byte aligned, overlapping no other bound memory;
 *         borrowed until bound anew or destroyed
 * Errors: LMN_ERR_ARGUMENT for any other tensor or misaligned memory.
 */
lmn_status lmn_plan_bind(lmn_plan *plan, const lmn_tensor *tensor, void *memory,
                         lmn_error *err) LMN_NODISCARD;

/** Where an output is found after a run: its bound memory, or inside the plan. */
const void *lmn_plan_value(const lmn_plan *plan, const lmn_tensor *output);

/** Called by a run; a status other than LMN_OK ends the run with it. */
typedef lmn_status (*lmn_output_fn)(void *user, size_t output_index, lmn_error *err);
typedef lmn_status (*lmn_progress_fn)(void *user, lmn_error *err);

/** Replace values [n] by their sums over all ranks. Collective over the ranks of the run. */
typedef lmn_status (*lmn_sum_fn)(void *user, double *values, size_t n, lmn_error *err);

/** What one run needs to know besides the bound memory. */
typedef struct lmn_run {
    uint64_t seed;           /* of the training run, for dropout */
    uint64_t step;           /* training step, for dropout */
    uint64_t first_row;      /* place of this rank's first row in the global batch */
    bool training;           /* false: dropout passes everything */
    lmn_output_fn on_output; /* may be NULL; called when output i is final: from then on this run
                                neither writes nor reads it */
    lmn_progress_fn on_progress; /* may be NULL; called between nodes */
    lmn_sum_fn sum_ranks;        /* for ops that ask other ranks; NULL: there are none */
    void *user;                  /* passed to all three */
    double *node_seconds; /* [lmn_plan_get_stats().n_nodes] times are added to; NULL: not taken */
} lmn_run;

/**
 * Compute all outputs. Not collective. No heap allocation.
 * Errors: LMN_ERR_ARGUMENT naming an input or parameter that is not bound; those of the callbacks.
 */
lmn_status lmn_plan_run(lmn_plan *plan, const lmn_run *run, lmn_error *err) LMN_NODISCARD;

/** What planning decided; plain data. */
typedef struct lmn_plan_stats {
    size_t n_nodes;     /* nodes that run, each time that one is run again counted */
    size_t n_in_place;  /* of these, the ones that overwrite an input */
    size_t n_fused;     /* ops that run as part of another node, not counted in n_nodes */
    size_t arena_bytes; /* for intermediate values and workspaces, without outputs and constants */
    size_t unshared_bytes;  /* what the same would need without reuse */
    size_t memory_bytes;    /* all memory of the plan: arena_bytes, constants, and every output that
                               is computed, even when it is bound elsewhere later; without inputs and
                               parameters, which are the caller's */
    size_t unlimited_bytes; /* memory_bytes without a limit */
    size_t n_recomputed;    /* of n_nodes, those that compute again what was given up */
    double flops;           /* floating point operations of products and convolutions in one run */
    double recomputed_flops; /* of these, for the second time */
} lmn_plan_stats;

lmn_plan_stats lmn_plan_get_stats(const lmn_plan *plan);

/** One node of a plan; texts live as long as the plan. */
typedef struct lmn_plan_node {
    const char *op;           /* "conv2d" */
    const char *fused;        /* "add+relu"; "" when nothing is fused into it */
    const char *kernel;       /* what computes it: "onednn", "winograd", "openblas", "c" */
    const lmn_tensor *tensor; /* the result */
    double flops;             /* of products and convolutions */
    size_t bytes;             /* read and written, without workspaces */
    bool in_place;
    bool recomputed; /* computes again what was given up to save memory */
} lmn_plan_node;

/** The node that runs at place `index` of n_nodes. */
lmn_plan_node lmn_plan_get_node(const lmn_plan *plan, size_t index);

/** Whether a node of the plan calls lmn_run.sum_ranks. */
bool lmn_plan_asks_ranks(const lmn_plan *plan);

/** Threads that kernels use in this process (OpenMP and OpenBLAS have one setting per process). The
 * results of kernels other than matrix products do not depend on it. */
void lmn_compute_set_threads(int threads);

#ifdef __cplusplus
}
#endif

#endif

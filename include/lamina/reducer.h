/*
 * The reducer: from every rank's gradients to one estimate of their mean.
 *
 * Layers are registered in the order in which their gradients become ready and are grouped into
 * buckets. When the last gradient of a bucket is handed over, error feedback forms the vectors, the
 * compressor turns them into messages and the bucket's collectives start; lmn_reducer_progress
 * moves them on while the backward pass goes on computing. lmn_reducer_finish waits for the rest.
 *
 * A step is a transaction. Small layers, which always travel dense, share one last exchange with a
 * verdict: when any rank met NaN or infinity, no rank changes any state, and the step is skipped
 * everywhere. Otherwise all ranks hold bit-identical estimates.
 *
 * With two levels (hierarchy "node") the ranks of a node add their gradients up in shared memory
 * first, and one rank of every node exchanges the sum with the other nodes: a different one for
 * each bucket, so that the work is shared. What is said below of a rank's compressed vector and its
 * states then holds for a node. "auto" takes two levels when there are several nodes with several
 * ranks each, "flat" has one level always.
 *
 * Needs nothing of the compute room: any MPI program can hand over its own gradients.
 *
 * What a rank cannot do it says with lmn_reducer_fail, which keeps the other ranks from waiting for
 * it. How messages become an estimate depends on the compressor's family (lmn_combine in
 * lamina/compressor.h); where that would send no less than a dense allreduce, a layer travels dense
 * whatever its level.
 *
 *     lmn_reducer_begin(reducer, step, err);
 *     for each layer, as its gradient becomes ready: lmn_reducer_ready(reducer, layer, gradient,
 * err); lmn_reducer_finish(reducer, &report, err); if (report.applied) use
 * lmn_reducer_estimate(reducer, layer) of every layer;
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_REDUCER_H
#define LAMINA_REDUCER_H

#include "lamina/allocator.h"
#include "lamina/checkpoint.h"
#include "lamina/link.h"
#include "lamina/status.h"
#include "lamina/trace.h"
#include "lamina/world.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_reducer lmn_reducer;

/** One layer to reduce: a name that is unique and a row-major shape. */
typedef struct lmn_reducer_layer {
    const char *name; /* copied */
    size_t n_dims;
    size_t dims[LMN_STATE_DIMS_MAX];
    bool dense; /* always travels dense, without feedback: values that are no gradients */
} lmn_reducer_layer;

#define LMN_REDUCER_SCALARS_MAX 8

typedef struct lmn_reducer_options {
    const char *compress; /* compressor spec, "dense" */
    const char *feedback; /* feedback spec, "none" */
    const char *allocate; /* allocator spec, "uniform" */
    /* How the entries that ranks choose themselves (topk) become one sum: "gather", every rank gets
       all messages; "merge", ranks add up a range of elements each; "auto", whichever of the two
       should send less: they give the same bits; "balanced": only about as many entries of the sum
       as one rank sends are kept. Other families have one way, "auto". */
    const char *collective; /* "auto" */
    size_t bucket_bytes;    /* gradients of one exchange, dense bytes; 4 MiB */
    size_t dense_below;     /* layers with fewer elements always travel dense; 1024 */
    size_t n_scalars;       /* extra numbers summed over ranks with every step; 0 */
    uint64_t seed;          /* of the compressor's random numbers; 0 */
    const char *hierarchy;  /* "flat", "node" or "auto", see above; "auto" */
} lmn_reducer_options;

lmn_reducer_options lmn_reducer_options_default(void);

/**
 * Collective over world (borrowed); layers and options must agree.
 * layers  [n_layers] in the order in which gradients become ready
 * Takes all memory that steps need: about 7 f32 per element for topk with econtrol, and
 * world-size * message size for messages; docs/reducer.md has a table. With two levels gradients
 * and estimates lie in memory that the ranks of a node share, and states only with the rank that
 * leads their bucket. Errors, the same on all ranks: LMN_ERR_USAGE (specs, hierarchy; more ranks
 * than the compressor can add up over), LMN_ERR_ARGUMENT, LMN_ERR_MEMORY, LMN_ERR_COMM,
 * LMN_ERR_DIVERGED (ranks registered different layers or options), LMN_ERR_UNSUPPORTED (two levels
 * where memory cannot be shared).
 */
lmn_status lmn_reducer_create(lmn_world *world, const lmn_reducer_layer *layers, size_t n_layers,
                              const lmn_reducer_options *options, lmn_reducer **reducer_out,
                              lmn_error *err) LMN_NODISCARD;

/** Not while a step is open, unless after an error. NULL is allowed. With two levels collective
 * over the ranks of the node, unless MPI failed. */
void lmn_reducer_destroy(lmn_reducer *reducer);

/**
 * Memory of the reducer in which a layer's gradient can be computed directly.
 * [count of the layer] 64-byte aligned; hand the same pointer to lmn_reducer_ready and nothing is
 * copied.
 */
float *lmn_reducer_gradient(lmn_reducer *reducer, size_t layer);

/**
 * From the next step on, note in `trace` (borrowed; NULL: in none) when each bucket was encoded,
 * was under way, and what this rank waited for. Local.
 */
void lmn_reducer_set_trace(lmn_reducer *reducer, lmn_trace *trace);

/** Open step `step` (from 0, ascending). Local. Errors: LMN_ERR_ARGUMENT when one is open. */
lmn_status lmn_reducer_begin(lmn_reducer *reducer, uint64_t step, lmn_error *err) LMN_NODISCARD;

/**
 * The gradient of `layer` is final. Every layer once per step, in any order (messages leave in the
 * registered order, so that is the fastest).
 * gradient  [count] lmn_reducer_gradient(reducer, layer), not to be written again before
 *           lmn_reducer_finish returns; or any memory, which is copied; NULL means all zero
 * A gradient with NaN or infinity is no error here: it makes lmn_reducer_finish report a skip.
 * Errors: LMN_ERR_ARGUMENT (twice, no step open), LMN_ERR_COMM.
 */
lmn_status lmn_reducer_ready(lmn_reducer *reducer, size_t layer, const float *gradient,
                             lmn_error *err) LMN_NODISCARD;

/**
 * This rank cannot go on with the open step: take part in its exchanges with nothing to say.
 * lmn_reducer_finish, which is still to be called, then fails on all ranks with the status and
 * message of the lowest failing rank. Local. Errors: LMN_ERR_COMM.
 * status, cause  the failure; cause may be NULL
 */
lmn_status lmn_reducer_fail(lmn_reducer *reducer, lmn_status status, const lmn_error *cause,
                            lmn_error *err) LMN_NODISCARD;

/** A number to be summed over ranks with this step: any time between begin and finish. */
void lmn_reducer_set_scalar(lmn_reducer *reducer, size_t index, float value);

/** Move messages on; never blocks. Errors: LMN_ERR_COMM. */
lmn_status lmn_reducer_progress(lmn_reducer *reducer, lmn_error *err) LMN_NODISCARD;

/** Plans that compete where an allocator weighs times. Numbers are in results. */
typedef enum lmn_level_plan {
    LMN_LEVELS_DENSE,
    LMN_LEVELS_SHORTEST, /* predicted to be fastest */
    LMN_LEVELS_UNIFORM,  /* the compressor's own levels */
    LMN_LEVELS_SMALLEST, /* fewest bytes */
    LMN_LEVELS_COUNT
} lmn_level_plan;

/** What a trial found of a plan; plain data. */
typedef struct lmn_level_trial {
    size_t n_compressed; /* layers above level 0 */
    double predicted;    /* seconds of a step */
    double measured;     /* the slowest rank's median in this trial or before; 0: never tried */
    size_t steps;        /* of this trial that were counted; 0: had no turn */
    bool is_kept;        /* steps follow it from now on */
} lmn_level_trial;

/** What a step did. Numbers of bytes are payload handed to MPI by this rank for other ranks. */
typedef struct lmn_step_report {
    bool applied;     /* false: skipped everywhere, estimates are undefined */
    char reason[256]; /* why it was skipped: rank, layer and step; "" when applied */
    float scalars[LMN_REDUCER_SCALARS_MAX]; /* sums over ranks */
    uint64_t bytes_sent;   /* for gradients; not the few error curves of a decision */
    uint64_t bytes_dense;  /* what this rank would have sent for dense f32 gradients */
    double seconds_encode; /* forming and compressing */
    double seconds_wait;   /* in finish, for messages and for ranks of the node */
    double seconds_decode; /* combining messages and committing states */
    bool drift_checked;    /* h was compared with the mean of the h_i, by this rank at least */
    size_t drift_resets;   /* layers whose h was then set to it */
    double drift;          /* the largest |h - mean of h_i| / |h| of a layer */
    bool adjusted;         /* levels were decided anew after this step */
    lmn_allocation_report allocation; /* when adjusted */
    bool tried;                       /* a trial of plans ended: lmn_reducer_trials */
    double seconds_adapt;             /* error curves, waiting for those of other ranks, deciding */
} lmn_step_report;

/**
 * Wait for the step's messages, decide whether it counts, and make it permanent. Closes the step.
 * Collective. Errors: what a rank gave to lmn_reducer_fail, or LMN_ERR_ARGUMENT when it left out
 * layers, the same on all ranks and without any change of state. LMN_ERR_MESSAGE (a damaged
 * message, with layer and rank; no state of this rank has changed) and LMN_ERR_COMM may come on one
 * rank alone: end the program as lamina/world.h says. After LMN_ERR_DIVERGED (ranks decided on
 * different levels) the step has been applied, and the reducer can only be destroyed.
 */
lmn_status lmn_reducer_finish(lmn_reducer *reducer, lmn_step_report *report_out,
                              lmn_error *err) LMN_NODISCARD;

/** When things happened in the last step that was finished, by this rank's lmn_clock_seconds. */
typedef struct lmn_step_times {
    double ready_at; /* lmn_reducer_finish was called: all of this rank's gradients are there */
    double seconds_flight; /* at least one bucket was under way: from the moment at which this rank
                              began its exchange to that at which it saw it finished, so waiting for
                              ranks that begin later is in it, and also time in which messages lay
                              still because no rank moved them on */
} lmn_step_times;

lmn_step_times lmn_reducer_step_times(const lmn_reducer *reducer);

/** Measure the link over which large layers travel, with lmn_link_measure: between all ranks, or
 *  with two levels between one rank of every node, as all ranks of the nodes measure at once; the
 *  slowest counts. What was measured before is told again. Zeros when nothing travels between
 * ranks. Sums may be added up in another order afterwards. Collective; not while a step is open.
 * Errors: those of lmn_link_measure. */
lmn_status lmn_reducer_measure_link(lmn_reducer *reducer, lmn_link *link_out,
                                    lmn_error *err) LMN_NODISCARD;

/** Whether the link was measured: decisions by time need that. */
bool lmn_reducer_knows_link(const lmn_reducer *reducer);

/** The estimate of the mean gradient of a layer, [count]; valid until the next begin. */
const float *lmn_reducer_estimate(const lmn_reducer *reducer, size_t layer);

size_t lmn_reducer_layer_count(const lmn_reducer *reducer);

/** Whether levels are decided on in the course of steps. */
bool lmn_reducer_adapts(const lmn_reducer *reducer);

/** The costs that the last decision was made from; before the first one only its sizes mean
 * anything. Borrowed, and valid until the next one. */
lmn_cost_table lmn_reducer_costs(const lmn_reducer *reducer);

/** What the last trial found, by lmn_level_plan: [LMN_LEVELS_COUNT] to `trials_out`. False, and
 * nothing is written, where the allocator weighs no times. */
bool lmn_reducer_trials(const lmn_reducer *reducer, lmn_level_trial *trials_out);

/** The level at which a layer travels in the open step, or by plan when none is open: 0 is dense.
 */
size_t lmn_reducer_level(const lmn_reducer *reducer, size_t layer);
void lmn_reducer_level_format(const lmn_reducer *reducer, size_t layer, char *text,
                              size_t capacity);

/** Levels of the compressor, and each in words. */
size_t lmn_reducer_level_count(const lmn_reducer *reducer);
void lmn_reducer_level_name(const lmn_reducer *reducer, size_t level, char *text, size_t capacity);

/** Error feedback of a layer in the open or last step; the same on all ranks. */
typedef struct lmn_layer_feedback {
    double eta;  /* 0 for layers and mechanisms without */
    double kept; /* mean share of |v|^2 that compression was seen to keep at the layer's level, up
                    to the step before; NaN when nobody looks (only `eta=auto` does) or nothing was
                    seen yet */
} lmn_layer_feedback;

lmn_layer_feedback lmn_reducer_feedback(const lmn_reducer *reducer, size_t layer);

/** Payload bytes of this layer's message in the last step (dense: 4 * count). */
uint64_t lmn_reducer_layer_bytes(const lmn_reducer *reducer, size_t layer);

/** Add everything the reducer remembers to a checkpoint's list. The list borrows its memory; before
 *  it is written, call lmn_reducer_settle. */
lmn_status lmn_reducer_add_state(lmn_reducer *reducer, lmn_state *state,
                                 lmn_error *err) LMN_NODISCARD;

/**
 * Bring what the reducer remembers to the memory that lmn_reducer_add_state named: a step may leave
 * it elsewhere. Not while a step is open. Local.
 */
void lmn_reducer_settle(lmn_reducer *reducer);

/**
 * To be called after lmn_checkpoint_read loaded that list: take over what was loaded, and refuse
 * what cannot be, such as a level that does not exist. Collective. Errors, the same on all ranks:
 * LMN_ERR_FORMAT.
 */
lmn_status lmn_reducer_restored(lmn_reducer *reducer, lmn_error *err) LMN_NODISCARD;

/**
 * To be called after that when lmn_state_was_cut_anew: other ranks go on than wrote the checkpoint.
 * Means over ranks of what error feedback remembers are what they were; h becomes the mean of the
 * new h_i. Collective. Errors, the same on all ranks: LMN_ERR_MEMORY, LMN_ERR_COMM.
 */
lmn_status lmn_reducer_recut(lmn_reducer *reducer, lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif

/*
 * What an allocator that weighs times needs to know, and whether its plans keep their promises.
 *
 * Every rank notes when gradients become ready, and how long steps, encoding and decoding take; the
 * last steps at the same levels count, by their medians. Encoders are timed at every level on the
 * gradients of one step. Before a decision the slowest rank's times become those of all
 * ranks, so all ranks decide alike. A new plan is on trial for some steps; if it turns out slower
 * than dense steps were, all layers go back to dense, the costs of its levels are raised by as much
 * as they were underestimated, and levels are decided anew. docs/plan.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TIMING_INTERNAL_H
#define LAMINA_TIMING_INTERNAL_H

#include "exchange_internal.h"
#include "lamina/link.h"

/* Steps at the same levels whose medians count, and after which a plan is judged. */
#define LMN__TIMING_STEPS ((size_t)20)

/* f32 that are walked before an encoder is timed, so that caches hold as little of a layer as after
 * a backward pass. */
#define LMN__TIMING_SWEEP ((size_t)2 << 20)

/* Numbers of a step, each of this rank. */
typedef enum lmn__step_time {
    LMN__TIME_STEP,    /* from begin to the end of finish */
    LMN__TIME_COMPUTE, /* from begin to finish, without encoding */
    LMN__TIME_ENCODE,
    LMN__TIME_DECODE,
    LMN__TIME_PROGRESS, /* of the computation, moving messages on; not in COMPUTE */
    LMN__TIME_UPDATE,   /* from the end of the step before to begin */
    LMN__TIME_COUNT
} lmn__step_time;

/* Where a plan stands; kept with checkpoints. */
typedef enum lmn__plan_phase {
    LMN__PLAN_DENSE,    /* all layers dense, which needs no proof */
    LMN__PLAN_ON_TRIAL, /* compressed, not yet measured */
    LMN__PLAN_KEPT      /* compressed, and measured to be no slower than dense */
} lmn__plan_phase;

struct lmn__timing {
    size_t n_layers, n_levels;
    lmn_link link; /* the same on all ranks */
    /* Of this rank. */
    double began_at, ended_at; /* clock; ended_at 0 before the first step */
    uint64_t travel_hash;      /* of the steps in the window */
    bool calibrates;           /* in the open step */
    size_t n_steps;            /* in the window, at most LMN__TIMING_STEPS */
    size_t place;              /* of the next step */
    double steps[LMN__TIME_COUNT][LMN__TIMING_STEPS];
    float *sweep;        /* [LMN__TIMING_SWEEP] owned, as all arrays here */
    double *ready_steps; /* [n_layers][LMN__TIMING_STEPS] */
    /* The same on all ranks; arrays are owned. */
    uint64_t is_calibrated; /* 1: encode and decode are known */
    uint64_t phase;         /* lmn__plan_phase */
    uint64_t trial_steps;   /* made on trial */
    double dense_step;      /* seconds; 0: unknown */
    double dense_progress;  /* moving messages on in a dense step */
    double predicted;       /* seconds of the plan on trial, update included */
    double medians[LMN__TIME_COUNT];
    double *ready;  /* [n_layers] */
    double *encode; /* [n_layers][n_levels] as calibrated */
    double *decode; /* [n_layers][n_levels] */
    double *share;  /* [n_layers][n_levels] of the largest message that a message takes */
    double *raised; /* [n_levels] factor of all costs of a level, 1 at first */
    double encode_factor, decode_factor; /* of compressed levels: observed over calibrated */
    /* For a decision. */
    double *costs;     /* [3][n_layers][n_levels] encode, decode, wire */
    size_t *bucket_of; /* [n_layers] */
    uint8_t *kind;     /* [n_levels] of messages */
    uint64_t *maxima;  /* [maxima_count] nanoseconds that ranks exchange */
    size_t maxima_count;
    bool is_silent;  /* decisions are not logged */
    bool has_curves; /* reducer->curves and costs are of a decision made in this process */
};
typedef struct lmn__timing lmn__timing;

/** Memory, where the allocator weighs times; else reducer->timing stays NULL. Local. */
lmn_status lmn__timing_create(lmn_reducer *reducer, lmn_error *err) LMN_NODISCARD;
void lmn__timing_destroy(lmn_reducer *reducer);

/** Measure the link of the team, before the exchanges are made. Collective. */
lmn_status lmn__timing_connect(lmn_reducer *reducer, lmn_error *err) LMN_NODISCARD;

/* The functions of a step may be called without timing, too. Local. */

/** The step is open, and it is known at which levels layers travel. */
void lmn__timing_begin(lmn_reducer *reducer);
/** All gradients of a bucket are there, and it is about to be encoded. */
void lmn__timing_encode(lmn_reducer *reducer, lmn__bucket *bucket);
void lmn__timing_ready(lmn_reducer *reducer, size_t layer);
/** All gradients are there. */
void lmn__timing_computed(lmn_reducer *reducer);
/** The step is over and counts. */
void lmn__timing_finished(lmn_reducer *reducer, const lmn_step_report *report);

/** timing_calibrate.c: time the encoders of a bucket, whose gradients are there, at every level;
 *  in a step in which all layers are dense. */
void lmn__timing_calibrate(lmn_reducer *reducer, lmn__bucket *bucket);

/** The slowest rank's medians to all ranks; dense steps become the measure. Collective. */
lmn_status lmn__timing_gather(lmn_reducer *reducer, lmn_error *err) LMN_NODISCARD;

/** Whether there is enough to decide on. The same on all ranks after lmn__timing_gather. */
bool lmn__timing_is_complete(const lmn_reducer *reducer);

/** timing_tables.c: times on `link` between `size` ranks of the team. Tables belong to timing. */
lmn_cost_timings lmn__timing_tables(lmn_reducer *reducer, const lmn_link *link, int size);

/** Bytes that `size` ranks together send for a layer at a level. */
uint64_t lmn__timing_bytes(const lmn_reducer *reducer, const lmn__layer *layer, size_t level,
                           int size);

/** timing_judge.c: take note of a decision, whose levels are in reducer->levels. */
void lmn__timing_decided(lmn_reducer *reducer, const lmn_allocation_report *report);

/** After a step: whether the plan on trial is to be judged, alike on all ranks. */
bool lmn__timing_is_due(const lmn_reducer *reducer);

/** Judge the plan on trial. `reverted_out`: all layers are dense again. Collective. */
lmn_status lmn__timing_judge(lmn_reducer *reducer, bool *reverted_out,
                             lmn_error *err) LMN_NODISCARD;

/** What belongs to a checkpoint. */
lmn_status lmn__timing_add_state(lmn_reducer *reducer, lmn_state *state,
                                 lmn_error *err) LMN_NODISCARD;
/** After loading: LMN_ERR_FORMAT for what cannot be. Local. */
lmn_status lmn__timing_restored(lmn_reducer *reducer, lmn_error *err) LMN_NODISCARD;

#endif

/*
 * What an allocator that weighs times needs to know, and which of its plans keep their promises.
 *
 * Every rank notes when gradients become ready, and how long steps, encoding and decoding take; the
 * last steps at the same levels count, by their medians. Encoders are timed at every level on the
 * gradients of one step. Before a decision the slowest rank's times become those of all
 * ranks, so all ranks decide alike. Decisions propose several plans, and those that may be the
 * fastest take turns for some steps each: what was measured decides. docs/plan.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TIMING_INTERNAL_H
#define LAMINA_TIMING_INTERNAL_H

#include "exchange_internal.h"
#include "lamina/link.h"

/* Steps at the same levels whose medians count. */
#define LMN__TIMING_STEPS ((size_t)20)

/* Fewer steps than these say little of the levels at which they were made. */
#define LMN__TIMING_STEPS_MIN ((size_t)5)

/* A turn of a plan on trial: steps, of which the first ones are still about the plan before:
 * caches, and the patience of shaped links, which let some megabytes pass after a pause. */
#define LMN__TURN_STEPS ((size_t)7)
#define LMN__TURN_SKIPS ((size_t)2)
/* Rounds of a trial, in which every plan that is left has a turn. */
#define LMN__TRIAL_ROUNDS  ((size_t)3)
#define LMN__TRIAL_SAMPLES (LMN__TRIAL_ROUNDS * (LMN__TURN_STEPS - LMN__TURN_SKIPS))

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

/* Where decisions stand; kept with checkpoints. */
typedef enum lmn__time_phase {
    LMN__TIME_UNDECIDED, /* all layers dense, nothing is known */
    LMN__TIME_TRYING,    /* plans take turns */
    LMN__TIME_SETTLED    /* steps follow the plan that was kept */
} lmn__time_phase;

/* What a plan is to an open trial; kept with checkpoints. */
typedef enum lmn__trial_part {
    LMN__TRIAL_OUT,
    LMN__TRIAL_IN,
    LMN__TRIAL_KNOWN /* in it, but measured already: no turn in the first round */
} lmn__trial_part;

/* What one rank measured of a plan in an open trial. */
typedef struct lmn__samples {
    size_t n;
    double seconds[LMN__TRIAL_SAMPLES]; /* of a step, update included */
    double compute[LMN__TRIAL_SAMPLES]; /* of these, as LMN__TIME_COMPUTE */
} lmn__samples;

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
    uint64_t phase;         /* lmn__time_phase */
    uint64_t kept;          /* lmn_level_plan that steps follow unless plans are on trial */
    double dense_step;      /* seconds; 0: unknown */
    double dense_progress;  /* moving messages on in a dense step */
    double dense_compute;   /* computing in a dense step; 0: unknown */
    double light_compute;   /* computing in the best compressed step of a trial; 0: unknown */
    double medians[LMN__TIME_COUNT];
    double *ready;  /* [n_layers] */
    double *encode; /* [n_layers][n_levels] as calibrated */
    double *decode; /* [n_layers][n_levels] */
    double *share;  /* [n_layers][n_levels] of the largest message that a message takes */
    double encode_factor, decode_factor; /* of compressed levels: observed over calibrated */
    /* Plans, by lmn_level_plan. The same on all ranks, but for samples. */
    uint64_t *plans; /* [LMN_LEVELS_COUNT][n_layers] levels */
    double predicted[LMN_LEVELS_COUNT];
    double measured[LMN_LEVELS_COUNT]; /* seconds of a step, update included; 0: never */
    uint64_t parts[LMN_LEVELS_COUNT];  /* lmn__trial_part */
    lmn_allocation_report reports[LMN_LEVELS_COUNT];
    lmn__samples samples[LMN_LEVELS_COUNT];
    size_t turn;            /* the plan whose turn it is */
    size_t turn_steps;      /* made in it */
    size_t round;           /* from 0 */
    uint64_t settled_steps; /* since the last trial */
    /* Of this rank. */
    double adapt_seconds;     /* that the last decision took */
    double adapted_at;        /* clock, when it was made */
    double calibrate_seconds; /* not yet reported */
    /* For a decision. */
    double *costs;     /* [3][n_layers][n_levels] encode, decode, wire */
    size_t *bucket_of; /* [n_layers] */
    uint8_t *kind;     /* [n_levels] of messages */
    uint64_t *maxima;  /* [maxima_count] nanoseconds that ranks exchange */
    size_t maxima_count;
    bool is_silent; /* decisions are not logged */
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

/** The median, of at most LMN__TIMING_STEPS values. */
double lmn__timing_median(const double *values, size_t n);

/** timing_plans.c: whether adapting was cheap enough to do so again. Collective. */
lmn_status lmn__timing_may_adapt(const lmn_reducer *reducer, bool *may_out,
                                 lmn_error *err) LMN_NODISCARD;

/** Plans from a table without times; levels follow the plan kept, or a trial begins. Errors as
 *  lmn_allocator_decide, with levels unchanged, and LMN_ERR_COMM. Collective. */
lmn_status lmn__timing_decide(lmn_reducer *reducer, const lmn_cost_table *table,
                              lmn_allocation_report *report_out, lmn_error *err) LMN_NODISCARD;

/** Adapting went on from `begin` to `end`. Returns the seconds of calibrating in the step, which
 *  belong to it. Local. */
double lmn__timing_adapted(lmn_reducer *reducer, const lmn_step_report *report, double begin,
                           double end);

/** timing_trial.c: open a trial of the plans that are worth one and affordable, or settle. Local,
 *  from what all ranks have. */
void lmn__trial_open(lmn_reducer *reducer);

/** After a checkpoint was read: the trial that it holds begins anew. Local. */
void lmn__trial_restart(lmn_reducer *reducer);

/** Take note of a step of a trial; seconds with the update. Local. */
void lmn__trial_note(lmn__timing *self, bool applied, double seconds, double compute);

/** After a step: whether a turn has ended, alike on all ranks. */
bool lmn__trial_is_due(const lmn_reducer *reducer);

/** The next turn, or the end of the trial. Collective when a round ends. */
lmn_status lmn__trial_go_on(lmn_reducer *reducer, lmn_step_report *report,
                            lmn_error *err) LMN_NODISCARD;

/** timing_state.c: what belongs to a checkpoint. */
lmn_status lmn__timing_add_state(lmn_reducer *reducer, lmn_state *state,
                                 lmn_error *err) LMN_NODISCARD;
/** After loading: LMN_ERR_FORMAT for what cannot be. Local. */
lmn_status lmn__timing_restored(lmn_reducer *reducer, lmn_error *err) LMN_NODISCARD;

#endif

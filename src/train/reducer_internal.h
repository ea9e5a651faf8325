/*
 * What the files of the reducer share.
 *
 * Memory of one layer, f32 each: the gradient g and the states of the feedback mechanism stay in
 * place for the life of the reducer. Where an encoder rewrites states while it walks v, there are
 * two arrays of each: the states before the step and those after it, which change places when the
 * step counts.
 *
 * A bucket has two regions for vectors of one step: v where it must be in memory, and the average
 * where the estimate is not h. Inside them the layers that travel dense come first, so that one
 * allreduce covers them, and compressed layers follow. Which are dense may change from step to
 * step; the regions are then laid out anew.
 *
 * With two levels (node_internal.h) a rank has gradients of all layers, and all else only of those
 * in buckets that it leads: there the gradient g is the node's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_REDUCER_INTERNAL_H
#define LAMINA_REDUCER_INTERNAL_H

#include "lamina/allocator.h"
#include "lamina/collective.h"
#include "lamina/compressor.h"
#include "lamina/feedback.h"
#include "lamina/memory.h"
#include "lamina/reducer.h"

/* The last bucket ends with these, then the caller's scalars. */
enum { LMN__VERDICT_NONFINITE = 0, LMN__VERDICT_FAILED = 1, LMN__VERDICT_COUNT = 2 };

/* What a layer's compression was seen to do: see reducer_watch.c. */
typedef struct lmn__watch {
    lmn_energies *tiles; /* [lmn__watch_tile_count] of v in the open step; NULL: nobody looks */
    bool is_open;        /* the open step is watched, and this rank encodes the layer */
    double sent_energy;  /* of entries that are told one by one */
    size_t sent_entries; /* 0 for families that send every element */
    lmn_eta_rule rule;   /* of the layer's travel level */
    bool is_held;        /* eta was held in its bounds, and that was said */
} lmn__watch;

typedef struct lmn__layer {
    char *name; /* owned */
    size_t index;
    size_t n_dims;
    size_t dims[LMN_STATE_DIMS_MAX];
    size_t count;
    size_t bucket;
    bool leads;          /* this rank exchanges the layer: its bucket's */
    bool small;          /* always dense and outside error feedback */
    bool may_be_dense;   /* in some step */
    bool ready;          /* handed over in this step */
    size_t travel_level; /* of the open or last step; differs from the plan while warming up */
    lmn_combine way;     /* of travel_level */
    double eta;          /* at travel_level */
    bool is_first;       /* the open step is the first of a run that starts dense */
    bool owes_nothing;   /* no error is left from earlier steps */
    bool rests;          /* dense without feedback, see reducer_rest.c */
    lmn__watch watch;
    uint64_t message_bytes;
    const lmn_feedback *feedback; /* borrowed; of a small layer `none` */
    float *own;                   /* gradient of this rank, where the caller puts it */
    float *gradient;    /* what feedback and compression see: own, or what the node leads to it;
                           NULL where this rank does not lead */
    float *node_sum;    /* where the node's gradient goes unless it can be summed in its vector */
    bool sum_is_finite; /* of the node's gradient in this step */
    size_t segment_offset; /* f32 before `own` in the rank's shared segment */
    float *vector;         /* in the bucket's region; NULL where v need not be in memory */
    float *average;        /* in the bucket's region; NULL where the estimate is `tracked` */
    float *tracked; /* h, the same on all ranks; NULL when the mechanism does not track, or h is
                       kept in slices */
    uint64_t mean_in_slices; /* 1: h is in slices alone since the last step that counted, and
                                `tracked` is not up to date */
    float *state[LMN_FEEDBACK_STATES_MAX];
    float *next[LMN_FEEDBACK_STATES_MAX];  /* NULL where a state is advanced in place, at this level
                                            */
    float *spare[LMN_FEEDBACK_STATES_MAX]; /* second arrays; NULL where no level writes to `next` */
    float *home[LMN_FEEDBACK_STATES_MAX];  /* where states are at rest, as checkpoints name them */
    lmn_compressor_memory memory_kind;
    float *memory;        /* of the compressor, of this rank; NULL when it keeps none */
    float *memory_next;   /* its second array */
    float *memory_home;   /* as `home` */
    float *shared_memory; /* of the compressor, the same on all ranks; changes in the commit */
    size_t hand;     /* whose turn it is to take the layer's error curve; see reducer_curves.c */
    float *observed; /* sum of v over the allocator's window; NULL when it does not look */
    uint64_t compressed_steps; /* that counted and in which the layer was compressed */
} lmn__layer;

/* exchange_internal.h */
typedef struct lmn__exchange lmn__exchange;
typedef struct lmn__exchange_kind lmn__exchange_kind;

/* Ways in which levels combine, and so at most as many exchanges of a bucket. */
#define LMN__WAYS ((size_t)LMN_COMBINE_ROUNDS + 1)

typedef struct lmn__bucket {
    size_t first_layer, layer_count; /* consecutive places in reducer->order */
    size_t n_extra;                  /* f32 that travel behind the dense layers: the verdict */
    int leader;                      /* node rank that exchanges a bucket of two levels */
    bool is_shared;                  /* of two levels: reduced inside the node first */
    bool leads;                      /* this rank exchanges it; always true of one level */
    size_t vector_capacity;          /* f32 in each region */
    size_t average_capacity;
    size_t dense_count;        /* leading f32 that travel by allreduce, n_extra of them last */
    size_t carried[LMN__WAYS]; /* layers that travel by each way in this step */
    size_t pending;            /* layers of this step not yet handed over */
    bool started;
    bool is_under_way; /* started and not yet seen to be finished */
    double started_at;
    float *vectors;  /* [vector_capacity] */
    float *averages; /* [average_capacity] */
    size_t n_exchanges;
    lmn__exchange *exchanges[LMN__WAYS]; /* owned */
} lmn__bucket;

/* The ranks that exchange large layers: all, or with two levels one of every node. */
typedef struct lmn__team {
    lmn_world *world; /* borrowed; NULL on a rank that leads no bucket */
    int rank, size;   /* with two levels the node and the number of nodes */
} lmn__team;

typedef struct lmn__node lmn__node; /* node_internal.h */

/* reducer_drift.c */
typedef struct lmn__drift {
    lmn_collective *mean_of; /* over the team; NULL where nothing drifts */
    float *mean;             /* [lmn__drift_mean_count] */
    bool is_due;             /* after this step, whatever its number */
} lmn__drift;

/* Numbers of each large layer that travel behind the caller's scalars. */
enum { LMN__SEEN_LOST, LMN__SEEN_RANKS, LMN__SEEN_ENTRIES, LMN__SEEN_COUNT };

/* What is known of all layers' compression; [n_layers] each, owned. NULL when nobody asks. */
typedef struct lmn__observations {
    float *seen; /* [n_layers][LMN__SEEN_COUNT] by this rank in the last step that counted */
    float *sums; /* the same, over ranks, of the step before */
    /* The same on all ranks. */
    uint64_t *level; /* to which the means belong */
    uint64_t *steps; /* in them; 0: none yet */
    double *kept;    /* lmn_observed */
    double *density;
} lmn__observations;

struct lmn_reducer {
    lmn_world *world; /* borrowed */
    int rank, size;
    lmn__team team;
    lmn__node *node; /* owned; NULL with one level */
    bool is_broken;  /* MPI failed: nothing collective any more */
    lmn_compressor *compressor;
    lmn_feedback *feedback;
    lmn_feedback *passthrough; /* `none`, for small layers */
    lmn_allocator *allocator;
    const lmn__exchange_kind *ways[LMN__WAYS];   /* by lmn_combine; NULL: no level combines so */
    size_t bucket_bytes, dense_below, n_scalars; /* lmn_reducer_options */
    uint64_t seed;
    size_t n_layers;
    lmn__layer *layers;
    size_t *order; /* [n_layers] layers by bucket: small ones are in the last */
    size_t n_buckets;
    lmn__bucket *buckets;
    lmn_arena *arena;
    void *scratch; /* for encode and error_curve */
    size_t shadow_count;
    float *shadow;    /* [shadow_count] what a checkpoint holds of layers that another rank leads:
                         zeros */
    uint64_t *levels; /* [n_layers] the plan */
    double *curves;   /* [n_layers][n_levels] squared errors; the energies follow */
    double *energies; /* [n_layers] squared norms of what was observed */
    double *allocator_memory; /* [n_layers] NULL when the allocator does not remember */
    uint64_t *costs;          /* [n_layers][n_levels] bytes */
    size_t *decision;         /* [n_layers] levels in, levels out */
    uint64_t applied_steps;
    bool last_applied; /* the step before counts */
    uint64_t observed_steps;
    bool is_watching; /* eta follows what compression was seen to do */
    lmn__observations observations;
    lmn__drift drift;
    /* The open step. */
    bool open;
    bool is_laid_out; /* once: travel levels and places in the regions are known */
    uint64_t step;
    uint64_t travel_hash; /* of the levels at which layers travel */
    size_t next_bucket;   /* the first not yet started */
    bool nonfinite;
    lmn_status failure; /* of this rank; LMN_OK while it can go on */
    lmn_error failure_error;
    float scalars[LMN_REDUCER_SCALARS_MAX];
    uint64_t bytes_before;
    lmn_trace *trace; /* borrowed; NULL: none */
    double seconds_encode;
    double seconds_decode;
    size_t n_under_way;         /* buckets */
    double under_way_since;     /* the first of them began */
    lmn_step_times times;       /* of the open or last step */
    double seconds_progress;    /* moving messages on while gradients are computed */
    double seconds_observe;     /* in the last commit: few steps do so */
    struct lmn__timing *timing; /* owned; NULL unless the allocator weighs times */
};

/* reducer_plan.c: which layers share a bucket, at which level each travels, where its vector lies.
 */
lmn_status lmn__reducer_make_buckets(lmn_reducer *reducer, lmn_error *err);
void lmn__reducer_size_buckets(lmn_reducer *reducer);
void lmn__reducer_set_travel_levels(lmn_reducer *reducer);
/* Lay a bucket that has not left out anew, with every layer at `level` as far as it can be. */
void lmn__reducer_try_level(lmn_reducer *reducer, lmn__bucket *bucket, size_t level);
lmn_layer_shape lmn__layer_shape(const lmn__layer *layer);
size_t lmn__reducer_travel_level(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level);
uint64_t lmn__reducer_wire_bytes(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level);
uint64_t lmn__reducer_plan_hash(const lmn_reducer *reducer);

/* reducer_memory.c: arrays of layers and regions of buckets. Local. */
lmn_status lmn__reducer_take_memory(lmn_reducer *reducer, lmn_error *err);

/* reducer_commit.c: local and infallible, after the verdict. */
void lmn__reducer_commit(lmn_reducer *reducer);

/* reducer_curves.c: who evaluates which layer, local, once; and the table in curves and energies,
 * the same on all ranks, collective. */
#define LMN__NO_HAND SIZE_MAX
lmn_status lmn__reducer_deal_curves(lmn_reducer *reducer, lmn_error *err);
lmn_status lmn__reducer_take_curves(lmn_reducer *reducer, size_t n_levels, lmn_error *err);
/* reducer_watch.c: what compression was seen to do, and the eta that follows from it. Local. */
bool lmn__watch_is_wanted(const lmn_reducer *reducer);
lmn_status lmn__watch_create(lmn_reducer *reducer, lmn_error *err);
void lmn__watch_destroy(lmn_reducer *reducer);
size_t lmn__watch_extra(const lmn_reducer *reducer); /* f32 behind the scalars */
size_t lmn__watch_tile_count(const lmn__layer *layer);
void lmn__watch_begin(lmn_reducer *reducer); /* after the travel levels are set */
void lmn__watch_write(const lmn_reducer *reducer, float *numbers);
void lmn__watch_read(lmn_reducer *reducer, const float *numbers);
void lmn__watch_commit(lmn_reducer *reducer);
/** Of elements [first .. first + count - 1], once each; any thread. sent NULL: nothing. */
void lmn__watch_tile(const lmn__layer *layer, size_t first, size_t count, const float *vector,
                     const float *sent);
/** All entries that were sent of a layer. */
void lmn__watch_entries(lmn__layer *layer, size_t n, const float *values);

/* reducer_drift.c: h and the mean of the h_i. */
bool lmn__drift_is_wanted(const lmn_reducer *reducer);
size_t lmn__drift_mean_count(void);
lmn_status lmn__drift_connect(lmn_reducer *reducer, lmn_error *err); /* collective */
void lmn__drift_destroy(lmn_reducer *reducer);
void lmn__drift_ask(lmn_reducer *reducer); /* to be looked at after the next step; on all ranks */
/** After the commit. Collective over the teams. Errors: LMN_ERR_COMM. */
lmn_status lmn__drift_settle(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err);

/* reducer_rest.c: local. Before a layer's vector of the last step is lost: bring its states up to
 * date. The same on all ranks. */
void lmn__layer_wake(lmn_reducer *reducer, lmn__layer *layer);
/* After travel levels are known: layers that owe nothing and travel dense. */
void lmn__reducer_lay_to_rest(lmn_reducer *reducer);
/* In the commit. */
void lmn__reducer_note_debts(lmn_reducer *reducer);

/* reducer_adjust.c: collective. */
lmn_status lmn__reducer_adjust(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err);
/* Whether there is something to do after this step, alike on all ranks. */
bool lmn__reducer_adjusts(const lmn_reducer *reducer);

#endif

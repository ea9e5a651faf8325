/*
 * What the files of the reducer share.
 *
 * Memory of one layer, f32 each: gradient g and the states of the feedback mechanism stay in place
 * for the life of the reducer. The vector v and the average D are scratch: inside the region of its
 * bucket, dense layers come first, so that one allreduce covers them, and gathered layers follow.
 * Which are dense may change from step to step; the region is then laid out anew.
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

typedef struct lmn__layer {
    char *name; /* owned */
    size_t n_dims;
    size_t dims[LMN_STATE_DIMS_MAX];
    size_t count;
    size_t bucket;
    bool small;          /* always dense and outside error feedback */
    bool ready;          /* handed over in this step */
    size_t travel_level; /* of the open or last step; differs from the plan while warming up */
    double eta;          /* at travel_level */
    uint64_t message_bytes;
    float *gradient;
    float *vector;  /* in the bucket's region */
    float *average; /* in the bucket's region */
    float *tracked; /* h, the same on all ranks; NULL when the mechanism does not track */
    float *state[LMN_FEEDBACK_STATES_MAX];
    float *observed; /* sum of v over the allocator's window; NULL when it does not look */
} lmn__layer;

typedef struct lmn__bucket {
    size_t first_layer, layer_count; /* consecutive places in reducer->order */
    size_t capacity;                 /* f32 in each region */
    size_t dense_count;              /* leading f32 that travel by allreduce */
    size_t gathered_layers;
    size_t pending; /* layers of this step not yet handed over */
    bool started;
    float *vectors;  /* [capacity] */
    float *averages; /* [capacity] */
    size_t message_capacity;
    size_t message_bytes;
    unsigned char *message;     /* [message_capacity] */
    lmn_collective *allreduce;  /* NULL when nothing can travel dense */
    lmn_collective *allgatherv; /* NULL when nothing can be gathered */
} lmn__bucket;

struct lmn_reducer {
    lmn_world *world; /* borrowed */
    int rank, size;
    lmn_compressor *compressor;
    lmn_feedback *feedback;
    lmn_feedback *passthrough; /* `none`, for small layers */
    lmn_allocator *allocator;
    size_t bucket_bytes, dense_below, n_scalars; /* lmn_reducer_options */
    size_t n_layers;
    lmn__layer *layers;
    size_t *order; /* [n_layers] layers by bucket: small ones are in the last */
    size_t n_buckets;
    lmn__bucket *buckets;
    lmn_arena *arena;
    void *scratch;    /* for encode and error_curve */
    uint64_t *levels; /* [n_layers] the plan */
    double *curves;   /* [n_layers][n_levels] squared errors */
    uint64_t *costs;  /* [n_layers][n_levels] bytes */
    size_t *decision; /* [n_layers] levels in, levels out */
    uint64_t applied_steps;
    uint64_t observed_steps;
    /* The open step. */
    bool open;
    uint64_t step;
    size_t next_bucket; /* the first not yet started */
    bool nonfinite;
    lmn_status failure; /* of this rank; LMN_OK while it can go on */
    lmn_error failure_error;
    float scalars[LMN_REDUCER_SCALARS_MAX];
    uint64_t bytes_before;
    double seconds_encode;
};

/* reducer_plan.c: which layers share a bucket, at which level each travels, where its vector lies.
 */
lmn_status lmn__reducer_make_buckets(lmn_reducer *reducer, lmn_error *err);
void lmn__reducer_set_travel_levels(lmn_reducer *reducer);
lmn_layer_shape lmn__layer_shape(const lmn__layer *layer);
size_t lmn__reducer_travel_level(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level);
uint64_t lmn__reducer_wire_bytes(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level);
size_t lmn__reducer_message_capacity(const lmn_reducer *reducer, const lmn__bucket *bucket);
uint64_t lmn__reducer_plan_hash(const lmn_reducer *reducer);

/* reducer_frame.c: the bytes of a bucket's message. */
size_t lmn__segment_bytes(size_t payload_bytes);
size_t lmn__frame_header_bytes(void);
lmn_status lmn__frame_encode(lmn_reducer *reducer, lmn__bucket *bucket, lmn_error *err);
lmn_status lmn__frame_check(const lmn_reducer *reducer, const lmn__bucket *bucket, int rank,
                            lmn_error *err);
lmn_decode_job lmn__frame_segment(const lmn_reducer *reducer, const lmn__bucket *bucket, int rank,
                                  size_t segment);

/* reducer_step.c: a layer as error feedback sees it. */
lmn_feedback_layer lmn__layer_view(const lmn__layer *layer);

/* reducer_commit.c: local and infallible, after the verdict. */
void lmn__reducer_commit(lmn_reducer *reducer);

/* reducer_adjust.c: collective. */
lmn_status lmn__reducer_adjust(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err);

#endif

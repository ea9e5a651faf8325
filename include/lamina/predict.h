/*
 * Predicting the time of training steps on links and numbers of ranks that are not at hand.
 *
 * A profile is taken by making a few steps of a model: when gradients become ready, what encoding
 * takes at every level, and how large the errors are. With a link and a number of ranks it says
 * what levels an allocator would choose, and how long a step would take. docs/plan.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PREDICT_H
#define LAMINA_PREDICT_H

#include "lamina/dataset.h"
#include "lamina/link.h"
#include "lamina/reducer.h"
#include "lamina/task.h"
#include "lamina/timeplan.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_profile lmn_profile;

typedef struct lmn_profile_options {
    const char *compress;   /* "topk:density=0.01" */
    const char *feedback;   /* "econtrol" */
    const char *collective; /* "auto" */
    const char *optimizer;  /* "sgd:momentum=0.9" */
    double lr;              /* 0.05 */
    double alpha;           /* error allowed, relative to that of the uniform levels; 1 */
    size_t bucket_bytes;    /* 4 MiB */
    size_t batch;           /* samples of one rank; 128 */
    size_t steps;           /* dense ones, 3 at least; 12 */
    uint64_t seed;          /* of parameters and of synthetic samples; 1 */
    double compute_seconds; /* of forward and backward, in place of what is measured; 0: measured */
} lmn_profile_options;

lmn_profile_options lmn_profile_options_default(void);

/**
 * Make steps and note what they take: dense ones, then some that compress at the levels of the spec
 * and some that only compute, half as many of each (6 to 16). Slowest ranks count.
 * world, task  borrowed until destroy
 * info         what samples are; copied
 * dataset      samples of that kind, borrowed for the call; NULL: random numbers, whose gradients
 *              spread their energy more evenly than those of real data, so errors are larger
 * Collective; all must agree. Errors, the same on all ranks: those of the parts; LMN_ERR_ARGUMENT
 * (too few steps), LMN_ERR_NONFINITE (a step had gradients that are not finite).
 */
lmn_status lmn_profile_create(lmn_world *world, const lmn_task *task, const lmn_dataset_info *info,
                              const lmn_dataset *dataset, const lmn_profile_options *options,
                              lmn_profile **profile_out, lmn_error *err) LMN_NODISCARD;

/** NULL is allowed. As lmn_reducer_destroy. */
void lmn_profile_destroy(lmn_profile *profile);

/** Who chooses the levels. */
typedef enum lmn_chooser {
    LMN_CHOOSER_DENSE,
    LMN_CHOOSER_UNIFORM,
    LMN_CHOOSER_LGRECO,
    LMN_CHOOSER_TIME,
    LMN_CHOOSER_COUNT
} lmn_chooser;

/** "dense", "uniform", "lgreco" or "time". */
const char *lmn_chooser_name(lmn_chooser chooser);

/** A layer in a prediction; seconds as in lamina/timeplan.h. The name is the profile's. */
typedef struct lmn_predicted_layer {
    const char *name;
    size_t count, bucket, level;
    uint64_t bytes; /* that one rank sends for it */
    double ready, encode, wire, decode;
} lmn_predicted_layer;

/** Ranks of the profile's world, layers of the model, and the link that was measured between the
 *  ranks: zeros with one. */
size_t lmn_profile_layer_count(const lmn_profile *profile);
lmn_link lmn_profile_link(const lmn_profile *profile);

/** Seconds of forward and backward, and of the update. */
double lmn_profile_compute(const lmn_profile *profile);
double lmn_profile_update(const lmn_profile *profile);

void lmn_profile_level_format(const lmn_profile *profile, size_t level, char *text,
                              size_t capacity);

/** Seconds that a bucket takes on `link` besides the time of its bytes, where it has dense layers
 *  in it and where it has compressed ones, of the slowest kind in a mixture. */
typedef struct lmn_predicted_latency {
    double dense, compressed;
} lmn_predicted_latency;
lmn_predicted_latency lmn_profile_latency(lmn_profile *profile, const lmn_link *link, int size);

/**
 * The step over `size` ranks (with two levels: nodes), each with the profile's batch.
 * layers_out  [lmn_profile_layer_count] in the order of the link; NULL: not wanted
 * Local; the same on all ranks. Errors: LMN_ERR_ARGUMENT (no ranks), those of allocators.
 */
lmn_status lmn_profile_predict(lmn_profile *profile, const lmn_link *link, int size,
                               lmn_chooser chooser, lmn_time_prediction *prediction_out,
                               lmn_predicted_layer *layers_out, lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif

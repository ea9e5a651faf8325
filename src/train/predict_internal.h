/*
 * What the files of predictions share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PREDICT_INTERNAL_H
#define LAMINA_PREDICT_INTERNAL_H

#include "lamina/predict.h"
#include "timing_internal.h"
#include "trainer_internal.h"

/* Steps at most that only compute. */
#define LMN__QUIET_STEPS ((size_t)16)

struct lmn_profile {
    lmn_world *world; /* borrowed */
    lmn_dataset_info info;
    lmn_trainer_options options; /* texts are borrowed for the creation */
    uint64_t seed;
    size_t batch; /* of a rank */
    lmn__learner learner;
    lmn_reducer_layer *layers;                  /* [n_layers] owned */
    lmn_reducer *reducer;                       /* owned */
    lmn_reader *reader;                         /* owned; NULL: synthetic samples */
    void *fields[LMN_FIELDS_MAX];               /* owned; one synthetic batch */
    lmn_allocator *choosers[LMN_CHOOSER_COUNT]; /* owned; NULL where there is nothing to choose */
    double *quiet;     /* [n_layers + 1][LMN__QUIET_STEPS] owned; when gradients are ready, and the
                          whole,     in steps that only compute */
    size_t quiet_step; /* made of these */
    double quiet_began_at;
    /* For a prediction; all owned. */
    size_t *levels;  /* [3][n_layers] by layer, uniform by layer, by place */
    size_t *bucket;  /* [n_layers] by place */
    double *ready;   /* [n_layers] by place */
    double *tables;  /* [4][n_layers][n_levels] by place: encode, decode, wire, error */
    uint64_t *bytes; /* [2][n_layers][n_levels] by layer, by place */
};

/** predict_profile.c: the steps from which predictions come. Collective. */
lmn_status lmn__profile_make_steps(lmn_profile *profile, const lmn_profile_options *options,
                                   lmn_error *err) LMN_NODISCARD;

/** predict_samples.c: take memory for one batch of random samples and fill it. Local. */
lmn_status lmn__profile_make_samples(lmn_profile *profile, lmn_error *err) LMN_NODISCARD;

#endif

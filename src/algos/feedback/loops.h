/*
 * The loops of error mechanisms and what chooses among them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_FEEDBACK_LOOPS_H
#define LAMINA_FEEDBACK_LOOPS_H

#include "lamina/feedback.h"

/** What a mechanism does, as its keys have it. */
typedef struct lmn__feedback_traits {
    bool tracks;       /* keeps h_i: sends what the gradient is beyond it */
    bool feeds_back;   /* keeps e: sends what earlier messages left out as well */
    size_t n_averages; /* 0 to 2: sends running averages of gradients, of averages */
    double momentum;   /* b, the weight of the newest in an average */
    double eta;        /* strength of the feedback of one that tracks; NaN: as suggested */
    bool starts_dense;
} lmn__feedback_traits;

/** Where its states are: tracked gradient, error, averages, as far as there are such. */
typedef struct lmn__feedback_places {
    size_t tracked;
    size_t error;
    size_t averages; /* of the first */
    size_t count;    /* of all states */
} lmn__feedback_places;

static inline lmn__feedback_places lmn__feedback_places_of(const lmn__feedback_traits *traits)
{
    const size_t error = traits->tracks ? 1 : 0;
    const size_t averages = error + (traits->feeds_back ? 1 : 0);
    return (lmn__feedback_places){
        .error = error, .averages = averages, .count = averages + traits->n_averages};
}

/** The functions of lamina/feedback.h for one instruction set; all give the same bits. */
typedef struct lmn__feedback_loops {
    const char *isa;
    bool (*form)(const lmn__feedback_traits *traits, const lmn_feedback_tile *tile, float *vector);
    void (*advance)(const lmn__feedback_traits *traits, const lmn_feedback_tile *tile,
                    const float *vector, const float *sent);
    bool (*form_unsent)(const lmn__feedback_traits *traits, const lmn_feedback_tile *tile,
                        float *vector);
} lmn__feedback_loops;

/** Variant `index` that this processor can run, the fastest first; NULL past the last. */
const lmn__feedback_loops *lmn__feedback_loops_variant(size_t index);

/** The same in f64. */
typedef struct lmn__feedback_loops_f64 {
    bool (*form)(const lmn__feedback_traits *traits, const lmn_feedback_tile_f64 *tile,
                 double *vector);
    void (*advance)(const lmn__feedback_traits *traits, const lmn_feedback_tile_f64 *tile,
                    const double *vector, const double *sent);
} lmn__feedback_loops_f64;

extern const lmn__feedback_loops_f64 lmn__feedback_loops_f64_portable;

#endif

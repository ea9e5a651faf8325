/*
 * Error compensation: what was not sent is added to the next gradient.
 *
 * v = g + e, then e = v - C(v), which is what the message left out.
 *
 * Source: F. Seide, H. Fu, J. Droppo, G. Li, D. Yu, "1-bit stochastic gradient descent and its
 * application to data-parallel distributed training of speech DNNs", Interspeech 2014; analysis:
 * S. Stich, J.-B. Cordonnier, M. Jaggi, NeurIPS 2018, arXiv:1809.07599.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "feedback_internal.h"

static bool form(const lmn_feedback_tile *tile, float *vector)
{
    const float *gradient = tile->gradient;
    const float *error = tile->state[0];
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < tile->count; i++) {
        const float v = gradient[i] + error[i];
        vector[i] = v;
        bad |= lmn__is_nonfinite(v);
    }
    return bad == 0;
}

static void advance(const lmn_feedback_tile *tile, const float *vector, const float *sent)
{
    float *error = tile->next[0];
    if (sent == NULL) {
        memcpy(error, vector, tile->count * sizeof error[0]);
        return;
    }
#pragma omp simd
    for (size_t i = 0; i < tile->count; i++) {
        error[i] = vector[i] - sent[i];
    }
}

const lmn__feedback_kind lmn__feedback_ec = {
    .method.entry = {.name = "ec", .summary = "what was not sent is added to the next gradient"},
    .rests = true,
    .n_states = 1,
    .states = {{.name = "error", .sent_factor = -1.0F, .rewrites = true}},
    .form = form,
    .advance = advance,
};

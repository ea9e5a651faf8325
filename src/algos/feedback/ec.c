/*
 * Error compensation: what was not sent is added to the next gradient.
 *
 * v = g + e, then e = v - C(v), which is the residual that the compressor leaves.
 *
 * Source: F. Seide, H. Fu, J. Droppo, G. Li, D. Yu, "1-bit stochastic gradient descent and its
 * application to data-parallel distributed training of speech DNNs", Interspeech 2014; analysis:
 * S. Stich, J.-B. Cordonnier, M. Jaggi, NeurIPS 2018, arXiv:1809.07599.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "feedback_internal.h"

static bool form(const lmn_feedback_layer *layer)
{
    const float *gradient = layer->gradient;
    const float *error = layer->state[0];
    float *vector = layer->vector;
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < layer->count; i++) {
        const float v = gradient[i] + error[i];
        vector[i] = v;
        bad |= lmn__is_nonfinite(v);
    }
    return bad == 0;
}

static void commit(const lmn_feedback_layer *layer)
{
    if (layer->count > 0) {
        memcpy(layer->state[0], layer->vector, layer->count * sizeof layer->vector[0]);
    }
}

const lmn__feedback_kind lmn__feedback_ec = {
    .method.entry = {.name = "ec", .summary = "what was not sent is added to the next gradient"},
    .n_states = 1,
    .state_names = {"error"},
    .form = form,
    .commit = commit,
};

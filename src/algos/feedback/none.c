/*
 * No error feedback: what compression leaves out is lost.
 *
 * For dense runs, and for comparison: with a biased compressor training ends at a floor that does
 * not depend on the learning rate.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "feedback_internal.h"

bool lmn__feedback_form_gradient(const lmn_feedback_tile *tile, float *vector)
{
    const float *gradient = tile->gradient;
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < tile->count; i++) {
        vector[i] = gradient[i];
        bad |= lmn__is_nonfinite(gradient[i]);
    }
    return bad == 0;
}

const lmn__feedback_kind lmn__feedback_none = {
    .method.entry = {.name = "none", .summary = "no memory of what was not sent"},
    .form = lmn__feedback_form_gradient,
};

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

static lmn__feedback_traits traits_of(const void *config)
{
    (void)config;
    return (lmn__feedback_traits){.feeds_back = true};
}

const lmn__feedback_kind lmn__feedback_ec = {
    .method.entry = {.name = "ec", .summary = "what was not sent is added to the next gradient"},
    .traits = traits_of,
};

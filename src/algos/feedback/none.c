/*
 * No error feedback: what compression leaves out is lost.
 *
 * For dense runs, and for comparison: with a biased compressor training ends at a floor that does
 * not depend on the learning rate.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "feedback_internal.h"

static lmn__feedback_traits traits_of(const void *config)
{
    (void)config;
    return (lmn__feedback_traits){0};
}

const lmn__feedback_kind lmn__feedback_none = {
    .method.entry = {.name = "none", .summary = "no memory of what was not sent"},
    .traits = traits_of,
};

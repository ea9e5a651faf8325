/*
 * The compressor that sends everything: level 0 and nothing else.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compress_internal.h"

static lmn__compressor_levels levels(const void *config)
{
    (void)config;
    return (lmn__compressor_levels){.count = 1, .static_level = 0};
}

const lmn__compressor_family lmn__compressor_dense = {
    .method.entry = {.name = "dense", .summary = "every gradient whole, as f32"},
    .combine = LMN_COMBINE_SUM,
    .levels = levels,
};

/*
 * Compressor families: what a family provides, and the list of them.
 *
 * To add a family, write src/algos/compress/<name>.c with a constant lmn__compressor_<name> and add
 * one line to LMN__COMPRESSORS. Level 0 and range checks, which are the same for all families, are
 * in registry.c: a family sees only levels from 1 to its level count - 1.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_COMPRESS_INTERNAL_H
#define LAMINA_COMPRESS_INTERNAL_H

#include "algos_internal.h"
#include "lamina/compressor.h"

typedef struct lmn__compressor_levels {
    size_t count;        /* level 0 included */
    size_t static_level; /* the one that the spec names */
} lmn__compressor_levels;

/** A family; constant. `config` is the struct that its keys filled. The meaning of each function is
 *  that of its namesake in lamina/compressor.h; all but `levels` may be NULL with a single level.
 */
typedef struct lmn__compressor_family {
    lmn__method method;
    lmn_combine combine; /* of levels above 0 */
    lmn__compressor_levels (*levels)(const void *config);
    void (*level_format)(const void *config, size_t level, char *text, size_t capacity);
    size_t (*payload_bytes)(const void *config, size_t level, size_t count);
    size_t (*scratch_bytes)(const void *config, size_t count);
    double (*contraction)(const void *config, size_t level, size_t count); /* count >= 1 */
    lmn_eta_rule (*eta)(const void *config, size_t level, size_t count);   /* count >= 1 */
    /* job->payload_capacity has been checked against payload_bytes. */
    lmn_status (*encode)(const void *config, lmn_encode_job *job, lmn_error *err);
    lmn_status (*check)(const void *config, const lmn_decode_job *job, lmn_error *err);
    void (*decode_add)(const void *config, const lmn_decode_job *job, float weight, float *acc);
    /* Entries 1 .. level count - 1. */
    void (*error_curve)(const void *config, const float *vector, size_t count,
                        double *squared_error_out, void *scratch);
} lmn__compressor_family;

#define LMN__COMPRESSORS(X)                                                                        \
    X(dense)                                                                                       \
    X(topk)

#define LMN__COMPRESSOR_DECLARE(name) extern const lmn__compressor_family lmn__compressor_##name;
LMN__COMPRESSORS(LMN__COMPRESSOR_DECLARE)
#undef LMN__COMPRESSOR_DECLARE

#endif

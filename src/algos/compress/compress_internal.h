/*
 * Compressor families: what a family provides, and the list of them.
 *
 * To add a family, write src/algos/compress/<name>.c with a constant lmn__compressor_<name> and add
 * one line to LMN__COMPRESSORS. Besides its levels it provides the functions of the one way in
 * which its messages combine. Level 0 and range checks, which are the same for all families, are in
 * registry.c: a family sees only levels from 1 to its level count - 1.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_COMPRESS_INTERNAL_H
#define LAMINA_COMPRESS_INTERNAL_H

#include "algos_internal.h"
#include "lamina/compressor.h"

/* Elements that an encoder forms and encodes together: they and what belongs to them fit the
   nearest cache. Grains divide it or are multiples of it. */
#define LMN__TILE ((size_t)512)

typedef struct lmn__compressor_levels {
    size_t count;        /* level 0 included */
    size_t static_level; /* the one that the spec names */
} lmn__compressor_levels;

/** Of a family that sends entries or slices. job->payload_capacity has been checked. */
typedef struct lmn__message_functions {
    size_t (*grain)(const void *config);                                  /* sliced only */
    size_t (*part_bytes)(const void *config, size_t level, size_t count); /* sliced only */
    lmn_status (*encode)(const void *config, lmn_encode_job *job, lmn_error *err);
    lmn_status (*check)(const void *config, const lmn_decode_job *job, lmn_error *err);
    void (*decode_add)(const void *config, const lmn_decode_job *job, float weight, float *acc);
    lmn_compressor_entries (*entries)(const void *config, size_t level, lmn_layer_shape shape);
} lmn__message_functions;

/** Of a family whose numbers are reduced in rounds. */
typedef struct lmn__round_functions {
    int (*ranks_max)(const void *config); /* NULL: no limit */
    size_t (*count)(const void *config, size_t level);
    lmn_round (*round)(const void *config, size_t level, lmn_layer_shape shape, size_t round,
                       uint64_t step);
    void (*encode)(const void *config, const lmn_rounds_job *job, size_t round);
    void (*decode_add)(const void *config, const lmn_rounds_job *job, float weight, float *acc);
    void (*sent)(const void *config, const lmn_rounds_job *job, size_t first, size_t count,
                 float *sent);
    void (*commit)(const void *config, const lmn_rounds_job *job); /* NULL: nothing to note */
} lmn__round_functions;

/** A family; constant. `config` is the struct that its keys filled. The meaning of each function is
 *  that of its namesake in lamina/compressor.h; all but `levels` may be NULL with a single level.
 */
typedef struct lmn__compressor_family {
    lmn__method method;
    lmn_combine combine; /* of levels above 0 */
    lmn__compressor_levels (*levels)(const void *config);
    void (*level_format)(const void *config, size_t level, char *text, size_t capacity);
    size_t (*payload_bytes)(const void *config, size_t level, lmn_layer_shape shape);
    size_t (*scratch_bytes)(const void *config, lmn_layer_shape shape);         /* NULL: 0 */
    lmn_compressor_memory (*memory)(const void *config, lmn_layer_shape shape); /* NULL: none */
    /* Counts are at least 1. */
    double (*contraction)(const void *config, size_t level, lmn_layer_shape shape);
    lmn_eta_rule (*eta)(const void *config, size_t level, lmn_layer_shape shape);
    /* Entries 1 .. level count - 1. */
    void (*error_curve)(const void *config, const float *vector, lmn_layer_shape shape,
                        double *squared_error_out, void *scratch);
    double (*curve_work)(const void *config, lmn_layer_shape shape); /* NULL: the count */
    const lmn__message_functions *messages;                          /* SPARSE, SLICED */
    const lmn__round_functions *rounds;                              /* ROUNDS */
} lmn__compressor_family;

#define LMN__COMPRESSORS(X)                                                                        \
    X(dense)                                                                                       \
    X(topk)                                                                                        \
    X(quant)                                                                                       \
    X(ternary)                                                                                     \
    X(sign)                                                                                        \
    X(natural)                                                                                     \
    X(fp16)                                                                                        \
    X(bf16)                                                                                        \
    X(randk)                                                                                       \
    X(int)                                                                                         \
    X(lowrank)

#define LMN__COMPRESSOR_DECLARE(name) extern const lmn__compressor_family lmn__compressor_##name;
LMN__COMPRESSORS(LMN__COMPRESSOR_DECLARE)
#undef LMN__COMPRESSOR_DECLARE

#endif

/*
 * What tests of compressors, feedback, allocators and optimisers do all the time: objects that must
 * come into being, vectors of known kinds, and simulated ranks that train without MPI.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_ALGOS_CHECK_H
#define LAMINA_TESTS_ALGOS_CHECK_H

#include "lamina/compressor.h"
#include "lamina/feedback.h"

#include <stddef.h>
#include <stdint.h>

lmn_compressor *check_new_compressor(const char *spec);
lmn_feedback *check_new_feedback(const char *spec);

/** Zeroed 64-byte aligned memory; lmn_free it. */
float *check_new_floats(size_t count);
void *check_new_bytes(size_t bytes);

/** Kinds of vectors that compressors find hard. */
typedef enum check_kind {
    CHECK_NORMAL,   /* standard normal */
    CHECK_TIED,     /* few magnitudes, many of each */
    CHECK_SPARSE,   /* mostly zeros of both signs */
    CHECK_DENORMAL, /* the smallest numbers there are */
    CHECK_WIDE,     /* magnitudes over 60 powers of two */
    CHECK_EQUAL,    /* one magnitude */
    CHECK_ZERO,
    CHECK_KINDS
} check_kind;

void check_fill(float *vector, size_t count, check_kind kind, uint32_t seed);

/** Sum of squares in double. */
double check_energy(const float *vector, size_t count);

/** The bits of two vectors agree. */
void check_same_bits(const float *a, const float *b, size_t count);

/** A vector and its message: everything that encoding takes. */
typedef struct check_encoding {
    lmn_encode_job job;
    lmn_source source;
    float *vector; /* [count] v, after encoding the residual */
} check_encoding;

/** Memory for a layer at a level; its random numbers are those of rank 0, step 0. */
check_encoding *check_new_encoding(const lmn_compressor *compressor, size_t level,
                                   lmn_layer_shape shape);
void check_free_encoding(check_encoding *encoding);

/** Encode a copy of original [count], which must succeed. */
void check_encode(const lmn_compressor *compressor, const float *original,
                  check_encoding *encoding);

/** The message as a receiver sees it. */
lmn_decode_job check_message_of(const check_encoding *encoding);

/** A vector, encoded at the static level of a spec and decoded again. */
typedef struct check_coded {
    lmn_compressor *compressor;
    check_encoding *encoding;
    float *decoded; /* [count] C(v) */
} check_coded;

/** With the random numbers of a step. */
check_coded check_code(const char *spec, const float *vector, size_t count, uint32_t step);
void check_free_coded(check_coded *coded);

/** The status of checking a message of `coded` whose bytes at `offset` were overwritten. */
lmn_status check_damaged(const check_coded *coded, size_t offset, const void *bytes, size_t n);

/** Ranks that reduce one layer together, as lamina/reducer.h does, in one process. */
typedef struct check_ranks {
    size_t n_ranks;
    size_t count;
    size_t level;
    double eta;
    bool is_first;              /* of a run that starts dense; the caller says so */
    lmn_compressor *compressor; /* owned */
    lmn_feedback *feedback;     /* owned */
    float *vector;              /* [n_ranks][count] v, then the residual */
    float *state;               /* [n_ranks][LMN_FEEDBACK_STATES_MAX][count] */
    float *next;                /* [LMN_FEEDBACK_STATES_MAX][count] of the rank at work */
    float *estimate;            /* [count] u; h for a mechanism that tracks */
    unsigned char *payload;
    size_t payload_capacity;
    void *scratch;
} check_ranks;

check_ranks check_new_ranks(const char *feedback, const char *compressor, size_t n_ranks,
                            size_t count);
void check_free_ranks(check_ranks *ranks);

/** State `index` of a rank. */
float *check_state(const check_ranks *ranks, size_t rank, size_t index);

/** One step at the ranks' level, 0 included; gradients [n_ranks][count] must be finite. */
void check_step(check_ranks *ranks, const float *gradients);

#endif

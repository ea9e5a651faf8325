/*
 * Compressors: operators that turn a vector into a short message, and what the message left out.
 *
 * A compressor is chosen by a spec such as `topk:density=0.01`. It is immutable and shared by all
 * layers; what it needs while it works is handed in. Its strength comes in levels: level 0 always
 * sends the vector whole (dense f32), higher levels send less. A layer's level may change from step
 * to step; the static level is the one that the spec names.
 *
 * Level 0 never reaches encode: the reducer sends such layers by a dense allreduce.
 * Mathematics: docs/algorithms.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_COMPRESSOR_H
#define LAMINA_COMPRESSOR_H

#include "lamina/spec.h"
#include "lamina/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_compressor lmn_compressor;

/** Errors: LMN_ERR_USAGE (unknown family or key, value out of range), LMN_ERR_MEMORY. */
lmn_status lmn_compressor_create(const char *spec, lmn_compressor **compressor_out,
                                 lmn_error *err) LMN_NODISCARD;
void lmn_compressor_destroy(lmn_compressor *compressor);

/** Number of levels, at least 1. */
size_t lmn_compressor_level_count(const lmn_compressor *compressor);

/** The level that the spec names: 0 for `dense`. */
size_t lmn_compressor_static_level(const lmn_compressor *compressor);

/** A level in words, such as "density=0.01" or "dense". */
void lmn_compressor_level_format(const lmn_compressor *compressor, size_t level, char *text,
                                 size_t capacity);

/** How the messages of the ranks become one. */
typedef enum lmn_combine {
    LMN_COMBINE_SUM,   /* vectors of f32, added by an allreduce: level 0 of every family */
    LMN_COMBINE_GATHER /* every rank gets every message and adds them up in rank order */
} lmn_combine;

lmn_combine lmn_compressor_combine(const lmn_compressor *compressor, size_t level);

/** Largest payload of one message, bytes. For level 0: 4 * count. */
size_t lmn_compressor_payload_bytes(const lmn_compressor *compressor, size_t level, size_t count);

/** Bytes of scratch memory that encode and error_curve need for `count` elements. */
size_t lmn_compressor_scratch_bytes(const lmn_compressor *compressor, size_t count);

/**
 * The guaranteed contraction delta in [0, 1]: |C(v) - v|^2 <= (1 - delta) |v|^2 for every v of
 * `count` elements. k / count for top-k; 1 for level 0.
 */
double lmn_compressor_contraction(const lmn_compressor *compressor, size_t level, size_t count);

/** How strongly EControl may feed errors back at a level. */
typedef struct lmn_eta_rule {
    double suggested; /* what eta=auto takes; k / count for top-k, 1 for level 0 */
    double limit;     /* above it training is known to become unstable; 2 k / count for top-k */
} lmn_eta_rule;

lmn_eta_rule lmn_compressor_eta(const lmn_compressor *compressor, size_t level, size_t count);

/** One vector to encode. All memory is borrowed for the call. */
typedef struct lmn_encode_job {
    size_t level; /* at least 1, one that is gathered */
    size_t count;
    float *vector;          /* [count] finite; in: v, out: the residual v - C(v) */
    unsigned char *payload; /* [payload_capacity] the message */
    size_t payload_capacity;
    size_t payload_bytes; /* out: bytes written */
    void *scratch;        /* [lmn_compressor_scratch_bytes], 64-byte aligned */
} lmn_encode_job;

/**
 * Compress a vector and leave what was not sent. A pure function of the job: same bits for every
 * thread count and instruction set.
 * Errors, with the vector unchanged: LMN_ERR_ARGUMENT (level out of range, payload too small).
 */
lmn_status lmn_compressor_encode(const lmn_compressor *compressor, lmn_encode_job *job,
                                 lmn_error *err) LMN_NODISCARD;

/** One message to decode. All memory is borrowed for the call. */
typedef struct lmn_decode_job {
    size_t level; /* at least 1 */
    size_t count;
    const unsigned char *payload; /* [payload_bytes], 8-byte aligned, of any origin */
    size_t payload_bytes;
} lmn_decode_job;

/**
 * Whether a message is whole, so that a step can be refused before anything is added. Never reads
 * outside the payload, whatever its bytes.
 * Errors: LMN_ERR_MESSAGE, saying what is wrong with it; LMN_ERR_ARGUMENT (level without messages).
 */
lmn_status lmn_compressor_check(const lmn_compressor *compressor, const lmn_decode_job *job,
                                lmn_error *err) LMN_NODISCARD;

/** acc += weight * C(v), from a message that passed lmn_compressor_check. acc [count] */
void lmn_compressor_decode_add(const lmn_compressor *compressor, const lmn_decode_job *job,
                               float weight, float *acc);

/**
 * The squared error |C(v) - v|^2 at every level: what the allocator weighs against bytes.
 * vector  [count] unchanged;  squared_error_out [level_count], entry 0 is 0
 */
void lmn_compressor_error_curve(const lmn_compressor *compressor, const float *vector, size_t count,
                                double *squared_error_out, void *scratch);

/** Families that exist, for help texts: entry `index`, or NULL past the last. */
const lmn_spec_entry *lmn_compressor_entry(size_t index);

#ifdef __cplusplus
}
#endif

#endif

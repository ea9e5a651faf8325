/*
 * What families of sliced messages share.
 *
 * Such a family cuts a vector into buckets of `grain` elements, of which the last may be short, and
 * encodes each bucket on its own into bytes of a size that only depends on the level and on the
 * number of elements: a multiple of 4. A message is the bytes of its buckets, one after the other,
 * so the bytes of a slice of the vector are a slice of the message. The family says how a bucket is
 * encoded; walking over buckets, with threads for large layers, is done here for all of them.
 *
 * The struct that a family's keys fill begins with lmn__sliced_config, and its functions for
 * messages are lmn__sliced_messages.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SLICED_INTERNAL_H
#define LAMINA_SLICED_INTERNAL_H

#include "compress_internal.h"
#include "simd/buckets.h"

#include <stdbool.h>
#include <stdint.h>

/* Elements of a bucket: a power of two, so that buckets and LMN__TILE fit together. */
#define LMN__BUCKET_MIN ((size_t)32)
#define LMN__BUCKET_MAX ((size_t)4096)
/* The largest bytes of a bucket's message. */
#define LMN__BUCKET_BYTES_MAX (3 * LMN__BUCKET_MAX)

/* Whether numbers between two values go to the nearer, or at random so that the mean is right. */
enum { LMN__ROUND_NEAREST, LMN__ROUND_STOCHASTIC };
#define LMN__ROUND_CHOICES "nearest|stochastic"

/** A bucket that is encoded. */
typedef struct lmn__bucket {
    const lmn__bucket_kernels *kernels;
    const float *vector; /* [count] finite */
    size_t count;
    const uint32_t *words; /* [count] random; NULL unless rounding is stochastic */
    unsigned char *bytes;  /* out: its message */
    float *sent;           /* [count] out: what the message stands for */
} lmn__bucket;

/** A bucket of a message. */
typedef struct lmn__bucket_message {
    const lmn__bucket_kernels *kernels;
    size_t count;
    const unsigned char *bytes; /* 4-byte aligned */
} lmn__bucket_message;

/** How a family encodes a bucket; constant. Counts are at least 1. */
typedef struct lmn__bucket_functions {
    const char *name; /* of the family, for messages */
    size_t (*bytes)(const void *config, size_t level, size_t count);
    void (*encode)(const void *config, size_t level, const lmn__bucket *bucket);
    /* What is wrong with a bucket's message, as half a sentence, or NULL. */
    const char *(*check)(const void *config, size_t level, const lmn__bucket_message *message);
    /* acc [count] += weight * what the message stands for */
    void (*decode_add)(const void *config, size_t level, const lmn__bucket_message *message,
                       float weight, float *acc);
    /* The mean squared error over all random words; NULL when the family draws none. */
    double (*mean_error)(const void *config, size_t level, const lmn__bucket *bucket);
} lmn__bucket_functions;

/** What the struct of every family's keys begins with. */
typedef struct lmn__sliced_config {
    const lmn__bucket_functions *functions;
    size_t n_levels;   /* level 0 included */
    uint64_t grain;    /* elements of a bucket */
    uint64_t rounding; /* LMN__ROUND_NEAREST, LMN__ROUND_STOCHASTIC */
} lmn__sliced_config;

extern const lmn__message_functions lmn__sliced_messages;

/** The family's functions that only need the config's head. */
lmn__compressor_levels lmn__sliced_levels(const void *config); /* the last one is static */
size_t lmn__sliced_payload_bytes(const void *config, size_t level, lmn_layer_shape shape);
size_t lmn__sliced_scratch_bytes(const void *config, lmn_layer_shape shape);
void lmn__sliced_error_curve(const void *config, const float *vector, lmn_layer_shape shape,
                             double *squared_error_out, void *scratch);

/** Errors: LMN_ERR_USAGE when `grain`, the key "bucket", is no power of two. */
lmn_status lmn__sliced_check_grain(const lmn__sliced_config *config, lmn_error *err) LMN_NODISCARD;

/** `bytes`, rounded up to a multiple of 4. */
size_t lmn__whole_words(size_t bytes);

/** The f32 that lies at `bytes`. */
float lmn__float_at(const unsigned char *bytes);

/**
 * EControl's strength for a compressor that usually keeps a share `delta` of the energy. Half of it
 * is taken; errors were seen to grow from 1.45 delta (2 bits) to 2 delta (4 bits) on.
 */
lmn_eta_rule lmn__sliced_eta(double delta);

/* ------------------------------------------------------------------ grids of values */

/** The grid of 2^bits - 1 values (3 for 2 bits) from -scale to scale; bits 2 .. 8. */
lmn__grid lmn__grid_to(float scale, unsigned bits);

/** A scale for lmn__grid_to: numbers that it could not bring back become 0 or a little smaller. */
float lmn__grid_scale(double scale);

/** Whether a message may have it. */
bool lmn__grid_scale_is_lawful(float scale);

/** The codes [count] of a bucket, rounded as its words say, and bucket->sent. */
void lmn__grid_codes(const lmn__grid *grid, const lmn__bucket *bucket, uint8_t *codes);

/** Bytes of codes of `bits` bits: whole groups of 8 codes, whole words. */
size_t lmn__code_bytes(size_t count, unsigned bits);

/** The message [f32 scale | codes] of bucket and its reading; what they do is as above. */
void lmn__grid_encode(float scale, unsigned bits, const lmn__bucket *bucket);
const char *lmn__grid_check(unsigned bits, const lmn__bucket_message *message);
void lmn__grid_decode_add(unsigned bits, const lmn__bucket_message *message, float weight,
                          float *acc);

/** The mean squared error of random rounding, numbers beyond the scale included. */
double lmn__grid_mean_error(float scale, unsigned bits, const lmn__bucket *bucket);

/** lmn__sliced_eta for buckets of n normal numbers of variance 1, on the grid to `scale`. */
lmn_eta_rule lmn__grid_eta(double scale, unsigned bits, uint64_t rounding, size_t n);

/** The median of the largest magnitude of n normal numbers. */
double lmn__normal_extreme(size_t n);

/* ------------------------------------------------------------------ signs */

/** The message [f32 mean magnitude | bits]; of n_values 2 [f32 of code 0, f32 of code 1 | bits]. */
size_t lmn__signs_bytes(size_t n_values, size_t count);
void lmn__signs_encode(size_t n_values, const lmn__bucket *bucket);
const char *lmn__signs_check(size_t n_values, const lmn__bucket_message *message);
void lmn__signs_decode_add(size_t n_values, const lmn__bucket_message *message, float weight,
                           float *acc);

#endif

/*
 * fp16 with a power of two as scale of each bucket, rounded to nearest, ties to even.
 *
 * The scale brings the largest magnitude of the bucket to between 2^14 and 2^15, so that the
 * bucket's numbers use the range of fp16 as far as it goes.
 *
 * Bucket: f32 factor from fp16 to the number, a power of two; u16 for each number, padded to whole
 * words.
 *
 * Source: P. Micikevicius and others, "Mixed precision training", ICLR 2018, arXiv:1710.03740
 * (scaling by powers of two).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sliced_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FP16_LARGEST 0x77FF /* the largest below 2^15 */
/* Exponents of the factor: f32's largest number comes to below 2^15, and its smallest to 2^-23, a
   number of fp16. */
#define EXPONENT_MAX 113
#define EXPONENT_MIN (-126)

typedef struct fp16_config {
    lmn__sliced_config sliced;
} fp16_config;

static const lmn_spec_field fields[] = {
    {.key = "bucket",
     .type = LMN_SPEC_U64,
     .offset = offsetof(fp16_config, sliced.grain),
     .min = LMN__BUCKET_MIN,
     .max = LMN__BUCKET_MAX,
     .help = "numbers that share a scale, a power of two (512)"},
};

static lmn_status complete(void *config_memory, lmn_error *err)
{
    const fp16_config *config = config_memory;
    return lmn__sliced_check_grain(&config->sliced, err);
}

static void level_format(const void *config, size_t level, char *text, size_t capacity)
{
    (void)config;
    (void)level;
    (void)snprintf(text, capacity, "fp16");
}

static size_t bucket_bytes(const void *config, size_t level, size_t count)
{
    (void)config;
    (void)level;
    return sizeof(float) + lmn__whole_words(count * sizeof(uint16_t));
}

/* 2^exponent for a bucket whose largest magnitude has these bits. */
static int exponent_for(uint32_t key)
{
    const int exponent = (int)(key >> 23) - 127 - 14;
    return exponent < EXPONENT_MIN ? EXPONENT_MIN : exponent;
}

static void encode(const void *config, size_t level, const lmn__bucket *bucket)
{
    const uint32_t key = bucket->kernels->measure->largest_key(bucket->vector, bucket->count);
    const int exponent = exponent_for(key);
    const float down = ldexpf(1.0F, exponent);
    const float up = ldexpf(1.0F, -exponent);
    unsigned char *bytes = bucket->bytes;
    if (bucket->count % 2 != 0) {
        memset(bytes + bucket_bytes(config, level, bucket->count) - 4, 0, 4);
    }
    memcpy(bytes, &down, sizeof down);
    bucket->kernels->half->to_fp16(bucket->vector, bucket->count, up, down,
                                   (uint16_t *)(void *)(bytes + sizeof down), bucket->sent);
}

static const uint16_t *halves_of(const lmn__bucket_message *message)
{
    return (const uint16_t *)(const void *)(message->bytes + sizeof(float));
}

static const char *check(const void *config, size_t level, const lmn__bucket_message *message)
{
    (void)config;
    (void)level;
    const float down = lmn__float_at(message->bytes);
    int exponent = 0;
    const bool is_lawful = isfinite(down) && frexpf(down, &exponent) == 0.5F &&
                           exponent - 1 >= EXPONENT_MIN && exponent - 1 <= EXPONENT_MAX;
    if (!is_lawful) {
        return "has a scale that is no power of two or out of range";
    }
    return message->kernels->half->largest(halves_of(message), message->count) > FP16_LARGEST
               ? "holds NaN, infinity or a number beyond its scale"
               : NULL;
}

static void decode_add(const void *config, size_t level, const lmn__bucket_message *message,
                       float weight, float *acc)
{
    (void)config;
    (void)level;
    message->kernels->half->add_fp16(halves_of(message), message->count,
                                     lmn__float_at(message->bytes), weight, acc);
}

/* Half a unit in the last of 11 places, or, far below the largest, 2^-39 of the largest. */
static double contraction(const void *config, size_t level, lmn_layer_shape shape)
{
    (void)config;
    (void)level;
    (void)shape;
    return 1.0 - 0x1p-22 - (double)LMN__BUCKET_MAX * 0x1p-78;
}

static lmn_eta_rule eta(const void *config, size_t level, lmn_layer_shape shape)
{
    return lmn__sliced_eta(contraction(config, level, shape));
}

static const lmn__bucket_functions functions = {.name = "fp16",
                                                .bytes = bucket_bytes,
                                                .encode = encode,
                                                .check = check,
                                                .decode_add = decode_add};

static const fp16_config defaults = {
    .sliced = {.functions = &functions, .n_levels = 2, .grain = 512}};

const lmn__compressor_family lmn__compressor_fp16 = {
    .method = {.entry = {.name = "fp16",
                         .summary = "16-bit numbers, a power of two as scale of each bucket",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(fp16_config),
               .defaults = &defaults,
               .complete = complete},
    .combine = LMN_COMBINE_SLICED,
    .levels = lmn__sliced_levels,
    .level_format = level_format,
    .payload_bytes = lmn__sliced_payload_bytes,
    .scratch_bytes = lmn__sliced_scratch_bytes,
    .contraction = contraction,
    .eta = eta,
    .eta_basis = LMN__ETA_OF_KEPT,
    .error_curve = lmn__sliced_error_curve,
    .messages = &lmn__sliced_messages,
};

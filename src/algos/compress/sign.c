/*
 * Sign: one bit for each number, and one or two values for each bucket.
 *
 * values=one: the sign times the mean magnitude of the bucket. values=two: the mean of the numbers
 * below zero, and the mean of the others. Zero, and -0 too, counts among the others.
 *
 * Bucket: f32 mean magnitude, or f32 mean below zero and f32 mean of the others; then bits, the
 * first number lowest, 0 for a number below zero.
 *
 * Sources: S. Karimireddy, Q. Rebjock, S. Stich, M. Jaggi, "Error feedback fixes SignSGD and other
 * gradient compression schemes", ICML 2019, arXiv:1901.09847 (one value); F. Seide, H. Fu, J.
 * Droppo, G. Li, D. Yu, Interspeech 2014 (two values).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sliced_internal.h"

#include <math.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

typedef struct sign_config {
    lmn__sliced_config sliced;
    uint64_t values; /* one less than there are */
} sign_config;

static const lmn_spec_field fields[] = {
    {.key = "bucket",
     .type = LMN_SPEC_U64,
     .offset = offsetof(sign_config, sliced.grain),
     .min = LMN__BUCKET_MIN,
     .max = LMN__BUCKET_MAX,
     .help = "numbers that share their values, a power of two (1024)"},
    {.key = "values",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(sign_config, values),
     .choices = "one|two",
     .help = "the mean magnitude, or the means of both signs (one)"},
};

static size_t n_groups(size_t count)
{
    return (count + 7) / 8;
}

size_t lmn__signs_bytes(size_t n_values, size_t count)
{
    return n_values * sizeof(float) + lmn__code_bytes(count, 1);
}

static float mean_of(double sum, size_t n)
{
    return n == 0 ? 0.0F : (float)(sum / (double)n);
}

static size_t count_below_zero(const float *vector, size_t count)
{
    uint32_t n = 0;
#pragma omp simd reduction(+ : n)
    for (size_t i = 0; i < count; i++) {
        n += vector[i] < 0.0F;
    }
    return n;
}

static lmn__sides sides_of(size_t n_values, const lmn__bucket *bucket)
{
    const lmn__measure_kernels *measure = bucket->kernels->measure;
    if (n_values == 1) {
        const float mean =
            mean_of(measure->magnitudes(bucket->vector, bucket->count), bucket->count);
        return (lmn__sides){.negative = -mean, .other = mean};
    }
    double sums[2] = {0.0};
    measure->sides(bucket->vector, bucket->count, sums);
    const size_t n_below = count_below_zero(bucket->vector, bucket->count);
    return (lmn__sides){.negative = mean_of(sums[0], n_below),
                        .other = mean_of(sums[1], bucket->count - n_below)};
}

void lmn__signs_encode(size_t n_values, const lmn__bucket *bucket)
{
    const lmn__sides sides = sides_of(n_values, bucket);
    alignas(64) uint8_t codes[LMN__BUCKET_MAX];
    bucket->kernels->code->to_signs(bucket->vector, bucket->count, &sides, codes, bucket->sent);
    const size_t groups = n_groups(bucket->count);
    memset(codes + bucket->count, 0, 8 * groups - bucket->count);
    unsigned char *bytes = bucket->bytes;
    if (n_values == 2) {
        memcpy(bytes, &sides.negative, sizeof sides.negative);
        bytes += sizeof sides.negative;
    }
    memcpy(bytes, &sides.other, sizeof sides.other);
    bytes += sizeof sides.other;
    bucket->kernels->code->pack(codes, groups, 1, bytes);
    memset(bytes + groups, 0, lmn__code_bytes(bucket->count, 1) - groups);
}

static lmn__sides sides_in(size_t n_values, const lmn__bucket_message *message)
{
    const float first = lmn__float_at(message->bytes);
    return n_values == 1 ? (lmn__sides){.negative = -first, .other = first}
                         : (lmn__sides){.negative = first,
                                        .other = lmn__float_at(message->bytes + sizeof first)};
}

const char *lmn__signs_check(size_t n_values, const lmn__bucket_message *message)
{
    const lmn__sides sides = sides_in(n_values, message);
    const bool is_lawful = sides.negative <= 0.0F && sides.other >= 0.0F &&
                           isfinite(sides.negative) && isfinite(sides.other);
    return is_lawful ? NULL : "has a value that is of the wrong sign, NaN or infinity";
}

void lmn__signs_decode_add(size_t n_values, const lmn__bucket_message *message, float weight,
                           float *acc)
{
    const lmn__sides sides = sides_in(n_values, message);
    alignas(64) uint8_t codes[LMN__BUCKET_MAX];
    message->kernels->code->unpack(message->bytes + n_values * sizeof(float),
                                   n_groups(message->count), 1, codes);
    message->kernels->code->add_signs(codes, message->count, &sides, weight, acc);
}

static lmn_status complete(void *config_memory, lmn_error *err)
{
    const sign_config *config = config_memory;
    return lmn__sliced_check_grain(&config->sliced, err);
}

static size_t n_values_of(const void *config_memory)
{
    const sign_config *config = config_memory;
    return (size_t)config->values + 1;
}

static void level_format(const void *config, size_t level, char *text, size_t capacity)
{
    (void)level;
    (void)snprintf(text, capacity, "values=%s", n_values_of(config) == 1 ? "one" : "two");
}

static size_t bucket_bytes(const void *config, size_t level, size_t count)
{
    (void)level;
    return lmn__signs_bytes(n_values_of(config), count);
}

static void encode(const void *config, size_t level, const lmn__bucket *bucket)
{
    (void)level;
    lmn__signs_encode(n_values_of(config), bucket);
}

static const char *check(const void *config, size_t level, const lmn__bucket_message *message)
{
    (void)level;
    return lmn__signs_check(n_values_of(config), message);
}

static void decode_add(const void *config, size_t level, const lmn__bucket_message *message,
                       float weight, float *acc)
{
    (void)level;
    lmn__signs_decode_add(n_values_of(config), message, weight, acc);
}

/* What is kept is |v|_1^2 / (n |v|_2^2), the least for a bucket with one number in it. */
static double contraction(const void *config_memory, size_t level, lmn_layer_shape shape)
{
    (void)level;
    const sign_config *config = config_memory;
    const size_t grain = config->sliced.grain;
    return 1.0 / (double)(shape.count < grain ? shape.count : grain);
}

/* 2 / pi of the energy of normal numbers is kept. */
static lmn_eta_rule eta(const void *config, size_t level, lmn_layer_shape shape)
{
    (void)config;
    (void)level;
    (void)shape;
    return lmn__sliced_eta(2.0 / 3.14159265358979323846);
}

static const lmn__bucket_functions functions = {.name = "sign",
                                                .bytes = bucket_bytes,
                                                .encode = encode,
                                                .check = check,
                                                .decode_add = decode_add};

static const sign_config defaults = {
    .sliced = {.functions = &functions, .n_levels = 2, .grain = 1024}};

const lmn__compressor_family lmn__compressor_sign = {
    .method = {.entry = {.name = "sign",
                         .summary = "one bit for each number, its mean magnitude for each bucket",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(sign_config),
               .defaults = &defaults,
               .complete = complete},
    .combine = LMN_COMBINE_SLICED,
    .levels = lmn__sliced_levels,
    .level_format = level_format,
    .payload_bytes = lmn__sliced_payload_bytes,
    .scratch_bytes = lmn__sliced_scratch_bytes,
    .contraction = contraction,
    .eta = eta,
    .error_curve = lmn__sliced_error_curve,
    .messages = &lmn__sliced_messages,
};

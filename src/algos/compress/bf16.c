/*
 * bf16: the upper half of each f32, rounded to nearest, ties to even.
 *
 * Numbers that would round to infinity become the largest of bf16.
 *
 * Bucket: u16 for each number, padded to whole words.
 *
 * Source: D. Kalamkar and others, "A study of BFLOAT16 for deep learning training", 2019,
 * arXiv:1905.12322.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sliced_internal.h"

#include <stdio.h>
#include <string.h>

#define BF16_LARGEST 0x7F7F

typedef struct bf16_config {
    lmn__sliced_config sliced;
} bf16_config;

static void level_format(const void *config, size_t level, char *text, size_t capacity)
{
    (void)config;
    (void)level;
    (void)snprintf(text, capacity, "bf16");
}

static size_t bucket_bytes(const void *config, size_t level, size_t count)
{
    (void)config;
    (void)level;
    return lmn__whole_words(count * sizeof(uint16_t));
}

static void encode(const void *config, size_t level, const lmn__bucket *bucket)
{
    if (bucket->count % 2 != 0) {
        memset(bucket->bytes + bucket_bytes(config, level, bucket->count) - 4, 0, 4);
    }
    bucket->kernels->half->to_bf16(bucket->vector, bucket->count, (uint16_t *)(void *)bucket->bytes,
                                   bucket->sent);
}

static const uint16_t *halves_of(const lmn__bucket_message *message)
{
    return (const uint16_t *)(const void *)message->bytes;
}

static const char *check(const void *config, size_t level, const lmn__bucket_message *message)
{
    (void)config;
    (void)level;
    return message->kernels->half->largest(halves_of(message), message->count) > BF16_LARGEST
               ? "holds NaN or infinity"
               : NULL;
}

static void decode_add(const void *config, size_t level, const lmn__bucket_message *message,
                       float weight, float *acc)
{
    (void)config;
    (void)level;
    message->kernels->half->add_bf16(halves_of(message), message->count, weight, acc);
}

/* Half a unit in the last of 8 places, but for denormal numbers. */
static double contraction(const void *config, size_t level, lmn_layer_shape shape)
{
    (void)config;
    (void)level;
    (void)shape;
    return 1.0 - 0x1p-16;
}

static lmn_eta_rule eta(const void *config, size_t level, lmn_layer_shape shape)
{
    return lmn__sliced_eta(contraction(config, level, shape));
}

static const lmn__bucket_functions functions = {.name = "bf16",
                                                .bytes = bucket_bytes,
                                                .encode = encode,
                                                .check = check,
                                                .decode_add = decode_add};

static const bf16_config defaults = {
    .sliced = {.functions = &functions, .n_levels = 2, .grain = 512}};

const lmn__compressor_family lmn__compressor_bf16 = {
    .method = {.entry = {.name = "bf16",
                         .summary = "16-bit numbers with the exponents of f32, rounded to nearest"},
               .config_bytes = sizeof(bf16_config),
               .defaults = &defaults},
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

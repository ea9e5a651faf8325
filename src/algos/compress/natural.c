/*
 * Natural compression: each number goes to a power of two next to it, which leaves 9 bits of it.
 *
 * Nearest rounding goes up from more than the middle between the two powers on. Stochastic rounding
 * is unbiased: 23 random bits are added to the fraction, and what is carried over raises the
 * exponent. Denormal numbers become 0, and nothing goes beyond 2^127.
 *
 * Bucket: u8 exponent as in f32 for each number, 0 for zero; then sign bits, 1 for a negative one.
 *
 * Source: S. Horvath, C. Ho, L. Horvath, A. Sahu, M. Canini, P. Richtarik, "Natural compression for
 * distributed deep learning", MSML 2022, arXiv:1905.10988.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sliced_internal.h"

#include <math.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

#define EXPONENT_LARGEST 254

typedef struct natural_config {
    lmn__sliced_config sliced;
} natural_config;

static const lmn_spec_field fields[] = {
    {.key = "rounding",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(natural_config, sliced.rounding),
     .choices = LMN__ROUND_CHOICES,
     .help = "to the nearer power of two, or at random without bias (nearest)"},
};

static bool is_random(const void *config_memory)
{
    const natural_config *config = config_memory;
    return config->sliced.rounding == LMN__ROUND_STOCHASTIC;
}

static void level_format(const void *config, size_t level, char *text, size_t capacity)
{
    (void)level;
    (void)snprintf(text, capacity, "rounding=%s", is_random(config) ? "stochastic" : "nearest");
}

static size_t n_groups(size_t count)
{
    return (count + 7) / 8;
}

/* Exponents of whole groups, so that the signs are found easily. */
static size_t bucket_bytes(const void *config, size_t level, size_t count)
{
    (void)config;
    (void)level;
    return lmn__whole_words(9 * n_groups(count));
}

static void encode(const void *config, size_t level, const lmn__bucket *bucket)
{
    const lmn__code_kernels *code = bucket->kernels->code;
    const size_t groups = n_groups(bucket->count);
    unsigned char *bytes = bucket->bytes;
    alignas(64) uint8_t signs[LMN__BUCKET_MAX];
    if (is_random(config)) {
        code->to_powers_randomly(bucket->vector, bucket->count, bucket->words, bytes, signs,
                                 bucket->sent);
    } else {
        code->to_powers(bucket->vector, bucket->count, bytes, signs, bucket->sent);
    }
    memset(bytes + bucket->count, 0, 8 * groups - bucket->count);
    memset(signs + bucket->count, 0, 8 * groups - bucket->count);
    bytes += 8 * groups;
    code->pack(signs, groups, 1, bytes);
    memset(bytes + groups, 0, bucket_bytes(config, level, bucket->count) - 9 * groups);
}

static const char *check(const void *config, size_t level, const lmn__bucket_message *message)
{
    (void)config;
    (void)level;
    return message->kernels->code->largest(message->bytes, message->count) > EXPONENT_LARGEST
               ? "holds infinity"
               : NULL;
}

static void decode_add(const void *config, size_t level, const lmn__bucket_message *message,
                       float weight, float *acc)
{
    (void)config;
    (void)level;
    const size_t groups = n_groups(message->count);
    alignas(64) uint8_t signs[LMN__BUCKET_MAX];
    message->kernels->code->unpack(message->bytes + 8 * groups, groups, 1, signs);
    message->kernels->code->add_powers(message->bytes, signs, message->count, weight, acc);
}

/* (x - low) (high - x) for the powers of two around x, and what exceeds the largest of them. */
static double mean_error(const void *config, size_t level, const lmn__bucket *bucket)
{
    (void)config;
    (void)level;
    double sum = 0.0;
    for (size_t i = 0; i < bucket->count; i++) {
        const double magnitude = fabs((double)bucket->vector[i]);
        if (magnitude < 0x1p-126) {
            sum += magnitude * magnitude;
            continue;
        }
        const double low = exp2(floor(log2(magnitude)));
        const double high = low < 0x1p127 ? 2.0 * low : low;
        sum += fabs((magnitude - low) * (high - magnitude));
    }
    return sum;
}

/* The worst number is a little below 3/2 (nearest) or is 4/3 (stochastic) times a power of two. */
static double contraction(const void *config, size_t level, lmn_layer_shape shape)
{
    (void)level;
    (void)shape;
    return is_random(config) ? 7.0 / 8.0 : 8.0 / 9.0;
}

static lmn_eta_rule eta(const void *config, size_t level, lmn_layer_shape shape)
{
    return lmn__sliced_eta(contraction(config, level, shape));
}

static const lmn__bucket_functions functions = {.name = "natural",
                                                .bytes = bucket_bytes,
                                                .encode = encode,
                                                .check = check,
                                                .decode_add = decode_add,
                                                .mean_error = mean_error};

static const natural_config defaults = {
    .sliced = {.functions = &functions, .n_levels = 2, .grain = 512}};

const lmn__compressor_family lmn__compressor_natural = {
    .method = {.entry = {.name = "natural",
                         .summary = "each number as a signed power of two, 9 bits",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(natural_config),
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

/*
 * Quantisation: each bucket goes to a grid of 2^bits - 1 values, scaled by its largest magnitude or
 * by its norm.
 *
 * A level is a number of bits. With one bit, a bucket is its signs times its mean magnitude.
 * Rounding to nearest is contractive, which error feedback asks for; stochastic rounding is
 * unbiased.
 *
 * Bucket: f32 scale, codes of `bits` bits (lmn__grid_encode). A bucket whose scale is below 2^-100
 * counts as zero.
 *
 * Sources: D. Alistarh, D. Grubic, J. Li, R. Tomioka, M. Vojnovic, "QSGD: Communication-efficient
 * SGD via gradient quantization and encoding", NeurIPS 2017, arXiv:1610.02132; buckets scaled by
 * the maximum: I. Markov, H. Ramezanikebrya, D. Alistarh, "CGX: adaptive system support for
 * communication-efficient deep learning", Middleware 2022, arXiv:2111.08617.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sliced_internal.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define BITS_MAX 8

enum { NORM_MAX, NORM_2 };

typedef struct quant_config {
    lmn__sliced_config sliced;
    uint64_t bits;
    uint64_t norm;
    lmn_spec_list levels;
    /* Derived. */
    unsigned bits_of[BITS_MAX]; /* of levels 1, 2, ..., descending */
    size_t static_level;
} quant_config;

static const lmn_spec_field fields[] = {
    {.key = "bits",
     .type = LMN_SPEC_U64,
     .offset = offsetof(quant_config, bits),
     .min = 1,
     .max = BITS_MAX,
     .help = "bits of a number (4)"},
    {.key = "bucket",
     .type = LMN_SPEC_U64,
     .offset = offsetof(quant_config, sliced.grain),
     .min = LMN__BUCKET_MIN,
     .max = LMN__BUCKET_MAX,
     .help = "numbers that share a scale, a power of two (512)"},
    {.key = "norm",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(quant_config, norm),
     .choices = "max|2",
     .help = "scale of a bucket: its largest magnitude or its euclidean norm (max)"},
    {.key = "rounding",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(quant_config, sliced.rounding),
     .choices = LMN__ROUND_CHOICES,
     .help = "to the nearest value, or at random without bias (nearest)"},
    {.key = "levels",
     .type = LMN_SPEC_F64_LIST,
     .offset = offsetof(quant_config, levels),
     .min = 1,
     .max = BITS_MAX,
     .help = "bits that allocation may choose, besides bits and dense (8/7/6/5/4/3/2)"},
};

static unsigned bits_of(const void *config_memory, size_t level)
{
    const quant_config *config = config_memory;
    return config->bits_of[level - 1];
}

static lmn_status complete(void *config_memory, lmn_error *err)
{
    quant_config *config = config_memory;
    bool wanted[BITS_MAX + 1] = {false};
    for (size_t i = 0; i < config->levels.count; i++) {
        const unsigned bits = (unsigned)config->levels.values[i];
        if ((double)bits != config->levels.values[i]) {
            return lmn_error_set(err, LMN_ERR_USAGE,
                                 "compressor 'quant': levels are whole bits, not %g",
                                 config->levels.values[i]);
        }
        wanted[bits] = true;
    }
    for (unsigned bits = 2; bits <= BITS_MAX && config->levels.count == 0; bits++) {
        wanted[bits] = true;
    }
    wanted[config->bits] = true;
    if (wanted[1] && (config->sliced.rounding == LMN__ROUND_STOCHASTIC || config->norm == NORM_2)) {
        return lmn_error_set(
            err, LMN_ERR_USAGE,
            "compressor 'quant': 1 bit is the sign times the mean magnitude, which "
            "neither norm=2 nor rounding=stochastic applies to; 'ternary' rounds "
            "to few values without bias");
    }
    config->sliced.n_levels = 1;
    for (unsigned bits = BITS_MAX; bits >= 1; bits--) {
        if (wanted[bits]) {
            config->bits_of[config->sliced.n_levels - 1] = bits;
            config->static_level =
                bits == config->bits ? config->sliced.n_levels : config->static_level;
            config->sliced.n_levels++;
        }
    }
    return lmn__sliced_check_grain(&config->sliced, err);
}

static lmn__compressor_levels levels(const void *config_memory)
{
    const quant_config *config = config_memory;
    return (lmn__compressor_levels){.count = config->sliced.n_levels,
                                    .static_level = config->static_level};
}

static void level_format(const void *config, size_t level, char *text, size_t capacity)
{
    (void)snprintf(text, capacity, "bits=%u", bits_of(config, level));
}

static size_t bucket_bytes(const void *config, size_t level, size_t count)
{
    const unsigned bits = bits_of(config, level);
    return bits == 1 ? lmn__signs_bytes(1, count) : sizeof(float) + lmn__code_bytes(count, bits);
}

static float scale_of(const quant_config *config, const lmn__bucket *bucket)
{
    const lmn__measure_kernels *measure = bucket->kernels->measure;
    if (config->norm == NORM_2) {
        return lmn__grid_scale(sqrt(measure->energy(bucket->vector, bucket->count)));
    }
    const uint32_t key = measure->largest_key(bucket->vector, bucket->count);
    float largest = 0.0F;
    memcpy(&largest, &key, sizeof largest);
    return lmn__grid_scale((double)largest);
}

static void encode(const void *config, size_t level, const lmn__bucket *bucket)
{
    const unsigned bits = bits_of(config, level);
    if (bits == 1) {
        lmn__signs_encode(1, bucket);
        return;
    }
    lmn__grid_encode(scale_of(config, bucket), bits, bucket);
}

static const char *check(const void *config, size_t level, const lmn__bucket_message *message)
{
    const unsigned bits = bits_of(config, level);
    return bits == 1 ? lmn__signs_check(1, message) : lmn__grid_check(bits, message);
}

static void decode_add(const void *config, size_t level, const lmn__bucket_message *message,
                       float weight, float *acc)
{
    const unsigned bits = bits_of(config, level);
    if (bits == 1) {
        lmn__signs_decode_add(1, message, weight, acc);
        return;
    }
    lmn__grid_decode_add(bits, message, weight, acc);
}

static double mean_error(const void *config, size_t level, const lmn__bucket *bucket)
{
    return lmn__grid_mean_error(scale_of(config, bucket), bits_of(config, level), bucket);
}

/*
 * An error is at most half a step, and a step is scale / limit. Nearest never moves a number
 * further than to 0, and with norm=max the largest keeps its place. Stochastic rounding has a
 * variance of at most a quarter of a squared step; with norm=2 also of at most step times the sum
 * of magnitudes (QSGD, lemma 3.1).
 */
static double contraction(const void *config_memory, size_t level, lmn_layer_shape shape)
{
    const quant_config *config = config_memory;
    const size_t grain = config->sliced.grain;
    const double n = (double)(shape.count < grain ? shape.count : grain);
    const unsigned bits = bits_of(config, level);
    if (bits == 1) {
        return 1.0 / n;
    }
    const double limit = (double)lmn__grid_to(1.0F, bits).limit;
    const double half = 1.0 / (4.0 * limit * limit); /* half a step, squared */
    const bool is_random = config->sliced.rounding == LMN__ROUND_STOCHASTIC;
    if (config->norm == NORM_MAX) {
        const double kept = 1.0 - (n - 1.0) * half;
        return fmax(kept, is_random ? 0.0 : 1.0 / n);
    }
    const double lost = is_random ? fmin(n * half, sqrt(n) / limit) : n * half;
    return fmax(1.0 - lost, 0.0);
}

static lmn_eta_rule eta(const void *config_memory, size_t level, lmn_layer_shape shape)
{
    const quant_config *config = config_memory;
    const size_t grain = config->sliced.grain;
    const size_t n = shape.count < grain ? shape.count : grain;
    const unsigned bits = bits_of(config, level);
    if (bits == 1) {
        return lmn__sliced_eta(2.0 / 3.14159265358979323846);
    }
    const double scale = config->norm == NORM_2 ? sqrt((double)n) : lmn__normal_extreme(n);
    return lmn__grid_eta(scale, bits, config->sliced.rounding, n);
}

static const lmn__bucket_functions functions = {.name = "quant",
                                                .bytes = bucket_bytes,
                                                .encode = encode,
                                                .check = check,
                                                .decode_add = decode_add,
                                                .mean_error = mean_error};

static const quant_config defaults = {.sliced = {.functions = &functions, .grain = 512}, .bits = 4};

const lmn__compressor_family lmn__compressor_quant = {
    .method = {.entry = {.name = "quant",
                         .summary = "a few bits for each number, a scale for each bucket",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(quant_config),
               .defaults = &defaults,
               .complete = complete},
    .combine = LMN_COMBINE_SLICED,
    .levels = levels,
    .level_format = level_format,
    .payload_bytes = lmn__sliced_payload_bytes,
    .scratch_bytes = lmn__sliced_scratch_bytes,
    .contraction = contraction,
    .eta = eta,
    .eta_basis = LMN__ETA_OF_KEPT,
    .error_curve = lmn__sliced_error_curve,
    .messages = &lmn__sliced_messages,
};

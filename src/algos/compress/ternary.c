/*
 * Ternary: each number becomes -s, 0 or s, where s is the largest magnitude of its bucket.
 *
 * Stochastic rounding, the default, is TernGrad: unbiased, and so of a large variance. Nearest
 * rounding is contractive, which error feedback asks for. `clip` first limits magnitudes to that
 * many root mean squares of the bucket, which makes s smaller and rounding finer, at the price of a
 * bias.
 *
 * Bucket: f32 s; packing=bits: 2 bits for each number, -s, 0, s as 0, 1, 2 (lmn__grid_encode);
 * packing=trits: bytes of 5 numbers each, the first one lowest, with the same codes to the base 3.
 *
 * Source: W. Wen, C. Xu, F. Yan, C. Wu, Y. Wang, Y. Chen, H. Li, "TernGrad: Ternary gradients to
 * reduce communication in distributed deep learning", NeurIPS 2017, arXiv:1705.07878. Different
 * here: scale and clipping are those of a bucket, and the mean counts as zero when clipping.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sliced_internal.h"

#include <math.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

#define BITS  2 /* of a grid with three values */
#define TRITS ((size_t)5)

enum { PACKING_BITS, PACKING_TRITS };

typedef struct ternary_config {
    lmn__sliced_config sliced;
    uint64_t packing;
    double clip; /* 0: none */
} ternary_config;

static const lmn_spec_field fields[] = {
    {.key = "bucket",
     .type = LMN_SPEC_U64,
     .offset = offsetof(ternary_config, sliced.grain),
     .min = LMN__BUCKET_MIN,
     .max = LMN__BUCKET_MAX,
     .help = "numbers that share a scale, a power of two (512)"},
    {.key = "rounding",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(ternary_config, sliced.rounding),
     .choices = LMN__ROUND_CHOICES,
     .help = "to the nearest value, or at random without bias (stochastic)"},
    {.key = "clip",
     .type = LMN_SPEC_F64,
     .offset = offsetof(ternary_config, clip),
     .min = 0.0,
     .max = 100.0,
     .help = "largest magnitude, in root mean squares of the bucket; 0: no limit (0)"},
    {.key = "packing",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(ternary_config, packing),
     .choices = "bits|trits",
     .help = "2 bits for each number, or 5 numbers in a byte (bits)"},
};

static const ternary_config *config_of(const void *config)
{
    return config;
}

static lmn_status complete(void *config, lmn_error *err)
{
    return lmn__sliced_check_grain(&config_of(config)->sliced, err);
}

static void level_format(const void *config, size_t level, char *text, size_t capacity)
{
    (void)level;
    (void)snprintf(text, capacity, "packing=%s",
                   config_of(config)->packing == PACKING_BITS ? "bits" : "trits");
}

static size_t n_trit_bytes(size_t count)
{
    return (count + TRITS - 1) / TRITS;
}

static size_t bucket_bytes(const void *config, size_t level, size_t count)
{
    (void)level;
    return sizeof(float) + (config_of(config)->packing == PACKING_BITS
                                ? lmn__code_bytes(count, BITS)
                                : lmn__whole_words(n_trit_bytes(count)));
}

static float scale_of(const ternary_config *config, const lmn__bucket *bucket)
{
    const lmn__measure_kernels *measure = bucket->kernels->measure;
    const uint32_t key = measure->largest_key(bucket->vector, bucket->count);
    float largest = 0.0F;
    memcpy(&largest, &key, sizeof largest);
    if (config->clip == 0.0) {
        return lmn__grid_scale((double)largest);
    }
    const double energy = measure->energy(bucket->vector, bucket->count);
    return lmn__grid_scale(
        fmin((double)largest, config->clip * sqrt(energy / (double)bucket->count)));
}

static void encode_trits(float scale, const lmn__bucket *bucket)
{
    const lmn__grid grid = lmn__grid_to(scale, BITS);
    const size_t n_bytes = n_trit_bytes(bucket->count);
    alignas(64) uint8_t codes[LMN__BUCKET_MAX + TRITS];
    lmn__grid_codes(&grid, bucket, codes);
    memset(codes + bucket->count, 0, TRITS * n_bytes - bucket->count);
    unsigned char *bytes = bucket->bytes;
    memcpy(bytes, &scale, sizeof scale);
    bytes += sizeof scale;
    bucket->kernels->code->pack_trits(codes, n_bytes, bytes);
    memset(bytes + n_bytes, 0, lmn__whole_words(n_bytes) - n_bytes);
}

static void encode(const void *config, size_t level, const lmn__bucket *bucket)
{
    (void)level;
    const float scale = scale_of(config, bucket);
    if (config_of(config)->packing == PACKING_BITS) {
        lmn__grid_encode(scale, BITS, bucket);
        return;
    }
    encode_trits(scale, bucket);
}

static const char *check(const void *config, size_t level, const lmn__bucket_message *message)
{
    (void)level;
    if (config_of(config)->packing == PACKING_BITS) {
        return lmn__grid_check(BITS, message);
    }
    if (!lmn__grid_scale_is_lawful(lmn__float_at(message->bytes))) {
        return "has a scale that is negative, NaN or too large";
    }
    const unsigned trits_max = 3 * 3 * 3 * 3 * 3 - 1;
    const uint8_t largest = message->kernels->code->largest(message->bytes + sizeof(float),
                                                            n_trit_bytes(message->count));
    return largest > trits_max ? "has a code that stands for nothing" : NULL;
}

static void decode_add(const void *config, size_t level, const lmn__bucket_message *message,
                       float weight, float *acc)
{
    (void)level;
    if (config_of(config)->packing == PACKING_BITS) {
        lmn__grid_decode_add(BITS, message, weight, acc);
        return;
    }
    const lmn__grid grid = lmn__grid_to(lmn__float_at(message->bytes), BITS);
    alignas(64) uint8_t codes[LMN__BUCKET_MAX + TRITS];
    message->kernels->code->unpack_trits(message->bytes + sizeof(float),
                                         n_trit_bytes(message->count), codes);
    message->kernels->code->add_grid(codes, message->count, &grid, weight, acc);
}

static double mean_error(const void *config, size_t level, const lmn__bucket *bucket)
{
    (void)level;
    return lmn__grid_mean_error(scale_of(config, bucket), BITS, bucket);
}

/*
 * Nearest never moves a number further than to 0, and one number at least gets its energy back: all
 * of it, or the square of the limit, which is clip^2 / n of the whole energy. Stochastic without
 * limit: the variance is s |v|_1 - |v|_2^2, at most (sqrt(n) - 1) |v|_2^2.
 */
static double contraction(const void *config, size_t level, lmn_layer_shape shape)
{
    (void)level;
    const double clip = config_of(config)->clip;
    const size_t grain = config_of(config)->sliced.grain;
    const double n = (double)(shape.count < grain ? shape.count : grain);
    if (config_of(config)->sliced.rounding == LMN__ROUND_STOCHASTIC) {
        return clip == 0.0 ? fmax(2.0 - sqrt(n), 0.0) : 0.0;
    }
    return (clip == 0.0 ? 1.0 : fmin(clip * clip, 1.0)) / n;
}

static lmn_eta_rule eta(const void *config, size_t level, lmn_layer_shape shape)
{
    (void)level;
    const double clip = config_of(config)->clip;
    const size_t grain = config_of(config)->sliced.grain;
    const size_t n = shape.count < grain ? shape.count : grain;
    const double extreme = lmn__normal_extreme(n);
    const double scale = clip == 0.0 ? extreme : fmin(clip, extreme);
    return lmn__grid_eta(scale, BITS, config_of(config)->sliced.rounding, n);
}

static const lmn__bucket_functions functions = {.name = "ternary",
                                                .bytes = bucket_bytes,
                                                .encode = encode,
                                                .check = check,
                                                .decode_add = decode_add,
                                                .mean_error = mean_error};

static const ternary_config defaults = {
    .sliced = {
        .functions = &functions, .n_levels = 2, .grain = 512, .rounding = LMN__ROUND_STOCHASTIC}};

const lmn__compressor_family lmn__compressor_ternary = {
    .method = {.entry = {.name = "ternary",
                         .summary = "each number as -s, 0 or s, a scale s for each bucket",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(ternary_config),
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

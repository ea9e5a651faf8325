/*
 * Top-k: the k entries of largest magnitude, as indices and values.
 *
 * A level is a density rho; k = ceil(rho * count), at least 1. Of equal magnitudes the lower index
 * goes first, and zeros are not sent, so a message may hold fewer than k entries. Messages are
 * those of lamina/sparse.h.
 *
 * Source: S. Stich, J.-B. Cordonnier, M. Jaggi, "Sparsified SGD with memory", NeurIPS 2018,
 * arXiv:1809.07599.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compress_internal.h"
#include "levels_internal.h"
#include "topk_internal.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Scaled values share a scale over so many entries. */
#define SCALED_BLOCK ((size_t)512)

typedef struct topk_config {
    double density;
    lmn_spec_list levels;
    uint64_t format; /* lmn_sparse_values */
    bool reuse;
    /* Derived. */
    lmn__level_list densities;
    size_t static_level;
} topk_config;

static const topk_config defaults = {.density = 0.01};

static const lmn_spec_field fields[] = {
    {.key = "density",
     .type = LMN_SPEC_F64,
     .offset = offsetof(topk_config, density),
     .min = 0.0,
     .max = 1.0,
     .min_exclusive = true,
     .help = "fraction of entries that is sent (0.01)"},
    {.key = "levels",
     .type = LMN_SPEC_F64_LIST,
     .offset = offsetof(topk_config, levels),
     .min = 0.0,
     .max = 1.0,
     .min_exclusive = true,
     .help = "densities that allocation may choose, besides density and dense (20, 10, 5, 2 and "
             "0.5 times density)"},
    {.key = "values",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(topk_config, format),
     .choices = "f32|bf16|q8|q4",
     .help = "how values travel: whole, rounded to 16 bits, or to 8 or 4 bits with a scale for "
             "every 512 of them (f32)"},
    {.key = "reuse",
     .type = LMN_SPEC_BOOL,
     .offset = offsetof(topk_config, reuse),
     .help = "send what reaches the threshold of the step before, 2/3 to 5/4 of density, and find "
             "it anew every 32 steps (no)"},
};

static lmn_status complete(void *config_memory, lmn_error *err)
{
    (void)err;
    topk_config *config = config_memory;
    config->static_level =
        lmn__density_levels(config->density, &config->levels, &config->densities);
    return LMN_OK;
}

static lmn__compressor_levels levels(const void *config_memory)
{
    const topk_config *config = config_memory;
    return (lmn__compressor_levels){.count = config->densities.count + 1,
                                    .static_level = config->static_level};
}

static void level_format(const void *config_memory, size_t level, char *text, size_t capacity)
{
    const topk_config *config = config_memory;
    (void)snprintf(text, capacity, "density=%.6g", config->densities.values[level - 1]);
}

static size_t entries_kept(const topk_config *config, size_t level, size_t count)
{
    return lmn__entries_kept(config->densities.values[level - 1], count);
}

static lmn__topk_quota quota_of(const topk_config *config, size_t level, size_t count)
{
    const size_t k = entries_kept(config, level, count);
    lmn__topk_quota quota = {.wanted = k, .fewest = k, .most = k, .reuse = config->reuse};
    if (config->reuse) {
        quota.fewest = k - k / 3;
        quota.most = k + k / 4 < count ? k + k / 4 : count;
    }
    return quota;
}

static size_t payload_bytes(const void *config_memory, size_t level, lmn_layer_shape shape)
{
    const topk_config *config = config_memory;
    return lmn_sparse_bytes_max(quota_of(config, level, shape.count).most, shape.count,
                                (lmn_sparse_values)config->format);
}

static size_t scratch_bytes(const void *config, lmn_layer_shape shape)
{
    (void)config;
    return lmn__topk_scratch_bytes(shape.count);
}

static lmn_compressor_memory memory_of(const void *config, lmn_layer_shape shape)
{
    (void)config;
    (void)shape;
    return (lmn_compressor_memory){.own = LMN__TOPK_MEMORY};
}

/*
 * Of the energy that is sent, the largest part that rounding can lose: rounding moves a number by
 * half a step or by all of it, whichever is less, so the worst block has one number of full scale
 * and else numbers of half a step.
 */
static double rounding_loss(lmn_sparse_values format, size_t n_entries)
{
    if (format == LMN_SPARSE_F32) {
        return 0.0;
    }
    if (format == LMN_SPARSE_BF16) {
        return 0x1p-16;
    }
    const double others = (double)(n_entries < SCALED_BLOCK ? n_entries : SCALED_BLOCK) - 1.0;
    const double steps = format == LMN_SPARSE_Q8 ? 127.0 : 7.0;
    const double lost = others / (4.0 * steps * steps);
    return lost / (1.0 + lost);
}

static double contraction(const void *config_memory, size_t level, lmn_layer_shape shape)
{
    const topk_config *config = config_memory;
    const lmn__topk_quota quota = quota_of(config, level, shape.count);
    const double kept = (double)quota.fewest / (double)shape.count;
    return kept * (1.0 - rounding_loss((lmn_sparse_values)config->format, quota.most));
}

/*
 * An entry is sent about every count / k steps, so a fed-back error has grown by that factor when
 * its turn comes: k / count cancels it in one go, 2 k / count turns it into its negative.
 */
static lmn_eta_rule eta(const void *config, size_t level, lmn_layer_shape shape)
{
    const double density = (double)entries_kept(config, level, shape.count) / (double)shape.count;
    return (lmn_eta_rule){.suggested = density,
                          .limit = 2.0 * density,
                          .lowest = density / 64.0,
                          .highest = 1.25 * density};
}

static lmn_status encode(const void *config_memory, lmn_encode_job *job, lmn_error *err)
{
    const topk_config *config = config_memory;
    if (job->count > UINT32_MAX) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "topk numbers entries with 32 bits, but a layer has %zu; cut it",
                             job->count);
    }
    const lmn__topk_quota quota = quota_of(config, job->level, job->count);
    const lmn__entries entries = lmn__topk_select(job, &quota);
    job->payload_bytes = 0;
    if (!job->is_finite) {
        return LMN_OK;
    }
    const lmn_sparse_values format = (lmn_sparse_values)config->format;
    job->payload_bytes =
        lmn_sparse_write(entries.indices, entries.values, entries.n,
                         (lmn_range){.first = 0, .count = job->count}, format, job->payload);
    lmn_sparse_round(entries.values, entries.n, format);
    job->source->sent_entries(job->source->user, entries.n, entries.indices, entries.values);
    return LMN_OK;
}

static lmn_sparse_message message_of(const lmn_decode_job *job)
{
    return (lmn_sparse_message){.payload = job->payload,
                                .bytes = job->payload_bytes,
                                .range = {.first = 0, .count = job->count}};
}

static lmn_status check(const void *config, const lmn_decode_job *job, lmn_error *err)
{
    const lmn_sparse_message message = message_of(job);
    return lmn_sparse_check(&message, quota_of(config, job->level, job->count).most, err);
}

static void decode_add(const void *config, const lmn_decode_job *job, float weight, float *acc)
{
    (void)config;
    const lmn_sparse_message message = message_of(job);
    lmn_sparse_add(&message, weight, acc);
}

static void error_curve(const void *config_memory, const float *vector, lmn_layer_shape shape,
                        double *squared_error_out, void *scratch)
{
    const topk_config *config = config_memory;
    size_t kept[LMN__LEVELS_MAX] = {0};
    for (size_t i = 0; i < config->densities.count; i++) {
        kept[i] = entries_kept(config, i + 1, shape.count);
        squared_error_out[i + 1] = 0.0;
    }
    if (shape.count > 0) {
        lmn__topk_error_curve(vector, shape.count, kept, config->densities.count,
                              (lmn_sparse_values)config->format, squared_error_out + 1, scratch);
    }
}

static lmn_compressor_entries entries_of(const void *config_memory, size_t level,
                                         lmn_layer_shape shape)
{
    const topk_config *config = config_memory;
    const lmn__topk_quota quota = quota_of(config, level, shape.count);
    return (lmn_compressor_entries){
        .wanted = quota.wanted, .most = quota.most, .values = (lmn_sparse_values)config->format};
}

static const lmn__message_functions messages = {
    .encode = encode, .check = check, .decode_add = decode_add, .entries = entries_of};

const lmn__compressor_family lmn__compressor_topk = {
    .method = {.entry = {.name = "topk",
                         .summary = "the largest entries of each layer, as indices and values",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(topk_config),
               .defaults = &defaults,
               .complete = complete},
    .combine = LMN_COMBINE_SPARSE,
    .levels = levels,
    .level_format = level_format,
    .payload_bytes = payload_bytes,
    .scratch_bytes = scratch_bytes,
    .memory = memory_of,
    .contraction = contraction,
    .eta = eta,
    .eta_basis = LMN__ETA_OF_DENSITY,
    .error_curve = error_curve,
    .messages = &messages,
};

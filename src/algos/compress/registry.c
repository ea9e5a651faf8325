/*
 * The public face of compressors: one object over the family that its spec names.
 *
 * Level 0, which is the same for all families, and the checks of ranges are done here once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compress_internal.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>

struct lmn_compressor {
    const lmn__compressor_family *family;
    void *config; /* owned */
    lmn__compressor_levels levels;
};

#define FAMILY_POINTER(name) &lmn__compressor_##name,
static const lmn__compressor_family *const families[] = {LMN__COMPRESSORS(FAMILY_POINTER)};
#undef FAMILY_POINTER

static const lmn__method *method_at(size_t index)
{
    return index < sizeof families / sizeof families[0] ? &families[index]->method : NULL;
}

lmn_status lmn_compressor_create(const char *spec, lmn_compressor **compressor_out, lmn_error *err)
{
    size_t index = 0;
    void *config = NULL;
    const lmn_status status =
        lmn__method_configure("compressor", spec, method_at, &index, &config, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_compressor *compressor = lmn_alloc(1, sizeof *compressor, err);
    if (compressor == NULL) {
        lmn_free(config);
        return LMN_ERR_MEMORY;
    }
    compressor->family = families[index];
    compressor->config = config;
    compressor->levels = families[index]->levels(config);
    *compressor_out = compressor;
    return LMN_OK;
}

void lmn_compressor_destroy(lmn_compressor *compressor)
{
    if (compressor != NULL) {
        lmn_free(compressor->config);
        lmn_free(compressor);
    }
}

size_t lmn_compressor_level_count(const lmn_compressor *compressor)
{
    return compressor->levels.count;
}

size_t lmn_compressor_static_level(const lmn_compressor *compressor)
{
    return compressor->levels.static_level;
}

void lmn_compressor_level_format(const lmn_compressor *compressor, size_t level, char *text,
                                 size_t capacity)
{
    assert(level < compressor->levels.count);
    if (level == 0) {
        (void)snprintf(text, capacity, "dense");
        return;
    }
    compressor->family->level_format(compressor->config, level, text, capacity);
}

lmn_combine lmn_compressor_combine(const lmn_compressor *compressor, size_t level)
{
    assert(level < compressor->levels.count);
    return level == 0 ? LMN_COMBINE_SUM : compressor->family->combine;
}

lmn_layer_shape lmn_layer_flat(size_t count)
{
    return (lmn_layer_shape){.count = count, .rows = 1};
}

size_t lmn_compressor_payload_bytes(const lmn_compressor *compressor, size_t level,
                                    lmn_layer_shape shape)
{
    assert(level < compressor->levels.count);
    if (level == 0) {
        return sizeof(float) * shape.count;
    }
    return compressor->family->payload_bytes(compressor->config, level, shape);
}

size_t lmn_compressor_scratch_bytes(const lmn_compressor *compressor, lmn_layer_shape shape)
{
    const lmn__compressor_family *family = compressor->family;
    return family->scratch_bytes == NULL ? 0 : family->scratch_bytes(compressor->config, shape);
}

lmn_compressor_memory lmn_compressor_memory_of(const lmn_compressor *compressor,
                                               lmn_layer_shape shape)
{
    const lmn__compressor_family *family = compressor->family;
    if (family->memory == NULL) {
        return (lmn_compressor_memory){.count = 0};
    }
    return family->memory(compressor->config, shape);
}

double lmn_compressor_contraction(const lmn_compressor *compressor, size_t level,
                                  lmn_layer_shape shape)
{
    assert(level < compressor->levels.count);
    if (level == 0 || shape.count == 0) {
        return 1.0;
    }
    return compressor->family->contraction(compressor->config, level, shape);
}

lmn_eta_rule lmn_compressor_eta(const lmn_compressor *compressor, size_t level,
                                lmn_layer_shape shape)
{
    assert(level < compressor->levels.count);
    if (level == 0 || shape.count == 0) {
        /* Sent whole, the error e becomes (1 - eta) e: gone at 1, growing above 2. */
        return lmn__fixed_eta(1.0, 2.0);
    }
    return compressor->family->eta(compressor->config, level, shape);
}

double lmn_compressor_eta_observed(const lmn_compressor *compressor, size_t level,
                                   const lmn_eta_rule *rule, const lmn_observed *observed)
{
    assert(level < compressor->levels.count);
    const lmn__eta_basis basis = level == 0 ? LMN__ETA_OF_LEVEL : compressor->family->eta_basis;
    switch (basis) {
    case LMN__ETA_OF_KEPT:
        return 0.5 * observed->kept;
    case LMN__ETA_OF_DENSITY:
        return observed->density;
    case LMN__ETA_OF_LEVEL:
        break;
    }
    return rule->suggested;
}

void lmn_compressor_error_curve(const lmn_compressor *compressor, const float *vector,
                                lmn_layer_shape shape, double *squared_error_out, void *scratch)
{
    squared_error_out[0] = 0.0;
    if (compressor->levels.count > 1) {
        compressor->family->error_curve(compressor->config, vector, shape, squared_error_out,
                                        scratch);
    }
}

double lmn_compressor_curve_work(const lmn_compressor *compressor, lmn_layer_shape shape)
{
    return compressor->family->curve_work == NULL
               ? (double)shape.count
               : compressor->family->curve_work(compressor->config, shape);
}

/* Messages exist for levels above 0 of families that send any. */
static lmn_status check_level(const lmn_compressor *compressor, size_t level, lmn_error *err)
{
    if (compressor->family->messages != NULL && level >= 1 && level < compressor->levels.count) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_ARGUMENT,
                         "compressor '%s' has no messages at level %zu; it has levels 0 to %zu, "
                         "and level 0 travels without",
                         compressor->family->method.entry.name, level,
                         compressor->levels.count - 1);
}

static size_t bytes_needed(const lmn_compressor *compressor, const lmn_encode_job *job)
{
    const lmn__message_functions *messages = compressor->family->messages;
    return messages->part_bytes != NULL
               ? messages->part_bytes(compressor->config, job->level, job->count)
               : lmn_compressor_payload_bytes(compressor, job->level, job->shape);
}

lmn_status lmn_compressor_encode(const lmn_compressor *compressor, lmn_encode_job *job,
                                 lmn_error *err)
{
    const lmn_status status = check_level(compressor, job->level, err);
    if (status != LMN_OK) {
        return status;
    }
    const size_t needed = bytes_needed(compressor, job);
    if (job->payload_capacity < needed) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "a message of compressor '%s' for %zu elements takes up to %zu bytes, "
                             "but there is room for %zu",
                             compressor->family->method.entry.name, job->count, needed,
                             job->payload_capacity);
    }
    return compressor->family->messages->encode(compressor->config, job, err);
}

lmn_status lmn_compressor_check(const lmn_compressor *compressor, const lmn_decode_job *job,
                                lmn_error *err)
{
    const lmn_status status = check_level(compressor, job->level, err);
    if (status != LMN_OK) {
        return status;
    }
    return compressor->family->messages->check(compressor->config, job, err);
}

void lmn_compressor_decode_add(const lmn_compressor *compressor, const lmn_decode_job *job,
                               float weight, float *acc)
{
    assert(job->level >= 1 && job->level < compressor->levels.count);
    compressor->family->messages->decode_add(compressor->config, job, weight, acc);
}

lmn_compressor_entries lmn_compressor_entries_of(const lmn_compressor *compressor, size_t level,
                                                 lmn_layer_shape shape)
{
    assert(lmn_compressor_combine(compressor, level) == LMN_COMBINE_SPARSE);
    return compressor->family->messages->entries(compressor->config, level, shape);
}

size_t lmn_compressor_grain(const lmn_compressor *compressor)
{
    assert(compressor->family->combine == LMN_COMBINE_SLICED);
    return compressor->family->messages->grain(compressor->config);
}

size_t lmn_compressor_part_bytes(const lmn_compressor *compressor, size_t level, size_t count)
{
    assert(compressor->family->combine == LMN_COMBINE_SLICED && level >= 1);
    return compressor->family->messages->part_bytes(compressor->config, level, count);
}

int lmn_compressor_ranks_max(const lmn_compressor *compressor)
{
    const lmn__round_functions *rounds = compressor->family->rounds;
    return rounds == NULL || rounds->ranks_max == NULL ? INT_MAX
                                                       : rounds->ranks_max(compressor->config);
}

size_t lmn_compressor_round_count(const lmn_compressor *compressor, size_t level)
{
    assert(compressor->family->combine == LMN_COMBINE_ROUNDS && level >= 1);
    return compressor->family->rounds->count(compressor->config, level);
}

lmn_round lmn_compressor_round(const lmn_compressor *compressor, size_t level,
                               lmn_layer_shape shape, size_t round, uint64_t step)
{
    return compressor->family->rounds->round(compressor->config, level, shape, round, step);
}

void lmn_compressor_round_encode(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                 size_t round)
{
    compressor->family->rounds->encode(compressor->config, job, round);
}

void lmn_compressor_rounds_decode_add(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                      float weight, float *acc)
{
    compressor->family->rounds->decode_add(compressor->config, job, weight, acc);
}

void lmn_compressor_rounds_sent(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                size_t first, size_t count, float *sent)
{
    compressor->family->rounds->sent(compressor->config, job, first, count, sent);
}

void lmn_compressor_rounds_commit(const lmn_compressor *compressor, const lmn_rounds_job *job)
{
    if (compressor->family->rounds->commit != NULL) {
        compressor->family->rounds->commit(compressor->config, job);
    }
}

const lmn_spec_entry *lmn_compressor_entry(size_t index)
{
    return lmn__method_entry(method_at, index);
}

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

size_t lmn_compressor_payload_bytes(const lmn_compressor *compressor, size_t level, size_t count)
{
    assert(level < compressor->levels.count);
    if (level == 0) {
        return sizeof(float) * count;
    }
    return compressor->family->payload_bytes(compressor->config, level, count);
}

size_t lmn_compressor_scratch_bytes(const lmn_compressor *compressor, size_t count)
{
    return compressor->levels.count == 1
               ? 0
               : compressor->family->scratch_bytes(compressor->config, count);
}

double lmn_compressor_contraction(const lmn_compressor *compressor, size_t level, size_t count)
{
    assert(level < compressor->levels.count);
    if (level == 0 || count == 0) {
        return 1.0;
    }
    return compressor->family->contraction(compressor->config, level, count);
}

lmn_eta_rule lmn_compressor_eta(const lmn_compressor *compressor, size_t level, size_t count)
{
    assert(level < compressor->levels.count);
    if (level == 0 || count == 0) {
        /* Sent whole, the error e becomes (1 - eta) e: gone at 1, growing above 2. */
        return (lmn_eta_rule){.suggested = 1.0, .limit = 2.0};
    }
    return compressor->family->eta(compressor->config, level, count);
}

/* Messages exist for levels that are gathered only. */
static lmn_status check_level(const lmn_compressor *compressor, size_t level, lmn_error *err)
{
    if (level >= 1 && level < compressor->levels.count) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_ARGUMENT,
                         "compressor '%s' has no messages at level %zu; levels from 1 to %zu have",
                         compressor->family->method.entry.name, level,
                         compressor->levels.count - 1);
}

lmn_status lmn_compressor_encode(const lmn_compressor *compressor, lmn_encode_job *job,
                                 lmn_error *err)
{
    const lmn_status status = check_level(compressor, job->level, err);
    if (status != LMN_OK) {
        return status;
    }
    const size_t needed = lmn_compressor_payload_bytes(compressor, job->level, job->count);
    if (job->payload_capacity < needed) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "a message of compressor '%s' for %zu elements takes up to %zu bytes, "
                             "but there is room for %zu",
                             compressor->family->method.entry.name, job->count, needed,
                             job->payload_capacity);
    }
    return compressor->family->encode(compressor->config, job, err);
}

lmn_status lmn_compressor_check(const lmn_compressor *compressor, const lmn_decode_job *job,
                                lmn_error *err)
{
    const lmn_status status = check_level(compressor, job->level, err);
    if (status != LMN_OK) {
        return status;
    }
    return compressor->family->check(compressor->config, job, err);
}

void lmn_compressor_decode_add(const lmn_compressor *compressor, const lmn_decode_job *job,
                               float weight, float *acc)
{
    assert(job->level >= 1 && job->level < compressor->levels.count);
    compressor->family->decode_add(compressor->config, job, weight, acc);
}

void lmn_compressor_error_curve(const lmn_compressor *compressor, const float *vector, size_t count,
                                double *squared_error_out, void *scratch)
{
    squared_error_out[0] = 0.0;
    if (compressor->levels.count > 1) {
        compressor->family->error_curve(compressor->config, vector, count, squared_error_out,
                                        scratch);
    }
}

const lmn_spec_entry *lmn_compressor_entry(size_t index)
{
    return lmn__method_entry(method_at, index);
}

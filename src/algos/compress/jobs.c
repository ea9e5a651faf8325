/*
 * What compressors do: messages and rounds, each by the family that the level belongs to.
 *
 * A family sees a job with its own level and its own part of the layer's memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "registry_internal.h"

#include <assert.h>
#include <limits.h>

/* ------------------------------------------------------------------ messages */

/* The member whose messages those of a level are; they exist for levels above 0 of families that
   send any. NULL, with the reason, for others. */
static const lmn__member *messages_of(const lmn_compressor *compressor, size_t level,
                                      lmn_error *err)
{
    const bool exists = level >= 1 && level < compressor->n_levels;
    const lmn__member *m = exists ? lmn__member_of(compressor, level) : NULL;
    if (m != NULL && m->family->messages != NULL) {
        return m;
    }
    (void)lmn_error_set(err, LMN_ERR_ARGUMENT,
                        "compressor '%s' has no messages at level %zu; it has levels 0 to %zu, "
                        "and level 0 travels without",
                        compressor->members[0].family->method.entry.name, level,
                        compressor->n_levels - 1);
    return NULL;
}

static size_t bytes_needed(const lmn__member *m, const lmn_encode_job *job)
{
    const lmn__message_functions *messages = m->family->messages;
    return messages->part_bytes != NULL
               ? messages->part_bytes(m->config, job->level, job->count)
               : m->family->payload_bytes(m->config, job->level, job->shape);
}

lmn_status lmn_compressor_encode(const lmn_compressor *compressor, lmn_encode_job *job,
                                 lmn_error *err)
{
    const lmn__member *m = messages_of(compressor, job->level, err);
    if (m == NULL) {
        return LMN_ERR_ARGUMENT;
    }
    lmn_encode_job own = *job;
    own.level = lmn__own_level(m, job->level);
    const size_t needed = bytes_needed(m, &own);
    if (job->payload_capacity < needed) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "a message of compressor '%s' for %zu elements takes up to %zu bytes, "
                             "but there is room for %zu",
                             m->family->method.entry.name, job->count, needed,
                             job->payload_capacity);
    }
    if (own.memory != NULL) {
        own.memory += lmn__memory_before(compressor, m, job->shape).own;
    }
    const lmn_status status = m->family->messages->encode(m->config, &own, err);
    job->payload_bytes = own.payload_bytes;
    job->is_finite = own.is_finite;
    return status;
}

lmn_status lmn_compressor_check(const lmn_compressor *compressor, const lmn_decode_job *job,
                                lmn_error *err)
{
    const lmn__member *m = messages_of(compressor, job->level, err);
    if (m == NULL) {
        return LMN_ERR_ARGUMENT;
    }
    lmn_decode_job own = *job;
    own.level = lmn__own_level(m, job->level);
    return m->family->messages->check(m->config, &own, err);
}

void lmn_compressor_decode_add(const lmn_compressor *compressor, const lmn_decode_job *job,
                               float weight, float *acc)
{
    const lmn__member *m = lmn__member_of(compressor, job->level);
    lmn_decode_job own = *job;
    own.level = lmn__own_level(m, job->level);
    m->family->messages->decode_add(m->config, &own, weight, acc);
}

lmn_compressor_entries lmn_compressor_entries_of(const lmn_compressor *compressor, size_t level,
                                                 lmn_layer_shape shape)
{
    const lmn__member *m = lmn__member_of(compressor, level);
    assert(m->family->combine == LMN_COMBINE_SPARSE);
    return m->family->messages->entries(m->config, lmn__own_level(m, level), shape);
}

/* Grains are powers of two: the largest is a multiple of all. */
size_t lmn_compressor_grain(const lmn_compressor *compressor)
{
    size_t largest = 0;
    for (size_t i = 0; i < compressor->n_members; i++) {
        const lmn__member *m = &compressor->members[i];
        if (m->family->combine == LMN_COMBINE_SLICED) {
            const size_t grain = m->family->messages->grain(m->config);
            largest = grain > largest ? grain : largest;
        }
    }
    assert(largest > 0);
    return largest;
}

size_t lmn_compressor_part_bytes(const lmn_compressor *compressor, size_t level, size_t count)
{
    const lmn__member *m = lmn__member_of(compressor, level);
    assert(m->family->combine == LMN_COMBINE_SLICED);
    return m->family->messages->part_bytes(m->config, lmn__own_level(m, level), count);
}

/* ------------------------------------------------------------------ rounds */

int lmn_compressor_ranks_max(const lmn_compressor *compressor)
{
    int fewest = INT_MAX;
    for (size_t i = 0; i < compressor->n_members; i++) {
        const lmn__round_functions *rounds = compressor->members[i].family->rounds;
        if (rounds != NULL && rounds->ranks_max != NULL) {
            const int ranks = rounds->ranks_max(compressor->members[i].config);
            fewest = ranks < fewest ? ranks : fewest;
        }
    }
    return fewest;
}

size_t lmn_compressor_round_count(const lmn_compressor *compressor, size_t level)
{
    const lmn__member *m = lmn__member_of(compressor, level);
    assert(m->family->combine == LMN_COMBINE_ROUNDS);
    return m->family->rounds->count(m->config, lmn__own_level(m, level));
}

lmn_round lmn_compressor_round(const lmn_compressor *compressor, size_t level,
                               lmn_layer_shape shape, size_t round, uint64_t step)
{
    const lmn__member *m = lmn__member_of(compressor, level);
    return m->family->rounds->round(m->config, lmn__own_level(m, level), shape, round, step);
}

/* A job as the member sees it. */
static lmn_rounds_job own_job(const lmn_compressor *compressor, const lmn__member *m,
                              const lmn_rounds_job *job)
{
    lmn_rounds_job own = *job;
    own.level = lmn__own_level(m, job->level);
    if (own.memory != NULL) {
        own.memory += lmn__memory_before(compressor, m, job->shape).shared;
    }
    return own;
}

void lmn_compressor_round_encode(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                 size_t round)
{
    const lmn__member *m = lmn__member_of(compressor, job->level);
    const lmn_rounds_job own = own_job(compressor, m, job);
    m->family->rounds->encode(m->config, &own, round);
}

void lmn_compressor_rounds_decode_add(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                      float weight, float *acc)
{
    const lmn__member *m = lmn__member_of(compressor, job->level);
    const lmn_rounds_job own = own_job(compressor, m, job);
    m->family->rounds->decode_add(m->config, &own, weight, acc);
}

void lmn_compressor_rounds_sent(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                size_t first, size_t count, float *sent)
{
    const lmn__member *m = lmn__member_of(compressor, job->level);
    const lmn_rounds_job own = own_job(compressor, m, job);
    m->family->rounds->sent(m->config, &own, first, count, sent);
}

void lmn_compressor_rounds_commit(const lmn_compressor *compressor, const lmn_rounds_job *job)
{
    const lmn__member *m = lmn__member_of(compressor, job->level);
    if (m->family->rounds->commit != NULL) {
        const lmn_rounds_job own = own_job(compressor, m, job);
        m->family->rounds->commit(m->config, &own);
    }
}

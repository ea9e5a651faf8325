/*
 * The public face of compressors: one object over the families that its spec names.
 *
 * A mixture is several families, each with levels of its own: those of the first come first, then
 * those of the second, and so on. Which family a level belongs to, level 0, which is the same for
 * all of them, and the checks of ranges are done here once: a family sees its own levels only, and
 * of what is remembered of a layer its own part.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compress_internal.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"

#include <assert.h>
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Of a mixture. Levels of all of them together stay below 256, which is what solvers can take. */
#define MEMBERS_MAX 6
#define SPEC_BYTES  1024

typedef struct member {
    const lmn__compressor_family *family;
    void *config; /* owned */
    lmn__compressor_levels levels;
    size_t before; /* levels above 0 of the members before: its level l is before + l of all */
} member;

struct lmn_compressor {
    size_t n_members; /* at least 1 */
    member members[MEMBERS_MAX];
    size_t n_levels;
};

#define FAMILY_POINTER(name) &lmn__compressor_##name,
static const lmn__compressor_family *const families[] = {LMN__COMPRESSORS(FAMILY_POINTER)};
#undef FAMILY_POINTER

static const lmn__method *method_at(size_t index)
{
    return index < sizeof families / sizeof families[0] ? &families[index]->method : NULL;
}

/* ------------------------------------------------------------------ creation */

/* Characters of the first member of a spec: to the '+' that no digit follows, as one does in 1e+3.
 */
static size_t member_length(const char *spec)
{
    size_t length = 0;
    while (spec[length] != '\0' &&
           (spec[length] != '+' || isdigit((unsigned char)spec[length + 1]) != 0)) {
        length++;
    }
    return length;
}

/* What a member of a mixture may not be. */
static lmn_status check_member(const lmn_compressor *compressor, const member *added,
                               lmn_error *err)
{
    const char *name = added->family->method.entry.name;
    if (added->levels.count == 1) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%s' is level 0 of every mixture already: leave it out", name);
    }
    for (size_t i = 0; i < compressor->n_members; i++) {
        if (compressor->members[i].family == added->family) {
            return lmn_error_set(err, LMN_ERR_USAGE,
                                 "'%s' is there twice: name all its levels at once, as "
                                 "levels=A/B/C, where it has that key",
                                 name);
        }
    }
    return LMN_OK;
}

static lmn_status add_member(lmn_compressor *compressor, const char *spec, bool is_mixture,
                             lmn_error *err)
{
    size_t index = 0;
    member added = {.before = compressor->n_levels - 1};
    lmn_status status =
        lmn__method_configure("compressor", spec, method_at, &index, &added.config, err);
    if (status != LMN_OK) {
        return status;
    }
    added.family = families[index];
    added.levels = added.family->levels(added.config);
    if (is_mixture) {
        status = check_member(compressor, &added, err);
    }
    if (status != LMN_OK) {
        lmn_free(added.config);
        return status;
    }
    compressor->members[compressor->n_members++] = added;
    compressor->n_levels += added.levels.count - 1;
    return LMN_OK;
}

/* `rest` is what follows a '+', or all. */
static lmn_status add_next_member(lmn_compressor *compressor, const char *rest, size_t length,
                                  bool is_mixture, lmn_error *err)
{
    char spec[SPEC_BYTES];
    if (!is_mixture) {
        return add_member(compressor, rest, false, err);
    }
    if (compressor->n_members == MEMBERS_MAX || length >= sizeof spec) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "at most %d families, of %d characters each, can be mixed",
                             MEMBERS_MAX, SPEC_BYTES - 1);
    }
    memcpy(spec, rest, length);
    spec[length] = '\0';
    return add_member(compressor, spec, true, err);
}

static lmn_status add_members(lmn_compressor *compressor, const char *spec, lmn_error *err)
{
    const bool is_mixture = spec[member_length(spec)] != '\0';
    const char *rest = spec;
    lmn_status status = LMN_OK;
    for (bool has_more = true; has_more && status == LMN_OK;) {
        const size_t length = member_length(rest);
        status = add_next_member(compressor, rest, length, is_mixture, err);
        has_more = rest[length] != '\0';
        rest += length + 1;
    }
    if (status != LMN_OK && is_mixture) {
        lmn_error_add_context(err, "compressor '%.128s'", spec);
    }
    return status;
}

lmn_status lmn_compressor_create(const char *spec, lmn_compressor **compressor_out, lmn_error *err)
{
    lmn_compressor *compressor = lmn_alloc(1, sizeof *compressor, err);
    if (compressor == NULL) {
        return LMN_ERR_MEMORY;
    }
    compressor->n_levels = 1;
    const lmn_status status = add_members(compressor, spec, err);
    if (status != LMN_OK) {
        lmn_compressor_destroy(compressor);
        return status;
    }
    *compressor_out = compressor;
    return LMN_OK;
}

void lmn_compressor_destroy(lmn_compressor *compressor)
{
    if (compressor == NULL) {
        return;
    }
    for (size_t i = 0; i < compressor->n_members; i++) {
        lmn_free(compressor->members[i].config);
    }
    lmn_free(compressor);
}

/* ------------------------------------------------------------------ levels */

/* The member whose level above 0 this is. */
static const member *member_of(const lmn_compressor *compressor, size_t level)
{
    assert(level >= 1 && level < compressor->n_levels);
    const member *found = &compressor->members[0];
    while (level - found->before >= found->levels.count) {
        found++;
    }
    return found;
}

/* The same level as its family counts. */
static size_t own_level(const member *m, size_t level)
{
    return level - m->before;
}

size_t lmn_compressor_family_count(const lmn_compressor *compressor)
{
    return compressor->n_members;
}

size_t lmn_compressor_level_count(const lmn_compressor *compressor)
{
    return compressor->n_levels;
}

size_t lmn_compressor_static_level(const lmn_compressor *compressor)
{
    return compressor->members[0].levels.static_level;
}

size_t lmn_compressor_named_level(const lmn_compressor *compressor, size_t level)
{
    if (level == 0) {
        return 0;
    }
    const member *m = member_of(compressor, level);
    return m->before + m->levels.static_level;
}

void lmn_compressor_level_format(const lmn_compressor *compressor, size_t level, char *text,
                                 size_t capacity)
{
    if (level == 0) {
        (void)snprintf(text, capacity, "dense");
        return;
    }
    const member *m = member_of(compressor, level);
    const char *name = m->family->method.entry.name;
    size_t used = 0;
    if (compressor->n_members > 1) {
        (void)snprintf(text, capacity, "%s:", name);
        used = strlen(text);
    }
    m->family->level_format(m->config, own_level(m, level), text + used, capacity - used);
    /* Families without keys call their level by their name. */
    if (used > 0 && strcmp(text + used, name) == 0) {
        text[used - 1] = '\0';
    }
}

lmn_combine lmn_compressor_combine(const lmn_compressor *compressor, size_t level)
{
    return level == 0 ? LMN_COMBINE_SUM : member_of(compressor, level)->family->combine;
}

lmn_layer_shape lmn_layer_flat(size_t count)
{
    return (lmn_layer_shape){.count = count, .rows = 1};
}

size_t lmn_compressor_payload_bytes(const lmn_compressor *compressor, size_t level,
                                    lmn_layer_shape shape)
{
    if (level == 0) {
        return sizeof(float) * shape.count;
    }
    const member *m = member_of(compressor, level);
    return m->family->payload_bytes(m->config, own_level(m, level), shape);
}

size_t lmn_compressor_scratch_bytes(const lmn_compressor *compressor, lmn_layer_shape shape)
{
    size_t most = 0;
    for (size_t i = 0; i < compressor->n_members; i++) {
        const member *m = &compressor->members[i];
        const size_t bytes =
            m->family->scratch_bytes == NULL ? 0 : m->family->scratch_bytes(m->config, shape);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* ------------------------------------------------------------------ memory of a layer */

static lmn_compressor_memory memory_of(const member *m, lmn_layer_shape shape)
{
    return m->family->memory == NULL ? (lmn_compressor_memory){.own = 0, .shared = 0}
                                     : m->family->memory(m->config, shape);
}

/* What the first n members remember, one behind the other, each aligned. */
static lmn_compressor_memory memory_of_first(const lmn_compressor *compressor, size_t n,
                                             lmn_layer_shape shape)
{
    lmn_compressor_memory sum = {.own = 0, .shared = 0};
    for (size_t i = 0; i < n; i++) {
        const lmn_compressor_memory more = memory_of(&compressor->members[i], shape);
        sum.own = (more.own > 0 ? lmn_align_up_f32(sum.own) : sum.own) + more.own;
        sum.shared = (more.shared > 0 ? lmn_align_up_f32(sum.shared) : sum.shared) + more.shared;
    }
    return sum;
}

lmn_compressor_memory lmn_compressor_memory_of(const lmn_compressor *compressor,
                                               lmn_layer_shape shape)
{
    return memory_of_first(compressor, compressor->n_members, shape);
}

/* Where a member's own part begins. */
static lmn_compressor_memory memory_before(const lmn_compressor *compressor, const member *m,
                                           lmn_layer_shape shape)
{
    const lmn_compressor_memory sum =
        memory_of_first(compressor, (size_t)(m - compressor->members), shape);
    return (lmn_compressor_memory){.own = lmn_align_up_f32(sum.own),
                                   .shared = lmn_align_up_f32(sum.shared)};
}

/* ------------------------------------------------------------------ errors */

double lmn_compressor_contraction(const lmn_compressor *compressor, size_t level,
                                  lmn_layer_shape shape)
{
    if (level == 0 || shape.count == 0) {
        return 1.0;
    }
    const member *m = member_of(compressor, level);
    return m->family->contraction(m->config, own_level(m, level), shape);
}

lmn_eta_rule lmn_compressor_eta(const lmn_compressor *compressor, size_t level,
                                lmn_layer_shape shape)
{
    if (level == 0 || shape.count == 0) {
        /* Sent whole, the error e becomes (1 - eta) e: gone at 1, growing above 2. */
        return lmn__fixed_eta(1.0, 2.0);
    }
    const member *m = member_of(compressor, level);
    return m->family->eta(m->config, own_level(m, level), shape);
}

double lmn_compressor_eta_observed(const lmn_compressor *compressor, size_t level,
                                   const lmn_eta_rule *rule, const lmn_observed *observed)
{
    const lmn__eta_basis basis =
        level == 0 ? LMN__ETA_OF_LEVEL : member_of(compressor, level)->family->eta_basis;
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

/* A family writes its levels from 1 on, which here lie behind those of the members before. */
void lmn_compressor_error_curve(const lmn_compressor *compressor, const float *vector,
                                lmn_layer_shape shape, double *squared_error_out, void *scratch)
{
    squared_error_out[0] = 0.0;
    for (size_t i = 0; i < compressor->n_members; i++) {
        const member *m = &compressor->members[i];
        if (m->levels.count > 1) {
            m->family->error_curve(m->config, vector, shape, squared_error_out + m->before,
                                   scratch);
        }
    }
}

double lmn_compressor_curve_work(const lmn_compressor *compressor, lmn_layer_shape shape)
{
    double work = 0.0;
    for (size_t i = 0; i < compressor->n_members; i++) {
        const member *m = &compressor->members[i];
        work += m->family->curve_work == NULL ? (double)shape.count
                                              : m->family->curve_work(m->config, shape);
    }
    return work;
}

/* ------------------------------------------------------------------ messages */

/* The member whose messages those of a level are; they exist for levels above 0 of families that
   send any. */
static lmn_status find_messages(const lmn_compressor *compressor, size_t level,
                                const member **member_out, lmn_error *err)
{
    if (level >= 1 && level < compressor->n_levels) {
        *member_out = member_of(compressor, level);
        if ((*member_out)->family->messages != NULL) {
            return LMN_OK;
        }
    }
    return lmn_error_set(err, LMN_ERR_ARGUMENT,
                         "compressor '%s' has no messages at level %zu; it has levels 0 to %zu, "
                         "and level 0 travels without",
                         compressor->members[0].family->method.entry.name, level,
                         compressor->n_levels - 1);
}

static size_t bytes_needed(const member *m, const lmn_encode_job *job)
{
    const lmn__message_functions *messages = m->family->messages;
    return messages->part_bytes != NULL
               ? messages->part_bytes(m->config, job->level, job->count)
               : m->family->payload_bytes(m->config, job->level, job->shape);
}

lmn_status lmn_compressor_encode(const lmn_compressor *compressor, lmn_encode_job *job,
                                 lmn_error *err)
{
    const member *m = NULL;
    const lmn_status found = find_messages(compressor, job->level, &m, err);
    if (found != LMN_OK) {
        return found;
    }
    lmn_encode_job own = *job;
    own.level = own_level(m, job->level);
    const size_t needed = bytes_needed(m, &own);
    if (job->payload_capacity < needed) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "a message of compressor '%s' for %zu elements takes up to %zu bytes, "
                             "but there is room for %zu",
                             m->family->method.entry.name, job->count, needed,
                             job->payload_capacity);
    }
    if (own.memory != NULL) {
        own.memory += memory_before(compressor, m, job->shape).own;
    }
    const lmn_status status = m->family->messages->encode(m->config, &own, err);
    job->payload_bytes = own.payload_bytes;
    job->is_finite = own.is_finite;
    return status;
}

lmn_status lmn_compressor_check(const lmn_compressor *compressor, const lmn_decode_job *job,
                                lmn_error *err)
{
    const member *m = NULL;
    const lmn_status status = find_messages(compressor, job->level, &m, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_decode_job own = *job;
    own.level = own_level(m, job->level);
    return m->family->messages->check(m->config, &own, err);
}

void lmn_compressor_decode_add(const lmn_compressor *compressor, const lmn_decode_job *job,
                               float weight, float *acc)
{
    const member *m = member_of(compressor, job->level);
    lmn_decode_job own = *job;
    own.level = own_level(m, job->level);
    m->family->messages->decode_add(m->config, &own, weight, acc);
}

lmn_compressor_entries lmn_compressor_entries_of(const lmn_compressor *compressor, size_t level,
                                                 lmn_layer_shape shape)
{
    const member *m = member_of(compressor, level);
    assert(m->family->combine == LMN_COMBINE_SPARSE);
    return m->family->messages->entries(m->config, own_level(m, level), shape);
}

/* Grains are powers of two: the largest is a multiple of all. */
size_t lmn_compressor_grain(const lmn_compressor *compressor)
{
    size_t largest = 0;
    for (size_t i = 0; i < compressor->n_members; i++) {
        const member *m = &compressor->members[i];
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
    const member *m = member_of(compressor, level);
    assert(m->family->combine == LMN_COMBINE_SLICED);
    return m->family->messages->part_bytes(m->config, own_level(m, level), count);
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
    const member *m = member_of(compressor, level);
    assert(m->family->combine == LMN_COMBINE_ROUNDS);
    return m->family->rounds->count(m->config, own_level(m, level));
}

lmn_round lmn_compressor_round(const lmn_compressor *compressor, size_t level,
                               lmn_layer_shape shape, size_t round, uint64_t step)
{
    const member *m = member_of(compressor, level);
    return m->family->rounds->round(m->config, own_level(m, level), shape, round, step);
}

/* A job as the member sees it. */
static lmn_rounds_job own_job(const lmn_compressor *compressor, const member *m,
                              const lmn_rounds_job *job)
{
    lmn_rounds_job own = *job;
    own.level = own_level(m, job->level);
    if (own.memory != NULL) {
        own.memory += memory_before(compressor, m, job->shape).shared;
    }
    return own;
}

void lmn_compressor_round_encode(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                 size_t round)
{
    const member *m = member_of(compressor, job->level);
    const lmn_rounds_job own = own_job(compressor, m, job);
    m->family->rounds->encode(m->config, &own, round);
}

void lmn_compressor_rounds_decode_add(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                      float weight, float *acc)
{
    const member *m = member_of(compressor, job->level);
    const lmn_rounds_job own = own_job(compressor, m, job);
    m->family->rounds->decode_add(m->config, &own, weight, acc);
}

void lmn_compressor_rounds_sent(const lmn_compressor *compressor, const lmn_rounds_job *job,
                                size_t first, size_t count, float *sent)
{
    const member *m = member_of(compressor, job->level);
    const lmn_rounds_job own = own_job(compressor, m, job);
    m->family->rounds->sent(m->config, &own, first, count, sent);
}

void lmn_compressor_rounds_commit(const lmn_compressor *compressor, const lmn_rounds_job *job)
{
    const member *m = member_of(compressor, job->level);
    if (m->family->rounds->commit != NULL) {
        const lmn_rounds_job own = own_job(compressor, m, job);
        m->family->rounds->commit(m->config, &own);
    }
}

const lmn_spec_entry *lmn_compressor_entry(size_t index)
{
    return lmn__method_entry(method_at, index);
}

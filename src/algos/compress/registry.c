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
#include "lamina/compressor.h"
#include "lamina/memory.h"
#include "registry_internal.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define SPEC_BYTES 1024

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
static lmn_status check_member(const lmn_compressor *compressor, const lmn__member *added,
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
    lmn__member added = {.before = compressor->n_levels - 1};
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
    if (compressor->n_members == LMN__MEMBERS_MAX || length >= sizeof spec) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "at most %d families, of %d characters each, can be mixed",
                             LMN__MEMBERS_MAX, SPEC_BYTES - 1);
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

const lmn__member *lmn__member_of(const lmn_compressor *compressor, size_t level)
{
    assert(level >= 1 && level < compressor->n_levels);
    const lmn__member *found = &compressor->members[0];
    while (level - found->before >= found->levels.count) {
        found++;
    }
    return found;
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
    const lmn__member *m = lmn__member_of(compressor, level);
    return m->before + m->levels.static_level;
}

void lmn_compressor_level_format(const lmn_compressor *compressor, size_t level, char *text,
                                 size_t capacity)
{
    if (level == 0) {
        (void)snprintf(text, capacity, "dense");
        return;
    }
    const lmn__member *m = lmn__member_of(compressor, level);
    const char *name = m->family->method.entry.name;
    size_t used = 0;
    if (compressor->n_members > 1) {
        (void)snprintf(text, capacity, "%s:", name);
        used = strlen(text);
    }
    m->family->level_format(m->config, lmn__own_level(m, level), text + used, capacity - used);
    /* Families without keys call their level by their name. */
    if (used > 0 && strcmp(text + used, name) == 0) {
        text[used - 1] = '\0';
    }
}

lmn_combine lmn_compressor_combine(const lmn_compressor *compressor, size_t level)
{
    return level == 0 ? LMN_COMBINE_SUM : lmn__member_of(compressor, level)->family->combine;
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
    const lmn__member *m = lmn__member_of(compressor, level);
    return m->family->payload_bytes(m->config, lmn__own_level(m, level), shape);
}

size_t lmn_compressor_scratch_bytes(const lmn_compressor *compressor, lmn_layer_shape shape)
{
    size_t most = 0;
    for (size_t i = 0; i < compressor->n_members; i++) {
        const lmn__member *m = &compressor->members[i];
        const size_t bytes =
            m->family->scratch_bytes == NULL ? 0 : m->family->scratch_bytes(m->config, shape);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* ------------------------------------------------------------------ memory of a layer */

static lmn_compressor_memory memory_of(const lmn__member *m, lmn_layer_shape shape)
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

lmn_compressor_memory lmn__memory_before(const lmn_compressor *compressor, const lmn__member *m,
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
    const lmn__member *m = lmn__member_of(compressor, level);
    return m->family->contraction(m->config, lmn__own_level(m, level), shape);
}

lmn_eta_rule lmn_compressor_eta(const lmn_compressor *compressor, size_t level,
                                lmn_layer_shape shape)
{
    if (level == 0 || shape.count == 0) {
        /* Sent whole, the error e becomes (1 - eta) e: gone at 1, growing above 2. */
        return lmn__fixed_eta(1.0, 2.0);
    }
    const lmn__member *m = lmn__member_of(compressor, level);
    return m->family->eta(m->config, lmn__own_level(m, level), shape);
}

double lmn_compressor_eta_observed(const lmn_compressor *compressor, size_t level,
                                   const lmn_eta_rule *rule, const lmn_observed *observed)
{
    const lmn__eta_basis basis =
        level == 0 ? LMN__ETA_OF_LEVEL : lmn__member_of(compressor, level)->family->eta_basis;
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
        const lmn__member *m = &compressor->members[i];
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
        const lmn__member *m = &compressor->members[i];
        work += m->family->curve_work == NULL ? (double)shape.count
                                              : m->family->curve_work(m->config, shape);
    }
    return work;
}

const lmn_spec_entry *lmn_compressor_entry(size_t index)
{
    return lmn__method_entry(method_at, index);
}

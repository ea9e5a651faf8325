/*
 * Top-k: the k entries of largest magnitude, as indices and values.
 *
 * A level is a density rho; k = ceil(rho * count), at least 1. Of equal magnitudes the lower index
 * goes first, and zeros are not sent, so a message may hold fewer than k entries.
 *
 * Message, little-endian: u32 number of entries, u32 indices (ascending), f32 values.
 *
 * Source: S. Stich, J.-B. Cordonnier, M. Jaggi, "Sparsified SGD with memory", NeurIPS 2018,
 * arXiv:1809.07599.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compress_internal.h"
#include "lamina/memory.h"
#include "select_internal.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Messages are copied to and from memory as they are. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a big-endian host needs byte swaps here");

#define DENSITIES_MAX (LMN_SPEC_LIST_MAX + 1)
#define WORD_BYTES    sizeof(uint32_t)
/* Entries that are looked at together: most blocks hold nothing to send. */
#define BLOCK 16

static_assert(DENSITIES_MAX <= LMN__SELECT_CUTS_MAX, "one selection serves all levels");

typedef struct topk_config {
    double density;
    lmn_spec_list levels;
    /* Derived: densities of levels 1, 2, ..., descending. */
    size_t n_densities;
    double densities[DENSITIES_MAX];
    size_t static_level;
} topk_config;

/* The range that L-GreCo searches by default: down to half of the static level, because a layer
   that is refreshed ever more rarely learns from ever older gradients, whatever its share of the
   error. */
static const double default_multiples[] = {20.0, 10.0, 5.0, 2.0, 0.5};

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
};

/* Insert a density in descending order, once. Returns its level. */
static size_t insert_density(topk_config *config, double density)
{
    size_t place = 0;
    while (place < config->n_densities && config->densities[place] > density) {
        place++;
    }
    if (place == config->n_densities || config->densities[place] < density) {
        memmove(&config->densities[place + 1], &config->densities[place],
                (config->n_densities - place) * sizeof config->densities[0]);
        config->densities[place] = density;
        config->n_densities++;
    }
    return place + 1;
}

static lmn_status complete(void *config_memory, lmn_error *err)
{
    (void)err;
    topk_config *config = config_memory;
    for (size_t i = 0; i < config->levels.count; i++) {
        (void)insert_density(config, config->levels.values[i]);
    }
    const size_t n_multiples = sizeof default_multiples / sizeof default_multiples[0];
    for (size_t i = 0; i < n_multiples && config->levels.count == 0; i++) {
        const double density = default_multiples[i] * config->density;
        if (density <= 1.0) {
            (void)insert_density(config, density);
        }
    }
    config->static_level = insert_density(config, config->density);
    return LMN_OK;
}

static lmn__compressor_levels levels(const void *config_memory)
{
    const topk_config *config = config_memory;
    return (lmn__compressor_levels){.count = config->n_densities + 1,
                                    .static_level = config->static_level};
}

static void level_format(const void *config_memory, size_t level, char *text, size_t capacity)
{
    const topk_config *config = config_memory;
    (void)snprintf(text, capacity, "density=%.6g", config->densities[level - 1]);
}

/* k = ceil(density * count); the slack keeps 0.07 of 100, a hair above 7 in binary, at 7. */
static size_t entries_kept(const topk_config *config, size_t level, size_t count)
{
    const double wanted = ceil(config->densities[level - 1] * (double)count * (1.0 - 1e-12));
    const size_t k = wanted < (double)count ? (size_t)wanted : count;
    return k == 0 && count > 0 ? 1 : k;
}

static size_t message_bytes(size_t n_entries)
{
    return WORD_BYTES + 2 * WORD_BYTES * n_entries;
}

static size_t payload_bytes(const void *config, size_t level, lmn_layer_shape shape)
{
    return message_bytes(entries_kept(config, level, shape.count));
}

static size_t scratch_bytes(const void *config, lmn_layer_shape shape)
{
    (void)config;
    return lmn__select_scratch_bytes(shape.count) + lmn_align_up(shape.count * sizeof(float));
}

static double contraction(const void *config, size_t level, lmn_layer_shape shape)
{
    return (double)entries_kept(config, level, shape.count) / (double)shape.count;
}

/*
 * An entry is sent about every count / k steps, so a fed-back error has grown by that factor when
 * its turn comes: k / count cancels it in one go, 2 k / count turns it into its negative.
 */
static lmn_eta_rule eta(const void *config, size_t level, lmn_layer_shape shape)
{
    const double density = contraction(config, level, shape);
    return (lmn_eta_rule){.suggested = density, .limit = 2.0 * density};
}

/* A message that is being written. */
typedef struct writer {
    const float *vector;
    unsigned char *indices; /* where the next index goes */
    unsigned char *values;  /* where the next value goes */
    uint32_t key;           /* larger keys are sent, */
    size_t n_equal;         /* and so many more of this one */
} writer;

/* Signed, since baseline x86-64 has no unsigned vector comparison; keys are below 2^31. */
static bool block_has(const float *vector, uint32_t key)
{
    uint32_t found = 0;
#pragma omp simd reduction(| : found)
    for (size_t i = 0; i < BLOCK; i++) {
        found |= (uint32_t)((int32_t)lmn__key(vector[i]) >= (int32_t)key);
    }
    return found != 0;
}

/* Send what the cut selects among entries first .. end - 1. */
static void send_range(writer *w, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        const uint32_t key = lmn__key(w->vector[i]);
        const bool is_equal = key == w->key && w->n_equal > 0;
        if (key > w->key || is_equal) {
            const uint32_t index = (uint32_t)i;
            memcpy(w->indices, &index, WORD_BYTES);
            memcpy(w->values, &w->vector[i], WORD_BYTES);
            w->indices += WORD_BYTES;
            w->values += WORD_BYTES;
            w->n_equal -= (size_t)is_equal;
        }
    }
}

/* The vector, formed into scratch behind the workspace of the selection. */
static float *form_vector(lmn_encode_job *job)
{
    float *const vector =
        (float *)((unsigned char *)job->scratch + lmn__select_scratch_bytes(job->count));
    job->is_finite = true;
    for (size_t first = 0; first < job->count; first += LMN__TILE) {
        const size_t rest = job->count - first;
        const size_t count = rest < LMN__TILE ? rest : LMN__TILE;
        job->is_finite &= job->source->form(job->source->user, first, count, vector + first);
        job->source->sent(job->source->user, first, count, vector + first, NULL);
    }
    return vector;
}

static lmn_status encode(const void *config, lmn_encode_job *job, lmn_error *err)
{
    if (job->count > UINT32_MAX) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "topk numbers entries with 32 bits, but a layer has %zu; cut it",
                             job->count);
    }
    const float *vector = form_vector(job);
    job->payload_bytes = 0;
    if (!job->is_finite) {
        return LMN_OK;
    }
    lmn__cut cut = {0};
    if (job->count > 0) {
        const size_t k = entries_kept(config, job->level, job->count);
        cut = lmn__select_cut(vector, job->count, k, job->scratch);
    }
    const uint32_t n_entries = (uint32_t)(cut.n_above + cut.n_equal);
    memcpy(job->payload, &n_entries, WORD_BYTES);
    writer w = {.vector = vector,
                .indices = job->payload + WORD_BYTES,
                .values = job->payload + WORD_BYTES + WORD_BYTES * n_entries,
                .key = cut.key,
                .n_equal = cut.n_equal};
    const size_t whole = job->count / BLOCK * BLOCK;
    for (size_t first = 0; first < whole; first += BLOCK) {
        if (block_has(vector + first, cut.key)) {
            send_range(&w, first, first + BLOCK);
        }
    }
    send_range(&w, whole, job->count);
    const unsigned char *entries = job->payload + WORD_BYTES;
    job->source->sent_entries(job->source->user, n_entries, (const uint32_t *)(const void *)entries,
                              (const float *)(const void *)(entries + WORD_BYTES * n_entries));
    job->payload_bytes = message_bytes(n_entries);
    return LMN_OK;
}

static uint32_t word_at(const unsigned char *words, size_t index)
{
    uint32_t word = 0;
    memcpy(&word, words + WORD_BYTES * index, WORD_BYTES);
    return word;
}

/* Indices ascend and lie in the vector, values are finite; n_entries fits the payload. */
static lmn_status check_entries(const lmn_decode_job *job, size_t n_entries, lmn_error *err)
{
    const unsigned char *indices = job->payload + WORD_BYTES;
    const unsigned char *values = indices + WORD_BYTES * n_entries;
    uint64_t smallest = 0; /* that the next index may be */
    for (size_t i = 0; i < n_entries; i++) {
        const uint32_t index = word_at(indices, i);
        if (index < smallest || index >= job->count) {
            return lmn_error_set(err, LMN_ERR_MESSAGE,
                                 "topk message: entry %zu has index %u; from %llu to %zu would fit",
                                 i, (unsigned)index, (unsigned long long)smallest, job->count - 1);
        }
        smallest = (uint64_t)index + 1;
        if ((word_at(values, i) & LMN__KEY_MASK) >= LMN__KEY_INFINITY) {
            return lmn_error_set(err, LMN_ERR_MESSAGE,
                                 "topk message: entry %zu (index %u) is NaN or infinity", i,
                                 (unsigned)index);
        }
    }
    return LMN_OK;
}

static lmn_status check(const void *config, const lmn_decode_job *job, lmn_error *err)
{
    if (job->payload_bytes < WORD_BYTES) {
        return lmn_error_set(err, LMN_ERR_MESSAGE, "topk message: %zu bytes are too few for a head",
                             job->payload_bytes);
    }
    const size_t n_entries = word_at(job->payload, 0);
    const size_t n_allowed = entries_kept(config, job->level, job->count);
    if (n_entries > n_allowed) {
        return lmn_error_set(err, LMN_ERR_MESSAGE,
                             "topk message: says %zu entries where at most %zu can be", n_entries,
                             n_allowed);
    }
    if (job->payload_bytes != message_bytes(n_entries)) {
        return lmn_error_set(err, LMN_ERR_MESSAGE,
                             "topk message: %zu entries take %zu bytes, but there are %zu",
                             n_entries, message_bytes(n_entries), job->payload_bytes);
    }
    return check_entries(job, n_entries, err);
}

static void decode_add(const void *config, const lmn_decode_job *job, float weight, float *acc)
{
    (void)config;
    const size_t n_entries = word_at(job->payload, 0);
    const unsigned char *indices = job->payload + WORD_BYTES;
    const unsigned char *values = indices + WORD_BYTES * n_entries;
    for (size_t i = 0; i < n_entries; i++) {
        float value = 0.0F;
        memcpy(&value, values + WORD_BYTES * i, WORD_BYTES);
        acc[word_at(indices, i)] += weight * value;
    }
}

static void error_curve(const void *config_memory, const float *vector, lmn_layer_shape shape,
                        double *squared_error_out, void *scratch)
{
    const topk_config *config = config_memory;
    const size_t count = shape.count;
    size_t kept[DENSITIES_MAX] = {0};
    for (size_t i = 0; i < config->n_densities; i++) {
        kept[i] = entries_kept(config, i + 1, count);
        squared_error_out[i + 1] = 0.0;
    }
    if (count > 0) {
        lmn__select_rest_energy(vector, count, kept, config->n_densities, squared_error_out + 1,
                                scratch);
    }
}

static const lmn__message_functions messages = {
    .encode = encode, .check = check, .decode_add = decode_add};

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
    .contraction = contraction,
    .eta = eta,
    .error_curve = error_curve,
    .messages = &messages,
};

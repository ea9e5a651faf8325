/*
 * Walking over the buckets of sliced messages: see sliced_internal.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "sliced_internal.h"

#include <assert.h>
#include <math.h>
#include <stdalign.h>
#include <string.h>

/* Messages are copied to and from memory as they are. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a big-endian host needs byte swaps here");

/* Elements from which threads share a vector. */
#define SHARED_COUNT ((size_t)1 << 18)

/* Every tile holds whole buckets, but for the end of the vector. */
static size_t tile_elements(const lmn__sliced_config *config)
{
    return config->grain > LMN__TILE ? config->grain : LMN__TILE;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t bucket_bytes(const lmn__sliced_config *config, size_t level, size_t count)
{
    return count == 0 ? 0 : config->functions->bytes(config, level, count);
}

static size_t grain(const void *config_memory)
{
    const lmn__sliced_config *config = config_memory;
    return config->grain;
}

static size_t part_bytes(const void *config_memory, size_t level, size_t count)
{
    const lmn__sliced_config *config = config_memory;
    return count / config->grain * bucket_bytes(config, level, config->grain) +
           bucket_bytes(config, level, count % config->grain);
}

/* Everything that encoding a tile takes: it stays in the nearest cache. */
typedef struct tile {
    alignas(64) float vector[LMN__BUCKET_MAX];
    alignas(64) float sent[LMN__BUCKET_MAX];
    alignas(64) uint32_t words[LMN__BUCKET_MAX];
} tile;

static_assert(LMN__TILE <= LMN__BUCKET_MAX, "a tile has room for every tile");

/* Elements first .. first + count - 1 of the layer. Returns whether they are finite. */
static bool encode_tile(const lmn__sliced_config *config, const lmn_encode_job *job,
                        const lmn__bucket_kernels *kernels, size_t first, size_t count)
{
    tile t;
    const lmn_source *source = job->source;
    if (!source->form(source->user, first, count, t.vector)) {
        return false;
    }
    const bool is_random = config->rounding == LMN__ROUND_STOCHASTIC;
    if (is_random) {
        kernels->word->words(&job->stream, (uint32_t)(first / 4), (count + 3) / 4, t.words);
    }
    unsigned char *bytes = job->payload + part_bytes(config, job->level, first - job->first);
    for (size_t start = 0; start < count; start += config->grain) {
        const lmn__bucket bucket = {.kernels = kernels,
                                    .vector = t.vector + start,
                                    .count = smaller(config->grain, count - start),
                                    .words = is_random ? t.words + start : NULL,
                                    .bytes = bytes,
                                    .sent = t.sent + start};
        config->functions->encode(config, job->level, &bucket);
        bytes += bucket_bytes(config, job->level, bucket.count);
    }
    source->sent(source->user, first, count, t.vector, t.sent);
    return true;
}

static lmn_status encode(const void *config_memory, lmn_encode_job *job, lmn_error *err)
{
    (void)err;
    const lmn__sliced_config *config = config_memory;
    assert(job->first % config->grain == 0);
    const lmn__bucket_kernels *kernels = lmn__bucket_kernels_variant(0);
    const size_t step = tile_elements(config);
    bool is_finite = true;
#pragma omp parallel for schedule(static) reduction(&& : is_finite) if (job->count >= SHARED_COUNT)
    for (size_t start = 0; start < job->count; start += step) {
        const size_t count = smaller(step, job->count - start);
        is_finite = encode_tile(config, job, kernels, job->first + start, count) && is_finite;
    }
    job->is_finite = is_finite;
    job->payload_bytes = is_finite ? part_bytes(config, job->level, job->count) : 0;
    return LMN_OK;
}

/* Bucket `index` of a message. */
static lmn__bucket_message message_of(const lmn__sliced_config *config, const lmn_decode_job *job,
                                      const lmn__bucket_kernels *kernels, size_t index)
{
    return (lmn__bucket_message){
        .kernels = kernels,
        .count = smaller(config->grain, job->count - index * config->grain),
        .bytes = job->payload + index * bucket_bytes(config, job->level, config->grain)};
}

static size_t n_buckets(const lmn__sliced_config *config, size_t count)
{
    return count / config->grain + (count % config->grain != 0);
}

static lmn_status check(const void *config_memory, const lmn_decode_job *job, lmn_error *err)
{
    const lmn__sliced_config *config = config_memory;
    const lmn__bucket_functions *functions = config->functions;
    const size_t expected = part_bytes(config, job->level, job->count);
    if (job->payload_bytes != expected) {
        return lmn_error_set(err, LMN_ERR_MESSAGE,
                             "%s message: %zu elements take %zu bytes, but there are %zu",
                             functions->name, job->count, expected, job->payload_bytes);
    }
    const lmn__bucket_kernels *kernels = lmn__bucket_kernels_variant(0);
    const size_t n = n_buckets(config, job->count);
    size_t bad = n;
#pragma omp parallel for schedule(static) reduction(min : bad) if (job->count >= SHARED_COUNT)
    for (size_t i = 0; i < n; i++) {
        const lmn__bucket_message message = message_of(config, job, kernels, i);
        if (functions->check(config, job->level, &message) != NULL) {
            bad = smaller(bad, i);
        }
    }
    if (bad == n) {
        return LMN_OK;
    }
    const lmn__bucket_message message = message_of(config, job, kernels, bad);
    return lmn_error_set(err, LMN_ERR_MESSAGE, "%s message: bucket %zu of %zu %s", functions->name,
                         bad, n, functions->check(config, job->level, &message));
}

static void decode_add(const void *config_memory, const lmn_decode_job *job, float weight,
                       float *acc)
{
    const lmn__sliced_config *config = config_memory;
    const lmn__bucket_kernels *kernels = lmn__bucket_kernels_variant(0);
    const size_t n = n_buckets(config, job->count);
#pragma omp parallel for schedule(static) if (job->count >= SHARED_COUNT)
    for (size_t i = 0; i < n; i++) {
        const lmn__bucket_message message = message_of(config, job, kernels, i);
        config->functions->decode_add(config, job->level, &message, weight,
                                      acc + i * config->grain);
    }
}

const lmn__message_functions lmn__sliced_messages = {.grain = grain,
                                                     .part_bytes = part_bytes,
                                                     .encode = encode,
                                                     .check = check,
                                                     .decode_add = decode_add};

lmn__compressor_levels lmn__sliced_levels(const void *config_memory)
{
    const lmn__sliced_config *config = config_memory;
    return (lmn__compressor_levels){.count = config->n_levels,
                                    .static_level = config->n_levels - 1};
}

size_t lmn__sliced_payload_bytes(const void *config, size_t level, lmn_layer_shape shape)
{
    return part_bytes(config, level, shape.count);
}

/* An error for each bucket and level. */
size_t lmn__sliced_scratch_bytes(const void *config_memory, lmn_layer_shape shape)
{
    const lmn__sliced_config *config = config_memory;
    return lmn_align_up(n_buckets(config, shape.count) * (config->n_levels - 1) * sizeof(double));
}

static double bucket_error(const lmn__sliced_config *config, size_t level,
                           const lmn__bucket *bucket)
{
    if (config->rounding == LMN__ROUND_STOCHASTIC) {
        return config->functions->mean_error(config, level, bucket);
    }
    config->functions->encode(config, level, bucket);
    return bucket->kernels->measure->distance(bucket->vector, bucket->sent, bucket->count);
}

/* errors [n_levels - 1]: of a bucket at all levels while it is in the cache. */
static void bucket_errors(const lmn__sliced_config *config, const lmn__bucket_kernels *kernels,
                          const float *vector, size_t count, double *errors)
{
    alignas(64) float sent[LMN__BUCKET_MAX];
    alignas(64) unsigned char bytes[LMN__BUCKET_BYTES_MAX];
    const lmn__bucket bucket = {
        .kernels = kernels, .vector = vector, .count = count, .bytes = bytes, .sent = sent};
    for (size_t level = 1; level < config->n_levels; level++) {
        errors[level - 1] = bucket_error(config, level, &bucket);
    }
}

void lmn__sliced_error_curve(const void *config_memory, const float *vector, lmn_layer_shape shape,
                             double *squared_error_out, void *scratch)
{
    const lmn__sliced_config *config = config_memory;
    const lmn__bucket_kernels *kernels = lmn__bucket_kernels_variant(0);
    const size_t n = n_buckets(config, shape.count);
    const size_t n_errors = config->n_levels - 1;
    double *errors = scratch;
#pragma omp parallel for schedule(static) if (shape.count >= SHARED_COUNT)
    for (size_t i = 0; i < n; i++) {
        const size_t first = i * config->grain;
        bucket_errors(config, kernels, vector + first, smaller(config->grain, shape.count - first),
                      errors + i * n_errors);
    }
    for (size_t level = 1; level <= n_errors; level++) {
        squared_error_out[level] = 0.0;
        for (size_t i = 0; i < n; i++) {
            squared_error_out[level] += errors[i * n_errors + level - 1];
        }
    }
}

lmn_status lmn__sliced_check_grain(const lmn__sliced_config *config, lmn_error *err)
{
    if ((config->grain & (config->grain - 1)) == 0) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_USAGE,
                         "compressor '%s': bucket=%llu must be a power of two from %zu to %zu",
                         config->functions->name, (unsigned long long)config->grain,
                         LMN__BUCKET_MIN, LMN__BUCKET_MAX);
}

size_t lmn__whole_words(size_t bytes)
{
    return (bytes + 3) / 4 * 4;
}

float lmn__float_at(const unsigned char *bytes)
{
    float number = 0.0F;
    memcpy(&number, bytes, sizeof number);
    return number;
}

lmn_eta_rule lmn__sliced_eta(double delta)
{
    return (lmn_eta_rule){.suggested = 0.5 * delta, .limit = 1.4 * delta};
}

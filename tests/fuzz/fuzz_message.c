/*
 * Messages of any bytes: refused, or decoded inside the vector. For libFuzzer, with sanitizers.
 *
 * The family is that of the environment variable LAMINA_FUZZ_FAMILY, a compressor spec. An input is
 * a head, which chooses level, length of the vector and part of it, and the payload. A decoder gets
 * the payload in memory of just its size, and a vector of just its length.
 *
 * Bytes at random are refused at the first look. So the mutator now and then begins anew with a
 * message that an encoder wrote, whose damaged copies get further.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/compressor.h"
#include "lamina/memory.h"
#include "lamina/random.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT_MAX = 5000, FRESH_ONE_IN = 16 };

typedef struct head {
    uint16_t level;
    uint16_t count;
    uint16_t skipped_grains; /* where the part begins, for sliced families */
    uint16_t padding;
} head;

/* What libFuzzer calls, and what it offers to mutators. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static void give_up(const char *what, const lmn_error *err)
{
    (void)fprintf(stderr, "fuzz_message: %s: %s\n", what, err->message);
    abort();
}

static void *take(size_t bytes)
{
    lmn_error err = lmn_error_none();
    void *memory = lmn_alloc(bytes + 1, 1, &err);
    if (memory == NULL) {
        give_up("no memory", &err);
    }
    return memory;
}

static lmn_compressor *new_compressor(void)
{
    const char *spec = getenv("LAMINA_FUZZ_FAMILY");
    lmn_compressor *compressor = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_compressor_create(spec == NULL ? "topk" : spec, &compressor, &err) != LMN_OK) {
        give_up("LAMINA_FUZZ_FAMILY", &err);
    }
    return compressor;
}

static size_t level_of(const lmn_compressor *compressor, const head *h)
{
    return 1 + h->level % (lmn_compressor_level_count(compressor) - 1);
}

/* The part of the vector that a message is about. */
static lmn_decode_job job_of(const lmn_compressor *compressor, const head *h)
{
    lmn_decode_job job = {.level = level_of(compressor, h),
                          .shape = lmn_layer_flat(h->count % COUNT_MAX)};
    if (lmn_compressor_combine(compressor, job.level) == LMN_COMBINE_SLICED) {
        const size_t grain = lmn_compressor_grain(compressor);
        const size_t first = grain * (h->skipped_grains % 8);
        job.first = first < job.shape.count ? first : 0;
    }
    job.count = job.shape.count - job.first;
    return job;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    head h;
    if (size < sizeof h) {
        return 0;
    }
    memcpy(&h, data, sizeof h);
    lmn_compressor *compressor = new_compressor();
    lmn_decode_job job = job_of(compressor, &h);
    job.payload_bytes = size - sizeof h;
    unsigned char *payload = malloc(job.payload_bytes + (job.payload_bytes == 0));
    float *acc = malloc(job.count * sizeof *acc + (job.count == 0));
    if (payload == NULL || acc == NULL) {
        abort();
    }
    memcpy(payload, data + sizeof h, job.payload_bytes);
    memset(acc, 0, job.count * sizeof *acc);
    job.payload = payload;
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_compressor_check(compressor, &job, &err);
    if (status == LMN_OK) {
        lmn_compressor_decode_add(compressor, &job, 0.5F, acc);
    } else if (status != LMN_ERR_MESSAGE || err.message[0] == '\0') {
        give_up("a damaged message must be refused as one", &err);
    }
    free(acc);
    free(payload);
    lmn_compressor_destroy(compressor);
    return 0;
}

static size_t write_message(const lmn_compressor *compressor, const head *h, uint8_t *payload,
                            size_t capacity)
{
    const lmn_decode_job part = job_of(compressor, h);
    float *const vector = take(part.shape.count * sizeof(float));
    const lmn_stream stream = {.seed = h->padding, .purpose = LMN_STREAM_USER};
    lmn_stream_normal(&stream, 0, part.shape.count, vector);
    const lmn_source source = lmn_source_of_vector(vector);
    lmn_encode_job job = {
        .level = part.level,
        .shape = part.shape,
        .first = part.first,
        .count = part.count,
        .stream = {.seed = h->padding, .purpose = LMN_STREAM_COMPRESS},
        .source = &source,
        .memory = take(lmn_compressor_memory_of(compressor, part.shape).own * sizeof(float)),
        .payload_capacity = lmn_compressor_payload_bytes(compressor, part.level, part.shape),
        .scratch = take(lmn_compressor_scratch_bytes(compressor, part.shape))};
    job.payload = take(job.payload_capacity);
    lmn_error err = lmn_error_none();
    if (lmn_compressor_encode(compressor, &job, &err) != LMN_OK) {
        give_up("encode", &err);
    }
    const size_t bytes = job.payload_bytes <= capacity ? job.payload_bytes : 0;
    memcpy(payload, job.payload, bytes);
    lmn_free(job.memory);
    lmn_free(job.scratch);
    lmn_free(job.payload);
    lmn_free(vector);
    return bytes;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    head h = {.level = (uint16_t)(seed >> 4),
              .count = (uint16_t)(seed >> 8),
              .skipped_grains = (uint16_t)(seed >> 20),
              .padding = (uint16_t)(seed >> 12)};
    if (seed % FRESH_ONE_IN != 0 || max_size < sizeof h) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    lmn_compressor *compressor = new_compressor();
    memcpy(data, &h, sizeof h);
    const size_t bytes = write_message(compressor, &h, data + sizeof h, max_size - sizeof h);
    lmn_compressor_destroy(compressor);
    return sizeof h + bytes;
}

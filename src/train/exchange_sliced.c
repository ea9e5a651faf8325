/*
 * The sliced exchange: every rank averages a slice of all messages and compresses the mean again.
 *
 * Each rank encodes its vectors and sends each slice to its owner (slices_internal.h). The owner
 * averages and encodes the mean (slice_owner.c); these bytes go to everybody, and what they stand
 * for is the estimate. A rank that has nothing honest to say sends empty messages, and so does an
 * owner that could not average.
 *
 * Source: I. Markov, H. Ramezanikebrya, D. Alistarh, "CGX: adaptive system support for
 * communication-efficient deep learning", Middleware 2022, arXiv:2111.08617.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "slices_internal.h"

#include <string.h>

typedef enum phase { IDLE, SCATTERING, GATHERING } phase;

typedef struct sliced_exchange {
    lmn__exchange head;
    lmn__slices slices;
    lmn__slice_owner owner;    /* of this rank's slice */
    size_t capacity;           /* bytes of one message */
    unsigned char *messages;   /* [ranks * capacity] owned; what this rank sends to the owners */
    size_t *offsets;           /* [ranks + 1] owned */
    unsigned char *mean_bytes; /* [capacity] owned; the owner's message to all */
    lmn_collective *scatter, *gather;
    phase phase;
    lmn_error failure; /* what was wrong with a message to this owner */
} sliced_exchange;

static uint64_t wire_bytes(const lmn_compressor *compressor, int size, lmn_layer_shape shape,
                           size_t level)
{
    return 2 * (uint64_t)(size - 1) * lmn_compressor_payload_bytes(compressor, level, shape);
}

static size_t largest_part(const lmn_reducer *reducer, const lmn__part *part)
{
    size_t largest = 0;
    for (size_t level = 1; level < lmn_compressor_level_count(reducer->compressor); level++) {
        if (lmn__may_travel_at(reducer, part->layer, level, LMN_COMBINE_SLICED)) {
            const size_t bytes = lmn_compressor_part_bytes(reducer->compressor, level, part->count);
            largest = bytes > largest ? bytes : largest;
        }
    }
    return lmn__pad8(largest);
}

static size_t largest_message(const lmn_reducer *reducer, const lmn__slices *slices)
{
    size_t largest = 0;
    for (int rank = 0; rank < reducer->team.size; rank++) {
        size_t bytes = sizeof(lmn__owned_header);
        for (size_t i = slices->first_part[rank]; i < slices->first_part[rank + 1]; i++) {
            bytes += largest_part(reducer, &slices->parts[i]);
        }
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

static lmn_status take_memory(sliced_exchange *self, lmn_error *err)
{
    const size_t ranks = (size_t)self->head.reducer->team.size;
    self->messages = lmn_alloc(ranks, self->capacity, err);
    self->offsets = lmn_alloc(ranks + 1, sizeof *self->offsets, err);
    self->mean_bytes = lmn_alloc(1, self->capacity, err);
    if (self->messages == NULL || self->offsets == NULL || self->mean_bytes == NULL) {
        return LMN_ERR_MEMORY;
    }
    return lmn__slice_owner_create(self->head.reducer, &self->slices, &self->owner, err);
}

static lmn_status create(lmn_reducer *reducer, lmn__bucket *bucket, lmn__exchange **exchange_out,
                         lmn_error *err)
{
    if (!lmn__bucket_may_travel_by(reducer, bucket, LMN_COMBINE_SLICED)) {
        return LMN_OK;
    }
    sliced_exchange *self = lmn_alloc(1, sizeof *self, err);
    if (self == NULL) {
        return LMN_ERR_MEMORY;
    }
    self->head = (lmn__exchange){&lmn__exchange_sliced, reducer, bucket};
    *exchange_out = &self->head;
    const lmn_status status = lmn__slices_create(reducer, bucket, &self->slices, err);
    if (status != LMN_OK) {
        return status;
    }
    if (!bucket->leads) {
        lmn__slice_owner_shadow(reducer, &self->slices, &self->owner);
        return LMN_OK;
    }
    self->capacity = largest_message(reducer, &self->slices);
    return take_memory(self, err);
}

static lmn_status connect(lmn__exchange *exchange, lmn_error *err)
{
    sliced_exchange *self = (sliced_exchange *)exchange;
    lmn_world *world = exchange->reducer->team.world;
    const lmn_status status = lmn_alltoallv_create(world, self->capacity, &self->scatter, err);
    return status != LMN_OK ? status
                            : lmn_allgatherv_create(world, self->capacity, &self->gather, err);
}

/* What this rank says of one slice, from `cursor` on, which moves behind it. */
static lmn_status encode_slice(sliced_exchange *self, int owner, unsigned char **cursor,
                               lmn_error *err)
{
    const lmn_reducer *reducer = self->head.reducer;
    const lmn__owned_header header = lmn__owned_header_of(
        reducer, LMN__MAGIC_SLICES, LMN__CONTENT_OF_A_RANK, reducer->team.rank);
    memcpy(*cursor, &header, sizeof header);
    *cursor += sizeof header;
    for (size_t i = self->slices.first_part[owner]; i < self->slices.first_part[owner + 1]; i++) {
        const lmn__part *part = &self->slices.parts[i];
        const size_t bytes = lmn__part_message_bytes(reducer, part);
        if (!lmn__carries(&self->head, part->layer)) {
            continue;
        }
        const lmn_source source = lmn__layer_source(part->layer);
        const lmn_status status =
            lmn__part_encode(reducer, part, &source, (unsigned)reducer->team.rank, *cursor, err);
        if (status != LMN_OK) {
            return status;
        }
        part->layer->message_bytes += bytes;
        *cursor += bytes;
    }
    return LMN_OK;
}

static lmn_status encode(lmn__exchange *exchange, lmn_error *err)
{
    sliced_exchange *self = (sliced_exchange *)exchange;
    for (size_t place = 0; place < exchange->bucket->layer_count; place++) {
        const lmn__layer *layer = lmn__bucket_layer(exchange, place);
        if (lmn__carries(exchange, layer)) {
            (void)lmn__layer_memory_copy(layer);
        }
    }
    lmn_status status = LMN_OK;
    unsigned char *cursor = self->messages;
    for (int owner = 0; owner < exchange->reducer->team.size && status == LMN_OK; owner++) {
        self->offsets[owner] = (size_t)(cursor - self->messages);
        status = encode_slice(self, owner, &cursor, err);
    }
    self->offsets[exchange->reducer->team.size] = (size_t)(cursor - self->messages);
    return status;
}

static lmn_status start(lmn__exchange *exchange, bool silent, lmn_error *err)
{
    sliced_exchange *self = (sliced_exchange *)exchange;
    self->phase = IDLE;
    if (lmn__carried_count(exchange) == 0) {
        return LMN_OK;
    }
    if (silent) {
        memset(self->offsets, 0,
               ((size_t)exchange->reducer->team.size + 1) * sizeof *self->offsets);
    }
    self->failure = lmn_error_none();
    self->phase = SCATTERING;
    return lmn_alltoallv_start(self->scatter, self->messages, self->offsets, err);
}

static lmn_status check(const lmn__exchange *exchange, lmn_error *err)
{
    const sliced_exchange *self = (const sliced_exchange *)exchange;
    if (self->phase == IDLE) {
        return LMN_OK;
    }
    if (self->failure.status != LMN_OK) {
        if (err != NULL) {
            *err = self->failure;
        }
        return self->failure.status;
    }
    lmn_status status = LMN_OK;
    for (int rank = 0; rank < exchange->reducer->team.size && status == LMN_OK; rank++) {
        size_t bytes = 0;
        const unsigned char *message = lmn_allgatherv_message(self->gather, rank, &bytes);
        status = lmn__slice_check(exchange->reducer, &self->slices, rank, rank,
                                  LMN__CONTENT_TOGETHER, message, bytes, err);
    }
    return status;
}

/* Whether every rank said something fit; a rank that is silent says nothing to anybody. */
static bool has_all_messages(sliced_exchange *self)
{
    const lmn_reducer *reducer = self->head.reducer;
    for (int rank = 0; rank < reducer->team.size; rank++) {
        size_t bytes = 0;
        const unsigned char *message = lmn_alltoallv_message(self->scatter, rank, &bytes);
        if (lmn__slice_check(reducer, &self->slices, rank, reducer->team.rank,
                             LMN__CONTENT_OF_A_RANK, message, bytes, &self->failure) != LMN_OK) {
            return false;
        }
    }
    return true;
}

static lmn_status publish(sliced_exchange *self, lmn_error *err)
{
    const double begin = lmn_clock_seconds();
    const size_t bytes =
        has_all_messages(self)
            ? lmn__slice_owner_encode(&self->owner, self->scatter, self->mean_bytes, &self->failure)
            : 0;
    self->head.reducer->seconds_decode += lmn_clock_seconds() - begin;
    self->phase = GATHERING;
    return lmn_allgatherv_start(self->gather, self->mean_bytes, bytes, err);
}

static lmn_status progress(lmn__exchange *exchange, lmn_error *err)
{
    sliced_exchange *self = (sliced_exchange *)exchange;
    lmn_status status = LMN_OK;
    if (self->phase == SCATTERING) {
        status = lmn_collective_progress(self->scatter, err);
        if (status == LMN_OK) {
            status = publish(self, err);
        }
    }
    return status == LMN_OK && self->phase == GATHERING ? lmn_collective_progress(self->gather, err)
                                                        : status;
}

static void decode_slice(const sliced_exchange *self, int owner)
{
    const lmn_reducer *reducer = self->head.reducer;
    size_t bytes = 0;
    const unsigned char *message = lmn_allgatherv_message(self->gather, owner, &bytes);
    size_t offset = sizeof(lmn__owned_header);
    for (size_t i = self->slices.first_part[owner]; i < self->slices.first_part[owner + 1]; i++) {
        const lmn__part *part = &self->slices.parts[i];
        if (!lmn__carries(&self->head, part->layer)) {
            continue;
        }
        const lmn_decode_job job = lmn__part_message(reducer, part, message + offset);
        float *const estimate = part->layer->average + part->first;
        memset(estimate, 0, part->count * sizeof *estimate);
        lmn_compressor_decode_add(reducer->compressor, &job, 1.0F, estimate);
        offset += lmn__part_message_bytes(reducer, part);
    }
}

static void commit(lmn__exchange *exchange)
{
    sliced_exchange *self = (sliced_exchange *)exchange;
    const lmn_reducer *reducer = exchange->reducer;
    for (int owner = 0; owner < reducer->team.size && self->phase != IDLE; owner++) {
        decode_slice(self, owner);
    }
    lmn__slice_owner_commit(&self->owner);
    for (size_t place = 0; place < exchange->bucket->layer_count; place++) {
        lmn__layer *layer = lmn__bucket_layer(exchange, place);
        if (lmn__carries(exchange, layer)) {
            lmn__layer_commit_next(layer);
        }
    }
}

static uint64_t bytes_sent(const lmn__exchange *exchange)
{
    const sliced_exchange *self = (const sliced_exchange *)exchange;
    return lmn_collective_bytes_sent(self->scatter) + lmn_collective_bytes_sent(self->gather);
}

static lmn_status add_state(lmn__exchange *exchange, lmn_state *state, lmn_error *err)
{
    const sliced_exchange *self = (const sliced_exchange *)exchange;
    lmn_status status = LMN_OK;
    for (size_t place = 0; place < exchange->bucket->layer_count && status == LMN_OK; place++) {
        const lmn__layer *layer = lmn__bucket_layer(exchange, place);
        if (lmn__may_travel_by(exchange->reducer, layer, LMN_COMBINE_SLICED)) {
            status = lmn__slice_owner_add_state(&self->owner, layer, state, err);
        }
    }
    return status;
}

static void set_mean(lmn__exchange *exchange, const lmn__layer *layer, size_t first, size_t count,
                     const float *mean)
{
    sliced_exchange *self = (sliced_exchange *)exchange;
    lmn__slice_owner_set_mean(&self->owner, layer, first, count, mean);
}

const lmn__slice_owner *lmn__sliced_owner(const lmn__exchange *exchange)
{
    return &((const sliced_exchange *)exchange)->owner;
}

const lmn_collective *lmn__sliced_gather(const lmn__exchange *exchange)
{
    return ((const sliced_exchange *)exchange)->gather;
}

static void destroy(lmn__exchange *exchange)
{
    sliced_exchange *self = (sliced_exchange *)exchange;
    lmn_collective_destroy(self->scatter);
    lmn_collective_destroy(self->gather);
    lmn__slices_free(&self->slices);
    lmn__slice_owner_free(&self->owner);
    lmn_free(self->messages);
    lmn_free(self->offsets);
    lmn_free(self->mean_bytes);
    lmn_free(self);
}

const lmn__exchange_kind lmn__exchange_sliced = {.combine = LMN_COMBINE_SLICED,
                                                 .keeps_mean = true,
                                                 .wire_bytes = wire_bytes,
                                                 .create = create,
                                                 .connect = connect,
                                                 .encode = encode,
                                                 .start = start,
                                                 .progress = progress,
                                                 .check = check,
                                                 .commit = commit,
                                                 .bytes_sent = bytes_sent,
                                                 .add_state = add_state,
                                                 .set_mean = set_mean,
                                                 .destroy = destroy};

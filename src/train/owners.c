/*
 * The steps of an exchange in which every rank owns a region of each layer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "owners_internal.h"

#include <string.h>

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t lmn__most_entries(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const lmn_layer_shape shape = lmn__layer_shape(layer);
    size_t most = 0;
    for (size_t level = 1; level < lmn_compressor_level_count(reducer->compressor); level++) {
        if (lmn__may_travel_at(reducer, layer, level, LMN_COMBINE_SPARSE)) {
            const size_t here = lmn_compressor_entries_of(reducer->compressor, level, shape).most;
            most = here > most ? here : most;
        }
    }
    return most;
}

float *lmn__layer_estimate(const lmn__layer *layer)
{
    return layer->tracked != NULL ? layer->tracked : layer->average;
}

/* Entries that all parts about a region, or all that is published of a layer, can have. */
static size_t list_max(const lmn__owners_rule *rule, const lmn_reducer *reducer,
                       const lmn__layer *layer)
{
    const size_t ranks = (size_t)reducer->team.size;
    const size_t summed =
        smaller(rule->region_max(reducer, layer), ranks * lmn__most_entries(reducer, layer));
    const size_t published = smaller(layer->count, ranks * rule->published_max(reducer, layer));
    return summed > published ? summed : published;
}

size_t lmn__owners_scratch_bytes(const lmn__owners_rule *rule, const lmn_reducer *reducer,
                                 const lmn__layer *layer)
{
    return lmn_sparse_sum_bytes(rule->region_max(reducer, layer)) +
           2 * lmn_align_up(list_max(rule, reducer, layer) * sizeof(float));
}

lmn__owners_lists lmn__owners_lists_of(const lmn__owners_rule *rule, const lmn_reducer *reducer,
                                       const lmn__layer *layer)
{
    unsigned char *const lists =
        (unsigned char *)reducer->scratch + lmn_sparse_sum_bytes(rule->region_max(reducer, layer));
    const size_t list_bytes = lmn_align_up(list_max(rule, reducer, layer) * sizeof(float));
    return (lmn__owners_lists){.sum = reducer->scratch,
                               .indices = (uint32_t *)(void *)lists,
                               .values = (float *)(void *)(lists + list_bytes)};
}

static size_t largest_payload(const lmn_reducer *reducer, const lmn__layer *layer)
{
    size_t largest = 0;
    for (size_t level = 1; level < lmn_compressor_level_count(reducer->compressor); level++) {
        if (lmn__may_travel_at(reducer, layer, level, LMN_COMBINE_SPARSE)) {
            const size_t bytes =
                lmn_compressor_payload_bytes(reducer->compressor, level, lmn__layer_shape(layer));
            largest = bytes > largest ? bytes : largest;
        }
    }
    return largest;
}

static lmn_status create_layer(lmn__owners *self, lmn__layer *layer, lmn_error *err)
{
    const lmn_reducer *reducer = self->head.reducer;
    lmn__owned_layer *owned = &self->layers[self->n_layers++];
    const size_t ranks = (size_t)reducer->team.size;
    owned->layer = layer;
    owned->capacity = lmn__most_entries(reducer, layer);
    owned->starts = lmn_alloc(ranks + 1, sizeof *owned->starts, err);
    owned->indices = lmn_alloc(owned->capacity, sizeof *owned->indices, err);
    owned->values = lmn_alloc(owned->capacity, sizeof *owned->values, err);
    if (owned->starts == NULL || owned->indices == NULL || owned->values == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t j = 0; j < ranks; j++) {
        owned->starts[j] = lmn_partition(layer->count, ranks, j).first;
    }
    owned->starts[ranks] = layer->count;
    return LMN_OK;
}

/* A part of n entries takes at most this, in the plainest code. */
static size_t part_bytes(size_t n)
{
    return sizeof(lmn__part_header) + lmn_sparse_bytes_max(0, 0, LMN_SPARSE_F32) + 8 * n;
}

static void size_messages(lmn__owners *self)
{
    const lmn_reducer *reducer = self->head.reducer;
    self->message_capacity = sizeof(lmn__owned_header);
    self->sum_capacity = sizeof(lmn__owned_header);
    for (size_t i = 0; i < self->n_layers; i++) {
        const lmn__owned_layer *owned = &self->layers[i];
        const size_t region = self->rule->region_max(reducer, owned->layer);
        const size_t published = smaller(region, self->rule->published_max(reducer, owned->layer));
        const size_t payload = largest_payload(reducer, owned->layer);
        self->message_capacity += lmn__pad8(part_bytes(smaller(region, owned->capacity)));
        self->sum_capacity += sizeof(lmn__part_header) +
                              lmn__pad8(lmn_sparse_bytes_max(published, region, LMN_SPARSE_F32));
        self->payload_capacity =
            payload > self->payload_capacity ? payload : self->payload_capacity;
    }
}

/* All messages to owners together: every entry is in one of them. */
static size_t messages_bytes(const lmn__owners *self)
{
    const size_t ranks = (size_t)self->head.reducer->team.size;
    size_t bytes = ranks * sizeof(lmn__owned_header);
    for (size_t i = 0; i < self->n_layers; i++) {
        bytes += ranks * lmn__pad8(part_bytes(0)) + 8 * self->layers[i].capacity;
    }
    return bytes;
}

static lmn_status take_memory(lmn__owners *self, lmn_error *err)
{
    const size_t ranks = (size_t)self->head.reducer->team.size;
    self->messages = lmn_alloc(1, messages_bytes(self), err);
    self->offsets = lmn_alloc(ranks + 1, sizeof *self->offsets, err);
    self->sums = lmn_alloc(1, self->sum_capacity, err);
    self->payload = lmn_alloc(1, self->payload_capacity, err);
    self->cursors = lmn_alloc(ranks, sizeof *self->cursors, err);
    self->parts = lmn_alloc(ranks, sizeof *self->parts, err);
    return self->messages == NULL || self->offsets == NULL || self->sums == NULL ||
                   self->payload == NULL || self->cursors == NULL || self->parts == NULL
               ? LMN_ERR_MEMORY
               : LMN_OK;
}

lmn_status lmn__owners_create(const lmn__owners_rule *rule, lmn_reducer *reducer,
                              lmn__bucket *bucket, lmn__exchange **exchange_out, lmn_error *err)
{
    if (!lmn__bucket_may_travel_by(reducer, bucket, LMN_COMBINE_SPARSE)) {
        return LMN_OK;
    }
    lmn__owners *self = lmn_alloc(1, sizeof *self, err);
    if (self == NULL) {
        return LMN_ERR_MEMORY;
    }
    self->head = (lmn__exchange){rule->kind, reducer, bucket};
    self->rule = rule;
    *exchange_out = &self->head;
    self->layers = lmn_alloc(bucket->layer_count, sizeof *self->layers, err);
    lmn_status status = self->layers == NULL ? LMN_ERR_MEMORY : LMN_OK;
    for (size_t place = 0; place < bucket->layer_count && status == LMN_OK; place++) {
        lmn__layer *layer = lmn__bucket_layer(&self->head, place);
        if (lmn__may_travel_by(reducer, layer, LMN_COMBINE_SPARSE)) {
            status = create_layer(self, layer, err);
        }
    }
    if (status != LMN_OK) {
        return status;
    }
    size_messages(self);
    return take_memory(self, err);
}

lmn_status lmn__owners_connect(lmn__exchange *exchange, lmn_error *err)
{
    lmn__owners *self = (lmn__owners *)exchange;
    lmn_world *world = exchange->reducer->team.world;
    const lmn_status status =
        lmn_alltoallv_create(world, self->message_capacity, &self->scatter, err);
    return status != LMN_OK ? status
                            : lmn_allgatherv_create(world, self->sum_capacity, &self->gather, err);
}

static void tell_nothing(void *user, size_t n, const uint32_t *indices, const float *values)
{
    (void)user;
    (void)n;
    (void)indices;
    (void)values;
}

static lmn_status encode_layer(lmn__owners *self, lmn__owned_layer *owned, lmn_error *err)
{
    lmn_source source = lmn__layer_source(owned->layer);
    if (self->rule->tells_late) {
        source.sent_entries = tell_nothing;
    }
    lmn_encode_job job = {.payload = self->payload, .payload_capacity = self->payload_capacity};
    const lmn_status status =
        lmn__layer_encode(self->head.reducer, owned->layer, &source, &job, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_sparse_message message = {.payload = self->payload,
                                        .bytes = job.payload_bytes,
                                        .range = {.count = owned->layer->count}};
    owned->n = lmn_sparse_count(&message);
    owned->format =
        lmn_sparse_values_of(&message) == LMN_SPARSE_BF16 ? LMN_SPARSE_BF16 : LMN_SPARSE_F32;
    lmn_sparse_read(&message, owned->indices, owned->values);
    owned->layer->message_bytes = 0;
    return LMN_OK;
}

/* Put the head before a payload and zeros behind it. Returns the bytes of the part. */
static size_t finish_part(const lmn__part_header *head, unsigned char *part)
{
    const size_t padded = lmn__pad8((size_t)head->bytes);
    memcpy(part, head, sizeof *head);
    memset(part + sizeof *head + head->bytes, 0, padded - head->bytes);
    return sizeof *head + padded;
}

/* Returns the bytes of the part of a layer for one owner. */
static size_t write_part(lmn__owners *self, const lmn__owned_layer *owned, int owner,
                         unsigned char *part)
{
    const lmn_range range = {.first = owned->starts[owner],
                             .count = owned->starts[owner + 1] - owned->starts[owner]};
    const size_t bounds[2] = {range.first, range.first + range.count};
    size_t cuts[2];
    lmn_sparse_split(owned->indices, owned->n, bounds, 2, cuts);
    lmn__part_header head = {.layer = (uint32_t)owned->layer->index, .form = LMN__PART_ENTRIES};
    if (self->rule->note != NULL) {
        head.note = self->rule->note(self, owned, owner);
    }
    unsigned char *const payload = part + sizeof head;
    if (cuts[1] > cuts[0]) {
        head.bytes = (uint32_t)lmn_sparse_write(owned->indices + cuts[0], owned->values + cuts[0],
                                                cuts[1] - cuts[0], range, owned->format, payload);
    }
    return finish_part(&head, part);
}

static void write_messages(lmn__owners *self)
{
    const lmn_reducer *reducer = self->head.reducer;
    size_t offset = 0;
    for (int owner = 0; owner < reducer->team.size; owner++) {
        const lmn__owned_header header = lmn__owned_header_of(
            reducer, LMN__MAGIC_OWNERS, LMN__CONTENT_OF_A_RANK, reducer->team.rank);
        self->offsets[owner] = offset;
        memcpy(self->messages + offset, &header, sizeof header);
        offset += sizeof header;
        for (size_t i = 0; i < self->n_layers; i++) {
            const lmn__owned_layer *owned = &self->layers[i];
            if (lmn__carries(&self->head, owned->layer)) {
                const size_t bytes = write_part(self, owned, owner, self->messages + offset);
                owned->layer->message_bytes += bytes;
                offset += bytes;
            }
        }
    }
    self->offsets[reducer->team.size] = offset;
}

lmn_status lmn__owners_encode(lmn__exchange *exchange, lmn_error *err)
{
    lmn__owners *self = (lmn__owners *)exchange;
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < self->n_layers && status == LMN_OK; i++) {
        if (lmn__carries(exchange, self->layers[i].layer)) {
            status = encode_layer(self, &self->layers[i], err);
        }
    }
    if (status == LMN_OK) {
        write_messages(self);
    }
    return status;
}

lmn_status lmn__owners_start(lmn__exchange *exchange, bool silent, lmn_error *err)
{
    lmn__owners *self = (lmn__owners *)exchange;
    self->phase = LMN__OWNERS_IDLE;
    if (lmn__carried_count(exchange) == 0) {
        return LMN_OK;
    }
    if (silent) {
        memset(self->offsets, 0,
               ((size_t)exchange->reducer->team.size + 1) * sizeof *self->offsets);
    }
    self->failure = lmn_error_none();
    self->phase = LMN__OWNERS_SCATTER;
    return lmn_alltoallv_start(self->scatter, self->messages, self->offsets, err);
}

/* Whether every rank said something fit; a rank that is silent says nothing to anybody. */
static bool has_all_messages(lmn__owners *self)
{
    const lmn_reducer *reducer = self->head.reducer;
    for (int rank = 0; rank < reducer->team.size; rank++) {
        size_t bytes = 0;
        const unsigned char *message = lmn_alltoallv_message(self->scatter, rank, &bytes);
        if (lmn__owners_check_message(self, rank, reducer->team.rank, LMN__CONTENT_OF_A_RANK,
                                      message, bytes, &self->failure) != LMN_OK) {
            return false;
        }
        self->cursors[rank] = sizeof(lmn__owned_header);
    }
    return true;
}

/* Adds what all ranks say of a region, in rank order; returns the sum of their notes. */
static uint64_t add_parts(lmn__owners *self, const lmn__owned_layer *owned, lmn_sparse_sum *sum)
{
    const lmn_reducer *reducer = self->head.reducer;
    const float weight = 1.0F / (float)reducer->team.size;
    uint64_t notes = 0;
    for (int rank = 0; rank < reducer->team.size; rank++) {
        size_t bytes = 0;
        const unsigned char *frame = lmn_alltoallv_message(self->scatter, rank, &bytes);
        const lmn__received_part part =
            lmn__owners_part_at(owned, reducer->team.rank, frame, self->cursors[rank]);
        const lmn_sparse_message message = lmn__part_message_of(&part);
        if (message.bytes > 0) {
            lmn_sparse_sum_add(sum, &message, weight);
        }
        notes += part.head.note;
        self->cursors[rank] += sizeof part.head + lmn__pad8((size_t)part.head.bytes);
    }
    return notes;
}

/* Returns the bytes of the part; 0 when a sum is not finite. */
static size_t publish_layer(lmn__owners *self, const lmn__owned_layer *owned, unsigned char *part)
{
    const lmn_reducer *reducer = self->head.reducer;
    const size_t first = owned->starts[reducer->team.rank];
    const lmn_range range = {.first = first,
                             .count = owned->starts[reducer->team.rank + 1] - first};
    const lmn__owners_lists lists = lmn__owners_lists_of(self->rule, reducer, owned->layer);
    memset(lists.sum, 0, lmn_sparse_sum_bytes(range.count));
    lmn_sparse_sum sum = lmn_sparse_sum_of(range, lists.sum);
    const float *base = self->rule->base == NULL ? NULL : self->rule->base(owned);
    if (base != NULL) {
        memcpy(sum.sum, base + first, range.count * sizeof *base);
    }
    const uint64_t notes = add_parts(self, owned, &sum);
    lmn__part_header head = {.layer = (uint32_t)owned->layer->index, .form = LMN__PART_ENTRIES};
    unsigned char *const payload = part + sizeof head;
    if (!self->rule->publish(self, owned, &sum, notes, &head, payload)) {
        return 0;
    }
    return finish_part(&head, part);
}

static size_t publish_layers(lmn__owners *self)
{
    const lmn_reducer *reducer = self->head.reducer;
    lmn__owned_header header =
        lmn__owned_header_of(reducer, LMN__MAGIC_OWNERS, LMN__CONTENT_TOGETHER, reducer->team.rank);
    size_t offset = sizeof header;
    for (size_t i = 0; i < self->n_layers; i++) {
        const lmn__owned_layer *owned = &self->layers[i];
        if (!lmn__carries(&self->head, owned->layer)) {
            continue;
        }
        const size_t bytes = publish_layer(self, owned, self->sums + offset);
        if (bytes == 0) {
            header.content = LMN__CONTENT_NOT_FINITE;
            header.layer = owned->layer->index;
            offset = sizeof header;
            break;
        }
        offset += bytes;
    }
    memcpy(self->sums, &header, sizeof header);
    return offset;
}

static lmn_status publish(lmn__owners *self, lmn_error *err)
{
    const double begin = lmn_clock_seconds();
    const size_t bytes = has_all_messages(self) ? publish_layers(self) : 0;
    self->head.reducer->seconds_decode += lmn_clock_seconds() - begin;
    self->phase = LMN__OWNERS_GATHER;
    return lmn_allgatherv_start(self->gather, self->sums, bytes, err);
}

lmn_status lmn__owners_progress(lmn__exchange *exchange, lmn_error *err)
{
    lmn__owners *self = (lmn__owners *)exchange;
    lmn_status status = LMN_OK;
    if (self->phase == LMN__OWNERS_SCATTER) {
        status = lmn_collective_progress(self->scatter, err);
        if (status == LMN_OK) {
            status = publish(self, err);
        }
    }
    return status == LMN_OK && self->phase == LMN__OWNERS_GATHER
               ? lmn_collective_progress(self->gather, err)
               : status;
}

lmn_status lmn__owners_check(const lmn__exchange *exchange, lmn_error *err)
{
    const lmn__owners *self = (const lmn__owners *)exchange;
    if (self->phase == LMN__OWNERS_IDLE) {
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
        status =
            lmn__owners_check_message(self, rank, rank, LMN__CONTENT_TOGETHER, message, bytes, err);
    }
    return status;
}

static void take_parts(lmn__owners *self, const lmn__owned_layer *owned)
{
    for (int owner = 0; owner < self->head.reducer->team.size; owner++) {
        size_t bytes = 0;
        const unsigned char *message = lmn_allgatherv_message(self->gather, owner, &bytes);
        self->parts[owner] = lmn__owners_part_at(owned, owner, message, self->cursors[owner]);
        self->cursors[owner] +=
            sizeof(lmn__part_header) + lmn__pad8((size_t)self->parts[owner].head.bytes);
    }
}

void lmn__owners_commit(lmn__exchange *exchange)
{
    lmn__owners *self = (lmn__owners *)exchange;
    for (int rank = 0; rank < exchange->reducer->team.size; rank++) {
        self->cursors[rank] = sizeof(lmn__owned_header);
    }
    for (size_t i = 0; i < self->n_layers; i++) {
        lmn__owned_layer *owned = &self->layers[i];
        if (lmn__carries(exchange, owned->layer)) {
            take_parts(self, owned);
            self->rule->commit(self, owned, self->parts);
            lmn__layer_commit_next(owned->layer);
        }
    }
}

uint64_t lmn__owners_bytes_sent(const lmn__exchange *exchange)
{
    const lmn__owners *self = (const lmn__owners *)exchange;
    return lmn_collective_bytes_sent(self->scatter) + lmn_collective_bytes_sent(self->gather);
}

void lmn__owners_destroy(lmn__exchange *exchange)
{
    lmn__owners *self = (lmn__owners *)exchange;
    lmn_collective_destroy(self->scatter);
    lmn_collective_destroy(self->gather);
    for (size_t i = 0; i < self->n_layers; i++) {
        lmn_free(self->layers[i].starts);
        lmn_free(self->layers[i].indices);
        lmn_free(self->layers[i].values);
    }
    lmn_free(self->layers);
    lmn_free(self->messages);
    lmn_free(self->offsets);
    lmn_free(self->sums);
    lmn_free(self->payload);
    lmn_free(self->cursors);
    lmn_free(self->parts);
    lmn_free(self);
}

/*
 * The gathering exchange: every rank's entries to every rank, which adds them up in rank order.
 *
 * A rank's message for a bucket is a frame: a header and one segment per compressed layer, each a
 * header and the compressor's payload padded to 8 bytes; little-endian. Headers repeat what every
 * rank knows from the common plan, so a message of another step, layer or level is refused instead
 * of being added. A rank that has nothing to say sends an empty message.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "exchange_internal.h"
#include "message_internal.h"

#include <assert.h>
#include <string.h>

#define FRAME_MAGIC   0x464E4D4Cu /* "LMNF" */
#define FRAME_VERSION 1u

typedef struct frame_header {
    uint32_t magic;
    uint16_t version;
    uint16_t segments;
    uint32_t step; /* low 32 bits */
    uint32_t rank;
} frame_header;

typedef struct segment_header {
    uint32_t layer;
    uint32_t level;
    uint64_t count;
    uint64_t payload_bytes;
} segment_header;

static_assert(sizeof(frame_header) == 16, "frame header is part of the wire format");
static_assert(sizeof(segment_header) == 24, "segment header is part of the wire format");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frames are little-endian");

typedef struct gather_exchange {
    lmn__exchange head;
    lmn_collective *allgatherv;
    size_t capacity;        /* bytes of a message */
    size_t bytes;           /* of this step's */
    unsigned char *message; /* [capacity] owned */
    size_t *offsets;        /* [ranks] owned; of the next segment to add */
} gather_exchange;

static size_t segment_bytes(size_t payload_bytes)
{
    return sizeof(segment_header) + lmn__pad8(payload_bytes);
}

static uint64_t wire_bytes(const lmn_compressor *compressor, int size, lmn_layer_shape shape,
                           size_t level)
{
    const size_t payload = lmn_compressor_payload_bytes(compressor, level, shape);
    return lmn_allgatherv_bytes(size, (uint64_t)size * segment_bytes(payload));
}

static size_t largest_segment(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const lmn_layer_shape shape = lmn__layer_shape(layer);
    size_t largest = 0;
    for (size_t level = 1; level < lmn_compressor_level_count(reducer->compressor); level++) {
        if (lmn__may_travel_at(reducer, layer, level, LMN_COMBINE_SPARSE)) {
            const size_t bytes =
                segment_bytes(lmn_compressor_payload_bytes(reducer->compressor, level, shape));
            largest = bytes > largest ? bytes : largest;
        }
    }
    return largest;
}

static lmn_status create(lmn_reducer *reducer, lmn__bucket *bucket, lmn__exchange **exchange_out,
                         lmn_error *err)
{
    size_t capacity = 0;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        const size_t layer = reducer->order[bucket->first_layer + place];
        capacity += largest_segment(reducer, &reducer->layers[layer]);
    }
    if (capacity == 0 || !bucket->leads) {
        return LMN_OK;
    }
    gather_exchange *self = lmn_alloc(1, sizeof *self, err);
    if (self == NULL) {
        return LMN_ERR_MEMORY;
    }
    self->head = (lmn__exchange){&lmn__exchange_gather, reducer, bucket};
    *exchange_out = &self->head;
    self->capacity = sizeof(frame_header) + capacity;
    self->message = lmn_alloc(self->capacity, 1, err);
    self->offsets = lmn_alloc((size_t)reducer->team.size, sizeof *self->offsets, err);
    return self->message == NULL || self->offsets == NULL ? LMN_ERR_MEMORY : LMN_OK;
}

static lmn_status connect(lmn__exchange *exchange, lmn_error *err)
{
    gather_exchange *self = (gather_exchange *)exchange;
    return lmn_allgatherv_create(exchange->reducer->team.world, self->capacity, &self->allgatherv,
                                 err);
}

static lmn_status encode_layer(gather_exchange *self, lmn__layer *layer, lmn_error *err)
{
    unsigned char *const start = self->message + self->bytes;
    lmn_encode_job job = {.payload = start + sizeof(segment_header),
                          .payload_capacity =
                              self->capacity - self->bytes - sizeof(segment_header)};
    const lmn_source source = lmn__layer_source(layer);
    const lmn_status status = lmn__layer_encode(self->head.reducer, layer, &source, &job, err);
    if (status != LMN_OK) {
        return status;
    }
    const size_t bytes = job.payload_bytes;
    const segment_header header = {.layer = (uint32_t)layer->index,
                                   .level = (uint32_t)layer->travel_level,
                                   .count = layer->count,
                                   .payload_bytes = bytes};
    memcpy(start, &header, sizeof header);
    memset(job.payload + bytes, 0, lmn__pad8(bytes) - bytes);
    layer->message_bytes = segment_bytes(bytes);
    self->bytes += layer->message_bytes;
    return LMN_OK;
}

static lmn_status encode(lmn__exchange *exchange, lmn_error *err)
{
    gather_exchange *self = (gather_exchange *)exchange;
    const frame_header header = {.magic = FRAME_MAGIC,
                                 .version = FRAME_VERSION,
                                 .segments = (uint16_t)lmn__carried_count(exchange),
                                 .step = (uint32_t)exchange->reducer->step,
                                 .rank = (uint32_t)exchange->reducer->team.rank};
    memcpy(self->message, &header, sizeof header);
    self->bytes = sizeof header;
    lmn_status status = LMN_OK;
    for (size_t place = 0; place < exchange->bucket->layer_count && status == LMN_OK; place++) {
        lmn__layer *layer = lmn__bucket_layer(exchange, place);
        if (lmn__carries(exchange, layer)) {
            status = encode_layer(self, layer, err);
        }
    }
    return status;
}

static lmn_status start(lmn__exchange *exchange, bool silent, lmn_error *err)
{
    const gather_exchange *self = (const gather_exchange *)exchange;
    if (lmn__carried_count(exchange) == 0) {
        return LMN_OK;
    }
    return lmn_allgatherv_start(self->allgatherv, self->message, silent ? 0 : self->bytes, err);
}

static lmn_status progress(lmn__exchange *exchange, lmn_error *err)
{
    const gather_exchange *self = (const gather_exchange *)exchange;
    return lmn_collective_progress(self->allgatherv, err);
}

static bool header_fits(const gather_exchange *self, int rank, const frame_header *header)
{
    const lmn_reducer *reducer = self->head.reducer;
    return header->magic == FRAME_MAGIC && header->version == FRAME_VERSION &&
           header->segments == lmn__carried_count(&self->head) &&
           header->step == (uint32_t)reducer->step && header->rank == (uint32_t)rank;
}

static bool segment_fits(const lmn__layer *layer, const segment_header *header, size_t room)
{
    return header->layer == layer->index && header->level == layer->travel_level &&
           header->count == layer->count && header->payload_bytes <= room &&
           lmn__pad8((size_t)header->payload_bytes) <= room;
}

/* The segment at `frame + offset`, whose header lies within the frame. */
static lmn_decode_job segment_at(const lmn__layer *layer, const unsigned char *frame, size_t offset)
{
    segment_header part;
    memcpy(&part, frame + offset, sizeof part);
    return (lmn_decode_job){.level = layer->travel_level,
                            .shape = lmn__layer_shape(layer),
                            .count = layer->count,
                            .payload = frame + offset + sizeof part,
                            .payload_bytes = (size_t)part.payload_bytes};
}

static lmn_status check_segment(const lmn_reducer *reducer, const lmn__layer *layer, int rank,
                                const lmn_decode_job *job, lmn_error *err)
{
    const lmn_status status = lmn_compressor_check(reducer->compressor, job, err);
    if (status != LMN_OK) {
        lmn__name_message(reducer, rank, layer, err);
    }
    return status;
}

/* Checks the segments behind the header; *offset moves behind the last. */
static lmn_status check_segments(const gather_exchange *self, int rank, const unsigned char *frame,
                                 size_t bytes, size_t *offset, lmn_error *err)
{
    const lmn_reducer *reducer = self->head.reducer;
    for (size_t place = 0; place < self->head.bucket->layer_count; place++) {
        const lmn__layer *layer = lmn__bucket_layer(&self->head, place);
        segment_header part;
        if (!lmn__carries(&self->head, layer)) {
            continue;
        }
        if (bytes - *offset < sizeof part) {
            return lmn__damaged(reducer, rank, "it ends inside a segment", err);
        }
        memcpy(&part, frame + *offset, sizeof part);
        if (!segment_fits(layer, &part, bytes - *offset - sizeof part)) {
            return lmn__damaged(reducer, rank, "a segment belongs to another layer or level", err);
        }
        const lmn_decode_job job = segment_at(layer, frame, *offset);
        const lmn_status status = check_segment(reducer, layer, rank, &job, err);
        if (status != LMN_OK) {
            return status;
        }
        *offset += segment_bytes(job.payload_bytes);
    }
    return LMN_OK;
}

static lmn_status check_frame(const gather_exchange *self, int rank, lmn_error *err)
{
    const lmn_reducer *reducer = self->head.reducer;
    size_t bytes = 0;
    const unsigned char *frame = lmn_allgatherv_message(self->allgatherv, rank, &bytes);
    frame_header header;
    if (bytes < sizeof header) {
        return lmn__damaged(reducer, rank, "it is too short", err);
    }
    memcpy(&header, frame, sizeof header);
    if (!header_fits(self, rank, &header)) {
        return lmn__damaged(reducer, rank, "its header belongs to another step or plan", err);
    }
    size_t offset = sizeof header;
    const lmn_status status = check_segments(self, rank, frame, bytes, &offset, err);
    if (status != LMN_OK) {
        return status;
    }
    return offset == bytes ? LMN_OK : lmn__damaged(reducer, rank, "it is too long", err);
}

static lmn_status check(const lmn__exchange *exchange, lmn_error *err)
{
    const gather_exchange *self = (const gather_exchange *)exchange;
    lmn_status status = LMN_OK;
    const int size = lmn__carried_count(exchange) > 0 ? exchange->reducer->team.size : 0;
    for (int rank = 0; rank < size && status == LMN_OK; rank++) {
        status = check_frame(self, rank, err);
    }
    return status;
}

/* States that the encoder did not rewrite learn from this rank's own message what was sent. */
static void add_to_states(const lmn_reducer *reducer, lmn__layer *layer, const lmn_decode_job *own)
{
    for (size_t s = 0; s < LMN_FEEDBACK_STATES_MAX; s++) {
        if (layer->state[s] != NULL && layer->next[s] == NULL) {
            const float factor = lmn_feedback_sent_factor(layer->feedback, s);
            lmn_compressor_decode_add(reducer->compressor, own, factor, layer->state[s]);
        }
    }
}

static void commit_layer(gather_exchange *self, lmn__layer *layer)
{
    const lmn_reducer *reducer = self->head.reducer;
    float *const sum = layer->tracked != NULL ? layer->tracked : layer->average;
    if (layer->tracked == NULL) {
        memset(sum, 0, layer->count * sizeof *sum);
    }
    const float weight = 1.0F / (float)reducer->team.size;
    for (int rank = 0; rank < reducer->team.size; rank++) {
        size_t bytes = 0;
        const unsigned char *frame = lmn_allgatherv_message(self->allgatherv, rank, &bytes);
        const lmn_decode_job job = segment_at(layer, frame, self->offsets[rank]);
        lmn_compressor_decode_add(reducer->compressor, &job, weight, sum);
        if (rank == reducer->team.rank) {
            add_to_states(reducer, layer, &job);
        }
        self->offsets[rank] += segment_bytes(job.payload_bytes);
    }
    lmn__layer_commit_next(layer);
}

static void commit(lmn__exchange *exchange)
{
    gather_exchange *self = (gather_exchange *)exchange;
    for (int rank = 0; rank < exchange->reducer->team.size; rank++) {
        self->offsets[rank] = sizeof(frame_header);
    }
    for (size_t place = 0; place < exchange->bucket->layer_count; place++) {
        lmn__layer *layer = lmn__bucket_layer(exchange, place);
        if (lmn__carries(exchange, layer)) {
            commit_layer(self, layer);
        }
    }
}

static uint64_t bytes_sent(const lmn__exchange *exchange)
{
    const gather_exchange *self = (const gather_exchange *)exchange;
    return lmn_collective_bytes_sent(self->allgatherv);
}

lmn_collective *lmn__gather_collective(const lmn__exchange *exchange)
{
    return ((const gather_exchange *)exchange)->allgatherv;
}

static void destroy(lmn__exchange *exchange)
{
    gather_exchange *self = (gather_exchange *)exchange;
    lmn_collective_destroy(self->allgatherv);
    lmn_free(self->message);
    lmn_free(self->offsets);
    lmn_free(self);
}

const lmn__exchange_kind lmn__exchange_gather = {.combine = LMN_COMBINE_SPARSE,
                                                 .sends_entries = true,
                                                 .wire_bytes = wire_bytes,
                                                 .create = create,
                                                 .connect = connect,
                                                 .encode = encode,
                                                 .start = start,
                                                 .progress = progress,
                                                 .check = check,
                                                 .commit = commit,
                                                 .bytes_sent = bytes_sent,
                                                 .destroy = destroy};

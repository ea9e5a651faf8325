/*
 * Frames: one rank's message for one bucket.
 *
 * A frame is a header and one segment per gathered layer, each a header and the compressor's
 * payload padded to 8 bytes; little-endian. Headers repeat what every rank knows from the common
 * plan, so a message of another step, layer or level is refused instead of being added. A rank that
 * has nothing to say sends an empty message.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "reducer_internal.h"

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

static size_t pad8(size_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

size_t lmn__frame_header_bytes(void)
{
    return sizeof(frame_header);
}

size_t lmn__segment_bytes(size_t payload_bytes)
{
    return sizeof(segment_header) + pad8(payload_bytes);
}

/* The layer behind gathered segment `segment` of a bucket. */
static size_t segment_layer(const lmn_reducer *reducer, const lmn__bucket *bucket, size_t segment)
{
    size_t place = bucket->first_layer;
    for (size_t seen = 0;; place++) {
        if (reducer->layers[reducer->order[place]].travel_level != 0 && seen++ == segment) {
            return reducer->order[place];
        }
    }
}

static lmn_status encode_segment(lmn_reducer *reducer, lmn__bucket *bucket, size_t index,
                                 lmn_error *err)
{
    lmn__layer *layer = &reducer->layers[index];
    unsigned char *const start = bucket->message + bucket->message_bytes;
    const size_t room = bucket->message_capacity - bucket->message_bytes - sizeof(segment_header);
    const lmn_source source = lmn_source_of_vector(layer->vector);
    lmn_encode_job job = {.level = layer->travel_level,
                          .shape = lmn__layer_shape(layer),
                          .count = layer->count,
                          .source = &source,
                          .payload = start + sizeof(segment_header),
                          .payload_capacity = room,
                          .scratch = reducer->scratch};
    const lmn_status status = lmn_compressor_encode(reducer->compressor, &job, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "layer '%s'", layer->name);
        return status;
    }
    const segment_header header = {.layer = (uint32_t)index,
                                   .level = (uint32_t)layer->travel_level,
                                   .count = layer->count,
                                   .payload_bytes = job.payload_bytes};
    memcpy(start, &header, sizeof header);
    const size_t padding = pad8(job.payload_bytes) - job.payload_bytes;
    memset(job.payload + job.payload_bytes, 0, padding);
    layer->message_bytes = lmn__segment_bytes(job.payload_bytes);
    bucket->message_bytes += layer->message_bytes;
    return LMN_OK;
}

lmn_status lmn__frame_encode(lmn_reducer *reducer, lmn__bucket *bucket, lmn_error *err)
{
    const frame_header header = {.magic = FRAME_MAGIC,
                                 .version = FRAME_VERSION,
                                 .segments = (uint16_t)bucket->gathered_layers,
                                 .step = (uint32_t)reducer->step,
                                 .rank = (uint32_t)reducer->rank};
    memcpy(bucket->message, &header, sizeof header);
    bucket->message_bytes = sizeof header;
    for (size_t segment = 0; segment < bucket->gathered_layers; segment++) {
        const lmn_status status =
            encode_segment(reducer, bucket, segment_layer(reducer, bucket, segment), err);
        if (status != LMN_OK) {
            return status;
        }
    }
    return LMN_OK;
}

static lmn_status damaged(const lmn_reducer *reducer, int rank, const char *what, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_MESSAGE,
                         "message of rank %d in step %llu is damaged: %s; the step was not applied",
                         rank, (unsigned long long)reducer->step, what);
}

static bool header_fits(const lmn_reducer *reducer, const lmn__bucket *bucket, int rank,
                        const frame_header *header)
{
    return header->magic == FRAME_MAGIC && header->version == FRAME_VERSION &&
           header->segments == bucket->gathered_layers && header->step == (uint32_t)reducer->step &&
           header->rank == (uint32_t)rank;
}

static bool segment_fits(const lmn__layer *layer, size_t index, const segment_header *header,
                         size_t room)
{
    return header->layer == index && header->level == layer->travel_level &&
           header->count == layer->count && header->payload_bytes <= room &&
           pad8((size_t)header->payload_bytes) <= room;
}

static lmn_status check_segment(const lmn_reducer *reducer, const lmn__bucket *bucket, int rank,
                                size_t segment, lmn_error *err)
{
    const lmn_decode_job job = lmn__frame_segment(reducer, bucket, rank, segment);
    const lmn_status status = lmn_compressor_check(reducer->compressor, &job, err);
    if (status != LMN_OK) {
        const size_t index = segment_layer(reducer, bucket, segment);
        lmn_error_add_context(err, "message of rank %d for layer '%s' in step %llu", rank,
                              reducer->layers[index].name, (unsigned long long)reducer->step);
    }
    return status;
}

lmn_status lmn__frame_check(const lmn_reducer *reducer, const lmn__bucket *bucket, int rank,
                            lmn_error *err)
{
    size_t bytes = 0;
    const unsigned char *frame = lmn_allgatherv_message(bucket->allgatherv, rank, &bytes);
    frame_header header;
    if (bytes < sizeof header) {
        return damaged(reducer, rank, "it is too short", err);
    }
    memcpy(&header, frame, sizeof header);
    if (!header_fits(reducer, bucket, rank, &header)) {
        return damaged(reducer, rank, "its header belongs to another step or plan", err);
    }
    size_t offset = sizeof header;
    for (size_t segment = 0; segment < bucket->gathered_layers; segment++) {
        const size_t index = segment_layer(reducer, bucket, segment);
        segment_header part;
        if (bytes - offset < sizeof part) {
            return damaged(reducer, rank, "it ends inside a segment", err);
        }
        memcpy(&part, frame + offset, sizeof part);
        offset += sizeof part;
        if (!segment_fits(&reducer->layers[index], index, &part, bytes - offset)) {
            return damaged(reducer, rank, "a segment belongs to another layer or level", err);
        }
        offset += pad8((size_t)part.payload_bytes);
        const lmn_status status = check_segment(reducer, bucket, rank, segment, err);
        if (status != LMN_OK) {
            return status;
        }
    }
    return offset == bytes ? LMN_OK : damaged(reducer, rank, "it is too long", err);
}

lmn_decode_job lmn__frame_segment(const lmn_reducer *reducer, const lmn__bucket *bucket, int rank,
                                  size_t segment)
{
    size_t bytes = 0;
    const unsigned char *frame = lmn_allgatherv_message(bucket->allgatherv, rank, &bytes);
    size_t offset = sizeof(frame_header);
    segment_header part;
    memcpy(&part, frame + offset, sizeof part);
    for (size_t i = 0; i < segment; i++) {
        offset += lmn__segment_bytes((size_t)part.payload_bytes);
        memcpy(&part, frame + offset, sizeof part);
    }
    const lmn__layer *layer = &reducer->layers[segment_layer(reducer, bucket, segment)];
    return (lmn_decode_job){.level = layer->travel_level,
                            .shape = lmn__layer_shape(layer),
                            .count = layer->count,
                            .payload = frame + offset + sizeof part,
                            .payload_bytes = (size_t)part.payload_bytes};
}

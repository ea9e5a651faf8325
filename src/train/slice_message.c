/*
 * Messages about slices: headers, the payloads of parts, and whether a message is whole.
 *
 * Little-endian: a header and one payload for each part of the slice that is compressed in this
 * step, each padded with zeros to 8 bytes. All sizes follow from the plan.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "slices_internal.h"

#include <assert.h>
#include <string.h>

#define MAGIC   0x534E4D4Cu /* "LMNS" */
#define VERSION 1u

static_assert(sizeof(lmn__slice_header) == 32, "slice header is part of the wire format");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "messages are little-endian");

static size_t pad8(size_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static size_t part_bytes(const lmn_reducer *reducer, const lmn__part *part)
{
    const size_t level = part->layer->travel_level;
    return level == 0 ? 0 : lmn_compressor_part_bytes(reducer->compressor, level, part->count);
}

size_t lmn__part_message_bytes(const lmn_reducer *reducer, const lmn__part *part)
{
    return pad8(part_bytes(reducer, part));
}

lmn_decode_job lmn__part_message(const lmn_reducer *reducer, const lmn__part *part,
                                 const unsigned char *payload)
{
    return (lmn_decode_job){.level = part->layer->travel_level,
                            .shape = lmn__layer_shape(part->layer),
                            .first = part->first,
                            .count = part->count,
                            .payload = payload,
                            .payload_bytes = part_bytes(reducer, part)};
}

lmn__slice_header lmn__slice_header_of(const lmn_reducer *reducer, unsigned content, int rank)
{
    return (lmn__slice_header){.magic = MAGIC,
                               .version = VERSION,
                               .content = (uint16_t)content,
                               .step = (uint32_t)reducer->step,
                               .rank = (uint32_t)rank,
                               .plan = reducer->travel_hash};
}

lmn_status lmn__part_encode(const lmn_reducer *reducer, const lmn__part *part,
                            const lmn_source *source, unsigned rank, unsigned char *payload,
                            lmn_error *err)
{
    const size_t bytes = part_bytes(reducer, part);
    lmn_encode_job job = {.level = part->layer->travel_level,
                          .shape = lmn__layer_shape(part->layer),
                          .first = part->first,
                          .count = part->count,
                          .stream = lmn__layer_stream(reducer, part->layer, rank),
                          .source = source,
                          .memory = rank == LMN_STREAM_ALL_RANKS ? NULL : part->layer->memory_next,
                          .payload = payload,
                          .payload_capacity = bytes,
                          .scratch = reducer->scratch};
    const lmn_status status = lmn_compressor_encode(reducer->compressor, &job, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "layer '%s'", part->layer->name);
        return status;
    }
    if (!job.is_finite) {
        return lmn__nonfinite(reducer, part->layer, err);
    }
    assert(job.payload_bytes == bytes);
    memset(payload + bytes, 0, pad8(bytes) - bytes);
    return LMN_OK;
}

static lmn_status damaged(const lmn_reducer *reducer, int rank, const char *what, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_MESSAGE,
                         "message of rank %d in step %llu is damaged: %s; the step was not applied",
                         lmn__team_world_rank(reducer, rank), (unsigned long long)reducer->step,
                         what);
}

static lmn_status check_header(const lmn_reducer *reducer, int rank, unsigned content,
                               const lmn__slice_header *header, lmn_error *err)
{
    const lmn__slice_header expected = lmn__slice_header_of(reducer, content, rank);
    if (memcmp(header, &expected, offsetof(lmn__slice_header, content)) != 0 ||
        header->step != expected.step || header->rank != expected.rank ||
        header->plan != expected.plan) {
        return damaged(reducer, rank, "its header belongs to another step or plan", err);
    }
    if (header->content == LMN__SLICE_MEAN_NOT_FINITE && content == LMN__SLICE_OF_THE_MEAN &&
        header->layer < reducer->n_layers) {
        return lmn_error_set(
            err, LMN_ERR_NONFINITE, "mean gradient of layer '%s' is not finite in step %llu",
            reducer->layers[header->layer].name, (unsigned long long)reducer->step);
    }
    return header->content == content ? LMN_OK
                                      : damaged(reducer, rank, "it is not what belongs here", err);
}

static lmn_status check_part(const lmn_reducer *reducer, const lmn__part *part, int rank,
                             const unsigned char *payload, lmn_error *err)
{
    const lmn_decode_job job = lmn__part_message(reducer, part, payload);
    const lmn_status status = lmn_compressor_check(reducer->compressor, &job, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "message of rank %d for layer '%s' in step %llu",
                              lmn__team_world_rank(reducer, rank), part->layer->name,
                              (unsigned long long)reducer->step);
    }
    return status;
}

lmn_status lmn__slice_check(const lmn_reducer *reducer, const lmn__slices *slices, int rank,
                            int slice, lmn__slice_content content, const unsigned char *message,
                            size_t bytes, lmn_error *err)
{
    lmn__slice_header header;
    if (bytes < sizeof header) {
        return damaged(reducer, rank, "it is too short", err);
    }
    memcpy(&header, message, sizeof header);
    lmn_status status = check_header(reducer, rank, content, &header, err);
    size_t offset = sizeof header;
    for (size_t i = slices->first_part[slice];
         i < slices->first_part[slice + 1] && status == LMN_OK; i++) {
        const lmn__part *part = &slices->parts[i];
        const size_t padded = lmn__part_message_bytes(reducer, part);
        if (part->layer->travel_level == 0) {
            continue;
        }
        if (bytes - offset < padded) {
            return damaged(reducer, rank, "it ends inside a part", err);
        }
        status = check_part(reducer, part, rank, message + offset, err);
        offset += padded;
    }
    if (status != LMN_OK) {
        return status;
    }
    return offset == bytes ? LMN_OK : damaged(reducer, rank, "it is too long", err);
}

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

static size_t part_bytes(const lmn_reducer *reducer, const lmn__part *part)
{
    const lmn__layer *layer = part->layer;
    return layer->way == LMN_COMBINE_SLICED
               ? lmn_compressor_part_bytes(reducer->compressor, layer->travel_level, part->count)
               : 0;
}

size_t lmn__part_message_bytes(const lmn_reducer *reducer, const lmn__part *part)
{
    return lmn__pad8(part_bytes(reducer, part));
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
    memset(payload + bytes, 0, lmn__pad8(bytes) - bytes);
    return LMN_OK;
}

static lmn_status check_part(const lmn_reducer *reducer, const lmn__part *part, int rank,
                             const unsigned char *payload, lmn_error *err)
{
    const lmn_decode_job job = lmn__part_message(reducer, part, payload);
    const lmn_status status = lmn_compressor_check(reducer->compressor, &job, err);
    if (status != LMN_OK) {
        lmn__name_message(reducer, rank, part->layer, err);
    }
    return status;
}

lmn_status lmn__slice_check(const lmn_reducer *reducer, const lmn__slices *slices, int rank,
                            int slice, lmn__content content, const unsigned char *message,
                            size_t bytes, lmn_error *err)
{
    lmn_status status =
        lmn__owned_header_check(reducer, LMN__MAGIC_SLICES, content, rank, message, bytes, err);
    size_t offset = sizeof(lmn__owned_header);
    for (size_t i = slices->first_part[slice];
         i < slices->first_part[slice + 1] && status == LMN_OK; i++) {
        const lmn__part *part = &slices->parts[i];
        const size_t padded = lmn__part_message_bytes(reducer, part);
        if (part->layer->way != LMN_COMBINE_SLICED) {
            continue;
        }
        if (bytes - offset < padded) {
            return lmn__damaged(reducer, rank, "it ends inside a part", err);
        }
        status = check_part(reducer, part, rank, message + offset, err);
        offset += padded;
    }
    if (status != LMN_OK) {
        return status;
    }
    return offset == bytes ? LMN_OK : lmn__damaged(reducer, rank, "it is too long", err);
}

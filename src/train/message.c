/*
 * What the messages of exchanges have in common.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "exchange_internal.h"
#include "message_internal.h"

#include <assert.h>
#include <string.h>

#define VERSION 1u

static_assert(sizeof(lmn__owned_header) == 32, "the header is part of the wire format");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "messages are little-endian");

size_t lmn__pad8(size_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

lmn_status lmn__damaged(const lmn_reducer *reducer, int rank, const char *what, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_MESSAGE,
                         "message of rank %d in step %llu is damaged: %s; the step was not applied",
                         lmn__team_world_rank(reducer, rank), (unsigned long long)reducer->step,
                         what);
}

void lmn__name_message(const lmn_reducer *reducer, int rank, const lmn__layer *layer,
                       lmn_error *err)
{
    lmn_error_add_context(err, "message of rank %d for layer '%s' in step %llu",
                          lmn__team_world_rank(reducer, rank), layer->name,
                          (unsigned long long)reducer->step);
}

lmn__owned_header lmn__owned_header_of(const lmn_reducer *reducer, uint32_t magic,
                                       lmn__content content, int rank)
{
    return (lmn__owned_header){.magic = magic,
                               .version = VERSION,
                               .content = (uint16_t)content,
                               .step = (uint32_t)reducer->step,
                               .rank = (uint32_t)rank,
                               .plan = reducer->travel_hash};
}

lmn_status lmn__owned_header_check(const lmn_reducer *reducer, uint32_t magic, lmn__content content,
                                   int rank, const unsigned char *message, size_t bytes,
                                   lmn_error *err)
{
    lmn__owned_header header;
    if (bytes < sizeof header) {
        return lmn__damaged(reducer, rank, "it is too short", err);
    }
    memcpy(&header, message, sizeof header);
    const lmn__owned_header expected = lmn__owned_header_of(reducer, magic, content, rank);
    if (header.magic != expected.magic || header.version != expected.version ||
        header.step != expected.step || header.rank != expected.rank ||
        header.plan != expected.plan) {
        return lmn__damaged(reducer, rank, "its header belongs to another step or plan", err);
    }
    if (header.content == LMN__CONTENT_NOT_FINITE && content == LMN__CONTENT_TOGETHER &&
        header.layer < reducer->n_layers) {
        return lmn_error_set(err, LMN_ERR_NONFINITE,
                             "mean gradient of layer '%s' is not finite in step %llu",
                             reducer->layers[header.layer].name, (unsigned long long)reducer->step);
    }
    return header.content == expected.content
               ? LMN_OK
               : lmn__damaged(reducer, rank, "it is not what belongs here", err);
}

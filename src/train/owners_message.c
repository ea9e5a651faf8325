/*
 * Messages to and from the owners of regions: headers, whether they are whole, how long they get.
 *
 * Little-endian: a header and a part for each layer that is compressed in this step, each a head
 * and a payload padded with zeros to 8 bytes. Layers follow from the plan; the heads repeat them so
 * that a message of another step or plan is refused instead of being added.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "owners_internal.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

static_assert(sizeof(lmn__part_header) == 16, "part header is part of the wire format");

lmn__received_part lmn__owners_part_at(const lmn__owned_layer *owned, int owner,
                                       const unsigned char *message, size_t offset)
{
    const size_t first = owned->starts[owner];
    lmn__received_part part = {.range = {.first = first, .count = owned->starts[owner + 1] - first},
                               .payload = message + offset + sizeof(lmn__part_header)};
    memcpy(&part.head, message + offset, sizeof part.head);
    return part;
}

lmn_sparse_message lmn__part_message_of(const lmn__received_part *part)
{
    return (lmn_sparse_message){
        .payload = part->payload, .bytes = part->head.bytes, .range = part->range};
}

static bool is_whole(const lmn__received_part *part)
{
    if (part->head.bytes != part->range.count * sizeof(float)) {
        return false;
    }
    for (size_t i = 0; i < part->range.count; i++) {
        float value = 0.0F;
        memcpy(&value, part->payload + i * sizeof value, sizeof value);
        if (!(fabsf(value) <= FLT_MAX)) {
            return false;
        }
    }
    return true;
}

static lmn_status check_part(const lmn__owners *self, const lmn__owned_layer *owned, int rank,
                             int owner, lmn__content content, const lmn__received_part *part,
                             lmn_error *err)
{
    const lmn_reducer *reducer = self->head.reducer;
    const bool is_sum = content == LMN__CONTENT_TOGETHER;
    lmn_status status = LMN_OK;
    if (part->head.form == LMN__PART_ENTRIES) {
        const lmn_sparse_message message = lmn__part_message_of(part);
        const size_t most =
            is_sum ? self->rule->published_max(reducer, owned->layer) : owned->capacity;
        status = part->head.bytes == 0 ? LMN_OK : lmn_sparse_check(&message, most, err);
    } else if (part->head.form != LMN__PART_WHOLE || !is_sum || !is_whole(part)) {
        status = lmn_error_set(err, LMN_ERR_MESSAGE, "it is not all elements of the region");
    }
    if (status == LMN_OK && is_sum && self->rule->check != NULL &&
        !self->rule->check(owned, owner, &part->head)) {
        status = lmn_error_set(err, LMN_ERR_MESSAGE, "what it notes cannot be");
    }
    if (status != LMN_OK) {
        lmn__name_message(reducer, rank, owned->layer, err);
    }
    return status;
}

static lmn_status check_parts(const lmn__owners *self, int rank, int owner, lmn__content content,
                              const unsigned char *message, size_t bytes, size_t *offset,
                              lmn_error *err)
{
    const lmn_reducer *reducer = self->head.reducer;
    for (size_t i = 0; i < self->n_layers; i++) {
        const lmn__owned_layer *owned = &self->layers[i];
        if (!lmn__carries(&self->head, owned->layer)) {
            continue;
        }
        if (bytes - *offset < sizeof(lmn__part_header)) {
            return lmn__damaged(reducer, rank, "it ends inside a part", err);
        }
        const lmn__received_part part = lmn__owners_part_at(owned, owner, message, *offset);
        const size_t padded = lmn__pad8((size_t)part.head.bytes);
        if (part.head.layer != owned->layer->index || padded > bytes - *offset - sizeof part.head) {
            return lmn__damaged(reducer, rank, "a part belongs to another layer", err);
        }
        const lmn_status status = check_part(self, owned, rank, owner, content, &part, err);
        if (status != LMN_OK) {
            return status;
        }
        *offset += sizeof part.head + padded;
    }
    return LMN_OK;
}

lmn_status lmn__owners_check_message(const lmn__owners *self, int rank, int owner,
                                     lmn__content content, const unsigned char *message,
                                     size_t bytes, lmn_error *err)
{
    const lmn_reducer *reducer = self->head.reducer;
    lmn_status status =
        lmn__owned_header_check(reducer, LMN__MAGIC_OWNERS, content, rank, message, bytes, err);
    size_t offset = sizeof(lmn__owned_header);
    if (status == LMN_OK) {
        status = check_parts(self, rank, owner, content, message, bytes, &offset, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    return offset == bytes ? LMN_OK : lmn__damaged(reducer, rank, "it is too long", err);
}

static uint64_t pairs(int size)
{
    return (uint64_t)size * (uint64_t)(size - 1);
}

static size_t share(size_t count, int size)
{
    return (count + (size_t)size - 1) / (size_t)size;
}

/* Values that several of an owner's messages share a scale of do not survive the cut: they travel
   whole. */
static lmn_sparse_values cut_format(lmn_sparse_values format)
{
    return format == LMN_SPARSE_BF16 ? LMN_SPARSE_BF16 : LMN_SPARSE_F32;
}

uint64_t lmn__owners_scatter_bytes(const lmn_compressor *compressor, int size,
                                   lmn_layer_shape shape, size_t level)
{
    const lmn_compressor_entries entries = lmn_compressor_entries_of(compressor, level, shape);
    const size_t bytes = lmn_sparse_bytes_max(share(entries.most, size), share(shape.count, size),
                                              cut_format(entries.values));
    return pairs(size) * (sizeof(lmn__part_header) + lmn__pad8(bytes));
}

uint64_t lmn__owners_publish_bytes(int size, lmn_layer_shape shape, size_t entries)
{
    const size_t region = share(shape.count, size);
    const size_t sparse = lmn_sparse_bytes_max(share(entries, size), region, LMN_SPARSE_F32);
    const size_t whole = region * sizeof(float);
    return pairs(size) * (sizeof(lmn__part_header) + lmn__pad8(sparse < whole ? sparse : whole));
}

size_t lmn__expected_union(size_t entries, size_t count, int size)
{
    if (count == 0) {
        return 0;
    }
    double untouched = 1.0;
    for (int rank = 0; rank < size; rank++) {
        untouched *= 1.0 - (double)entries / (double)count;
    }
    return (size_t)((double)count * (1.0 - untouched));
}

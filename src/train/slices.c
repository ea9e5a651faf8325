/*
 * Cutting a bucket into slices: see slices_internal.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/partition.h"
#include "slices_internal.h"

static lmn__layer *layer_at(const lmn_reducer *reducer, const lmn__bucket *bucket, size_t place)
{
    return &reducer->layers[reducer->order[bucket->first_layer + place]];
}

static size_t grains_of(const lmn_reducer *reducer, const lmn__layer *layer, size_t grain)
{
    return lmn__may_travel_by(reducer, layer, LMN_COMBINE_SLICED)
               ? (layer->count + grain - 1) / grain
               : 0;
}

static size_t count_grains(const lmn_reducer *reducer, const lmn__bucket *bucket, size_t grain)
{
    size_t n_grains = 0;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        n_grains += grains_of(reducer, layer_at(reducer, bucket, place), grain);
    }
    return n_grains;
}

/* Grains are counted through the bucket; those of the layer are start .. start + n - 1. */
static void add_part(lmn__slices *slices, lmn__layer *layer, lmn_range slice, size_t start,
                     size_t n, size_t grain, size_t *slice_count)
{
    const size_t begin = slice.first > start ? slice.first : start;
    const size_t slice_end = slice.first + slice.count;
    const size_t end = slice_end < start + n ? slice_end : start + n;
    if (begin >= end) {
        return;
    }
    const size_t first = (begin - start) * grain;
    const size_t last = (end - start) * grain;
    const size_t count = (last < layer->count ? last : layer->count) - first;
    slices->parts[slices->n_parts++] =
        (lmn__part){.layer = layer, .first = first, .count = count, .offset = *slice_count};
    *slice_count += count;
}

static void cut(const lmn_reducer *reducer, const lmn__bucket *bucket, size_t grain,
                lmn__slices *slices)
{
    const size_t n_grains = count_grains(reducer, bucket, grain);
    for (size_t rank = 0; rank < (size_t)reducer->team.size; rank++) {
        const lmn_range slice = lmn_partition(n_grains, (size_t)reducer->team.size, rank);
        size_t start = 0;
        size_t count = 0;
        slices->first_part[rank] = slices->n_parts;
        for (size_t place = 0; place < bucket->layer_count; place++) {
            lmn__layer *layer = layer_at(reducer, bucket, place);
            const size_t n = grains_of(reducer, layer, grain);
            add_part(slices, layer, slice, start, n, grain, &count);
            start += n;
        }
        slices->count = count > slices->count ? count : slices->count;
    }
    slices->first_part[reducer->team.size] = slices->n_parts;
}

lmn_status lmn__slices_create(lmn_reducer *reducer, const lmn__bucket *bucket,
                              lmn__slices *slices_out, lmn_error *err)
{
    const size_t ranks = (size_t)reducer->team.size;
    *slices_out = (lmn__slices){.n_parts = 0};
    /* Each border between ranks cuts at most one layer. */
    slices_out->parts = lmn_alloc(bucket->layer_count + ranks, sizeof *slices_out->parts, err);
    slices_out->first_part = lmn_alloc(ranks + 1, sizeof *slices_out->first_part, err);
    if (slices_out->parts == NULL || slices_out->first_part == NULL) {
        return LMN_ERR_MEMORY;
    }
    cut(reducer, bucket, lmn_compressor_grain(reducer->compressor), slices_out);
    return LMN_OK;
}

void lmn__slices_free(lmn__slices *slices)
{
    lmn_free(slices->parts);
    lmn_free(slices->first_part);
}

/*
 * Costs of all layers at all levels on a link, for the allocator and for predictions.
 *
 * By any way, a rank sends the bytes that all ranks together send, by their number: reduce-scatter
 * with allgather 2 (n-1)/n S, gathering (n-1) s. So time on the wire is that many bytes at the
 * link's rate, and latencies are charged for each bucket by the number of messages that have to
 * wait for each other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "timing_internal.h"

#include <assert.h>

static_assert(LMN__WAYS == LMN_TIME_KINDS, "each way of combining is a kind of messages");

static bool is_reduced(const lmn_reducer *reducer, size_t level)
{
    const lmn_combine combine = lmn_compressor_combine(reducer->compressor, level);
    return combine == LMN_COMBINE_SUM || combine == LMN_COMBINE_ROUNDS;
}

static uint64_t way_bytes(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level, int size)
{
    return lmn__way_of(reducer, level)->wire_bytes(reducer->compressor, size, shape, level);
}

/* The level at which a layer travels among `size` ranks: dense where that sends no more. */
static size_t travel_level(const lmn_reducer *reducer, const lmn__layer *layer, size_t level,
                           int size)
{
    const lmn_layer_shape shape = lmn__layer_shape(layer);
    if (level == 0 || layer->small) {
        return 0;
    }
    return way_bytes(reducer, shape, level, size) < way_bytes(reducer, shape, 0, size) ? level : 0;
}

uint64_t lmn__timing_bytes(const lmn_reducer *reducer, const lmn__layer *layer, size_t level,
                           int size)
{
    return way_bytes(reducer, lmn__layer_shape(layer), travel_level(reducer, layer, level, size),
                     size);
}

static double wire_seconds(const lmn_reducer *reducer, const lmn_link *link, int size,
                           const lmn__layer *layer, size_t level)
{
    const lmn__timing *self = reducer->timing;
    if (size < 2) {
        return 0.0;
    }
    const uint64_t bytes = way_bytes(reducer, lmn__layer_shape(layer), level, size);
    const double share = level == 0 ? 1.0 : self->share[layer->index * self->n_levels + level];
    const lmn_line *line = is_reduced(reducer, level) ? &link->sum : &link->gather;
    return (double)bytes / size * (share > 0.0 ? share : 1.0) * line->per_byte;
}

/* Of the rounds of all families in a mixture, the most. */
static size_t most_rounds(const lmn_reducer *reducer)
{
    size_t most = 0;
    for (size_t level = 1; level < lmn_compressor_level_count(reducer->compressor); level++) {
        const size_t rounds =
            lmn_compressor_combine(reducer->compressor, level) == LMN_COMBINE_ROUNDS
                ? lmn_compressor_round_count(reducer->compressor, level)
                : 0;
        most = rounds > most ? rounds : most;
    }
    return most;
}

/* Scattering to owners and publishing are two phases; gathering is one. */
static double latency_of(const lmn_reducer *reducer, lmn_combine way, const lmn_link *link,
                         int size)
{
    const double sum = lmn_link_sum_messages(size) * link->sum.latency;
    const double gather = lmn_link_gather_messages(size) * link->gather.latency;
    switch (way) {
    case LMN_COMBINE_ROUNDS:
        return (double)most_rounds(reducer) * sum;
    case LMN_COMBINE_SLICED:
        return 2.0 * gather;
    case LMN_COMBINE_SPARSE:
        return gather;
    case LMN_COMBINE_SUM:
        break;
    }
    return sum;
}

/* What compresses is numbered from 1 on, in the order of levels, so that one family has the kinds 0
   and 1 and no others to search through. */
static void fill_kinds(const lmn_reducer *reducer, const lmn_link *link, int size,
                       double latency_out[LMN_TIME_KINDS])
{
    uint8_t number[LMN__WAYS] = {0};
    uint8_t n = 1;
    latency_out[0] = latency_of(reducer, LMN_COMBINE_SUM, link, size);
    for (size_t level = 0; level < reducer->timing->n_levels; level++) {
        const lmn_combine way = lmn_compressor_combine(reducer->compressor, level);
        if (way != LMN_COMBINE_SUM && number[way] == 0) {
            latency_out[n] = latency_of(reducer, way, link, size);
            number[way] = n++;
        }
        reducer->timing->kind[level] = number[way];
    }
}

/* Where every rank adds up the entries of all, twice the ranks have twice the entries. */
static double more_ranks(const lmn_reducer *reducer, size_t level, int size)
{
    const int here = reducer->team.size < 2 ? 2 : reducer->team.size;
    return lmn_compressor_combine(reducer->compressor, level) == LMN_COMBINE_SPARSE
               ? (double)(size < 2 ? 2 : size) / here
               : 1.0;
}

/* A core that moves messages on does not compute meanwhile: as long as it took it in dense steps,
 * by the bytes of the layer. */
static double progress_seconds(const lmn_reducer *reducer, const lmn__layer *layer, size_t level,
                               int size)
{
    size_t total = 0;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        total += reducer->layers[i].count;
    }
    const int ranks = size < 2 ? 2 : size;
    const double part = total == 0 ? 0.0 : (double)layer->count / (double)total;
    const double dense = (double)way_bytes(reducer, lmn__layer_shape(layer), 0, ranks);
    const double bytes = (double)way_bytes(reducer, lmn__layer_shape(layer), level, ranks);
    return dense > 0.0 ? reducer->timing->dense_progress * part * bytes / dense : 0.0;
}

static void fill_layer(lmn_reducer *reducer, const lmn_link *link, int size,
                       const lmn__layer *layer)
{
    lmn__timing *self = reducer->timing;
    const size_t cells = self->n_layers * self->n_levels;
    for (size_t level = 0; level < self->n_levels; level++) {
        const size_t travels = travel_level(reducer, layer, level, size < 2 ? 2 : size);
        const size_t from = layer->index * self->n_levels + travels;
        const size_t to = layer->index * self->n_levels + level;
        const double raised = self->raised[travels];
        const double decodes =
            travels == 0 ? 1.0 : self->decode_factor * more_ranks(reducer, travels, size);
        self->costs[to] = raised * self->encode[from] * (travels == 0 ? 1.0 : self->encode_factor) +
                          progress_seconds(reducer, layer, travels, size);
        self->costs[cells + to] = raised * self->decode[from] * decodes;
        self->costs[2 * cells + to] = raised * wire_seconds(reducer, link, size, layer, travels);
    }
}

lmn_cost_timings lmn__timing_tables(lmn_reducer *reducer, const lmn_link *link, int size)
{
    lmn__timing *self = reducer->timing;
    const size_t cells = self->n_layers * self->n_levels;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        self->bucket_of[i] = reducer->layers[i].bucket;
        fill_layer(reducer, link, size, &reducer->layers[i]);
        /* Small layers leave when all else is there. */
        if (reducer->buckets[reducer->layers[i].bucket].n_extra > 0) {
            self->ready[i] = self->medians[LMN__TIME_COMPUTE];
        }
    }
    lmn_cost_timings timings = {.order = reducer->order,
                                .bucket = self->bucket_of,
                                .ready = self->ready,
                                .encode = self->costs,
                                .decode = self->costs + cells,
                                .wire = self->costs + 2 * cells,
                                .kind = self->kind,
                                .compute = self->medians[LMN__TIME_COMPUTE],
                                .update = self->medians[LMN__TIME_UPDATE]};
    fill_kinds(reducer, link, size, timings.latency);
    return timings;
}

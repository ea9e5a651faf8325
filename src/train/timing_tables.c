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

#include <math.h>

static bool is_reduced(const lmn_reducer *reducer, size_t level)
{
    const lmn_combine combine = lmn_compressor_combine(reducer->compressor, level);
    return combine == LMN_COMBINE_SUM || combine == LMN_COMBINE_ROUNDS;
}

static uint64_t way_bytes(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level, int size)
{
    const lmn__exchange_kind *kind = level == 0 ? &lmn__exchange_dense : reducer->way;
    return kind->wire_bytes(reducer->compressor, size, shape, level);
}

/* The level at which a layer travels among `size` ranks: dense where that sends no more. */
static size_t travel_level(const lmn_reducer *reducer, const lmn__layer *layer, size_t level,
                           int size)
{
    const lmn_layer_shape shape = lmn__layer_shape(layer);
    if (level == 0 || layer->small || reducer->way == NULL) {
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

/* Scattering to owners and publishing are two phases; gathering is one. */
static double compressed_latency(const lmn_reducer *reducer, const lmn_link *link, int size)
{
    if (reducer->way == NULL || reducer->timing->n_levels < 2) {
        return 0.0;
    }
    switch (lmn_compressor_combine(reducer->compressor, 1)) {
    case LMN_COMBINE_ROUNDS:
        return (double)lmn_compressor_round_count(reducer->compressor, 1) *
               lmn_link_sum_messages(size) * link->sum.latency;
    case LMN_COMBINE_SLICED:
        return 2.0 * lmn_link_gather_messages(size) * link->gather.latency;
    default:
        return lmn_link_gather_messages(size) * link->gather.latency;
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

/* Of a dense step's computing, what the system took to move messages: what computing takes less
 * while hardly any travel. Known once a trial has seen that. */
static double system_seconds(const lmn__timing *self)
{
    const bool is_known = self->dense_compute > 0.0 && self->light_compute > 0.0;
    return is_known ? fmax(0.0, self->dense_compute - self->light_compute) : 0.0;
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
    const double seconds = reducer->timing->dense_progress + system_seconds(reducer->timing);
    return dense > 0.0 ? seconds * part * bytes / dense : 0.0;
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
        const double decodes =
            travels == 0 ? 1.0 : self->decode_factor * more_ranks(reducer, travels, size);
        self->costs[to] = self->encode[from] * (travels == 0 ? 1.0 : self->encode_factor) +
                          progress_seconds(reducer, layer, travels, size);
        self->costs[cells + to] = self->decode[from] * decodes;
        self->costs[2 * cells + to] = wire_seconds(reducer, link, size, layer, travels);
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
    return (lmn_cost_timings){.order = reducer->order,
                              .bucket = self->bucket_of,
                              .ready = self->ready,
                              .encode = self->costs,
                              .decode = self->costs + cells,
                              .wire = self->costs + 2 * cells,
                              .latency_dense = lmn_link_sum_messages(size) * link->sum.latency,
                              .latency_compressed = compressed_latency(reducer, link, size),
                              .compute = self->medians[LMN__TIME_COMPUTE],
                              .update = self->medians[LMN__TIME_UPDATE]};
}

/*
 * Costs of all layers at all levels on a link, for the allocator and for predictions.
 *
 * By any way, a rank sends the bytes that all ranks together send, by their number: reduce-scatter
 * with allgather 2 (n-1)/n S, gathering (n-1) s. So time on the wire is that many bytes at the
 * link's rate, or the gaps between its messages where those are longer, and latencies are charged
 * for each bucket by the number of messages that have to wait for each other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "owners_internal.h"
#include "timing_internal.h"

#include <assert.h>
#include <math.h>

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

/* The uniform level where it sends entries, else the first one that does. */
static size_t level_of_entries(const lmn_compressor *compressor)
{
    const size_t n_levels = lmn_compressor_level_count(compressor);
    size_t level = lmn_compressor_static_level(compressor);
    if (lmn_compressor_combine(compressor, level) == LMN_COMBINE_SPARSE) {
        return level;
    }
    for (level = 1; level < n_levels; level++) {
        if (lmn_compressor_combine(compressor, level) == LMN_COMBINE_SPARSE) {
            return level;
        }
    }
    return 0;
}

/* Whether entries of `size` ranks are added up by owners: by name, or where that sends less. */
static bool has_owners(const lmn_reducer *reducer, int size)
{
    const lmn_compressor *compressor = reducer->compressor;
    const lmn__exchange_kind *way = reducer->ways[LMN_COMBINE_SPARSE];
    const size_t level = level_of_entries(compressor);
    uint64_t gathered = 0;
    uint64_t merged = 0;
    if (way != &lmn__exchange_sparse) {
        return way != &lmn__exchange_gather;
    }
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const lmn_layer_shape shape = lmn__layer_shape(&reducer->layers[i]);
        if (!reducer->layers[i].small && level != 0) {
            gathered += lmn__exchange_gather.wire_bytes(compressor, size, shape, level);
            merged += lmn__exchange_merge.wire_bytes(compressor, size, shape, level);
        }
    }
    return merged < gathered;
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

/* What collectives take on a link among so many ranks, apart from their bytes; arrays by way. */
typedef struct terms {
    const lmn_link *link;
    int size;
    int n_phases[LMN__WAYS];   /* gathering, or scattering and publishing */
    double latency[LMN__WAYS]; /* of all phases, or rounds; of any dense bucket at least */
    double gaps[LMN__WAYS];    /* of one phase, or of all rounds */
    double latency_long;       /* of dense buckets but the last: layers have what is beyond */
    double last; /* the last bucket, which is always dense and often short, and takes another way */
} terms;

static terms terms_of(const lmn_reducer *reducer, const lmn_link *link, int size)
{
    const size_t last = reducer->buckets[reducer->n_buckets - 1].dense_count;
    const double n_rounds = (double)most_rounds(reducer);
    const double sum_latency = lmn_link_sum_latency(link, size);
    const double sum_gaps = lmn_link_sum_gaps(link, size);
    terms t = {.link = link,
               .size = size,
               .latency_long = sum_latency,
               .last = lmn_link_sum_seconds(link, size, (double)(last * sizeof(float)))};
    for (size_t way = 0; way < LMN__WAYS; way++) {
        const bool has_two =
            way == LMN_COMBINE_SLICED || (way == LMN_COMBINE_SPARSE && has_owners(reducer, size));
        t.n_phases[way] = has_two ? 2 : 1;
        t.latency[way] = t.n_phases[way] * lmn_link_gather_latency(link, size);
        t.gaps[way] = lmn_link_gather_gaps(link, size);
    }
    t.latency[LMN_COMBINE_SUM] = fmin(sum_latency, t.last);
    t.gaps[LMN_COMBINE_SUM] = sum_gaps;
    t.latency[LMN_COMBINE_ROUNDS] = n_rounds * sum_latency;
    t.gaps[LMN_COMBINE_ROUNDS] = n_rounds * sum_gaps;
    return t;
}

/* What compresses is numbered from 1 on, in the order of levels, so that one family has the kinds 0
 * and 1 and no others to search through. */
static void fill_kinds(const lmn_reducer *reducer, const terms *t,
                       double latency_out[LMN_TIME_KINDS])
{
    uint8_t number[LMN__WAYS] = {0};
    uint8_t n = 1;
    latency_out[0] = t->latency[LMN_COMBINE_SUM];
    for (size_t level = 0; level < reducer->timing->n_levels; level++) {
        const lmn_combine way = lmn_compressor_combine(reducer->compressor, level);
        if (way != LMN_COMBINE_SUM && number[way] == 0) {
            latency_out[n] = t->latency[way];
            number[way] = n++;
        }
        reducer->timing->kind[level] = number[way];
    }
}

/* The part of a layer in its bucket, by its numbers. */
static double part_of(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const lmn__bucket *bucket = &reducer->buckets[layer->bucket];
    size_t total = 0;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        total += reducer->layers[reducer->order[bucket->first_layer + place]].count;
    }
    return total > 0 ? (double)layer->count / (double)total : 0.0;
}

/* Of the bytes of messages that take two phases, those of the first. */
static double scattered_part(const lmn_reducer *reducer, const lmn__layer *layer, size_t level,
                             int size)
{
    const lmn_layer_shape shape = lmn__layer_shape(layer);
    if (lmn_compressor_combine(reducer->compressor, level) != LMN_COMBINE_SPARSE) {
        return 0.5;
    }
    const double all = (double)way_bytes(reducer, shape, level, size);
    const uint64_t first = lmn__owners_scatter_bytes(reducer->compressor, size, shape, level);
    return all > 0.0 ? fmin(1.0, (double)first / all) : 0.5;
}

/* Gaps that are longer than bytes are shared by the layers of a bucket, by their numbers. */
static double wire_seconds(const lmn_reducer *reducer, const terms *t, const lmn__layer *layer,
                           size_t level)
{
    const lmn__timing *self = reducer->timing;
    if (t->size < 2) {
        return 0.0;
    }
    const double part = part_of(reducer, layer);
    if (reducer->buckets[layer->bucket].n_extra > 0) {
        return part * (t->last - t->latency[LMN_COMBINE_SUM]);
    }
    const uint64_t bytes = way_bytes(reducer, lmn__layer_shape(layer), level, t->size);
    const double share = level == 0 ? 1.0 : self->share[layer->index * self->n_levels + level];
    const lmn_line *line = is_reduced(reducer, level) ? &t->link->sum : &t->link->gather;
    const double seconds = (double)bytes / t->size * (share > 0.0 ? share : 1.0) * line->per_byte;
    const lmn_combine way = lmn_compressor_combine(reducer->compressor, level);
    const double gaps = part * t->gaps[way];
    if (way == LMN_COMBINE_SUM) {
        return fmax(seconds, gaps) + part * (t->latency_long - t->latency[way]);
    }
    if (t->n_phases[way] == 1) {
        return fmax(seconds, gaps);
    }
    const double first = seconds * scattered_part(reducer, layer, level, t->size);
    return fmax(first, gaps) + fmax(seconds - first, gaps);
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

static void fill_layer(lmn_reducer *reducer, const terms *t, const lmn__layer *layer)
{
    const int size = t->size;
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
        self->costs[2 * cells + to] = wire_seconds(reducer, t, layer, travels);
    }
}

lmn_cost_timings lmn__timing_tables(lmn_reducer *reducer, const lmn_link *link, int size)
{
    lmn__timing *self = reducer->timing;
    const size_t cells = self->n_layers * self->n_levels;
    const terms t = terms_of(reducer, link, size);
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const lmn__layer *layer = &reducer->layers[i];
        self->bucket_of[i] = layer->bucket;
        fill_layer(reducer, &t, layer);
        /* Small layers leave when all else is there. */
        if (reducer->buckets[layer->bucket].n_extra > 0) {
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
    fill_kinds(reducer, &t, timings.latency);
    return timings;
}

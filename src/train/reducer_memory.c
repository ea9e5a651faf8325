/*
 * The reducer's arrays: one arena for all layers and the regions of their buckets.
 *
 * What exchanges need beside (messages, slices) is theirs. With two levels what the ranks of a node
 * share is elsewhere (node.c), and a rank has states of the layers that it leads only; for the
 * others a checkpoint gets rows of zeros from one array.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "exchange_internal.h"

#include <assert.h>
#include <stdint.h>

/* Takes memory, or with no arena counts what would be taken. */
typedef struct taker {
    lmn_arena *arena; /* NULL: counting */
    size_t bytes;
} taker;

static void *take(taker *from, size_t bytes)
{
    const size_t aligned = lmn_align_up(bytes);
    from->bytes = from->bytes > SIZE_MAX - aligned ? SIZE_MAX : from->bytes + aligned;
    if (from->arena == NULL) {
        return NULL;
    }
    void *const memory = lmn_arena_take(from->arena, bytes, 1);
    assert(memory != NULL); /* what is taken was counted */
    return memory;
}

static float *take_vector(taker *from, size_t count)
{
    return take(from, count * sizeof(float));
}

/* Encoders that walk v write states as they go; the others leave it to the commit. */
static bool needs_spare(const lmn_reducer *reducer, const lmn__layer *layer, size_t state)
{
    for (size_t way = LMN_COMBINE_SUM + 1; way < LMN__WAYS; way++) {
        const lmn__exchange_kind *kind = reducer->ways[way];
        if (kind != NULL && lmn__way_writes_state(reducer, kind, state) &&
            lmn__may_travel_by(reducer, layer, kind->combine)) {
            return true;
        }
    }
    return false;
}

static void take_states(const lmn_reducer *reducer, lmn__layer *layer, taker *from)
{
    const size_t n_states = lmn_feedback_state_count(reducer->feedback);
    for (size_t i = 0; i < n_states && !layer->leads; i++) {
        layer->state[i] = reducer->shadow;
    }
    for (size_t i = 0; i < n_states && layer->leads; i++) {
        layer->state[i] = take_vector(from, layer->count);
        layer->home[i] = layer->state[i];
        if (needs_spare(reducer, layer, i)) {
            layer->spare[i] = take_vector(from, layer->count);
        }
    }
}

static void take_compressor_memory(const lmn_reducer *reducer, lmn__layer *layer, taker *from)
{
    layer->memory_kind = lmn__layer_memory(reducer, layer);
    if (layer->memory_kind.own > 0) {
        layer->memory = layer->leads ? take_vector(from, layer->memory_kind.own) : reducer->shadow;
        layer->memory_next = layer->leads ? take_vector(from, layer->memory_kind.own) : NULL;
    }
    if (layer->memory_kind.shared > 0) {
        layer->shared_memory =
            layer->leads ? take_vector(from, layer->memory_kind.shared) : reducer->shadow;
    }
    layer->memory_home = layer->memory;
}

/* What passes by feedback and compression can be summed where the vector lies. */
static bool needs_node_sum(const lmn_reducer *reducer, const lmn__layer *layer)
{
    return lmn_feedback_state_count(reducer->feedback) > 0 ||
           lmn__may_be_compressed(reducer, layer);
}

static void take_layer(const lmn_reducer *reducer, lmn__layer *layer, taker *from)
{
    const bool is_shared = reducer->buckets[layer->bucket].is_shared;
    if (!is_shared) {
        layer->gradient = take_vector(from, layer->count);
        layer->own = layer->gradient;
    } else if (layer->leads && needs_node_sum(reducer, layer)) {
        layer->node_sum = take_vector(from, layer->count);
    }
    if (layer->small) {
        return;
    }
    take_states(reducer, layer, from);
    take_compressor_memory(reducer, layer, from);
    if (!is_shared && lmn__layer_has_mean(reducer, layer)) {
        layer->tracked = take_vector(from, layer->count);
    }
    if (reducer->is_watching && layer->leads && lmn__may_be_compressed(reducer, layer)) {
        layer->watch.tiles = take(from, lmn__watch_tile_count(layer) * sizeof(lmn_energies));
    }
    if (lmn_allocator_adapts(reducer->allocator)) {
        layer->observed = layer->leads ? take_vector(from, layer->count) : reducer->shadow;
    }
}

/* Of the exchange that needs the most. */
static size_t exchange_scratch_bytes(const lmn_reducer *reducer, const lmn__layer *layer)
{
    size_t most = 0;
    for (size_t way = 0; way < LMN__WAYS; way++) {
        const lmn__exchange_kind *kind = reducer->ways[way];
        if (kind != NULL && kind->scratch_bytes != NULL &&
            lmn__may_travel_by(reducer, layer, kind->combine)) {
            const size_t bytes = kind->scratch_bytes(reducer, layer);
            most = bytes > most ? bytes : most;
        }
    }
    return most;
}

static size_t scratch_bytes(const lmn_reducer *reducer)
{
    size_t scratch = 0;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const lmn__layer *layer = &reducer->layers[i];
        if (layer->small) {
            continue;
        }
        const size_t encoder =
            lmn_compressor_scratch_bytes(reducer->compressor, lmn__layer_shape(layer));
        const size_t exchange = exchange_scratch_bytes(reducer, layer);
        const size_t needed = encoder > exchange ? encoder : exchange;
        scratch = needed > scratch ? needed : scratch;
    }
    return scratch;
}

/* f32 of the largest array in a checkpoint that belongs to a rank elsewhere on the node. */
static size_t shadow_count(const lmn_reducer *reducer)
{
    size_t largest = 0;
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        const lmn__bucket *bucket = &reducer->buckets[i];
        size_t count = 0; /* of the bucket, of which a slice is a part */
        for (size_t place = 0; place < bucket->layer_count; place++) {
            const lmn__layer *layer = &reducer->layers[reducer->order[bucket->first_layer + place]];
            const lmn_compressor_memory memory = lmn__layer_memory(reducer, layer);
            const size_t most = memory.own > memory.shared ? memory.own : memory.shared;
            count += most > layer->count ? most : layer->count;
        }
        largest = !bucket->leads && count > largest ? count : largest;
    }
    return largest;
}

static void take_all(lmn_reducer *reducer, taker *from)
{
    reducer->shadow_count = shadow_count(reducer);
    reducer->shadow = reducer->shadow_count > 0 ? take_vector(from, reducer->shadow_count) : NULL;
    for (size_t place = 0; place < reducer->n_layers; place++) {
        take_layer(reducer, &reducer->layers[reducer->order[place]], from);
    }
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        lmn__bucket *bucket = &reducer->buckets[i];
        bucket->vectors = bucket->leads ? take_vector(from, bucket->vector_capacity) : NULL;
        if (!bucket->is_shared) {
            bucket->averages = take_vector(from, bucket->average_capacity);
        }
    }
    if (lmn__drift_is_wanted(reducer)) {
        reducer->drift.mean = take_vector(from, lmn__drift_mean_count());
    }
    reducer->scratch = take(from, scratch_bytes(reducer));
}

lmn_status lmn__reducer_take_memory(lmn_reducer *reducer, lmn_error *err)
{
    taker from = {.arena = NULL};
    take_all(reducer, &from);
    const lmn_status status = lmn_arena_create(from.bytes, &reducer->arena, err);
    if (status == LMN_OK) {
        from.arena = reducer->arena;
        take_all(reducer, &from);
    }
    return status;
}

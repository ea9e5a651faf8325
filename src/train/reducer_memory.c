/*
 * The reducer's arrays: one arena for all layers and the regions of their buckets.
 *
 * What exchanges need beside (messages, slices) is theirs.
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
static bool has_next(const lmn_reducer *reducer, size_t state)
{
    const lmn__exchange_kind *kind = reducer->way;
    if (kind == NULL || kind->needs_vectors) {
        return false;
    }
    return !kind->sends_entries || lmn_feedback_rewrites(reducer->feedback, state);
}

static void take_states(const lmn_reducer *reducer, lmn__layer *layer, taker *from)
{
    const bool compressed = lmn__may_be_compressed(reducer, layer);
    const size_t n_states = lmn_feedback_state_count(reducer->feedback);
    for (size_t i = 0; i < n_states; i++) {
        layer->state[i] = take_vector(from, layer->count);
        if (compressed && has_next(reducer, i)) {
            layer->next[i] = take_vector(from, layer->count);
        }
    }
}

static void take_compressor_memory(const lmn_reducer *reducer, lmn__layer *layer, taker *from)
{
    const lmn__exchange_kind *kind = reducer->way;
    layer->memory_kind = lmn_compressor_memory_of(reducer->compressor, lmn__layer_shape(layer));
    if (kind == NULL || layer->memory_kind.count == 0 || !lmn__may_be_compressed(reducer, layer)) {
        return;
    }
    layer->memory = take_vector(from, layer->memory_kind.count);
    if (!kind->needs_vectors) {
        layer->memory_next = take_vector(from, layer->memory_kind.count);
    }
}

static void take_layer(const lmn_reducer *reducer, lmn__layer *layer, taker *from)
{
    layer->gradient = take_vector(from, layer->count);
    if (layer->small) {
        return;
    }
    take_states(reducer, layer, from);
    take_compressor_memory(reducer, layer, from);
    if (lmn__layer_has_mean(reducer, layer)) {
        layer->tracked = take_vector(from, layer->count);
    }
    if (lmn_allocator_adapts(reducer->allocator)) {
        layer->observed = take_vector(from, layer->count);
    }
}

static size_t scratch_bytes(const lmn_reducer *reducer)
{
    const lmn__exchange_kind *kind = reducer->way;
    size_t scratch = 0;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const lmn__layer *layer = &reducer->layers[i];
        if (layer->small) {
            continue;
        }
        const size_t encoder =
            lmn_compressor_scratch_bytes(reducer->compressor, lmn__layer_shape(layer));
        const size_t exchange =
            kind == NULL || kind->scratch_bytes == NULL ? 0 : kind->scratch_bytes(reducer, layer);
        const size_t needed = encoder > exchange ? encoder : exchange;
        scratch = needed > scratch ? needed : scratch;
    }
    return scratch;
}

static void take_all(lmn_reducer *reducer, taker *from)
{
    for (size_t place = 0; place < reducer->n_layers; place++) {
        take_layer(reducer, &reducer->layers[reducer->order[place]], from);
    }
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        lmn__bucket *bucket = &reducer->buckets[i];
        bucket->vectors = take_vector(from, bucket->vector_capacity);
        bucket->averages = take_vector(from, bucket->average_capacity);
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

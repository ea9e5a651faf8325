/*
 * Buckets, travel levels and the layout of a bucket's region.
 *
 * Layers keep the order in which their gradients become ready and are cut into buckets of about
 * bucket_bytes. Small layers are put together in the last bucket, whose exchange ends the step: a
 * message of a few hundred bytes costs its latency only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/hash.h"
#include "reducer_internal.h"

#include <string.h>

/* With one rank nothing is sent; it plans like two, so that its results show what they would do. */
static int planning_size(const lmn_reducer *reducer)
{
    return reducer->size > 1 ? reducer->size : 2;
}

/* By direct exchange, which is how a layer travels inside a bucket of some size. */
static uint64_t dense_bytes(const lmn_reducer *reducer, size_t count)
{
    return 2 * (uint64_t)(planning_size(reducer) - 1) * count * sizeof(float);
}

lmn_layer_shape lmn__layer_shape(const lmn__layer *layer)
{
    return (lmn_layer_shape){.count = layer->count,
                             .rows = layer->n_dims >= 2 && layer->count > 0 ? layer->dims[0] : 1};
}

static uint64_t gathered_bytes(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level)
{
    const int size = planning_size(reducer);
    const size_t payload = lmn_compressor_payload_bytes(reducer->compressor, level, shape);
    return lmn_allgatherv_bytes(size, (uint64_t)size * lmn__segment_bytes(payload));
}

size_t lmn__reducer_travel_level(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level)
{
    if (lmn_compressor_combine(reducer->compressor, level) != LMN_COMBINE_SPARSE) {
        return 0;
    }
    return gathered_bytes(reducer, shape, level) < dense_bytes(reducer, shape.count) ? level : 0;
}

uint64_t lmn__reducer_wire_bytes(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level)
{
    return lmn__reducer_travel_level(reducer, shape, level) == 0
               ? dense_bytes(reducer, shape.count)
               : gathered_bytes(reducer, shape, level);
}

/* Places the layers of one kind in the order; returns the next free place. */
static size_t place_layers(lmn_reducer *reducer, bool small, size_t place)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        if (reducer->layers[i].small == small) {
            reducer->order[place++] = i;
        }
    }
    return place;
}

static void add_to_bucket(lmn_reducer *reducer, size_t place, size_t index)
{
    lmn__layer *layer = &reducer->layers[reducer->order[place]];
    lmn__bucket *bucket = &reducer->buckets[index];
    if (bucket->layer_count == 0) {
        bucket->first_layer = place;
    }
    bucket->layer_count++;
    bucket->capacity += lmn_align_up_f32(layer->count);
    layer->bucket = index;
}

/* At most one bucket per layer, and the last one. */
lmn_status lmn__reducer_make_buckets(lmn_reducer *reducer, lmn_error *err)
{
    reducer->order = lmn_alloc(reducer->n_layers, sizeof *reducer->order, err);
    reducer->buckets = lmn_alloc(reducer->n_layers + 1, sizeof *reducer->buckets, err);
    if (reducer->order == NULL || reducer->buckets == NULL) {
        return LMN_ERR_MEMORY;
    }
    const size_t large_count = place_layers(reducer, false, 0);
    place_layers(reducer, true, large_count);
    const size_t limit = reducer->bucket_bytes / sizeof(float);
    size_t index = 0;
    for (size_t place = 0; place < large_count; place++) {
        const size_t count = reducer->layers[reducer->order[place]].count;
        const lmn__bucket *bucket = &reducer->buckets[index];
        if (bucket->layer_count > 0 && bucket->capacity + count > limit) {
            index++;
        }
        add_to_bucket(reducer, place, index);
    }
    index += large_count > 0 ? 1 : 0;
    for (size_t place = large_count; place < reducer->n_layers; place++) {
        add_to_bucket(reducer, place, index);
    }
    lmn__bucket *last = &reducer->buckets[index];
    last->capacity += lmn_align_up_f32(LMN__VERDICT_COUNT + reducer->n_scalars);
    reducer->n_buckets = index + 1;
    return LMN_OK;
}

size_t lmn__reducer_message_capacity(const lmn_reducer *reducer, const lmn__bucket *bucket)
{
    const size_t n_levels = lmn_compressor_level_count(reducer->compressor);
    size_t capacity = 0;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        const lmn__layer *layer = &reducer->layers[reducer->order[bucket->first_layer + place]];
        size_t largest = 0;
        for (size_t level = 1; level < n_levels && !layer->small; level++) {
            if (lmn__reducer_travel_level(reducer, lmn__layer_shape(layer), level) != 0) {
                const size_t bytes = lmn__segment_bytes(lmn_compressor_payload_bytes(
                    reducer->compressor, level, lmn__layer_shape(layer)));
                largest = bytes > largest ? bytes : largest;
            }
        }
        capacity += largest;
    }
    return capacity == 0 ? 0 : capacity + lmn__frame_header_bytes();
}

/* Gives the layers of one kind (dense or gathered) their places from `offset` on. */
static size_t place_vectors(lmn_reducer *reducer, const lmn__bucket *bucket, bool dense,
                            size_t offset)
{
    for (size_t place = 0; place < bucket->layer_count; place++) {
        lmn__layer *layer = &reducer->layers[reducer->order[bucket->first_layer + place]];
        if ((layer->travel_level == 0) == dense) {
            layer->vector = bucket->vectors + offset;
            layer->average = bucket->averages + offset;
            offset += lmn_align_up_f32(layer->count);
        }
    }
    return offset;
}

static void lay_out_bucket(lmn_reducer *reducer, lmn__bucket *bucket, bool last)
{
    bucket->gathered_layers = 0;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        const size_t layer = reducer->order[bucket->first_layer + place];
        bucket->gathered_layers += reducer->layers[layer].travel_level != 0 ? 1 : 0;
    }
    bucket->dense_count = place_vectors(reducer, bucket, true, 0);
    place_vectors(reducer, bucket, false, bucket->dense_count);
    bucket->dense_count += last ? LMN__VERDICT_COUNT + reducer->n_scalars : 0;
    /* Padding travels with its neighbours: it must not hold what once was a NaN. */
    memset(bucket->vectors, 0, bucket->capacity * sizeof *bucket->vectors);
}

static size_t next_travel_level(const lmn_reducer *reducer, size_t index)
{
    const lmn__layer *layer = &reducer->layers[index];
    const bool first_dense =
        reducer->applied_steps == 0 && lmn_feedback_starts_dense(reducer->feedback);
    if (layer->small || first_dense || lmn_allocator_warms_up(reducer->allocator, reducer->step)) {
        return 0;
    }
    return lmn__reducer_travel_level(reducer, lmn__layer_shape(layer),
                                     (size_t)reducer->levels[index]);
}

void lmn__reducer_set_travel_levels(lmn_reducer *reducer)
{
    bool changed = reducer->layers[0].vector == NULL;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        lmn__layer *layer = &reducer->layers[i];
        const size_t level = next_travel_level(reducer, i);
        changed = changed || level != layer->travel_level;
        layer->travel_level = level;
        const lmn_eta_rule rule =
            lmn_compressor_eta(reducer->compressor, level, lmn__layer_shape(layer));
        layer->eta = lmn_feedback_eta(reducer->feedback, rule.suggested);
    }
    for (size_t i = 0; i < reducer->n_buckets && changed; i++) {
        lay_out_bucket(reducer, &reducer->buckets[i], i + 1 == reducer->n_buckets);
    }
}

uint64_t lmn__reducer_plan_hash(const lmn_reducer *reducer)
{
    return lmn_hash64(reducer->levels, reducer->n_layers * sizeof *reducer->levels,
                      reducer->applied_steps);
}

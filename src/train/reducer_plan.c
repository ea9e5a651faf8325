/*
 * Buckets, travel levels and the layout of a bucket's regions.
 *
 * Layers keep the order in which their gradients become ready and are cut into buckets of about
 * bucket_bytes. Small layers are put together in the last bucket, whose exchange ends the step: a
 * message of a few hundred bytes costs its latency only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/hash.h"
#include "node_internal.h"

#include <string.h>

/* With one rank nothing is sent; it plans like two, so that its results show what they would do. */
static int planning_size(const lmn_reducer *reducer)
{
    return reducer->team.size > 1 ? reducer->team.size : 2;
}

static uint64_t dense_bytes(const lmn_reducer *reducer, lmn_layer_shape shape)
{
    return lmn__exchange_dense.wire_bytes(reducer->compressor, planning_size(reducer), shape, 0);
}

/* The first dimensions as rows, as many as make rows and columns the fewest: filters of 3 x 3 x 16
   x 32 are 144 rows of 32, of which low rank makes more than of 3 rows of 1536. */
lmn_layer_shape lmn__layer_shape(const lmn__layer *layer)
{
    lmn_layer_shape shape = {.count = layer->count, .rows = 1};
    size_t rows = 1;
    for (size_t i = 0; i + 1 < layer->n_dims && layer->count > 0; i++) {
        rows *= layer->dims[i];
        if (i == 0 || rows + layer->count / rows < shape.rows + layer->count / shape.rows) {
            shape.rows = rows;
        }
    }
    return shape;
}

static uint64_t compressed_bytes(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level)
{
    return lmn__way_of(reducer, level)
        ->wire_bytes(reducer->compressor, planning_size(reducer), shape, level);
}

size_t lmn__reducer_travel_level(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level)
{
    return level > 0 && compressed_bytes(reducer, shape, level) < dense_bytes(reducer, shape)
               ? level
               : 0;
}

uint64_t lmn__reducer_wire_bytes(const lmn_reducer *reducer, lmn_layer_shape shape, size_t level)
{
    return lmn__reducer_travel_level(reducer, shape, level) == 0
               ? dense_bytes(reducer, shape)
               : compressed_bytes(reducer, shape, level);
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
    layer->bucket = index;
}

static void choose_leaders(lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        lmn__bucket *bucket = &reducer->buckets[i];
        bucket->is_shared = reducer->node != NULL && bucket->n_extra == 0;
        bucket->leader = bucket->is_shared ? (int)(i % (size_t)reducer->node->n_leaders) : 0;
        bucket->leads = !bucket->is_shared || bucket->leader == reducer->node->rank;
    }
    for (size_t i = 0; i < reducer->n_layers; i++) {
        reducer->layers[i].leads = reducer->buckets[reducer->layers[i].bucket].leads;
    }
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
    size_t filled = 0;
    for (size_t place = 0; place < large_count; place++) {
        const size_t count = reducer->layers[reducer->order[place]].count;
        if (reducer->buckets[index].layer_count > 0 && filled + count > limit) {
            index++;
            filled = 0;
        }
        add_to_bucket(reducer, place, index);
        filled += lmn_align_up_f32(count);
    }
    index += large_count > 0 ? 1 : 0;
    for (size_t place = large_count; place < reducer->n_layers; place++) {
        add_to_bucket(reducer, place, index);
    }
    reducer->buckets[index].n_extra =
        LMN__VERDICT_COUNT + reducer->n_scalars + lmn__watch_extra(reducer);
    reducer->n_buckets = index + 1;
    choose_leaders(reducer);
    return LMN_OK;
}

/* Whether h may have to be made whole. */
static bool may_change_mean(const lmn_reducer *reducer, const lmn__layer *layer)
{
    return lmn__layer_has_mean(reducer, layer) && lmn_allocator_adapts(reducer->allocator) &&
           lmn__may_travel_by(reducer, layer, LMN_COMBINE_SLICED);
}

static bool may_be_dense(const lmn_reducer *reducer, const lmn__layer *layer)
{
    if (layer->small || lmn_feedback_starts_dense(reducer->feedback) ||
        lmn_allocator_warms_up(reducer->allocator, 0) || may_change_mean(reducer, layer)) {
        return true;
    }
    const size_t n_levels = lmn_compressor_level_count(reducer->compressor);
    for (size_t level = 0; level < n_levels; level++) {
        if (lmn__may_have_level(reducer, layer, level) &&
            lmn__reducer_travel_level(reducer, lmn__layer_shape(layer), level) == 0) {
            return true;
        }
    }
    return false;
}

/* Of a single node the vector of a dense layer is its average. */
static bool is_own_average(const lmn_reducer *reducer, const lmn__bucket *bucket)
{
    return bucket->is_shared && reducer->team.size == 1;
}

/* In some step. */
static bool needs_vector(const lmn_reducer *reducer, const lmn__layer *layer)
{
    bool is_needed =
        layer->may_be_dense && !is_own_average(reducer, &reducer->buckets[layer->bucket]);
    for (size_t way = LMN_COMBINE_SUM + 1; way < LMN__WAYS; way++) {
        const lmn__exchange_kind *kind = reducer->ways[way];
        is_needed = is_needed || (kind != NULL && kind->needs_vectors &&
                                  lmn__may_travel_by(reducer, layer, kind->combine));
    }
    return is_needed;
}

/* In some step: not where every estimate is h. */
static bool needs_average(const lmn_reducer *reducer, const lmn__layer *layer)
{
    return layer->may_be_dense || !lmn__layer_has_mean(reducer, layer) ||
           lmn__may_travel_by(reducer, layer, LMN_COMBINE_SLICED);
}

void lmn__reducer_size_buckets(lmn_reducer *reducer)
{
    for (size_t place = 0; place < reducer->n_layers; place++) {
        lmn__layer *layer = &reducer->layers[reducer->order[place]];
        lmn__bucket *bucket = &reducer->buckets[layer->bucket];
        const size_t count = lmn_align_up_f32(layer->count);
        layer->may_be_dense = may_be_dense(reducer, layer);
        bucket->vector_capacity += needs_vector(reducer, layer) ? count : 0;
        bucket->average_capacity += needs_average(reducer, layer) ? count : 0;
    }
    lmn__bucket *last = &reducer->buckets[reducer->n_buckets - 1];
    last->vector_capacity += lmn_align_up_f32(last->n_extra);
    last->average_capacity += lmn_align_up_f32(last->n_extra);
}

/* A place in a region; there are no vectors where another rank leads. */
static float *at(float *region, size_t offset)
{
    return region == NULL ? NULL : region + offset;
}

/* Where the leader sums up a dense layer: in its vector, where nothing else is formed from it. */
static float *node_gradient(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const bool is_formed = lmn_feedback_state_count(reducer->feedback) > 0;
    return layer->travel_level != 0 || is_formed ? layer->node_sum : layer->vector;
}

/* Gives the dense layers their places in both regions; returns the f32 that they take. */
static size_t place_dense(lmn_reducer *reducer, const lmn__bucket *bucket)
{
    size_t offset = 0;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        lmn__layer *layer = &reducer->layers[reducer->order[bucket->first_layer + place]];
        if (layer->travel_level == 0) {
            layer->average = bucket->averages + offset;
            layer->vector =
                is_own_average(reducer, bucket) ? layer->average : at(bucket->vectors, offset);
            offset += lmn_align_up_f32(layer->count);
        }
    }
    return offset;
}

/* Compressed layers follow, each in the regions that it needs. */
static void place_compressed(lmn_reducer *reducer, lmn__bucket *bucket)
{
    size_t vectors = is_own_average(reducer, bucket) ? 0 : bucket->dense_count;
    float *average = bucket->averages + bucket->dense_count;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        lmn__layer *layer = &reducer->layers[reducer->order[bucket->first_layer + place]];
        if (layer->travel_level == 0) {
            continue;
        }
        const size_t count = lmn_align_up_f32(layer->count);
        const bool has_vector = reducer->ways[layer->way]->needs_vectors;
        const bool has_average = lmn__estimate_is_average(layer);
        layer->vector = has_vector ? at(bucket->vectors, vectors) : NULL;
        layer->average = has_average ? average : NULL;
        vectors += has_vector ? count : 0;
        average += has_average ? count : 0;
    }
}

static void lay_out_bucket(lmn_reducer *reducer, lmn__bucket *bucket)
{
    memset(bucket->carried, 0, sizeof bucket->carried);
    for (size_t place = 0; place < bucket->layer_count; place++) {
        bucket->carried[reducer->layers[reducer->order[bucket->first_layer + place]].way]++;
    }
    bucket->dense_count = place_dense(reducer, bucket);
    place_compressed(reducer, bucket);
    bucket->dense_count += bucket->n_extra;
    for (size_t place = 0; place < bucket->layer_count && bucket->is_shared && bucket->leads;
         place++) {
        lmn__layer *layer = &reducer->layers[reducer->order[bucket->first_layer + place]];
        layer->gradient = node_gradient(reducer, layer);
    }
    /* Padding travels with its neighbours: it must not hold what once was a NaN. */
    if (bucket->vectors != NULL) {
        memset(bucket->vectors, 0, bucket->vector_capacity * sizeof *bucket->vectors);
    }
}

/* A layer whose h is in slices travels dense once, which makes it whole, before ways that add to it
   on every rank. */
static size_t next_travel_level(const lmn_reducer *reducer, size_t index)
{
    const lmn__layer *layer = &reducer->layers[index];
    if (layer->small || layer->is_first ||
        lmn_allocator_warms_up(reducer->allocator, reducer->step)) {
        return 0;
    }
    const size_t level =
        lmn__reducer_travel_level(reducer, lmn__layer_shape(layer), (size_t)reducer->levels[index]);
    const bool stays = lmn_compressor_combine(reducer->compressor, level) == LMN_COMBINE_SLICED;
    return layer->mean_in_slices != 0 && !stays ? 0 : level;
}

/* A rule may take integrals of the normal distribution: nothing to do in every step. */
static void set_travel_level(const lmn_reducer *reducer, lmn__layer *layer, size_t level)
{
    layer->watch.rule = lmn_compressor_eta(reducer->compressor, level, lmn__layer_shape(layer));
    layer->travel_level = level;
    layer->way = lmn_compressor_combine(reducer->compressor, level);
    for (size_t i = 0; i < lmn_feedback_state_count(reducer->feedback); i++) {
        const bool writes = lmn__way_writes_state(reducer, reducer->ways[layer->way], i);
        layer->next[i] = writes ? layer->spare[i] : NULL;
    }
    layer->eta = lmn_feedback_eta(reducer->feedback, layer->watch.rule.suggested);
}

void lmn__reducer_set_travel_levels(lmn_reducer *reducer)
{
    bool changed = !reducer->is_laid_out;
    uint64_t hash = 0;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        lmn__layer *layer = &reducer->layers[i];
        layer->is_first =
            reducer->applied_steps == 0 && lmn_feedback_starts_dense(reducer->feedback);
        const size_t level = next_travel_level(reducer, i);
        if (level != 0) {
            lmn__layer_wake(reducer, layer);
        }
        if (!reducer->is_laid_out || level != layer->travel_level) {
            set_travel_level(reducer, layer, level);
            changed = true;
        }
        hash = lmn_hash64(&level, sizeof level, hash);
    }
    reducer->travel_hash = hash;
    for (size_t i = 0; i < reducer->n_buckets && changed; i++) {
        lay_out_bucket(reducer, &reducer->buckets[i]);
    }
    reducer->is_laid_out = true;
    lmn__reducer_lay_to_rest(reducer);
}

void lmn__reducer_try_level(lmn_reducer *reducer, lmn__bucket *bucket, size_t level)
{
    for (size_t place = 0; place < bucket->layer_count; place++) {
        lmn__layer *layer = &reducer->layers[reducer->order[bucket->first_layer + place]];
        set_travel_level(
            reducer, layer,
            layer->small ? 0 : lmn__reducer_travel_level(reducer, lmn__layer_shape(layer), level));
    }
    lay_out_bucket(reducer, bucket);
}

uint64_t lmn__reducer_plan_hash(const lmn_reducer *reducer)
{
    return lmn_hash64(reducer->levels, reducer->n_layers * sizeof *reducer->levels,
                      reducer->applied_steps);
}

/*
 * The reducer's life: options, layers, exchanges.
 *
 * Creation is local until all ranks agree that they have what they need; only then are collectives
 * made, so a rank that runs out of memory leaves nobody waiting.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/reducer.h"

#include "lamina/hash.h"
#include "node_internal.h"
#include "timing_internal.h"

#include <string.h>

#define LEVEL_BYTES 64

lmn_reducer_options lmn_reducer_options_default(void)
{
    return (lmn_reducer_options){.compress = "dense",
                                 .feedback = "none",
                                 .allocate = "uniform",
                                 .collective = "auto",
                                 .hierarchy = "auto",
                                 .bucket_bytes = (size_t)4 << 20,
                                 .dense_below = 1024,
                                 .n_scalars = 0,
                                 .seed = 0};
}

static lmn_status check_arguments(const lmn_reducer_layer *layers, size_t n_layers,
                                  const lmn_reducer_options *options, lmn_error *err)
{
    if (n_layers == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "a reducer needs at least one layer");
    }
    if (options->n_scalars > LMN_REDUCER_SCALARS_MAX) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "%zu scalars asked for, at most %d are summed",
                             options->n_scalars, LMN_REDUCER_SCALARS_MAX);
    }
    for (size_t i = 0; i < n_layers; i++) {
        if (layers[i].name == NULL || layers[i].n_dims > LMN_STATE_DIMS_MAX) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "layer %zu needs a name and at most %d dimensions", i,
                                 LMN_STATE_DIMS_MAX);
        }
    }
    return LMN_OK;
}

static lmn_status copy_layer(const lmn_reducer_layer *from, size_t dense_below, lmn__layer *to,
                             lmn_error *err)
{
    const size_t name_bytes = strlen(from->name) + 1;
    to->name = lmn_alloc(name_bytes, 1, err);
    if (to->name == NULL) {
        return LMN_ERR_MEMORY;
    }
    memcpy(to->name, from->name, name_bytes);
    to->n_dims = from->n_dims;
    to->count = 1;
    for (size_t i = 0; i < from->n_dims; i++) {
        if (from->dims[i] != 0 && to->count > SIZE_MAX / sizeof(float) / from->dims[i]) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT, "layer '%s' has too many elements",
                                 from->name);
        }
        to->dims[i] = from->dims[i];
        to->count *= from->dims[i];
    }
    to->small = from->dense || to->count < dense_below;
    return LMN_OK;
}

static lmn_status copy_layers(lmn_reducer *reducer, const lmn_reducer_layer *layers,
                              size_t n_layers, lmn_error *err)
{
    reducer->layers = lmn_alloc(n_layers, sizeof *reducer->layers, err);
    if (reducer->layers == NULL) {
        return LMN_ERR_MEMORY;
    }
    reducer->n_layers = n_layers;
    for (size_t i = 0; i < n_layers; i++) {
        const lmn_status status =
            copy_layer(&layers[i], reducer->dense_below, &reducer->layers[i], err);
        reducer->layers[i].index = i;
        if (status != LMN_OK) {
            return status;
        }
    }
    return LMN_OK;
}

static lmn_status create_methods(lmn_reducer *reducer, const lmn_reducer_options *options,
                                 size_t n_layers, lmn_error *err)
{
    lmn_status status = lmn_compressor_create(options->compress, &reducer->compressor, err);
    if (status == LMN_OK && reducer->team.size > lmn_compressor_ranks_max(reducer->compressor)) {
        return lmn_error_set(
            err, LMN_ERR_USAGE, "compressor '%s' adds up over at most %d ranks, but there are %d",
            options->compress, lmn_compressor_ranks_max(reducer->compressor), reducer->team.size);
    }
    if (status == LMN_OK) {
        status = lmn_feedback_create(options->feedback, &reducer->feedback, err);
    }
    if (status == LMN_OK) {
        status = lmn_feedback_create("none", &reducer->passthrough, err);
    }
    if (status == LMN_OK) {
        const size_t n_levels = lmn_compressor_level_count(reducer->compressor);
        status =
            lmn_allocator_create(options->allocate, n_layers, n_levels, &reducer->allocator, err);
    }
    if (status == LMN_OK && lmn_compressor_family_count(reducer->compressor) > 1 &&
        lmn_allocator_needs_order(reducer->allocator)) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "allocate '%s' goes from level to level by their strength, which has "
                             "no order between the families of '%s': name one family, or take "
                             "lgreco, time or global-topk",
                             options->allocate, options->compress);
    }
    if (status == LMN_OK) {
        status = lmn__exchange_ways(reducer->compressor, options->collective, reducer->ways, err);
    }
    return status;
}

static lmn_status take_tables(lmn_reducer *reducer, lmn_error *err)
{
    const size_t n_levels = lmn_compressor_level_count(reducer->compressor);
    const size_t entries = reducer->n_layers * n_levels;
    reducer->levels = lmn_alloc(reducer->n_layers, sizeof *reducer->levels, err);
    reducer->decision = lmn_alloc(2 * reducer->n_layers, sizeof *reducer->decision, err);
    reducer->curves = lmn_alloc(entries + reducer->n_layers, sizeof *reducer->curves, err);
    reducer->costs = lmn_alloc(entries, sizeof *reducer->costs, err);
    if (reducer->levels == NULL || reducer->decision == NULL || reducer->curves == NULL ||
        reducer->costs == NULL) {
        return LMN_ERR_MEMORY;
    }
    reducer->energies = reducer->curves + entries;
    if (lmn_allocator_remembers(reducer->allocator)) {
        reducer->allocator_memory =
            lmn_alloc(reducer->n_layers, sizeof *reducer->allocator_memory, err);
        if (reducer->allocator_memory == NULL) {
            return LMN_ERR_MEMORY;
        }
    }
    /* Who weighs times begins dense, and compresses what has been measured to pay. */
    const size_t level = lmn_allocator_needs_times(reducer->allocator)
                             ? 0
                             : lmn_compressor_static_level(reducer->compressor);
    for (size_t i = 0; i < reducer->n_layers; i++) {
        reducer->levels[i] = reducer->layers[i].small ? 0 : level;
    }
    return lmn__reducer_deal_curves(reducer, err);
}

static lmn_status create_exchange(lmn_reducer *reducer, lmn__bucket *bucket,
                                  const lmn__exchange_kind *kind, lmn_error *err)
{
    lmn__exchange **place = &bucket->exchanges[bucket->n_exchanges];
    const lmn_status status = kind->create(reducer, bucket, place, err);
    bucket->n_exchanges += *place != NULL ? 1 : 0; /* also one that is half-built */
    return status;
}

/* The dense one first: what others do with layers that travelled dense comes after it. */
static lmn_status create_exchanges(lmn_reducer *reducer, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < reducer->n_buckets * LMN__WAYS && status == LMN_OK; i++) {
        const lmn__exchange_kind *kind = reducer->ways[i % LMN__WAYS];
        if (kind != NULL) {
            status = create_exchange(reducer, &reducer->buckets[i / LMN__WAYS], kind, err);
        }
    }
    return status;
}

/* Everything that one rank can do, and fail at, alone. */
static lmn_status prepare(lmn_reducer *reducer, const lmn_reducer_layer *layers, size_t n_layers,
                          const lmn_reducer_options *options, int lowest_size, lmn_error *err)
{
    lmn_status status = check_arguments(layers, n_layers, options, err);
    if (status == LMN_OK) {
        status = lmn__node_choose(reducer, options->hierarchy, lowest_size, err);
    }
    if (status == LMN_OK) {
        reducer->seed = options->seed;
        reducer->bucket_bytes = options->bucket_bytes;
        reducer->dense_below = options->dense_below;
        reducer->n_scalars = options->n_scalars;
        status = copy_layers(reducer, layers, n_layers, err);
    }
    if (status == LMN_OK) {
        status = create_methods(reducer, options, n_layers, err);
    }
    if (status == LMN_OK) {
        reducer->is_watching = lmn__watch_is_wanted(reducer);
        status = lmn__watch_create(reducer, err);
    }
    if (status == LMN_OK) {
        status = lmn__reducer_make_buckets(reducer, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    for (size_t i = 0; i < reducer->n_layers; i++) {
        lmn__layer *layer = &reducer->layers[i];
        layer->feedback = layer->small ? reducer->passthrough : reducer->feedback;
        layer->owes_nothing = true;
    }
    lmn__reducer_size_buckets(reducer);
    status = lmn__reducer_take_memory(reducer, err);
    if (status == LMN_OK) {
        status = take_tables(reducer, err);
    }
    if (status == LMN_OK) {
        status = lmn__timing_create(reducer, err);
    }
    return status == LMN_OK ? create_exchanges(reducer, err) : status;
}

static uint64_t description_hash(const lmn_reducer *reducer, const lmn_reducer_options *options)
{
    uint64_t hash = lmn_hash64(options->compress, strlen(options->compress), 0);
    hash = lmn_hash64(options->feedback, strlen(options->feedback), hash);
    hash = lmn_hash64(options->allocate, strlen(options->allocate), hash);
    hash = lmn_hash64(options->collective, strlen(options->collective), hash);
    hash = lmn_hash64(options->hierarchy, strlen(options->hierarchy), hash);
    const uint64_t numbers[] = {options->bucket_bytes, options->dense_below, options->n_scalars,
                                options->seed, reducer->n_layers};
    hash = lmn_hash64(numbers, sizeof numbers, hash);
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const lmn__layer *layer = &reducer->layers[i];
        hash = lmn_hash64(layer->name, strlen(layer->name), hash + layer->count);
    }
    return hash;
}

static lmn_status connect_bucket(const lmn__bucket *bucket, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t e = 0; e < lmn__bucket_driven(bucket) && status == LMN_OK; e++) {
        status = bucket->exchanges[e]->kind->connect(bucket->exchanges[e], err);
    }
    return status;
}

static lmn_status connect(lmn_reducer *reducer, const lmn_reducer_options *options, lmn_error *err)
{
    lmn_status status = lmn_world_check_same(reducer->world, "the reducer's layers and options",
                                             description_hash(reducer, options), err);
    if (status == LMN_OK && reducer->node != NULL) {
        status = lmn__node_connect(reducer, err);
    }
    if (status == LMN_OK) {
        status = lmn__timing_connect(reducer, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    /* The last bucket is the whole world's: all go there together. */
    for (size_t i = 0; i + 1 < reducer->n_buckets && status == LMN_OK; i++) {
        status = connect_bucket(&reducer->buckets[i], err);
    }
    if (status == LMN_OK) {
        status = lmn__drift_connect(reducer, err);
    }
    status = lmn_agree(reducer->world, status, err);
    return status != LMN_OK ? status
                            : connect_bucket(&reducer->buckets[reducer->n_buckets - 1], err);
}

static void warn_of_eta(const lmn_reducer *reducer, size_t level)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const lmn__layer *layer = &reducer->layers[i];
        const lmn_eta_rule rule =
            lmn_compressor_eta(reducer->compressor, level, lmn__layer_shape(layer));
        const double eta = lmn_feedback_eta(reducer->feedback, rule.suggested);
        if (!layer->small && eta > rule.limit) {
            char text[LEVEL_BYTES];
            lmn_compressor_level_format(reducer->compressor, level, text, sizeof text);
            lmn_log_write(lmn_world_log(reducer->world), LMN_LOG_WARN,
                          "eta %g is above the stable limit %g of layer '%s' at level '%s'; "
                          "eta=auto takes %g",
                          eta, rule.limit, layer->name, text, rule.suggested);
            return;
        }
    }
}

/* Feedback of an error that a compressor may make larger is no control of it. */
static void warn_of_contraction(const lmn_reducer *reducer, const char *compress, size_t level)
{
    if (lmn_feedback_state_count(reducer->feedback) > 0 &&
        lmn_compressor_combine(reducer->compressor, level) == LMN_COMBINE_SLICED &&
        lmn_compressor_contraction(reducer->compressor, level, lmn_layer_flat(4096)) <= 0.0) {
        lmn_log_write(lmn_world_log(reducer->world), LMN_LOG_WARN,
                      "compressor '%s' may enlarge errors, and with error feedback training may "
                      "then diverge: take rounding=nearest, or feedback none",
                      compress);
    }
}

/* What is legal but hardly meant, of the levels that the spec names. */
static void warn(const lmn_reducer *reducer, const lmn_reducer_options *options)
{
    const lmn_compressor *compressor = reducer->compressor;
    if (reducer->rank != 0) {
        return;
    }
    if (lmn_compressor_family_count(compressor) > 1 && !lmn_allocator_adapts(reducer->allocator)) {
        lmn_log_write(lmn_world_log(reducer->world), LMN_LOG_WARN,
                      "compressor '%s': nothing chooses between the families with allocate '%s', "
                      "and all layers take the first; lgreco and time choose",
                      options->compress, options->allocate);
    }
    for (size_t level = 1; level < lmn_compressor_level_count(compressor); level++) {
        if (lmn_compressor_named_level(compressor, level) == level) {
            warn_of_eta(reducer, level);
            warn_of_contraction(reducer, options->compress, level);
        }
    }
}

lmn_status lmn_reducer_create(lmn_world *world, const lmn_reducer_layer *layers, size_t n_layers,
                              const lmn_reducer_options *options, lmn_reducer **reducer_out,
                              lmn_error *err)
{
    int lowest_size = 0;
    lmn_status status = lmn__node_lowest_size(world, &lowest_size, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_reducer *reducer = lmn_alloc(1, sizeof *reducer, err);
    status = reducer == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        reducer->world = world;
        reducer->rank = lmn_world_rank(world);
        reducer->size = lmn_world_size(world);
        status = prepare(reducer, layers, n_layers, options, lowest_size, err);
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK && reducer != NULL) {
        status = connect(reducer, options, err);
    }
    if (status != LMN_OK || reducer == NULL) {
        if (reducer != NULL) {
            reducer->is_broken = status == LMN_ERR_COMM;
        }
        lmn_reducer_destroy(reducer);
        return status;
    }
    warn(reducer, options);
    *reducer_out = reducer;
    return LMN_OK;
}

void lmn_reducer_destroy(lmn_reducer *reducer)
{
    if (reducer == NULL) {
        return;
    }
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        const lmn__bucket *bucket = &reducer->buckets[i];
        for (size_t e = 0; e < bucket->n_exchanges; e++) {
            bucket->exchanges[e]->kind->destroy(bucket->exchanges[e]);
        }
    }
    lmn__node_destroy(reducer);
    lmn__timing_destroy(reducer);
    for (size_t i = 0; i < reducer->n_layers; i++) {
        lmn_free(reducer->layers[i].name);
    }
    lmn_compressor_destroy(reducer->compressor);
    lmn_feedback_destroy(reducer->feedback);
    lmn_feedback_destroy(reducer->passthrough);
    lmn_allocator_destroy(reducer->allocator);
    lmn__watch_destroy(reducer);
    lmn__drift_destroy(reducer);
    lmn_arena_destroy(reducer->arena);
    lmn_free(reducer->layers);
    lmn_free(reducer->order);
    lmn_free(reducer->buckets);
    lmn_free(reducer->levels);
    lmn_free(reducer->decision);
    lmn_free(reducer->curves);
    lmn_free(reducer->allocator_memory);
    lmn_free(reducer->costs);
    lmn_free(reducer);
}

float *lmn_reducer_gradient(lmn_reducer *reducer, size_t layer)
{
    return reducer->layers[layer].own;
}

const float *lmn_reducer_estimate(const lmn_reducer *reducer, size_t layer)
{
    const lmn__layer *found = &reducer->layers[layer];
    return lmn__estimate_is_average(found) || found->rests ? found->average : found->tracked;
}

size_t lmn_reducer_layer_count(const lmn_reducer *reducer)
{
    return reducer->n_layers;
}

bool lmn_reducer_adapts(const lmn_reducer *reducer)
{
    return lmn_allocator_adapts(reducer->allocator);
}

size_t lmn_reducer_level(const lmn_reducer *reducer, size_t layer)
{
    const lmn__layer *found = &reducer->layers[layer];
    if (reducer->open || found->small) {
        return found->travel_level;
    }
    return lmn__reducer_travel_level(reducer, lmn__layer_shape(found),
                                     (size_t)reducer->levels[layer]);
}

size_t lmn_reducer_level_count(const lmn_reducer *reducer)
{
    return lmn_compressor_level_count(reducer->compressor);
}

void lmn_reducer_level_name(const lmn_reducer *reducer, size_t level, char *text, size_t capacity)
{
    lmn_compressor_level_format(reducer->compressor, level, text, capacity);
}

void lmn_reducer_level_format(const lmn_reducer *reducer, size_t layer, char *text, size_t capacity)
{
    lmn_compressor_level_format(reducer->compressor, lmn_reducer_level(reducer, layer), text,
                                capacity);
}

uint64_t lmn_reducer_layer_bytes(const lmn_reducer *reducer, size_t layer)
{
    return reducer->layers[layer].message_bytes;
}

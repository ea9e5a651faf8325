/*
 * Two levels: whether there are, who leads, and where in shared memory everything lies.
 *
 * The segment of a rank holds its note, its gradients of all shared buckets, and of the buckets
 * that it leads what the whole node reads: averages, h, and memory of the compressor that is the
 * same on all nodes. Every rank can tell where the others have theirs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/hash.h"
#include "node_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

lmn_status lmn__node_lowest_size(lmn_world *world, int *size_out, lmn_error *err)
{
    uint64_t value = UINT64_MAX - (uint64_t)lmn_world_placement(world)->node_size;
    const lmn_status status = lmn_world_max_u64(world, &value, 1, err);
    *size_out = (int)(UINT64_MAX - value);
    return status;
}

/* auto: two levels where they save traffic between hosts. */
static lmn_status wants_node(const char *hierarchy, const lmn_placement *place, int lowest_size,
                             bool *wants_out, lmn_error *err)
{
    if (strcmp(hierarchy, "auto") == 0) {
        *wants_out = place->node_count > 1 && lowest_size > 1;
        return LMN_OK;
    }
    *wants_out = strcmp(hierarchy, "node") == 0;
    return *wants_out || strcmp(hierarchy, "flat") == 0
               ? LMN_OK
               : lmn_error_set(err, LMN_ERR_USAGE, "hierarchy '%s' is none of auto, flat and node",
                               hierarchy);
}

static lmn_status take_node(lmn_reducer *reducer, int lowest_size, lmn_error *err)
{
    const lmn_placement *place = lmn_world_placement(reducer->world);
    lmn__node *node = lmn_alloc(1, sizeof *node, err);
    if (node == NULL) {
        return LMN_ERR_MEMORY;
    }
    reducer->node = node;
    node->rank = place->node_rank;
    node->size = place->node_size;
    node->n_leaders = lowest_size;
    node->share = (float)place->node_count / (float)reducer->size;
    node->notes = (lmn__note **)lmn_alloc((size_t)node->size, sizeof(lmn__note *), err);
    node->world_ranks = lmn_alloc((size_t)place->node_count, sizeof *node->world_ranks, err);
    return node->notes == NULL || node->world_ranks == NULL ? LMN_ERR_MEMORY : LMN_OK;
}

lmn_status lmn__node_choose(lmn_reducer *reducer, const char *hierarchy, int lowest_size,
                            lmn_error *err)
{
    const lmn_placement *place = lmn_world_placement(reducer->world);
    bool wants = false;
    const lmn_status status = wants_node(hierarchy, place, lowest_size, &wants, err);
    reducer->team =
        (lmn__team){.world = reducer->world, .rank = reducer->rank, .size = reducer->size};
    if (status != LMN_OK || !wants) {
        return status;
    }
    reducer->team = (lmn__team){.rank = place->node, .size = place->node_count};
    return take_node(reducer, lowest_size, err);
}

/* ------------------------------------------------------------------ segments */

/* Places memory behind what was placed before; without a base it counts bytes. */
typedef struct cursor {
    unsigned char *base;
    size_t bytes;
} cursor;

static void *take(cursor *at, size_t bytes)
{
    void *memory = at->base == NULL ? NULL : at->base + at->bytes;
    const size_t aligned = lmn_align_up(bytes);
    at->bytes = at->bytes > SIZE_MAX - aligned ? SIZE_MAX : at->bytes + aligned;
    return memory;
}

static lmn__layer *layer_at(const lmn_reducer *reducer, const lmn__bucket *bucket, size_t place)
{
    return &reducer->layers[reducer->order[bucket->first_layer + place]];
}

static void place_gradients(const lmn_reducer *reducer, int node_rank, cursor *at)
{
    const lmn__node *node = reducer->node;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        lmn__layer *layer = &reducer->layers[i];
        if (!reducer->buckets[layer->bucket].is_shared) {
            continue;
        }
        layer->segment_offset = at->bytes / sizeof(float);
        float *gradient = take(at, layer->count * sizeof *gradient);
        layer->own = node_rank == node->rank ? gradient : layer->own;
    }
}

static void place_estimates(const lmn_reducer *reducer, lmn__bucket *bucket, cursor *at)
{
    bucket->averages = take(at, bucket->average_capacity * sizeof(float));
    for (size_t place = 0; place < bucket->layer_count; place++) {
        lmn__layer *layer = layer_at(reducer, bucket, place);
        if (lmn__layer_has_mean(reducer, layer)) {
            layer->tracked = take(at, layer->count * sizeof(float));
        }
        if (layer->memory_kind.shared > 0) {
            layer->shared_memory = take(at, layer->memory_kind.shared * sizeof(float));
        }
    }
}

/* The segment of a node rank, from its front. */
static void place_segment(const lmn_reducer *reducer, int node_rank, cursor *at)
{
    const lmn__node *node = reducer->node;
    node->notes[node_rank] = take(at, sizeof(lmn__note) + reducer->n_layers * sizeof(uint64_t));
    place_gradients(reducer, node_rank, at);
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        lmn__bucket *bucket = &reducer->buckets[i];
        if (bucket->is_shared && bucket->leader == node_rank) {
            place_estimates(reducer, bucket, at);
        }
    }
}

static lmn_status share_memory(lmn_reducer *reducer, lmn_error *err)
{
    lmn__node *node = reducer->node;
    cursor counter = {.base = NULL};
    place_segment(reducer, node->rank, &counter);
    const size_t n_flags = reducer->n_buckets + LMN__NODE_FLAGS;
    const lmn_status status =
        lmn_node_memory_create(reducer->world, counter.bytes, n_flags, &node->memory, err);
    for (int rank = 0; rank < node->size && status == LMN_OK; rank++) {
        cursor at = {.base = lmn_node_memory_segment(node->memory, rank)};
        place_segment(reducer, rank, &at);
    }
    if (status == LMN_OK) {
        node->notes[node->rank]->world_rank = (uint64_t)reducer->rank;
    }
    return status;
}

/* ------------------------------------------------------------------ leaders */

static lmn_status join_leaders(lmn_reducer *reducer, lmn_error *err)
{
    lmn__node *node = reducer->node;
    lmn_status status = LMN_OK;
    for (int rank = 0; rank < node->n_leaders && status == LMN_OK; rank++) {
        lmn_world *leaders = NULL;
        status = lmn_world_create_leaders(reducer->world, rank, &leaders, err);
        node->leaders = leaders != NULL ? leaders : node->leaders;
    }
    if (status == LMN_OK && node->leaders != NULL) {
        reducer->team.world = node->leaders;
        node->world_ranks[reducer->team.rank] = (uint64_t)reducer->rank;
        status =
            lmn_world_sum_u64(node->leaders, node->world_ranks, (size_t)reducer->team.size, err);
    }
    return lmn_agree(reducer->world, status, err);
}

/* States belong to leaders, so who is where must be the same when they are loaded. */
static lmn_status hash_placement(lmn_reducer *reducer, lmn_error *err)
{
    const lmn_placement *place = lmn_world_placement(reducer->world);
    const int own[] = {place->rank, place->node, place->node_rank};
    reducer->node->placement = lmn_hash64(own, sizeof own, 0);
    return lmn_world_sum_u64(reducer->world, &reducer->node->placement, 1, err);
}

lmn_status lmn__node_connect(lmn_reducer *reducer, lmn_error *err)
{
    lmn_status status = join_leaders(reducer, err);
    if (status == LMN_OK) {
        status = hash_placement(reducer, err);
    }
    return status == LMN_OK ? share_memory(reducer, err) : status;
}

void lmn__node_destroy(lmn_reducer *reducer)
{
    lmn__node *node = reducer->node;
    if (node == NULL) {
        return;
    }
    if (!reducer->is_broken) {
        lmn_node_memory_destroy(node->memory);
        lmn_world_destroy(node->leaders);
    }
    lmn_free((void *)node->notes);
    lmn_free(node->world_ranks);
    lmn_free(node);
}

void lmn__node_describe(const lmn_reducer *reducer, char *text, size_t capacity)
{
    const lmn__node *node = reducer->node;
    if (node == NULL) {
        (void)snprintf(text, capacity, "flat");
        return;
    }
    (void)snprintf(text, capacity, "node: %d nodes, %d leaders on each, placement %016" PRIx64,
                   reducer->team.size, node->n_leaders, node->placement);
}

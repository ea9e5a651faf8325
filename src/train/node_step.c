/*
 * Two levels in a step: flags, sums inside the node, and what the node must agree on.
 *
 * The order of writes and reads is in node_internal.h. Waiting moves MPI's messages on: another
 * rank may need what this one has sent.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "node_internal.h"

#include <string.h>

void lmn__node_begin(lmn_reducer *reducer)
{
    if (reducer->node != NULL) {
        reducer->node->epoch++;
    }
}

static size_t flag_of(const lmn_reducer *reducer, const lmn__bucket *bucket)
{
    return (size_t)(bucket - reducer->buckets);
}

void lmn__node_announce(lmn_reducer *reducer, const lmn__bucket *bucket)
{
    if (bucket->is_shared) {
        lmn_node_memory_announce(reducer->node->memory, flag_of(reducer, bucket),
                                 reducer->node->epoch);
    }
}

bool lmn__node_is_complete(const lmn_reducer *reducer, const lmn__bucket *bucket)
{
    return !bucket->is_shared ||
           lmn_node_memory_all_announced(reducer->node->memory, flag_of(reducer, bucket),
                                         reducer->node->epoch);
}

/* Part of a node's gradient; whether it is finite. */
static bool sum_tile(const lmn__node *node, const lmn__layer *layer, size_t first, size_t count)
{
    float *const sum = layer->gradient + first;
    lmn_node_memory_sum_f32(node->memory, layer->segment_offset + first, count, sum);
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        sum[i] *= node->share;
    }
    return lmn__is_finite_vector(sum, count);
}

static void sum_layer(const lmn__node *node, lmn__layer *layer)
{
    bool all_finite = true;
#pragma omp parallel for schedule(static)                                                          \
    reduction(&& : all_finite) if (layer->count >= LMN__SHARED_COUNT)
    for (size_t first = 0; first < layer->count; first += LMN__LAYER_TILE) {
        const size_t rest = layer->count - first;
        const size_t count = rest < LMN__LAYER_TILE ? rest : LMN__LAYER_TILE;
        all_finite = sum_tile(node, layer, first, count) && all_finite;
    }
    layer->sum_is_finite = all_finite;
}

void lmn__node_sum(lmn_reducer *reducer, const lmn__bucket *bucket)
{
    for (size_t place = 0; place < bucket->layer_count && bucket->is_shared; place++) {
        sum_layer(reducer->node, &reducer->layers[reducer->order[bucket->first_layer + place]]);
    }
}

int lmn__node_find_nonfinite(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const lmn__node *node = reducer->node;
    for (int rank = 0; rank < node->size; rank++) {
        const float *segment = lmn_node_memory_segment(node->memory, rank);
        if (!lmn__is_finite_vector(segment + layer->segment_offset, layer->count)) {
            return (int)node->notes[rank]->world_rank;
        }
    }
    return -1;
}

/* Raise a flag and wait until all ranks of the node have. */
static lmn_status meet(lmn_reducer *reducer, lmn__node_flag flag, lmn_error *err)
{
    lmn__node *node = reducer->node;
    const size_t index = reducer->n_buckets + flag;
    lmn_node_memory_announce(node->memory, index, node->epoch);
    lmn_status status = LMN_OK;
    while (status == LMN_OK && !lmn_node_memory_all_announced(node->memory, index, node->epoch)) {
        status = lmn_world_poll(reducer->world, err);
    }
    return status;
}

lmn_status lmn__node_agree(lmn_reducer *reducer, size_t bucket, lmn_error *outcome, lmn_error *err)
{
    lmn__node *node = reducer->node;
    if (node == NULL) {
        return LMN_OK;
    }
    lmn__note *own = node->notes[node->rank];
    own->bucket = bucket;
    own->outcome = *outcome;
    const lmn_status status = meet(reducer, LMN__NODE_CHECKED, err);
    uint64_t lowest = UINT64_MAX;
    for (int rank = 0; rank < node->size && status == LMN_OK; rank++) {
        const lmn__note *note = node->notes[rank];
        if (note->outcome.status != LMN_OK && note->bucket < lowest) {
            lowest = note->bucket;
            *outcome = note->outcome;
        }
    }
    return status;
}

/* Rank 0 of the world writes down for all layers what a message took. */
lmn_status lmn__node_settle(lmn_reducer *reducer, lmn_error *err)
{
    const lmn__node *node = reducer->node;
    if (node == NULL) {
        return LMN_OK;
    }
    for (size_t i = 0; i < reducer->n_layers; i++) {
        node->notes[node->rank]->message_bytes[i] = reducer->layers[i].message_bytes;
    }
    const lmn_status status = meet(reducer, LMN__NODE_SETTLED, err);
    for (size_t i = 0; i < reducer->n_layers && status == LMN_OK; i++) {
        lmn__layer *layer = &reducer->layers[i];
        if (!layer->leads) {
            const int leader = reducer->buckets[layer->bucket].leader;
            layer->message_bytes = node->notes[leader]->message_bytes[i];
        }
    }
    return status;
}

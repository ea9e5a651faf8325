/*
 * What exchanges share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "node_internal.h"

#include <float.h>
#include <math.h>

lmn__layer *lmn__bucket_layer(const lmn__exchange *exchange, size_t place)
{
    lmn_reducer *reducer = exchange->reducer;
    return &reducer->layers[reducer->order[exchange->bucket->first_layer + place]];
}

bool lmn__may_have_level(const lmn_reducer *reducer, const lmn__layer *layer, size_t level)
{
    return !layer->small && (lmn_allocator_adapts(reducer->allocator) ||
                             level == lmn_compressor_static_level(reducer->compressor));
}

bool lmn__may_travel_at(const lmn_reducer *reducer, const lmn__layer *layer, size_t level,
                        lmn_combine way)
{
    return lmn_compressor_combine(reducer->compressor, level) == way &&
           lmn__may_have_level(reducer, layer, level) &&
           lmn__reducer_travel_level(reducer, lmn__layer_shape(layer), level) == level;
}

bool lmn__may_travel_by(const lmn_reducer *reducer, const lmn__layer *layer, lmn_combine way)
{
    const size_t n_levels = lmn_compressor_level_count(reducer->compressor);
    for (size_t level = 1; level < n_levels; level++) {
        if (lmn__may_travel_at(reducer, layer, level, way)) {
            return true;
        }
    }
    return false;
}

bool lmn__may_be_compressed(const lmn_reducer *reducer, const lmn__layer *layer)
{
    return lmn__may_travel_by(reducer, layer, LMN_COMBINE_SPARSE) ||
           lmn__may_travel_by(reducer, layer, LMN_COMBINE_SLICED) ||
           lmn__may_travel_by(reducer, layer, LMN_COMBINE_ROUNDS);
}

bool lmn__bucket_may_travel_by(const lmn_reducer *reducer, const lmn__bucket *bucket,
                               lmn_combine way)
{
    for (size_t place = 0; place < bucket->layer_count; place++) {
        const size_t layer = reducer->order[bucket->first_layer + place];
        if (lmn__may_travel_by(reducer, &reducer->layers[layer], way)) {
            return true;
        }
    }
    return false;
}

bool lmn__compresses(const lmn_reducer *reducer)
{
    return lmn_compressor_level_count(reducer->compressor) > 1;
}

const lmn__exchange_kind *lmn__way_of(const lmn_reducer *reducer, size_t level)
{
    return reducer->ways[lmn_compressor_combine(reducer->compressor, level)];
}

bool lmn__way_writes_state(const lmn_reducer *reducer, const lmn__exchange_kind *way, size_t state)
{
    return !way->needs_vectors &&
           (!way->sends_entries || lmn_feedback_rewrites(reducer->feedback, state));
}

lmn_compressor_memory lmn__layer_memory(const lmn_reducer *reducer, const lmn__layer *layer)
{
    return lmn__may_be_compressed(reducer, layer)
               ? lmn_compressor_memory_of(reducer->compressor, lmn__layer_shape(layer))
               : (lmn_compressor_memory){.own = 0, .shared = 0};
}

size_t lmn__bucket_driven(const lmn__bucket *bucket)
{
    return bucket->leads ? bucket->n_exchanges : 0;
}

int lmn__team_world_rank(const lmn_reducer *reducer, int rank)
{
    return reducer->node == NULL ? rank : (int)reducer->node->world_ranks[rank];
}

bool lmn__layer_has_mean(const lmn_reducer *reducer, const lmn__layer *layer)
{
    bool is_kept = !lmn__compresses(reducer);
    for (size_t way = LMN_COMBINE_SUM + 1; way < LMN__WAYS; way++) {
        is_kept = is_kept || (reducer->ways[way] != NULL && !reducer->ways[way]->keeps_mean);
    }
    return is_kept && !layer->small && lmn_feedback_tracks(reducer->feedback);
}

bool lmn__is_finite_vector(const float *values, size_t count)
{
    unsigned bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < count; i++) {
        bad |= fabsf(values[i]) <= FLT_MAX ? 0U : 1U;
    }
    return bad == 0;
}

lmn_status lmn__nonfinite(const lmn_reducer *reducer, const lmn__layer *layer, lmn_error *err)
{
    const bool is_shared = reducer->buckets[layer->bucket].is_shared;
    const int rank = is_shared ? lmn__node_find_nonfinite(reducer, layer) : reducer->rank;
    const unsigned long long step = reducer->step;
    if (rank < 0) {
        return lmn_error_set(err, LMN_ERR_NONFINITE,
                             "mean gradient of layer '%s' on node %d is not finite in step %llu",
                             layer->name, reducer->team.rank, step);
    }
    return lmn_error_set(err, LMN_ERR_NONFINITE,
                         "gradient of layer '%s' holds NaN or infinity on rank %d in step %llu",
                         layer->name, rank, step);
}

lmn_stream lmn__layer_stream(const lmn_reducer *reducer, const lmn__layer *layer, unsigned rank)
{
    return (lmn_stream){.seed = reducer->seed,
                        .layer = (uint32_t)layer->index,
                        .step = (uint32_t)reducer->step,
                        .purpose = LMN_STREAM_COMPRESS,
                        .rank = (uint16_t)rank};
}

lmn_status lmn__layer_encode(const lmn_reducer *reducer, lmn__layer *layer,
                             const lmn_source *source, lmn_encode_job *job, lmn_error *err)
{
    job->level = layer->travel_level;
    job->shape = lmn__layer_shape(layer);
    job->first = 0;
    job->count = layer->count;
    job->stream = lmn__layer_stream(reducer, layer, (unsigned)reducer->team.rank);
    job->source = source;
    job->memory = lmn__layer_memory_copy(layer);
    job->scratch = reducer->scratch;
    const lmn_status status = lmn_compressor_encode(reducer->compressor, job, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "layer '%s'", layer->name);
        return status;
    }
    return job->is_finite ? LMN_OK : lmn__nonfinite(reducer, layer, err);
}

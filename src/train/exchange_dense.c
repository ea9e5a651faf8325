/*
 * The dense exchange: the vectors of layers that travel whole, added up by one allreduce.
 *
 * v is formed into the bucket's region, where the allreduce reads it. In the last bucket the
 * verdict and the caller's scalars follow the layers; because scalars are summed, that bucket is
 * summed too, and its layers are divided in the commit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "exchange_internal.h"

#include <string.h>

typedef struct dense_exchange {
    lmn__exchange head;
    lmn_collective *allreduce;
} dense_exchange;

static uint64_t wire_bytes(const lmn_compressor *compressor, int size, lmn_layer_shape shape,
                           size_t level)
{
    (void)compressor;
    (void)level;
    /* By direct exchange, which is how a layer travels inside a bucket of some size. */
    return 2 * (uint64_t)(size - 1) * shape.count * sizeof(float);
}

/* A single node's vector is the average, and lies there. */
static bool is_alone(const lmn__exchange *exchange)
{
    return exchange->bucket->is_shared && exchange->reducer->team.size == 1;
}

static lmn_status create(lmn_reducer *reducer, lmn__bucket *bucket, lmn__exchange **exchange_out,
                         lmn_error *err)
{
    bool is_needed = bucket->n_extra > 0;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        const size_t layer = reducer->order[bucket->first_layer + place];
        is_needed = is_needed || reducer->layers[layer].may_be_dense;
    }
    if (!is_needed || !bucket->leads) {
        return LMN_OK;
    }
    dense_exchange *self = lmn_alloc(1, sizeof *self, err);
    if (self == NULL) {
        return LMN_ERR_MEMORY;
    }
    self->head = (lmn__exchange){&lmn__exchange_dense, reducer, bucket};
    *exchange_out = &self->head;
    return LMN_OK;
}

static lmn_status connect(lmn__exchange *exchange, lmn_error *err)
{
    dense_exchange *self = (dense_exchange *)exchange;
    lmn_world *world =
        exchange->bucket->n_extra > 0 ? exchange->reducer->world : exchange->reducer->team.world;
    return lmn_allreduce_create(world, LMN_REDUCTION_SUM_F32, exchange->bucket->vector_capacity,
                                &self->allreduce, err);
}

static lmn_status encode(lmn__exchange *exchange, lmn_error *err)
{
    for (size_t place = 0; place < exchange->bucket->layer_count; place++) {
        lmn__layer *layer = lmn__bucket_layer(exchange, place);
        if (layer->travel_level != 0) {
            continue;
        }
        layer->message_bytes = layer->count * sizeof(float);
        const bool is_formed = layer->gradient == layer->vector; /* by the sum over the node */
        if (is_formed ? !layer->sum_is_finite : !lmn__layer_form_vector(layer)) {
            return lmn__nonfinite(exchange->reducer, layer, err);
        }
    }
    return LMN_OK;
}

static lmn_status start(lmn__exchange *exchange, bool silent, lmn_error *err)
{
    const dense_exchange *self = (dense_exchange *)exchange;
    const lmn__bucket *bucket = exchange->bucket;
    if (bucket->dense_count == 0 || is_alone(exchange)) {
        return LMN_OK;
    }
    if (silent) {
        memset(bucket->vectors, 0, (bucket->dense_count - bucket->n_extra) * sizeof(float));
    }
    const float factor = bucket->n_extra > 0 ? 1.0F : 1.0F / (float)exchange->reducer->team.size;
    return lmn_allreduce_start(self->allreduce, bucket->vectors, bucket->averages,
                               bucket->dense_count, factor, err);
}

static lmn_status progress(lmn__exchange *exchange, lmn_error *err)
{
    const dense_exchange *self = (dense_exchange *)exchange;
    return lmn_collective_progress(self->allreduce, err);
}

static void divide(float *vector, size_t count, int size)
{
    const float factor = 1.0F / (float)size;
    for (size_t i = 0; i < count; i++) {
        vector[i] *= factor;
    }
}

/* A vector that travelled whole sets h_i and h anew. */
static void commit(lmn__exchange *exchange)
{
    for (size_t place = 0; place < exchange->bucket->layer_count; place++) {
        lmn__layer *layer = lmn__bucket_layer(exchange, place);
        if (layer->travel_level != 0) {
            continue;
        }
        if (exchange->bucket->n_extra > 0) {
            divide(layer->average, layer->count, exchange->reducer->size);
        }
        lmn__layer_advance(layer, 0, layer->count, layer->vector, layer->vector);
        if (layer->tracked != NULL && !layer->rests) {
            memcpy(layer->tracked, layer->average, layer->count * sizeof(float));
        }
    }
}

static uint64_t bytes_sent(const lmn__exchange *exchange)
{
    const dense_exchange *self = (const dense_exchange *)exchange;
    return lmn_collective_bytes_sent(self->allreduce);
}

static void destroy(lmn__exchange *exchange)
{
    dense_exchange *self = (dense_exchange *)exchange;
    lmn_collective_destroy(self->allreduce);
    lmn_free(self);
}

const lmn__exchange_kind lmn__exchange_dense = {.needs_vectors = true,
                                                .wire_bytes = wire_bytes,
                                                .create = create,
                                                .connect = connect,
                                                .encode = encode,
                                                .start = start,
                                                .progress = progress,
                                                .commit = commit,
                                                .bytes_sent = bytes_sent,
                                                .destroy = destroy};

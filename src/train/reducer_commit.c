/*
 * Making a step permanent: messages are added up and error feedback takes note.
 *
 * Every rank adds the same messages in rank order, so estimates are bit-identical. Nothing here can
 * fail: the verdict is known and all messages have been checked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "reducer_internal.h"

#include <string.h>

static void add_vector(const float *restrict from, float *restrict to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to[i] += from[i];
    }
}

static void scale_vector(float *vector, float factor, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        vector[i] *= factor;
    }
}

/* D is there already; a vector that travelled whole sets h_i and h anew. */
static void absorb_dense(const lmn_reducer *reducer, lmn__layer *layer)
{
    const size_t bytes = layer->count * sizeof(float);
    if (layer->small) {
        scale_vector(layer->average, 1.0F / (float)reducer->size, layer->count);
        return;
    }
    if (layer->tracked != NULL) {
        memcpy(layer->state[0], layer->vector, bytes);
        memcpy(layer->tracked, layer->average, bytes);
    }
    if (layer->observed != NULL && lmn_allocator_observes(reducer->allocator, reducer->step)) {
        add_vector(layer->vector, layer->observed, layer->count);
    }
    memset(layer->vector, 0, bytes); /* the residual */
}

static void absorb_gathered(const lmn_reducer *reducer, const lmn__bucket *bucket, size_t segment,
                            lmn__layer *layer)
{
    float *const sum = layer->tracked != NULL ? layer->tracked : layer->average;
    if (layer->tracked == NULL) {
        memset(sum, 0, layer->count * sizeof *sum);
    }
    const float weight = 1.0F / (float)reducer->size;
    for (int rank = 0; rank < reducer->size; rank++) {
        const lmn_decode_job job = lmn__frame_segment(reducer, bucket, rank, segment);
        lmn_compressor_decode_add(reducer->compressor, &job, weight, sum);
    }
    const lmn_decode_job own = lmn__frame_segment(reducer, bucket, reducer->rank, segment);
    if (layer->tracked != NULL) {
        lmn_compressor_decode_add(reducer->compressor, &own, 1.0F, layer->state[0]);
    }
    if (layer->observed != NULL && lmn_allocator_observes(reducer->allocator, reducer->step)) {
        /* v is its residual and what was sent of it. */
        add_vector(layer->vector, layer->observed, layer->count);
        lmn_compressor_decode_add(reducer->compressor, &own, 1.0F, layer->observed);
    }
}

static void commit_bucket(const lmn_reducer *reducer, const lmn__bucket *bucket)
{
    size_t segment = 0;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        lmn__layer *layer = &reducer->layers[reducer->order[bucket->first_layer + place]];
        if (layer->travel_level == 0) {
            absorb_dense(reducer, layer);
        } else {
            absorb_gathered(reducer, bucket, segment++, layer);
        }
        if (!layer->small) {
            const lmn_feedback_layer view = lmn__layer_view(layer);
            lmn_feedback_commit(reducer->feedback, &view);
        }
    }
}

void lmn__reducer_commit(lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        commit_bucket(reducer, &reducer->buckets[i]);
    }
    reducer->applied_steps++;
    if (lmn_allocator_observes(reducer->allocator, reducer->step)) {
        reducer->observed_steps++;
    }
}

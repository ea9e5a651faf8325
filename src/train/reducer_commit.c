/*
 * Making a step permanent: messages are added up and error feedback takes note.
 *
 * Every rank adds the same messages in rank order, so estimates are bit-identical. Nothing here can
 * fail: the verdict is known and all messages have been checked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "exchange_internal.h"
#include "lamina/clock.h"

/*
 * Note v for the allocator. It is formed again from the gradient and the states before the step,
 * rather than noted while it is encoded: a skipped step then leaves no trace, and steps that nobody
 * observes cost nothing.
 */
static void observe(lmn__layer *layer)
{
#pragma omp parallel for schedule(static) if (layer->count >= LMN__SHARED_COUNT)
    for (size_t first = 0; first < layer->count; first += LMN__LAYER_TILE) {
        float vector[LMN__LAYER_TILE];
        const size_t rest = layer->count - first;
        const size_t count = rest < LMN__LAYER_TILE ? rest : LMN__LAYER_TILE;
        float *const observed = layer->observed + first;
        (void)lmn__layer_form(layer, first, count, vector);
        for (size_t i = 0; i < count; i++) {
            observed[i] += vector[i];
        }
    }
}

static void observe_all(lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        if (reducer->layers[i].observed != NULL && reducer->layers[i].leads) {
            observe(&reducer->layers[i]);
        }
    }
    reducer->observed_steps++;
}

/* A step in slices leaves h there; a dense one sets it everywhere; others add to what is whole. */
static void note_mean(const lmn_reducer *reducer, lmn__layer *layer)
{
    if (layer->way == LMN_COMBINE_SLICED) {
        layer->mean_in_slices = lmn__layer_has_mean(reducer, layer) ? 1 : 0;
    } else if (layer->way == LMN_COMBINE_SUM) {
        layer->mean_in_slices = 0;
    }
}

void lmn__reducer_commit(lmn_reducer *reducer)
{
    const double begin = lmn_clock_seconds();
    if (lmn_allocator_observes(reducer->allocator, reducer->step)) {
        observe_all(reducer);
    }
    reducer->seconds_observe = lmn_clock_seconds() - begin;
    for (size_t i = 0; i < reducer->n_buckets; i++) {
        const lmn__bucket *bucket = &reducer->buckets[i];
        for (size_t e = 0; e < lmn__bucket_driven(bucket); e++) {
            bucket->exchanges[e]->kind->commit(bucket->exchanges[e]);
        }
    }
    for (size_t i = 0; i < reducer->n_layers; i++) {
        reducer->layers[i].compressed_steps += reducer->layers[i].travel_level != 0 ? 1 : 0;
        note_mean(reducer, &reducer->layers[i]);
    }
    lmn__reducer_note_debts(reducer);
    lmn__watch_commit(reducer);
    reducer->applied_steps++;
}

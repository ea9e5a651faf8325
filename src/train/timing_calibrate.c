/*
 * How long encoding takes: every encoder at every level, on the gradients of a step.
 *
 * Encoding changes nothing that outlasts a step, so it can be tried before a bucket leaves: what is
 * timed is the very work of a step, error feedback included, on data of this model. Layers of a
 * bucket share its time by their size. Decoding cannot be tried without messages of other ranks: it
 * is first taken as a part of encoding, and corrected by what a plan's steps show.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "node_internal.h"
#include "timing_internal.h"

#include <math.h>

/* Of two tries the faster counts: what disturbs a try only makes it longer. */
#define TRIES 2

/* Decoding in parts of encoding, before anything is known: adding up single entries is little
 * work, going through all elements again is not. */
static const double DECODE_OF_ENTRIES = 0.2;
static const double DECODE_OF_ALL = 0.5;

/* Compressed layers of a bucket at the level that is tried. */
static size_t compressed_count(const lmn_reducer *reducer, const lmn__bucket *bucket)
{
    size_t count = 0;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        const lmn__layer *layer = &reducer->layers[reducer->order[bucket->first_layer + place]];
        count += layer->travel_level != 0 ? layer->count : 0;
    }
    return count;
}

/* Seconds of the bucket's compressing exchanges; negative when one failed. */
static double time_bucket(const lmn__bucket *bucket)
{
    const double begin = lmn_clock_seconds();
    for (size_t e = 0; e < lmn__bucket_driven(bucket); e++) {
        lmn__exchange *exchange = bucket->exchanges[e];
        lmn_error cause = lmn_error_none();
        if (exchange->kind != &lmn__exchange_dense &&
            exchange->kind->encode(exchange, &cause) != LMN_OK) {
            return -1.0;
        }
    }
    return lmn_clock_seconds() - begin;
}

/* What a message takes of the most that it may take; entries that are packed take less. */
static double share_of(const lmn_reducer *reducer, const lmn__layer *layer, size_t level)
{
    if (lmn_compressor_combine(reducer->compressor, level) != LMN_COMBINE_SPARSE) {
        return 1.0;
    }
    const size_t most =
        lmn_compressor_payload_bytes(reducer->compressor, level, lmn__layer_shape(layer));
    const double share = (double)layer->message_bytes / (double)(most > 0 ? most : 1);
    return fmin(1.0, fmax(0.05, share));
}

static void note_bucket(lmn_reducer *reducer, const lmn__bucket *bucket, size_t level,
                        double seconds)
{
    lmn__timing *self = reducer->timing;
    const size_t total = compressed_count(reducer, bucket);
    const bool sends_entries =
        lmn_compressor_combine(reducer->compressor, level) == LMN_COMBINE_SPARSE;
    for (size_t place = 0; place < bucket->layer_count; place++) {
        const lmn__layer *layer = &reducer->layers[reducer->order[bucket->first_layer + place]];
        if (layer->travel_level == 0) {
            continue;
        }
        const size_t cell = layer->index * self->n_levels + level;
        self->encode[cell] = seconds * (double)layer->count / (double)total;
        self->decode[cell] =
            self->encode[cell] * (sends_entries ? DECODE_OF_ENTRIES : DECODE_OF_ALL);
        self->share[cell] = share_of(reducer, layer, level);
    }
}

static void sweep_caches(lmn__timing *self)
{
    for (size_t i = 0; i < LMN__TIMING_SWEEP; i++) {
        self->sweep[i] += 1.0F;
    }
}

static bool try_level(lmn_reducer *reducer, const lmn__bucket *bucket, size_t level)
{
    double best = (double)INFINITY;
    for (int i = 0; i < TRIES; i++) {
        sweep_caches(reducer->timing);
        const double seconds = time_bucket(bucket);
        if (seconds < 0.0) {
            return false;
        }
        best = fmin(best, seconds);
    }
    note_bucket(reducer, bucket, level, best);
    return true;
}

/* Layers at rest have no feedback, which a compressed step would have. */
static void set_feedback(lmn_reducer *reducer, const lmn__bucket *bucket, bool is_tried)
{
    for (size_t place = 0; place < bucket->layer_count; place++) {
        lmn__layer *layer = &reducer->layers[reducer->order[bucket->first_layer + place]];
        layer->feedback =
            layer->small || (layer->rests && !is_tried) ? reducer->passthrough : reducer->feedback;
    }
}

void lmn__timing_calibrate(lmn_reducer *reducer, lmn__bucket *bucket)
{
    lmn__timing *self = reducer->timing;
    set_feedback(reducer, bucket, true);
    for (size_t level = 1; level < self->n_levels && self->calibrates; level++) {
        lmn__reducer_try_level(reducer, bucket, level);
        lmn__node_sum(reducer, bucket);
        if (compressed_count(reducer, bucket) > 0) {
            self->calibrates = try_level(reducer, bucket, level);
        }
    }
    lmn__reducer_try_level(reducer, bucket, 0);
    set_feedback(reducer, bucket, false);
    for (size_t place = 0; place < bucket->layer_count; place++) {
        reducer->layers[reducer->order[bucket->first_layer + place]].message_bytes = 0;
    }
}

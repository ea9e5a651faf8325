/*
 * The owner of a slice: the mean of what all ranks say of it, encoded again for everybody.
 *
 * The owner decodes the messages in rank order, its own included, to their mean D, and encodes
 *
 *     y = D + E, or h + D + E for a mechanism that tracks
 *
 * with random numbers that all ranks share. E = y - C(y) is what the second encoding left out,
 * added to the next mean; without error feedback (`none`) it is dropped, as the first encoding's
 * is. E and the slice of h live here alone. A layer that travels in another way in a step leaves E
 * as it is; in a mixture h is then whole on every rank, from where it is taken when the layer comes
 * back.
 *
 * Source: H. Tang, C. Yu, X. Lian, T. Zhang, J. Liu, "DoubleSqueeze: parallel stochastic gradient
 * descent with double-pass error-compensated compression", ICML 2019, arXiv:1905.05957.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "slices_internal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Elements whose messages are added up together: they stay in the cache meanwhile, and are enough
   for several threads. */
#define TILE ((size_t)1 << 18)

static bool take_floats(float **floats_out, size_t count, lmn_error *err)
{
    *floats_out = lmn_alloc(count, sizeof(float), err);
    return *floats_out != NULL;
}

lmn_status lmn__slice_owner_create(const lmn_reducer *reducer, const lmn__slices *slices,
                                   lmn__slice_owner *owner_out, lmn_error *err)
{
    *owner_out = (lmn__slice_owner){.reducer = reducer, .slices = slices};
    const size_t count = slices->count;
    bool is_taken = take_floats(&owner_out->mean, count, err);
    if (is_taken && lmn_feedback_tracks(reducer->feedback)) {
        is_taken = take_floats(&owner_out->tracked, count, err);
    }
    if (is_taken && lmn_feedback_state_count(reducer->feedback) > 0) {
        is_taken = take_floats(&owner_out->error, count, err);
    }
    return is_taken ? LMN_OK : LMN_ERR_MEMORY;
}

void lmn__slice_owner_shadow(const lmn_reducer *reducer, const lmn__slices *slices,
                             lmn__slice_owner *owner_out)
{
    const bool has_error = lmn_feedback_state_count(reducer->feedback) > 0;
    *owner_out = (lmn__slice_owner){
        .reducer = reducer,
        .slices = slices,
        .is_shadow = true,
        .tracked = lmn_feedback_tracks(reducer->feedback) ? reducer->shadow : NULL,
        .error = has_error ? reducer->shadow : NULL};
}

void lmn__slice_owner_free(lmn__slice_owner *owner)
{
    if (owner->is_shadow) {
        return;
    }
    lmn_free(owner->mean);
    lmn_free(owner->tracked);
    lmn_free(owner->error);
}

/* Adds the messages of all ranks about one part; `offset` is where they have it. */
static void average_part(lmn__slice_owner *owner, const lmn_collective *scatter,
                         const lmn__part *part, size_t offset)
{
    const lmn_reducer *reducer = owner->reducer;
    const lmn_compressor *compressor = reducer->compressor;
    const size_t level = part->layer->travel_level;
    const size_t grain = lmn_compressor_grain(compressor);
    const size_t tile = grain < TILE ? TILE / grain * grain : grain;
    const float weight = 1.0F / (float)reducer->team.size;
    for (size_t first = 0; first < part->count; first += tile) {
        const size_t rest = part->count - first;
        const size_t count = rest < tile ? rest : tile;
        float *const mean = owner->mean + part->offset + first;
        memset(mean, 0, count * sizeof *mean);
        for (int rank = 0; rank < reducer->team.size; rank++) {
            size_t bytes = 0;
            const unsigned char *message = lmn_alltoallv_message(scatter, rank, &bytes);
            const lmn_decode_job job = {
                .level = level,
                .shape = lmn__layer_shape(part->layer),
                .first = part->first + first,
                .count = count,
                .payload = message + offset + lmn_compressor_part_bytes(compressor, level, first),
                .payload_bytes = lmn_compressor_part_bytes(compressor, level, count)};
            lmn_compressor_decode_add(compressor, &job, weight, mean);
        }
    }
}

/* y of a part of the slice, as the second encoding's source; arrays begin with the part. */
typedef struct mean_source {
    size_t first; /* of the part in its layer */
    const float *mean;
    const float *tracked; /* NULL unless the mechanism tracks */
    const float *error;   /* NULL without error feedback */
} mean_source;

static void add_to(float *restrict vector, const float *restrict other, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        vector[i] += other[i];
    }
}

static bool form_mean(void *user, size_t first, size_t count, float *vector)
{
    const mean_source *source = user;
    const size_t offset = first - source->first;
    memcpy(vector, source->mean + offset, count * sizeof *vector);
    if (source->tracked != NULL) {
        add_to(vector, source->tracked + offset, count);
    }
    if (source->error != NULL) {
        add_to(vector, source->error + offset, count);
    }
    unsigned bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < count; i++) {
        bad |= fabsf(vector[i]) <= FLT_MAX ? 0U : 1U;
    }
    return bad == 0;
}

/* What was sent is the estimate, and E learns of it when the step counts. */
static void mean_sent(void *user, size_t first, size_t count, const float *vector,
                      const float *sent)
{
    (void)user;
    (void)first;
    (void)count;
    (void)vector;
    (void)sent;
}

/* h of a layer that did not travel in slices in the step before is whole on every rank, and what
   the slice holds means nothing: it may be written before the step counts. */
static void take_over_mean(const lmn__slice_owner *owner, const lmn__part *part)
{
    const lmn__layer *layer = part->layer;
    if (owner->tracked != NULL && layer->tracked != NULL && layer->mean_in_slices == 0) {
        memcpy(owner->tracked + part->offset, layer->tracked + part->first,
               part->count * sizeof(float));
    }
}

static const float *part_of(const float *slice, const lmn__part *part)
{
    return slice == NULL ? NULL : slice + part->offset;
}

static lmn_status encode_part(const lmn__slice_owner *owner, const lmn__part *part,
                              unsigned char *payload, lmn_error *err)
{
    mean_source mean = {.first = part->first,
                        .mean = owner->mean + part->offset,
                        .tracked = part_of(owner->tracked, part),
                        .error = part_of(owner->error, part)};
    const lmn_source source = {.form = form_mean, .sent = mean_sent, .user = &mean};
    return lmn__part_encode(owner->reducer, part, &source, LMN_STREAM_ALL_RANKS, payload, err);
}

size_t lmn__slice_owner_encode(lmn__slice_owner *owner, const lmn_collective *scatter,
                               unsigned char *message, lmn_error *err)
{
    const lmn_reducer *reducer = owner->reducer;
    lmn__owned_header header =
        lmn__owned_header_of(reducer, LMN__MAGIC_SLICES, LMN__CONTENT_TOGETHER, reducer->team.rank);
    size_t offset = sizeof header;
    const size_t end = owner->slices->first_part[reducer->team.rank + 1];
    for (size_t i = owner->slices->first_part[reducer->team.rank]; i < end; i++) {
        const lmn__part *part = &owner->slices->parts[i];
        if (part->layer->way != LMN_COMBINE_SLICED) {
            continue;
        }
        take_over_mean(owner, part);
        average_part(owner, scatter, part, offset);
        lmn_error cause = lmn_error_none();
        const lmn_status status = encode_part(owner, part, message + offset, &cause);
        if (status == LMN_ERR_NONFINITE) {
            header.content = LMN__CONTENT_NOT_FINITE;
            header.layer = part->layer->index;
            offset = sizeof header;
            break;
        }
        if (status != LMN_OK) {
            *err = cause;
            return 0;
        }
        offset += lmn__part_message_bytes(reducer, part);
    }
    memcpy(message, &header, sizeof header);
    return offset;
}

/* h += D, and E = y - C(y), where C(y) has just been decoded: it is the estimate. */
static void commit_part(const lmn__slice_owner *owner, const lmn__part *part)
{
    const float *estimate = part->layer->average + part->first;
    const float *sum = owner->mean + part->offset;
    if (owner->tracked != NULL) {
        add_to(owner->tracked + part->offset, sum, part->count);
        sum = owner->tracked + part->offset;
    }
    if (owner->error != NULL) {
        float *const error = owner->error + part->offset;
#pragma omp simd
        for (size_t i = 0; i < part->count; i++) {
            error[i] = (sum[i] + error[i]) - estimate[i];
        }
    }
}

/* A layer that travelled another way owes what it owed before. Dense, it has its h set anew. */
static void commit_other_part(const lmn__slice_owner *owner, const lmn__part *part)
{
    if (owner->tracked != NULL && part->layer->tracked == NULL) {
        memcpy(owner->tracked + part->offset, part->layer->average + part->first,
               part->count * sizeof(float));
    }
}

void lmn__slice_owner_commit(lmn__slice_owner *owner)
{
    const int rank = owner->reducer->team.rank;
    for (size_t i = owner->slices->first_part[rank]; i < owner->slices->first_part[rank + 1]; i++) {
        const lmn__part *part = &owner->slices->parts[i];
        if (part->layer->way == LMN_COMBINE_SLICED) {
            commit_part(owner, part);
        } else {
            commit_other_part(owner, part);
        }
    }
}

void lmn__slice_owner_set_mean(lmn__slice_owner *owner, const lmn__layer *layer, size_t first,
                               size_t count, const float *mean)
{
    if (owner->is_shadow || owner->tracked == NULL) {
        return;
    }
    const int rank = owner->reducer->team.rank;
    for (size_t i = owner->slices->first_part[rank]; i < owner->slices->first_part[rank + 1]; i++) {
        const lmn__part *part = &owner->slices->parts[i];
        const size_t begin = part->first > first ? part->first : first;
        const size_t part_end = part->first + part->count;
        const size_t end = part_end < first + count ? part_end : first + count;
        if (part->layer == layer && begin < end) {
            memcpy(owner->tracked + part->offset + (begin - part->first), mean + (begin - first),
                   (end - begin) * sizeof *mean);
        }
    }
}

/* This rank's part of a layer, of which each slice has at most one; NULL: none. */
static const lmn__part *own_part(const lmn__slice_owner *owner, const lmn__layer *layer)
{
    const int rank = owner->reducer->team.rank;
    for (size_t i = owner->slices->first_part[rank];
         !owner->is_shadow && i < owner->slices->first_part[rank + 1]; i++) {
        if (owner->slices->parts[i].layer == layer) {
            return &owner->slices->parts[i];
        }
    }
    return NULL;
}

static lmn_status add_slice(const lmn__slice_owner *owner, const char *what,
                            const lmn__layer *layer, float *values, lmn_state *state,
                            lmn_error *err)
{
    char name[512];
    const int length = snprintf(name, sizeof name, "/feedback/slices/%s/%s", what, layer->name);
    if (length < 0 || (size_t)length >= sizeof name) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "layer name '%.64s...' is too long to be saved",
                             layer->name);
    }
    const lmn__part *part = own_part(owner, layer);
    return lmn_state_add_slice(state, name, "1", LMN_STATE_F32, layer->count,
                               part == NULL ? 0 : part->first, part == NULL ? 0 : part->count,
                               part == NULL ? values : values + part->offset, err);
}

lmn_status lmn__slice_owner_add_state(const lmn__slice_owner *owner, const lmn__layer *layer,
                                      lmn_state *state, lmn_error *err)
{
    lmn_status status = LMN_OK;
    if (owner->tracked != NULL) {
        status = add_slice(owner, "mean_tracked_gradient", layer, owner->tracked, state, err);
    }
    if (status == LMN_OK && owner->tracked != NULL) {
        lmn_state_set_elastic(state, LMN_ELASTIC_FRESH); /* the mean of the new h_i */
    }
    if (status == LMN_OK && owner->error != NULL) {
        status = add_slice(owner, "error", layer, owner->error, state, err);
    }
    if (status == LMN_OK && owner->error != NULL) {
        lmn_state_set_elastic(state, LMN_ELASTIC_IF_THERE);
    }
    return status;
}

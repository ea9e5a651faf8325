/*
 * The balanced exchange: about k entries of the sum, from regions that hold equally many entries.
 *
 * Owners add up the weighted entries of their region in rank order and publish those that reach a
 * threshold which all ranks share, so that about k of a layer survive, as many as one rank sent.
 * Every 32 steps of the layer, after a change of level, and after a step of which less than half or
 * more than twice k survived, owners publish their k largest instead, and all ranks take the k
 * largest of these: the exact top k of the sum; its smallest is the next threshold. In between the
 * threshold moves by 0.8 % when less than 2/3 or more than 4/3 of k survive.
 *
 * Regions move every 64 steps: each rank notes to owner j where the j-th of n equal groups of its
 * own entries begins, and the owner publishes the mean over ranks beside its entries.
 *
 * What a rank sent that did not survive was not sent for error feedback: only entries that are both
 * in this rank's message and among the survivors are told, in the commit. So
 *
 *     sum over ranks of C(v_i), survivors only  =  n D
 *
 * Source: S. Li, T. Hoefler, "Near-optimal sparse allreduce for distributed deep learning", PPoPP
 * 2022, arXiv:2201.07598 (Ok-Topk).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "largest_internal.h"
#include "owners_internal.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define EXACT_EVERY     32
#define REBALANCE_EVERY 64
#define STEP_OF_DRIFT   1.008F

/* What is kept for a layer, the same on all ranks. */
enum {
    THRESHOLD,   /* the bits of an f32 */
    AGE,         /* steps since it was exact; 0: to be found in this step */
    WANTED,      /* the k that it is for */
    REGIONS_AGE, /* steps since regions moved; 0: they do in this step */
    STATE = LMN__OWNED_STATE
};

static_assert(REGIONS_AGE < STATE, "the state of a layer has a number for each");

static const lmn__owners_rule rule;

static size_t region_max(const lmn_reducer *reducer, const lmn__layer *layer)
{
    (void)reducer;
    return layer->count;
}

/* Twice what should survive, all of it in one region. */
static size_t published_max(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const size_t most = 2 * lmn__most_entries(reducer, layer);
    return most < layer->count ? most : layer->count;
}

static size_t wanted(const lmn_reducer *reducer, const lmn__owned_layer *owned)
{
    return lmn_compressor_entries_of(reducer->compressor, owned->layer->travel_level,
                                     lmn__layer_shape(owned->layer))
        .wanted;
}

static bool is_exact(const lmn__owned_layer *owned, size_t k)
{
    return owned->state[AGE] == 0 || owned->state[WANTED] != k;
}

static float threshold_of(const lmn__owned_layer *owned)
{
    const uint32_t bits = (uint32_t)owned->state[THRESHOLD];
    float threshold = 0.0F;
    memcpy(&threshold, &bits, sizeof threshold);
    return threshold;
}

static void set_threshold(lmn__owned_layer *owned, float threshold)
{
    uint32_t bits = 0;
    memcpy(&bits, &threshold, sizeof bits);
    owned->state[THRESHOLD] = bits;
}

/* Where the owner's region would begin if this rank's entries alone were dealt out evenly. */
static uint32_t note(const lmn__owners *self, const lmn__owned_layer *owned, int owner)
{
    const size_t group =
        lmn_partition(owned->n, (size_t)self->head.reducer->team.size, (size_t)owner).first;
    const size_t start = group < owned->n ? owned->indices[group] : owned->starts[owner];
    return owner == 0 ? 0 : (uint32_t)start;
}

static bool publish(const lmn__owners *self, const lmn__owned_layer *owned, lmn_sparse_sum *sum,
                    uint64_t notes, lmn__part_header *part, unsigned char *payload)
{
    const lmn_reducer *reducer = self->head.reducer;
    const lmn__owners_lists lists = lmn__owners_lists_of(&rule, reducer, owned->layer);
    const size_t k = wanted(reducer, owned);
    size_t n = lmn_sparse_sum_take(sum, lists.indices, lists.values);
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(lists.values[i]) <= FLT_MAX)) {
            return false;
        }
    }
    if (is_exact(owned, k)) {
        n = lmn__keep_largest(lists.indices, lists.values, n, k);
    } else {
        n = lmn__keep_above(lists.indices, lists.values, n, threshold_of(owned));
        n = lmn__keep_largest(lists.indices, lists.values, n, 2 * k);
    }
    part->note = (uint32_t)(notes / (uint64_t)reducer->team.size);
    part->bytes = n == 0 ? 0
                         : (uint32_t)lmn_sparse_write(lists.indices, lists.values, n, sum->range,
                                                      LMN_SPARSE_F32, payload);
    return true;
}

static bool check_part(const lmn__owned_layer *owned, int owner, const lmn__part_header *part)
{
    (void)owner;
    return part->form == LMN__PART_ENTRIES && part->note <= owned->layer->count;
}

/* All that owners published, in ascending order; returns their number. */
static size_t read_parts(const lmn_reducer *reducer, const lmn__received_part *parts,
                         const lmn__owners_lists *lists)
{
    size_t n = 0;
    for (int owner = 0; owner < reducer->team.size; owner++) {
        const lmn_sparse_message message = lmn__part_message_of(&parts[owner]);
        if (message.bytes > 0) {
            lmn_sparse_read(&message, lists->indices + n, lists->values + n);
            n += lmn_sparse_count(&message);
        }
    }
    return n;
}

static void add_survivors(const lmn__layer *layer, const lmn__owners_lists *lists, size_t n)
{
    float *const estimate = lmn__layer_estimate(layer);
    if (layer->tracked == NULL) {
        memset(estimate, 0, layer->count * sizeof *estimate);
    }
    for (size_t i = 0; i < n; i++) {
        estimate[lists->indices[i]] += lists->values[i];
    }
}

/* This rank's entries that survived become all that it has. */
static void drop_others(lmn__owned_layer *owned, const uint32_t *survivors, size_t n)
{
    size_t kept = 0;
    size_t place = 0;
    for (size_t i = 0; i < owned->n; i++) {
        const uint32_t index = owned->indices[i];
        while (place < n && survivors[place] < index) {
            place++;
        }
        owned->indices[kept] = index;
        owned->values[kept] = owned->values[i];
        kept += place < n && survivors[place] == index ? 1 : 0;
    }
    owned->n = kept;
}

static void tell_states(const lmn__owned_layer *owned)
{
    const lmn__layer *layer = owned->layer;
    for (size_t s = 0; s < LMN_FEEDBACK_STATES_MAX; s++) {
        if (layer->state[s] == NULL) {
            continue;
        }
        float *const after = layer->next[s] != NULL ? layer->next[s] : layer->state[s];
        const float factor = lmn_feedback_sent_factor(layer->feedback, s);
        for (size_t i = 0; i < owned->n; i++) {
            after[owned->indices[i]] += factor * owned->values[i];
        }
    }
}

static void take_threshold(lmn__owned_layer *owned, size_t k, const float *survivors, size_t n)
{
    float smallest = n > 0 ? FLT_MAX : 0.0F;
    for (size_t i = 0; i < n; i++) {
        smallest = fminf(smallest, fabsf(survivors[i]));
    }
    set_threshold(owned, smallest);
    owned->state[AGE] = 1;
    owned->state[WANTED] = k;
}

static void move_threshold(lmn__owned_layer *owned, size_t k, size_t n)
{
    if (n > k + k / 3) {
        set_threshold(owned, threshold_of(owned) * STEP_OF_DRIFT);
    } else if (n < k - k / 3) {
        set_threshold(owned, threshold_of(owned) / STEP_OF_DRIFT);
    }
    const bool has_drifted = n > 2 * k || 2 * n < k;
    owned->state[AGE] = has_drifted ? 0 : (owned->state[AGE] + 1) % EXACT_EVERY;
}

static void move_regions(lmn__owned_layer *owned, int ranks, const lmn__received_part *parts)
{
    if (owned->state[REGIONS_AGE] == 0) {
        for (int owner = 1; owner < ranks; owner++) {
            const uint64_t before = owned->starts[owner - 1];
            const uint64_t start = parts[owner].head.note;
            owned->starts[owner] = start > before ? start : before;
        }
    }
    owned->state[REGIONS_AGE] = (owned->state[REGIONS_AGE] + 1) % REBALANCE_EVERY;
}

static void commit_layer(lmn__owners *self, lmn__owned_layer *owned,
                         const lmn__received_part *parts)
{
    const lmn_reducer *reducer = self->head.reducer;
    const lmn__owners_lists lists = lmn__owners_lists_of(&rule, reducer, owned->layer);
    const size_t k = wanted(reducer, owned);
    size_t n = read_parts(reducer, parts, &lists);
    if (is_exact(owned, k)) {
        n = lmn__keep_largest(lists.indices, lists.values, n, k);
        take_threshold(owned, k, lists.values, n);
    } else {
        move_threshold(owned, k, n);
    }
    add_survivors(owned->layer, &lists, n);
    drop_others(owned, lists.indices, n);
    lmn__watch_entries(owned->layer, owned->n, owned->values);
    tell_states(owned);
    move_regions(owned, reducer->team.size, parts);
}

static const lmn__owners_rule rule = {.kind = &lmn__exchange_balanced,
                                      .tells_late = true,
                                      .region_max = region_max,
                                      .published_max = published_max,
                                      .note = note,
                                      .publish = publish,
                                      .check = check_part,
                                      .commit = commit_layer};

static uint64_t wire_bytes(const lmn_compressor *compressor, int size, lmn_layer_shape shape,
                           size_t level)
{
    const lmn_compressor_entries entries = lmn_compressor_entries_of(compressor, level, shape);
    return lmn__owners_scatter_bytes(compressor, size, shape, level) +
           lmn__owners_publish_bytes(size, shape, entries.wanted);
}

static size_t scratch_bytes(const lmn_reducer *reducer, const lmn__layer *layer)
{
    return lmn__owners_scratch_bytes(&rule, reducer, layer);
}

static lmn_status create(lmn_reducer *reducer, lmn__bucket *bucket, lmn__exchange **exchange_out,
                         lmn_error *err)
{
    return lmn__owners_create(&rule, reducer, bucket, exchange_out, err);
}

static lmn_status add_numbers(const lmn__layer *layer, const char *what, size_t count,
                              uint64_t *numbers, lmn_state *state, lmn_error *err)
{
    char name[512];
    const int length = snprintf(name, sizeof name, "/collective/%s/%s", what, layer->name);
    if (length < 0 || (size_t)length >= sizeof name) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "layer name '%.64s...' is too long to be saved",
                             layer->name);
    }
    return lmn_state_add_array(state, name, "1", LMN_STATE_REPLICATED, LMN_STATE_U64, 1, &count,
                               numbers, err);
}

static lmn_status add_state(lmn__exchange *exchange, lmn_state *state, lmn_error *err)
{
    const lmn__owners *self = (const lmn__owners *)exchange;
    const size_t ranks = (size_t)exchange->reducer->team.size;
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < self->n_layers && status == LMN_OK; i++) {
        lmn__owned_layer *owned = &self->layers[i];
        status = add_numbers(owned->layer, "regions", ranks + 1, owned->starts, state, err);
        if (status == LMN_OK) {
            lmn_state_set_elastic(state, LMN_ELASTIC_FRESH); /* equal parts for other ranks */
            status = add_numbers(owned->layer, "threshold", STATE, owned->state, state, err);
        }
        if (status == LMN_OK) {
            lmn_state_set_elastic(state, LMN_ELASTIC_IF_THERE);
        }
    }
    return status;
}

static lmn_status restored(const lmn__exchange *exchange, lmn_error *err)
{
    const lmn__owners *self = (const lmn__owners *)exchange;
    const int ranks = exchange->reducer->team.size;
    for (size_t i = 0; i < self->n_layers; i++) {
        const lmn__owned_layer *owned = &self->layers[i];
        bool fits = owned->starts[0] == 0 && owned->starts[ranks] == owned->layer->count;
        for (int owner = 0; owner < ranks; owner++) {
            fits = fits && owned->starts[owner] <= owned->starts[owner + 1];
        }
        if (!fits || !(threshold_of(owned) >= 0.0F)) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "the regions or the threshold saved for layer '%s' cannot be",
                                 owned->layer->name);
        }
    }
    return LMN_OK;
}

const lmn__exchange_kind lmn__exchange_balanced = {.combine = LMN_COMBINE_SPARSE,
                                                   .sends_entries = true,
                                                   .wire_bytes = wire_bytes,
                                                   .scratch_bytes = scratch_bytes,
                                                   .create = create,
                                                   .connect = lmn__owners_connect,
                                                   .encode = lmn__owners_encode,
                                                   .start = lmn__owners_start,
                                                   .progress = lmn__owners_progress,
                                                   .check = lmn__owners_check,
                                                   .commit = lmn__owners_commit,
                                                   .bytes_sent = lmn__owners_bytes_sent,
                                                   .add_state = add_state,
                                                   .restored = restored,
                                                   .destroy = lmn__owners_destroy};

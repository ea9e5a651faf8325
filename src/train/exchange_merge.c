/*
 * The merging exchange: every rank adds up a range of each layer, and tells the others.
 *
 * Regions are fixed and equally long. The owner adds the entries of all ranks, weighted, in rank
 * order to what the gathering exchange would add them to (h, or zero), so it has that exchange's
 * numbers to the bit, and publishes the new numbers themselves: as entries, or the whole region
 * where that is shorter. Receivers copy them. Which form it is only the owner decides.
 *
 * Source: C. Renggli, S. Ashkboos, M. Aghagolzadeh, D. Alistarh, T. Hoefler, "SparCML:
 * high-performance sparse communication for machine learning", SC 2019, arXiv:1802.08021: the split
 * allgather, with the switch to dense.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "owners_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const lmn__owners_rule rule;

static size_t region_max(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const size_t ranks = (size_t)reducer->team.size;
    return layer->count / ranks + (layer->count % ranks != 0 ? 1 : 0);
}

static size_t published_max(const lmn_reducer *reducer, const lmn__layer *layer)
{
    const size_t region = region_max(reducer, layer);
    const size_t all = (size_t)reducer->team.size * lmn__most_entries(reducer, layer);
    return region < all ? region : all;
}

/* Elements that no rank sends keep their values: those of h, or zero. */
static const float *base(const lmn__owned_layer *owned)
{
    return owned->layer->tracked;
}

static bool are_finite(const float *values, size_t count)
{
    unsigned bad = 0;
    for (size_t i = 0; i < count; i++) {
        bad |= fabsf(values[i]) <= FLT_MAX ? 0U : 1U;
    }
    return bad == 0;
}

/* payload [count] = every element of the region, from what was taken out of the sum. */
static void write_whole(const lmn__owned_layer *owned, lmn_range range, const uint32_t *indices,
                        const float *values, size_t n, unsigned char *payload)
{
    const float *start = base(owned);
    if (start != NULL) {
        memcpy(payload, start + range.first, range.count * sizeof *start);
    } else {
        memset(payload, 0, range.count * sizeof *start);
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(payload + (indices[i] - range.first) * sizeof *values, &values[i], sizeof *values);
    }
}

static bool publish(const lmn__owners *self, const lmn__owned_layer *owned, lmn_sparse_sum *sum,
                    uint64_t notes, lmn__part_header *part, unsigned char *payload)
{
    (void)notes;
    const lmn__owners_lists lists = lmn__owners_lists_of(&rule, self->head.reducer, owned->layer);
    const size_t whole = sum->range.count * sizeof(float);
    const size_t n = lmn_sparse_sum_take(sum, lists.indices, lists.values);
    if (!are_finite(lists.values, n)) {
        return false;
    }
    if (n == 0) {
        return true;
    }
    /* Values alone often show already that entries would be longer. */
    size_t bytes = n * sizeof(float);
    if (bytes < whole) {
        bytes =
            lmn_sparse_write(lists.indices, lists.values, n, sum->range, LMN_SPARSE_F32, payload);
    }
    if (bytes >= whole) {
        part->form = LMN__PART_WHOLE;
        bytes = whole;
        write_whole(owned, sum->range, lists.indices, lists.values, n, payload);
    }
    part->bytes = (uint32_t)bytes;
    return true;
}

static void copy_part(const lmn__received_part *part, const lmn__owners_lists *lists,
                      float *estimate)
{
    if (part->head.form == LMN__PART_WHOLE) {
        memcpy(estimate + part->range.first, part->payload, part->head.bytes);
        return;
    }
    const lmn_sparse_message message = lmn__part_message_of(part);
    const size_t n = message.bytes == 0 ? 0 : lmn_sparse_count(&message);
    if (n > 0) {
        lmn_sparse_read(&message, lists->indices, lists->values);
    }
    for (size_t i = 0; i < n; i++) {
        estimate[lists->indices[i]] = lists->values[i];
    }
}

/* States that the encoder did not rewrite learn what was sent. */
static void add_to_states(const lmn__owned_layer *owned)
{
    const lmn__layer *layer = owned->layer;
    for (size_t s = 0; s < LMN_FEEDBACK_STATES_MAX; s++) {
        if (layer->state[s] == NULL || layer->next[s] != NULL) {
            continue;
        }
        const float factor = lmn_feedback_sent_factor(layer->feedback, s);
        for (size_t i = 0; i < owned->n; i++) {
            layer->state[s][owned->indices[i]] += factor * owned->values[i];
        }
    }
}

static void commit_layer(lmn__owners *self, lmn__owned_layer *owned,
                         const lmn__received_part *parts)
{
    const lmn_reducer *reducer = self->head.reducer;
    const lmn__owners_lists lists = lmn__owners_lists_of(&rule, reducer, owned->layer);
    float *const estimate = lmn__layer_estimate(owned->layer);
    if (owned->layer->tracked == NULL) {
        memset(estimate, 0, owned->layer->count * sizeof *estimate);
    }
    for (int owner = 0; owner < reducer->team.size; owner++) {
        copy_part(&parts[owner], &lists, estimate);
    }
    add_to_states(owned);
}

static const lmn__owners_rule rule = {.kind = &lmn__exchange_merge,
                                      .region_max = region_max,
                                      .published_max = published_max,
                                      .base = base,
                                      .publish = publish,
                                      .commit = commit_layer};

static uint64_t wire_bytes(const lmn_compressor *compressor, int size, lmn_layer_shape shape,
                           size_t level)
{
    const lmn_compressor_entries entries = lmn_compressor_entries_of(compressor, level, shape);
    return lmn__owners_scatter_bytes(compressor, size, shape, level) +
           lmn__owners_publish_bytes(size, shape,
                                     lmn__expected_union(entries.most, shape.count, size));
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

const lmn__exchange_kind lmn__exchange_merge = {.combine = LMN_COMBINE_SPARSE,
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
                                                .destroy = lmn__owners_destroy};

/*
 * A layer as encoders see it: v from the gradient and the states, and the states after the step.
 *
 * Encoders pull v tile by tile and say at once what they sent of it, so forming, encoding and error
 * feedback are one pass over memory. Tiles are independent and may come from several threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "exchange_internal.h"

#include <string.h>

/* Member by member: filling the whole with zeros first would take longer than a short tile. */
static lmn_feedback_tile tile_of(const lmn__layer *layer, size_t first, size_t count)
{
    lmn_feedback_tile tile;
    tile.count = count;
    tile.eta = layer->eta;
    tile.first = layer->is_first;
    tile.whole = layer->travel_level == 0;
    tile.past_caches = layer->count >= LMN__FAR_COUNT;
    tile.gradient = layer->gradient + first;
    for (size_t i = 0; i < LMN_FEEDBACK_STATES_MAX; i++) {
        tile.state[i] = layer->state[i] == NULL ? NULL : layer->state[i] + first;
        tile.next[i] = layer->next[i] == NULL ? NULL : layer->next[i] + first;
    }
    return tile;
}

bool lmn__layer_form(const lmn__layer *layer, size_t first, size_t count, float *vector)
{
    const lmn_feedback_tile tile = tile_of(layer, first, count);
    return lmn_feedback_form(layer->feedback, &tile, vector);
}

bool lmn__layer_form_vector(const lmn__layer *layer)
{
    bool is_finite = true;
#pragma omp parallel for schedule(static)                                                          \
    reduction(&& : is_finite) if (layer->count >= LMN__SHARED_COUNT)
    for (size_t first = 0; first < layer->count; first += LMN__LAYER_TILE) {
        const size_t rest = layer->count - first;
        const size_t count = rest < LMN__LAYER_TILE ? rest : LMN__LAYER_TILE;
        is_finite = lmn__layer_form(layer, first, count, layer->vector + first) && is_finite;
    }
    return is_finite;
}

static bool form(void *user, size_t first, size_t count, float *vector)
{
    return lmn__layer_form(user, first, count, vector);
}

static void sent_tile(void *user, size_t first, size_t count, const float *vector,
                      const float *sent)
{
    const lmn__layer *layer = user;
    const lmn_feedback_tile tile = tile_of(layer, first, count);
    lmn__watch_tile(layer, first, count, vector, sent);
    lmn_feedback_advance(layer->feedback, &tile, vector, sent);
}

static bool form_unsent(void *user, size_t first, size_t count, float *vector)
{
    const lmn__layer *layer = user;
    const lmn_feedback_tile tile = tile_of(layer, first, count);
    const bool is_finite = lmn_feedback_form_unsent(layer->feedback, &tile, vector);
    lmn__watch_tile(layer, first, count, vector, NULL);
    return is_finite;
}

/* States without a `next` learn of entries in the commit, from the message. */
static void sent_entries(void *user, size_t n, const uint32_t *indices, const float *values)
{
    lmn__layer *layer = user;
    lmn__watch_entries(layer, n, values);
    for (size_t s = 0; s < lmn_feedback_state_count(layer->feedback); s++) {
        float *const next = layer->next[s];
        const float factor = lmn_feedback_sent_factor(layer->feedback, s);
        if (next == NULL || factor == 0.0F) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            next[indices[i]] += factor * values[i];
        }
    }
}

lmn_source lmn__layer_source(lmn__layer *layer)
{
    return (lmn_source){.form = form,
                        .sent = sent_tile,
                        .form_unsent = form_unsent,
                        .sent_entries = sent_entries,
                        .user = layer};
}

float *lmn__layer_memory_copy(const lmn__layer *layer)
{
    if (layer->memory_next == NULL) {
        return layer->memory;
    }
    memcpy(layer->memory_next, layer->memory, layer->memory_kind.own * sizeof(float));
    return layer->memory_next;
}

static void swap(float **a, float **b)
{
    float *const old = *a;
    *a = *b;
    *b = old;
}

/* A state changes places with its second array, which `next` follows. */
static void swap_state(lmn__layer *layer, size_t i)
{
    swap(&layer->state[i], &layer->spare[i]);
    layer->next[i] = layer->next[i] == NULL ? NULL : layer->spare[i];
}

void lmn__layer_commit_next(lmn__layer *layer)
{
    for (size_t i = 0; i < LMN_FEEDBACK_STATES_MAX; i++) {
        if (layer->next[i] != NULL) {
            swap_state(layer, i);
        }
    }
    if (layer->memory_next != NULL) {
        swap(&layer->memory, &layer->memory_next);
    }
}

void lmn__layer_settle(lmn__layer *layer, bool copy)
{
    for (size_t i = 0; i < LMN_FEEDBACK_STATES_MAX; i++) {
        if (layer->spare[i] == NULL || layer->state[i] == layer->home[i]) {
            continue;
        }
        if (copy) {
            memcpy(layer->spare[i], layer->state[i], layer->count * sizeof(float));
        }
        swap_state(layer, i);
    }
    if (layer->memory_next == NULL || layer->memory == layer->memory_home) {
        return;
    }
    if (copy) {
        memcpy(layer->memory_next, layer->memory, layer->memory_kind.own * sizeof(float));
    }
    swap(&layer->memory, &layer->memory_next);
}

void lmn__layer_advance(lmn__layer *layer, size_t first, size_t count, const float *vector,
                        const float *sent)
{
    lmn_feedback_tile tile = tile_of(layer, first, count);
    for (size_t i = 0; i < LMN_FEEDBACK_STATES_MAX; i++) {
        tile.next[i] = layer->state[i] == NULL ? NULL : layer->state[i] + first;
    }
    lmn_feedback_advance(layer->feedback, &tile, vector, sent);
}

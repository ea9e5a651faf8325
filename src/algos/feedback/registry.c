/*
 * The public face of error feedback: one object over the mechanism that its spec names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "feedback_internal.h"
#include "lamina/feedback.h"
#include "lamina/memory.h"

#include <assert.h>

/* f32 of each array that are worked on at a time: all of them fit the nearest cache. */
enum { NEAR_COUNT = 512 };

struct lmn_feedback {
    const lmn__feedback_kind *kind;
    void *config; /* owned */
};

#define KIND_POINTER(name) &lmn__feedback_##name,
static const lmn__feedback_kind *const kinds[] = {LMN__FEEDBACKS(KIND_POINTER)};
#undef KIND_POINTER

static const lmn__method *method_at(size_t index)
{
    return index < sizeof kinds / sizeof kinds[0] ? &kinds[index]->method : NULL;
}

lmn_status lmn_feedback_create(const char *spec, lmn_feedback **feedback_out, lmn_error *err)
{
    size_t index = 0;
    void *config = NULL;
    const lmn_status status =
        lmn__method_configure("feedback", spec, method_at, &index, &config, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_feedback *feedback = lmn_alloc(1, sizeof *feedback, err);
    if (feedback == NULL) {
        lmn_free(config);
        return LMN_ERR_MEMORY;
    }
    feedback->kind = kinds[index];
    feedback->config = config;
    *feedback_out = feedback;
    return LMN_OK;
}

void lmn_feedback_destroy(lmn_feedback *feedback)
{
    if (feedback != NULL) {
        lmn_free(feedback->config);
        lmn_free(feedback);
    }
}

bool lmn_feedback_tracks(const lmn_feedback *feedback)
{
    return feedback->kind->tracks;
}

bool lmn_feedback_rests(const lmn_feedback *feedback)
{
    return feedback->kind->rests;
}

bool lmn_feedback_starts_dense(const lmn_feedback *feedback)
{
    return feedback->kind->starts_dense != NULL && feedback->kind->starts_dense(feedback->config);
}

size_t lmn_feedback_state_count(const lmn_feedback *feedback)
{
    return feedback->kind->n_states;
}

const char *lmn_feedback_state_name(const lmn_feedback *feedback, size_t index)
{
    assert(index < feedback->kind->n_states);
    return feedback->kind->states[index].name;
}

double lmn_feedback_eta(const lmn_feedback *feedback, double suggested)
{
    return feedback->kind->eta == NULL ? 0.0 : feedback->kind->eta(feedback->config, suggested);
}

bool lmn_feedback_form(const lmn_feedback *feedback, const lmn_feedback_tile *tile, float *vector)
{
    return feedback->kind->form(tile, vector);
}

/* States after the step are made in the nearest cache and written to memory from there. */
static void advance_past_caches(const lmn_feedback *feedback, const lmn_feedback_tile *tile,
                                const float *vector, const float *sent)
{
    float next[LMN_FEEDBACK_STATES_MAX][NEAR_COUNT];
    for (size_t first = 0; first < tile->count; first += NEAR_COUNT) {
        const size_t rest = tile->count - first;
        lmn_feedback_tile part = *tile;
        part.count = rest < NEAR_COUNT ? rest : NEAR_COUNT;
        part.gradient = tile->gradient + first;
        for (size_t i = 0; i < feedback->kind->n_states; i++) {
            part.state[i] = tile->state[i] + first;
            part.next[i] = tile->next[i] == NULL ? NULL : next[i];
        }
        feedback->kind->advance(&part, vector + first, sent == NULL ? NULL : sent + first);
        for (size_t i = 0; i < feedback->kind->n_states; i++) {
            if (tile->next[i] != NULL) {
                lmn_copy_past_caches(tile->next[i] + first, next[i], part.count);
            }
        }
    }
}

void lmn_feedback_advance(const lmn_feedback *feedback, const lmn_feedback_tile *tile,
                          const float *vector, const float *sent)
{
    if (feedback->kind->advance == NULL || tile->count == 0) {
        return;
    }
    if (tile->past_caches) {
        advance_past_caches(feedback, tile, vector, sent);
    } else {
        feedback->kind->advance(tile, vector, sent);
    }
}

float lmn_feedback_sent_factor(const lmn_feedback *feedback, size_t index)
{
    assert(index < feedback->kind->n_states);
    return feedback->kind->states[index].sent_factor;
}

bool lmn_feedback_rewrites(const lmn_feedback *feedback, size_t index)
{
    assert(index < feedback->kind->n_states);
    return feedback->kind->states[index].rewrites;
}

const lmn_spec_entry *lmn_feedback_entry(size_t index)
{
    return lmn__method_entry(method_at, index);
}

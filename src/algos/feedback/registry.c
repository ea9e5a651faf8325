/*
 * The public face of error feedback: one object over the mechanism that its spec names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "feedback_internal.h"
#include "lamina/feedback.h"
#include "lamina/memory.h"

#include <assert.h>
#include <math.h>

struct lmn_feedback {
    lmn__feedback_traits traits;
    lmn__feedback_places places;
    const lmn__feedback_loops *loops;
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
    feedback->traits = kinds[index]->traits(config);
    feedback->places = lmn__feedback_places_of(&feedback->traits);
    feedback->loops = lmn__feedback_loops_variant(0);
    lmn_free(config);
    *feedback_out = feedback;
    return LMN_OK;
}

void lmn_feedback_destroy(lmn_feedback *feedback)
{
    lmn_free(feedback);
}

bool lmn_feedback_tracks(const lmn_feedback *feedback)
{
    return feedback->traits.tracks;
}

bool lmn_feedback_rests(const lmn_feedback *feedback)
{
    return feedback->places.count > 0 && feedback->traits.n_averages == 0;
}

bool lmn_feedback_starts_dense(const lmn_feedback *feedback)
{
    return feedback->traits.starts_dense;
}

size_t lmn_feedback_state_count(const lmn_feedback *feedback)
{
    return feedback->places.count;
}

static bool is_tracked(const lmn_feedback *feedback, size_t index)
{
    return feedback->traits.tracks && index == feedback->places.tracked;
}

static bool is_error(const lmn_feedback *feedback, size_t index)
{
    return feedback->traits.feeds_back && index == feedback->places.error;
}

const char *lmn_feedback_state_name(const lmn_feedback *feedback, size_t index)
{
    assert(index < feedback->places.count);
    if (is_tracked(feedback, index)) {
        return "tracked_gradient";
    }
    if (is_error(feedback, index)) {
        return "error";
    }
    return index == feedback->places.averages ? "average_gradient" : "average_of_averages";
}

double lmn_feedback_eta(const lmn_feedback *feedback, double suggested)
{
    if (!feedback->traits.tracks || !feedback->traits.feeds_back) {
        return 0.0;
    }
    return isnan(feedback->traits.eta) ? suggested : feedback->traits.eta;
}

bool lmn_feedback_form(const lmn_feedback *feedback, const lmn_feedback_tile *tile, float *vector)
{
    return feedback->loops->form(&feedback->traits, tile, vector);
}

void lmn_feedback_advance(const lmn_feedback *feedback, const lmn_feedback_tile *tile,
                          const float *vector, const float *sent)
{
    if (feedback->places.count > 0 && tile->count > 0) {
        feedback->loops->advance(&feedback->traits, tile, vector, sent);
    }
}

bool lmn_feedback_form_unsent(const lmn_feedback *feedback, const lmn_feedback_tile *tile,
                              float *vector)
{
    assert(!tile->whole);
    return feedback->loops->form_unsent(&feedback->traits, tile, vector);
}

bool lmn_feedback_form_f64(const lmn_feedback *feedback, const lmn_feedback_tile_f64 *tile,
                           double *vector)
{
    return lmn__feedback_loops_f64_portable.form(&feedback->traits, tile, vector);
}

void lmn_feedback_advance_f64(const lmn_feedback *feedback, const lmn_feedback_tile_f64 *tile,
                              const double *vector, const double *sent)
{
    if (feedback->places.count > 0 && tile->count > 0) {
        lmn__feedback_loops_f64_portable.advance(&feedback->traits, tile, vector, sent);
    }
}

float lmn_feedback_sent_factor(const lmn_feedback *feedback, size_t index)
{
    assert(index < feedback->places.count);
    if (is_tracked(feedback, index)) {
        return 1.0F;
    }
    return is_error(feedback, index) ? -1.0F : 0.0F;
}

bool lmn_feedback_rewrites(const lmn_feedback *feedback, size_t index)
{
    assert(index < feedback->places.count);
    return !is_tracked(feedback, index);
}

const lmn_spec_entry *lmn_feedback_entry(size_t index)
{
    return lmn__method_entry(method_at, index);
}

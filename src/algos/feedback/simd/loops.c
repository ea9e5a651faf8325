/*
 * The loops of all mechanisms in f32, for one instruction set: see loops_template.h and
 * lamina_add_isa_variants.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

/* Whole cache lines in one store each, where there are such stores. */
static void store_past_caches(float *to, const float *from, size_t count)
{
    size_t done = 0;
#ifdef __AVX512F__
    const size_t per_line = LMN_ALIGNMENT / sizeof *to;
    const size_t whole = (size_t)to % LMN_ALIGNMENT == 0 ? count - count % per_line : 0;
    for (; done < whole; done += per_line) {
        _mm512_stream_ps(to + done, _mm512_loadu_ps(from + done));
    }
#endif
    lmn_copy_past_caches(to + done, from + done, count - done);
}

#define REAL                         float
#define TILE                         lmn_feedback_tile
#define LOOPS_STORE(to, from, count) store_past_caches((to), (from), (count))
#include "../loops_template.h"

/* v and the error without what was sent share what they are made of. */
static bool form_and_keep_error(const operands *o, float *vector)
{
    unsigned bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < o->count; i++) {
        const float change = o->gradient[i] - o->tracked[i];
        const float error = o->error[i];
        const float v = change + o->eta * error;
        vector[i] = v;
        o->next_error[i] = error + change;
        bad |= (unsigned)(v - v != 0.0F);
    }
    return bad == 0;
}

/* The common case in one loop: one that tracks, with feedback, of the gradient itself. */
static bool form_unsent_near(const lmn__feedback_traits *traits, const lmn_feedback_tile *tile,
                             float *vector)
{
    const operands o = operands_of(traits, tile);
    if (traits->tracks && traits->feeds_back && traits->n_averages == 0 && o.eta != 0.0F &&
        o.next_tracked == NULL) {
        return form_and_keep_error(&o, vector);
    }
    const bool is_finite = form(traits, tile, vector);
    advance_near(traits, tile, vector, NULL);
    return is_finite;
}

static bool form_unsent(const lmn__feedback_traits *traits, const lmn_feedback_tile *tile,
                        float *vector)
{
    if (!tile->past_caches) {
        return form_unsent_near(traits, tile, vector);
    }
    bool is_finite = true;
    float next[LMN_FEEDBACK_STATES_MAX][NEAR_COUNT];
    for (size_t first = 0; first < tile->count; first += NEAR_COUNT) {
        const TILE part = near_part(traits, tile, first, next);
        is_finite = form_unsent_near(traits, &part, vector + first) && is_finite;
        store_part(traits, tile, first, &part);
    }
    return is_finite;
}

#define LOOPS_TEXT_OF(name) #name
#define LOOPS_TEXT(name)    LOOPS_TEXT_OF(name)
#define LOOPS_JOIN(a, b)    a##b
#define LOOPS_PASTE(a, b)   LOOPS_JOIN(a, b)
#define LOOPS_NAME          LOOPS_PASTE(lmn__feedback_loops_, LMN__VARIANT)

extern const lmn__feedback_loops LOOPS_NAME;
const lmn__feedback_loops LOOPS_NAME = {
    .isa = LOOPS_TEXT(LMN__VARIANT), .form = form, .advance = advance, .form_unsent = form_unsent};

/*
 * The loops of all mechanisms, for one type of number.
 *
 * A template: simd/loops.c includes it for f32, once for every instruction set, and loops_f64.c for
 * f64. The includer defines REAL, TILE (the public struct of a tile of such numbers) and
 * LOOPS_STORE(to, from, count), a copy to memory that no cache will hold.
 *
 * All mechanisms are made of four loops; which parts of them a mechanism has are its traits, and
 * each combination is compiled on its own. y is the gradient or its running average.
 *
 *     v  = y - h + eta e
 *     e' = e + (y - h') for those that track, v - sent for those that do not
 *     h' = h + sent
 *     m' = (1 - b) m + b g, and z' = (1 - b) z + b m'
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "loops.h"

#include <string.h>

/* What was sent of v: nothing (or entries that the caller adds), C(v), all of it. */
enum sent_kind { SENT_NOTHING, SENT_SOME, SENT_WHOLE };

/* A tile by what its arrays hold; those that a mechanism lacks are NULL. */
typedef struct operands {
    size_t count;
    const REAL *gradient;
    const REAL *tracked;
    const REAL *error;
    const REAL *average[2]; /* m, z */
    REAL *next_tracked;
    REAL *next_error;
    REAL *next_average[2];
    REAL eta;
    REAL weight; /* of the newest in an average */
    REAL keep;   /* 1 - weight */
} operands;

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Member by member: filling the whole with zeros first would take longer than a short tile. */
static operands operands_of(const lmn__feedback_traits *traits, const TILE *tile)
{
    const lmn__feedback_places places = lmn__feedback_places_of(traits);
    operands o;
    o.count = tile->count;
    o.gradient = tile->gradient;
    o.tracked = traits->tracks ? tile->state[places.tracked] : NULL;
    o.next_tracked = traits->tracks ? tile->next[places.tracked] : NULL;
    o.error = traits->feeds_back ? tile->state[places.error] : NULL;
    o.next_error = traits->feeds_back ? tile->next[places.error] : NULL;
    for (size_t a = 0; a < 2; a++) {
        const bool is_there = a < traits->n_averages;
        o.average[a] = is_there ? tile->state[places.averages + a] : NULL;
        o.next_average[a] = is_there ? tile->next[places.averages + a] : NULL;
    }
    o.eta = traits->tracks ? (REAL)tile->eta : (REAL)1;
    o.weight = tile->first ? (REAL)1 : (REAL)traits->momentum;
    o.keep = (REAL)1 - o.weight;
    return o;
}

ALWAYS_INLINE REAL averaged(const operands *o, size_t which, REAL newest, size_t i)
{
    return o->keep * o->average[which][i] + o->weight * newest;
}

/* y */
ALWAYS_INLINE REAL input_of(size_t n_averages, const operands *o, size_t i)
{
    REAL y = o->gradient[i];
    for (size_t a = 0; a < n_averages; a++) {
        y = averaged(o, a, y, i);
    }
    return y;
}

/* A number less itself is 0 unless it is NaN or infinity. */
ALWAYS_INLINE bool form_loop(size_t n_averages, bool minus_tracked, bool plus_error,
                             const operands *o, REAL *vector)
{
    unsigned bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < o->count; i++) {
        REAL v = input_of(n_averages, o, i);
        v = minus_tracked ? v - o->tracked[i] : v;
        v = plus_error ? v + o->eta * o->error[i] : v;
        vector[i] = v;
        bad |= (unsigned)(v - v != (REAL)0);
    }
    return bad == 0;
}

ALWAYS_INLINE bool form_with(size_t n_averages, bool minus_tracked, bool plus_error,
                             const operands *o, REAL *vector)
{
    if (minus_tracked) {
        return plus_error ? form_loop(n_averages, true, true, o, vector)
                          : form_loop(n_averages, true, false, o, vector);
    }
    return plus_error ? form_loop(n_averages, false, true, o, vector)
                      : form_loop(n_averages, false, false, o, vector);
}

/* Without eta the error is not touched: multiplied by 0 it could still turn numbers into NaN. */
static bool form(const lmn__feedback_traits *traits, const TILE *tile, REAL *vector)
{
    const operands o = operands_of(traits, tile);
    const bool minus_tracked = traits->tracks && !tile->whole;
    const bool plus_error = traits->feeds_back && o.eta != (REAL)0;
    switch (traits->n_averages) {
    case 0:
        return form_with(0, minus_tracked, plus_error, &o, vector);
    case 1:
        return form_with(1, minus_tracked, plus_error, &o, vector);
    default:
        return form_with(2, minus_tracked, plus_error, &o, vector);
    }
}

/* h' counts as what was sent where v travelled whole. */
ALWAYS_INLINE void error_loop(size_t n_averages, enum sent_kind kind, const operands *o,
                              const REAL *sent)
{
#pragma omp simd
    for (size_t i = 0; i < o->count; i++) {
        REAL tracked = kind == SENT_WHOLE ? sent[i] : o->tracked[i];
        tracked = kind == SENT_SOME ? tracked + sent[i] : tracked;
        o->next_error[i] = o->error[i] + (input_of(n_averages, o, i) - tracked);
    }
}

ALWAYS_INLINE void error_with(size_t n_averages, enum sent_kind kind, const operands *o,
                              const REAL *sent)
{
    if (kind == SENT_NOTHING) {
        error_loop(n_averages, SENT_NOTHING, o, sent);
    } else if (kind == SENT_SOME) {
        error_loop(n_averages, SENT_SOME, o, sent);
    } else {
        error_loop(n_averages, SENT_WHOLE, o, sent);
    }
}

static void advance_tracking_error(size_t n_averages, enum sent_kind kind, const operands *o,
                                   const REAL *sent)
{
    switch (n_averages) {
    case 0:
        error_with(0, kind, o, sent);
        break;
    case 1:
        error_with(1, kind, o, sent);
        break;
    default:
        error_with(2, kind, o, sent);
        break;
    }
}

static void advance_plain_error(const operands *o, const REAL *vector, const REAL *sent)
{
    if (sent == NULL) {
        memcpy(o->next_error, vector, o->count * sizeof *vector);
        return;
    }
#pragma omp simd
    for (size_t i = 0; i < o->count; i++) {
        o->next_error[i] = vector[i] - sent[i];
    }
}

static void advance_tracked(enum sent_kind kind, const operands *o, const REAL *sent)
{
    if (kind != SENT_SOME) {
        const REAL *const from = kind == SENT_NOTHING ? o->tracked : sent;
        memmove(o->next_tracked, from, o->count * sizeof *from);
        return;
    }
#pragma omp simd
    for (size_t i = 0; i < o->count; i++) {
        o->next_tracked[i] = o->tracked[i] + sent[i];
    }
}

static void advance_averages(size_t n_averages, const operands *o)
{
#pragma omp simd
    for (size_t i = 0; i < o->count; i++) {
        const REAL average = averaged(o, 0, o->gradient[i], i);
        if (n_averages > 1) {
            o->next_average[1][i] = averaged(o, 1, average, i);
        }
        o->next_average[0][i] = average;
    }
}

/* The error first: where states are advanced in place, it still needs the old ones. */
static void advance_near(const lmn__feedback_traits *traits, const TILE *tile, const REAL *vector,
                         const REAL *sent)
{
    const operands o = operands_of(traits, tile);
    enum sent_kind kind = tile->whole ? SENT_WHOLE : SENT_SOME;
    kind = sent == NULL ? SENT_NOTHING : kind;
    if (traits->feeds_back && traits->tracks) {
        advance_tracking_error(traits->n_averages, kind, &o, sent);
    } else if (traits->feeds_back) {
        advance_plain_error(&o, vector, sent);
    }
    if (traits->tracks && o.next_tracked != NULL) {
        advance_tracked(kind, &o, sent);
    }
    if (traits->n_averages > 0) {
        advance_averages(traits->n_averages, &o);
    }
}

/* Numbers of each array that are worked on at a time: all of them fit the nearest cache. */
#define NEAR_COUNT ((size_t)512)

/* Up to NEAR_COUNT elements of a tile, whose states after the step are made in the nearest cache.
 */
static TILE near_part(const lmn__feedback_traits *traits, const TILE *tile, size_t first,
                      REAL next[LMN_FEEDBACK_STATES_MAX][NEAR_COUNT])
{
    const size_t rest = tile->count - first;
    TILE part = *tile;
    part.count = rest < NEAR_COUNT ? rest : NEAR_COUNT;
    part.gradient = tile->gradient + first;
    for (size_t i = 0; i < lmn__feedback_places_of(traits).count; i++) {
        part.state[i] = tile->state[i] + first;
        part.next[i] = tile->next[i] == NULL ? NULL : next[i];
    }
    return part;
}

/* From there they are written to memory. */
static void store_part(const lmn__feedback_traits *traits, const TILE *tile, size_t first,
                       const TILE *part)
{
    for (size_t i = 0; i < lmn__feedback_places_of(traits).count; i++) {
        if (tile->next[i] != NULL) {
            LOOPS_STORE(tile->next[i] + first, part->next[i], part->count);
        }
    }
}

static void advance_far(const lmn__feedback_traits *traits, const TILE *tile, const REAL *vector,
                        const REAL *sent)
{
    REAL next[LMN_FEEDBACK_STATES_MAX][NEAR_COUNT];
    for (size_t first = 0; first < tile->count; first += NEAR_COUNT) {
        const TILE part = near_part(traits, tile, first, next);
        advance_near(traits, &part, vector + first, sent == NULL ? NULL : sent + first);
        store_part(traits, tile, first, &part);
    }
}

static void advance(const lmn__feedback_traits *traits, const TILE *tile, const REAL *vector,
                    const REAL *sent)
{
    if (tile->past_caches) {
        advance_far(traits, tile, vector, sent);
    } else {
        advance_near(traits, tile, vector, sent);
    }
}

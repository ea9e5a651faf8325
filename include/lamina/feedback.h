/*
 * Error feedback: what to compress instead of the gradient, and what to remember of the rest.
 *
 * Notation, per layer and rank: g the gradient, C the compressor, v the vector that is compressed,
 * D_i = C(v) what this rank sent, D the mean of D_i over ranks, u the estimate of the mean gradient
 * that the optimiser gets. A mechanism is chosen by a spec such as `econtrol:eta=auto`.
 *
 *     method     v                    this rank remembers           all ranks     u
 *     none       g                    -                             -             D
 *     ec         g + e                e = v - D_i                   -             D
 *     ef21       g - h_i              h_i += D_i                    h += D        h
 *     ef21_sgdm  m - h_i              h_i += D_i, m = (1-b) m + b g h += D        h
 *     econtrol   g - h_i + eta e      h_i += D_i, e += g - h_i      h += D        h
 *
 * ef21_sgdm may average its averages once more, and econtrol may work on m instead of g.
 *
 * A mechanism that tracks keeps an estimate h_i of its own gradient, and all ranks keep the same
 * h = mean h_i, to which the caller (lamina/reducer.h) adds D. Mechanisms know nothing of messages.
 *
 * They work tile by tile, so that forming v, encoding it and noting what was sent of it can be one
 * pass over memory. The states of a step are read from one array and written to another: a step
 * that is dropped leaves no trace, and one that counts is made permanent by exchanging pointers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_FEEDBACK_H
#define LAMINA_FEEDBACK_H

#include "lamina/spec.h"
#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_feedback lmn_feedback;

/** Errors: LMN_ERR_USAGE, LMN_ERR_MEMORY. */
lmn_status lmn_feedback_create(const char *spec, lmn_feedback **feedback_out,
                               lmn_error *err) LMN_NODISCARD;
void lmn_feedback_destroy(lmn_feedback *feedback);

/** True when the mechanism keeps h_i and h; u is then h. */
bool lmn_feedback_tracks(const lmn_feedback *feedback);

/**
 * True when the first step of a run travels dense, so that h_i starts as the first gradient
 * (`init=grad`); states start at zero in either case.
 */
bool lmn_feedback_starts_dense(const lmn_feedback *feedback);

/**
 * True when a layer that travels whole and whose error is 0 needs nothing of the mechanism: v is
 * the gradient, and the states after the step are made of this gradient alone.
 */
bool lmn_feedback_rests(const lmn_feedback *feedback);

#define LMN_FEEDBACK_STATES_MAX 4

/** States that each rank keeps per element, and their names, for memory and checkpoints. State 0 is
 *  h_i ("tracked_gradient") for a mechanism that tracks; "error" is e. */
size_t lmn_feedback_state_count(const lmn_feedback *feedback);
const char *lmn_feedback_state_name(const lmn_feedback *feedback, size_t index);

/**
 * eta for a layer: the value of the spec as it stands, or for `eta=auto` what the compressor
 * suggests (lmn_eta_rule in lamina/compressor.h). 0 for a mechanism without eta.
 */
double lmn_feedback_eta(const lmn_feedback *feedback, double suggested);

/** A part of one layer of one rank; memory is the caller's. */
typedef struct lmn_feedback_tile {
    size_t count;
    double eta;
    bool first;            /* of a run that starts dense: averages start at this gradient */
    bool whole;            /* v travels whole: formed as if h_i were 0, so that h_i and h are set
                              anew instead of drifting */
    bool past_caches;      /* states lie in arrays that no cache holds until the next step */
    const float *gradient; /* [count] g */
    /* [count] each, in the order of their names: before the step, and after it. The two may be the
       same memory. A state of which lmn_feedback_rewrites is false has no `next` (NULL) where only
       entries are sent. */
    const float *state[LMN_FEEDBACK_STATES_MAX];
    float *next[LMN_FEEDBACK_STATES_MAX];
} lmn_feedback_tile;

/** The same in f64, for problems that are solved to the last digit. */
typedef struct lmn_feedback_tile_f64 {
    size_t count;
    double eta;
    bool first;
    bool whole;
    bool past_caches;
    const double *gradient;
    const double *state[LMN_FEEDBACK_STATES_MAX];
    double *next[LMN_FEEDBACK_STATES_MAX];
} lmn_feedback_tile_f64;

/**
 * vector [count] = v. A pure function of the tile, which may be formed again.
 * Returns false when the gradient or v holds NaN or infinity; vector is then not to be used.
 */
bool lmn_feedback_form(const lmn_feedback *feedback, const lmn_feedback_tile *tile, float *vector);

/**
 * next = the states after a step that sends `sent` of v. Any thread, for tiles that do not overlap.
 * vector  [count] v as it was formed
 * sent    [count] C(v), v itself where it travels whole; NULL: nothing is sent of this tile, or
 *         single entries that the caller adds later: next += lmn_feedback_sent_factor * C(v)
 */
void lmn_feedback_advance(const lmn_feedback *feedback, const lmn_feedback_tile *tile,
                          const float *vector, const float *sent);

/**
 * Both in one pass over memory: lmn_feedback_form, then lmn_feedback_advance with sent NULL. Not
 * for a vector that travels whole. After false no state is to be used.
 */
bool lmn_feedback_form_unsent(const lmn_feedback *feedback, const lmn_feedback_tile *tile,
                              float *vector);

/** lmn_feedback_form and lmn_feedback_advance in f64. */
bool lmn_feedback_form_f64(const lmn_feedback *feedback, const lmn_feedback_tile_f64 *tile,
                           double *vector);
void lmn_feedback_advance_f64(const lmn_feedback *feedback, const lmn_feedback_tile_f64 *tile,
                              const double *vector, const double *sent);

/** By how much a state grows with what is sent: 1 for h_i, -1 for e, 0 for an average. */
float lmn_feedback_sent_factor(const lmn_feedback *feedback, size_t index);

/** Whether a state changes although nothing is sent: false only for h_i. */
bool lmn_feedback_rewrites(const lmn_feedback *feedback, size_t index);

/** Mechanisms that exist, for help texts: entry `index`, or NULL past the last. */
const lmn_spec_entry *lmn_feedback_entry(size_t index);

#ifdef __cplusplus
}
#endif

#endif

/*
 * Error mechanisms: what a mechanism provides, and the list of them.
 *
 * To add a mechanism, write src/algos/feedback/<name>.c with a constant lmn__feedback_<name> and
 * add one line to LMN__FEEDBACKS. A mechanism is two loops over a tile and a description of its
 * states.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_FEEDBACK_INTERNAL_H
#define LAMINA_FEEDBACK_INTERNAL_H

#include "algos_internal.h"
#include "lamina/feedback.h"

#include <stdint.h>
#include <string.h>

/** One state of a mechanism. */
typedef struct lmn__feedback_state {
    const char *name;
    float sent_factor;
    bool rewrites;
} lmn__feedback_state;

/** A mechanism; constant. `config` is the struct that its keys filled. The meaning of each member
 * is that of its namesake in lamina/feedback.h. */
typedef struct lmn__feedback_kind {
    lmn__method method;
    bool tracks;
    bool rests;
    size_t n_states;
    lmn__feedback_state states[LMN_FEEDBACK_STATES_MAX];
    bool (*starts_dense)(const void *config);            /* NULL: never */
    double (*eta)(const void *config, double suggested); /* NULL: 0 */
    bool (*form)(const lmn_feedback_tile *tile, float *vector);
    /* NULL: nothing to remember. The caller of a mechanism that tracks may have no next[0]. */
    void (*advance)(const lmn_feedback_tile *tile, const float *vector, const float *sent);
} lmn__feedback_kind;

/** The key init=grad|zero of the mechanisms that track. */
typedef enum lmn__feedback_init { LMN__INIT_GRADIENT = 0, LMN__INIT_ZERO = 1 } lmn__feedback_init;

#define LMN__FEEDBACK_INIT_CHOICES "grad|zero"
#define LMN__FEEDBACK_INIT_HELP                                                                    \
    "how tracking starts: grad sends the first step dense, zero does not (grad)"

/** Not 0 when the number is NaN or infinity. Integer arithmetic, so that loops vectorise. */
static inline uint32_t lmn__is_nonfinite(float number)
{
    uint32_t bits = 0;
    memcpy(&bits, &number, sizeof bits);
    return (uint32_t)((int32_t)(bits & UINT32_C(0x7FFFFFFF)) >= INT32_C(0x7F800000));
}

/** vector = gradient. Returns whether all is finite. */
bool lmn__feedback_form_gradient(const lmn_feedback_tile *tile, float *vector);

/** vector = gradient - state 0 (gradient where it travels whole), as ef21 and econtrol without eta
 * do. Returns whether all is finite.
 */
bool lmn__feedback_form_difference(const lmn_feedback_tile *tile, float *vector);

/** next 0, if there is one, = state 0 + sent (sent where it travels whole), as all mechanisms that
 *  track do. */
void lmn__feedback_advance_tracked(const lmn_feedback_tile *tile, const float *sent);

#define LMN__FEEDBACKS(X)                                                                          \
    X(none)                                                                                        \
    X(ec)                                                                                          \
    X(ef21)                                                                                        \
    X(econtrol)

#define LMN__FEEDBACK_DECLARE(name) extern const lmn__feedback_kind lmn__feedback_##name;
LMN__FEEDBACKS(LMN__FEEDBACK_DECLARE)
#undef LMN__FEEDBACK_DECLARE

#endif

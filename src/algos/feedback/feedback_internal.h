/*
 * Error mechanisms: what a mechanism provides, and the list of them.
 *
 * To add a mechanism, write src/algos/feedback/<name>.c with a constant lmn__feedback_<name> and
 * add one line to LMN__FEEDBACKS. A mechanism is its keys and its traits; what each trait does is
 * said, once, in loops_template.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_FEEDBACK_INTERNAL_H
#define LAMINA_FEEDBACK_INTERNAL_H

#include "algos_internal.h"
#include "loops.h"

/** A mechanism; constant. `config` is the struct that its keys filled. */
typedef struct lmn__feedback_kind {
    lmn__method method;
    lmn__feedback_traits (*traits)(const void *config);
} lmn__feedback_kind;

/** The key init=grad|zero of the mechanisms that track. */
typedef enum lmn__feedback_init { LMN__INIT_GRADIENT = 0, LMN__INIT_ZERO = 1 } lmn__feedback_init;

#define LMN__FEEDBACK_INIT_CHOICES "grad|zero"
#define LMN__FEEDBACK_INIT_HELP                                                                    \
    "how tracking starts: grad sends the first step dense, zero does not (grad)"

#define LMN__FEEDBACKS(X)                                                                          \
    X(none)                                                                                        \
    X(ec)                                                                                          \
    X(ef21)                                                                                        \
    X(ef21_sgdm)                                                                                   \
    X(econtrol)

#define LMN__FEEDBACK_DECLARE(name) extern const lmn__feedback_kind lmn__feedback_##name;
LMN__FEEDBACKS(LMN__FEEDBACK_DECLARE)
#undef LMN__FEEDBACK_DECLARE

#endif

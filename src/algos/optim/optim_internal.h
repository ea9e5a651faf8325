/*
 * Update rules and schedules: what one provides, and the lists of them.
 *
 * To add an update rule or a schedule, write its constant lmn__optimizer_<name> (a file of its own)
 * or lmn__schedule_<name> (schedule.c, they are short) and add one line to the list.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_OPTIM_INTERNAL_H
#define LAMINA_OPTIM_INTERNAL_H

#include "algos_internal.h"
#include "lamina/optimizer.h"
#include "lamina/schedule.h"

/** An update rule; constant. `config` is the struct that its keys filled. */
typedef struct lmn__optimizer_kind {
    lmn__method method;
    const char *slot_names[LMN_OPTIMIZER_SLOTS_MAX];
    size_t (*slot_count)(const void *config);
    void (*update)(const void *config, const lmn_update *update);
} lmn__optimizer_kind;

/** A schedule; constant. Result in [0, 1]. */
typedef struct lmn__schedule_kind {
    lmn__method method;
    double (*factor)(const void *config, uint64_t step, uint64_t total_steps);
} lmn__schedule_kind;

/**
 * base to the power of exponent by squaring: unlike the C library's, the same bits on every host.
 */
double lmn__power(double base, uint64_t exponent);

#define LMN__OPTIMIZERS(X)                                                                         \
    X(sgd)                                                                                         \
    X(adamw)

#define LMN__SCHEDULES(X)                                                                          \
    X(constant)                                                                                    \
    X(cosine)                                                                                      \
    X(step)

#define LMN__OPTIMIZER_DECLARE(name) extern const lmn__optimizer_kind lmn__optimizer_##name;
LMN__OPTIMIZERS(LMN__OPTIMIZER_DECLARE)
#undef LMN__OPTIMIZER_DECLARE

#define LMN__SCHEDULE_DECLARE(name) extern const lmn__schedule_kind lmn__schedule_##name;
LMN__SCHEDULES(LMN__SCHEDULE_DECLARE)
#undef LMN__SCHEDULE_DECLARE

#endif

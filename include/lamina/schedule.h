/*
 * Learning-rate schedules: the factor on the learning rate as a function of the step.
 *
 * Chosen by a spec: `constant`, `cosine:warmup=100,floor=0.01`, `step:every=1000,factor=0.1`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SCHEDULE_H
#define LAMINA_SCHEDULE_H

#include "lamina/spec.h"
#include "lamina/status.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_schedule lmn_schedule;

/** Errors: LMN_ERR_USAGE, LMN_ERR_MEMORY. */
lmn_status lmn_schedule_create(const char *spec, lmn_schedule **schedule_out,
                               lmn_error *err) LMN_NODISCARD;
void lmn_schedule_destroy(lmn_schedule *schedule);

/**
 * The factor in [0, 1] for `step` (from 0) of a run of `total_steps`. A pure function, with the
 * same bits on every host; defined for any numbers, also steps past the end.
 */
double lmn_schedule_factor(const lmn_schedule *schedule, uint64_t step, uint64_t total_steps);

const lmn_spec_entry *lmn_schedule_entry(size_t index);

#ifdef __cplusplus
}
#endif

#endif

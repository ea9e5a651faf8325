/*
 * Optimisers: update rules applied to slices of parameters.
 *
 * An optimiser is chosen by a spec such as `sgd:momentum=0.9,nesterov=1` or `adamw`. It is
 * immutable and works on any slice of parameters whose state (slots) the caller keeps. Every rank
 * applies the same update to the same bits, with a fixed order of operations.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_OPTIMIZER_H
#define LAMINA_OPTIMIZER_H

#include "lamina/spec.h"
#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_optimizer lmn_optimizer;

/** Errors: LMN_ERR_USAGE, LMN_ERR_MEMORY. */
lmn_status lmn_optimizer_create(const char *spec, lmn_optimizer **optimizer_out,
                                lmn_error *err) LMN_NODISCARD;
void lmn_optimizer_destroy(lmn_optimizer *optimizer);

#define LMN_OPTIMIZER_SLOTS_MAX 4

/** State vectors per parameter, all starting at zero, and their names ("momentum"). */
size_t lmn_optimizer_slot_count(const lmn_optimizer *optimizer);
const char *lmn_optimizer_slot_name(const lmn_optimizer *optimizer, size_t index);

/** One slice of parameters to update; memory is the caller's. */
typedef struct lmn_update {
    size_t count;
    float *param;                         /* [count] updated */
    const float *gradient;                /* [count] estimate of the mean gradient */
    float *slot[LMN_OPTIMIZER_SLOTS_MAX]; /* [count] each, updated */
    double lr;                            /* learning rate of this step */
    uint64_t update;                      /* updates made before this one; for bias correction */
    bool decay;                           /* whether weight decay applies to this slice */
} lmn_update;

/** Apply one update, element by element, with the threads of lmn_compute_set_threads. No heap
 * allocation. */
void lmn_optimizer_update(const lmn_optimizer *optimizer, const lmn_update *update);

const lmn_spec_entry *lmn_optimizer_entry(size_t index);

#ifdef __cplusplus
}
#endif

#endif

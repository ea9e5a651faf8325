/*
 * Augmentation: random changes of training images that leave their class alone.
 *
 * The reader's thread applies it while it converts samples, off the path of a step. What happens to
 * a sample is a function of (seed, epoch, sample) only, never of the rank or the batch.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_AUGMENT_H
#define LAMINA_AUGMENT_H

#include "lamina/spec.h"
#include "lamina/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What is done to each image; all 0: nothing. Plain data. */
typedef struct lmn_augment {
    uint64_t pad;  /* shift by up to so many pixels each way; what comes from outside is 0 */
    double flip;   /* probability of mirroring left and right */
    double cutout; /* side of a square that is set to 0, as a fraction of the shorter side */
} lmn_augment;

/**
 * Parse "none" or "crop:pad=4,flip=0.5,cutout=0". Errors: LMN_ERR_USAGE.
 */
lmn_status lmn_augment_parse(const char *spec, lmn_augment *augment_out,
                             lmn_error *err) LMN_NODISCARD;

/** What may be chosen, for help texts: entry `index`, or NULL past the last. */
const lmn_spec_entry *lmn_augment_entry(size_t index);

/**
 * Write the changed image. 0 means the value of an empty pixel after standardisation.
 * from  [height, width, channels]; to the same, not overlapping
 */
void lmn_augment_apply(const lmn_augment *augment, uint64_t seed, uint64_t epoch, uint64_t sample,
                       const size_t dims[3], const float *from, float *to);

#ifdef __cplusplus
}
#endif

#endif

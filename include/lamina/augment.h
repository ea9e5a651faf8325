/*
 * Augmentation: random changes of training images that leave their class alone.
 *
 * The reader's thread applies it while it converts samples, off the path of a step. What happens to
 * a sample is a function of (seed, epoch, sample) only, never of the rank or the batch, so runs
 * repeat and resume to the bit.
 *
 * Shifts and mirrors: K. He et al., "Deep residual learning for image recognition", CVPR 2016,
 * section 4.2. Cutout: T. DeVries and G. W. Taylor, arXiv:1708.04552.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_AUGMENT_H
#define LAMINA_AUGMENT_H

#include "lamina/spec.h"
#include "lamina/status.h"

#include <stdbool.h>
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

/** Parse "none", or "crop:pad=4,flip=0.5,cutout=0" (these are the defaults). Errors:
 * LMN_ERR_USAGE. */
lmn_status lmn_augment_parse(const char *spec, lmn_augment *augment_out,
                             lmn_error *err) LMN_NODISCARD;

/** Whether it changes anything. */
bool lmn_augment_is_active(const lmn_augment *augment);

/** What may be chosen, for help texts: entry `index`, or NULL past the last. */
const lmn_spec_entry *lmn_augment_entry(size_t index);

/**
 * Write the changed image. 0 is the value of an empty pixel, whatever the images are scaled to.
 * dims  height, width, channels
 * from  [height, width, channels]; to the same, not overlapping
 */
void lmn_augment_apply(const lmn_augment *augment, uint64_t seed, uint64_t epoch, uint64_t sample,
                       const size_t dims[3], const float *from, float *to);

#ifdef __cplusplus
}
#endif

#endif

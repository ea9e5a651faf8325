/*
 * The entries that top-k sends.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TOPK_INTERNAL_H
#define LAMINA_TOPK_INTERNAL_H

#include "lamina/compressor.h"
#include "lamina/sparse.h"
#include "select_internal.h"

/** How many entries are to be sent, zeros aside. */
typedef struct lmn__topk_quota {
    size_t wanted;       /* k; with `reuse` something between */
    size_t fewest, most; /* these */
    bool reuse;          /* the threshold of the step before, as long as it serves */
} lmn__topk_quota;

/** What a layer remembers: a hint, and with `reuse` the age of the threshold too. */
enum { LMN__TOPK_THRESHOLD, LMN__TOPK_AGE, LMN__TOPK_MEMORY };

size_t lmn__topk_scratch_bytes(size_t count);

/** Choose the entries, in job->scratch, and set job->is_finite; void when that is false. */
lmn__entries lmn__topk_select(lmn_encode_job *job, const lmn__topk_quota *quota);

/**
 * The squared error of sending the kept[i] largest entries, values rounded as `format` says.
 * vector  [count] finite;  kept, error_out  [n_kept]; kept descends, each 1 .. count
 */
void lmn__topk_error_curve(const float *vector, size_t count, const size_t *kept, size_t n_kept,
                           lmn_sparse_values format, double *error_out, void *scratch);

#endif

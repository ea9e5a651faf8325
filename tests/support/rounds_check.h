/*
 * Ranks that compress one layer in rounds (LMN_COMBINE_ROUNDS), simulated in one process.
 *
 * A step is what lamina/reducer.h does: all ranks encode a round, their numbers are reduced in the
 * order of the ranks, and so on; then every rank decodes. Whatever must agree between ranks is
 * checked on the way: rounds, averages, and memory that is shared.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_ROUNDS_CHECK_H
#define LAMINA_TESTS_ROUNDS_CHECK_H

#include "lamina/compressor.h"

#include <stddef.h>
#include <stdint.h>

typedef struct check_rounds {
    const lmn_compressor *compressor; /* borrowed */
    lmn_layer_shape shape;
    size_t level; /* may be changed between steps */
    size_t n_ranks;
    uint64_t step;        /* of the next call of check_rounds_step */
    lmn_rounds_job *jobs; /* [n_ranks] as they were in the last step */
    float *mean;          /* [count] the mean of C(v_i), as decoded with weight 1 */
    float *sent;          /* [n_ranks][count] D_i */
} check_rounds;

/** Ranks at the static level with fresh memory and dirty scratch. */
check_rounds check_new_rounds(const lmn_compressor *compressor, lmn_layer_shape shape,
                              size_t n_ranks);
void check_free_rounds(check_rounds *rounds);

/** D_i of a rank. */
float *check_sent(const check_rounds *rounds, size_t rank);

/** One step over vectors [n_ranks][count], which are not changed; then memory is committed. */
void check_rounds_step(check_rounds *rounds, const float *vectors);

/** The same without the commit, as when a step is skipped; rounds->step stays. */
void check_rounds_try(check_rounds *rounds, const float *vectors);

/** Numbers of all ranks, reduced in rank order: numbers[0] takes the outcome.
 *  numbers [n_ranks] pointers to count numbers of the reduction's type */
void check_reduce(lmn_reduction reduction, void *const *numbers, size_t n_ranks, size_t count);

#endif

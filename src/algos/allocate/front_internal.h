/*
 * The knapsack of L-GreCo without rounding, for problems whose front stays short.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_FRONT_INTERNAL_H
#define LAMINA_FRONT_INTERNAL_H

#include "lamina/allocator.h"

typedef enum lmn__front_outcome {
    LMN__FRONT_SOLVED,
    LMN__FRONT_INFEASIBLE,
    LMN__FRONT_TOO_LONG /* or too much work; nothing is known */
} lmn__front_outcome;

/** Bytes of scratch, a multiple of 64; SIZE_MAX when too many. */
size_t lmn__front_scratch_bytes(size_t n_layers);

/**
 * Solve a checked problem exactly; its buckets do not matter.
 * scratch     64-byte aligned
 * levels_out  [n_layers] written when solved: fewest bytes, of these the smallest error
 */
lmn__front_outcome lmn__front_solve(const lmn_lgreco_problem *problem, void *scratch,
                                    size_t *levels_out);

#endif

/*
 * How much of a matrix its best approximation of some rank keeps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SPECTRUM_INTERNAL_H
#define LAMINA_SPECTRUM_INTERNAL_H

#include <stddef.h>

/** Bytes of scratch memory, to be 64-byte aligned, that lmn__spectrum_rest needs. */
size_t lmn__spectrum_scratch_bytes(size_t rows, size_t cols, size_t rank_max);

/**
 * rest_out[r] = squared error of approximating M [rows][cols], not empty, by rank r, for r = 0 ..
 * rank_max; rank_max <= min(rows, cols).
 *
 * When the shorter side is at most LMN__SPECTRUM_EXACT, by all eigenvalues of the Gram matrix of
 * that side, by Jacobi's method in double. Otherwise by three steps of subspace iteration from
 * random columns: never less than the true value up to rounding, and what the compressor itself
 * would leave after as many steps on this matrix.
 */
void lmn__spectrum_rest(const float *matrix, size_t rows, size_t cols, size_t rank_max,
                        double *rest_out, void *scratch);

/** About how many multiplications that takes. */
double lmn__spectrum_work(size_t rows, size_t cols, size_t rank_max);

#define LMN__SPECTRUM_EXACT 128

/**
 * Eigenvalues of a symmetric matrix [n][n], which is destroyed, in descending order.
 * Method: cyclic Jacobi rotations; C. Jacobi, J. reine angew. Math. 30 (1846) 51-94; G. Golub,
 * C. Van Loan, "Matrix computations", section 8.5.
 */
void lmn__eigenvalues(double *matrix, size_t n, double *values_out);

#endif

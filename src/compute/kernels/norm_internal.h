/*
 * Kernels of batch norm and layer norm: passes over rows of channels.
 *
 * Rows [n_rows, n_channels] are f32, dense, row-major. Sums over rows are taken in chunks of a size
 * that the number of channels fixes, and chunks are added up in double, so that rounding errors
 * stay small and the bits do not depend on threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_NORM_INTERNAL_H
#define LAMINA_NORM_INTERNAL_H

#include "compute_internal.h"

/** Rows [first, first + count) that belong together. */
typedef struct lmn__rows {
    size_t first;
    size_t count;
} lmn__rows;

/**
 * Add the rows to moments: sums [n_channels] of x and of (x - mean)^2 about the mean of all rows so
 * far, merged by T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae", 1979.
 * n_before  rows that the moments stand for
 */
void lmn__add_moments(lmn__rows rows, size_t n_channels, const float *x, size_t n_before,
                      double *sums, double *squares);

/** sums += sum of dy, products += sum of dy (x - mean), both [n_channels]. */
void lmn__add_products(lmn__rows rows, size_t n_channels, const float *x, const float *dy,
                       const float *mean, double *sums, double *products);

/** y = (x - mean) factor + shift for n_rows rows; the last three [n_channels]. */
void lmn__normalise_rows(size_t n_rows, size_t n_channels, const float *x, const float *mean,
                         const float *factor, const float *shift, float *y);

/** dx = factor (dy - offset - (x - mean) slope) for n_rows rows; dx may be dy. */
void lmn__normalise_rows_grad(size_t n_rows, size_t n_channels, const float *x, const float *dy,
                              const float *mean, const float *factor, const float *offset,
                              const float *slope, float *dx);

/** Each row by its own mean and variance, then scale and shift [n_channels]. */
void lmn__layer_norm(size_t n_rows, size_t n_channels, const float *x, const float *scale,
                     const float *shift, float epsilon, float *y);

/** The gradient of lmn__layer_norm in x; dx may be dy. */
void lmn__layer_norm_grad(size_t n_rows, size_t n_channels, const float *x, const float *dy,
                          const float *scale, float epsilon, float *dx);

/** sums [2][n_channels]: of dy and of dy times the normalised x. workspace [4][n_channels] doubles.
 */
void lmn__layer_norm_sums(size_t n_rows, size_t n_channels, const float *x, const float *dy,
                          float epsilon, double *workspace, float *sums);

#endif

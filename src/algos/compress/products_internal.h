/*
 * Arithmetic of low-rank compression: products with thin matrices, and orthonormal columns.
 *
 * Results are the same bits on every instruction set and for any number of threads, since all ranks
 * do some of this and must agree. Thin matrices hold their columns one after the other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PRODUCTS_INTERNAL_H
#define LAMINA_PRODUCTS_INTERNAL_H

#include "lamina/random.h"
#include "simd/products.h"

#include <stddef.h>

/** The widest kernels that the processor has. */
const lmn__product_kernels *lmn__product_kernels_get(void);

/** product [n][rows] = M right; M [rows][cols], right [n][cols] */
void lmn__multiply(const float *matrix, size_t rows, size_t cols, const float *right, size_t n,
                   float *product);

/** product [n][cols] = M^T left; M [rows][cols], left [n][rows] */
void lmn__multiply_transposed(const float *matrix, size_t rows, size_t cols, const float *left,
                              size_t n, float *product);

/** acc [rows][cols] += factor * left right^T; left [n][rows], right [n][cols] */
void lmn__outer_add(const float *left, size_t rows, const float *right, size_t cols, size_t n,
                    float factor, float *acc);

/** part [count] = elements first .. first + count - 1 of left right^T, row-major */
void lmn__outer_part(const float *left, size_t rows, const float *right, size_t cols, size_t n,
                     size_t first, size_t count, float *part);

/** Scale columns [n][length] to norm 1; columns of norm up to 1e-30 become zero. */
void lmn__normalise(float *columns, size_t n, size_t length);

/**
 * Make columns [n][length] orthonormal, spanning the same space. A column that depends on those
 * before it, to rounding, becomes zero.
 * Method: modified Gram-Schmidt, twice.
 */
void lmn__orthonormalise(float *columns, size_t n, size_t length);

/**
 * Fill columns [n][length] that are zero with random numbers of mean 0 and variance 1. Element i of
 * column j has its own words of the stream, so it does not matter which columns are zero.
 *
 * A number is the sum of four words, a bell-shaped distribution: unlike lmn_stream_normal that
 * takes no logarithm and no sine, whose last bits differ between processors.
 */
void lmn__refill(float *columns, size_t n, size_t length, const lmn_stream *stream);

#endif

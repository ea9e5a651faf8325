/*
 * Products of a large matrix and thin ones, and dot products: same bits on every instruction set.
 *
 * The large matrix is row-major. Thin matrices hold their columns one after the other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SIMD_PRODUCTS_H
#define LAMINA_SIMD_PRODUCTS_H

#include <stddef.h>

/* Partial sums of a dot product: element i goes to sum i % 16, and the sums are added pairwise, i
   and i + 8, then i and i + 4, and so on. */
#define LMN__SUMS 16

/* A product needs no more rows of the large matrix at a time. */
#define LMN__ROW_BLOCK 8

/** A part of a row-major matrix. */
typedef struct lmn__part {
    const float *at;
    size_t stride; /* from row to row */
    size_t rows, cols;
} lmn__part;

/** Columns of a thin matrix, or as many rows of it as a part needs. */
typedef struct lmn__thin {
    const float *at;
    size_t stride; /* from column to column */
    size_t n;      /* columns */
} lmn__thin;

typedef struct lmn__product_kernels {
    /** out[j * stride + i] += row i of the part . column j of right, in 16 sums. */
    void (*rows)(const lmn__part *part, const lmn__thin *right, float *out, size_t stride);
    /** out[j * stride + c] += part[i][c] * left[j][i] for i = 0, 1, ..., one after the other. */
    void (*columns)(const lmn__part *part, const lmn__thin *left, float *out, size_t stride);
    /** x = sum over j = 0, 1, ... of left[j][i] * right[j][c]; out[i * stride + c] += factor * x.
     */
    void (*outer_add)(const lmn__thin *left, const lmn__thin *right, size_t rows, size_t cols,
                      float factor, float *out, size_t stride);
    /** The same x for one row, stored. */
    void (*outer_row)(const lmn__thin *left, const lmn__thin *right, size_t cols, float *out);
    /** a . b in double, in 16 sums. */
    double (*dot)(const float *a, const float *b, size_t count);
    /** y -= c x */
    void (*subtract)(float *y, float c, const float *x, size_t count);
} lmn__product_kernels;

#endif

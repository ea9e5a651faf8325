/*
 * The inner loops of matrix products, compiled once for each instruction set as panels.h says.
 *
 * Factors are packed: a as [depth][rows] and b as [depth][columns], so that one step of the inner
 * loop reads a line of each and updates a tile of rows x columns sums that lives in registers (K.
 * Goto and R. van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34,
 * 2008).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SIMD_GEMM_H
#define LAMINA_SIMD_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#define LMN__GEMM_ROWS_MAX    12
#define LMN__GEMM_COLUMNS_MAX 32

typedef struct lmn__gemm_kernels {
    const char *isa;      /* "baseline", "avx2", "avx512" */
    size_t rows, columns; /* of a tile, at most the two above */

    /** One tile: c [rows, columns], lines c_stride apart, (+)= a' b over depth. */
    void (*multiply)(size_t depth, const float *a, const float *b, bool accumulate, float *c,
                     size_t c_stride);

    /**
     * x [depth, width], lines `stride` apart, to tiles [depth][tile_width] of its columns, which
     * follow each other; the last one is filled up with zeros.
     */
    void (*pack)(size_t depth, size_t width, const float *x, size_t stride, size_t tile_width,
                 float *to);

    /** The same for the transpose of x [width, depth]. */
    void (*pack_transposed)(size_t depth, size_t width, const float *x, size_t stride,
                            size_t tile_width, float *to);
} lmn__gemm_kernels;

/** The variant for this processor; constant. */
const lmn__gemm_kernels *lmn__gemm_kernels_get(void);

#endif

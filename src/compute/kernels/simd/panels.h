/*
 * Small matrix products on packed data, compiled once for each instruction set.
 *
 * Columns come in panels of 16, so that a row of a panel is one cache line: a matrix [rows,
 * columns] is stored as [columns / 16][rows][16]. What is computed in this layout can be used in
 * it, without packing again: Winograd convolution and attention are chains of such products.
 *
 * panels.c is one source; CMake compiles it for every instruction set that it knows (see
 * lamina_add_isa_variants in cmake/LaminaTargets.cmake), each time under another name of the table
 * below. lmn__panel_kernels_get picks the best that the processor has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SIMD_PANELS_H
#define LAMINA_SIMD_PANELS_H

#include <stdbool.h>
#include <stddef.h>

#define LMN__PANEL    16 /* columns of a panel */
#define LMN__ROW_UNIT 12 /* rows are allocated in multiples of this */

typedef struct lmn__panel_kernels {
    const char *isa; /* "baseline", "avx2", "avx512" */
    size_t rows;     /* that one step of multiply works on; divides LMN__ROW_UNIT */

    /**
     * One panel of a product: [n_rows rounded up to `rows`, 16] (+)= a b. Surplus rows hold
     * anything. a  n_panels panels of rows [.., 16], `a_panel` floats apart; b [n_panels * 16, 16]
     */
    void (*multiply)(size_t n_rows, size_t n_panels, const float *a, size_t a_panel, const float *b,
                     bool accumulate, float *product);

    /** [16, 16] += a' b for panels a and b [n_rows, 16]. */
    void (*multiply_transposed)(size_t n_rows, const float *a, const float *b, float *product);
} lmn__panel_kernels;

/** The variant for this processor; constant. */
const lmn__panel_kernels *lmn__panel_kernels_get(void);

#endif

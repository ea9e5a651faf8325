/*
 * The inner loops of Winograd convolution, compiled once for each instruction set.
 *
 * winograd.c is one source; CMake compiles it for every instruction set that it knows (see
 * lamina_add_isa_variants in cmake/LaminaTargets.cmake), each time under another name of the table
 * below. lmn__winograd_kernels_get picks the best that the processor has.
 *
 * Channels come in panels of 16, so that a row of a panel is one cache line: every transformed
 * array is [position of 16][panel][row][16], with distances that the caller chooses. Channel counts
 * are multiples of 16.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SIMD_WINOGRAD_H
#define LAMINA_SIMD_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>

#define LMN__PANEL     16 /* channels of a panel */
#define LMN__POSITIONS 16 /* elements of a transformed tile, 4 x 4 */
#define LMN__ROW_UNIT  12 /* rows of transformed tiles are allocated in multiples of this */

/** Distances in floats inside a transformed array: to the next position, to the next panel. */
typedef struct lmn__tile_strides {
    size_t position;
    size_t panel;
} lmn__tile_strides;

typedef struct lmn__winograd_kernels {
    const char *isa; /* "baseline", "avx2", "avx512" */
    size_t rows;     /* tiles that one step of multiply works on; divides LMN__ROW_UNIT */

    /** B' d B of one tile: pixels [16] of the input, each [channels], to one row of `tile`. */
    void (*input)(const float *const *pixels, size_t channels, lmn__tile_strides strides,
                  float *tile);

    /** A' m A of one row of products: to pixels [4] of the output, each [channels]. */
    void (*output)(const float *tile, size_t channels, lmn__tile_strides strides,
                   float *const *pixels);

    /** A dy A': pixels [4] of the output's gradient, each [channels], to one row of `tile`. */
    void (*output_grad)(const float *const *pixels, size_t channels, lmn__tile_strides strides,
                        float *tile);

    /** G g G' for input channels first .. first + 15: weight [3, 3, c, k] to [16][k / 16][c][16].
     */
    void (*filter)(const float *weight, size_t c, size_t k, size_t first, float *transformed);

    /** The same for the input gradient, filters rotated and transposed: to [16][c / 16][k][16]. */
    void (*filter_rotated)(const float *weight, size_t c, size_t k, size_t first,
                           float *transformed);

    /** G' u G for input channels first .. first + 15: [16][k / 16][c][16] to [3, 3, c, k]. */
    void (*filter_grad)(const float *transformed, size_t c, size_t k, size_t first, float *weight);

    /**
     * One panel of products at one position: [n_rows rounded up to `rows`, 16] (+)= a b.
     * a  n_panels panels of rows [.., 16], `a_panel` floats apart; b [n_panels * 16, 16]
     */
    void (*multiply)(size_t n_rows, size_t n_panels, const float *a, size_t a_panel, const float *b,
                     bool accumulate, float *product);

    /** [16, 16] += a' b for panels a and b [n_rows, 16] of the same tiles. */
    void (*multiply_transposed)(size_t n_rows, const float *a, const float *b, float *product);
} lmn__winograd_kernels;

/** The variant for this processor; constant. */
const lmn__winograd_kernels *lmn__winograd_kernels_get(void);

#endif

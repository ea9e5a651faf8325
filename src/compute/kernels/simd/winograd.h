/*
 * The transforms of Winograd convolution, compiled once for each instruction set as panels.h says.
 *
 * Every transformed array is [position of 16][panel][row][16], with distances that the caller
 * chooses. Channel counts are multiples of 16.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SIMD_WINOGRAD_H
#define LAMINA_SIMD_WINOGRAD_H

#include "panels.h"

#define LMN__POSITIONS 16 /* elements of a transformed tile, 4 x 4 */

/** Distances in floats inside a transformed array: to the next position, to the next panel. */
typedef struct lmn__tile_strides {
    size_t position;
    size_t panel;
} lmn__tile_strides;

typedef struct lmn__winograd_kernels {
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
} lmn__winograd_kernels;

/** The variant for this processor; constant. */
const lmn__winograd_kernels *lmn__winograd_kernels_get(void);

#endif

/*
 * The transforms of Winograd convolution, compiled once for each instruction set as panels.h says.
 *
 * A tile of 4 x 4 results is computed from 6 x 6 inputs. Every transformed array is
 * [position of 36][panel][row][16], with distances that the caller chooses. Channel counts are
 * multiples of 16.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SIMD_WINOGRAD_H
#define LAMINA_SIMD_WINOGRAD_H

#include "panels.h"

#define LMN__TILE      4  /* results of a tile, each way */
#define LMN__TILE_IN   6  /* inputs under it, each way */
#define LMN__POSITIONS 36 /* elements of a transformed tile, 6 x 6 */

/** Distances in floats inside a transformed array: to the next position, to the next panel. */
typedef struct lmn__tile_strides {
    size_t position;
    size_t panel;
} lmn__tile_strides;

/** Where the pixels of a tile lie in an image [height, width, channels]; some may lie outside. */
typedef struct lmn__tile_place {
    ptrdiff_t line, column; /* of the first pixel */
    size_t height, width, channels;
} lmn__tile_place;

typedef struct lmn__winograd_kernels {
    /** B' d B of 6 x 6 input pixels, 0 outside the image, to one row of `tile`. */
    void (*input)(const lmn__tile_place *place, const float *image, lmn__tile_strides strides,
                  float *tile);

    /** A' m A of one row of products to those of 4 x 4 output pixels that are in the image. */
    void (*output)(const float *tile, lmn__tile_strides strides, const lmn__tile_place *place,
                   float *image);

    /** A dy A' of 4 x 4 pixels of the output's gradient, 0 outside, to one row of `tile`. */
    void (*output_grad)(const lmn__tile_place *place, const float *image, lmn__tile_strides strides,
                        float *tile);

    /**
     * G g G' of the filters from 16 input to 16 output channels. weight points to the first of
     * them in [3, 3, c, k]. to  [16 input channels][16 output channels], positions apart.
     */
    void (*filter)(const float *weight, size_t c, size_t k, size_t position, float *to);

    /** The same for the input gradient: filters rotated, to [16 output][16 input channels]. */
    void (*filter_rotated)(const float *weight, size_t c, size_t k, size_t position, float *to);

    /** G' u G of 16 input and 16 output channels, laid out as by `filter`, to weight. */
    void (*filter_grad)(const float *from, size_t position, size_t c, size_t k, float *weight);
} lmn__winograd_kernels;

/** The variant for this processor; constant. */
const lmn__winograd_kernels *lmn__winograd_kernels_get(void);

#endif

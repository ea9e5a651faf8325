/*
 * How Winograd convolution cuts its work: blocks of tiles, what is kept, and who works on what.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_WINOGRAD_INTERNAL_H
#define LAMINA_WINOGRAD_INTERNAL_H

#include "conv_internal.h"
#include "simd/winograd.h"

/** A convolution as tiles see it: input and output may be those of a gradient. */
typedef struct lmn__winograd {
    size_t batch;
    size_t in_h, in_w, in_c;
    size_t out_h, out_w, out_c;
    size_t pad_top, pad_left;
    size_t tile_lines;  /* of one image */
    size_t line_tiles;  /* tiles of a line */
    size_t block_lines; /* tile lines of a block, across images */
    size_t block_rows;  /* room for the tiles of a block, a multiple of LMN__ROW_UNIT */
    int teams;          /* threads that work on a block each, or on a sum of blocks */
    int threads;        /* threads that share the work of a block; 1 with several teams */
    bool keeps_filters; /* one piece of the workspace for each output panel, else for each thread */
    size_t n_filters;   /* such pieces, of each sum */
    size_t n_sums;      /* of the weight gradient, each over a share of the blocks; else 1 */
} lmn__winograd;

/**
 * The parts of the workspace. Positions are one line longer than their rows, so that the 36
 * positions of a tile do not fall into the same cache set.
 */
typedef struct lmn__winograd_parts {
    float *filters; /* [n_sums][n_filters][36][in_c, 16] transformed */
    float *in;      /* the team's: transformed input tiles of a block */
    float *out;     /* the team's: products, or transformed output gradients */
    lmn__tile_strides in_strides, out_strides;
} lmn__winograd_parts;

/** The work of a convolution, for the threads that there are now. */
lmn__winograd lmn__winograd_make(const lmn__conv *conv, lmn__conv_direction direction);

/** Blocks of all images together. */
size_t lmn__winograd_blocks(const lmn__winograd *g);

/** Floats of the transformed filters of one output panel. */
size_t lmn__winograd_panel(const lmn__winograd *g);

/** Bytes of the workspace. */
size_t lmn__winograd_bytes(const lmn__winograd *g);

/** The parts of the workspace for the calling thread, which is a team of its own where there are
 * several. */
lmn__winograd_parts lmn__winograd_lay_out(const lmn__winograd *g, void *workspace);

#endif

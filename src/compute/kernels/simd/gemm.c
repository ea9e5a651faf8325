/*
 * Inner loops of matrix products, for one instruction set: see gemm.h and lamina_add_isa_variants.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gemm.h"

#include "vector.h"

/* A tile of sums in registers: enough of them to hide the latency of a fused multiply-add. */
#if LANES == 16
#define TILE_ROWS    12
#define TILE_VECTORS 2
#elif LANES == 8
#define TILE_ROWS    6
#define TILE_VECTORS 2
#else
#define TILE_ROWS    4
#define TILE_VECTORS 2
#endif
#define TILE_COLUMNS ((size_t)TILE_VECTORS * LANES)

static void multiply(size_t depth, const float *a, const float *b, bool accumulate, float *c,
                     size_t c_stride)
{
    vector sums[TILE_ROWS][TILE_VECTORS];
    /* Unrolled, so that sums stay in registers. */
#pragma GCC unroll 12
    for (size_t i = 0; i < TILE_ROWS; i++) {
        for (size_t j = 0; j < TILE_VECTORS; j++) {
            sums[i][j] = broadcast(0.0F);
            __builtin_prefetch(c + i * c_stride + j * LANES, 1);
        }
    }
    for (size_t p = 0; p < depth; p++) {
        vector line[TILE_VECTORS];
        for (size_t j = 0; j < TILE_VECTORS; j++) {
            line[j] = load(b + j * LANES);
        }
#pragma GCC unroll 12
        for (size_t i = 0; i < TILE_ROWS; i++) {
            const vector factor = broadcast(a[i]);
            for (size_t j = 0; j < TILE_VECTORS; j++) {
                sums[i][j] += factor * line[j];
            }
        }
        a += TILE_ROWS;
        b += TILE_COLUMNS;
    }
#pragma GCC unroll 12
    for (size_t i = 0; i < TILE_ROWS; i++) {
        for (size_t j = 0; j < TILE_VECTORS; j++) {
            float *to = c + i * c_stride + j * LANES;
            store(to, accumulate ? load(to) + sums[i][j] : sums[i][j]);
        }
    }
}

/* Four values, whatever the instruction set. */
typedef float quad __attribute__((vector_size(4 * sizeof(float))));
typedef float loose_quad __attribute__((vector_size(4 * sizeof(float)), aligned(4)));

/* x [4, 4] to its transpose; lines of x `stride`, of the transpose `to_stride` apart. */
static inline void transpose_quads(const float *x, size_t stride, float *to, size_t to_stride)
{
    const quad a = *(const loose_quad *)x;
    const quad b = *(const loose_quad *)(x + stride);
    const quad c = *(const loose_quad *)(x + 2 * stride);
    const quad d = *(const loose_quad *)(x + 3 * stride);
    const quad ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const quad ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const quad cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const quad cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(loose_quad *)to = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    *(loose_quad *)(to + to_stride) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    *(loose_quad *)(to + 2 * to_stride) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *(loose_quad *)(to + 3 * to_stride) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

/* Columns of x from `width` on, up to the end of the last tile, are zero. */
static void pack_remainder(size_t depth, size_t width, const float *x, size_t line_step,
                           size_t column_step, size_t tile_width, float *to)
{
    for (size_t p = 0; p < depth; p++) {
        for (size_t i = 0; i < tile_width; i++) {
            to[p * tile_width + i] = i < width ? x[p * line_step + i * column_step] : 0.0F;
        }
    }
}

/* Line by line, so that x is read in order. tile_width is at least 4. */
static void pack(size_t depth, size_t width, const float *x, size_t stride, size_t tile_width,
                 float *to)
{
    const size_t n_tiles = width / tile_width;
    for (size_t p = 0; p < depth; p++) {
        const float *from = x + p * stride;
        float *line = to + p * tile_width;
        for (size_t tile = 0; tile < n_tiles; tile++) {
            for (size_t i = 0; i + 4 <= tile_width; i += 4) {
                *(loose_quad *)(line + i) = *(const loose_quad *)(from + i);
            }
            const size_t last = tile_width - 4;
            *(loose_quad *)(line + last) = *(const loose_quad *)(from + last);
            from += tile_width;
            line += depth * tile_width;
        }
    }
    if (n_tiles * tile_width < width) {
        pack_remainder(depth, width - n_tiles * tile_width, x + n_tiles * tile_width, stride, 1,
                       tile_width, to + n_tiles * tile_width * depth);
    }
}

/* Lines of x that are read together: a cache line of each of four. */
#define TOGETHER ((size_t)16)

/* `depth`, at most TOGETHER, of all tile_width lines. The last four may repeat some before. */
static inline void transpose_lines(size_t depth, const float *x, size_t stride, size_t tile_width,
                                   float *to)
{
    for (size_t line = 0; line < tile_width; line += 4) {
        const size_t first = line + 4 <= tile_width ? line : tile_width - 4;
        size_t p = 0;
        for (; p + 4 <= depth; p += 4) {
            transpose_quads(x + first * stride + p, stride, to + p * tile_width + first,
                            tile_width);
        }
        for (; p < depth; p++) {
            for (size_t i = first; i < first + 4; i++) {
                to[p * tile_width + i] = x[i * stride + p];
            }
        }
    }
}

static void pack_transposed(size_t depth, size_t width, const float *x, size_t stride,
                            size_t tile_width, float *to)
{
    for (; width >= tile_width; width -= tile_width) {
        for (size_t p = 0; p < depth; p += TOGETHER) {
            const size_t left = depth - p;
            transpose_lines(left < TOGETHER ? left : TOGETHER, x + p, stride, tile_width,
                            to + p * tile_width);
        }
        x += tile_width * stride;
        to += tile_width * depth;
    }
    if (width > 0) {
        pack_remainder(depth, width, x, 1, stride, tile_width, to);
    }
}

extern const lmn__gemm_kernels VARIANT_NAME(lmn__gemm_kernels_);
const lmn__gemm_kernels VARIANT_NAME(lmn__gemm_kernels_) = {
    .isa = VARIANT_TEXT(LMN__VARIANT),
    .rows = TILE_ROWS,
    .columns = TILE_COLUMNS,
    .multiply = multiply,
    .pack = pack,
    .pack_transposed = pack_transposed,
};

/*
 * Sums over any set of axes, in an order that the shape alone fixes.
 *
 * Neighbouring axes of one kind (kept or summed) are merged into groups, which then alternate. The
 * innermost groups decide the inner loop: a summed run becomes one number by 16 partial sums; a
 * kept run below a summed group becomes column sums, in blocks of rows so that rounding errors grow
 * with the number of blocks and not with the number of rows. Outer groups are walked one by one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "clones.h"
#include "kernels_internal.h"

#include <string.h>

#define LANES         16
#define BLOCK_ROWS    256
#define BLOCK_COLUMNS 64

LMN__CLONES float lmn__kernel_sum(size_t n, const float *x)
{
    float sums[LANES] = {0.0F};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            sums[lane] += x[i + lane];
        }
    }
    for (size_t lane = 0; i + lane < n; lane++) {
        sums[lane] += x[i + lane];
    }
    for (size_t width = LANES / 2; width > 0; width /= 2) {
        for (size_t lane = 0; lane < width; lane++) {
            sums[lane] += sums[lane + width];
        }
    }
    return sums[0];
}

/* sums [columns] = sums of the columns of x [rows, columns], whose rows are row_stride apart. */
LMN__CLONES static void sum_block(size_t rows, size_t columns, size_t row_stride,
                                  const float *restrict x, float *restrict sums)
{
    memset(sums, 0, columns * sizeof *sums);
    for (size_t row = 0; row < rows; row++) {
        const float *restrict line = x + row * row_stride;
#pragma omp simd
        for (size_t i = 0; i < columns; i++) {
            sums[i] += line[i];
        }
    }
}

/* Blocks of rows that are summed side by side before they are added up in their order. */
#define GROUP 32

/* out [n <= BLOCK_COLUMNS] += sums of n columns of x [rows, ..], whose rows are row_stride apart.
 */
static void add_few_columns(size_t rows, size_t n, size_t row_stride, const float *x, float *out)
{
    for (size_t first = 0; first < rows; first += (size_t)GROUP * BLOCK_ROWS) {
        float sums[GROUP][BLOCK_COLUMNS];
        const size_t n_blocks = lmn__smaller(GROUP, (rows - first + BLOCK_ROWS - 1) / BLOCK_ROWS);
#pragma omp parallel for schedule(static) if (n_blocks * BLOCK_ROWS * n > LMN__PARALLEL_COUNT)
        for (size_t i = 0; i < n_blocks; i++) {
            const size_t row = first + i * BLOCK_ROWS;
            sum_block(lmn__smaller(rows - row, BLOCK_ROWS), n, row_stride, x + row * row_stride,
                      sums[i]);
        }
        for (size_t i = 0; i < n_blocks; i++) {
            for (size_t column = 0; column < n; column++) {
                out[column] += sums[i][column];
            }
        }
    }
}

/* out [columns] += column sums of the dense x [rows, columns]. */
static void add_column_sums(size_t rows, size_t columns, const float *x, float *out)
{
    for (size_t column = 0; column < columns; column += BLOCK_COLUMNS) {
        add_few_columns(rows, lmn__smaller(columns - column, BLOCK_COLUMNS), columns, x + column,
                        out + column);
    }
}

/* Axes merged by kind, outermost first; kinds alternate. */
typedef struct axis_groups {
    size_t n;
    size_t extents[LMN_DIMS_MAX];
    bool is_summed[LMN_DIMS_MAX];
    size_t out_strides[LMN_DIMS_MAX]; /* 0 for summed groups */
} axis_groups;

static axis_groups group_axes(const lmn_shape *shape, unsigned axes)
{
    axis_groups groups = {0};
    for (size_t axis = 0; axis < shape->n_dims; axis++) {
        const bool is_summed = (axes >> axis & 1U) != 0;
        const bool merges = groups.n > 0 && groups.is_summed[groups.n - 1] == is_summed;
        if (shape->dims[axis] == 1) {
            continue;
        }
        if (!merges) {
            groups.extents[groups.n] = 1;
            groups.is_summed[groups.n] = is_summed;
            groups.n++;
        }
        groups.extents[groups.n - 1] *= shape->dims[axis];
    }
    size_t stride = 1;
    for (size_t i = groups.n; i-- > 0;) {
        groups.out_strides[i] = groups.is_summed[i] ? 0 : stride;
        stride *= groups.is_summed[i] ? 1 : groups.extents[i];
    }
    return groups;
}

/* Where in the output the tile with number `tile` of the outer [n_outer] groups goes. */
static size_t tile_offset(const axis_groups *groups, size_t n_outer, size_t tile)
{
    size_t offset = 0;
    for (size_t i = n_outer; i-- > 0;) {
        offset += tile % groups->extents[i] * groups->out_strides[i];
        tile /= groups->extents[i];
    }
    return offset;
}

void lmn__kernel_reduce_sum(const lmn_shape *shape, unsigned axes, const float *x, float *out)
{
    const axis_groups groups = group_axes(shape, axes);
    const bool sums_runs = groups.n > 0 && groups.is_summed[groups.n - 1];
    const size_t n_inner = sums_runs || groups.n < 2 ? 1 : 2;
    const size_t n_outer = groups.n > n_inner ? groups.n - n_inner : 0;
    const size_t columns = groups.n > 0 ? groups.extents[groups.n - 1] : 1;
    const size_t rows = n_inner == 2 ? groups.extents[groups.n - 2] : 1;
    size_t tiles = 1;
    size_t out_count = sums_runs ? 1 : columns;
    for (size_t i = 0; i < n_outer; i++) {
        tiles *= groups.extents[i];
        out_count *= groups.is_summed[i] ? 1 : groups.extents[i];
    }
    memset(out, 0, out_count * sizeof *out);
    for (size_t tile = 0; tile < tiles; tile++) {
        const float *values = x + tile * rows * columns;
        float *target = out + tile_offset(&groups, n_outer, tile);
        if (sums_runs) {
            *target += lmn__kernel_sum(columns, values);
        } else {
            add_column_sums(rows, columns, values, target);
        }
    }
}

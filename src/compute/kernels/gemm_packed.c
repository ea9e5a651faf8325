/*
 * Matrix products on packed blocks, with what is fused into them done while a block is hot.
 *
 * The classic order of loops (Goto and van de Geijn 2008; see simd/gemm.h): a slice of b, at most
 * DEPTH lines deep, is packed and stays in the third-level cache; blocks of lines of a are packed
 * one by one and stay in the second; tiles of the product stay in registers. Libraries do the same,
 * but have to pack for any caller. Here the last slice's epilogue is applied block by block, and
 * the tile is wider, which on the processors measured is 5 to 20 % of a product
 * (docs/performance.md). What is too small to be worth packing goes to OpenBLAS.
 *
 * Each thread packs and multiplies a part of its own, of the longer extent of the product. An
 * element is summed over depth in one order that depends on shapes only, so threads change no bit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute_internal.h"
#include "gemm_internal.h"
#include "lamina/memory.h"
#include "lamina/partition.h"
#include "simd/gemm.h"

#include <string.h>

/* Lines of b that are packed together, columns of them, and lines of a block of a. */
static const size_t DEPTH = 384;
static const size_t COLUMNS = 4096;
static const size_t LINES = 144;

/* Tiles that are packed side by side, so that what is read follows each other in memory. */
static const size_t PACKED_TILES = 32;

/* Products below so many multiplications are left to OpenBLAS. */
static const double SMALLEST = 1e6;

struct lmn__gemm_plan {
    size_t m, n, k;
    size_t depth;    /* of a slice */
    size_t columns;  /* of a slice, a multiple of a tile's */
    size_t lines;    /* of a block, a multiple of a tile's rows */
    size_t threads;  /* each has a part of the product to itself; 0: OpenBLAS does it */
    bool by_columns; /* parts are columns, else lines */
};

/* Parts of nearly equal size, at most `limit`, in whole units. */
static size_t divide_evenly(size_t total, size_t limit, size_t unit)
{
    const size_t parts = (total + limit - 1) / limit;
    return lmn__round_up((total + parts - 1) / parts, unit);
}

/* Whether packing pays, and tiles are not mostly filling. */
static bool is_worth_packing(size_t m, size_t n, size_t k, const lmn__gemm_kernels *kernels)
{
    const double product = (double)m * (double)n;
    const double tiles =
        (double)lmn__round_up(m, kernels->rows) * (double)lmn__round_up(n, kernels->columns);
    return strcmp(kernels->isa, "baseline") != 0 && product * (double)k >= SMALLEST &&
           tiles <= 1.125 * product;
}

/* The most that one thread has of an extent that is shared, or is not. */
static size_t share_of(const lmn__gemm_plan *plan, size_t extent, bool is_shared)
{
    return is_shared ? (extent + plan->threads - 1) / plan->threads : extent;
}

lmn_status lmn__gemm_plan_create(size_t m, size_t n, size_t k, lmn__gemm_plan **plan_out,
                                 lmn_error *err)
{
    lmn__gemm_plan *plan = lmn_alloc(1, sizeof *plan, err);
    if (plan == NULL) {
        return LMN_ERR_MEMORY;
    }
    const lmn__gemm_kernels *kernels = lmn__gemm_kernels_get();
    *plan = (lmn__gemm_plan){.m = m, .n = n, .k = k};
    if (is_worth_packing(m, n, k, kernels)) {
        plan->threads = lmn__thread_count();
        plan->by_columns = n > m;
        plan->depth = divide_evenly(k, DEPTH, 1);
        plan->columns =
            divide_evenly(share_of(plan, n, plan->by_columns), COLUMNS, kernels->columns);
        plan->lines = divide_evenly(share_of(plan, m, !plan->by_columns), LINES, kernels->rows);
    }
    *plan_out = plan;
    return LMN_OK;
}

void lmn__gemm_plan_destroy(lmn__gemm_plan *plan)
{
    lmn_free(plan);
}

const char *lmn__gemm_plan_kernel(const lmn__gemm_plan *plan)
{
    return plan->threads > 0 ? "packed" : "openblas";
}

/* Bytes of a packed block of a. */
static size_t block_bytes(const lmn__gemm_plan *plan)
{
    return lmn_align_up(plan->lines * plan->depth * sizeof(float));
}

static size_t slice_bytes(const lmn__gemm_plan *plan)
{
    return lmn_align_up(plan->columns * plan->depth * sizeof(float));
}

size_t lmn__gemm_plan_workspace(const lmn__gemm_plan *plan)
{
    return plan->threads * (block_bytes(plan) + slice_bytes(plan));
}

/* Part of the product: columns first_column .. + n_columns, over depth first_depth .. + depth. */
typedef struct slice {
    size_t first_column, n_columns;
    size_t first_depth, depth;
    float *packed; /* of b: [tile of columns][depth][columns of a tile] */
} slice;

/* `width` lines of op(x)' from `first` on, over the slice's depth, into tiles. across: x is stored
   with depth as its lines. */
static void pack_tiles(lmn__matrix x, bool across, const slice *s, size_t first, size_t width,
                       size_t tile_width, float *to)
{
    const lmn__gemm_kernels *kernels = lmn__gemm_kernels_get();
    if (across) {
        kernels->pack(s->depth, width, x.data + s->first_depth * x.row_stride + first, x.row_stride,
                      tile_width, to);
    } else {
        kernels->pack_transposed(s->depth, width, x.data + first * x.row_stride + s->first_depth,
                                 x.row_stride, tile_width, to);
    }
}

static void pack_slice(lmn__matrix b, const slice *s)
{
    const size_t width = lmn__gemm_kernels_get()->columns;
    const size_t together = PACKED_TILES * width;
    for (size_t column = 0; column < s->n_columns; column += together) {
        pack_tiles(b, !b.transposed, s, s->first_column + column,
                   lmn__smaller(together, s->n_columns - column), width,
                   s->packed + column * s->depth);
    }
}

/* A tile at the edge of the product, of which only rows x columns are there. */
static void multiply_edge(const slice *s, const float *a, const float *b, float *c, size_t stride,
                          size_t rows, size_t columns)
{
    const lmn__gemm_kernels *kernels = lmn__gemm_kernels_get();
    float tile[LMN__GEMM_ROWS_MAX * LMN__GEMM_COLUMNS_MAX];
    kernels->multiply(s->depth, a, b, false, tile, kernels->columns);
    for (size_t i = 0; i < rows; i++) {
        const float *from = tile + i * kernels->columns;
        float *to = c + i * stride;
        for (size_t j = 0; j < columns; j++) {
            to[j] = s->first_depth > 0 ? to[j] + from[j] : from[j];
        }
    }
}

/* Lines first .. first + n_lines - 1 of the product, for one slice. packed: room for a's block. */
static void multiply_block(const lmn__gemm_plan *plan, const lmn__gemm_call *call, const slice *s,
                           size_t first, size_t n_lines, float *packed)
{
    const lmn__gemm_kernels *kernels = lmn__gemm_kernels_get();
    pack_tiles(call->a, call->a.transposed, s, first, n_lines, kernels->rows, packed);
    for (size_t column = 0; column < s->n_columns; column += kernels->columns) {
        const float *b = s->packed + column * s->depth;
        const size_t columns = lmn__smaller(kernels->columns, s->n_columns - column);
        for (size_t line = 0; line < n_lines; line += kernels->rows) {
            const float *a = packed + line * s->depth;
            float *c = call->c + (first + line) * plan->n + s->first_column + column;
            const size_t rows = lmn__smaller(kernels->rows, n_lines - line);
            if (rows == kernels->rows && columns == kernels->columns) {
                kernels->multiply(s->depth, a, b, s->first_depth > 0, c, plan->n);
            } else {
                multiply_edge(s, a, b, c, plan->n, rows, columns);
            }
        }
    }
}

/* Whether a slice has all columns, so that whole lines are final with the last depth. */
static bool covers_lines(const lmn__gemm_plan *plan)
{
    return plan->columns >= plan->n;
}

static bool finishes_lines(const lmn__gemm_plan *plan, const slice *s)
{
    return covers_lines(plan) && s->first_depth + s->depth == plan->k;
}

/* Lines of the product for one slice, block by block, and the epilogue where they are final. */
static void multiply_slice(const lmn__gemm_plan *plan, const lmn__gemm_call *call, const slice *s,
                           lmn_range lines, float *block)
{
    for (size_t line = 0; line < lines.count; line += plan->lines) {
        const size_t first = lines.first + line;
        const size_t n_lines = lmn__smaller(plan->lines, lines.count - line);
        multiply_block(plan, call, s, first, n_lines, block);
        if (finishes_lines(plan, s)) {
            lmn__epilogue_apply(call->epilogue, first * plan->n, n_lines * plan->n,
                                call->c + first * plan->n);
        }
    }
}

/* One thread's part of the product: `lines` and `columns` of it. */
static void multiply_part(const lmn__gemm_plan *plan, const lmn__gemm_call *call, lmn_range lines,
                          lmn_range columns, void *workspace)
{
    void *block = (char *)workspace + slice_bytes(plan);
    for (size_t column = 0; column < columns.count; column += plan->columns) {
        for (size_t depth = 0; depth < plan->k; depth += plan->depth) {
            const slice s = {.first_column = columns.first + column,
                             .n_columns = lmn__smaller(plan->columns, columns.count - column),
                             .first_depth = depth,
                             .depth = lmn__smaller(plan->depth, plan->k - depth),
                             .packed = workspace};
            pack_slice(call->b, &s);
            multiply_slice(plan, call, &s, lines, block);
        }
    }
}

/* Part number `index` of an extent, in whole tiles; all of it when it is not shared. */
static lmn_range part_of(const lmn__gemm_plan *plan, size_t extent, size_t tile, bool is_shared,
                         size_t index)
{
    if (!is_shared) {
        return (lmn_range){.first = 0, .count = extent};
    }
    const size_t n_tiles = (extent + tile - 1) / tile;
    lmn_range part = lmn_partition(n_tiles, plan->threads, index);
    part.first = lmn__smaller(part.first * tile, extent);
    part.count = lmn__smaller(part.count * tile, extent - part.first);
    return part;
}

/* Threads share nothing but what they read, so that none waits for another. */
static void run_packed(const lmn__gemm_plan *plan, const lmn__gemm_call *call)
{
    const lmn__gemm_kernels *kernels = lmn__gemm_kernels_get();
#pragma omp parallel for schedule(static) num_threads((int)plan->threads)
    for (size_t i = 0; i < plan->threads; i++) {
        char *workspace = (char *)call->workspace + i * (block_bytes(plan) + slice_bytes(plan));
        multiply_part(plan, call, part_of(plan, plan->m, kernels->rows, !plan->by_columns, i),
                      part_of(plan, plan->n, kernels->columns, plan->by_columns, i), workspace);
    }
    if (!covers_lines(plan)) {
        lmn__epilogue_apply(call->epilogue, 0, plan->m * plan->n, call->c);
    }
}

void lmn__gemm_plan_run(const lmn__gemm_plan *plan, const lmn__gemm_call *call)
{
    if (plan->threads > 0) {
        run_packed(plan, call);
        return;
    }
    lmn__gemm(plan->m, plan->n, plan->k, call->a, call->b, false, call->c);
    lmn__epilogue_apply(call->epilogue, 0, plan->m * plan->n, call->c);
}

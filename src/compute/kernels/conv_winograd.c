/*
 * Convolution with 3 x 3 kernels and stride 1 by Winograd's F(4x4, 3x3).
 *
 * Each tile of 4 x 4 results is computed from 6 x 6 inputs with 36 instead of 144 multiplications:
 * both are transformed, multiplied position by position, and transformed back (A. Lavin and S.
 * Gray, arXiv:1509.09308). Over channels the multiplications are 36 matrix products. The input
 * gradient is the same with rotated filters; the weight gradient is the transpose of it all.
 * Rounding errors are about 2.5 times those of direct convolution (simd/winograd.c).
 *
 * Filters are transformed panel by panel, where there are many of them anew for every block, so
 * that they never leave the caches. Tiles are taken in blocks of whole tile lines, so
 * that transformed tiles stay in the caches between the steps and a block's results are complete
 * lines, to which the epilogue is applied while they are hot. The blocks, and so the bits, depend
 * on shapes and on the instruction set, not on threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "lamina/partition.h"
#include "winograd_internal.h"

#include <string.h>

/* Tile lines first .. first + n - 1, counted across images. */
typedef struct block {
    size_t first_line;
    size_t n_lines;
} block;

/* Where tile number `tile` of a block lies: its 6 x 6 inputs and its 4 x 4 outputs. */
typedef struct tile_places {
    lmn__tile_place in, out;
    size_t image;
} tile_places;

static tile_places find_tile(const lmn__winograd *g, block b, size_t tile)
{
    const size_t line = b.first_line + tile / g->line_tiles;
    const ptrdiff_t y = (ptrdiff_t)(line % g->tile_lines * LMN__TILE);
    const ptrdiff_t x = (ptrdiff_t)(tile % g->line_tiles * LMN__TILE);
    return (tile_places){.in = {.line = y - (ptrdiff_t)g->pad_top,
                                .column = x - (ptrdiff_t)g->pad_left,
                                .height = g->in_h,
                                .width = g->in_w,
                                .channels = g->in_c},
                         .out = {.line = y,
                                 .column = x,
                                 .height = g->out_h,
                                 .width = g->out_w,
                                 .channels = g->out_c},
                         .image = line / g->tile_lines};
}

static size_t count_tiles(const lmn__winograd *g, block b)
{
    return b.n_lines * g->line_tiles;
}

static void transform_inputs(const lmn__winograd *g, const lmn__winograd_parts *p, block b,
                             const float *x)
{
    const lmn__winograd_kernels *kernels = lmn__winograd_kernels_get();
    const size_t image_size = g->in_h * g->in_w * g->in_c;
#pragma omp parallel for schedule(static) num_threads(g->threads)
    for (size_t tile = 0; tile < count_tiles(g, b); tile++) {
        const tile_places places = find_tile(g, b, tile);
        kernels->input(&places.in, x + places.image * image_size, p->in_strides,
                       p->in + tile * LMN__PANEL);
    }
}

static void transform_output_grads(const lmn__winograd *g, const lmn__winograd_parts *p, block b,
                                   const float *dy)
{
    const lmn__winograd_kernels *kernels = lmn__winograd_kernels_get();
    const size_t image_size = g->out_h * g->out_w * g->out_c;
#pragma omp parallel for schedule(static) num_threads(g->threads)
    for (size_t tile = 0; tile < count_tiles(g, b); tile++) {
        const tile_places places = find_tile(g, b, tile);
        kernels->output_grad(&places.out, dy + places.image * image_size, p->out_strides,
                             p->out + tile * LMN__PANEL);
    }
}

static void transform_outputs(const lmn__winograd *g, const lmn__winograd_parts *p, block b,
                              float *y)
{
    const lmn__winograd_kernels *kernels = lmn__winograd_kernels_get();
    const size_t image_size = g->out_h * g->out_w * g->out_c;
#pragma omp parallel for schedule(static) num_threads(g->threads)
    for (size_t tile = 0; tile < count_tiles(g, b); tile++) {
        const tile_places places = find_tile(g, b, tile);
        kernels->output(p->out + tile * LMN__PANEL, p->out_strides, &places.out,
                        y + places.image * image_size);
    }
}

/* Input panels that are multiplied in one go: their part of the filters is 16 KiB. */
#define PANELS_AT_ONCE ((size_t)16)

/* out = in filters for one panel of the output, at one position. */
static void multiply_panel(const lmn__winograd *g, const lmn__winograd_parts *p, block b,
                           size_t position, size_t panel, const float *filters)
{
    const lmn__panel_kernels *kernels = lmn__panel_kernels_get();
    const size_t in_panels = g->in_c / LMN__PANEL;
    const float *in = p->in + position * p->in_strides.position;
    float *out = p->out + position * p->out_strides.position + panel * p->out_strides.panel;
    for (size_t first = 0; first < in_panels; first += PANELS_AT_ONCE) {
        kernels->multiply(count_tiles(g, b), lmn__smaller(in_panels - first, PANELS_AT_ONCE),
                          in + first * p->in_strides.panel, p->in_strides.panel,
                          filters + first * LMN__PANEL * LMN__PANEL, first > 0, out);
    }
}

/* filters += in' out for one panel of the output, at one position. */
static void multiply_panel_transposed(const lmn__winograd *g, const lmn__winograd_parts *p, block b,
                                      size_t position, size_t panel, float *filters)
{
    const lmn__panel_kernels *kernels = lmn__panel_kernels_get();
    const float *in = p->in + position * p->in_strides.position;
    const float *out = p->out + position * p->out_strides.position + panel * p->out_strides.panel;
    for (size_t k = 0; k < g->in_c / LMN__PANEL; k++) {
        kernels->multiply_transposed(count_tiles(g, b), in + k * p->in_strides.panel, out,
                                     filters + k * LMN__PANEL * LMN__PANEL);
    }
}

/* The epilogue for the output lines of a block, image by image. */
static void finish_lines(const lmn__winograd *g, block b, const lmn__conv_call *call)
{
    const size_t end = b.first_line + b.n_lines;
    for (size_t line = b.first_line; line < end;) {
        const size_t image = line / g->tile_lines;
        const size_t image_end = (image + 1) * g->tile_lines;
        const size_t stop = end < image_end ? end : image_end;
        const size_t first_y = LMN__TILE * (line - image * g->tile_lines);
        const size_t stop_y = LMN__TILE * (stop - image * g->tile_lines);
        const size_t n_y = (stop_y < g->out_h ? stop_y : g->out_h) - first_y;
        const size_t row = g->out_w * g->out_c;
        lmn__conv_finish(call, (image * g->out_h + first_y) * row, n_y * row);
        line = stop;
    }
}

static block next_block(const lmn__winograd *g, size_t first_line)
{
    const size_t left = g->batch * g->tile_lines - first_line;
    return (block){.first_line = first_line, .n_lines = lmn__smaller(left, g->block_lines)};
}

/* One panel of filters for the products, forward or for the input gradient. */
static void transform_filters(const lmn__winograd *g, const lmn__conv *conv, bool rotated,
                              const float *weight, size_t panel, float *filters)
{
    const lmn__winograd_kernels *kernels = lmn__winograd_kernels_get();
    const size_t position = g->in_c * LMN__PANEL;
    for (size_t in = 0; in < g->in_c; in += LMN__PANEL) {
        float *to = filters + in * LMN__PANEL;
        if (rotated) {
            kernels->filter_rotated(weight + panel * LMN__PANEL * conv->k + in, conv->c, conv->k,
                                    position, to);
        } else {
            kernels->filter(weight + in * conv->k + panel * LMN__PANEL, conv->c, conv->k, position,
                            to);
        }
    }
}

/* The kept filters of product `i`: of all panels of the output, position by position. */
static float *kept_filters(const lmn__winograd *g, const lmn__winograd_parts *p, size_t i)
{
    const size_t out_panels = g->out_c / LMN__PANEL;
    return p->filters + i % out_panels * lmn__winograd_panel(g) +
           i / out_panels * g->in_c * LMN__PANEL;
}

/* out = in filters with filters that are kept: position by position, so that inputs stay close. */
static void multiply_kept(const lmn__winograd *g, const lmn__winograd_parts *p, block b)
{
    const size_t out_panels = g->out_c / LMN__PANEL;
#pragma omp parallel for schedule(static) num_threads(g->threads)
    for (size_t i = 0; i < LMN__POSITIONS * out_panels; i++) {
        multiply_panel(g, p, b, i / out_panels, i % out_panels, kept_filters(g, p, i));
    }
}

/* out = in filters with filters that are transformed panel by panel as they are needed. */
static void multiply_fresh(const lmn__winograd *g, const lmn__winograd_parts *p, block b,
                           const lmn__conv *conv, bool rotated, const float *weight)
{
#pragma omp parallel for schedule(static) num_threads(g->threads)
    for (size_t panel = 0; panel < g->out_c / LMN__PANEL; panel++) {
        float *filters = p->filters + lmn__thread_index() * lmn__winograd_panel(g);
        transform_filters(g, conv, rotated, weight, panel, filters);
        for (size_t i = 0; i < LMN__POSITIONS; i++) {
            multiply_panel(g, p, b, i, panel, filters + i * g->in_c * LMN__PANEL);
        }
    }
}

static void keep_filters(const lmn__winograd *g, const lmn__conv *conv, bool rotated,
                         const float *weight, float *filters)
{
#pragma omp parallel for schedule(static) num_threads(g->teams)
    for (size_t panel = 0; panel < g->out_c / LMN__PANEL; panel++) {
        transform_filters(g, conv, rotated, weight, panel,
                          filters + panel * lmn__winograd_panel(g));
    }
}

/* Forward, and the input gradient, for which filters are rotated. */
static void convolve(const lmn__winograd *g, const lmn__conv *conv, bool rotated,
                     const lmn__conv_call *call)
{
    if (g->keeps_filters) {
        keep_filters(g, conv, rotated, call->b, call->workspace);
    }
#pragma omp parallel for schedule(static) num_threads(g->teams)
    for (size_t i = 0; i < lmn__winograd_blocks(g); i++) {
        const lmn__winograd_parts p = lmn__winograd_lay_out(g, call->workspace);
        const block b = next_block(g, i * g->block_lines);
        transform_inputs(g, &p, b, call->a);
        if (g->keeps_filters) {
            multiply_kept(g, &p, b);
        } else {
            multiply_fresh(g, &p, b, conv, rotated, call->b);
        }
        transform_outputs(g, &p, b, call->result);
        finish_lines(g, b, call);
    }
}

/* One panel of the output channels: from sums of products to the gradient of its weights. */
static void gather_filters(const lmn__winograd *g, const lmn__conv *conv, const float *filters,
                           size_t panel, float *weight)
{
    const lmn__winograd_kernels *kernels = lmn__winograd_kernels_get();
    for (size_t in = 0; in < g->in_c; in += LMN__PANEL) {
        kernels->filter_grad(filters + in * LMN__PANEL, g->in_c * LMN__PANEL, conv->c, conv->k,
                             weight + in * conv->k + panel * LMN__PANEL);
    }
}

/* filters += in' out, kept from block to block. */
static void accumulate_kept(const lmn__winograd *g, const lmn__winograd_parts *p, block b)
{
    const size_t out_panels = g->out_c / LMN__PANEL;
#pragma omp parallel for schedule(static) num_threads(g->threads)
    for (size_t i = 0; i < LMN__POSITIONS * out_panels; i++) {
        multiply_panel_transposed(g, p, b, i / out_panels, i % out_panels, kept_filters(g, p, i));
    }
}

/* Add up the sums in their order, and turn them into the weights' gradient. */
static void gather_kept(const lmn__winograd *g, const lmn__conv *conv, float *filters,
                        float *weight)
{
    const size_t count = lmn__winograd_panel(g);
#pragma omp parallel for schedule(static) num_threads(g->teams * g->threads)
    for (size_t panel = 0; panel < g->out_c / LMN__PANEL; panel++) {
        float *total = filters + panel * count;
        for (size_t sum = 1; sum < g->n_sums; sum++) {
            lmn__row_add(count, total, 1, total + sum * g->n_filters * count, 1, total);
        }
        gather_filters(g, conv, total, panel, weight);
    }
}

/* The weight gradient of the only block, panel by panel. */
static void gather_at_once(const lmn__winograd *g, const lmn__winograd_parts *p, block b,
                           const lmn__conv *conv, float *weight)
{
#pragma omp parallel for schedule(static) num_threads(g->threads)
    for (size_t panel = 0; panel < g->out_c / LMN__PANEL; panel++) {
        float *filters = p->filters + lmn__thread_index() * lmn__winograd_panel(g);
        memset(filters, 0, lmn__winograd_panel(g) * sizeof *filters);
        for (size_t i = 0; i < LMN__POSITIONS; i++) {
            multiply_panel_transposed(g, p, b, i, panel, filters + i * g->in_c * LMN__PANEL);
        }
        gather_filters(g, conv, filters, panel, weight);
    }
}

/* One of the sums, over its share of the blocks. */
static void sum_blocks(const lmn__winograd *g, size_t sum, const lmn__conv_call *call)
{
    lmn__winograd_parts p = lmn__winograd_lay_out(g, call->workspace);
    const size_t count = g->n_filters * lmn__winograd_panel(g);
    p.filters += sum * count;
    memset(p.filters, 0, count * sizeof *p.filters);
    const lmn_range blocks = lmn_partition(lmn__winograd_blocks(g), g->n_sums, sum);
    for (size_t i = 0; i < blocks.count; i++) {
        const block b = next_block(g, (blocks.first + i) * g->block_lines);
        transform_inputs(g, &p, b, call->a);
        transform_output_grads(g, &p, b, call->b);
        accumulate_kept(g, &p, b);
    }
}

static void weight_grad(const lmn__winograd *g, const lmn__conv *conv, const lmn__conv_call *call)
{
    if (!g->keeps_filters) {
        const lmn__winograd_parts p = lmn__winograd_lay_out(g, call->workspace);
        const block b = next_block(g, 0);
        transform_inputs(g, &p, b, call->a);
        transform_output_grads(g, &p, b, call->b);
        gather_at_once(g, &p, b, conv, call->result);
        return;
    }
#pragma omp parallel for schedule(static) num_threads(g->teams)
    for (size_t sum = 0; sum < g->n_sums; sum++) {
        sum_blocks(g, sum, call);
    }
    gather_kept(g, conv, call->workspace, call->result);
}

static bool supports(const lmn__conv *conv, lmn__conv_direction direction)
{
    (void)direction;
    const lmn_window *w = &conv->window;
    return conv->kh == 3 && conv->kw == 3 && w->stride_h == 1 && w->stride_w == 1 &&
           w->pad_top <= 2 && w->pad_left <= 2 && w->pad_bottom <= 2 && w->pad_right <= 2 &&
           conv->c % LMN__PANEL == 0 && conv->k % LMN__PANEL == 0;
}

static lmn_status prepare(const lmn__conv *conv, lmn__conv_direction direction, void **state_out,
                          size_t *workspace_bytes_out, lmn_error *err)
{
    lmn__winograd *g = lmn_alloc(1, sizeof *g, err);
    if (g == NULL) {
        return LMN_ERR_MEMORY;
    }
    *g = lmn__winograd_make(conv, direction);
    *state_out = g;
    *workspace_bytes_out = lmn__winograd_bytes(g);
    return LMN_OK;
}

static void release(void *state)
{
    lmn_free(state);
}

static lmn_status run(const lmn__conv *conv, lmn__conv_direction direction, const void *state,
                      const lmn__conv_call *call, lmn_error *err)
{
    (void)err;
    if (direction == LMN__CONV_WEIGHT_GRAD) {
        weight_grad(state, conv, call);
    } else {
        convolve(state, conv, direction == LMN__CONV_INPUT_GRAD, call);
    }
    return LMN_OK;
}

const lmn__conv_backend lmn__conv_winograd = {
    .name = "winograd", .supports = supports, .prepare = prepare, .run = run, .release = release};

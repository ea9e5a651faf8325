/*
 * Convolution with 3 x 3 kernels and stride 1 by Winograd's F(2x2, 3x3).
 *
 * Each tile of 2 x 2 results is computed from 4 x 4 inputs with 16 instead of 36 multiplications:
 * both are transformed, multiplied position by position, and transformed back (A. Lavin and S.
 * Gray, arXiv:1509.09308). Over channels the multiplications are 16 matrix products. The input
 * gradient is the same with rotated filters; the weight gradient is the transpose of it all.
 * Rounding errors stay those of direct convolution to a factor of about two.
 *
 * Filters are transformed once for each call. Tiles are taken in blocks of whole tile lines, so
 * that transformed tiles stay in the caches between the steps and a block's results are complete
 * lines, to which the epilogue is applied while they are hot. The blocks, and so the bits, depend
 * on shapes and on the instruction set, not on threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conv_internal.h"
#include "lamina/memory.h"
#include "simd/winograd.h"

#include <string.h>

/* Transformed tiles of a block: what keeps the second-level cache half full, within bounds. */
static const size_t BLOCK_BYTES = (size_t)256 * 1024;
static const size_t TILES_MIN = 80;
static const size_t TILES_MAX = 160;

/* A convolution as tiles see it: input and output may be those of a gradient. */
typedef struct geometry {
    size_t batch;
    size_t in_h, in_w, in_c;
    size_t out_h, out_w, out_c;
    size_t pad_top, pad_left;
    size_t tile_lines;  /* of one image */
    size_t line_tiles;  /* tiles of a line */
    size_t block_lines; /* tile lines of a block, across images */
    size_t block_rows;  /* room for the tiles of a block, a multiple of LMN__ROW_UNIT */
} geometry;

static size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* The number of lines near the wanted size whose tiles fill steps of `rows` best. */
static size_t choose_lines(const geometry *g, size_t rows)
{
    const size_t bytes = LMN__POSITIONS * (g->in_c + g->out_c) * sizeof(float);
    size_t tiles = BLOCK_BYTES / bytes;
    tiles = tiles < TILES_MIN ? TILES_MIN : tiles;
    tiles = tiles > TILES_MAX ? TILES_MAX : tiles;
    const size_t first = (tiles + g->line_tiles - 1) / g->line_tiles;
    size_t best = first;
    for (size_t lines = first; lines < first + rows; lines++) {
        const size_t n = lines * g->line_tiles;
        const size_t n_best = best * g->line_tiles;
        /* Smaller share of surplus rows: (round_up(n) - n) / n, compared without division. */
        if ((round_up(n, rows) - n) * n_best < (round_up(n_best, rows) - n_best) * n) {
            best = lines;
        }
    }
    const size_t total = g->batch * g->tile_lines;
    return best < total ? best : total;
}

static geometry make_geometry(const lmn__conv *conv, lmn__conv_direction direction)
{
    const lmn_window *w = &conv->window;
    geometry g = {.batch = conv->batch,
                  .in_h = conv->h,
                  .in_w = conv->w,
                  .in_c = conv->c,
                  .out_h = conv->oh,
                  .out_w = conv->ow,
                  .out_c = conv->k,
                  .pad_top = w->pad_top,
                  .pad_left = w->pad_left};
    if (direction == LMN__CONV_INPUT_GRAD) {
        g = (geometry){.batch = conv->batch,
                       .in_h = conv->oh,
                       .in_w = conv->ow,
                       .in_c = conv->k,
                       .out_h = conv->h,
                       .out_w = conv->w,
                       .out_c = conv->c,
                       .pad_top = 2 - w->pad_top,
                       .pad_left = 2 - w->pad_left};
    }
    g.tile_lines = (g.out_h + 1) / 2;
    g.line_tiles = (g.out_w + 1) / 2;
    g.block_lines = choose_lines(&g, lmn__panel_kernels_get()->rows);
    g.block_rows = round_up(g.block_lines * g.line_tiles, LMN__ROW_UNIT);
    return g;
}

/*
 * The parts of the workspace. Positions are one line longer than their rows, so that the 16
 * positions of a tile do not fall into the same cache set.
 */
typedef struct parts {
    float *filters; /* [16][.., ..] transformed */
    float *in;      /* transformed input tiles of a block */
    float *out;     /* products, or transformed output gradients */
    float *zeros;   /* a pixel outside the input */
    float *surplus; /* where pixels outside the output go */
    lmn__tile_strides in_strides, out_strides;
} parts;

static lmn__tile_strides make_strides(const geometry *g, size_t channels)
{
    const size_t panel = g->block_rows * LMN__PANEL;
    return (lmn__tile_strides){.position = panel * (channels / LMN__PANEL) + LMN__PANEL,
                               .panel = panel};
}

static size_t channels_max(const geometry *g)
{
    return g->in_c > g->out_c ? g->in_c : g->out_c;
}

static size_t bytes_of(size_t count)
{
    return lmn_align_up(count * sizeof(float));
}

static size_t count_bytes(const geometry *g)
{
    return bytes_of(LMN__POSITIONS * g->in_c * g->out_c) +
           bytes_of(LMN__POSITIONS * make_strides(g, g->in_c).position) +
           bytes_of(LMN__POSITIONS * make_strides(g, g->out_c).position) +
           2 * bytes_of(channels_max(g));
}

/* The part that begins at *next, which moves on behind it. */
static float *take(char **next, size_t count)
{
    void *part = *next;
    *next += bytes_of(count);
    return part;
}

static parts lay_out(const geometry *g, void *workspace)
{
    char *next = workspace;
    parts p = {.in_strides = make_strides(g, g->in_c), .out_strides = make_strides(g, g->out_c)};
    p.filters = take(&next, LMN__POSITIONS * g->in_c * g->out_c);
    p.in = take(&next, LMN__POSITIONS * p.in_strides.position);
    p.out = take(&next, LMN__POSITIONS * p.out_strides.position);
    p.zeros = take(&next, channels_max(g));
    p.surplus = take(&next, channels_max(g));
    memset(p.zeros, 0, channels_max(g) * sizeof *p.zeros);
    return p;
}

/* Tile lines first .. first + n - 1, counted across images. */
typedef struct block {
    size_t first_line;
    size_t n_lines;
} block;

/* The 16 pixels under a tile; `outside` stands for those beyond the border. */
static void find_input(const geometry *g, const float *x, size_t line, size_t column,
                       const float *outside, const float **pixels)
{
    const float *image = x + line / g->tile_lines * g->in_h * g->in_w * g->in_c;
    const size_t top = line % g->tile_lines * 2;
    for (size_t i = 0; i < 4; i++) {
        /* Shifted by the padding; what lies before the border wraps around and is too large. */
        const size_t y = top + i - g->pad_top;
        for (size_t j = 0; j < 4; j++) {
            const size_t column_in = 2 * column + j - g->pad_left;
            const bool is_inside = y < g->in_h && column_in < g->in_w;
            pixels[4 * i + j] = is_inside ? image + (y * g->in_w + column_in) * g->in_c : outside;
        }
    }
}

/* Offsets of the 4 pixels of an output tile; SIZE_MAX for those beyond the border. */
static void find_output(const geometry *g, size_t line, size_t column, size_t *offsets)
{
    const size_t image = line / g->tile_lines * g->out_h * g->out_w;
    const size_t top = line % g->tile_lines * 2;
    for (size_t i = 0; i < 4; i++) {
        const size_t y = top + i / 2;
        const size_t x = 2 * column + i % 2;
        const bool is_inside = y < g->out_h && x < g->out_w;
        offsets[i] = is_inside ? (image + y * g->out_w + x) * g->out_c : SIZE_MAX;
    }
}

static void transform_inputs(const geometry *g, const parts *p, block b, const float *x)
{
    const lmn__winograd_kernels *kernels = lmn__winograd_kernels_get();
    const size_t n = b.n_lines * g->line_tiles;
#pragma omp parallel for schedule(static)
    for (size_t tile = 0; tile < n; tile++) {
        const float *pixels[LMN__POSITIONS];
        find_input(g, x, b.first_line + tile / g->line_tiles, tile % g->line_tiles, p->zeros,
                   pixels);
        kernels->input(pixels, g->in_c, p->in_strides, p->in + tile * LMN__PANEL);
    }
}

static void transform_output_grads(const geometry *g, const parts *p, block b, const float *dy)
{
    const lmn__winograd_kernels *kernels = lmn__winograd_kernels_get();
    const size_t n = b.n_lines * g->line_tiles;
#pragma omp parallel for schedule(static)
    for (size_t tile = 0; tile < n; tile++) {
        size_t offsets[4];
        const float *pixels[4];
        find_output(g, b.first_line + tile / g->line_tiles, tile % g->line_tiles, offsets);
        for (size_t i = 0; i < 4; i++) {
            pixels[i] = offsets[i] == SIZE_MAX ? p->zeros : dy + offsets[i];
        }
        kernels->output_grad(pixels, g->out_c, p->out_strides, p->out + tile * LMN__PANEL);
    }
}

static void transform_outputs(const geometry *g, const parts *p, block b, float *y)
{
    const lmn__winograd_kernels *kernels = lmn__winograd_kernels_get();
    const size_t n = b.n_lines * g->line_tiles;
#pragma omp parallel for schedule(static)
    for (size_t tile = 0; tile < n; tile++) {
        size_t offsets[4];
        float *pixels[4];
        find_output(g, b.first_line + tile / g->line_tiles, tile % g->line_tiles, offsets);
        for (size_t i = 0; i < 4; i++) {
            pixels[i] = offsets[i] == SIZE_MAX ? p->surplus : y + offsets[i];
        }
        kernels->output(p->out + tile * LMN__PANEL, g->out_c, p->out_strides, pixels);
    }
}

/* Input panels that are multiplied in one go: their part of the filters is 16 KiB. */
#define PANELS_AT_ONCE ((size_t)16)

/* out = in filters, at all positions. */
static void multiply(const geometry *g, const parts *p, block b)
{
    const lmn__panel_kernels *kernels = lmn__panel_kernels_get();
    const size_t n = b.n_lines * g->line_tiles;
    const size_t in_panels = g->in_c / LMN__PANEL;
    const size_t out_panels = g->out_c / LMN__PANEL;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < LMN__POSITIONS * out_panels; i++) {
        const size_t position = i / out_panels;
        const size_t panel = i % out_panels;
        const float *in = p->in + position * p->in_strides.position;
        const float *filters = p->filters + i * g->in_c * LMN__PANEL;
        float *out = p->out + position * p->out_strides.position + panel * p->out_strides.panel;
        for (size_t first = 0; first < in_panels; first += PANELS_AT_ONCE) {
            const size_t left = in_panels - first;
            kernels->multiply(n, left < PANELS_AT_ONCE ? left : PANELS_AT_ONCE,
                              in + first * p->in_strides.panel, p->in_strides.panel,
                              filters + first * LMN__PANEL * LMN__PANEL, first > 0, out);
        }
    }
}

/* filters += in' out, at all positions. */
static void multiply_transposed(const geometry *g, const parts *p, block b)
{
    const lmn__panel_kernels *kernels = lmn__panel_kernels_get();
    const size_t n = b.n_lines * g->line_tiles;
    const size_t in_panels = g->in_c / LMN__PANEL;
    const size_t out_panels = g->out_c / LMN__PANEL;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < LMN__POSITIONS * out_panels; i++) {
        const size_t position = i / out_panels;
        const size_t panel = i % out_panels;
        const float *in = p->in + position * p->in_strides.position;
        const float *out =
            p->out + position * p->out_strides.position + panel * p->out_strides.panel;
        float *filters = p->filters + i * g->in_c * LMN__PANEL;
        for (size_t k = 0; k < in_panels; k++) {
            kernels->multiply_transposed(n, in + k * p->in_strides.panel, out,
                                         filters + k * LMN__PANEL * LMN__PANEL);
        }
    }
}

/* The epilogue for the output lines of a block, image by image. */
static void finish_lines(const geometry *g, block b, const lmn__conv_call *call)
{
    const size_t end = b.first_line + b.n_lines;
    for (size_t line = b.first_line; line < end;) {
        const size_t image = line / g->tile_lines;
        const size_t image_end = (image + 1) * g->tile_lines;
        const size_t stop = end < image_end ? end : image_end;
        const size_t first_y = 2 * (line - image * g->tile_lines);
        const size_t stop_y = 2 * (stop - image * g->tile_lines);
        const size_t n_y = (stop_y < g->out_h ? stop_y : g->out_h) - first_y;
        const size_t row = g->out_w * g->out_c;
        lmn__conv_finish(call, (image * g->out_h + first_y) * row, n_y * row);
        line = stop;
    }
}

static block next_block(const geometry *g, size_t first_line)
{
    const size_t left = g->batch * g->tile_lines - first_line;
    return (block){.first_line = first_line,
                   .n_lines = left < g->block_lines ? left : g->block_lines};
}

/* Forward, and the input gradient, for which `transform` turns the filters. */
static void convolve(const geometry *g, const lmn__conv *conv, const lmn__conv_call *call,
                     void (*transform)(const float *, size_t, size_t, size_t, float *))
{
    const parts p = lay_out(g, call->workspace);
#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < conv->c; first += LMN__PANEL) {
        transform(call->b, conv->c, conv->k, first, p.filters);
    }
    const size_t lines = g->batch * g->tile_lines;
    for (size_t line = 0; line < lines; line += g->block_lines) {
        const block b = next_block(g, line);
        transform_inputs(g, &p, b, call->a);
        multiply(g, &p, b);
        transform_outputs(g, &p, b, call->result);
        finish_lines(g, b, call);
    }
}

static void weight_grad(const geometry *g, const lmn__conv *conv, const lmn__conv_call *call)
{
    const lmn__winograd_kernels *kernels = lmn__winograd_kernels_get();
    const parts p = lay_out(g, call->workspace);
    memset(p.filters, 0, LMN__POSITIONS * conv->c * conv->k * sizeof *p.filters);
    const size_t lines = g->batch * g->tile_lines;
    for (size_t line = 0; line < lines; line += g->block_lines) {
        const block b = next_block(g, line);
        transform_inputs(g, &p, b, call->a);
        transform_output_grads(g, &p, b, call->b);
        multiply_transposed(g, &p, b);
    }
#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < conv->c; first += LMN__PANEL) {
        kernels->filter_grad(p.filters, conv->c, conv->k, first, call->result);
    }
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
    (void)err;
    const geometry g = make_geometry(conv, direction);
    *state_out = NULL;
    *workspace_bytes_out = count_bytes(&g);
    return LMN_OK;
}

static lmn_status run(const lmn__conv *conv, lmn__conv_direction direction, const void *state,
                      const lmn__conv_call *call, lmn_error *err)
{
    (void)state;
    (void)err;
    const lmn__winograd_kernels *kernels = lmn__winograd_kernels_get();
    const geometry g = make_geometry(conv, direction);
    switch (direction) {
    case LMN__CONV_FORWARD:
        convolve(&g, conv, call, kernels->filter);
        break;
    case LMN__CONV_INPUT_GRAD:
        convolve(&g, conv, call, kernels->filter_rotated);
        break;
    case LMN__CONV_WEIGHT_GRAD:
    default:
        weight_grad(&g, conv, call);
        break;
    }
    return LMN_OK;
}

const lmn__conv_backend lmn__conv_winograd = {
    .name = "winograd", .supports = supports, .prepare = prepare, .run = run};

/*
 * How Winograd convolution cuts its work.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "winograd_internal.h"

/* Transformed tiles of a block: what keeps the second-level cache half full, within bounds. */
static const size_t BLOCK_BYTES = (size_t)256 * 1024;
static const size_t TILES_MIN = 80;
static const size_t TILES_MAX = 160;

/* Transformed filters, in floats, that are cheaper to keep from block to block than to compute
   anew: what a third-level cache holds beside the rest. */
static const size_t KEPT_FILTERS = (size_t)1024 * 1024;

/* Sums for the weight gradient that are taken side by side, and floats of all of them. */
static const size_t SUMS_MAX = 4;
static const size_t SUMS_COUNT = (size_t)300 * 1024;

/* The number of lines near the wanted size whose tiles fill steps of `rows` best. */
static size_t choose_lines(const lmn__winograd *g, size_t rows)
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
        /* Smaller share of surplus rows: (lmn__round_up(n) - n) / n, compared without division. */
        if ((lmn__round_up(n, rows) - n) * n_best < (lmn__round_up(n_best, rows) - n_best) * n) {
            best = lines;
        }
    }
    const size_t total = g->batch * g->tile_lines;
    return best < total ? best : total;
}

size_t lmn__winograd_panel(const lmn__winograd *g)
{
    return LMN__POSITIONS * g->in_c * LMN__PANEL;
}

size_t lmn__winograd_blocks(const lmn__winograd *g)
{
    return (g->batch * g->tile_lines + g->block_lines - 1) / g->block_lines;
}

/*
 * What is kept, and who works on what. Many blocks are shared among threads block by block, since
 * then they need not wait for each other; the sums of a weight gradient, whose number is a matter
 * of shapes, sum by sum.
 */
static void set_shares(lmn__winograd *g, bool sums_blocks)
{
    const size_t out_panels = g->out_c / LMN__PANEL;
    const size_t threads = lmn__thread_count();
    const size_t count = lmn__winograd_panel(g) * out_panels;
    const size_t n_blocks = lmn__winograd_blocks(g);
    g->keeps_filters = n_blocks > 1 && (sums_blocks || count <= KEPT_FILTERS);
    g->n_filters = g->keeps_filters || threads > out_panels ? out_panels : threads;
    g->n_sums = 1;
    if (sums_blocks && g->keeps_filters) {
        const size_t most = SUMS_COUNT / count < SUMS_MAX ? SUMS_COUNT / count : SUMS_MAX;
        g->n_sums = most < 1 ? 1 : (most < n_blocks ? most : n_blocks);
    }
    const bool has_teams = g->keeps_filters && (!sums_blocks || g->n_sums > 1);
    g->teams = has_teams ? (int)threads : 1;
    g->threads = has_teams ? 1 : (int)threads;
}

lmn__winograd lmn__winograd_make(const lmn__conv *conv, lmn__conv_direction direction)
{
    const lmn_window *w = &conv->window;
    lmn__winograd g = {.batch = conv->batch,
                       .in_h = conv->h,
                       .in_w = conv->w,
                       .in_c = conv->c,
                       .out_h = conv->oh,
                       .out_w = conv->ow,
                       .out_c = conv->k,
                       .pad_top = w->pad_top,
                       .pad_left = w->pad_left};
    if (direction == LMN__CONV_INPUT_GRAD) {
        g = (lmn__winograd){.batch = conv->batch,
                            .in_h = conv->oh,
                            .in_w = conv->ow,
                            .in_c = conv->k,
                            .out_h = conv->h,
                            .out_w = conv->w,
                            .out_c = conv->c,
                            .pad_top = 2 - w->pad_top,
                            .pad_left = 2 - w->pad_left};
    }
    g.tile_lines = (g.out_h + LMN__TILE - 1) / LMN__TILE;
    g.line_tiles = (g.out_w + LMN__TILE - 1) / LMN__TILE;
    g.block_lines = choose_lines(&g, lmn__panel_kernels_get()->rows);
    g.block_rows = lmn__round_up(g.block_lines * g.line_tiles, LMN__ROW_UNIT);
    set_shares(&g, direction == LMN__CONV_WEIGHT_GRAD);
    return g;
}

static lmn__tile_strides make_strides(const lmn__winograd *g, size_t channels)
{
    const size_t panel = g->block_rows * LMN__PANEL;
    return (lmn__tile_strides){.position = panel * (channels / LMN__PANEL) + LMN__PANEL,
                               .panel = panel};
}

static size_t bytes_of(size_t count)
{
    return lmn_align_up(count * sizeof(float));
}

static size_t filters_bytes(const lmn__winograd *g)
{
    return bytes_of(g->n_sums * g->n_filters * lmn__winograd_panel(g));
}

size_t lmn__winograd_bytes(const lmn__winograd *g)
{
    return filters_bytes(g) +
           (size_t)g->teams * (bytes_of(LMN__POSITIONS * make_strides(g, g->in_c).position) +
                               bytes_of(LMN__POSITIONS * make_strides(g, g->out_c).position));
}

lmn__winograd_parts lmn__winograd_lay_out(const lmn__winograd *g, void *workspace)
{
    lmn__winograd_parts p = {.in_strides = make_strides(g, g->in_c),
                             .out_strides = make_strides(g, g->out_c)};
    const size_t in_bytes = bytes_of(LMN__POSITIONS * p.in_strides.position);
    const size_t out_bytes = bytes_of(LMN__POSITIONS * p.out_strides.position);
    const size_t team = g->teams > 1 ? lmn__thread_index() : 0;
    void *in = (char *)workspace + filters_bytes(g) + team * (in_bytes + out_bytes);
    void *out = (char *)in + in_bytes;
    p.filters = workspace;
    p.in = in;
    p.out = out;
    return p;
}

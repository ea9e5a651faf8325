/*
 * Max and average pooling over NHWC images.
 *
 * Channels are the inner loop: every step handles the same place of the window for many channels.
 * Places of maxima are found anew by the kernels that derivatives need, so that an op has no hidden
 * state: `place` numbers the places of a window row by row, the first of equals wins, and NaN
 * counts as largest. Channels go through in pieces, so that places fit on the stack.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "clones.h"
#include "kernels_internal.h"

#include <math.h>
#include <string.h>

#define PIECE 64

/* The part of one output element's window that lies inside the image. */
typedef struct area {
    size_t row, n_rows;
    size_t column, n_columns;
    size_t offset; /* of its first element in x, channel 0 */
} area;

/* Clip `extent` places from `begin`, in padded coordinates, to an image of `size`. */
static void clip(size_t begin, size_t extent, size_t pad, size_t size, size_t *first_out,
                 size_t *count_out)
{
    const size_t first = begin < pad ? pad : begin;
    const size_t end = begin + extent < pad + size ? begin + extent : pad + size;
    *first_out = first - pad;
    *count_out = end - first;
}

/* The area of output element `index`, counted over batch, rows and columns. */
static area find_area(const lmn__pool *pool, size_t index)
{
    const lmn_window *window = &pool->window;
    const size_t column = index % pool->ow;
    const size_t row = index / pool->ow % pool->oh;
    const size_t image = index / pool->ow / pool->oh;
    area found = {0};
    clip(row * window->stride_h, pool->kh, window->pad_top, pool->h, &found.row, &found.n_rows);
    clip(column * window->stride_w, pool->kw, window->pad_left, pool->w, &found.column,
         &found.n_columns);
    found.offset = ((image * pool->h + found.row) * pool->w + found.column) * pool->c;
    return found;
}

static size_t output_count(const lmn__pool *pool)
{
    return pool->batch * pool->oh * pool->ow;
}

static size_t input_count(const lmn__pool *pool)
{
    return pool->batch * pool->h * pool->w * pool->c;
}

/* Offset from the start of an area to its place number `place`. */
static size_t place_offset(const lmn__pool *pool, const area *seen, size_t place)
{
    const size_t row = place / seen->n_columns;
    return (row * pool->w + place % seen->n_columns) * pool->c;
}

LMN__CLONES static void keep_larger(size_t n, const float *restrict x, float *restrict best)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        best[i] = x[i] > best[i] || isnan(x[i]) ? x[i] : best[i];
    }
}

/* Output element `index`, all channels. */
static void find_max(const lmn__pool *pool, size_t index, const float *x, float *y)
{
    const area seen = find_area(pool, index);
    const float *from = x + seen.offset;
    float *best = y + index * pool->c;
    memcpy(best, from, pool->c * sizeof *best);
    for (size_t place = 1; place < seen.n_rows * seen.n_columns; place++) {
        keep_larger(pool->c, from + place_offset(pool, &seen, place), best);
    }
}

void lmn__kernel_max_pool(const lmn__pool *pool, const float *x, float *y)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < output_count(pool); i++) {
        find_max(pool, i, x, y);
    }
}

LMN__CLONES static void keep_larger_place(size_t n, const float *restrict x, int32_t place,
                                          float *restrict best, int32_t *restrict places)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const bool wins = x[i] > best[i] || isnan(x[i]);
        best[i] = wins ? x[i] : best[i];
        places[i] = wins ? place : places[i];
    }
}

/* places [n <= PIECE] of the maxima of the channels that `from` points to. */
static void find_places(const lmn__pool *pool, const area *seen, size_t n, const float *from,
                        int32_t *places)
{
    float best[PIECE];
    memcpy(best, from, n * sizeof *best);
    memset(places, 0, n * sizeof *places);
    for (size_t place = 1; place < seen->n_rows * seen->n_columns; place++) {
        keep_larger_place(n, from + place_offset(pool, seen, place), (int32_t)place, best, places);
    }
}

static void pick_place(size_t n, const float *restrict z, int32_t place,
                       const int32_t *restrict places, float *restrict out)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float value = z[i]; /* read in any case, so that the loop has no branch */
        out[i] = places[i] == place ? value : out[i];
    }
}

void lmn__kernel_max_pool_pick(const lmn__pool *pool, const float *x, const float *z, float *y)
{
    int32_t places[PIECE];
    for (size_t i = 0; i < output_count(pool); i++) {
        const area seen = find_area(pool, i);
        for (size_t channel = 0; channel < pool->c; channel += PIECE) {
            const size_t n = pool->c - channel < PIECE ? pool->c - channel : PIECE;
            const size_t offset = seen.offset + channel;
            find_places(pool, &seen, n, x + offset, places);
            for (size_t place = 0; place < seen.n_rows * seen.n_columns; place++) {
                pick_place(n, z + offset + place_offset(pool, &seen, place), (int32_t)place, places,
                           y + i * pool->c + channel);
            }
        }
    }
}

LMN__CLONES static void add_to_place(size_t n, const float *restrict dy, int32_t place,
                                     const int32_t *restrict places, float *restrict dx)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float value = dy[i]; /* read in any case, so that the loop has no branch */
        dx[i] += places[i] == place ? value : 0.0F;
    }
}

LMN__CLONES static void set_place(size_t n, const float *restrict dy, int32_t place,
                                  const int32_t *restrict places, float *restrict dx)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float value = dy[i]; /* read in any case, so that the loop has no branch */
        dx[i] = places[i] == place ? value : 0.0F;
    }
}

/* Whether every element of the image is in exactly one window. */
static bool is_tiling(const lmn__pool *pool)
{
    const lmn_window *w = &pool->window;
    return w->stride_h == pool->kh && w->stride_w == pool->kw && w->pad_top == 0 &&
           w->pad_left == 0 && pool->h == pool->oh * pool->kh && pool->w == pool->ow * pool->kw;
}

/* The share of output element `index` in dx, for all channels: added, or set if windows tile. */
static void write_max_grad(const lmn__pool *pool, bool tiles, size_t index, const float *x,
                           const float *dy, float *dx)
{
    int32_t places[PIECE];
    const area seen = find_area(pool, index);
    for (size_t channel = 0; channel < pool->c; channel += PIECE) {
        const size_t n = pool->c - channel < PIECE ? pool->c - channel : PIECE;
        const size_t offset = seen.offset + channel;
        const float *from = dy + index * pool->c + channel;
        find_places(pool, &seen, n, x + offset, places);
        for (size_t place = 0; place < seen.n_rows * seen.n_columns; place++) {
            float *to = dx + offset + place_offset(pool, &seen, place);
            if (tiles) {
                set_place(n, from, (int32_t)place, places, to);
            } else {
                add_to_place(n, from, (int32_t)place, places, to);
            }
        }
    }
}

/* Image by image, so that what was cleared is still in the cache when it is added to. */
void lmn__kernel_max_pool_grad(const lmn__pool *pool, const float *x, const float *dy, float *dx)
{
    const size_t image_count = pool->h * pool->w * pool->c;
    const size_t windows = pool->oh * pool->ow;
    const bool tiles = is_tiling(pool);
#pragma omp parallel for schedule(static)
    for (size_t image = 0; image < pool->batch; image++) {
        if (!tiles) {
            memset(dx + image * image_count, 0, image_count * sizeof *dx);
        }
        for (size_t i = 0; i < windows; i++) {
            write_max_grad(pool, tiles, image * windows + i, x, dy, dx);
        }
    }
}

/* to += factor * from */
LMN__CLONES static void add_scaled(size_t n, float factor, const float *restrict from,
                                   float *restrict to)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        to[i] += factor * from[i];
    }
}

static float window_share(const lmn__pool *pool)
{
    return 1.0F / (float)(pool->kh * pool->kw);
}

void lmn__kernel_avg_pool(const lmn__pool *pool, const float *x, float *y)
{
    const float share = window_share(pool);
    memset(y, 0, output_count(pool) * pool->c * sizeof *y);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < output_count(pool); i++) {
        const area seen = find_area(pool, i);
        for (size_t place = 0; place < seen.n_rows * seen.n_columns; place++) {
            add_scaled(pool->c, share, x + seen.offset + place_offset(pool, &seen, place),
                       y + i * pool->c);
        }
    }
}

void lmn__kernel_avg_pool_grad(const lmn__pool *pool, const float *dy, float *dx)
{
    const float share = window_share(pool);
    const size_t windows = pool->oh * pool->ow;
    memset(dx, 0, input_count(pool) * sizeof *dx);
#pragma omp parallel for schedule(static)
    for (size_t image = 0; image < pool->batch; image++) {
        for (size_t i = image * windows; i < (image + 1) * windows; i++) {
            const area seen = find_area(pool, i);
            for (size_t place = 0; place < seen.n_rows * seen.n_columns; place++) {
                add_scaled(pool->c, share, dy + i * pool->c,
                           dx + seen.offset + place_offset(pool, &seen, place));
            }
        }
    }
}

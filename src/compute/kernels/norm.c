/*
 * Passes over rows of channels for batch norm, and row by row for layer norm.
 *
 * All loops run along the channels, which lie next to each other. A chunk of rows is small enough
 * to stay in the first-level cache, so that taking its mean first and its squares after costs one
 * read of memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "clones.h"
#include "kernels_internal.h"
#include "norm_internal.h"

#include <math.h>

/* Channels that are worked on together, and values of a chunk. */
#define BLOCK       64
#define CHUNK_COUNT 4096

static size_t chunk_rows(size_t n_channels)
{
    return n_channels >= CHUNK_COUNT / 8 ? 8 : CHUNK_COUNT / n_channels;
}

/* Column sums of x [n_rows, width] with rows `stride` apart; width at most BLOCK. */
LMN__CLONES static void sum_columns(size_t n_rows, size_t width, size_t stride,
                                    const float *restrict x, float *restrict sums)
{
    for (size_t i = 0; i < width; i++) {
        sums[i] = 0.0F;
    }
    for (size_t row = 0; row < n_rows; row++) {
        const float *restrict line = x + row * stride;
#pragma omp simd
        for (size_t i = 0; i < width; i++) {
            sums[i] += line[i];
        }
    }
}

LMN__CLONES static void sum_squares(size_t n_rows, size_t width, size_t stride,
                                    const float *restrict x, const float *restrict mean,
                                    float *restrict sums)
{
    for (size_t i = 0; i < width; i++) {
        sums[i] = 0.0F;
    }
    for (size_t row = 0; row < n_rows; row++) {
        const float *restrict line = x + row * stride;
#pragma omp simd
        for (size_t i = 0; i < width; i++) {
            const float difference = line[i] - mean[i];
            sums[i] += difference * difference;
        }
    }
}

LMN__CLONES static void sum_products(size_t n_rows, size_t width, size_t stride,
                                     const float *restrict x, const float *restrict dy,
                                     const float *restrict mean, float *restrict sums,
                                     float *restrict products)
{
    for (size_t i = 0; i < width; i++) {
        sums[i] = 0.0F;
        products[i] = 0.0F;
    }
    for (size_t row = 0; row < n_rows; row++) {
        const float *restrict line = x + row * stride;
        const float *restrict slope = dy + row * stride;
#pragma omp simd
        for (size_t i = 0; i < width; i++) {
            sums[i] += slope[i];
            products[i] += slope[i] * (line[i] - mean[i]);
        }
    }
}

/* Chunks that are summed side by side before they are merged in their order. */
#define GROUP 32

/* Sums over the rows of one chunk: two of each channel of a block. */
typedef struct chunk {
    size_t n_rows;
    float sums[2][BLOCK];
} chunk;

/* Sums of x and, about their mean, of its squares. */
static void measure_chunk(size_t width, size_t stride, const float *x, chunk *c)
{
    float means[BLOCK];
    sum_columns(c->n_rows, width, stride, x, c->sums[0]);
    for (size_t i = 0; i < width; i++) {
        means[i] = c->sums[0][i] / (float)c->n_rows;
    }
    sum_squares(c->n_rows, width, stride, x, means, c->sums[1]);
}

/* The moments of one chunk, merged into those of all rows before. */
static void merge_chunk(const chunk *c, size_t width, size_t n_before, double *sums,
                        double *squares)
{
    const double n = (double)c->n_rows;
    const double n_old = (double)n_before;
    for (size_t i = 0; i < width; i++) {
        /* The squares were taken about the rounded mean. */
        const double sum = (double)c->sums[0][i];
        const double mean = sum / n;
        const double error = mean - (double)(c->sums[0][i] / (float)c->n_rows);
        const double own = (double)c->sums[1][i] - n * error * error;
        const double apart = n_before == 0 ? 0.0 : mean - sums[i] / n_old;
        squares[i] += own + apart * apart * n * n_old / (n + n_old);
        sums[i] += sum;
    }
}

void lmn__add_moments(lmn__rows rows, size_t n_channels, const float *x, size_t n_before,
                      double *sums, double *squares)
{
    const size_t step = chunk_rows(n_channels);
    for (size_t block = 0; block < n_channels; block += BLOCK) {
        const size_t width = lmn__smaller(BLOCK, n_channels - block);
        for (size_t first = 0; first < rows.count; first += GROUP * step) {
            chunk chunks[GROUP];
            const size_t n = lmn__smaller(GROUP, (rows.count - first + step - 1) / step);
#pragma omp parallel for schedule(static)
            for (size_t i = 0; i < n; i++) {
                const size_t row = first + i * step;
                chunks[i].n_rows = lmn__smaller(step, rows.count - row);
                measure_chunk(width, n_channels, x + (rows.first + row) * n_channels + block,
                              &chunks[i]);
            }
            for (size_t i = 0; i < n; i++) {
                merge_chunk(&chunks[i], width, n_before + first + i * step, sums + block,
                            squares + block);
            }
        }
    }
}

static void add_chunk(const chunk *c, size_t width, double *sums, double *products)
{
    for (size_t i = 0; i < width; i++) {
        sums[i] += (double)c->sums[0][i];
        products[i] += (double)c->sums[1][i];
    }
}

void lmn__add_products(lmn__rows rows, size_t n_channels, const float *x, const float *dy,
                       const float *mean, double *sums, double *products)
{
    const size_t step = chunk_rows(n_channels);
    for (size_t block = 0; block < n_channels; block += BLOCK) {
        const size_t width = lmn__smaller(BLOCK, n_channels - block);
        for (size_t first = 0; first < rows.count; first += GROUP * step) {
            chunk chunks[GROUP];
            const size_t n = lmn__smaller(GROUP, (rows.count - first + step - 1) / step);
#pragma omp parallel for schedule(static)
            for (size_t i = 0; i < n; i++) {
                const size_t row = first + i * step;
                const size_t offset = (rows.first + row) * n_channels + block;
                sum_products(lmn__smaller(step, rows.count - row), width, n_channels, x + offset,
                             dy + offset, mean + block, chunks[i].sums[0], chunks[i].sums[1]);
            }
            for (size_t i = 0; i < n; i++) {
                add_chunk(&chunks[i], width, sums + block, products + block);
            }
        }
    }
}

LMN__CLONES void lmn__normalise_rows(size_t n_rows, size_t n_channels, const float *restrict x,
                                     const float *restrict mean, const float *restrict factor,
                                     const float *restrict shift, float *restrict y)
{
    for (size_t row = 0; row < n_rows; row++) {
        const float *restrict from = x + row * n_channels;
        float *restrict to = y + row * n_channels;
#pragma omp simd
        for (size_t i = 0; i < n_channels; i++) {
            to[i] = (from[i] - mean[i]) * factor[i] + shift[i];
        }
    }
}

LMN__CLONES void lmn__normalise_rows_grad(size_t n_rows, size_t n_channels, const float *restrict x,
                                          const float *dy, const float *restrict mean,
                                          const float *restrict factor,
                                          const float *restrict offset, const float *restrict slope,
                                          float *dx)
{
    for (size_t row = 0; row < n_rows; row++) {
        const float *restrict line = x + row * n_channels;
        const float *from = dy + row * n_channels;
        float *to = dx + row * n_channels;
#pragma omp simd
        for (size_t i = 0; i < n_channels; i++) {
            const float centred = line[i] - mean[i];
            to[i] = factor[i] * (from[i] - offset[i] - centred * slope[i]);
        }
    }
}

/* Mean and reciprocal deviation of one row. */
typedef struct row_moments {
    float mean;
    float factor;
} row_moments;

/* Partial sums of a row, as those of lmn__kernel_sum. */
#define LANES 16

LMN__CLONES static float sum_of_squares(size_t n, const float *x, float mean)
{
    float sums[LANES] = {0.0F};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (size_t lane = 0; lane < LANES; lane++) {
            const float difference = x[i + lane] - mean;
            sums[lane] += difference * difference;
        }
    }
    for (size_t lane = 0; i + lane < n; lane++) {
        const float difference = x[i + lane] - mean;
        sums[lane] += difference * difference;
    }
    return lmn__kernel_sum(LANES, sums);
}

static row_moments measure_row(size_t n, const float *x, float epsilon)
{
    const float mean = lmn__kernel_sum(n, x) / (float)n;
    const float variance = sum_of_squares(n, x, mean) / (float)n;
    return (row_moments){.mean = mean, .factor = 1.0F / sqrtf(variance + epsilon)};
}

LMN__CLONES static void normalise_row(size_t n, row_moments row, const float *restrict x,
                                      const float *restrict scale, const float *restrict shift,
                                      float *restrict y)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        y[i] = (x[i] - row.mean) * row.factor * scale[i] + shift[i];
    }
}

void lmn__layer_norm(size_t n_rows, size_t n_channels, const float *x, const float *scale,
                     const float *shift, float epsilon, float *y)
{
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < n_rows; row++) {
        const float *from = x + row * n_channels;
        normalise_row(n_channels, measure_row(n_channels, from, epsilon), from, scale, shift,
                      y + row * n_channels);
    }
}

/* Means over a row of g = dy scale, and of g times the normalised x. */
LMN__CLONES static void mean_slopes(size_t n, row_moments row, const float *x, const float *dy,
                                    const float *scale, float *mean_out, float *product_out)
{
    float sums[LANES] = {0.0F};
    float products[LANES] = {0.0F};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
#pragma omp simd
        for (size_t lane = 0; lane < LANES; lane++) {
            const float g = dy[i + lane] * scale[i + lane];
            sums[lane] += g;
            products[lane] += g * ((x[i + lane] - row.mean) * row.factor);
        }
    }
    for (size_t lane = 0; i + lane < n; lane++) {
        const float g = dy[i + lane] * scale[i + lane];
        sums[lane] += g;
        products[lane] += g * ((x[i + lane] - row.mean) * row.factor);
    }
    *mean_out = lmn__kernel_sum(LANES, sums) / (float)n;
    *product_out = lmn__kernel_sum(LANES, products) / (float)n;
}

LMN__CLONES static void write_row_grad(size_t n, row_moments row, const float *x, const float *dy,
                                       const float *scale, float mean, float product, float *dx)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float normalised = (x[i] - row.mean) * row.factor;
        dx[i] = row.factor * (dy[i] * scale[i] - mean - normalised * product);
    }
}

void lmn__layer_norm_grad(size_t n_rows, size_t n_channels, const float *x, const float *dy,
                          const float *scale, float epsilon, float *dx)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n_rows; i++) {
        const float *x_row = x + i * n_channels;
        const float *dy_row = dy + i * n_channels;
        const row_moments row = measure_row(n_channels, x_row, epsilon);
        float mean = 0.0F;
        float product = 0.0F;
        mean_slopes(n_channels, row, x_row, dy_row, scale, &mean, &product);
        write_row_grad(n_channels, row, x_row, dy_row, scale, mean, product, dx + i * n_channels);
    }
}

/* Rows whose sums are taken in float before they are added up in double. */
#define SUM_ROWS 64

LMN__CLONES static void add_row_products(size_t n, row_moments row, const float *restrict x,
                                         const float *restrict dy, float *restrict sums,
                                         float *restrict products)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        sums[i] += dy[i];
        products[i] += dy[i] * ((x[i] - row.mean) * row.factor);
    }
}

void lmn__layer_norm_sums(size_t n_rows, size_t n_channels, const float *x, const float *dy,
                          float epsilon, double *workspace, float *sums)
{
    double *totals = workspace; /* [2][n_channels] */
    void *rest = workspace + 2 * n_channels;
    float *part = rest; /* [2][n_channels] */
    for (size_t i = 0; i < 2 * n_channels; i++) {
        totals[i] = 0.0;
    }
    for (size_t first = 0; first < n_rows; first += SUM_ROWS) {
        for (size_t i = 0; i < 2 * n_channels; i++) {
            part[i] = 0.0F;
        }
        const size_t end = lmn__smaller(first + SUM_ROWS, n_rows);
        for (size_t row = first; row < end; row++) {
            const float *x_row = x + row * n_channels;
            add_row_products(n_channels, measure_row(n_channels, x_row, epsilon), x_row,
                             dy + row * n_channels, part, part + n_channels);
        }
        for (size_t i = 0; i < 2 * n_channels; i++) {
            totals[i] += (double)part[i];
        }
    }
    for (size_t i = 0; i < 2 * n_channels; i++) {
        sums[i] = (float)totals[i];
    }
}

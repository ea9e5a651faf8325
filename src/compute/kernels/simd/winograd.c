/*
 * Transforms of Winograd's F(4x4, 3x3), for one instruction set.
 *
 * Written with the compiler's vector type; everything works on whole panels of 16 channels, a
 * register, two or four. Polynomials are evaluated at 0, +-a, +-b and infinity (the method: A.
 * Lavin and S. Gray, "Fast algorithms for convolutional neural networks", arXiv:1509.09308). With
 * a = 5/8 and b = 3/2 all numbers of A and B are exact, and since a b is near 1 and neither is far
 * from it, rounding errors are half of those with the usual 1 and 2, about 2.5 times those of
 * direct convolution (on the choice: B. Barabasz et al., "Error analysis and improving the accuracy
 * of Winograd convolution for deep neural networks", ACM TOMS 46, 2020). Rows of the matrices:
 *
 *     B'  a^2 b^2  0      -(a^2 + b^2)  0             1  0    A'  1  1    1    1    1    0
 *         0       -a b^2  -b^2          a             1  0        0  a   -a    b   -b    0
 *         0        a b^2  -b^2         -a             1  0        0  a^2  a^2  b^2  b^2  0
 *         0       -a^2 b  -a^2          b             1  0        0  a^3 -a^3  b^3 -b^3  1
 *         0        a^2 b  -a^2         -b             1  0    G   [1 p p^2] / N(p) for each point
 * p, 0        a^2 b^2 0           -(a^2 + b^2)   0  1        [0 0 1] for infinity
 *
 * where N(p) is the product of the distances of p to the other points.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "winograd.h"

#include "vector.h"

#define A1 0.625F /* a */
#define B1 1.5F   /* b */
#define A2 (A1 * A1)
#define B2 (B1 * B1)
#define A3 (A2 * A1)
#define B3 (B2 * B1)

/* 1 / N of the points 0, +-a and +-b. */
#define N0 (1.0F / (A2 * B2))
#define NA (1.0F / (2.0F * A2 * (A2 - B2)))
#define NB (1.0F / (2.0F * B2 * (B2 - A2)))

#define IN  LMN__TILE_IN
#define OUT LMN__TILE

/* B' times six values. */
static inline void transform_input_column(const vector *d, size_t d_step, vector *v, size_t v_step)
{
    const vector d1 = d[d_step];
    const vector d2 = d[2 * d_step];
    const vector d3 = d[3 * d_step];
    const vector d4 = d[4 * d_step];
    const vector even_a = d4 - B2 * d2;
    const vector odd_a = A1 * (d3 - B2 * d1);
    const vector even_b = d4 - A2 * d2;
    const vector odd_b = B1 * (d3 - A2 * d1);
    v[0] = A2 * B2 * d[0] + (d4 - (A2 + B2) * d2);
    v[v_step] = even_a + odd_a;
    v[2 * v_step] = even_a - odd_a;
    v[3 * v_step] = even_b + odd_b;
    v[4 * v_step] = even_b - odd_b;
    v[5 * v_step] = A2 * B2 * d1 + (d[5 * d_step] - (A2 + B2) * d3);
}

static inline void store_positions(const vector *m, size_t n, size_t position, float *to)
{
#pragma GCC unroll 36
    for (size_t i = 0; i < n; i++) {
        store(to + i * position, m[i]);
    }
}

/* The pixels of a tile: where they lie, and which of them are in the image. */
typedef struct pixels {
    ptrdiff_t first;     /* offset in the image of pixel 0, 0, be it inside or not */
    ptrdiff_t line;      /* from one line to the next */
    ptrdiff_t column;    /* from one pixel to the next */
    size_t lines[2];     /* inside are lines [0] to [1] - 1 */
    size_t columns[2];   /* and of these columns [0] to [1] - 1 */
    bool are_all_inside; /* all of them */
} pixels;

static inline size_t clip(ptrdiff_t place, size_t side)
{
    if (place < 0) {
        return 0;
    }
    return (size_t)place < side ? (size_t)place : side;
}

static inline pixels find_pixels(const lmn__tile_place *place, size_t side)
{
    const ptrdiff_t column = (ptrdiff_t)place->channels;
    const ptrdiff_t line = (ptrdiff_t)place->width * column;
    const ptrdiff_t height = (ptrdiff_t)place->height;
    const ptrdiff_t width = (ptrdiff_t)place->width;
    pixels p = {.first = place->line * line + place->column * column,
                .line = line,
                .column = column,
                .lines = {clip(-place->line, side), clip(height - place->line, side)},
                .columns = {clip(-place->column, side), clip(width - place->column, side)}};
    p.are_all_inside =
        p.lines[0] == 0 && p.columns[0] == 0 && p.lines[1] == side && p.columns[1] == side;
    return p;
}

static inline bool is_inside(const pixels *p, size_t i, size_t j)
{
    return i >= p->lines[0] && i < p->lines[1] && j >= p->columns[0] && j < p->columns[1];
}

static inline ptrdiff_t offset_of(const pixels *p, size_t i, size_t j)
{
    return p->first + (ptrdiff_t)i * p->line + (ptrdiff_t)j * p->column;
}

/* Zero for a pixel outside the image. */
static inline vector load_pixel(const pixels *p, bool whole, const float *channels, size_t i,
                                size_t j)
{
    return whole || is_inside(p, i, j) ? load(channels + offset_of(p, i, j)) : broadcast(0.0F);
}

/* Of LANES channels. whole: all pixels are inside. */
static inline void transform_input_pixels(const pixels *p, bool whole, const float *channels,
                                          size_t position, float *to)
{
    vector columns[LMN__POSITIONS];
    vector six[IN];
#pragma GCC unroll 6
    for (size_t j = 0; j < IN; j++) {
#pragma GCC unroll 6
        for (size_t i = 0; i < IN; i++) {
            six[i] = load_pixel(p, whole, channels, i, j);
        }
        transform_input_column(six, 1, columns + j, IN);
    }
#pragma GCC unroll 6
    for (size_t i = 0; i < IN; i++) {
        transform_input_column(columns + IN * i, 1, six, 1);
        store_positions(six, IN, position, to + IN * i * position);
    }
}

static void transform_input(const lmn__tile_place *place, const float *image,
                            lmn__tile_strides strides, float *tile)
{
    const pixels p = find_pixels(place, IN);
    for (size_t channel = 0; channel < place->channels; channel += LANES) {
        float *to = tile + channel / LMN__PANEL * strides.panel + channel % LMN__PANEL;
        if (p.are_all_inside) {
            transform_input_pixels(&p, true, image + channel, strides.position, to);
        } else {
            transform_input_pixels(&p, false, image + channel, strides.position, to);
        }
    }
}

/* A' times six values. */
static inline void gather_outputs(const vector *m, size_t m_step, vector *y, size_t y_step)
{
    const vector even_a = m[m_step] + m[2 * m_step];
    const vector odd_a = m[m_step] - m[2 * m_step];
    const vector even_b = m[3 * m_step] + m[4 * m_step];
    const vector odd_b = m[3 * m_step] - m[4 * m_step];
    y[0] = m[0] + even_a + even_b;
    y[y_step] = A1 * odd_a + B1 * odd_b;
    y[2 * y_step] = A2 * even_a + B2 * even_b;
    y[3 * y_step] = A3 * odd_a + (B3 * odd_b + m[5 * m_step]);
}

static inline void transform_output_pixels(const float *from, size_t position, const pixels *p,
                                           bool whole, float *channels)
{
    vector rows[OUT * IN];
    vector six[IN];
#pragma GCC unroll 6
    for (size_t j = 0; j < IN; j++) {
#pragma GCC unroll 6
        for (size_t i = 0; i < IN; i++) {
            six[i] = load(from + (IN * i + j) * position);
        }
        gather_outputs(six, 1, rows + j, IN);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < OUT; i++) {
        gather_outputs(rows + IN * i, 1, six, 1);
#pragma GCC unroll 4
        for (size_t j = 0; j < OUT; j++) {
            if (whole || is_inside(p, i, j)) {
                store(channels + offset_of(p, i, j), six[j]);
            }
        }
    }
}

static void transform_output(const float *tile, lmn__tile_strides strides,
                             const lmn__tile_place *place, float *image)
{
    const pixels p = find_pixels(place, OUT);
    for (size_t channel = 0; channel < place->channels; channel += LANES) {
        const float *from = tile + channel / LMN__PANEL * strides.panel + channel % LMN__PANEL;
        if (p.are_all_inside) {
            transform_output_pixels(from, strides.position, &p, true, image + channel);
        } else {
            transform_output_pixels(from, strides.position, &p, false, image + channel);
        }
    }
}

/* A times four values: what gather_outputs would read, were it run backwards. */
static inline void spread_outputs(const vector *y, size_t y_step, vector *m, size_t m_step)
{
    const vector even_a = y[0] + A2 * y[2 * y_step];
    const vector odd_a = A1 * y[y_step] + A3 * y[3 * y_step];
    const vector even_b = y[0] + B2 * y[2 * y_step];
    const vector odd_b = B1 * y[y_step] + B3 * y[3 * y_step];
    m[0] = y[0];
    m[m_step] = even_a + odd_a;
    m[2 * m_step] = even_a - odd_a;
    m[3 * m_step] = even_b + odd_b;
    m[4 * m_step] = even_b - odd_b;
    m[5 * m_step] = y[3 * y_step];
}

static inline void transform_output_grad_pixels(const pixels *p, bool whole, const float *channels,
                                                size_t position, float *to)
{
    vector columns[IN * OUT];
    vector six[IN];
#pragma GCC unroll 4
    for (size_t j = 0; j < OUT; j++) {
#pragma GCC unroll 4
        for (size_t i = 0; i < OUT; i++) {
            six[i] = load_pixel(p, whole, channels, i, j);
        }
        spread_outputs(six, 1, columns + j, OUT);
    }
#pragma GCC unroll 6
    for (size_t i = 0; i < IN; i++) {
        spread_outputs(columns + OUT * i, 1, six, 1);
        store_positions(six, IN, position, to + IN * i * position);
    }
}

static void transform_output_grad(const lmn__tile_place *place, const float *image,
                                  lmn__tile_strides strides, float *tile)
{
    const pixels p = find_pixels(place, OUT);
    for (size_t channel = 0; channel < place->channels; channel += LANES) {
        float *to = tile + channel / LMN__PANEL * strides.panel + channel % LMN__PANEL;
        if (p.are_all_inside) {
            transform_output_grad_pixels(&p, true, image + channel, strides.position, to);
        } else {
            transform_output_grad_pixels(&p, false, image + channel, strides.position, to);
        }
    }
}

/* G times three values. */
static inline void transform_filter_column(const vector *g, size_t g_step, vector *u, size_t u_step)
{
    const vector even_a = NA * (g[0] + A2 * g[2 * g_step]);
    const vector odd_a = NA * A1 * g[g_step];
    const vector even_b = NB * (g[0] + B2 * g[2 * g_step]);
    const vector odd_b = NB * B1 * g[g_step];
    u[0] = N0 * g[0];
    u[u_step] = even_a + odd_a;
    u[2 * u_step] = even_a - odd_a;
    u[3 * u_step] = even_b + odd_b;
    u[4 * u_step] = even_b - odd_b;
    u[5 * u_step] = g[2 * g_step];
}

/* G g G' of LANES filters. */
static inline void transform_filter(const vector *g, vector *u)
{
    vector rows[IN * 3];
#pragma GCC unroll 3
    for (size_t j = 0; j < 3; j++) {
        transform_filter_column(g + j, 3, rows + j, 3);
    }
#pragma GCC unroll 6
    for (size_t i = 0; i < IN; i++) {
        transform_filter_column(rows + 3 * i, 1, u + IN * i, 1);
    }
}

static void filter(const float *weight, size_t c, size_t k, size_t position, float *to)
{
    for (size_t channel = 0; channel < LMN__PANEL; channel++) {
        for (size_t out = 0; out < LMN__PANEL; out += LANES) {
            vector g[9];
            vector u[LMN__POSITIONS];
            for (size_t i = 0; i < 9; i++) {
                g[i] = load(weight + (i * c + channel) * k + out);
            }
            transform_filter(g, u);
            store_positions(u, LMN__POSITIONS, position, to + channel * LMN__PANEL + out);
        }
    }
}

/* Nine weights of 16 input and LANES output channels, turned by half a turn and transposed. */
typedef float rotated_weights[9][LANES][LMN__PANEL];

static inline void rotate_weights(const float *weight, size_t c, size_t k, rotated_weights block)
{
    for (size_t i = 0; i < 9; i++) {
        for (size_t channel = 0; channel < LMN__PANEL; channel++) {
            const vector row = load(weight + (i * c + channel) * k);
            for (size_t lane = 0; lane < LANES; lane++) {
                block[8 - i][lane][channel] = row[lane];
            }
        }
    }
}

/* The filters of one output channel, from LANES input channels. */
static inline void transform_rotated(rotated_weights block, size_t lane, size_t channel,
                                     size_t position, float *to)
{
    vector g[9];
    vector u[LMN__POSITIONS];
    for (size_t i = 0; i < 9; i++) {
        g[i] = load(&block[i][lane][channel]);
    }
    transform_filter(g, u);
    store_positions(u, LMN__POSITIONS, position, to);
}

static void filter_rotated(const float *weight, size_t c, size_t k, size_t position, float *to)
{
    for (size_t out = 0; out < LMN__PANEL; out += LANES) {
        rotated_weights block;
        rotate_weights(weight + out, c, k, block);
        for (size_t lane = 0; lane < LANES; lane++) {
            for (size_t channel = 0; channel < LMN__PANEL; channel += LANES) {
                transform_rotated(block, lane, channel, position,
                                  to + (out + lane) * LMN__PANEL + channel);
            }
        }
    }
}

/* G' times six values. */
static inline void gather_filter_column(const vector *u, size_t u_step, vector *g, size_t g_step)
{
    const vector even_a = NA * (u[u_step] + u[2 * u_step]);
    const vector odd_a = NA * (u[u_step] - u[2 * u_step]);
    const vector even_b = NB * (u[3 * u_step] + u[4 * u_step]);
    const vector odd_b = NB * (u[3 * u_step] - u[4 * u_step]);
    g[0] = N0 * u[0] + (even_a + even_b);
    g[g_step] = A1 * odd_a + B1 * odd_b;
    g[2 * g_step] = A2 * even_a + (B2 * even_b + u[5 * u_step]);
}

static void filter_grad(const float *from, size_t position, size_t c, size_t k, float *weight)
{
    for (size_t place = 0; place < (size_t)LMN__PANEL * LMN__PANEL; place += LANES) {
        vector rows[3 * IN];
        vector g[9];
#pragma GCC unroll 6
        for (size_t j = 0; j < IN; j++) {
            vector u[IN];
            for (size_t i = 0; i < IN; i++) {
                u[i] = load(from + (IN * i + j) * position + place);
            }
            gather_filter_column(u, 1, rows + j, IN);
        }
#pragma GCC unroll 3
        for (size_t i = 0; i < 3; i++) {
            gather_filter_column(rows + IN * i, 1, g + 3 * i, 1);
        }
        float *to = weight + place / LMN__PANEL * k + place % LMN__PANEL;
        for (size_t i = 0; i < 9; i++) {
            store(to + i * c * k, g[i]);
        }
    }
}

extern const lmn__winograd_kernels VARIANT_NAME(lmn__winograd_kernels_);
const lmn__winograd_kernels VARIANT_NAME(lmn__winograd_kernels_) = {
    .input = transform_input,
    .output = transform_output,
    .output_grad = transform_output_grad,
    .filter = filter,
    .filter_rotated = filter_rotated,
    .filter_grad = filter_grad,
};

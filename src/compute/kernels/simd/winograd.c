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

/* B' times the column d[0], d[step], ..., d[5 step]. */
static inline void transform_input_column(vector *d, size_t step)
{
    const vector d0 = d[0];
    const vector d1 = d[step];
    const vector d2 = d[2 * step];
    const vector d3 = d[3 * step];
    const vector d4 = d[4 * step];
    const vector d5 = d[5 * step];
    const vector even_a = d4 - B2 * d2;
    const vector odd_a = A1 * (d3 - B2 * d1);
    const vector even_b = d4 - A2 * d2;
    const vector odd_b = B1 * (d3 - A2 * d1);
    d[0] = A2 * B2 * d0 + (d4 - (A2 + B2) * d2);
    d[step] = even_a + odd_a;
    d[2 * step] = even_a - odd_a;
    d[3 * step] = even_b + odd_b;
    d[4 * step] = even_b - odd_b;
    d[5 * step] = A2 * B2 * d1 + (d5 - (A2 + B2) * d3);
}

/* Whether all `side` x `side` pixels lie in the image. */
static inline bool is_whole(const lmn__tile_place *place, size_t side)
{
    return place->line >= 0 && place->column >= 0 && (size_t)place->line + side <= place->height &&
           (size_t)place->column + side <= place->width;
}

/* Offset of pixel i, j of a tile, or -1 outside the image. */
static inline ptrdiff_t find_pixel(const lmn__tile_place *place, bool whole, size_t i, size_t j)
{
    const ptrdiff_t line = place->line + (ptrdiff_t)i;
    const ptrdiff_t column = place->column + (ptrdiff_t)j;
    const bool is_inside = whole || (line >= 0 && (size_t)line < place->height && column >= 0 &&
                                     (size_t)column < place->width);
    return is_inside ? (line * (ptrdiff_t)place->width + column) * (ptrdiff_t)place->channels : -1;
}

static inline void load_pixels(const lmn__tile_place *place, bool whole, const float *image,
                               size_t side, size_t channel, vector *d)
{
    for (size_t i = 0; i < side; i++) {
        for (size_t j = 0; j < side; j++) {
            const ptrdiff_t offset = find_pixel(place, whole, i, j);
            d[side * i + j] =
                whole || offset >= 0 ? load(image + offset + channel) : broadcast(0.0F);
        }
    }
}

static inline void store_positions(const vector *m, size_t position, float *to)
{
#pragma GCC unroll 36
    for (size_t i = 0; i < LMN__POSITIONS; i++) {
        store(to + i * position, m[i]);
    }
}

static inline void transform_input_pixels(const lmn__tile_place *place, bool whole,
                                          const float *image, lmn__tile_strides strides,
                                          float *tile)
{
    for (size_t channel = 0; channel < place->channels; channel += LANES) {
        vector d[LMN__POSITIONS];
        load_pixels(place, whole, image, IN, channel, d);
#pragma GCC unroll 6
        for (size_t i = 0; i < IN; i++) {
            transform_input_column(d + i, IN);
        }
#pragma GCC unroll 6
        for (size_t i = 0; i < IN; i++) {
            transform_input_column(d + IN * i, 1);
        }
        store_positions(d, strides.position,
                        tile + channel / LMN__PANEL * strides.panel + channel % LMN__PANEL);
    }
}

static void transform_input(const lmn__tile_place *place, const float *image,
                            lmn__tile_strides strides, float *tile)
{
    if (is_whole(place, IN)) {
        transform_input_pixels(place, true, image, strides, tile);
    } else {
        transform_input_pixels(place, false, image, strides, tile);
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

/* One line of a tile's results, as far as it lies in the image. */
static inline void store_line(const lmn__tile_place *place, bool whole, size_t line,
                              const vector *y, float *channels)
{
    for (size_t j = 0; j < OUT; j++) {
        const ptrdiff_t offset = find_pixel(place, whole, line, j);
        if (whole || offset >= 0) {
            store(channels + offset, y[j]);
        }
    }
}

static inline void transform_output_pixels(const float *tile, lmn__tile_strides strides,
                                           const lmn__tile_place *place, bool whole, float *image)
{
    for (size_t channel = 0; channel < place->channels; channel += LANES) {
        const float *from = tile + channel / LMN__PANEL * strides.panel + channel % LMN__PANEL;
        vector rows[OUT * IN];
#pragma GCC unroll 6
        for (size_t j = 0; j < IN; j++) {
            vector m[IN];
            for (size_t i = 0; i < IN; i++) {
                m[i] = load(from + (IN * i + j) * strides.position);
            }
            gather_outputs(m, 1, rows + j, IN);
        }
#pragma GCC unroll 4
        for (size_t i = 0; i < OUT; i++) {
            vector y[OUT];
            gather_outputs(rows + IN * i, 1, y, 1);
            store_line(place, whole, i, y, image + channel);
        }
    }
}

static void transform_output(const float *tile, lmn__tile_strides strides,
                             const lmn__tile_place *place, float *image)
{
    if (is_whole(place, OUT)) {
        transform_output_pixels(tile, strides, place, true, image);
    } else {
        transform_output_pixels(tile, strides, place, false, image);
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

static inline void transform_output_grad_pixels(const lmn__tile_place *place, bool whole,
                                                const float *image, lmn__tile_strides strides,
                                                float *tile)
{
    for (size_t channel = 0; channel < place->channels; channel += LANES) {
        vector y[OUT * OUT];
        vector columns[IN * OUT];
        vector m[LMN__POSITIONS];
        load_pixels(place, whole, image, OUT, channel, y);
#pragma GCC unroll 4
        for (size_t j = 0; j < OUT; j++) {
            spread_outputs(y + j, OUT, columns + j, OUT);
        }
#pragma GCC unroll 6
        for (size_t i = 0; i < IN; i++) {
            spread_outputs(columns + OUT * i, 1, m + IN * i, 1);
        }
        store_positions(m, strides.position,
                        tile + channel / LMN__PANEL * strides.panel + channel % LMN__PANEL);
    }
}

static void transform_output_grad(const lmn__tile_place *place, const float *image,
                                  lmn__tile_strides strides, float *tile)
{
    if (is_whole(place, OUT)) {
        transform_output_grad_pixels(place, true, image, strides, tile);
    } else {
        transform_output_grad_pixels(place, false, image, strides, tile);
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
            store_positions(u, position, to + channel * LMN__PANEL + out);
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
    store_positions(u, position, to);
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

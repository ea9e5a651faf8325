/*
 * Transforms of Winograd's F(2x2, 3x3), for one instruction set.
 *
 * Written with the compiler's vector type; everything works on whole panels of 16 channels, a
 * register, two or four. The matrices are those of A. Lavin and S. Gray, "Fast
 * algorithms for convolutional neural networks", arXiv:1509.09308, section 4.1:
 *
 *     B' = [1  0 -1  0]    G = [ 1    0    0 ]    A' = [1  1  1  0]
 *          [0  1  1  0]        [1/2  1/2  1/2]         [0  1 -1 -1]
 *          [0 -1  1  0]        [1/2 -1/2  1/2]
 *          [0  1  0 -1]        [ 0    0    1 ]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "winograd.h"

#include "vector.h"

/* B' times the column d[0], d[step], d[2 step], d[3 step]. */
static inline void transform_input_column(vector *d, size_t step)
{
    const vector row0 = d[0] - d[2 * step];
    const vector row1 = d[step] + d[2 * step];
    const vector row2 = d[2 * step] - d[step];
    const vector row3 = d[step] - d[3 * step];
    d[0] = row0;
    d[step] = row1;
    d[2 * step] = row2;
    d[3 * step] = row3;
}

static void transform_input(const float *const *pixels, size_t channels, lmn__tile_strides strides,
                            float *tile)
{
    for (size_t channel = 0; channel < channels; channel += LANES) {
        float *to = tile + channel / LMN__PANEL * strides.panel + channel % LMN__PANEL;
        vector d[LMN__POSITIONS];
        for (size_t i = 0; i < LMN__POSITIONS; i++) {
            d[i] = load(pixels[i] + channel);
        }
        for (size_t i = 0; i < 4; i++) {
            transform_input_column(d + i, 4);
        }
        for (size_t i = 0; i < 4; i++) {
            transform_input_column(d + 4 * i, 1);
        }
        for (size_t i = 0; i < LMN__POSITIONS; i++) {
            store(to + i * strides.position, d[i]);
        }
    }
}

static void transform_output(const float *tile, size_t channels, lmn__tile_strides strides,
                             float *const *pixels)
{
    for (size_t channel = 0; channel < channels; channel += LANES) {
        const float *from = tile + channel / LMN__PANEL * strides.panel + channel % LMN__PANEL;
        vector rows[2][4];
        for (size_t j = 0; j < 4; j++) {
            const vector m0 = load(from + j * strides.position);
            const vector m1 = load(from + (4 + j) * strides.position);
            const vector m2 = load(from + (8 + j) * strides.position);
            const vector m3 = load(from + (12 + j) * strides.position);
            rows[0][j] = m0 + m1 + m2;
            rows[1][j] = m1 - m2 - m3;
        }
        for (size_t i = 0; i < 2; i++) {
            const vector *row = rows[i];
            store(pixels[2 * i] + channel, row[0] + row[1] + row[2]);
            store(pixels[2 * i + 1] + channel, row[1] - row[2] - row[3]);
        }
    }
}

/* A times two values: what transform_output would read, were it run backwards. */
static inline void spread(vector y0, vector y1, vector *m, size_t step)
{
    m[0] = y0;
    m[step] = y0 + y1;
    m[2 * step] = y0 - y1;
    m[3 * step] = -y1;
}

static void transform_output_grad(const float *const *pixels, size_t channels,
                                  lmn__tile_strides strides, float *tile)
{
    for (size_t channel = 0; channel < channels; channel += LANES) {
        float *to = tile + channel / LMN__PANEL * strides.panel + channel % LMN__PANEL;
        vector columns[8]; /* [4][2] */
        vector m[LMN__POSITIONS];
        for (size_t j = 0; j < 2; j++) {
            spread(load(pixels[j] + channel), load(pixels[2 + j] + channel), columns + j, 2);
        }
        for (size_t i = 0; i < 4; i++) {
            spread(columns[2 * i], columns[2 * i + 1], m + 4 * i, 1);
        }
        for (size_t i = 0; i < LMN__POSITIONS; i++) {
            store(to + i * strides.position, m[i]);
        }
    }
}

/* G times three values. */
static inline void transform_filter_column(const vector *g, size_t g_step, vector *u, size_t u_step)
{
    const vector half = broadcast(0.5F);
    const vector outer = g[0] + g[2 * g_step];
    u[0] = g[0];
    u[u_step] = half * (outer + g[g_step]);
    u[2 * u_step] = half * (outer - g[g_step]);
    u[3 * u_step] = g[2 * g_step];
}

/* G g G' of LANES output channels of one input channel, whose 9 weights are `step` apart. */
static inline void transform_filter(const float *weight, size_t step, vector *u)
{
    vector g[9];
    vector rows[12]; /* [4][3] */
    for (size_t i = 0; i < 9; i++) {
        g[i] = load(weight + i * step);
    }
    for (size_t j = 0; j < 3; j++) {
        transform_filter_column(g + j, 3, rows + j, 3);
    }
    for (size_t i = 0; i < 4; i++) {
        transform_filter_column(rows + 3 * i, 1, u + 4 * i, 1);
    }
}

static void filter(const float *weight, size_t c, size_t k, size_t first, float *transformed)
{
    const size_t position = c * k;
    for (size_t channel = first; channel < first + LMN__PANEL; channel++) {
        for (size_t out = 0; out < k; out += LANES) {
            vector u[LMN__POSITIONS];
            transform_filter(weight + channel * k + out, c * k, u);
            float *to =
                transformed + (out / LMN__PANEL * c + channel) * LMN__PANEL + out % LMN__PANEL;
            for (size_t i = 0; i < LMN__POSITIONS; i++) {
                store(to + i * position, u[i]);
            }
        }
    }
}

/* A filter turned by half a turn has the transform with rows and columns 0 and 3 exchanged. */
static const unsigned char rotated_position[LMN__POSITIONS] = {15, 13, 14, 12, 7, 5, 6, 4,
                                                               11, 9,  10, 8,  3, 1, 2, 0};

/* Transforms of 16 input channels and LANES output channels, transposed. */
typedef float transposed_filters[LMN__POSITIONS][LANES][LMN__PANEL];

static inline void transpose_filter(const vector *u, size_t channel, transposed_filters block)
{
    for (size_t i = 0; i < LMN__POSITIONS; i++) {
        for (size_t lane = 0; lane < LANES; lane++) {
            block[i][lane][channel] = u[i][lane];
        }
    }
}

static void filter_rotated(const float *weight, size_t c, size_t k, size_t first,
                           float *transformed)
{
    const size_t position = c * k;
    for (size_t out = 0; out < k; out += LANES) {
        transposed_filters block;
        for (size_t channel = 0; channel < LMN__PANEL; channel++) {
            vector u[LMN__POSITIONS];
            transform_filter(weight + (first + channel) * k + out, c * k, u);
            transpose_filter(u, channel, block);
        }
        float *to = transformed + (first / LMN__PANEL * k + out) * LMN__PANEL;
        for (size_t i = 0; i < LMN__POSITIONS; i++) {
            const float *from = &block[rotated_position[i]][0][0];
            for (size_t j = 0; j < (size_t)LANES * LMN__PANEL; j += LANES) {
                store(to + i * position + j, load(from + j));
            }
        }
    }
}

/* G' times four values. */
static inline void gather_filter_column(const vector *u, size_t u_step, vector *g, size_t g_step)
{
    const vector half = broadcast(0.5F);
    const vector even = half * (u[u_step] + u[2 * u_step]);
    const vector odd = half * (u[u_step] - u[2 * u_step]);
    g[0] = u[0] + even;
    g[g_step] = odd;
    g[2 * g_step] = even + u[3 * u_step];
}

static void filter_grad(const float *transformed, size_t c, size_t k, size_t first, float *weight)
{
    const size_t position = c * k;
    for (size_t channel = first; channel < first + LMN__PANEL; channel++) {
        for (size_t out = 0; out < k; out += LANES) {
            const float *from =
                transformed + (out / LMN__PANEL * c + channel) * LMN__PANEL + out % LMN__PANEL;
            vector u[LMN__POSITIONS];
            vector rows[12]; /* [3][4] */
            vector g[9];
            for (size_t i = 0; i < LMN__POSITIONS; i++) {
                u[i] = load(from + i * position);
            }
            for (size_t j = 0; j < 4; j++) {
                gather_filter_column(u + j, 4, rows + j, 4);
            }
            for (size_t i = 0; i < 3; i++) {
                gather_filter_column(rows + 4 * i, 1, g + 3 * i, 1);
            }
            for (size_t i = 0; i < 9; i++) {
                store(weight + i * position + channel * k + out, g[i]);
            }
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

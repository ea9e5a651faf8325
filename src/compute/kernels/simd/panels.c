/*
 * Products of panels, for one instruction set: see panels.h and lamina_add_isa_variants.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "panels.h"

#include "vector.h"

/* Rows held in registers: enough accumulators to hide the latency of a fused multiply-add. */
#if LANES == 16
#define ROWS            12
#define ROWS_TRANSPOSED 16
#elif LANES == 8
#define ROWS            6
#define ROWS_TRANSPOSED 4
#else
#define ROWS            2
#define ROWS_TRANSPOSED 2
#endif

/* A row of 16 numbers in registers, and its place in memory. */
static inline void load_row(const float *from, vector *row)
{
    for (size_t j = 0; j < VECTORS; j++) {
        row[j] = load(from + j * LANES);
    }
}

/* What is there already, or zero. */
static inline void start_row(bool accumulate, const float *from, vector *row)
{
    for (size_t j = 0; j < VECTORS; j++) {
        row[j] = accumulate ? load(from + j * LANES) : broadcast(0.0F);
    }
}

static inline void store_row(float *to, const vector *row)
{
    for (size_t j = 0; j < VECTORS; j++) {
        store(to + j * LANES, row[j]);
    }
}

static inline void add_scaled_row(float factor, const vector *row, vector *sums)
{
    const vector factors = broadcast(factor);
    for (size_t j = 0; j < VECTORS; j++) {
        sums[j] += factors * row[j];
    }
}

/* ROWS rows of the product, held in registers. */
static inline void multiply_rows(size_t n_panels, const float *a, size_t a_panel, const float *b,
                                 bool accumulate, float *product)
{
    vector sums[ROWS][VECTORS];
    /* Loops over rows are unrolled, so that rows stay in registers. */
#pragma GCC unroll 12
    for (size_t i = 0; i < ROWS; i++) {
        start_row(accumulate, product + i * LMN__PANEL, sums[i]);
    }
    for (size_t panel = 0; panel < n_panels; panel++) {
        for (size_t depth = 0; depth < LMN__PANEL; depth++) {
            vector row[VECTORS];
            load_row(b, row);
            b += LMN__PANEL;
#pragma GCC unroll 12
            for (size_t i = 0; i < ROWS; i++) {
                add_scaled_row(a[i * LMN__PANEL + depth], row, sums[i]);
            }
        }
        a += a_panel;
    }
#pragma GCC unroll 12
    for (size_t i = 0; i < ROWS; i++) {
        store_row(product + i * LMN__PANEL, sums[i]);
    }
}

static void multiply(size_t n_rows, size_t n_panels, const float *a, size_t a_panel, const float *b,
                     bool accumulate, float *product)
{
    for (size_t row = 0; row < n_rows; row += ROWS) {
        multiply_rows(n_panels, a + row * LMN__PANEL, a_panel, b, accumulate,
                      product + row * LMN__PANEL);
    }
}

static void multiply_transposed(size_t n_rows, const float *a, const float *b, float *product)
{
    for (size_t first = 0; first < LMN__PANEL; first += ROWS_TRANSPOSED) {
        vector sums[ROWS_TRANSPOSED][VECTORS];
        float *to = product + first * LMN__PANEL;
#pragma GCC unroll 16
        for (size_t i = 0; i < ROWS_TRANSPOSED; i++) {
            load_row(to + i * LMN__PANEL, sums[i]);
        }
        for (size_t place = 0; place < n_rows; place++) {
            vector row[VECTORS];
            load_row(b + place * LMN__PANEL, row);
#pragma GCC unroll 16
            for (size_t i = 0; i < ROWS_TRANSPOSED; i++) {
                add_scaled_row(a[place * LMN__PANEL + first + i], row, sums[i]);
            }
        }
#pragma GCC unroll 16
        for (size_t i = 0; i < ROWS_TRANSPOSED; i++) {
            store_row(to + i * LMN__PANEL, sums[i]);
        }
    }
}

extern const lmn__panel_kernels VARIANT_NAME(lmn__panel_kernels_);
const lmn__panel_kernels VARIANT_NAME(lmn__panel_kernels_) = {
    .isa = VARIANT_TEXT(LMN__VARIANT),
    .rows = ROWS,
    .multiply = multiply,
    .multiply_transposed = multiply_transposed,
};

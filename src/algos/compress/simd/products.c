/*
 * Products of a large matrix and thin ones: the kernels.
 *
 * Every result is a sum whose order is written down here and depends neither on the width of
 * vectors nor on how many rows are worked on at a time; products are rounded before they are added.
 * Up to four columns of the thin matrix are worked on together, as many sums as registers hold.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "products.h"

#include <string.h>

#if defined(__AVX512F__)
#define LANES      16
#define SIDE_BLOCK 4 /* rows that share what is loaded of the thin matrix */
#elif defined(__AVX__)
#define LANES      8
#define SIDE_BLOCK 1
#else
#define LANES      4
#define SIDE_BLOCK 1
#endif
#define PARTS         (LMN__SUMS / LANES)
#define GROUP         4 /* columns of the thin matrix */
#define OUTER_ROWS    4 /* of an outer product, that are made together, */
#define OUTER_VECTORS 2 /* and so many vectors of each */
#define OUTER_STEP    ((size_t)OUTER_VECTORS * LANES)
#define WIDE_LANES    (LANES / 2)
#define WIDE_PARTS    (LMN__SUMS / WIDE_LANES)

typedef float vector __attribute__((vector_size(LANES * sizeof(float))));
typedef float loose_vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));
typedef float half_vector __attribute__((vector_size(WIDE_LANES * sizeof(float)), aligned(4)));
typedef double wide_vector __attribute__((vector_size(WIDE_LANES * sizeof(double))));

#define VARIANT_JOIN(a, b)   a##b
#define VARIANT_PASTE(a, b)  VARIANT_JOIN(a, b)
#define VARIANT_NAME(prefix) VARIANT_PASTE(prefix, LMN__VARIANT)

/* Called with constant sizes, so that accumulators are registers. */
#define INLINE static inline __attribute__((always_inline))

INLINE vector load(const float *from)
{
    return *(const loose_vector *)from;
}

INLINE void store(float *to, vector value)
{
    *(loose_vector *)to = value;
}

INLINE vector broadcast(float value)
{
    return value - (vector){0.0F};
}

/* A hint that `from` will be used: rows of a panel end sooner than the hardware can guess what
   comes next. */
INLINE void prefetch(const float *from)
{
    __builtin_prefetch(from, 0, 2);
}

/* How far behind rows row .. row + n_rows - 1 those are that come next; 0 when none do. */
INLINE size_t ahead_of(size_t row, size_t n_rows, size_t rows, size_t stride)
{
    return row + 2 * n_rows <= rows ? n_rows * stride : 0;
}

/* ------------------------------------------------------------------ rows */

INLINE float sum_of_16(const vector sums[PARTS])
{
    float s[LMN__SUMS];
    for (size_t part = 0; part < PARTS; part++) {
        store(s + part * LANES, sums[part]);
    }
    for (size_t width = LMN__SUMS / 2; width > 0; width /= 2) {
        for (size_t i = 0; i < width; i++) {
            s[i] += s[i + width];
        }
    }
    return s[0];
}

/* 16 elements of n_rows rows times those of n columns, added to the sums. */
INLINE void multiply_16(const float *const rows[SIDE_BLOCK], size_t n_rows,
                        const float *const columns[GROUP], size_t n, size_t at,
                        vector sums[SIDE_BLOCK][GROUP][PARTS])
{
    for (size_t part = 0; part < PARTS; part++) {
        for (size_t j = 0; j < n; j++) {
            const vector column = load(columns[j] + at + part * LANES);
            for (size_t r = 0; r < n_rows; r++) {
                sums[r][j][part] += load(rows[r] + at + part * LANES) * column;
            }
        }
    }
}

/* n_rows rows times n columns. */
INLINE void rows_block(const lmn__part *part, size_t first_row, size_t n_rows,
                       const lmn__thin *right, size_t first_column, size_t n, float *out,
                       size_t stride)
{
    vector sums[SIDE_BLOCK][GROUP][PARTS] = {0};
    const float *rows[SIDE_BLOCK];
    const float *columns[GROUP];
    const size_t whole = part->cols / LMN__SUMS * LMN__SUMS;
    const size_t ahead = ahead_of(first_row, n_rows, part->rows, part->stride);
    for (size_t r = 0; r < n_rows; r++) {
        rows[r] = part->at + (first_row + r) * part->stride;
    }
    for (size_t j = 0; j < n; j++) {
        columns[j] = right->at + (first_column + j) * right->stride;
    }
    for (size_t at = 0; at < whole; at += LMN__SUMS) {
        for (size_t r = 0; r < n_rows; r++) {
            prefetch(rows[r] + at + ahead);
        }
        multiply_16(rows, n_rows, columns, n, at, sums);
    }
    if (whole < part->cols) {
        /* The rest, filled up with zeros. */
        float padded[SIDE_BLOCK + GROUP][LMN__SUMS] = {0};
        const size_t bytes = (part->cols - whole) * sizeof(float);
        for (size_t r = 0; r < n_rows; r++) {
            memcpy(padded[r], rows[r] + whole, bytes);
            rows[r] = padded[r];
        }
        for (size_t j = 0; j < n; j++) {
            memcpy(padded[SIDE_BLOCK + j], columns[j] + whole, bytes);
            columns[j] = padded[SIDE_BLOCK + j];
        }
        multiply_16(rows, n_rows, columns, n, 0, sums);
    }
    for (size_t j = 0; j < n; j++) {
        for (size_t r = 0; r < n_rows; r++) {
            out[(first_column + j) * stride + first_row + r] += sum_of_16(sums[r][j]);
        }
    }
}

INLINE void rows_group(const lmn__part *part, const lmn__thin *right, size_t first_column, size_t n,
                       float *out, size_t stride)
{
    size_t row = 0;
    for (; row + SIDE_BLOCK <= part->rows; row += SIDE_BLOCK) {
        rows_block(part, row, SIDE_BLOCK, right, first_column, n, out, stride);
    }
    for (; row < part->rows; row++) {
        rows_block(part, row, 1, right, first_column, n, out, stride);
    }
}

static void rows(const lmn__part *part, const lmn__thin *right, float *out, size_t stride)
{
    size_t column = 0;
    for (; column + GROUP <= right->n; column += GROUP) {
        rows_group(part, right, column, GROUP, out, stride);
    }
    switch (right->n - column) {
    case 3:
        rows_group(part, right, column, 3, out, stride);
        break;
    case 2:
        rows_group(part, right, column, 2, out, stride);
        break;
    case 1:
        rows_group(part, right, column, 1, out, stride);
        break;
    default:
        break;
    }
}

/* ------------------------------------------------------------------ columns */

INLINE void columns_block(const lmn__part *part, size_t first_row, size_t n_rows,
                          const lmn__thin *left, size_t first_column, size_t n, float *out,
                          size_t stride)
{
    float factors[LMN__ROW_BLOCK][GROUP];
    const float *const m = part->at + first_row * part->stride;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t j = 0; j < n; j++) {
            factors[r][j] = left->at[(first_column + j) * left->stride + first_row + r];
        }
    }
    float *const to = out + first_column * stride;
    const size_t whole = part->cols / LANES * LANES;
    const size_t ahead = ahead_of(first_row, n_rows, part->rows, part->stride);
    for (size_t at = 0; at < whole; at += LANES) {
        vector sums[GROUP];
        for (size_t j = 0; j < n; j++) {
            sums[j] = load(to + j * stride + at);
        }
        for (size_t r = 0; r < n_rows; r++) {
            const vector elements = load(m + r * part->stride + at);
            prefetch(m + r * part->stride + at + ahead);
            for (size_t j = 0; j < n; j++) {
                sums[j] += elements * broadcast(factors[r][j]);
            }
        }
        for (size_t j = 0; j < n; j++) {
            store(to + j * stride + at, sums[j]);
        }
    }
    for (size_t at = whole; at < part->cols; at++) {
        for (size_t j = 0; j < n; j++) {
            float sum = to[j * stride + at];
            for (size_t r = 0; r < n_rows; r++) {
                sum += m[r * part->stride + at] * factors[r][j];
            }
            to[j * stride + at] = sum;
        }
    }
}

/* One block of rows times all columns: the block stays in the cache. */
INLINE void columns_all(const lmn__part *part, size_t first_row, size_t n_rows,
                        const lmn__thin *left, float *out, size_t stride)
{
    size_t column = 0;
    for (; column + GROUP <= left->n; column += GROUP) {
        columns_block(part, first_row, n_rows, left, column, GROUP, out, stride);
    }
    for (; column < left->n; column++) {
        columns_block(part, first_row, n_rows, left, column, 1, out, stride);
    }
}

static void columns(const lmn__part *part, const lmn__thin *left, float *out, size_t stride)
{
    size_t row = 0;
    for (; row + LMN__ROW_BLOCK <= part->rows; row += LMN__ROW_BLOCK) {
        columns_all(part, row, LMN__ROW_BLOCK, left, out, stride);
    }
    for (; row < part->rows; row++) {
        columns_all(part, row, 1, left, out, stride);
    }
}

/* ------------------------------------------------------------------ outer products */

/* n_rows rows by n_vectors vectors of the product, from column `at` on. */
INLINE void outer_block(const lmn__thin *left, size_t row, size_t n_rows, const lmn__thin *right,
                        size_t at, size_t n_vectors, vector sums[OUTER_ROWS][OUTER_VECTORS])
{
    for (size_t v = 0; v < n_vectors; v++) {
        const vector first = load(right->at + at + v * LANES);
        for (size_t r = 0; r < n_rows; r++) {
            sums[r][v] = broadcast(left->at[row + r]) * first;
        }
    }
    for (size_t j = 1; j < left->n; j++) {
        const float *const factors = left->at + j * left->stride + row;
        for (size_t v = 0; v < n_vectors; v++) {
            const vector next = load(right->at + j * right->stride + at + v * LANES);
            for (size_t r = 0; r < n_rows; r++) {
                sums[r][v] += broadcast(factors[r]) * next;
            }
        }
    }
}

INLINE float outer_element(const lmn__thin *left, size_t row, const lmn__thin *right, size_t at)
{
    float sum = left->at[row] * right->at[at];
    for (size_t j = 1; j < left->n; j++) {
        sum += left->at[j * left->stride + row] * right->at[j * right->stride + at];
    }
    return sum;
}

INLINE void outer_add_block(const lmn__thin *left, size_t row, size_t n_rows,
                            const lmn__thin *right, size_t at, size_t n_vectors, float factor,
                            float *out, size_t stride, size_t ahead)
{
    vector sums[OUTER_ROWS][OUTER_VECTORS];
    outer_block(left, row, n_rows, right, at, n_vectors, sums);
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t v = 0; v < n_vectors; v++) {
            float *const to = out + (row + r) * stride + at + v * LANES;
            prefetch(to + ahead);
            store(to, load(to) + broadcast(factor) * sums[r][v]);
        }
    }
}

INLINE void outer_add_rows(const lmn__thin *left, size_t row, size_t n_rows, const lmn__thin *right,
                           size_t cols, float factor, float *out, size_t stride, size_t ahead)
{
    size_t at = 0;
    for (; at + OUTER_STEP <= cols; at += OUTER_STEP) {
        outer_add_block(left, row, n_rows, right, at, OUTER_VECTORS, factor, out, stride, ahead);
    }
    for (; at + LANES <= cols; at += LANES) {
        outer_add_block(left, row, n_rows, right, at, 1, factor, out, stride, ahead);
    }
    for (; at < cols; at++) {
        for (size_t r = row; r < row + n_rows; r++) {
            out[r * stride + at] += factor * outer_element(left, r, right, at);
        }
    }
}

static void outer_add(const lmn__thin *left, const lmn__thin *right, size_t n_rows, size_t cols,
                      float factor, float *out, size_t stride)
{
    size_t row = 0;
    for (; row + OUTER_ROWS <= n_rows; row += OUTER_ROWS) {
        outer_add_rows(left, row, OUTER_ROWS, right, cols, factor, out, stride,
                       ahead_of(row, OUTER_ROWS, n_rows, stride));
    }
    for (; row < n_rows; row++) {
        outer_add_rows(left, row, 1, right, cols, factor, out, stride,
                       ahead_of(row, 1, n_rows, stride));
    }
}

INLINE void outer_row_block(const lmn__thin *left, const lmn__thin *right, size_t at,
                            size_t n_vectors, float *out)
{
    vector sums[OUTER_ROWS][OUTER_VECTORS];
    outer_block(left, 0, 1, right, at, n_vectors, sums);
    for (size_t v = 0; v < n_vectors; v++) {
        store(out + at + v * LANES, sums[0][v]);
    }
}

static void outer_row(const lmn__thin *left, const lmn__thin *right, size_t cols, float *out)
{
    size_t at = 0;
    for (; at + OUTER_STEP <= cols; at += OUTER_STEP) {
        outer_row_block(left, right, at, OUTER_VECTORS, out);
    }
    for (; at + LANES <= cols; at += LANES) {
        outer_row_block(left, right, at, 1, out);
    }
    for (; at < cols; at++) {
        out[at] = outer_element(left, 0, right, at);
    }
}

/* ------------------------------------------------------------------ vectors */

static double dot(const float *a, const float *b, size_t count)
{
    wide_vector sums[WIDE_PARTS] = {0};
    double s[LMN__SUMS];
    const size_t whole = count / LMN__SUMS * LMN__SUMS;
    for (size_t at = 0; at < whole; at += LMN__SUMS) {
        for (size_t part = 0; part < WIDE_PARTS; part++) {
            const size_t i = at + part * WIDE_LANES;
            sums[part] += __builtin_convertvector(*(const half_vector *)(a + i), wide_vector) *
                          __builtin_convertvector(*(const half_vector *)(b + i), wide_vector);
        }
    }
    memcpy(s, sums, sizeof s);
    for (size_t i = whole; i < count; i++) {
        s[i - whole] += (double)a[i] * (double)b[i];
    }
    for (size_t width = LMN__SUMS / 2; width > 0; width /= 2) {
        for (size_t i = 0; i < width; i++) {
            s[i] += s[i + width];
        }
    }
    return s[0];
}

static void subtract(float *y, float c, const float *x, size_t count)
{
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        y[i] -= c * x[i];
    }
}

extern const lmn__product_kernels VARIANT_NAME(lmn__product_kernels_);
const lmn__product_kernels VARIANT_NAME(lmn__product_kernels_) = {.rows = rows,
                                                                  .columns = columns,
                                                                  .outer_add = outer_add,
                                                                  .outer_row = outer_row,
                                                                  .dot = dot,
                                                                  .subtract = subtract};

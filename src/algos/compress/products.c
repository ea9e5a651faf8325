/*
 * Arithmetic of low-rank compression: kernels on threads, and orthonormal columns.
 *
 * Large matrices are worked on in panels of columns, so that what belongs to a panel of the thin
 * matrix stays in the nearest cache while rows stream by. Panels of M right add up in order, and
 * their width is part of the result; elsewhere it is not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "isa.h"
#include "products_internal.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Columns of a panel, and rows that a thread takes together. */
#define PANEL ((size_t)2048)
#define SLAB  ((size_t)64)
/* Below so many elements threads cost more than they save. */
#define PARALLEL_MIN ((size_t)131072)

/* Words that make a random number. The variance of one is 2^64 / 12, that of four 2^64 / 3. */
#define WORDS      4
#define WORD_SCALE (1.7320508075688772 * 0x1p-32)

#define ZERO_NORM     1e-30
#define ZERO_RELATIVE 1e-7

extern const lmn__product_kernels lmn__product_kernels_baseline;
#ifdef LMN__HAVE_X86_VARIANTS
extern const lmn__product_kernels lmn__product_kernels_avx2, lmn__product_kernels_avx512;
#endif

const lmn__product_kernels *lmn__product_kernels_get(void)
{
    static const lmn__product_kernels *const variants[] = {
#ifdef LMN__HAVE_X86_VARIANTS
        &lmn__product_kernels_avx512, &lmn__product_kernels_avx2,
#endif
        &lmn__product_kernels_baseline};
    return variants[lmn__isa_lacking()];
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void clear(float *numbers, size_t count)
{
    if (count > 0) {
        memset(numbers, 0, count * sizeof *numbers);
    }
}

void lmn__multiply(const float *matrix, size_t rows, size_t cols, const float *right, size_t n,
                   float *product)
{
    const lmn__product_kernels *kernels = lmn__product_kernels_get();
    clear(product, n * rows);
#pragma omp parallel for schedule(static) if (rows * cols >= PARALLEL_MIN)
    for (size_t row = 0; row < rows; row += SLAB) {
        for (size_t column = 0; column < cols; column += PANEL) {
            const lmn__part part = {.at = matrix + row * cols + column,
                                    .stride = cols,
                                    .rows = smaller(SLAB, rows - row),
                                    .cols = smaller(PANEL, cols - column)};
            const lmn__thin panel = {.at = right + column, .stride = cols, .n = n};
            kernels->rows(&part, &panel, product + row, rows);
        }
    }
}

void lmn__multiply_transposed(const float *matrix, size_t rows, size_t cols, const float *left,
                              size_t n, float *product)
{
    const lmn__product_kernels *kernels = lmn__product_kernels_get();
    const lmn__thin thin = {.at = left, .stride = rows, .n = n};
    /* Panels are independent of each other; a few of them, for threads. */
    const size_t quarter = (cols / 4 + SLAB) / SLAB * SLAB;
    const size_t width = smaller(quarter, PANEL);
    clear(product, n * cols);
#pragma omp parallel for schedule(static) if (rows * cols >= PARALLEL_MIN)
    for (size_t column = 0; column < cols; column += width) {
        const lmn__part part = {.at = matrix + column,
                                .stride = cols,
                                .rows = rows,
                                .cols = smaller(width, cols - column)};
        kernels->columns(&part, &thin, product + column, cols);
    }
}

void lmn__outer_add(const float *left, size_t rows, const float *right, size_t cols, size_t n,
                    float factor, float *acc)
{
    if (n == 0) {
        return;
    }
    const lmn__product_kernels *kernels = lmn__product_kernels_get();
#pragma omp parallel for collapse(2) schedule(static) if (rows * cols >= PARALLEL_MIN)
    for (size_t row = 0; row < rows; row += SLAB) {
        for (size_t column = 0; column < cols; column += PANEL) {
            const lmn__thin slab = {.at = left + row, .stride = rows, .n = n};
            const lmn__thin panel = {.at = right + column, .stride = cols, .n = n};
            kernels->outer_add(&slab, &panel, smaller(SLAB, rows - row),
                               smaller(PANEL, cols - column), factor, acc + row * cols + column,
                               cols);
        }
    }
}

void lmn__outer_part(const float *left, size_t rows, const float *right, size_t cols, size_t n,
                     size_t first, size_t count, float *part)
{
    const lmn__product_kernels *kernels = lmn__product_kernels_get();
    size_t done = 0;
    while (done < count) {
        const size_t row = (first + done) / cols;
        const size_t column = (first + done) % cols;
        const size_t length = smaller(cols - column, count - done);
        const lmn__thin one = {.at = left + row, .stride = rows, .n = n};
        const lmn__thin rest = {.at = right + column, .stride = cols, .n = n};
        kernels->outer_row(&one, &rest, length, part + done);
        done += length;
    }
}

/* Columns shorter than `smallest` become zero. */
static void scale_to_one(const lmn__product_kernels *kernels, float *column, size_t length,
                         double smallest)
{
    const double norm = sqrt(kernels->dot(column, column, length));
    const float factor = norm > smallest ? (float)(1.0 / norm) : 0.0F;
#pragma omp simd
    for (size_t i = 0; i < length; i++) {
        column[i] *= factor;
    }
}

void lmn__normalise(float *columns, size_t n, size_t length)
{
    const lmn__product_kernels *kernels = lmn__product_kernels_get();
    for (size_t j = 0; j < n; j++) {
        scale_to_one(kernels, columns + j * length, length, ZERO_NORM);
    }
}

void lmn__orthonormalise(float *columns, size_t n, size_t length)
{
    const lmn__product_kernels *kernels = lmn__product_kernels_get();
    double energy = 0.0;
    for (size_t j = 0; j < n; j++) {
        energy += kernels->dot(columns + j * length, columns + j * length, length);
    }
    const double smallest = ZERO_NORM + ZERO_RELATIVE * sqrt(energy);
    for (size_t j = 0; j < n; j++) {
        float *const column = columns + j * length;
        /* What the first pass leaves may be mostly rounding, which is not orthogonal to anything.
         */
        for (size_t i = 0; i < 2 * j; i++) {
            const float *const before = columns + i % j * length;
            const double share = kernels->dot(before, column, length);
            kernels->subtract(column, (float)share, before, length);
        }
        scale_to_one(kernels, column, length, smallest);
    }
}

static bool is_zero(const float *column, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (column[i] != 0.0F) {
            return false;
        }
    }
    return true;
}

static void fill(float *column, size_t length, uint64_t first, const lmn_stream *stream)
{
    for (size_t i = 0; i < length; i++) {
        uint32_t words[WORDS] = {0};
        uint64_t sum = 0;
        lmn_stream_u32(stream, WORDS * (first + i), WORDS, words);
        for (size_t word = 0; word < WORDS; word++) {
            sum += words[word];
        }
        column[i] = (float)(((double)sum - WORDS * 0x1p31) * WORD_SCALE);
    }
}

void lmn__refill(float *columns, size_t n, size_t length, const lmn_stream *stream)
{
    for (size_t j = 0; j < n; j++) {
        if (is_zero(columns + j * length, length)) {
            fill(columns + j * length, length, j * length, stream);
        }
    }
}

/*
 * How much of a matrix its best approximation of some rank keeps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "products_internal.h"
#include "spectrum_internal.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define SWEEPS_MAX 30
/* Columns of the subspace beyond those asked for, which make it converge faster. */
#define EXTRA_COLUMNS 8
#define ITERATIONS    3

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ------------------------------------------------------------------ eigenvalues */

/* Turn axes p and q so that element (p, q) becomes 0. */
static void rotate(double *a, size_t n, size_t p, size_t q)
{
    const double off = a[p * n + q];
    const double theta = (a[q * n + q] - a[p * n + p]) / (2.0 * off);
    const double t = copysign(1.0, theta) / (fabs(theta) + sqrt(theta * theta + 1.0));
    const double c = 1.0 / sqrt(t * t + 1.0);
    const double s = t * c;
    for (size_t i = 0; i < n; i++) {
        const double left = a[p * n + i];
        const double right = a[q * n + i];
        a[p * n + i] = c * left - s * right;
        a[q * n + i] = s * left + c * right;
    }
    for (size_t i = 0; i < n; i++) {
        const double left = a[i * n + p];
        const double right = a[i * n + q];
        a[i * n + p] = c * left - s * right;
        a[i * n + q] = s * left + c * right;
    }
}

/* One rotation for each pair of axes; false when there was nothing left to do. */
static bool sweep(double *a, size_t n)
{
    bool has_changed = false;
    for (size_t p = 0; p < n; p++) {
        for (size_t q = p + 1; q < n; q++) {
            const double scale = sqrt(fabs(a[p * n + p])) * sqrt(fabs(a[q * n + q]));
            if (fabs(a[p * n + q]) > 1e-15 * scale && a[p * n + q] != 0.0) {
                rotate(a, n, p, q);
                has_changed = true;
            }
        }
    }
    return has_changed;
}

void lmn__eigenvalues(double *matrix, size_t n, double *values_out)
{
    for (size_t i = 0; i < SWEEPS_MAX && sweep(matrix, n); i++) {
    }
    for (size_t i = 0; i < n; i++) {
        const double value = matrix[i * n + i];
        size_t place = i;
        while (place > 0 && values_out[place - 1] < value) {
            values_out[place] = values_out[place - 1];
            place--;
        }
        values_out[place] = value;
    }
}

/* gram [n][n] of columns [n][length] */
static void gram_of(const float *columns, size_t n, size_t length, double *gram)
{
    const lmn__product_kernels *kernels = lmn__product_kernels_get();
#pragma omp parallel for schedule(dynamic) if (n * length >= 65536)
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++) {
            const double product = kernels->dot(columns + i * length, columns + j * length, length);
            gram[i * n + j] = product;
            gram[j * n + i] = product;
        }
    }
}

/* ------------------------------------------------------------------ the two ways */

static size_t subspace_of(size_t side, size_t rank_max)
{
    return smaller(side, rank_max + EXTRA_COLUMNS);
}

/* Where things are in scratch memory, bytes. On the left the transpose of a matrix that is higher
   than wide, or one side of the subspace, whose other side is on the right. */
typedef struct layout {
    size_t right, gram, values, end;
} layout;

static layout layout_of(size_t rows, size_t cols, size_t rank_max)
{
    const size_t side = smaller(rows, cols);
    const bool is_exact = side <= LMN__SPECTRUM_EXACT;
    const size_t n = is_exact ? side : subspace_of(side, rank_max);
    const size_t transpose = rows > cols ? rows * cols : 0;
    const size_t left = is_exact ? transpose : n * rows;
    const size_t right = is_exact ? 0 : n * cols;
    layout l = {.right = lmn_align_up(left * sizeof(float))};
    l.gram = l.right + lmn_align_up(right * sizeof(float));
    l.values = l.gram + lmn_align_up(n * n * sizeof(double));
    l.end = l.values + lmn_align_up(n * sizeof(double));
    return l;
}

size_t lmn__spectrum_scratch_bytes(size_t rows, size_t cols, size_t rank_max)
{
    return layout_of(rows, cols, rank_max).end;
}

double lmn__spectrum_work(size_t rows, size_t cols, size_t rank_max)
{
    const double count = (double)rows * (double)cols;
    const size_t side = smaller(rows, cols);
    if (side <= LMN__SPECTRUM_EXACT) {
        /* Half of the Gram matrix; then Jacobi's method, which takes about 8 sweeps of n^2 / 2
           rotations of 4 n multiplications, twice. */
        const double n = (double)side;
        return count * n / 2.0 + 32.0 * n * n * n;
    }
    return 2.0 * ITERATIONS * count * (double)subspace_of(side, rank_max);
}

typedef struct workspace {
    float *left, *right;
    double *gram;
    double *values;
} workspace;

/* Squared singular values of a matrix whose shorter side is `side`. */
static void exact_values(const float *matrix, size_t rows, size_t cols, const workspace *w)
{
    const float *lines = matrix;
    if (rows > cols) {
        for (size_t i = 0; i < rows; i++) {
            for (size_t j = 0; j < cols; j++) {
                w->left[j * rows + i] = matrix[i * cols + j];
            }
        }
        lines = w->left;
    }
    const size_t side = smaller(rows, cols);
    gram_of(lines, side, larger(rows, cols), w->gram);
    lmn__eigenvalues(w->gram, side, w->values);
}

/* The largest of them, from below. */
static void subspace_values(const float *matrix, size_t rows, size_t cols, size_t n,
                            const workspace *w)
{
    const lmn_stream stream = {.purpose = LMN_STREAM_COMPRESS, .rank = LMN_STREAM_ALL_RANKS};
    memset(w->right, 0, n * cols * sizeof *w->right);
    for (size_t i = 0; i < ITERATIONS; i++) {
        lmn__refill(w->right, n, cols, &stream);
        lmn__normalise(w->right, n, cols);
        lmn__multiply(matrix, rows, cols, w->right, n, w->left);
        lmn__orthonormalise(w->left, n, rows);
        lmn__multiply_transposed(matrix, rows, cols, w->left, n, w->right);
    }
    gram_of(w->right, n, cols, w->gram);
    lmn__eigenvalues(w->gram, n, w->values);
}

void lmn__spectrum_rest(const float *matrix, size_t rows, size_t cols, size_t rank_max,
                        double *rest_out, void *scratch)
{
    const size_t side = smaller(rows, cols);
    const layout l = layout_of(rows, cols, rank_max);
    unsigned char *const bytes = scratch;
    const workspace w = {.left = scratch,
                         .right = (void *)(bytes + l.right),
                         .gram = (void *)(bytes + l.gram),
                         .values = (void *)(bytes + l.values)};
    if (side <= LMN__SPECTRUM_EXACT) {
        exact_values(matrix, rows, cols, &w);
        double rest = 0.0;
        for (size_t i = side; i-- > 0;) {
            rest += fmax(w.values[i], 0.0);
            if (i <= rank_max) {
                rest_out[i] = rest;
            }
        }
        if (rank_max == side) {
            rest_out[side] = 0.0;
        }
        return;
    }
    subspace_values(matrix, rows, cols, subspace_of(side, rank_max), &w);
    rest_out[0] = lmn__product_kernels_get()->dot(matrix, matrix, rows * cols);
    for (size_t r = 1; r <= rank_max; r++) {
        rest_out[r] = fmax(rest_out[r - 1] - fmax(w.values[r - 1], 0.0), 0.0);
    }
}

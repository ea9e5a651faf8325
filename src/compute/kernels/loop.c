/*
 * Strided walks: broadcasting, transposition, and the arithmetic of two operands.
 *
 * A walk visits the result in memory order. Before it starts, neighbouring axes that both operands
 * cross with one stride are merged: equal shapes become one long row, a bias becomes rows of the
 * bias' length, a scalar a row with step 0. So a single path serves all cases, and the row
 * function, which the compiler specialises for each pair of steps, does the work.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "clones.h"
#include "kernels_internal.h"

#include <assert.h>
#include <string.h>

/* Whether axis `outer` continues where `inner`, the next one, ends, for operand `side`. */
static bool continues(const lmn__loop *loop, size_t side, size_t outer_stride, size_t inner)
{
    return outer_stride == loop->strides[side][inner] * loop->dims[inner];
}

/* Drop axes of extent 1 and merge neighbours, from the innermost outwards. */
static lmn__loop merge_axes(const lmn__loop *loop)
{
    lmn__loop reversed = {0}; /* innermost axis first */
    for (size_t i = loop->n_dims; i-- > 0;) {
        if (loop->dims[i] == 1) {
            continue;
        }
        const size_t n = reversed.n_dims;
        const bool merges = n > 0 && continues(&reversed, 0, loop->strides[0][i], n - 1) &&
                            continues(&reversed, 1, loop->strides[1][i], n - 1);
        if (merges) {
            reversed.dims[n - 1] *= loop->dims[i];
            continue;
        }
        reversed.dims[n] = loop->dims[i];
        reversed.strides[0][n] = loop->strides[0][i];
        reversed.strides[1][n] = loop->strides[1][i];
        reversed.n_dims++;
    }
    lmn__loop merged = {.n_dims = reversed.n_dims};
    for (size_t i = 0; i < merged.n_dims; i++) {
        const size_t from = merged.n_dims - 1 - i;
        merged.dims[i] = reversed.dims[from];
        merged.strides[0][i] = reversed.strides[0][from];
        merged.strides[1][i] = reversed.strides[1][from];
    }
    if (merged.n_dims == 0) {
        merged.n_dims = 1;
        merged.dims[0] = 1;
    }
    return merged;
}

/* Strides of an operand that broadcasts to [n_dims] axes: 0 where it repeats. */
static void broadcast_strides(const lmn_shape *operand, size_t n_dims, size_t *strides_out)
{
    size_t stride = 1;
    for (size_t i = 0; i < n_dims; i++) {
        const size_t axis = n_dims - 1 - i;
        const size_t extent = i < operand->n_dims ? operand->dims[operand->n_dims - 1 - i] : 1;
        strides_out[axis] = extent == 1 ? 0 : stride;
        stride *= extent;
    }
}

lmn__loop lmn__loop_broadcast(const lmn_shape *result, const lmn_shape *a, const lmn_shape *b)
{
    lmn__loop loop = {.n_dims = result->n_dims};
    memcpy(loop.dims, result->dims, sizeof loop.dims);
    broadcast_strides(a, result->n_dims, loop.strides[0]);
    broadcast_strides(b, result->n_dims, loop.strides[1]);
    return merge_axes(&loop);
}

lmn__loop lmn__loop_transpose(const lmn_shape *x, const size_t *order)
{
    size_t x_strides[LMN_DIMS_MAX] = {0};
    size_t stride = 1;
    for (size_t axis = x->n_dims; axis-- > 0;) {
        x_strides[axis] = stride;
        stride *= x->dims[axis];
    }
    lmn__loop loop = {.n_dims = x->n_dims};
    for (size_t i = 0; i < x->n_dims; i++) {
        loop.dims[i] = x->dims[order[i]];
        loop.strides[0][i] = x_strides[order[i]];
    }
    return merge_axes(&loop);
}

/* Where row number `row` of the outer axes begins: its index, and both operands. */
static void find_row(const lmn__loop *loop, size_t row, size_t *index, const float **a,
                     const float **b)
{
    for (size_t axis = loop->n_dims - 1; axis-- > 0;) {
        index[axis] = row % loop->dims[axis];
        row /= loop->dims[axis];
        *a += index[axis] * loop->strides[0][axis];
        *b += index[axis] * loop->strides[1][axis];
    }
}

/* Move to the next row: advance the index of the outer axes and both operands with it. */
static void next_row(const lmn__loop *loop, size_t *index, const float **a, const float **b)
{
    for (size_t axis = loop->n_dims - 1; axis-- > 0;) {
        *a += loop->strides[0][axis];
        *b += loop->strides[1][axis];
        index[axis]++;
        if (index[axis] < loop->dims[axis]) {
            return;
        }
        *a -= loop->strides[0][axis] * loop->dims[axis];
        *b -= loop->strides[1][axis] * loop->dims[axis];
        index[axis] = 0;
    }
}

/* Rows first .. first + n_rows - 1. */
static void run_rows(const lmn__loop *loop, size_t first, size_t n_rows, lmn__row_fn row,
                     const float *a, const float *b, float *out)
{
    const size_t last = loop->n_dims - 1;
    const size_t n = loop->dims[last];
    size_t index[LMN_DIMS_MAX] = {0};
    find_row(loop, first, index, &a, &b);
    out += first * n;
    for (size_t i = 0; i < n_rows; i++) {
        row(n, a, loop->strides[0][last], b, loop->strides[1][last], out);
        out += n;
        next_row(loop, index, &a, &b);
    }
}

/* Piece by piece of the only row. */
static void run_row(const lmn__loop *loop, lmn__row_fn row, const float *a, const float *b,
                    float *out)
{
    const size_t n = loop->dims[0];
    const size_t step_a = loop->strides[0][0];
    const size_t step_b = loop->strides[1][0];
#pragma omp parallel for schedule(static) if (n > LMN__PARALLEL_COUNT)
    for (size_t first = 0; first < n; first += LMN__PIECE_COUNT) {
        row(lmn__piece(n, first), a + first * step_a, step_a, b + first * step_b, step_b,
            out + first);
    }
}

void lmn__loop_run(const lmn__loop *loop, lmn__row_fn row, const float *a, const float *b,
                   float *out)
{
    const size_t n = loop->dims[loop->n_dims - 1];
    size_t rows = 1;
    for (size_t i = 0; i + 1 < loop->n_dims; i++) {
        rows *= loop->dims[i];
    }
    if (rows == 1) {
        run_row(&(lmn__loop){.n_dims = 1,
                             .dims = {n},
                             .strides = {{loop->strides[0][loop->n_dims - 1]},
                                         {loop->strides[1][loop->n_dims - 1]}}},
                row, a, b, out);
        return;
    }
    /* So many rows at a time that it is worth while, the same number whatever the threads. */
    const size_t step = n < LMN__PIECE_COUNT ? LMN__PIECE_COUNT / n : 1;
#pragma omp parallel for schedule(static) if (rows * n > LMN__PARALLEL_COUNT)
    for (size_t first = 0; first < rows; first += step) {
        run_rows(loop, first, rows - first < step ? rows - first : step, row, a, b, out);
    }
}

typedef float (*combine_fn)(float a, float b);

/* Inlined into each row function below with a known `combine`; out may be a or b, so no restrict:
 * every element is read before it is written. */
static inline __attribute__((always_inline)) void combine_row(combine_fn combine, size_t n,
                                                              const float *a, size_t step_a,
                                                              const float *b, size_t step_b,
                                                              float *out)
{
    assert(step_a <= 1 && step_b <= 1);
    if (step_a == 1 && step_b == 1) {
#pragma omp simd
        for (size_t i = 0; i < n; i++) {
            out[i] = combine(a[i], b[i]);
        }
    } else if (step_a == 1) {
        const float right = b[0];
#pragma omp simd
        for (size_t i = 0; i < n; i++) {
            out[i] = combine(a[i], right);
        }
    } else {
        const float left = a[0];
#pragma omp simd
        for (size_t i = 0; i < n; i++) {
            out[i] = combine(left, b[i * step_b]);
        }
    }
}

static inline float add(float a, float b)
{
    return a + b;
}

static inline float sub(float a, float b)
{
    return a - b;
}

static inline float mul(float a, float b)
{
    return a * b;
}

static inline float divide(float a, float b)
{
    return a / b;
}

LMN__CLONES void lmn__row_add(size_t n, const float *a, size_t step_a, const float *b,
                              size_t step_b, float *out)
{
    combine_row(add, n, a, step_a, b, step_b, out);
}

LMN__CLONES void lmn__row_sub(size_t n, const float *a, size_t step_a, const float *b,
                              size_t step_b, float *out)
{
    combine_row(sub, n, a, step_a, b, step_b, out);
}

LMN__CLONES void lmn__row_mul(size_t n, const float *a, size_t step_a, const float *b,
                              size_t step_b, float *out)
{
    combine_row(mul, n, a, step_a, b, step_b, out);
}

LMN__CLONES void lmn__row_div(size_t n, const float *a, size_t step_a, const float *b,
                              size_t step_b, float *out)
{
    combine_row(divide, n, a, step_a, b, step_b, out);
}

LMN__CLONES void lmn__row_copy(size_t n, const float *a, size_t step_a, const float *b,
                               size_t step_b, float *out)
{
    (void)b;
    (void)step_b;
    if (step_a == 1) {
        memcpy(out, a, n * sizeof *out);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = a[i * step_a];
    }
}

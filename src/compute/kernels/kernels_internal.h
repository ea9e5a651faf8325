/*
 * Kernels: the loops over numbers that ops are made of.
 *
 * Kernels know shapes and pointers, neither graphs nor plans. They allocate nothing, cannot fail,
 * and their order of operations depends on shapes only: never on alignment, and except inside
 * products (OpenBLAS) never on the instruction set. Arrays are f32, row-major, dense, and do not
 * overlap unless a comment allows it. Callers have checked the shapes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_KERNELS_INTERNAL_H
#define LAMINA_KERNELS_INTERNAL_H

#include "lamina/graph.h"
#include "lamina/ops.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- extents ---- */

static inline size_t lmn__smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/** The next multiple of `unit`. */
static inline size_t lmn__round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* ---- threads.c ---- */

/** Threads that a parallel loop has now. */
size_t lmn__thread_count(void);

/** Which of them is asking, from 0 on. */
size_t lmn__thread_index(void);

/* Elements from which on an elementwise loop is worth sharing, and those of a piece of it. */
#define LMN__PARALLEL_COUNT ((size_t)65536)
#define LMN__PIECE_COUNT    ((size_t)8192)

/** Elements of the piece of [count] that begins at `first`. */
static inline size_t lmn__piece(size_t count, size_t first)
{
    return lmn__smaller(count - first, LMN__PIECE_COUNT);
}

/* ---- gemm.c: matrix products ---- */

/** One factor of a product as it lies in memory. */
typedef struct lmn__matrix {
    const float *data;
    size_t row_stride; /* elements from one stored row to the next */
    bool transposed;   /* the product uses its transpose */
} lmn__matrix;

/** Whether an extent can be handed to BLAS. */
bool lmn__gemm_accepts(size_t extent);

/**
 * c = op(a) op(b) + (accumulate ? c : 0), [m, k] x [k, n] -> dense [m, n].
 * All extents and strides must pass lmn__gemm_accepts.
 */
void lmn__gemm(size_t m, size_t n, size_t k, lmn__matrix a, lmn__matrix b, bool accumulate,
               float *c);

/* ---- attention.c: one head ---- */

/** Queries, keys and values of one head: rows of d elements, `stride` elements apart. */
typedef struct lmn__head {
    size_t t, d;
    size_t stride;
    const float *q, *k, *v;
} lmn__head;

/** Floats of workspace that either of the following needs for a head of t places. */
size_t lmn__attention_workspace(size_t t, size_t d);

/** out [t, d] = causal attention, rows out_stride apart. */
void lmn__attention(const lmn__head *head, float *workspace, float *out, size_t out_stride);

/** Gradients dq, dk, dv, laid out as q, k, v, for dout, whose rows are out_stride apart. */
void lmn__attention_grad(const lmn__head *head, const float *dout, size_t out_stride,
                         float *workspace, float *dq, float *dk, float *dv);

/* ---- loop.c: strided walks with one or two operands ---- */

/** A walk over the elements of a dense result, with the strides of up to two operands. */
typedef struct lmn__loop {
    size_t n_dims; /* at least 1 once made */
    size_t dims[LMN_DIMS_MAX];
    size_t strides[2][LMN_DIMS_MAX]; /* of operands a and b in elements; 0 repeats */
} lmn__loop;

/** [n] results from operand elements that are step_a and step_b apart. */
typedef void (*lmn__row_fn)(size_t n, const float *a, size_t step_a, const float *b, size_t step_b,
                            float *out);

/** The walk over `result` of operands of shapes a and b, which broadcast to it. */
lmn__loop lmn__loop_broadcast(const lmn_shape *result, const lmn_shape *a, const lmn_shape *b);

/** The walk over x with its axes in the given order; operand b does not move. */
lmn__loop lmn__loop_transpose(const lmn_shape *x, const size_t *order);

/** Apply `row` along the innermost axis of the walk. out may be a or b where that is dense. */
void lmn__loop_run(const lmn__loop *loop, lmn__row_fn row, const float *a, const float *b,
                   float *out);

void lmn__row_add(size_t n, const float *a, size_t step_a, const float *b, size_t step_b,
                  float *out);
void lmn__row_sub(size_t n, const float *a, size_t step_a, const float *b, size_t step_b,
                  float *out);
void lmn__row_mul(size_t n, const float *a, size_t step_a, const float *b, size_t step_b,
                  float *out);
void lmn__row_div(size_t n, const float *a, size_t step_a, const float *b, size_t step_b,
                  float *out);

/** Copies a; b is ignored. */
void lmn__row_copy(size_t n, const float *a, size_t step_a, const float *b, size_t step_b,
                   float *out);

/* ---- unary.c and elementary.c: elementwise with one operand; out may be x ---- */

typedef void (*lmn__unary_fn)(size_t n, const float *x, float *out);

/** With two operands of one shape; out may be either. */
typedef void (*lmn__binary_fn)(size_t n, const float *a, const float *b, float *out);

void lmn__kernel_relu(size_t n, const float *x, float *out);
void lmn__kernel_tanh(size_t n, const float *x, float *out);
void lmn__kernel_sigmoid(size_t n, const float *x, float *out);
void lmn__kernel_exp(size_t n, const float *x, float *out);
void lmn__kernel_sin(size_t n, const float *x, float *out);
void lmn__kernel_cos(size_t n, const float *x, float *out);
void lmn__kernel_log(size_t n, const float *x, float *out);
void lmn__kernel_sqrt(size_t n, const float *x, float *out);
void lmn__kernel_scale(size_t n, const float *x, float factor, float *out);

void lmn__kernel_erf(size_t n, const float *x, float *out);
void lmn__kernel_gelu(size_t n, const float *x, float *out);

/** dy times the slope of gelu at x; out may also be dy. */
void lmn__kernel_gelu_grad(size_t n, const float *x, const float *dy, float *out);

/** out = gate > 0 ? x : 0; out may also be gate. */
void lmn__kernel_gate(size_t n, const float *x, const float *gate, float *out);

/* ---- reduce.c: sums ---- */

/** Sum of [n] elements: 16 partial sums, element i in sum i % 16, added as a binary tree. */
float lmn__kernel_sum(size_t n, const float *x);

/** Sums of x over the axes whose bit is set; out holds the kept elements in order. */
void lmn__kernel_reduce_sum(const lmn_shape *shape, unsigned axes, const float *x, float *out);

/* ---- reduce_max.c: maxima; NaN counts as largest, the first of equals wins ---- */

void lmn__kernel_reduce_max(const lmn_shape *shape, unsigned axes, const float *x, float *out);

/** The elements of z (of x's shape) that stand where the maxima of x are. */
void lmn__kernel_reduce_max_pick(const lmn_shape *shape, unsigned axes, const float *x,
                                 const float *z, float *out);

/** dx of x's shape: dy where the maxima of x are, else 0. */
void lmn__kernel_reduce_max_grad(const lmn_shape *shape, unsigned axes, const float *x,
                                 const float *dy, float *dx);

/* ---- im2col.c: patches of convolutions (conv_internal.h has the backends) ---- */

/** The extents of one convolution, NHWC. */
typedef struct lmn__conv {
    size_t batch, h, w, c; /* input */
    size_t kh, kw;         /* kernel */
    size_t oh, ow, k;      /* output; a line is one of its batch * oh rows of ow places */
    lmn_window window;
} lmn__conv;

/** kh * kw * c: what one output place sees. */
size_t lmn__conv_patch_count(const lmn__conv *conv);

/**
 * The patches under output lines first_line .. first_line + n_lines - 1, one row for each place.
 * patches  [n_lines * ow, kh * kw * c]
 */
void lmn__im2col(const lmn__conv *conv, size_t first_line, size_t n_lines, const float *x,
                 float *patches);

/** The transpose of lmn__im2col: add patches back to where they came from in dx. */
void lmn__col2im_add(const lmn__conv *conv, size_t first_line, size_t n_lines, const float *patches,
                     float *dx);

/* ---- pool.c: pooling; maxima as in reduce_max.c ---- */

/** The extents of one pooling, NHWC. */
typedef struct lmn__pool {
    size_t batch, h, w, c;
    size_t kh, kw;
    size_t oh, ow;
    lmn_window window; /* pads are smaller than the kernel, so every window sees an element */
} lmn__pool;

void lmn__kernel_max_pool(const lmn__pool *pool, const float *x, float *y);

/** The elements of z (of x's shape) that stand where the maxima of x are. */
void lmn__kernel_max_pool_pick(const lmn__pool *pool, const float *x, const float *z, float *y);

/** dx: dy added where the maxima of x are. */
void lmn__kernel_max_pool_grad(const lmn__pool *pool, const float *x, const float *dy, float *dx);

void lmn__kernel_avg_pool(const lmn__pool *pool, const float *x, float *y);
void lmn__kernel_avg_pool_grad(const lmn__pool *pool, const float *dy, float *dx);

/* ---- softmax.c: rows of logits [rows, n] and labels [rows] ---- */

void lmn__kernel_softmax(size_t rows, size_t n, const float *x, float *out);
void lmn__kernel_one_hot(size_t rows, size_t n, const int32_t *labels, float *out);
void lmn__kernel_softmax_cross_entropy(size_t rows, size_t n, const float *logits,
                                       const int32_t *labels, float *out);
void lmn__kernel_hits(size_t rows, size_t n, const float *logits, const int32_t *labels,
                      float *out);

#endif

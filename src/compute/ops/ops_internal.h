/*
 * Constructors that ops share among themselves: pieces of derivatives that no model writes.
 *
 * They follow the rules of lamina/ops.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_OPS_INTERNAL_H
#define LAMINA_OPS_INTERNAL_H

#include "compute_internal.h"
#include "kernels/kernels_internal.h"

/** Run a kernel over the only operand. */
lmn_status lmn__run_unary(const lmn__node_run *node_run, lmn__unary_fn kernel);

/** The same for two operands of the result's shape. */
lmn_status lmn__run_binary(const lmn__node_run *node_run, lmn__binary_fn kernel);

/** may_overwrite of elementwise ops: operand 0. */
unsigned lmn__overwrites_first(const lmn_tensor *node);

/** lmn_matmul or lmn_batch_matmul. */
typedef const lmn_tensor *(*lmn__product_fn)(lmn_graph *graph, const lmn_tensor *a,
                                             const lmn_tensor *b, bool transpose_a,
                                             bool transpose_b);

/** The VJP of a product y = op(a) op(b): d op(a) = g op(b)', d op(b) = op(a)' g. */
const lmn_tensor *lmn__vjp_product(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                   size_t input, lmn__product_fn product);

/** Sum `grad` over the axes along which `shape` was repeated to grad's shape: undoes broadcasting.
 */
const lmn_tensor *lmn__sum_to(lmn_graph *graph, const lmn_tensor *grad, const lmn_shape *shape);

/** The elements of z (of x's shape) that stand where lmn_reduce_max finds the maxima of x. */
const lmn_tensor *lmn__reduce_max_pick(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *z,
                                       unsigned axes, bool keep);

/** Of x's shape: dy (as many elements as the result of lmn_reduce_max) at the maxima of x, else 0.
 */
const lmn_tensor *lmn__reduce_max_grad(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *dy,
                                       unsigned axes, bool keep);

/** The extents of a pooling window and how it moves. */
typedef struct lmn__pool_window {
    size_t kernel_h, kernel_w;
    lmn_window window;
} lmn__pool_window;

/** The elements of z (of x's shape) that stand where lmn_max_pool finds the maxima of x. */
const lmn_tensor *lmn__max_pool_pick(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *z,
                                     lmn__pool_window window);

/** The gradient of lmn_max_pool in x for the gradient dy of its result. */
const lmn_tensor *lmn__max_pool_grad(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *dy,
                                     lmn__pool_window window);

/** The gradient of lmn_avg_pool in its input, of shape x_shape, for the gradient dy. */
const lmn_tensor *lmn__avg_pool_grad(lmn_graph *graph, const lmn_tensor *dy, lmn_shape x_shape,
                                     lmn__pool_window window);

#endif

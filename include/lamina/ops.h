/*
 * Ops: the constructors that models, losses and derivatives are written with.
 *
 * Each returns a new tensor of `graph`, or NULL after recording the first error (see
 * lamina/graph.h). Shapes that do not fit are refused with both shapes in the message. Unless said
 * otherwise operands and results are f32 and the op is differentiable any number of times.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_OPS_H
#define LAMINA_OPS_H

#include "lamina/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Elementwise with two operands. Shapes broadcast as in NumPy: aligned at the last axis, an extent
 * of 1 or a missing axis repeats. */
const lmn_tensor *lmn_add(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b);
const lmn_tensor *lmn_sub(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b);
const lmn_tensor *lmn_mul(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b);
const lmn_tensor *lmn_div(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b);

/* Elementwise with one operand. */
const lmn_tensor *lmn_scale(lmn_graph *graph, const lmn_tensor *x, float factor);
const lmn_tensor *lmn_relu(lmn_graph *graph, const lmn_tensor *x); /* derivative 0 at 0 */
const lmn_tensor *lmn_tanh(lmn_graph *graph, const lmn_tensor *x);
const lmn_tensor *lmn_sigmoid(lmn_graph *graph, const lmn_tensor *x);
const lmn_tensor *lmn_exp(lmn_graph *graph, const lmn_tensor *x);
const lmn_tensor *lmn_log(lmn_graph *graph, const lmn_tensor *x);
const lmn_tensor *lmn_sqrt(lmn_graph *graph, const lmn_tensor *x);

/** x where gate > 0, else 0; same shapes. The derivative of relu; constant in gate. */
const lmn_tensor *lmn_gate(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *gate);

/** The value of x, through which no gradient flows. */
const lmn_tensor *lmn_stop_gradient(lmn_graph *graph, const lmn_tensor *x);

/**
 * Matrix product op(a) op(b), [m, k] x [k, n] -> [m, n]; op transposes when asked.
 */
const lmn_tensor *lmn_matmul(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b,
                             bool transpose_a, bool transpose_b);

/* Reductions over the axes whose bit is set in `axes` (bit 0 is the outermost). Reduced axes stay
 * with extent 1 when `keep`, else they go. lmn_reduce_max passes its gradient to the first maximum.
 */
#define LMN_ALL_AXES 0xFFFFFFFFu
const lmn_tensor *lmn_reduce_sum(lmn_graph *graph, const lmn_tensor *x, unsigned axes, bool keep);
const lmn_tensor *lmn_reduce_mean(lmn_graph *graph, const lmn_tensor *x, unsigned axes, bool keep);
const lmn_tensor *lmn_reduce_max(lmn_graph *graph, const lmn_tensor *x, unsigned axes, bool keep);

/** Repeat x to a shape that it broadcasts to. */
const lmn_tensor *lmn_broadcast_to(lmn_graph *graph, const lmn_tensor *x, lmn_shape shape);

/** Same elements, same order, another shape of equal count. Costs nothing at run time. */
const lmn_tensor *lmn_reshape(lmn_graph *graph, const lmn_tensor *x, lmn_shape shape);

/** Axis i of the result is axis order[i] of x. order [n_dims of x] is a permutation. */
const lmn_tensor *lmn_transpose(lmn_graph *graph, const lmn_tensor *x, const size_t *order);

/** Strides and zero padding of a 2-d window; all four sides, not necessarily alike. */
typedef struct lmn_window {
    size_t stride_h, stride_w;
    size_t pad_top, pad_left, pad_bottom, pad_right;
} lmn_window;

/** Stride 1, no padding. */
lmn_window lmn_window_default(void);

/**
 * 2-d convolution (cross-correlation), NHWC.
 * x [B, H, W, C], weight [KH, KW, C, K] -> [B, OH, OW, K], OH = (H + pads - KH) / stride_h + 1.
 */
const lmn_tensor *lmn_conv2d(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *weight,
                             lmn_window window);

/** The gradient of lmn_conv2d in x, of shape x_shape, for the gradient dy of its result. */
const lmn_tensor *lmn_conv2d_input_grad(lmn_graph *graph, const lmn_tensor *dy,
                                        const lmn_tensor *weight, lmn_shape x_shape,
                                        lmn_window window);

/** The gradient of lmn_conv2d in weight, of shape weight_shape. */
const lmn_tensor *lmn_conv2d_weight_grad(lmn_graph *graph, const lmn_tensor *x,
                                         const lmn_tensor *dy, lmn_shape weight_shape,
                                         lmn_window window);

/* Pooling over kernel_h x kernel_w windows, [B, H, W, C] -> [B, OH, OW, C]. Padding never wins a
 * maximum; averages divide by the window's full size. A maximum's gradient goes to its first place.
 * Pads must be smaller than the window. NaN counts as largest. */
const lmn_tensor *lmn_max_pool(lmn_graph *graph, const lmn_tensor *x, size_t kernel_h,
                               size_t kernel_w, lmn_window window);
const lmn_tensor *lmn_avg_pool(lmn_graph *graph, const lmn_tensor *x, size_t kernel_h,
                               size_t kernel_w, lmn_window window);

/** Softmax over the last axis. */
const lmn_tensor *lmn_softmax(lmn_graph *graph, const lmn_tensor *x);

/** i32 labels [B] -> f32 [B, n_classes]; rows of labels outside 0 .. n_classes - 1 are zero. */
const lmn_tensor *lmn_one_hot(lmn_graph *graph, const lmn_tensor *labels, size_t n_classes);

/**
 * Cross-entropy of softmax(logits) per row: logits [B, K], i32 labels [B] -> [B], in nats.
 * Computed with the maximum subtracted. Differentiable in logits. Rows of labels outside 0 .. K - 1
 * (rows without a sample) have loss 0 and gradient 0.
 */
const lmn_tensor *lmn_softmax_cross_entropy(lmn_graph *graph, const lmn_tensor *logits,
                                            const lmn_tensor *labels);

/** 1 where the largest logit (the first, on ties) is the label, else 0: [B]. No derivative: 0. */
const lmn_tensor *lmn_hits(lmn_graph *graph, const lmn_tensor *logits, const lmn_tensor *labels);

/**
 * x with each element zeroed with probability `rate` and the others divided by 1 - rate while
 * training, unchanged otherwise (lmn_run in lamina/plan.h says which). The mask is a function of
 * seed, step, this op and the row's place in the global batch (axis 0), so it does not depend on
 * the number of ranks. 0 <= rate < 1. Method: N. Srivastava et al., JMLR 15 (2014) 1929-1958.
 */
const lmn_tensor *lmn_dropout(lmn_graph *graph, const lmn_tensor *x, float rate);

#ifdef __cplusplus
}
#endif

#endif

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

const lmn_tensor *lmn_max(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b);
const lmn_tensor *lmn_min(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b);
/* Where both are equal, the gradient of lmn_max and lmn_min goes to a. NaN in either gives NaN. */

/** a where condition > 0, else b. Broadcasts; constant in condition. */
const lmn_tensor *lmn_where(lmn_graph *graph, const lmn_tensor *condition, const lmn_tensor *a,
                            const lmn_tensor *b);

/* Elementwise with one operand. */
const lmn_tensor *lmn_scale(lmn_graph *graph, const lmn_tensor *x, float factor);
const lmn_tensor *lmn_relu(lmn_graph *graph, const lmn_tensor *x); /* derivative 0 at 0 */
const lmn_tensor *lmn_tanh(lmn_graph *graph, const lmn_tensor *x);
const lmn_tensor *lmn_sigmoid(lmn_graph *graph, const lmn_tensor *x);
const lmn_tensor *lmn_exp(lmn_graph *graph, const lmn_tensor *x);
const lmn_tensor *lmn_log(lmn_graph *graph, const lmn_tensor *x);
const lmn_tensor *lmn_sqrt(lmn_graph *graph, const lmn_tensor *x);

const lmn_tensor *lmn_sin(lmn_graph *graph, const lmn_tensor *x);
const lmn_tensor *lmn_cos(lmn_graph *graph, const lmn_tensor *x);
const lmn_tensor *lmn_abs(lmn_graph *graph, const lmn_tensor *x); /* derivative 0 at 0 */
const lmn_tensor *lmn_erf(lmn_graph *graph, const lmn_tensor *x);

/** x Phi(x), Phi the normal distribution function. D. Hendrycks and K. Gimpel, arXiv:1606.08415. */
const lmn_tensor *lmn_gelu(lmn_graph *graph, const lmn_tensor *x);

/** x where gate > 0, else 0; same shapes. The derivative of relu; constant in gate. */
const lmn_tensor *lmn_gate(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *gate);

/** The value of x, through which no gradient flows. */
const lmn_tensor *lmn_stop_gradient(lmn_graph *graph, const lmn_tensor *x);

/**
 * Matrix product op(a) op(b), [m, k] x [k, n] -> [m, n]; op transposes when asked.
 */
const lmn_tensor *lmn_matmul(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b,
                             bool transpose_a, bool transpose_b);

/** Matrix products of the last two axes: [..., m, k] x [..., k, n] -> [..., m, n]. The leading axes
 * of a and b are equal. */
const lmn_tensor *lmn_batch_matmul(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b,
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

/** Same elements, f32 or i32, same order, another shape of equal count. Costs nothing at run time.
 */
const lmn_tensor *lmn_reshape(lmn_graph *graph, const lmn_tensor *x, lmn_shape shape);

/** Axis i of the result is axis order[i] of x. order [n_dims of x] is a permutation. */
const lmn_tensor *lmn_transpose(lmn_graph *graph, const lmn_tensor *x, const size_t *order);

/** Tensors one after the other along `axis`; their other extents are equal. n is at least 1. */
const lmn_tensor *lmn_concat(lmn_graph *graph, const lmn_tensor *const *parts, size_t n,
                             size_t axis);

/** Elements first .. first + count - 1 along `axis`. */
const lmn_tensor *lmn_slice(lmn_graph *graph, const lmn_tensor *x, size_t axis, size_t first,
                            size_t count);

/** x with `before` and `after` zeros added along `axis`: the derivative of lmn_slice. */
const lmn_tensor *lmn_pad(lmn_graph *graph, const lmn_tensor *x, size_t axis, size_t before,
                          size_t after);

/** Sums of x[0 .. i] along `axis`; of x[i .. end] when `reverse`. */
const lmn_tensor *lmn_cumulative_sum(lmn_graph *graph, const lmn_tensor *x, size_t axis,
                                     bool reverse);

/**
 * Rows of a table: table [V, ...], i32 indices of any shape -> [shape of indices, ...]. Rows for
 * indices outside 0 .. V - 1 are zero. An embedding is a gather from its weights.
 */
const lmn_tensor *lmn_gather(lmn_graph *graph, const lmn_tensor *table, const lmn_tensor *indices);

/**
 * The derivative of lmn_gather: rows [shape of indices, ...] are added up, in the order of the
 * indices, at their places of a zero table [n_rows, ...]; indices outside are left out.
 */
const lmn_tensor *lmn_scatter_add(lmn_graph *graph, const lmn_tensor *rows,
                                  const lmn_tensor *indices, size_t n_rows);

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

/**
 * What batch norm divides by: row 0 the mean, row 1 the variance (of the population) of x over all
 * axes but the last, [2, C].
 * x        [B, ..., C]
 * weights  [B] or NULL (all rows count); rows with weight 0 hold no sample and are left out
 * running  [2, C], a statistic: the result when not training (lmn_run in lamina/plan.h)
 * synchronised  in training, over the rows of all ranks, by lmn_run.sum_ranks
 * No gradient flows through the result: lmn_batch_norm accounts for it. Without any row: 0 and 1.
 */
const lmn_tensor *lmn_batch_statistics(lmn_graph *graph, const lmn_tensor *x,
                                       const lmn_tensor *weights, const lmn_tensor *running,
                                       bool synchronised);

/**
 * (x - mean) / sqrt(variance + epsilon) * scale + shift, for each channel (the last axis).
 * statistics  the result of lmn_batch_statistics on the same x; its derivative, as a function of x,
 *             is part of this op's (of training; when not training statistics are constant)
 * scale, shift  [C]
 * S. Ioffe and C. Szegedy, arXiv:1502.03167.
 */
const lmn_tensor *lmn_batch_norm(lmn_graph *graph, const lmn_tensor *x,
                                 const lmn_tensor *statistics, const lmn_tensor *scale,
                                 const lmn_tensor *shift, float epsilon);

/** The same for each row of the last axis by its own mean and variance; scale, shift [C].
 * J. L. Ba, J. R. Kiros and G. E. Hinton, arXiv:1607.06450. */
const lmn_tensor *lmn_layer_norm(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *scale,
                                 const lmn_tensor *shift, float epsilon);

/**
 * Causal self-attention of all heads: softmax(q k' / sqrt(D) + mask) v, place t seeing 0 .. t.
 * qkv  [B, T, 3 C]: queries, keys and values one after the other, each as n_heads heads of
 *      D = C / n_heads
 * Result [B, T, C]. No buffer of T x T for more than one head at a time.
 * A. Vaswani et al., arXiv:1706.03762.
 */
const lmn_tensor *lmn_causal_attention(lmn_graph *graph, const lmn_tensor *qkv, size_t n_heads);

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

/*
 * Softmax, one-hot labels, softmax cross-entropy, and hits.
 *
 * The derivative of the cross-entropy is written with softmax and one_hot, so it can be
 * differentiated again. A label that names no class stands for a row without a sample: its loss,
 * its gradient and its hit are 0.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/kernels_internal.h"
#include "ops_internal.h"

/* Elements of the last axis, along which rows run. */
static size_t row_length(const lmn_shape *shape)
{
    return shape->dims[shape->n_dims - 1];
}

static size_t row_count(const lmn_shape *shape)
{
    return lmn_shape_count(shape) / row_length(shape);
}

static lmn_status run_softmax(const lmn__node_run *node_run)
{
    const lmn_shape *shape = &node_run->node->shape;
    lmn__kernel_softmax(row_count(shape), row_length(shape), node_run->inputs[0], node_run->output);
    return LMN_OK;
}

/* y (g - sum of g y over the row) */
static const lmn_tensor *vjp_softmax(lmn_graph *graph, const lmn_tensor *node,
                                     const lmn_tensor *grad, size_t input)
{
    (void)input;
    const unsigned last_axis = 1U << (node->shape.n_dims - 1);
    const lmn_tensor *mean = lmn_reduce_sum(graph, lmn_mul(graph, grad, node), last_axis, true);
    return lmn_mul(graph, node, lmn_sub(graph, grad, mean));
}

static const lmn__op softmax_op = {.name = "softmax",
                                   .vjp = vjp_softmax,
                                   .run = run_softmax,
                                   .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_softmax(lmn_graph *graph, const lmn_tensor *x)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, &softmax_op, inputs, 1)) {
        return NULL;
    }
    if (x->shape.n_dims == 0) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE, "softmax: %s has no axis to run along",
                               lmn__shape_text(&x->shape).text);
    }
    return lmn__tensor_new(graph, &softmax_op, inputs, 1, x->shape, LMN_F32, NULL);
}

static lmn_status run_one_hot(const lmn__node_run *node_run)
{
    const lmn_shape *shape = &node_run->node->shape;
    lmn__kernel_one_hot(row_count(shape), row_length(shape), node_run->inputs[0], node_run->output);
    return LMN_OK;
}

static const lmn__op one_hot_op = {
    .name = "one_hot", .i32_inputs = 1U, .no_gradient = true, .run = run_one_hot};

const lmn_tensor *lmn_one_hot(lmn_graph *graph, const lmn_tensor *labels, size_t n_classes)
{
    const lmn_tensor *const inputs[] = {labels};
    if (!lmn__inputs_fit(graph, &one_hot_op, inputs, 1)) {
        return NULL;
    }
    const lmn_shape shape = {.n_dims = 2, .dims = {labels->shape.dims[0], n_classes}};
    if (labels->shape.n_dims != 1) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "one_hot: labels have shape %s, but need one axis, [B]",
                               lmn__shape_text(&labels->shape).text);
    }
    return lmn__tensor_new(graph, &one_hot_op, inputs, 1, shape, LMN_F32, NULL);
}

static lmn_status run_cross_entropy(const lmn__node_run *node_run)
{
    const lmn_shape *logits = &node_run->node->inputs[0]->shape;
    lmn__kernel_softmax_cross_entropy(row_count(logits), row_length(logits), node_run->inputs[0],
                                      node_run->inputs[1], node_run->output);
    return LMN_OK;
}

/* (s p - h) g for softmax s and one-hot h, whose row sum p is 0 in rows without a sample. */
static const lmn_tensor *vjp_cross_entropy(lmn_graph *graph, const lmn_tensor *node,
                                           const lmn_tensor *grad, size_t input)
{
    const lmn_tensor *logits = node->inputs[input];
    const lmn_tensor *softmax = lmn_softmax(graph, logits);
    const lmn_tensor *hot = lmn_one_hot(graph, node->inputs[1], logits->shape.dims[1]);
    const lmn_tensor *present = lmn_reduce_sum(graph, hot, 2U, true);
    const lmn_tensor *slope = lmn_sub(graph, lmn_mul(graph, softmax, present), hot);
    const lmn_shape column = {.n_dims = 2, .dims = {logits->shape.dims[0], 1}};
    return lmn_mul(graph, slope, lmn_reshape(graph, grad, column));
}

static const lmn__op cross_entropy_op = {.name = "softmax_cross_entropy",
                                         .i32_inputs = 2U,
                                         .vjp = vjp_cross_entropy,
                                         .run = run_cross_entropy};

static lmn_status run_hits(const lmn__node_run *node_run)
{
    const lmn_shape *logits = &node_run->node->inputs[0]->shape;
    lmn__kernel_hits(row_count(logits), row_length(logits), node_run->inputs[0],
                     node_run->inputs[1], node_run->output);
    return LMN_OK;
}

static const lmn__op hits_op = {
    .name = "hits", .i32_inputs = 2U, .no_gradient = true, .run = run_hits};

/* Both: logits [B, K] and labels [B] give [B]. */
static const lmn_tensor *build(lmn_graph *graph, const lmn__op *op, const lmn_tensor *logits,
                               const lmn_tensor *labels)
{
    const lmn_tensor *const inputs[] = {logits, labels};
    if (!lmn__inputs_fit(graph, op, inputs, 2)) {
        return NULL;
    }
    if (logits->shape.n_dims != 2 || labels->shape.n_dims != 1 ||
        logits->shape.dims[0] != labels->shape.dims[0]) {
        return lmn__graph_fail(
            graph, LMN_ERR_SHAPE,
            "%s: logits %s and labels %s do not fit: they must be [B, K] and [B]", op->name,
            lmn__shape_text(&logits->shape).text, lmn__shape_text(&labels->shape).text);
    }
    return lmn__tensor_new(graph, op, inputs, 2, labels->shape, LMN_F32, NULL);
}

const lmn_tensor *lmn_softmax_cross_entropy(lmn_graph *graph, const lmn_tensor *logits,
                                            const lmn_tensor *labels)
{
    return build(graph, &cross_entropy_op, logits, labels);
}

const lmn_tensor *lmn_hits(lmn_graph *graph, const lmn_tensor *logits, const lmn_tensor *labels)
{
    return build(graph, &hits_op, logits, labels);
}

/*
 * Reductions: sum, mean and maximum over any set of axes.
 *
 * The mean is a scaled sum. The derivative of a maximum moves numbers to and from the places of the
 * maxima: reduce_max_grad puts them there and reduce_max_pick takes them, and each is the
 * derivative of the other, so a maximum can be differentiated any number of times.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/kernels_internal.h"
#include "ops_internal.h"

/* The bits of `axes` that name an axis of `shape`. */
static unsigned existing_axes(const lmn_shape *shape, unsigned axes)
{
    return axes & ((1U << shape->n_dims) - 1U);
}

static lmn_status run_sum(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    lmn__kernel_reduce_sum(&node->inputs[0]->shape, node->attributes.axes, node_run->inputs[0],
                           node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_sum(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    const lmn_shape *shape = &node->inputs[input]->shape;
    const lmn_shape kept = lmn__shape_reduce(shape, node->attributes.axes, true);
    return lmn_broadcast_to(graph, lmn_reshape(graph, grad, kept), *shape);
}

static const lmn__op reduce_sum_op = {.name = "reduce_sum", .vjp = vjp_sum, .run = run_sum};

const lmn_tensor *lmn_reduce_sum(lmn_graph *graph, const lmn_tensor *x, unsigned axes, bool keep)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, &reduce_sum_op, inputs, 1)) {
        return NULL;
    }
    const lmn__attributes attributes = {.axes = existing_axes(&x->shape, axes), .keep = keep};
    return lmn__tensor_new(graph, &reduce_sum_op, inputs, 1,
                           lmn__shape_reduce(&x->shape, attributes.axes, keep), LMN_F32,
                           &attributes);
}

const lmn_tensor *lmn_reduce_mean(lmn_graph *graph, const lmn_tensor *x, unsigned axes, bool keep)
{
    const lmn_tensor *sum = lmn_reduce_sum(graph, x, axes, keep);
    if (sum == NULL) {
        return NULL;
    }
    const size_t n = lmn_shape_count(&x->shape) / lmn_shape_count(&sum->shape);
    return lmn_scale(graph, sum, 1.0F / (float)n);
}

const lmn_tensor *lmn__sum_to(lmn_graph *graph, const lmn_tensor *grad, const lmn_shape *shape)
{
    if (grad == NULL || lmn_shape_equal(&grad->shape, shape)) {
        return grad;
    }
    const size_t added = grad->shape.n_dims - shape->n_dims;
    unsigned axes = 0;
    for (size_t i = 0; i < grad->shape.n_dims; i++) {
        if (i < added || shape->dims[i - added] != grad->shape.dims[i]) {
            axes |= 1U << i;
        }
    }
    return lmn_reshape(graph, lmn_reduce_sum(graph, grad, axes, false), *shape);
}

static lmn_status run_max(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    lmn__kernel_reduce_max(&node->inputs[0]->shape, node->attributes.axes, node_run->inputs[0],
                           node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_max(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    return lmn__reduce_max_grad(graph, node->inputs[input], grad, node->attributes.axes,
                                node->attributes.keep);
}

static const lmn__op reduce_max_op = {.name = "reduce_max", .vjp = vjp_max, .run = run_max};

const lmn_tensor *lmn_reduce_max(lmn_graph *graph, const lmn_tensor *x, unsigned axes, bool keep)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, &reduce_max_op, inputs, 1)) {
        return NULL;
    }
    const lmn__attributes attributes = {.axes = existing_axes(&x->shape, axes), .keep = keep};
    return lmn__tensor_new(graph, &reduce_max_op, inputs, 1,
                           lmn__shape_reduce(&x->shape, attributes.axes, keep), LMN_F32,
                           &attributes);
}

static lmn_status run_max_pick(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    lmn__kernel_reduce_max_pick(&node->inputs[0]->shape, node->attributes.axes, node_run->inputs[0],
                                node_run->inputs[1], node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_max_pick(lmn_graph *graph, const lmn_tensor *node,
                                      const lmn_tensor *grad, size_t input)
{
    if (input == 0) {
        return NULL;
    }
    return lmn__reduce_max_grad(graph, node->inputs[0], grad, node->attributes.axes,
                                node->attributes.keep);
}

static const lmn__op reduce_max_pick_op = {
    .name = "reduce_max_pick", .vjp = vjp_max_pick, .run = run_max_pick};

const lmn_tensor *lmn__reduce_max_pick(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *z,
                                       unsigned axes, bool keep)
{
    const lmn_tensor *const inputs[] = {x, z};
    if (!lmn__inputs_fit(graph, &reduce_max_pick_op, inputs, 2)) {
        return NULL;
    }
    const lmn__attributes attributes = {.axes = axes, .keep = keep};
    return lmn__tensor_new(graph, &reduce_max_pick_op, inputs, 2,
                           lmn__shape_reduce(&x->shape, axes, keep), LMN_F32, &attributes);
}

static lmn_status run_max_grad(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    lmn__kernel_reduce_max_grad(&node->inputs[0]->shape, node->attributes.axes, node_run->inputs[0],
                                node_run->inputs[1], node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_max_grad(lmn_graph *graph, const lmn_tensor *node,
                                      const lmn_tensor *grad, size_t input)
{
    if (input == 0) {
        return NULL;
    }
    return lmn__reduce_max_pick(graph, node->inputs[0], grad, node->attributes.axes,
                                node->attributes.keep);
}

static const lmn__op reduce_max_grad_op = {
    .name = "reduce_max_grad", .vjp = vjp_max_grad, .run = run_max_grad};

const lmn_tensor *lmn__reduce_max_grad(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *dy,
                                       unsigned axes, bool keep)
{
    const lmn_tensor *const inputs[] = {x, dy};
    if (!lmn__inputs_fit(graph, &reduce_max_grad_op, inputs, 2)) {
        return NULL;
    }
    const lmn__attributes attributes = {.axes = axes, .keep = keep};
    return lmn__tensor_new(graph, &reduce_max_grad_op, inputs, 2, x->shape, LMN_F32, &attributes);
}

/*
 * Ops that move elements without computing: broadcast_to, reshape, transpose.
 *
 * Reshape is a view; the other two copy along a strided walk.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/kernels_internal.h"
#include "ops_internal.h"

static lmn_status run_broadcast(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const lmn_shape *from = &node->inputs[0]->shape;
    const lmn__loop loop = lmn__loop_broadcast(&node->shape, from, from);
    lmn__loop_run(&loop, lmn__row_copy, node_run->inputs[0], node_run->inputs[0], node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_broadcast(lmn_graph *graph, const lmn_tensor *node,
                                       const lmn_tensor *grad, size_t input)
{
    return lmn__sum_to(graph, grad, &node->inputs[input]->shape);
}

static const lmn__op broadcast_to_op = {
    .name = "broadcast_to", .vjp = vjp_broadcast, .run = run_broadcast};

const lmn_tensor *lmn_broadcast_to(lmn_graph *graph, const lmn_tensor *x, lmn_shape shape)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, &broadcast_to_op, inputs, 1)) {
        return NULL;
    }
    if (lmn_shape_equal(&x->shape, &shape)) {
        return lmn_reshape(graph, x, shape);
    }
    lmn_shape common;
    if (!lmn__shape_is_valid(&shape) || !lmn__shape_broadcast(&x->shape, &shape, &common) ||
        !lmn_shape_equal(&common, &shape)) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE, "broadcast_to: %s does not broadcast to %s",
                               lmn__shape_text(&x->shape).text, lmn__shape_text(&shape).text);
    }
    return lmn__tensor_new(graph, &broadcast_to_op, inputs, 1, shape, LMN_F32, NULL);
}

static const lmn_tensor *vjp_reshape(lmn_graph *graph, const lmn_tensor *node,
                                     const lmn_tensor *grad, size_t input)
{
    return lmn_reshape(graph, grad, node->inputs[input]->shape);
}

static const lmn__op reshape_op = {.name = "reshape", .kind = LMN__OP_VIEW, .vjp = vjp_reshape};
static const lmn__op reshape_i32_op = {
    .name = "reshape", .kind = LMN__OP_VIEW, .i32_inputs = 1U, .no_gradient = true};

const lmn_tensor *lmn_reshape(lmn_graph *graph, const lmn_tensor *x, lmn_shape shape)
{
    const lmn_tensor *const inputs[] = {x};
    const lmn__op *op = x != NULL && x->dtype == LMN_I32 ? &reshape_i32_op : &reshape_op;
    if (!lmn__inputs_fit(graph, op, inputs, 1) || x == NULL) {
        return NULL;
    }
    if (lmn__shape_is_valid(&shape) && lmn_shape_count(&shape) != lmn_shape_count(&x->shape)) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "reshape: %s does not fit into %s: %zu and %zu elements",
                               lmn__shape_text(&x->shape).text, lmn__shape_text(&shape).text,
                               lmn_shape_count(&x->shape), lmn_shape_count(&shape));
    }
    return lmn__tensor_new(graph, op, inputs, 1, shape, x->dtype, NULL);
}

static lmn_status run_transpose(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const lmn__loop loop = lmn__loop_transpose(&node->inputs[0]->shape, node->attributes.order);
    lmn__loop_run(&loop, lmn__row_copy, node_run->inputs[0], node_run->inputs[0], node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_transpose(lmn_graph *graph, const lmn_tensor *node,
                                       const lmn_tensor *grad, size_t input)
{
    (void)input;
    size_t inverse[LMN_DIMS_MAX] = {0};
    for (size_t i = 0; i < node->shape.n_dims; i++) {
        inverse[node->attributes.order[i]] = i;
    }
    return lmn_transpose(graph, grad, inverse);
}

static const lmn__op transpose_op = {
    .name = "transpose", .vjp = vjp_transpose, .run = run_transpose};

static bool is_permutation(size_t n, const size_t *order)
{
    unsigned seen = 0;
    for (size_t i = 0; i < n; i++) {
        seen |= order[i] < n ? 1U << order[i] : 0U;
    }
    return seen == (1U << n) - 1U;
}

const lmn_tensor *lmn_transpose(lmn_graph *graph, const lmn_tensor *x, const size_t *order)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, &transpose_op, inputs, 1)) {
        return NULL;
    }
    const size_t n = x->shape.n_dims;
    if (!is_permutation(n, order)) {
        const lmn_shape given = lmn_shape_make(n, order);
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "transpose: order %s is not a permutation of the %zu axes of %s",
                               lmn__shape_text(&given).text, n, lmn__shape_text(&x->shape).text);
    }
    lmn__attributes attributes = {0};
    lmn_shape shape = {.n_dims = n};
    for (size_t i = 0; i < n; i++) {
        attributes.order[i] = order[i];
        shape.dims[i] = x->shape.dims[order[i]];
    }
    return lmn__tensor_new(graph, &transpose_op, inputs, 1, shape, LMN_F32, &attributes);
}

/*
 * Choices between two values: where, max and min.
 *
 * The choice itself has no derivative; the chosen value does. Maximum and minimum are choices by a
 * comparison.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/kernels_internal.h"
#include "ops_internal.h"

static unsigned overwrites_two(const lmn_tensor *node)
{
    (void)node;
    return 3U;
}

/* Bring x to `shape`, which it broadcasts to. */
static const lmn_tensor *expand(lmn_graph *graph, const lmn_tensor *x, const lmn_shape *shape)
{
    return lmn_shape_equal(&x->shape, shape) ? x : lmn_broadcast_to(graph, x, *shape);
}

static const lmn_tensor *refuse(lmn_graph *graph, const char *op, const lmn_tensor *a,
                                const lmn_tensor *b)
{
    return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                           "%s: %s and %s do not fit: counted from the last axis, extents must be "
                           "equal or 1",
                           op, lmn__shape_text(&a->shape).text, lmn__shape_text(&b->shape).text);
}

/* not_less(a, b): 1 where a >= b or a is NaN, else 0; equal shapes. */
static lmn_status run_not_less(const lmn__node_run *node_run)
{
    const float *a = node_run->inputs[0];
    const float *b = node_run->inputs[1];
    float *out = node_run->output;
    for (size_t i = 0; i < lmn_shape_count(&node_run->node->shape); i++) {
        out[i] = a[i] < b[i] || (b[i] != b[i] && a[i] == a[i]) ? 0.0F : 1.0F;
    }
    return LMN_OK;
}

static const lmn__op not_less_op = {
    .name = "not_less", .no_gradient = true, .run = run_not_less, .may_overwrite = overwrites_two};

static lmn_status run_where(const lmn__node_run *node_run)
{
    const float *condition = node_run->inputs[0];
    const float *a = node_run->inputs[1];
    const float *b = node_run->inputs[2];
    float *out = node_run->output;
    for (size_t i = 0; i < lmn_shape_count(&node_run->node->shape); i++) {
        const float first = a[i];
        const float second = b[i];
        out[i] = condition[i] > 0.0F ? first : second;
    }
    return LMN_OK;
}

static const lmn_tensor *vjp_where(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                   size_t input)
{
    const lmn_tensor *condition = node->inputs[0];
    const lmn_tensor *zero = lmn_constant(graph, 0.0F, node->shape);
    if (input == 0) {
        return NULL;
    }
    return input == 1 ? lmn_where(graph, condition, grad, zero)
                      : lmn_where(graph, condition, zero, grad);
}

static unsigned overwrites_all(const lmn_tensor *node)
{
    (void)node;
    return 7U;
}

static const lmn__op where_op = {
    .name = "where", .vjp = vjp_where, .run = run_where, .may_overwrite = overwrites_all};

const lmn_tensor *lmn_where(lmn_graph *graph, const lmn_tensor *condition, const lmn_tensor *a,
                            const lmn_tensor *b)
{
    const lmn_tensor *const given[] = {condition, a, b};
    if (!lmn__inputs_fit(graph, &where_op, given, 3)) {
        return NULL;
    }
    lmn_shape shape;
    if (!lmn__shape_broadcast(&a->shape, &b->shape, &shape)) {
        return refuse(graph, where_op.name, a, b);
    }
    if (!lmn__shape_broadcast(&shape, &condition->shape, &shape)) {
        return refuse(graph, where_op.name, condition, a);
    }
    const lmn_tensor *const inputs[] = {expand(graph, condition, &shape), expand(graph, a, &shape),
                                        expand(graph, b, &shape)};
    if (!lmn__inputs_fit(graph, &where_op, inputs, 3)) {
        return NULL;
    }
    return lmn__tensor_new(graph, &where_op, inputs, 3, shape, LMN_F32, NULL);
}

const lmn_tensor *lmn_max(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b)
{
    const lmn_tensor *const given[] = {a, b};
    if (!lmn__inputs_fit(graph, &not_less_op, given, 2)) {
        return NULL;
    }
    lmn_shape shape;
    if (!lmn__shape_broadcast(&a->shape, &b->shape, &shape)) {
        return refuse(graph, "max", a, b);
    }
    const lmn_tensor *const inputs[] = {expand(graph, a, &shape), expand(graph, b, &shape)};
    if (!lmn__inputs_fit(graph, &not_less_op, inputs, 2)) {
        return NULL;
    }
    const lmn_tensor *choice =
        lmn__tensor_new(graph, &not_less_op, inputs, 2, shape, LMN_F32, NULL);
    return lmn_where(graph, choice, inputs[0], inputs[1]);
}

const lmn_tensor *lmn_min(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b)
{
    const lmn_tensor *largest =
        lmn_max(graph, lmn_scale(graph, a, -1.0F), lmn_scale(graph, b, -1.0F));
    return lmn_scale(graph, largest, -1.0F);
}

/*
 * Elementwise ops with one operand, the gate and the stop of gradients.
 *
 * Where a derivative can be written with the result it is, so that the operand's memory is free
 * early: relu, for one, runs in place in forward and backward.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/kernels_internal.h"
#include "ops_internal.h"

lmn_status lmn__run_unary(const lmn__node_run *node_run, lmn__unary_fn kernel)
{
    const size_t count = lmn_shape_count(&node_run->node->shape);
    const float *x = node_run->inputs[0];
    float *out = node_run->output;
#pragma omp parallel for schedule(static) if (count > LMN__PARALLEL_COUNT)
    for (size_t first = 0; first < count; first += LMN__PIECE_COUNT) {
        kernel(lmn__piece(count, first), x + first, out + first);
    }
    return LMN_OK;
}

lmn_status lmn__run_binary(const lmn__node_run *node_run, lmn__binary_fn kernel)
{
    const size_t count = lmn_shape_count(&node_run->node->shape);
    const float *a = node_run->inputs[0];
    const float *b = node_run->inputs[1];
    float *out = node_run->output;
#pragma omp parallel for schedule(static) if (count > LMN__PARALLEL_COUNT)
    for (size_t first = 0; first < count; first += LMN__PIECE_COUNT) {
        kernel(lmn__piece(count, first), a + first, b + first, out + first);
    }
    return LMN_OK;
}

unsigned lmn__overwrites_first(const lmn_tensor *node)
{
    (void)node;
    return 1U;
}

static const lmn_tensor *build(lmn_graph *graph, const lmn__op *op, const lmn_tensor *x,
                               const lmn__attributes *attributes)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, op, inputs, 1)) {
        return NULL;
    }
    return lmn__tensor_new(graph, op, inputs, 1, x->shape, LMN_F32, attributes);
}

/* The factor y (1 - y) and its kin need a 1 that broadcasts. */
static const lmn_tensor *one(lmn_graph *graph)
{
    return lmn_constant(graph, 1.0F, (lmn_shape){.n_dims = 0});
}

static lmn_status run_scale(const lmn__node_run *node_run)
{
    const size_t count = lmn_shape_count(&node_run->node->shape);
    const float factor = node_run->node->attributes.scalar;
    const float *x = node_run->inputs[0];
    float *out = node_run->output;
#pragma omp parallel for schedule(static) if (count > LMN__PARALLEL_COUNT)
    for (size_t first = 0; first < count; first += LMN__PIECE_COUNT) {
        lmn__kernel_scale(lmn__piece(count, first), x + first, factor, out + first);
    }
    return LMN_OK;
}

static const lmn_tensor *vjp_scale(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                   size_t input)
{
    (void)input;
    return lmn_scale(graph, grad, node->attributes.scalar);
}

static bool scale_as_step(const lmn_tensor *node, size_t input, lmn__epilogue_step *step_out,
                          size_t *operand_out)
{
    (void)input;
    *step_out = (lmn__epilogue_step){.kind = LMN__STEP_SCALE, .scalar = node->attributes.scalar};
    *operand_out = SIZE_MAX;
    return true;
}

static const lmn__op scale_op = {.name = "scale",
                                 .vjp = vjp_scale,
                                 .as_step = scale_as_step,
                                 .run = run_scale,
                                 .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_scale(lmn_graph *graph, const lmn_tensor *x, float factor)
{
    const lmn__attributes attributes = {.scalar = factor};
    return build(graph, &scale_op, x, &attributes);
}

static lmn_status run_relu(const lmn__node_run *node_run)
{
    return lmn__run_unary(node_run, lmn__kernel_relu);
}

/* The result is positive exactly where the operand is. */
static const lmn_tensor *vjp_relu(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                  size_t input)
{
    (void)input;
    return lmn_gate(graph, grad, node);
}

static bool relu_as_step(const lmn_tensor *node, size_t input, lmn__epilogue_step *step_out,
                         size_t *operand_out)
{
    (void)node;
    (void)input;
    *step_out = (lmn__epilogue_step){.kind = LMN__STEP_RELU};
    *operand_out = SIZE_MAX;
    return true;
}

static const lmn__op relu_op = {.name = "relu",
                                .vjp = vjp_relu,
                                .as_step = relu_as_step,
                                .run = run_relu,
                                .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_relu(lmn_graph *graph, const lmn_tensor *x)
{
    return build(graph, &relu_op, x, NULL);
}

static lmn_status run_tanh(const lmn__node_run *node_run)
{
    return lmn__run_unary(node_run, lmn__kernel_tanh);
}

/* y' = 1 - y^2 */
static const lmn_tensor *vjp_tanh(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                  size_t input)
{
    (void)input;
    const lmn_tensor *slope = lmn_sub(graph, one(graph), lmn_mul(graph, node, node));
    return lmn_mul(graph, grad, slope);
}

static const lmn__op tanh_op = {
    .name = "tanh", .vjp = vjp_tanh, .run = run_tanh, .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_tanh(lmn_graph *graph, const lmn_tensor *x)
{
    return build(graph, &tanh_op, x, NULL);
}

static lmn_status run_sigmoid(const lmn__node_run *node_run)
{
    return lmn__run_unary(node_run, lmn__kernel_sigmoid);
}

/* y' = y (1 - y) */
static const lmn_tensor *vjp_sigmoid(lmn_graph *graph, const lmn_tensor *node,
                                     const lmn_tensor *grad, size_t input)
{
    (void)input;
    const lmn_tensor *slope = lmn_mul(graph, node, lmn_sub(graph, one(graph), node));
    return lmn_mul(graph, grad, slope);
}

static const lmn__op sigmoid_op = {.name = "sigmoid",
                                   .vjp = vjp_sigmoid,
                                   .run = run_sigmoid,
                                   .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_sigmoid(lmn_graph *graph, const lmn_tensor *x)
{
    return build(graph, &sigmoid_op, x, NULL);
}

static lmn_status run_exp(const lmn__node_run *node_run)
{
    return lmn__run_unary(node_run, lmn__kernel_exp);
}

static const lmn_tensor *vjp_exp(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    (void)input;
    return lmn_mul(graph, grad, node);
}

static const lmn__op exp_op = {
    .name = "exp", .vjp = vjp_exp, .run = run_exp, .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_exp(lmn_graph *graph, const lmn_tensor *x)
{
    return build(graph, &exp_op, x, NULL);
}

static lmn_status run_log(const lmn__node_run *node_run)
{
    return lmn__run_unary(node_run, lmn__kernel_log);
}

static const lmn_tensor *vjp_log(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    return lmn_div(graph, grad, node->inputs[input]);
}

static const lmn__op log_op = {
    .name = "log", .vjp = vjp_log, .run = run_log, .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_log(lmn_graph *graph, const lmn_tensor *x)
{
    return build(graph, &log_op, x, NULL);
}

static lmn_status run_sqrt(const lmn__node_run *node_run)
{
    return lmn__run_unary(node_run, lmn__kernel_sqrt);
}

/* y' = 1 / (2 y) */
static const lmn_tensor *vjp_sqrt(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                  size_t input)
{
    (void)input;
    return lmn_div(graph, lmn_scale(graph, grad, 0.5F), node);
}

static const lmn__op sqrt_op = {
    .name = "sqrt", .vjp = vjp_sqrt, .run = run_sqrt, .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_sqrt(lmn_graph *graph, const lmn_tensor *x)
{
    return build(graph, &sqrt_op, x, NULL);
}

static lmn_status run_sin(const lmn__node_run *node_run)
{
    return lmn__run_unary(node_run, lmn__kernel_sin);
}

static const lmn_tensor *vjp_sin(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    return lmn_mul(graph, grad, lmn_cos(graph, node->inputs[input]));
}

static const lmn__op sin_op = {
    .name = "sin", .vjp = vjp_sin, .run = run_sin, .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_sin(lmn_graph *graph, const lmn_tensor *x)
{
    return build(graph, &sin_op, x, NULL);
}

static lmn_status run_cos(const lmn__node_run *node_run)
{
    return lmn__run_unary(node_run, lmn__kernel_cos);
}

static const lmn_tensor *vjp_cos(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    const lmn_tensor *slope = lmn_scale(graph, lmn_sin(graph, node->inputs[input]), -1.0F);
    return lmn_mul(graph, grad, slope);
}

static const lmn__op cos_op = {
    .name = "cos", .vjp = vjp_cos, .run = run_cos, .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_cos(lmn_graph *graph, const lmn_tensor *x)
{
    return build(graph, &cos_op, x, NULL);
}

/* Two relus, exact since one of them is 0. */
const lmn_tensor *lmn_abs(lmn_graph *graph, const lmn_tensor *x)
{
    return lmn_add(graph, lmn_relu(graph, x), lmn_relu(graph, lmn_scale(graph, x, -1.0F)));
}

static lmn_status run_gate(const lmn__node_run *node_run)
{
    return lmn__run_binary(node_run, lmn__kernel_gate);
}

static unsigned overwrites_both(const lmn_tensor *node)
{
    (void)node;
    return 3U;
}

static const lmn_tensor *vjp_gate(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                  size_t input)
{
    return input == 0 ? lmn_gate(graph, grad, node->inputs[1]) : NULL;
}

static bool gate_as_step(const lmn_tensor *node, size_t input, lmn__epilogue_step *step_out,
                         size_t *operand_out)
{
    (void)node;
    *step_out = (lmn__epilogue_step){.kind = LMN__STEP_GATE};
    *operand_out = 1;
    return input == 0;
}

static const lmn__op gate_op = {.name = "gate",
                                .vjp = vjp_gate,
                                .as_step = gate_as_step,
                                .run = run_gate,
                                .may_overwrite = overwrites_both};

const lmn_tensor *lmn_gate(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *gate)
{
    const lmn_tensor *const inputs[] = {x, gate};
    if (!lmn__inputs_fit(graph, &gate_op, inputs, 2)) {
        return NULL;
    }
    if (!lmn_shape_equal(&x->shape, &gate->shape)) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE, "gate: %s and its gate %s differ",
                               lmn__shape_text(&x->shape).text, lmn__shape_text(&gate->shape).text);
    }
    return lmn__tensor_new(graph, &gate_op, inputs, 2, x->shape, LMN_F32, NULL);
}

static const lmn__op stop_gradient_op = {
    .name = "stop_gradient", .kind = LMN__OP_VIEW, .no_gradient = true};

const lmn_tensor *lmn_stop_gradient(lmn_graph *graph, const lmn_tensor *x)
{
    return build(graph, &stop_gradient_op, x, NULL);
}

/*
 * The Gaussian error linear unit and the error function.
 *
 * The first derivative of gelu is one pass; further ones go through its composition of erf and exp.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/kernels_internal.h"
#include "ops_internal.h"

static const lmn_tensor *scalar(lmn_graph *graph, float value)
{
    return lmn_constant(graph, value, (lmn_shape){.n_dims = 0});
}

/* exp(-x^2) */
static const lmn_tensor *bell(lmn_graph *graph, const lmn_tensor *x)
{
    return lmn_exp(graph, lmn_scale(graph, lmn_mul(graph, x, x), -1.0F));
}

static lmn_status run_erf(const lmn__node_run *node_run)
{
    return lmn__run_unary(node_run, lmn__kernel_erf);
}

/* 2 / sqrt(pi) exp(-x^2) */
static const lmn_tensor *vjp_erf(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    const lmn_tensor *slope = lmn_scale(graph, bell(graph, node->inputs[input]), 1.12837917F);
    return lmn_mul(graph, grad, slope);
}

static const lmn__op erf_op = {
    .name = "erf", .vjp = vjp_erf, .run = run_erf, .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_erf(lmn_graph *graph, const lmn_tensor *x)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, &erf_op, inputs, 1)) {
        return NULL;
    }
    return lmn__tensor_new(graph, &erf_op, inputs, 1, x->shape, LMN_F32, NULL);
}

/* gelu_grad(x, dy): dy times the slope at x. */
static lmn_status run_gelu_grad(const lmn__node_run *node_run)
{
    return lmn__run_binary(node_run, lmn__kernel_gelu_grad);
}

/* dy (Phi(x) + x phi(x)), Phi(x) = (1 + erf(x / sqrt 2)) / 2, phi(x) = exp(-x^2 / 2) / sqrt(2 pi)
 */
static const lmn_tensor *compose_gelu_grad(lmn_graph *graph, const lmn_tensor *node)
{
    const lmn_tensor *x = node->inputs[0];
    const lmn_tensor *u = lmn_scale(graph, x, 0.70710678F);
    const lmn_tensor *distribution =
        lmn_scale(graph, lmn_add(graph, lmn_erf(graph, u), scalar(graph, 1.0F)), 0.5F);
    const lmn_tensor *density = lmn_scale(graph, bell(graph, u), 0.39894228F);
    const lmn_tensor *slope = lmn_add(graph, distribution, lmn_mul(graph, x, density));
    return lmn_mul(graph, node->inputs[1], slope);
}

static unsigned overwrites_both(const lmn_tensor *node)
{
    (void)node;
    return 3U;
}

static bool gelu_grad_as_step(const lmn_tensor *node, size_t input, lmn__epilogue_step *step_out,
                              size_t *operand_out)
{
    (void)node;
    *step_out = (lmn__epilogue_step){.kind = LMN__STEP_GELU_GRAD};
    *operand_out = 0;
    return input == 1;
}

static const lmn__op gelu_grad_op = {.name = "gelu_grad",
                                     .compose = compose_gelu_grad,
                                     .as_step = gelu_grad_as_step,
                                     .run = run_gelu_grad,
                                     .may_overwrite = overwrites_both};

static lmn_status run_gelu(const lmn__node_run *node_run)
{
    return lmn__run_unary(node_run, lmn__kernel_gelu);
}

static const lmn_tensor *vjp_gelu(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                  size_t input)
{
    const lmn_tensor *const inputs[] = {node->inputs[input], grad};
    if (!lmn__inputs_fit(graph, &gelu_grad_op, inputs, 2)) {
        return NULL;
    }
    return lmn__tensor_new(graph, &gelu_grad_op, inputs, 2, node->shape, LMN_F32, NULL);
}

static bool gelu_as_step(const lmn_tensor *node, size_t input, lmn__epilogue_step *step_out,
                         size_t *operand_out)
{
    (void)node;
    (void)input;
    *step_out = (lmn__epilogue_step){.kind = LMN__STEP_GELU};
    *operand_out = SIZE_MAX;
    return true;
}

static const lmn__op gelu_op = {.name = "gelu",
                                .vjp = vjp_gelu,
                                .as_step = gelu_as_step,
                                .run = run_gelu,
                                .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_gelu(lmn_graph *graph, const lmn_tensor *x)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, &gelu_op, inputs, 1)) {
        return NULL;
    }
    return lmn__tensor_new(graph, &gelu_op, inputs, 1, x->shape, LMN_F32, NULL);
}

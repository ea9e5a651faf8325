/*
 * Layer norm: every row of the last axis by its own mean and variance.
 *
 * Rows are short and stay in the first-level cache, so their moments are computed again in the
 * derivatives rather than kept. Further derivatives go through compositions of elementary ops.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/norm_internal.h"
#include "ops_internal.h"

static size_t channels_of(const lmn_tensor *x)
{
    return x->shape.dims[x->shape.n_dims - 1];
}

static size_t rows_of(const lmn_tensor *x)
{
    return lmn_shape_count(&x->shape) / channels_of(x);
}

/* (x - mean) / sqrt(variance + epsilon) over the last axis, with elementary ops. */
static const lmn_tensor *normalised(lmn_graph *graph, const lmn_tensor *x, float epsilon,
                                    const lmn_tensor **deviation_out)
{
    const unsigned last = 1U << (x->shape.n_dims - 1);
    const lmn_tensor *centred = lmn_sub(graph, x, lmn_reduce_mean(graph, x, last, true));
    const lmn_tensor *variance =
        lmn_reduce_mean(graph, lmn_mul(graph, centred, centred), last, true);
    const lmn_tensor *offset = lmn_constant(graph, epsilon, (lmn_shape){.n_dims = 0});
    *deviation_out = lmn_sqrt(graph, lmn_add(graph, variance, offset));
    return lmn_div(graph, centred, *deviation_out);
}

/* layer_norm_sums(x, dy): [2, C], the sums over rows of dy and of dy times the normalised x. */
static lmn_status run_sums(const lmn__node_run *node_run)
{
    const lmn_tensor *x = node_run->node->inputs[0];
    lmn__layer_norm_sums(rows_of(x), channels_of(x), node_run->inputs[0], node_run->inputs[1],
                         node_run->node->attributes.scalar, node_run->workspace, node_run->output);
    return LMN_OK;
}

static size_t sums_workspace(const lmn_tensor *node)
{
    return 4 * channels_of(node->inputs[0]) * sizeof(double);
}

static const lmn_tensor *compose_sums(lmn_graph *graph, const lmn_tensor *node)
{
    const lmn_tensor *x = node->inputs[0];
    const lmn_tensor *dy = node->inputs[1];
    const unsigned rows = (1U << (x->shape.n_dims - 1)) - 1U;
    const lmn_tensor *deviation = NULL;
    const lmn_tensor *unit = normalised(graph, x, node->attributes.scalar, &deviation);
    const lmn_shape row = {.n_dims = 2, .dims = {1, channels_of(x)}};
    const lmn_tensor *const parts[] = {
        lmn_reshape(graph, lmn_reduce_sum(graph, dy, rows, false), row),
        lmn_reshape(graph, lmn_reduce_sum(graph, lmn_mul(graph, dy, unit), rows, false), row)};
    return lmn_concat(graph, parts, 2, 0);
}

static const lmn__op sums_op = {.name = "layer_norm_sums",
                                .compose = compose_sums,
                                .run = run_sums,
                                .workspace_bytes = sums_workspace};

static const lmn_tensor *sums_of(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *dy,
                                 float epsilon)
{
    const lmn_tensor *const inputs[] = {x, dy};
    const lmn_tensor *known = lmn__tensor_find(graph, &sums_op, inputs, 2);
    if (known != NULL) {
        return known;
    }
    if (!lmn__inputs_fit(graph, &sums_op, inputs, 2)) {
        return NULL;
    }
    const lmn_shape shape = {.n_dims = 2, .dims = {2, channels_of(x)}};
    const lmn__attributes attributes = {.scalar = epsilon};
    return lmn__tensor_new(graph, &sums_op, inputs, 2, shape, LMN_F32, &attributes);
}

/* layer_norm_grad(x, dy, scale): the gradient in x. */
static lmn_status run_grad(const lmn__node_run *node_run)
{
    const lmn_tensor *x = node_run->node->inputs[0];
    const size_t count = lmn_shape_count(&x->shape);
    lmn__layer_norm_grad(rows_of(x), channels_of(x), node_run->inputs[0], node_run->inputs[1],
                         node_run->inputs[2], node_run->node->attributes.scalar, node_run->output);
    lmn__epilogue_apply(node_run->epilogue, 0, count, node_run->output);
    return LMN_OK;
}

/* (g - mean(g) - n mean(g n)) / deviation for g = dy scale and the normalised n. */
static const lmn_tensor *compose_grad(lmn_graph *graph, const lmn_tensor *node)
{
    const lmn_tensor *x = node->inputs[0];
    const unsigned last = 1U << (x->shape.n_dims - 1);
    const lmn_tensor *deviation = NULL;
    const lmn_tensor *unit = normalised(graph, x, node->attributes.scalar, &deviation);
    const lmn_tensor *g = lmn_mul(graph, node->inputs[1], node->inputs[2]);
    const lmn_tensor *mean = lmn_reduce_mean(graph, g, last, true);
    const lmn_tensor *product = lmn_reduce_mean(graph, lmn_mul(graph, g, unit), last, true);
    const lmn_tensor *rest = lmn_sub(graph, lmn_sub(graph, g, mean), lmn_mul(graph, unit, product));
    return lmn_div(graph, rest, deviation);
}

static unsigned grad_overwrites(const lmn_tensor *node)
{
    (void)node;
    return 2U; /* dy */
}

static const lmn__op grad_op = {.name = "layer_norm_grad",
                                .compose = compose_grad,
                                .takes_epilogue = true,
                                .run = run_grad,
                                .may_overwrite = grad_overwrites};

static lmn_status run_layer_norm(const lmn__node_run *node_run)
{
    const lmn_tensor *x = node_run->node->inputs[0];
    lmn__layer_norm(rows_of(x), channels_of(x), node_run->inputs[0], node_run->inputs[1],
                    node_run->inputs[2], node_run->node->attributes.scalar, node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_layer_norm(lmn_graph *graph, const lmn_tensor *node,
                                        const lmn_tensor *grad, size_t input)
{
    const lmn_tensor *x = node->inputs[0];
    const float epsilon = node->attributes.scalar;
    if (input > 0) {
        const size_t row = input == 1 ? 1 : 0; /* scale, shift */
        const lmn_tensor *sum = lmn_slice(graph, sums_of(graph, x, grad, epsilon), 0, row, 1);
        return lmn_reshape(graph, sum, node->inputs[input]->shape);
    }
    const lmn_tensor *const inputs[] = {x, grad, node->inputs[1]};
    if (!lmn__inputs_fit(graph, &grad_op, inputs, 3)) {
        return NULL;
    }
    const lmn__attributes attributes = {.scalar = epsilon};
    return lmn__tensor_new(graph, &grad_op, inputs, 3, x->shape, LMN_F32, &attributes);
}

static const lmn__op layer_norm_op = {
    .name = "layer_norm", .vjp = vjp_layer_norm, .run = run_layer_norm};

const lmn_tensor *lmn_layer_norm(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *scale,
                                 const lmn_tensor *shift, float epsilon)
{
    const lmn_tensor *const inputs[] = {x, scale, shift};
    if (!lmn__inputs_fit(graph, &layer_norm_op, inputs, 3)) {
        return NULL;
    }
    const bool has_rows = x->shape.n_dims > 0;
    const lmn_shape row = {.n_dims = 1, .dims = {has_rows ? channels_of(x) : 0}};
    if (!has_rows || !lmn_shape_equal(&scale->shape, &row) ||
        !lmn_shape_equal(&shift->shape, &row)) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "layer_norm: scale %s and shift %s are not those of the last axis "
                               "of %s",
                               lmn__shape_text(&scale->shape).text,
                               lmn__shape_text(&shift->shape).text,
                               lmn__shape_text(&x->shape).text);
    }
    const lmn__attributes attributes = {.scalar = epsilon};
    return lmn__tensor_new(graph, &layer_norm_op, inputs, 3, x->shape, LMN_F32, &attributes);
}

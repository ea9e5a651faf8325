/*
 * Elementwise ops with two operands: add, sub, mul, div. Shapes broadcast as in NumPy.
 *
 * Derivatives are formed in the shape of the result and then summed over the axes along which the
 * operand was repeated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/kernels_internal.h"
#include "ops_internal.h"

static lmn_status run_rows(const lmn__node_run *node_run, lmn__row_fn row)
{
    const lmn_tensor *node = node_run->node;
    const lmn__loop loop =
        lmn__loop_broadcast(&node->shape, &node->inputs[0]->shape, &node->inputs[1]->shape);
    lmn__loop_run(&loop, row, node_run->inputs[0], node_run->inputs[1], node_run->output);
    return LMN_OK;
}

static lmn_status run_add(const lmn__node_run *node_run)
{
    return run_rows(node_run, lmn__row_add);
}

static lmn_status run_sub(const lmn__node_run *node_run)
{
    return run_rows(node_run, lmn__row_sub);
}

static lmn_status run_mul(const lmn__node_run *node_run)
{
    return run_rows(node_run, lmn__row_mul);
}

static lmn_status run_div(const lmn__node_run *node_run)
{
    return run_rows(node_run, lmn__row_div);
}

/* An operand that is not repeated may make room for the result. */
static unsigned may_overwrite(const lmn_tensor *node)
{
    const size_t count = lmn_shape_count(&node->shape);
    const unsigned first = lmn_shape_count(&node->inputs[0]->shape) == count ? 1U : 0U;
    const unsigned second = lmn_shape_count(&node->inputs[1]->shape) == count ? 2U : 0U;
    return first | second;
}

static const lmn_tensor *vjp_add(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    return lmn__sum_to(graph, grad, &node->inputs[input]->shape);
}

static const lmn_tensor *vjp_sub(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    const lmn_tensor *sum = lmn__sum_to(graph, grad, &node->inputs[input]->shape);
    return input == 0 ? sum : lmn_scale(graph, sum, -1.0F);
}

static const lmn_tensor *vjp_mul(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    const lmn_tensor *product = lmn_mul(graph, grad, node->inputs[1 - input]);
    return lmn__sum_to(graph, product, &node->inputs[input]->shape);
}

/* y = a / b: dy/da = 1 / b, dy/db = -y / b. */
static const lmn_tensor *vjp_div(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    const lmn_tensor *quotient = lmn_div(graph, grad, node->inputs[1]);
    if (input == 1) {
        quotient = lmn_scale(graph, lmn_mul(graph, quotient, node), -1.0F);
    }
    return lmn__sum_to(graph, quotient, &node->inputs[input]->shape);
}

/* With an operand for each element, or one for each column; the input itself is not repeated. */
static bool add_as_step(const lmn_tensor *node, size_t input, lmn__epilogue_step *step_out,
                        size_t *operand_out)
{
    const size_t other = 1 - input;
    const lmn_shape *operand = &node->inputs[other]->shape;
    const size_t count = lmn_shape_count(&node->shape);
    const size_t columns = node->shape.n_dims == 0 ? 1 : node->shape.dims[node->shape.n_dims - 1];
    const bool is_row = operand->n_dims > 0 && operand->dims[operand->n_dims - 1] == columns &&
                        lmn_shape_count(operand) == columns;
    const bool is_whole = lmn_shape_count(operand) == count;
    if (lmn_shape_count(&node->inputs[input]->shape) != count || (!is_row && !is_whole)) {
        return false;
    }
    *step_out = (lmn__epilogue_step){.kind = is_whole ? LMN__STEP_ADD : LMN__STEP_ADD_ROW};
    *operand_out = other;
    return true;
}

static const lmn__op add_op = {.name = "add",
                               .vjp = vjp_add,
                               .as_step = add_as_step,
                               .run = run_add,
                               .may_overwrite = may_overwrite};
static const lmn__op sub_op = {
    .name = "sub", .vjp = vjp_sub, .run = run_sub, .may_overwrite = may_overwrite};
static const lmn__op mul_op = {
    .name = "mul", .vjp = vjp_mul, .run = run_mul, .may_overwrite = may_overwrite};
static const lmn__op div_op = {
    .name = "div", .vjp = vjp_div, .run = run_div, .may_overwrite = may_overwrite};

static const lmn_tensor *build(lmn_graph *graph, const lmn__op *op, const lmn_tensor *a,
                               const lmn_tensor *b)
{
    const lmn_tensor *const inputs[] = {a, b};
    if (!lmn__inputs_fit(graph, op, inputs, 2)) {
        return NULL;
    }
    lmn_shape shape;
    if (!lmn__shape_broadcast(&a->shape, &b->shape, &shape)) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "%s: %s and %s do not fit: counted from the last axis, extents must "
                               "be equal or 1",
                               op->name, lmn__shape_text(&a->shape).text,
                               lmn__shape_text(&b->shape).text);
    }
    return lmn__tensor_new(graph, op, inputs, 2, shape, LMN_F32, NULL);
}

const lmn_tensor *lmn_add(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b)
{
    return build(graph, &add_op, a, b);
}

const lmn_tensor *lmn_sub(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b)
{
    return build(graph, &sub_op, a, b);
}

const lmn_tensor *lmn_mul(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b)
{
    return build(graph, &mul_op, a, b);
}

const lmn_tensor *lmn_div(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b)
{
    return build(graph, &div_op, a, b);
}

/*
 * Matrix product with optional transposition of either factor.
 *
 * The derivative of a product is again one, with the flags chosen so that nothing is ever
 * transposed in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/gemm_internal.h"
#include "ops_internal.h"

/* Extents of op(x), the matrix that takes part in the product. */
static size_t rows_of(const lmn_tensor *x, bool transposed)
{
    return x->shape.dims[transposed ? 1 : 0];
}

static size_t columns_of(const lmn_tensor *x, bool transposed)
{
    return x->shape.dims[transposed ? 0 : 1];
}

static lmn_status run_matmul(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const lmn__attributes *attributes = &node->attributes;
    const lmn__matrix a = {.data = node_run->inputs[0],
                           .row_stride = node->inputs[0]->shape.dims[1],
                           .transposed = attributes->transpose_a};
    const lmn__matrix b = {.data = node_run->inputs[1],
                           .row_stride = node->inputs[1]->shape.dims[1],
                           .transposed = attributes->transpose_b};
    const lmn__gemm_call call = {.a = a,
                                 .b = b,
                                 .c = node_run->output,
                                 .workspace = node_run->workspace,
                                 .epilogue = node_run->epilogue};
    lmn__gemm_plan_run(node_run->state, &call);
    return LMN_OK;
}

const lmn_tensor *lmn__vjp_product(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                   size_t input, lmn__product_fn product)
{
    const bool transpose_a = node->attributes.transpose_a;
    const bool transpose_b = node->attributes.transpose_b;
    const lmn_tensor *a = node->inputs[0];
    const lmn_tensor *b = node->inputs[1];
    if (input == 0) {
        return transpose_a ? product(graph, b, grad, transpose_b, true)
                           : product(graph, grad, b, false, !transpose_b);
    }
    return transpose_b ? product(graph, grad, a, true, transpose_a)
                       : product(graph, a, grad, !transpose_a, false);
}

static const lmn_tensor *vjp_matmul(lmn_graph *graph, const lmn_tensor *node,
                                    const lmn_tensor *grad, size_t input)
{
    return lmn__vjp_product(graph, node, grad, input, lmn_matmul);
}

static double matmul_flops(const lmn_tensor *node)
{
    const size_t inner = columns_of(node->inputs[0], node->attributes.transpose_a);
    return 2.0 * (double)lmn_shape_count(&node->shape) * (double)inner;
}

static lmn_status prepare_matmul(const lmn_tensor *node, lmn__prepared *prepared_out,
                                 lmn_error *err)
{
    lmn__gemm_plan *plan = NULL;
    const size_t inner = columns_of(node->inputs[0], node->attributes.transpose_a);
    const lmn_status status =
        lmn__gemm_plan_create(node->shape.dims[0], node->shape.dims[1], inner, &plan, err);
    if (status == LMN_OK) {
        *prepared_out = (lmn__prepared){.state = plan,
                                        .workspace_bytes = lmn__gemm_plan_workspace(plan),
                                        .kernel = lmn__gemm_plan_kernel(plan)};
    }
    return status;
}

static void release_matmul(void *state)
{
    lmn__gemm_plan_destroy(state);
}

static const lmn__op matmul_op = {.name = "matmul",
                                  .vjp = vjp_matmul,
                                  .prepare = prepare_matmul,
                                  .release = release_matmul,
                                  .takes_epilogue = true,
                                  .run = run_matmul,
                                  .flops = matmul_flops};

/* Matrices with extents that BLAS can count. */
static bool is_matrix(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *other)
{
    if (x->shape.n_dims != 2) {
        (void)lmn__graph_fail(graph, LMN_ERR_SHAPE,
                              "matmul: %s is not a matrix (the other factor is %s)",
                              lmn__shape_text(&x->shape).text, lmn__shape_text(&other->shape).text);
        return false;
    }
    if (!lmn__gemm_accepts(x->shape.dims[0]) || !lmn__gemm_accepts(x->shape.dims[1])) {
        (void)lmn__graph_fail(graph, LMN_ERR_SHAPE,
                              "matmul: %s has an extent beyond 2^31 - 1; split it",
                              lmn__shape_text(&x->shape).text);
        return false;
    }
    return true;
}

const lmn_tensor *lmn_matmul(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b,
                             bool transpose_a, bool transpose_b)
{
    const lmn_tensor *const inputs[] = {a, b};
    if (!lmn__inputs_fit(graph, &matmul_op, inputs, 2) || !is_matrix(graph, a, b) ||
        !is_matrix(graph, b, a)) {
        return NULL;
    }
    const size_t inner_a = columns_of(a, transpose_a);
    const size_t inner_b = rows_of(b, transpose_b);
    if (inner_a != inner_b) {
        return lmn__graph_fail(
            graph, LMN_ERR_SHAPE, "matmul: %s%s times %s%s does not fit: %zu and %zu differ",
            lmn__shape_text(&a->shape).text, transpose_a ? " transposed" : "",
            lmn__shape_text(&b->shape).text, transpose_b ? " transposed" : "", inner_a, inner_b);
    }
    const lmn__attributes attributes = {.transpose_a = transpose_a, .transpose_b = transpose_b};
    const lmn_shape shape = {.n_dims = 2,
                             .dims = {rows_of(a, transpose_a), columns_of(b, transpose_b)}};
    return lmn__tensor_new(graph, &matmul_op, inputs, 2, shape, LMN_F32, &attributes);
}

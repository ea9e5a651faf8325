/*
 * Causal self-attention of all heads as one op, and batches of matrix products.
 *
 * Queries, keys and values lie side by side in one tensor, as one product makes them, and heads are
 * read and written in place with strides. The first derivative is one op too; further ones go
 * through a composition of batched products and softmax.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/kernels_internal.h"
#include "lamina/memory.h"
#include "ops_internal.h"

#include <math.h>

/* ---- batch_matmul ---- */

static lmn_status run_batch_matmul(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const size_t last = node->shape.n_dims - 1;
    const lmn_shape *a_shape = &node->inputs[0]->shape;
    const lmn_shape *b_shape = &node->inputs[1]->shape;
    const size_t m = node->shape.dims[last - 1];
    const size_t n = node->shape.dims[last];
    const size_t k = a_shape->dims[node->attributes.transpose_a ? last - 1 : last];
    lmn__matrix a = {.data = node_run->inputs[0],
                     .row_stride = a_shape->dims[last],
                     .transposed = node->attributes.transpose_a};
    lmn__matrix b = {.data = node_run->inputs[1],
                     .row_stride = b_shape->dims[last],
                     .transposed = node->attributes.transpose_b};
    float *c = node_run->output;
    for (size_t i = 0; i < lmn_shape_count(&node->shape) / (m * n); i++) {
        lmn__gemm(m, n, k, a, b, false, c + i * m * n);
        a.data += m * k;
        b.data += k * n;
    }
    return LMN_OK;
}

static const lmn_tensor *vjp_batch_matmul(lmn_graph *graph, const lmn_tensor *node,
                                          const lmn_tensor *grad, size_t input)
{
    return lmn__vjp_product(graph, node, grad, input, lmn_batch_matmul);
}

static double batch_matmul_flops(const lmn_tensor *node)
{
    const lmn_shape *a = &node->inputs[0]->shape;
    const size_t inner = a->dims[a->n_dims - (node->attributes.transpose_a ? 2 : 1)];
    return 2.0 * (double)lmn_shape_count(&node->shape) * (double)inner;
}

static const lmn__op batch_matmul_op = {.name = "batch_matmul",
                                        .vjp = vjp_batch_matmul,
                                        .run = run_batch_matmul,
                                        .flops = batch_matmul_flops};

/* The shape of the result; false when the factors do not fit. */
static bool infer_products(const lmn_shape *a, const lmn_shape *b, bool transpose_a,
                           bool transpose_b, lmn_shape *shape_out)
{
    if (a->n_dims < 2 || a->n_dims != b->n_dims) {
        return false;
    }
    const size_t last = a->n_dims - 1;
    lmn_shape shape = *a;
    bool fits = a->dims[transpose_a ? last - 1 : last] == b->dims[transpose_b ? last : last - 1];
    for (size_t i = 0; i + 1 < last; i++) {
        fits = fits && a->dims[i] == b->dims[i];
    }
    shape.dims[last - 1] = a->dims[transpose_a ? last : last - 1];
    shape.dims[last] = b->dims[transpose_b ? last - 1 : last];
    for (size_t i = last - 1; i <= last; i++) {
        fits = fits && lmn__gemm_accepts(a->dims[i]) && lmn__gemm_accepts(b->dims[i]);
    }
    *shape_out = shape;
    return fits;
}

const lmn_tensor *lmn_batch_matmul(lmn_graph *graph, const lmn_tensor *a, const lmn_tensor *b,
                                   bool transpose_a, bool transpose_b)
{
    const lmn_tensor *const inputs[] = {a, b};
    if (!lmn__inputs_fit(graph, &batch_matmul_op, inputs, 2)) {
        return NULL;
    }
    lmn_shape shape;
    if (!infer_products(&a->shape, &b->shape, transpose_a, transpose_b, &shape)) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "batch_matmul: %s%s times %s%s does not fit: leading axes and the "
                               "inner extents must be equal, extents of matrices below 2^31",
                               lmn__shape_text(&a->shape).text, transpose_a ? " transposed" : "",
                               lmn__shape_text(&b->shape).text, transpose_b ? " transposed" : "");
    }
    const lmn__attributes attributes = {.transpose_a = transpose_a, .transpose_b = transpose_b};
    return lmn__tensor_new(graph, &batch_matmul_op, inputs, 2, shape, LMN_F32, &attributes);
}

/* ---- attention ---- */

/* The extents of [B, T, 3 C] with n_heads heads. */
typedef struct extents {
    size_t batch, t, c, d, n_heads;
} extents;

static extents extents_of(const lmn_tensor *node)
{
    const lmn_shape *qkv = &node->inputs[0]->shape;
    const size_t c = qkv->dims[2] / 3;
    const size_t n_heads = node->attributes.n_heads;
    return (extents){
        .batch = qkv->dims[0], .t = qkv->dims[1], .c = c, .d = c / n_heads, .n_heads = n_heads};
}

/* Head `head` of row `row` of the batch. */
static lmn__head find_head(const extents *e, const float *qkv, size_t row, size_t head)
{
    const float *q = qkv + row * e->t * 3 * e->c + head * e->d;
    return (lmn__head){
        .t = e->t, .d = e->d, .stride = 3 * e->c, .q = q, .k = q + e->c, .v = q + 2 * e->c};
}

/* Heads are shared among as many threads as there are when the plan is made: the state. */
static lmn_status prepare_heads(const lmn_tensor *node, lmn__prepared *prepared_out, lmn_error *err)
{
    const extents e = extents_of(node);
    int *threads = lmn_alloc(1, sizeof *threads, err);
    if (threads == NULL) {
        return LMN_ERR_MEMORY;
    }
    *threads = (int)lmn__thread_count();
    *prepared_out = (lmn__prepared){
        .state = threads,
        .workspace_bytes =
            (size_t)*threads * lmn_align_up(lmn__attention_workspace(e.t, e.d) * sizeof(float))};
    return LMN_OK;
}

static void release_heads(void *state)
{
    lmn_free(state);
}

static float *own_workspace(const lmn__node_run *node_run, const extents *e)
{
    const size_t bytes = lmn_align_up(lmn__attention_workspace(e->t, e->d) * sizeof(float));
    void *own = (char *)node_run->workspace + lmn__thread_index() * bytes;
    return own;
}

static lmn_status run_attention(const lmn__node_run *node_run)
{
    const extents e = extents_of(node_run->node);
    float *out = node_run->output;
#pragma omp parallel for schedule(static) num_threads(*(const int *)node_run->state)
    for (size_t i = 0; i < e.batch * e.n_heads; i++) {
        const size_t row = i / e.n_heads;
        const lmn__head head = find_head(&e, node_run->inputs[0], row, i % e.n_heads);
        lmn__attention(&head, own_workspace(node_run, &e),
                       out + row * e.t * e.c + i % e.n_heads * e.d, e.c);
    }
    return LMN_OK;
}

/* Products of the lower triangle: 2 forward, 5 backward. */
static double flops_of(const lmn_tensor *node, double n_products)
{
    const extents e = extents_of(node);
    return n_products * (double)(e.batch * e.c) * (double)e.t * (double)(e.t + 1);
}

static double attention_flops(const lmn_tensor *node)
{
    return flops_of(node, 2.0);
}

static double grad_flops(const lmn_tensor *node)
{
    return flops_of(node, 5.0);
}

static lmn_status run_grad(const lmn__node_run *node_run)
{
    const extents e = extents_of(node_run->node);
    const float *qkv = node_run->inputs[0];
    const float *dout = node_run->inputs[1];
    float *dqkv = node_run->output;
#pragma omp parallel for schedule(static) num_threads(*(const int *)node_run->state)
    for (size_t i = 0; i < e.batch * e.n_heads; i++) {
        const size_t row = i / e.n_heads;
        const lmn__head head = find_head(&e, qkv, row, i % e.n_heads);
        float *dq = dqkv + (head.q - qkv);
        lmn__attention_grad(&head, dout + row * e.t * e.c + i % e.n_heads * e.d, e.c,
                            own_workspace(node_run, &e), dq, dq + e.c, dq + 2 * e.c);
    }
    return LMN_OK;
}

/* Queries, keys or values of all heads: [B, H, T, D]. */
static const lmn_tensor *split_heads(lmn_graph *graph, const lmn_tensor *x, const extents *e)
{
    const lmn_shape shape = {.n_dims = 4, .dims = {e->batch, e->t, e->n_heads, e->d}};
    return lmn_transpose(graph, lmn_reshape(graph, x, shape), (const size_t[]){0, 2, 1, 3});
}

static const lmn_tensor *join_heads(lmn_graph *graph, const lmn_tensor *x, const extents *e)
{
    const lmn_shape shape = {.n_dims = 3, .dims = {e->batch, e->t, e->c}};
    return lmn_reshape(graph, lmn_transpose(graph, x, (const size_t[]){0, 2, 1, 3}), shape);
}

/* [T, T]: 0 up to the diagonal, -1e9 above, which no exponential survives. */
static const lmn_tensor *causal_mask(lmn_graph *graph, size_t t)
{
    const lmn_shape square = {.n_dims = 2, .dims = {t, t}};
    const lmn_shape column = {.n_dims = 2, .dims = {t, 1}};
    const lmn_shape row = {.n_dims = 2, .dims = {1, t}};
    const lmn_tensor *ones = lmn_constant(graph, 1.0F, (lmn_shape){.n_dims = 1, .dims = {t}});
    const lmn_tensor *place = lmn_cumulative_sum(graph, ones, 0, false);
    const lmn_tensor *ahead =
        lmn_sub(graph, lmn_reshape(graph, place, row), lmn_reshape(graph, place, column));
    return lmn_gate(graph, lmn_constant(graph, -1e9F, square), ahead);
}

/* The derivative of attention, written out. */
static const lmn_tensor *compose_grad(lmn_graph *graph, const lmn_tensor *node)
{
    const extents e = extents_of(node);
    const lmn_tensor *qkv = node->inputs[0];
    const lmn_tensor *q = split_heads(graph, lmn_slice(graph, qkv, 2, 0, e.c), &e);
    const lmn_tensor *k = split_heads(graph, lmn_slice(graph, qkv, 2, e.c, e.c), &e);
    const lmn_tensor *v = split_heads(graph, lmn_slice(graph, qkv, 2, 2 * e.c, e.c), &e);
    const lmn_tensor *dout = split_heads(graph, node->inputs[1], &e);
    const float factor = (float)(1.0 / sqrt((double)e.d));
    const lmn_tensor *scores = lmn_scale(graph, lmn_batch_matmul(graph, q, k, false, true), factor);
    const lmn_tensor *p = lmn_softmax(graph, lmn_add(graph, scores, causal_mask(graph, e.t)));
    const lmn_tensor *dp = lmn_batch_matmul(graph, dout, v, false, true);
    const lmn_tensor *mean = lmn_reduce_sum(graph, lmn_mul(graph, p, dp), 8U, true);
    const lmn_tensor *ds = lmn_scale(graph, lmn_mul(graph, p, lmn_sub(graph, dp, mean)), factor);
    const lmn_tensor *const parts[] = {
        join_heads(graph, lmn_batch_matmul(graph, ds, k, false, false), &e),
        join_heads(graph, lmn_batch_matmul(graph, ds, q, true, false), &e),
        join_heads(graph, lmn_batch_matmul(graph, p, dout, true, false), &e)};
    return lmn_concat(graph, parts, 3, 2);
}

static const lmn__op grad_op = {.name = "causal_attention_grad",
                                .compose = compose_grad,
                                .run = run_grad,
                                .prepare = prepare_heads,
                                .release = release_heads,
                                .flops = grad_flops};

static const lmn_tensor *vjp_attention(lmn_graph *graph, const lmn_tensor *node,
                                       const lmn_tensor *grad, size_t input)
{
    const lmn_tensor *const inputs[] = {node->inputs[input], grad};
    if (!lmn__inputs_fit(graph, &grad_op, inputs, 2)) {
        return NULL;
    }
    return lmn__tensor_new(graph, &grad_op, inputs, 2, node->inputs[input]->shape, LMN_F32,
                           &node->attributes);
}

static const lmn__op attention_op = {.name = "causal_attention",
                                     .vjp = vjp_attention,
                                     .run = run_attention,
                                     .prepare = prepare_heads,
                                     .release = release_heads,
                                     .flops = attention_flops};

const lmn_tensor *lmn_causal_attention(lmn_graph *graph, const lmn_tensor *qkv, size_t n_heads)
{
    const lmn_tensor *const inputs[] = {qkv};
    if (!lmn__inputs_fit(graph, &attention_op, inputs, 1)) {
        return NULL;
    }
    const bool fits =
        qkv->shape.n_dims == 3 && n_heads > 0 && qkv->shape.dims[2] % (3 * n_heads) == 0 &&
        lmn__gemm_accepts(qkv->shape.dims[1]) && lmn__gemm_accepts(qkv->shape.dims[2]);
    if (!fits) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "causal_attention: %s is not [B, T, 3 C] with C a multiple of %zu "
                               "heads",
                               lmn__shape_text(&qkv->shape).text, n_heads);
    }
    lmn_shape shape = qkv->shape;
    shape.dims[2] /= 3;
    const lmn__attributes attributes = {.n_heads = n_heads};
    return lmn__tensor_new(graph, &attention_op, inputs, 1, shape, LMN_F32, &attributes);
}

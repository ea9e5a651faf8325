/*
 * Max and average pooling, NHWC.
 *
 * The derivative of a maximum moves numbers to and from the places of the maxima: max_pool_grad
 * puts them there and max_pool_pick takes them; both find the places in x again, and each is the
 * derivative of the other. Averaging is linear, so avg_pool and avg_pool_grad are enough.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/kernels_internal.h"
#include "ops_internal.h"

static lmn__attributes attributes_of(lmn__pool_window window)
{
    return (lmn__attributes){
        .window = window.window, .kernel_h = window.kernel_h, .kernel_w = window.kernel_w};
}

static lmn__pool_window window_of(const lmn_tensor *node)
{
    return (lmn__pool_window){.kernel_h = node->attributes.kernel_h,
                              .kernel_w = node->attributes.kernel_w,
                              .window = node->attributes.window};
}

/* The extents for the kernels, from shapes that infer_output accepted. */
static lmn__pool pool_of(const lmn_shape *x, const lmn_shape *y, const lmn_tensor *node)
{
    return (lmn__pool){.batch = x->dims[0],
                       .h = x->dims[1],
                       .w = x->dims[2],
                       .c = x->dims[3],
                       .kh = node->attributes.kernel_h,
                       .kw = node->attributes.kernel_w,
                       .oh = y->dims[1],
                       .ow = y->dims[2],
                       .window = node->attributes.window};
}

/* Why a window cannot be used at all; NULL when it can. */
static const char *find_fault(const lmn__pool_window *pool)
{
    const lmn_window *window = &pool->window;
    if (pool->kernel_h == 0 || pool->kernel_w == 0 || window->stride_h == 0 ||
        window->stride_w == 0) {
        return "windows and strides must be at least 1";
    }
    if (!lmn__gemm_accepts(pool->kernel_h) || !lmn__gemm_accepts(pool->kernel_w) ||
        !lmn__gemm_accepts(pool->kernel_w * pool->kernel_h)) {
        return "the window has more than 2^31 - 1 places";
    }
    if (window->pad_top >= pool->kernel_h || window->pad_bottom >= pool->kernel_h ||
        window->pad_left >= pool->kernel_w || window->pad_right >= pool->kernel_w) {
        return "pads must be smaller than the window";
    }
    return NULL;
}

/* The shape of the result; false after recording why there is none. */
static bool infer_output(lmn_graph *graph, const char *op, const lmn_shape *x,
                         const lmn__pool_window *pool, lmn_shape *y_out)
{
    const lmn_window *window = &pool->window;
    const char *fault = find_fault(pool);
    if (fault == NULL && (!lmn__shape_is_valid(x) || x->n_dims != 4)) {
        fault = "images need 4 axes, [B, H, W, C]";
    }
    if (fault == NULL && (x->dims[1] + window->pad_top + window->pad_bottom < pool->kernel_h ||
                          x->dims[2] + window->pad_left + window->pad_right < pool->kernel_w)) {
        fault = "the window is larger than the padded image";
    }
    if (fault != NULL) {
        const lmn_shape kernel = {.n_dims = 2, .dims = {pool->kernel_h, pool->kernel_w}};
        (void)lmn__graph_fail(graph, LMN_ERR_SHAPE, "%s: image %s with window %s: %s", op,
                              lmn__shape_text(x).text, lmn__shape_text(&kernel).text, fault);
        return false;
    }
    const size_t h = x->dims[1] + window->pad_top + window->pad_bottom;
    const size_t w = x->dims[2] + window->pad_left + window->pad_right;
    *y_out = (lmn_shape){.n_dims = 4,
                         .dims = {x->dims[0], (h - pool->kernel_h) / window->stride_h + 1,
                                  (w - pool->kernel_w) / window->stride_w + 1, x->dims[3]}};
    return true;
}

static bool shapes_agree(lmn_graph *graph, const char *op, const lmn_shape *given,
                         const lmn_shape *expected)
{
    if (!lmn_shape_equal(given, expected)) {
        (void)lmn__graph_fail(graph, LMN_ERR_SHAPE, "%s: an operand has shape %s instead of %s", op,
                              lmn__shape_text(given).text, lmn__shape_text(expected).text);
    }
    return !lmn__graph_has_failed(graph);
}

static lmn_status run_max_pool(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const lmn__pool pool = pool_of(&node->inputs[0]->shape, &node->shape, node);
    lmn__kernel_max_pool(&pool, node_run->inputs[0], node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_max_pool(lmn_graph *graph, const lmn_tensor *node,
                                      const lmn_tensor *grad, size_t input)
{
    return lmn__max_pool_grad(graph, node->inputs[input], grad, window_of(node));
}

static const lmn__op max_pool_op = {.name = "max_pool", .vjp = vjp_max_pool, .run = run_max_pool};

/* Both poolings: one operand, one window. */
static const lmn_tensor *build_pool(lmn_graph *graph, const lmn__op *op, const lmn_tensor *x,
                                    lmn__pool_window window)
{
    const lmn_tensor *const inputs[] = {x};
    lmn_shape shape;
    if (!lmn__inputs_fit(graph, op, inputs, 1) ||
        !infer_output(graph, op->name, &x->shape, &window, &shape)) {
        return NULL;
    }
    const lmn__attributes attributes = attributes_of(window);
    return lmn__tensor_new(graph, op, inputs, 1, shape, LMN_F32, &attributes);
}

const lmn_tensor *lmn_max_pool(lmn_graph *graph, const lmn_tensor *x, size_t kernel_h,
                               size_t kernel_w, lmn_window window)
{
    return build_pool(graph, &max_pool_op, x, (lmn__pool_window){kernel_h, kernel_w, window});
}

static lmn_status run_max_pool_pick(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const lmn__pool pool = pool_of(&node->inputs[0]->shape, &node->shape, node);
    lmn__kernel_max_pool_pick(&pool, node_run->inputs[0], node_run->inputs[1], node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_max_pool_pick(lmn_graph *graph, const lmn_tensor *node,
                                           const lmn_tensor *grad, size_t input)
{
    return input == 0 ? NULL : lmn__max_pool_grad(graph, node->inputs[0], grad, window_of(node));
}

static const lmn__op max_pool_pick_op = {
    .name = "max_pool_pick", .vjp = vjp_max_pool_pick, .run = run_max_pool_pick};

const lmn_tensor *lmn__max_pool_pick(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *z,
                                     lmn__pool_window window)
{
    const lmn_tensor *const inputs[] = {x, z};
    const char *name = max_pool_pick_op.name;
    lmn_shape shape;
    if (!lmn__inputs_fit(graph, &max_pool_pick_op, inputs, 2) ||
        !infer_output(graph, name, &x->shape, &window, &shape) ||
        !shapes_agree(graph, name, &z->shape, &x->shape)) {
        return NULL;
    }
    const lmn__attributes attributes = attributes_of(window);
    return lmn__tensor_new(graph, &max_pool_pick_op, inputs, 2, shape, LMN_F32, &attributes);
}

static lmn_status run_max_pool_grad(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const lmn__pool pool = pool_of(&node->shape, &node->inputs[1]->shape, node);
    lmn__kernel_max_pool_grad(&pool, node_run->inputs[0], node_run->inputs[1], node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_max_pool_grad(lmn_graph *graph, const lmn_tensor *node,
                                           const lmn_tensor *grad, size_t input)
{
    return input == 0 ? NULL : lmn__max_pool_pick(graph, node->inputs[0], grad, window_of(node));
}

static const lmn__op max_pool_grad_op = {
    .name = "max_pool_grad", .vjp = vjp_max_pool_grad, .run = run_max_pool_grad};

const lmn_tensor *lmn__max_pool_grad(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *dy,
                                     lmn__pool_window window)
{
    const lmn_tensor *const inputs[] = {x, dy};
    const char *name = max_pool_grad_op.name;
    lmn_shape shape;
    if (!lmn__inputs_fit(graph, &max_pool_grad_op, inputs, 2) ||
        !infer_output(graph, name, &x->shape, &window, &shape) ||
        !shapes_agree(graph, name, &dy->shape, &shape)) {
        return NULL;
    }
    const lmn__attributes attributes = attributes_of(window);
    return lmn__tensor_new(graph, &max_pool_grad_op, inputs, 2, x->shape, LMN_F32, &attributes);
}

static lmn_status run_avg_pool(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const lmn__pool pool = pool_of(&node->inputs[0]->shape, &node->shape, node);
    lmn__kernel_avg_pool(&pool, node_run->inputs[0], node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_avg_pool(lmn_graph *graph, const lmn_tensor *node,
                                      const lmn_tensor *grad, size_t input)
{
    return lmn__avg_pool_grad(graph, grad, node->inputs[input]->shape, window_of(node));
}

static const lmn__op avg_pool_op = {.name = "avg_pool", .vjp = vjp_avg_pool, .run = run_avg_pool};

const lmn_tensor *lmn_avg_pool(lmn_graph *graph, const lmn_tensor *x, size_t kernel_h,
                               size_t kernel_w, lmn_window window)
{
    return build_pool(graph, &avg_pool_op, x, (lmn__pool_window){kernel_h, kernel_w, window});
}

static lmn_status run_avg_pool_grad(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const lmn__pool pool = pool_of(&node->shape, &node->inputs[0]->shape, node);
    lmn__kernel_avg_pool_grad(&pool, node_run->inputs[0], node_run->output);
    return LMN_OK;
}

static const lmn_tensor *vjp_avg_pool_grad(lmn_graph *graph, const lmn_tensor *node,
                                           const lmn_tensor *grad, size_t input)
{
    (void)input;
    const lmn__pool_window window = window_of(node);
    return lmn_avg_pool(graph, grad, window.kernel_h, window.kernel_w, window.window);
}

static const lmn__op avg_pool_grad_op = {
    .name = "avg_pool_grad", .vjp = vjp_avg_pool_grad, .run = run_avg_pool_grad};

const lmn_tensor *lmn__avg_pool_grad(lmn_graph *graph, const lmn_tensor *dy, lmn_shape x_shape,
                                     lmn__pool_window window)
{
    const lmn_tensor *const inputs[] = {dy};
    const char *name = avg_pool_grad_op.name;
    lmn_shape shape;
    if (!lmn__inputs_fit(graph, &avg_pool_grad_op, inputs, 1) ||
        !infer_output(graph, name, &x_shape, &window, &shape) ||
        !shapes_agree(graph, name, &dy->shape, &shape)) {
        return NULL;
    }
    const lmn__attributes attributes = attributes_of(window);
    return lmn__tensor_new(graph, &avg_pool_grad_op, inputs, 1, x_shape, LMN_F32, &attributes);
}

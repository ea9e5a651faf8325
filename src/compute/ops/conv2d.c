/*
 * 2-d convolution and its two gradients, NHWC.
 *
 * Convolution y(x, w) is linear in each operand, and so are its gradients dx(dy, w) and dw(x, dy).
 * Each of the three is a derivative of the other two, so the family is closed: all derivatives of
 * any order are written with these three ops.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/kernels_internal.h"
#include "ops_internal.h"

lmn_window lmn_window_default(void)
{
    return (lmn_window){.stride_h = 1, .stride_w = 1};
}

/* The three shapes that take part in one convolution. */
typedef struct conv_shapes {
    const lmn_shape *x;
    const lmn_shape *weight;
    lmn_shape y;
} conv_shapes;

/* The extents for the kernels, from shapes that infer_output accepted. */
static lmn__conv conv_of(const lmn_shape *x, const lmn_shape *weight, const lmn_shape *y,
                         const lmn_window *window)
{
    return (lmn__conv){.batch = x->dims[0],
                       .h = x->dims[1],
                       .w = x->dims[2],
                       .c = x->dims[3],
                       .kh = weight->dims[0],
                       .kw = weight->dims[1],
                       .oh = y->dims[1],
                       .ow = y->dims[2],
                       .k = weight->dims[3],
                       .window = *window};
}

/* Record an error about x and weight; returns false. */
static bool refuse(lmn_graph *graph, const char *op, const conv_shapes *shapes, const char *reason)
{
    (void)lmn__graph_fail(graph, LMN_ERR_SHAPE, "%s: image %s with weight %s: %s", op,
                          lmn__shape_text(shapes->x).text, lmn__shape_text(shapes->weight).text,
                          reason);
    return false;
}

/* Strides of at least 1, and nothing so large that sums of extents could overflow. */
static bool window_is_sane(const lmn_window *window)
{
    return window->stride_h > 0 && window->stride_w > 0 && lmn__gemm_accepts(window->pad_top) &&
           lmn__gemm_accepts(window->pad_left) && lmn__gemm_accepts(window->pad_bottom) &&
           lmn__gemm_accepts(window->pad_right);
}

/* What y must look like; false after recording why there is none. */
static bool infer_output(lmn_graph *graph, const char *op, conv_shapes *shapes,
                         const lmn_window *window)
{
    const lmn_shape *x = shapes->x;
    const lmn_shape *weight = shapes->weight;
    if (!lmn__shape_is_valid(x) || !lmn__shape_is_valid(weight) || x->n_dims != 4 ||
        weight->n_dims != 4) {
        return refuse(graph, op, shapes, "both need 4 axes, [B, H, W, C] and [KH, KW, C, K]");
    }
    if (x->dims[3] != weight->dims[2]) {
        return refuse(graph, op, shapes, "the channels of the image and of the weight differ");
    }
    if (!window_is_sane(window)) {
        return refuse(graph, op, shapes, "strides must be at least 1 and pads below 2^31");
    }
    const size_t h = x->dims[1] + window->pad_top + window->pad_bottom;
    const size_t w = x->dims[2] + window->pad_left + window->pad_right;
    if (weight->dims[0] > h || weight->dims[1] > w) {
        return refuse(graph, op, shapes, "the kernel is larger than the padded image");
    }
    shapes->y =
        (lmn_shape){.n_dims = 4,
                    .dims = {x->dims[0], (h - weight->dims[0]) / window->stride_h + 1,
                             (w - weight->dims[1]) / window->stride_w + 1, weight->dims[3]}};
    const size_t patch = weight->dims[0] * weight->dims[1] * weight->dims[2];
    if (!lmn__gemm_accepts(patch) || !lmn__gemm_accepts(weight->dims[3]) ||
        !lmn__gemm_accepts(shapes->y.dims[2])) {
        return refuse(graph, op, shapes, "an extent of the product is beyond 2^31 - 1");
    }
    return true;
}

static bool output_fits(lmn_graph *graph, const char *op, const conv_shapes *shapes,
                        const lmn_shape *dy)
{
    if (lmn_shape_equal(&shapes->y, dy)) {
        return true;
    }
    (void)lmn__graph_fail(graph, LMN_ERR_SHAPE,
                          "%s: dy has shape %s, but image %s with weight %s gives %s", op,
                          lmn__shape_text(dy).text, lmn__shape_text(shapes->x).text,
                          lmn__shape_text(shapes->weight).text, lmn__shape_text(&shapes->y).text);
    return false;
}

/* The extents of each op, from the shapes of its node. */
static lmn__conv forward_conv(const lmn_tensor *node)
{
    return conv_of(&node->inputs[0]->shape, &node->inputs[1]->shape, &node->shape,
                   &node->attributes.window);
}

static lmn__conv input_grad_conv(const lmn_tensor *node)
{
    return conv_of(&node->shape, &node->inputs[1]->shape, &node->inputs[0]->shape,
                   &node->attributes.window);
}

static lmn__conv weight_grad_conv(const lmn_tensor *node)
{
    return conv_of(&node->inputs[0]->shape, &node->shape, &node->inputs[1]->shape,
                   &node->attributes.window);
}

/* A multiplication and an addition for each output element and element of its patch. */
static double conv_flops(const lmn__conv *conv)
{
    return 2.0 * (double)(conv->batch * conv->oh) * (double)(conv->ow * conv->k) *
           (double)lmn__conv_patch_count(conv);
}

static lmn_status run_conv2d(const lmn__node_run *node_run)
{
    const lmn__conv conv = forward_conv(node_run->node);
    lmn__kernel_conv2d(&conv, node_run->inputs[0], node_run->inputs[1], node_run->workspace,
                       node_run->output);
    return LMN_OK;
}

static size_t conv2d_workspace_bytes(const lmn_tensor *node)
{
    const lmn__conv conv = forward_conv(node);
    return lmn__conv_workspace_bytes(&conv);
}

static double conv2d_flops(const lmn_tensor *node)
{
    const lmn__conv conv = forward_conv(node);
    return conv_flops(&conv);
}

static const lmn_tensor *vjp_conv2d(lmn_graph *graph, const lmn_tensor *node,
                                    const lmn_tensor *grad, size_t input)
{
    const lmn_tensor *x = node->inputs[0];
    const lmn_tensor *weight = node->inputs[1];
    const lmn_window window = node->attributes.window;
    return input == 0 ? lmn_conv2d_input_grad(graph, grad, weight, x->shape, window)
                      : lmn_conv2d_weight_grad(graph, x, grad, weight->shape, window);
}

static const lmn__op conv2d_op = {.name = "conv2d",
                                  .vjp = vjp_conv2d,
                                  .run = run_conv2d,
                                  .workspace_bytes = conv2d_workspace_bytes,
                                  .flops = conv2d_flops};

const lmn_tensor *lmn_conv2d(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *weight,
                             lmn_window window)
{
    const lmn_tensor *const inputs[] = {x, weight};
    if (!lmn__inputs_fit(graph, &conv2d_op, inputs, 2)) {
        return NULL;
    }
    conv_shapes shapes = {.x = &x->shape, .weight = &weight->shape};
    if (!infer_output(graph, conv2d_op.name, &shapes, &window)) {
        return NULL;
    }
    const lmn__attributes attributes = {.window = window};
    return lmn__tensor_new(graph, &conv2d_op, inputs, 2, shapes.y, LMN_F32, &attributes);
}

static lmn_status run_input_grad(const lmn__node_run *node_run)
{
    const lmn__conv conv = input_grad_conv(node_run->node);
    lmn__kernel_conv2d_input_grad(&conv, node_run->inputs[0], node_run->inputs[1],
                                  node_run->workspace, node_run->output);
    return LMN_OK;
}

static size_t input_grad_workspace_bytes(const lmn_tensor *node)
{
    const lmn__conv conv = input_grad_conv(node);
    return lmn__conv_workspace_bytes(&conv);
}

static double input_grad_flops(const lmn_tensor *node)
{
    const lmn__conv conv = input_grad_conv(node);
    return conv_flops(&conv);
}

/* dx(dy, w), and grad has the shape of x. */
static const lmn_tensor *vjp_input_grad(lmn_graph *graph, const lmn_tensor *node,
                                        const lmn_tensor *grad, size_t input)
{
    const lmn_tensor *dy = node->inputs[0];
    const lmn_tensor *weight = node->inputs[1];
    const lmn_window window = node->attributes.window;
    return input == 0 ? lmn_conv2d(graph, grad, weight, window)
                      : lmn_conv2d_weight_grad(graph, grad, dy, weight->shape, window);
}

static const lmn__op input_grad_op = {.name = "conv2d_input_grad",
                                      .vjp = vjp_input_grad,
                                      .run = run_input_grad,
                                      .workspace_bytes = input_grad_workspace_bytes,
                                      .flops = input_grad_flops};

const lmn_tensor *lmn_conv2d_input_grad(lmn_graph *graph, const lmn_tensor *dy,
                                        const lmn_tensor *weight, lmn_shape x_shape,
                                        lmn_window window)
{
    const lmn_tensor *const inputs[] = {dy, weight};
    if (!lmn__inputs_fit(graph, &input_grad_op, inputs, 2)) {
        return NULL;
    }
    conv_shapes shapes = {.x = &x_shape, .weight = &weight->shape};
    if (!infer_output(graph, input_grad_op.name, &shapes, &window) ||
        !output_fits(graph, input_grad_op.name, &shapes, &dy->shape)) {
        return NULL;
    }
    const lmn__attributes attributes = {.window = window};
    return lmn__tensor_new(graph, &input_grad_op, inputs, 2, x_shape, LMN_F32, &attributes);
}

static lmn_status run_weight_grad(const lmn__node_run *node_run)
{
    const lmn__conv conv = weight_grad_conv(node_run->node);
    lmn__kernel_conv2d_weight_grad(&conv, node_run->inputs[0], node_run->inputs[1],
                                   node_run->workspace, node_run->output);
    return LMN_OK;
}

static size_t weight_grad_workspace_bytes(const lmn_tensor *node)
{
    const lmn__conv conv = weight_grad_conv(node);
    return lmn__conv_workspace_bytes(&conv);
}

static double weight_grad_flops(const lmn_tensor *node)
{
    const lmn__conv conv = weight_grad_conv(node);
    return conv_flops(&conv);
}

/* dw(x, dy), and grad has the shape of w. */
static const lmn_tensor *vjp_weight_grad(lmn_graph *graph, const lmn_tensor *node,
                                         const lmn_tensor *grad, size_t input)
{
    const lmn_tensor *x = node->inputs[0];
    const lmn_tensor *dy = node->inputs[1];
    const lmn_window window = node->attributes.window;
    return input == 0 ? lmn_conv2d_input_grad(graph, dy, grad, x->shape, window)
                      : lmn_conv2d(graph, x, grad, window);
}

static const lmn__op weight_grad_op = {.name = "conv2d_weight_grad",
                                       .vjp = vjp_weight_grad,
                                       .run = run_weight_grad,
                                       .workspace_bytes = weight_grad_workspace_bytes,
                                       .flops = weight_grad_flops};

const lmn_tensor *lmn_conv2d_weight_grad(lmn_graph *graph, const lmn_tensor *x,
                                         const lmn_tensor *dy, lmn_shape weight_shape,
                                         lmn_window window)
{
    const lmn_tensor *const inputs[] = {x, dy};
    if (!lmn__inputs_fit(graph, &weight_grad_op, inputs, 2)) {
        return NULL;
    }
    conv_shapes shapes = {.x = &x->shape, .weight = &weight_shape};
    if (!infer_output(graph, weight_grad_op.name, &shapes, &window) ||
        !output_fits(graph, weight_grad_op.name, &shapes, &dy->shape)) {
        return NULL;
    }
    const lmn__attributes attributes = {.window = window};
    return lmn__tensor_new(graph, &weight_grad_op, inputs, 2, weight_shape, LMN_F32, &attributes);
}

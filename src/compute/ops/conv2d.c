/*
 * 2-d convolution and its two gradients, NHWC.
 *
 * Convolution y(x, w) is linear in each operand, and so are its gradients dx(dy, w) and dw(x, dy).
 * Each of the three is a derivative of the other two, so the family is closed: all derivatives of
 * any order are written with these three ops.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/conv_internal.h"
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

/* The extents of a node of any of the three ops: its shapes, in the roles that they have there. */
static lmn__conv conv_of_node(const lmn_tensor *node, lmn__conv_direction direction)
{
    const lmn_shape *a = &node->inputs[0]->shape;
    const lmn_shape *b = &node->inputs[1]->shape;
    const lmn_window *window = &node->attributes.window;
    switch (direction) {
    case LMN__CONV_FORWARD:
        return conv_of(a, b, &node->shape, window);
    case LMN__CONV_INPUT_GRAD:
        return conv_of(&node->shape, b, a, window);
    case LMN__CONV_WEIGHT_GRAD:
    default:
        return conv_of(a, &node->shape, b, window);
    }
}

/* A multiplication and an addition for each output element and element of its patch. */
static double conv_flops(const lmn__conv *conv)
{
    return 2.0 * (double)(conv->batch * conv->oh) * (double)(conv->ow * conv->k) *
           (double)lmn__conv_patch_count(conv);
}

static lmn_status prepare(const lmn_tensor *node, lmn__conv_direction direction,
                          lmn__prepared *prepared_out, lmn_error *err)
{
    const lmn__conv conv = conv_of_node(node, direction);
    lmn__conv_plan *plan = NULL;
    const lmn_status status = lmn__conv_plan_create(&conv, direction, NULL, &plan, err);
    if (status == LMN_OK) {
        *prepared_out = (lmn__prepared){
            .state = plan, .workspace_bytes = plan->workspace_bytes, .kernel = plan->backend->name};
    }
    return status;
}

static void release(void *state)
{
    lmn__conv_plan_destroy(state);
}

static lmn_status run(const lmn__node_run *node_run)
{
    const lmn__conv_call call = {.a = node_run->inputs[0],
                                 .b = node_run->inputs[1],
                                 .result = node_run->output,
                                 .workspace = node_run->workspace,
                                 .epilogue = node_run->epilogue};
    return lmn__conv_plan_run(node_run->state, &call, node_run->err);
}

/* Check x and weight, and dy where there is one, and add the node. */
static const lmn_tensor *build(lmn_graph *graph, const lmn__op *op, const lmn_tensor *const *inputs,
                               const conv_shapes *given, const lmn_shape *dy,
                               const lmn_shape *result, const lmn_window *window)
{
    conv_shapes shapes = *given;
    if (!infer_output(graph, op->name, &shapes, window) ||
        (dy != NULL && !output_fits(graph, op->name, &shapes, dy))) {
        return NULL;
    }
    const lmn__attributes attributes = {.window = *window};
    return lmn__tensor_new(graph, op, inputs, 2, result != NULL ? *result : shapes.y, LMN_F32,
                           &attributes);
}

static lmn_status prepare_conv2d(const lmn_tensor *node, lmn__prepared *prepared_out,
                                 lmn_error *err)
{
    return prepare(node, LMN__CONV_FORWARD, prepared_out, err);
}

static double conv2d_flops(const lmn_tensor *node)
{
    const lmn__conv conv = conv_of_node(node, LMN__CONV_FORWARD);
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
                                  .prepare = prepare_conv2d,
                                  .release = release,
                                  .takes_epilogue = true,
                                  .run = run,
                                  .flops = conv2d_flops};

const lmn_tensor *lmn_conv2d(lmn_graph *graph, const lmn_tensor *x, const lmn_tensor *weight,
                             lmn_window window)
{
    const lmn_tensor *const inputs[] = {x, weight};
    if (!lmn__inputs_fit(graph, &conv2d_op, inputs, 2)) {
        return NULL;
    }
    const conv_shapes shapes = {.x = &x->shape, .weight = &weight->shape};
    return build(graph, &conv2d_op, inputs, &shapes, NULL, NULL, &window);
}

static lmn_status prepare_input_grad(const lmn_tensor *node, lmn__prepared *prepared_out,
                                     lmn_error *err)
{
    return prepare(node, LMN__CONV_INPUT_GRAD, prepared_out, err);
}

static double input_grad_flops(const lmn_tensor *node)
{
    const lmn__conv conv = conv_of_node(node, LMN__CONV_INPUT_GRAD);
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
                                      .prepare = prepare_input_grad,
                                      .release = release,
                                      .takes_epilogue = true,
                                      .run = run,
                                      .flops = input_grad_flops};

const lmn_tensor *lmn_conv2d_input_grad(lmn_graph *graph, const lmn_tensor *dy,
                                        const lmn_tensor *weight, lmn_shape x_shape,
                                        lmn_window window)
{
    const lmn_tensor *const inputs[] = {dy, weight};
    if (!lmn__inputs_fit(graph, &input_grad_op, inputs, 2)) {
        return NULL;
    }
    const conv_shapes shapes = {.x = &x_shape, .weight = &weight->shape};
    return build(graph, &input_grad_op, inputs, &shapes, &dy->shape, &x_shape, &window);
}

static lmn_status prepare_weight_grad(const lmn_tensor *node, lmn__prepared *prepared_out,
                                      lmn_error *err)
{
    return prepare(node, LMN__CONV_WEIGHT_GRAD, prepared_out, err);
}

static double weight_grad_flops(const lmn_tensor *node)
{
    const lmn__conv conv = conv_of_node(node, LMN__CONV_WEIGHT_GRAD);
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
                                       .prepare = prepare_weight_grad,
                                       .release = release,
                                       .run = run,
                                       .flops = weight_grad_flops};

const lmn_tensor *lmn_conv2d_weight_grad(lmn_graph *graph, const lmn_tensor *x,
                                         const lmn_tensor *dy, lmn_shape weight_shape,
                                         lmn_window window)
{
    const lmn_tensor *const inputs[] = {x, dy};
    if (!lmn__inputs_fit(graph, &weight_grad_op, inputs, 2)) {
        return NULL;
    }
    const conv_shapes shapes = {.x = &x->shape, .weight = &weight_shape};
    return build(graph, &weight_grad_op, inputs, &shapes, &dy->shape, &weight_shape, &window);
}

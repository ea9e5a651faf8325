/*
 * Tests of convolution and its gradients, against the definition written as seven loops.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gradient_check.h"
#include "lamina/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The extents of one convolution; the output's follow. */
typedef struct geometry {
    size_t b, h, w, c, kh, kw, k;
    lmn_window window;
} geometry;

static size_t out_h(const geometry *g)
{
    return (g->h + g->window.pad_top + g->window.pad_bottom - g->kh) / g->window.stride_h + 1;
}

static size_t out_w(const geometry *g)
{
    return (g->w + g->window.pad_left + g->window.pad_right - g->kw) / g->window.stride_w + 1;
}

static lmn_shape x_shape(const geometry *g)
{
    return shape_of(g->b, g->h, g->w, g->c);
}

static lmn_shape weight_shape(const geometry *g)
{
    return shape_of(g->kh, g->kw, g->c, g->k);
}

static lmn_shape y_shape(const geometry *g)
{
    return shape_of(g->b, out_h(g), out_w(g), g->k);
}

/* What the loops add up: a product of two of x, weight and y is added to the third. */
typedef struct sums {
    const float *x, *weight, *dy;
    double *y, *dx, *dweight;
} sums;

/* All pairs of an input and an output element of image `image` that meet under kernel place
 * (kernel_row, kernel_column). */
static void add_kernel_place(const geometry *g, const sums *s, size_t image, size_t kernel_row,
                             size_t kernel_column)
{
    for (size_t place = 0; place < out_h(g) * out_w(g); place++) {
        const size_t row = place / out_w(g) * g->window.stride_h + kernel_row;
        const size_t column = place % out_w(g) * g->window.stride_w + kernel_column;
        if (row < g->window.pad_top || row >= g->window.pad_top + g->h ||
            column < g->window.pad_left || column >= g->window.pad_left + g->w) {
            continue;
        }
        const size_t x_row = image * g->h + row - g->window.pad_top;
        const size_t x_place = (x_row * g->w + column - g->window.pad_left) * g->c;
        const size_t weight_place = (kernel_row * g->kw + kernel_column) * g->c;
        for (size_t i = 0; i < g->c * g->k; i++) {
            const size_t xi = x_place + i / g->k;
            const size_t wi = (weight_place + i / g->k) * g->k + i % g->k;
            const size_t yi = (image * out_h(g) * out_w(g) + place) * g->k + i % g->k;
            s->y[yi] += (double)s->x[xi] * (double)s->weight[wi];
            s->dx[xi] += (double)s->dy[yi] * (double)s->weight[wi];
            s->dweight[wi] += (double)s->dy[yi] * (double)s->x[xi];
        }
    }
}

static void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    assert_non_null(memory);
    return memory;
}

static float *uniform(uint32_t layer, lmn_shape shape)
{
    float *values = zeroed(lmn_shape_count(&shape), sizeof *values);
    fill_uniform(layer, -1.0F, 1.0F, lmn_shape_count(&shape), values);
    return values;
}

static void check_output(const lmn_graph *graph, const lmn_tensor *output, const binding *bound,
                         lmn_shape shape, const double *want)
{
    assert_true(lmn_shape_equal(lmn_tensor_shape(output), &shape));
    const size_t count = lmn_shape_count(&shape);
    float *have = zeroed(count, sizeof *have);
    run_graph(graph, output, bound, 3, NULL, have);
    assert_close(have, want, count, 2e-5);
    free(have);
}

static void check_convolution(const geometry *g)
{
    const lmn_shape shapes[] = {x_shape(g), weight_shape(g), y_shape(g)};
    float *x = uniform(1, shapes[0]);
    float *weight = uniform(2, shapes[1]);
    float *dy = uniform(3, shapes[2]);
    const sums s = {.x = x,
                    .weight = weight,
                    .dy = dy,
                    .dx = zeroed(lmn_shape_count(&shapes[0]), sizeof(double)),
                    .dweight = zeroed(lmn_shape_count(&shapes[1]), sizeof(double)),
                    .y = zeroed(lmn_shape_count(&shapes[2]), sizeof(double))};
    for (size_t i = 0; i < g->b * g->kh * g->kw; i++) {
        add_kernel_place(g, &s, i / g->kw / g->kh, i / g->kw % g->kh, i % g->kw);
    }
    lmn_graph *graph = new_graph();
    const lmn_tensor *in = lmn_input(graph, "x", LMN_F32, shapes[0]);
    const lmn_tensor *kernel = lmn_input(graph, "weight", LMN_F32, shapes[1]);
    const lmn_tensor *grad = lmn_input(graph, "dy", LMN_F32, shapes[2]);
    const binding bound[] = {{in, x}, {kernel, weight}, {grad, dy}};
    check_output(graph, lmn_conv2d(graph, in, kernel, g->window), bound, shapes[2], s.y);
    check_output(graph, lmn_conv2d_input_grad(graph, grad, kernel, shapes[0], g->window), bound,
                 shapes[0], s.dx);
    check_output(graph, lmn_conv2d_weight_grad(graph, in, grad, shapes[1], g->window), bound,
                 shapes[1], s.dweight);
    lmn_graph_destroy(graph);
    free(x);
    free(weight);
    free(dy);
    free(s.dx);
    free(s.dweight);
    free(s.y);
}

static void conv2d_plain_and_odd_sizes_equal_naive_loops(void **state)
{
    (void)state;
    const lmn_window plain = lmn_window_default();
    check_convolution(&(geometry){1, 1, 1, 1, 1, 1, 1, plain});
    check_convolution(&(geometry){2, 5, 7, 1, 3, 3, 2, plain});
    check_convolution(&(geometry){3, 6, 4, 5, 3, 2, 7, plain});
    check_convolution(&(geometry){2, 4, 4, 17, 4, 4, 3, plain});
    check_convolution(&(geometry){2, 3, 9, 2, 1, 5, 3, plain});
}

static void conv2d_pointwise_equals_naive_loops(void **state)
{
    (void)state;
    check_convolution(&(geometry){3, 5, 4, 6, 1, 1, 7, lmn_window_default()});
    check_convolution(&(geometry){2, 5, 7, 3, 1, 1, 4, {.stride_h = 2, .stride_w = 3}});
}

static void conv2d_strides_and_pads_equal_naive_loops(void **state)
{
    (void)state;
    const lmn_window windows[] = {
        {.stride_h = 2, .stride_w = 1},
        {.stride_h = 2, .stride_w = 3},
        {1, 1, 1, 1, 1, 1},
        {2, 2, 1, 0, 2, 1},
        {3, 2, 0, 2, 1, 0},
        {1, 1, 5, 4, 3, 6}, /* pads beyond the kernel: whole places that see nothing */
    };
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        check_convolution(&(geometry){2, 7, 6, 3, 3, 2, 4, windows[i]});
        check_convolution(&(geometry){1, 4, 5, 1, 3, 3, 2, windows[i]});
        check_convolution(&(geometry){1, 3, 3, 20, 2, 3, 1, windows[i]});
    }
}

static void conv2d_several_blocks_equal_naive_loops(void **state)
{
    (void)state;
    /* The patches take 1.2 MiB, more than two blocks, and the blocks end inside an image. */
    check_convolution(&(geometry){5, 14, 15, 32, 3, 3, 3, {1, 1, 1, 1, 1, 1}});
    /* A single line of patches is larger than a block. */
    check_convolution(&(geometry){2, 3, 300, 60, 2, 9, 2, lmn_window_default()});
}

/* Tries the three ops on shapes that do not fit. */
static void expect_conv_refusal(lmn_shape x, lmn_shape weight, lmn_window window, const char *part)
{
    lmn_graph *graph = new_graph();
    const lmn_tensor *in = lmn_input(graph, "x", LMN_F32, x);
    const lmn_tensor *kernel = lmn_input(graph, "weight", LMN_F32, weight);
    assert_null(lmn_conv2d(graph, in, kernel, window));
    assert_refused(graph, LMN_ERR_SHAPE, part);
    lmn_graph_destroy(graph);
}

static void conv2d_shapes_that_do_not_fit_are_refused_with_both(void **state)
{
    (void)state;
    const lmn_window plain = lmn_window_default();
    expect_conv_refusal(shape_of(1, 8, 8, 3), shape_of(3, 3, 4, 5), plain,
                        "conv2d: image [1, 8, 8, 3] with weight [3, 3, 4, 5]: the channels");
    expect_conv_refusal(shape_of(1, 2, 8, 3), shape_of(3, 3, 3, 5), plain,
                        "image [1, 2, 8, 3] with weight [3, 3, 3, 5]: the kernel is larger");
    expect_conv_refusal(shape_of(8, 8, 3, 0), shape_of(3, 3, 3, 5), plain,
                        "image [8, 8, 3] with weight [3, 3, 3, 5]: both need 4 axes");
    expect_conv_refusal(shape_of(1, 8, 8, 3), shape_of(3, 3, 3, 5), (lmn_window){.stride_h = 1},
                        "strides must be at least 1");
    expect_conv_refusal(shape_of(1, 8, 8, 3), shape_of(3, 3, 3, 5),
                        (lmn_window){.stride_h = 1, .stride_w = 1, .pad_left = SIZE_MAX},
                        "pads below 2^31");
}

static void conv2d_gradients_of_wrong_shape_are_refused_with_all(void **state)
{
    (void)state;
    const lmn_window plain = lmn_window_default();
    lmn_graph *graph = new_graph();
    const lmn_tensor *dy = lmn_input(graph, "dy", LMN_F32, shape_of(1, 5, 6, 5));
    const lmn_tensor *weight = lmn_input(graph, "weight", LMN_F32, shape_of(3, 3, 3, 5));
    assert_null(lmn_conv2d_input_grad(graph, dy, weight, shape_of(1, 8, 8, 3), plain));
    assert_refused(graph, LMN_ERR_SHAPE,
                   "conv2d_input_grad: dy has shape [1, 5, 6, 5], but image [1, 8, 8, 3] with "
                   "weight [3, 3, 3, 5] gives [1, 6, 6, 5]");
    lmn_graph_destroy(graph);
    graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, shape_of(1, 8, 8, 3));
    dy = lmn_input(graph, "dy", LMN_F32, shape_of(1, 6, 6, 4));
    assert_null(lmn_conv2d_weight_grad(graph, x, dy, shape_of(3, 3, 3, 5), plain));
    assert_refused(graph, LMN_ERR_SHAPE, "conv2d_weight_grad: dy has shape [1, 6, 6, 4]");
    lmn_graph_destroy(graph);
}

static void conv2d_missing_operand_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, shape_of(1, 8, 8, 3));
    assert_null(lmn_conv2d(graph, x, NULL, lmn_window_default()));
    assert_refused(graph, LMN_ERR_ARGUMENT, "conv2d: operand 1 is missing");
    lmn_graph_destroy(graph);
}

static const lmn_tensor *build_plain(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_conv2d(g, x[0], x[1], lmn_window_default());
}

static const lmn_tensor *build_padded(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_conv2d(g, x[0], x[1], (lmn_window){2, 1, 1, 0, 1, 1});
}

static void conv2d_gradients_match_differences(void **state)
{
    (void)state;
    gradient_case checked = {.n_inputs = 2,
                             .shapes = {shape_of(2, 4, 3, 2), shape_of(2, 2, 2, 2)},
                             .low = -1.0F,
                             .high = 1.0F,
                             .orders = 2};
    checked.build = build_plain;
    check_gradients(&checked);
    checked.build = build_padded;
    check_gradients(&checked);
    checked.shapes[1] = shape_of(1, 1, 2, 3);
    checked.build = build_plain;
    checked.orders = 3;
    check_gradients(&checked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv2d_plain_and_odd_sizes_equal_naive_loops),
        cmocka_unit_test(conv2d_pointwise_equals_naive_loops),
        cmocka_unit_test(conv2d_strides_and_pads_equal_naive_loops),
        cmocka_unit_test(conv2d_several_blocks_equal_naive_loops),
        cmocka_unit_test(conv2d_shapes_that_do_not_fit_are_refused_with_both),
        cmocka_unit_test(conv2d_gradients_of_wrong_shape_are_refused_with_all),
        cmocka_unit_test(conv2d_missing_operand_is_refused),
        cmocka_unit_test(conv2d_gradients_match_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

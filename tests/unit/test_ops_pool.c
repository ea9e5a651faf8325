/*
 * Tests of pooling: values against naive loops, ties, refusals, derivatives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gradient_check.h"
#include "lamina/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT_MAX 8192

/* The extents of one pooling; the output's follow. */
typedef struct geometry {
    size_t b, h, w, c, kh, kw;
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

/* Index in x of window place `place` of output element `index`; false in the padding. */
static bool find_element(const geometry *g, size_t index, size_t place, size_t *element_out)
{
    const size_t channel = index % g->c;
    const size_t out_column = index / g->c % out_w(g);
    const size_t out_row = index / g->c / out_w(g) % out_h(g);
    const size_t image = index / g->c / out_w(g) / out_h(g);
    const size_t row = out_row * g->window.stride_h + place / g->kw;
    const size_t column = out_column * g->window.stride_w + place % g->kw;
    if (row < g->window.pad_top || row >= g->window.pad_top + g->h || column < g->window.pad_left ||
        column >= g->window.pad_left + g->w) {
        return false;
    }
    const size_t x_row = image * g->h + row - g->window.pad_top;
    *element_out = (x_row * g->w + column - g->window.pad_left) * g->c + channel;
    return true;
}

/* Both poolings, and their gradients for an incoming gradient of ones. */
typedef struct expected {
    double maxima[COUNT_MAX], means[COUNT_MAX];
    double max_grads[COUNT_MAX], mean_grads[COUNT_MAX];
} expected;

static void naive_pool(const geometry *g, const float *x, size_t n_out, expected *e)
{
    for (size_t i = 0; i < COUNT_MAX; i++) {
        e->max_grads[i] = 0.0;
        e->mean_grads[i] = 0.0;
    }
    for (size_t i = 0; i < n_out; i++) {
        size_t best = SIZE_MAX;
        double total = 0.0;
        for (size_t place = 0; place < g->kh * g->kw; place++) {
            size_t element = 0;
            if (find_element(g, i, place, &element)) {
                best = best == SIZE_MAX || x[element] > x[best] ? element : best;
                total += (double)x[element];
                e->mean_grads[element] += 1.0 / (double)(g->kh * g->kw);
            }
        }
        e->maxima[i] = (double)x[best];
        e->max_grads[best] += 1.0;
        e->means[i] = total / (double)(g->kh * g->kw);
    }
}

static void check_one(lmn_graph *graph, const lmn_tensor *y, binding bound, const double *want,
                      const double *want_grads)
{
    static float have[COUNT_MAX];
    run_graph(graph, y, &bound, 1, NULL, have);
    assert_close(have, want, lmn_shape_count(lmn_tensor_shape(y)), 1e-6);
    const lmn_tensor *sum = lmn_reduce_sum(graph, y, LMN_ALL_AXES, false);
    const lmn_tensor *grad = NULL;
    assert_int_equal(lmn_gradients(graph, sum, &bound.tensor, 1, &grad, NULL), LMN_OK);
    run_graph(graph, grad, &bound, 1, NULL, have);
    assert_close(have, want_grads, lmn_shape_count(lmn_tensor_shape(grad)), 1e-6);
}

/* x takes few values, so that ties are common. */
static void check_pooling(const geometry *g)
{
    static float x[COUNT_MAX];
    static expected e;
    const lmn_shape shape = x_shape(g);
    const size_t count = lmn_shape_count(&shape);
    assert_true(count <= COUNT_MAX);
    fill_uniform(1, -3.0F, 3.0F, count, x);
    for (size_t i = 0; i < count; i++) {
        x[i] = floorf(x[i]);
    }
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape);
    const lmn_tensor *maxima = lmn_max_pool(graph, input, g->kh, g->kw, g->window);
    const lmn_tensor *means = lmn_avg_pool(graph, input, g->kh, g->kw, g->window);
    const lmn_shape result = shape_of(g->b, out_h(g), out_w(g), g->c);
    assert_true(lmn_shape_equal(lmn_tensor_shape(maxima), &result));
    assert_true(lmn_shape_equal(lmn_tensor_shape(means), &result));
    naive_pool(g, x, lmn_shape_count(&result), &e);
    check_one(graph, maxima, (binding){input, x}, e.maxima, e.max_grads);
    check_one(graph, means, (binding){input, x}, e.means, e.mean_grads);
    lmn_graph_destroy(graph);
}

static void pool_plain_strided_and_padded_equal_naive_loops(void **state)
{
    (void)state;
    check_pooling(&(geometry){2, 4, 6, 3, 2, 2, {.stride_h = 2, .stride_w = 2}});
    check_pooling(&(geometry){2, 5, 7, 3, 2, 2, {.stride_h = 2, .stride_w = 2}});
    check_pooling(&(geometry){1, 5, 5, 2, 3, 3, {1, 1, 0, 0, 0, 0}});
    check_pooling(&(geometry){2, 5, 4, 2, 3, 2, {2, 1, 1, 1, 2, 0}});
    check_pooling(&(geometry){1, 3, 3, 1, 3, 3, {1, 1, 2, 2, 2, 2}});
    check_pooling(&(geometry){1, 1, 1, 4, 3, 3, {1, 1, 1, 1, 1, 1}});
    check_pooling(&(geometry){1, 4, 4, 1, 1, 1, {3, 3, 0, 0, 0, 0}});
    check_pooling(&(geometry){2, 4, 4, 130, 2, 2, {2, 2, 0, 0, 0, 0}});
    check_pooling(&(geometry){1, 3, 3, 64, 2, 2, {1, 1, 1, 0, 0, 1}});
}

static void max_pool_negative_image_is_not_beaten_by_padding(void **state)
{
    (void)state;
    const float x[] = {-5.0F, -7.0F, -6.0F, -8.0F};
    float y[9];
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(1, 2, 2, 1));
    const lmn_tensor *pooled = lmn_max_pool(graph, input, 2, 2, (lmn_window){1, 1, 1, 1, 1, 1});
    run_graph(graph, pooled, (binding[]){{input, x}}, 1, NULL, y);
    assert_close(y, (const double[]){-5, -5, -7, -5, -5, -7, -6, -6, -8}, 9, 0.0);
    lmn_graph_destroy(graph);
}

static void max_pool_equal_values_give_the_gradient_to_the_first(void **state)
{
    (void)state;
    const float x[] = {2.0F, 2.0F, 2.0F, 2.0F};
    float dx[4];
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(1, 2, 2, 1));
    const lmn_tensor *pooled = lmn_max_pool(graph, input, 2, 2, lmn_window_default());
    const lmn_tensor *sum = lmn_reduce_sum(graph, pooled, LMN_ALL_AXES, false);
    const lmn_tensor *grad = NULL;
    assert_int_equal(lmn_gradients(graph, sum, &input, 1, &grad, NULL), LMN_OK);
    run_graph(graph, grad, (binding[]){{input, x}}, 1, NULL, dx);
    assert_close(dx, (const double[]){1, 0, 0, 0}, 4, 0.0);
    lmn_graph_destroy(graph);
}

static void max_pool_nan_wins_and_minus_infinity_loses(void **state)
{
    (void)state;
    const float x[] = {1.0F, NAN, 3.0F, 4.0F, -INFINITY, -INFINITY, -INFINITY, -9.0F};
    float y[2];
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(2, 2, 2, 1));
    const lmn_tensor *pooled = lmn_max_pool(graph, input, 2, 2, lmn_window_default());
    run_graph(graph, pooled, (binding[]){{input, x}}, 1, NULL, y);
    assert_true(isnan(y[0]));
    assert_true(y[1] == -9.0F);
    lmn_graph_destroy(graph);
}

static void expect_pool_refusal(lmn_shape x, size_t kernel, lmn_window window, const char *part)
{
    for (int which = 0; which < 2; which++) {
        lmn_graph *graph = new_graph();
        const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, x);
        assert_null(which == 0 ? lmn_max_pool(graph, input, kernel, kernel, window)
                               : lmn_avg_pool(graph, input, kernel, kernel, window));
        assert_refused(graph, LMN_ERR_SHAPE, part);
        lmn_graph_destroy(graph);
    }
}

static void pool_windows_that_do_not_fit_are_refused_with_both_shapes(void **state)
{
    (void)state;
    const lmn_window plain = lmn_window_default();
    expect_pool_refusal(shape_of(1, 2, 4, 3), 3, plain,
                        "pool: image [1, 2, 4, 3] with window [3, 3]: the window is larger");
    expect_pool_refusal(shape_of(2, 4, 3, 0), 2, plain,
                        "pool: image [2, 4, 3] with window [2, 2]: images need 4 axes");
    expect_pool_refusal(shape_of(1, 4, 4, 3), 0, plain, "windows and strides must be at least 1");
    expect_pool_refusal(shape_of(1, 4, 4, 3), 2, (lmn_window){.stride_h = 1},
                        "windows and strides must be at least 1");
    expect_pool_refusal(shape_of(1, 4, 4, 3), 2, (lmn_window){1, 1, 2, 0, 0, 0},
                        "pads must be smaller than the window");
    expect_pool_refusal(shape_of(1, 4, 4, 3), SIZE_MAX, plain, "more than 2^31 - 1 places");
}

static const lmn_tensor *square(lmn_graph *graph, const lmn_tensor *x)
{
    return lmn_mul(graph, x, x);
}

static const lmn_tensor *build_max(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return square(g, lmn_max_pool(g, x[0], 2, 2, (lmn_window){1, 2, 0, 1, 1, 0}));
}

static const lmn_tensor *build_average(lmn_graph *g, const lmn_tensor *const *x,
                                       const lmn_tensor *l)
{
    (void)l;
    return square(g, lmn_avg_pool(g, square(g, x[0]), 2, 2, (lmn_window){1, 2, 0, 1, 1, 0}));
}

static void pool_gradients_match_differences(void **state)
{
    (void)state;
    gradient_case checked = {.n_inputs = 1, .shapes = {shape_of(1, 3, 3, 2)}, .orders = 3};
    checked.build = build_max;
    check_gradients(&checked);
    checked.build = build_average;
    checked.low = -1.0F;
    checked.high = 1.0F;
    check_gradients(&checked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_plain_strided_and_padded_equal_naive_loops),
        cmocka_unit_test(max_pool_negative_image_is_not_beaten_by_padding),
        cmocka_unit_test(max_pool_equal_values_give_the_gradient_to_the_first),
        cmocka_unit_test(max_pool_nan_wins_and_minus_infinity_loses),
        cmocka_unit_test(pool_windows_that_do_not_fit_are_refused_with_both_shapes),
        cmocka_unit_test(pool_gradients_match_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

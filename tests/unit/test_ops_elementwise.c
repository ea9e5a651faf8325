/*
 * Tests of the elementwise ops: values against naive loops, derivatives against differences.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gradient_check.h"
#include "lamina/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT_MAX 4096

typedef const lmn_tensor *(*binary_fn)(lmn_graph *, const lmn_tensor *, const lmn_tensor *);
typedef const lmn_tensor *(*unary_fn)(lmn_graph *, const lmn_tensor *);

static const binary_fn binary_ops[] = {lmn_add, lmn_sub, lmn_mul, lmn_div};

/* Element of an operand that stands under element `index` of `result`; the slow and obvious way. */
static size_t operand_index(const lmn_shape *result, const lmn_shape *operand, size_t index)
{
    size_t found = 0;
    size_t stride = 1;
    for (size_t i = 0; i < operand->n_dims; i++) {
        const size_t extent = operand->dims[operand->n_dims - 1 - i];
        const size_t place = index % result->dims[result->n_dims - 1 - i];
        index /= result->dims[result->n_dims - 1 - i];
        found += (extent == 1 ? 0 : place) * stride;
        stride *= extent;
    }
    return found;
}

static double expected_binary(int which, double a, double b)
{
    switch (which) {
    case 0:
        return a + b;
    case 1:
        return a - b;
    case 2:
        return a * b;
    default:
        return a / b;
    }
}

/* All four ops on operands of two shapes against operand_index. */
static void check_broadcast(lmn_shape shape_a, lmn_shape shape_b)
{
    static float a[COUNT_MAX];
    static float b[COUNT_MAX];
    static float result[COUNT_MAX];
    static double want[COUNT_MAX];
    fill_uniform(1, -2.0F, 2.0F, lmn_shape_count(&shape_a), a);
    fill_uniform(2, 0.5F, 2.0F, lmn_shape_count(&shape_b), b);
    for (int which = 0; which < 4; which++) {
        lmn_graph *graph = new_graph();
        const lmn_tensor *x = lmn_input(graph, "a", LMN_F32, shape_a);
        const lmn_tensor *y = lmn_input(graph, "b", LMN_F32, shape_b);
        const lmn_tensor *z = binary_ops[which](graph, x, y);
        assert_non_null(z);
        const lmn_shape *shape = lmn_tensor_shape(z);
        const size_t count = lmn_shape_count(shape);
        assert_true(count <= COUNT_MAX);
        run_graph(graph, z, (binding[]){{x, a}, {y, b}}, 2, NULL, result);
        for (size_t i = 0; i < count; i++) {
            want[i] = expected_binary(which, (double)a[operand_index(shape, &shape_a, i)],
                                      (double)b[operand_index(shape, &shape_b, i)]);
        }
        assert_close(result, want, count, 1e-6);
        lmn_graph_destroy(graph);
    }
}

static void binary_shapes_that_broadcast_equal_naive_loops(void **state)
{
    (void)state;
    check_broadcast(shape_of(3, 5, 0, 0), shape_of(3, 5, 0, 0));
    check_broadcast(shape_of(3, 5, 0, 0), shape_of(5, 0, 0, 0));
    check_broadcast(shape_of(5, 0, 0, 0), shape_of(3, 5, 0, 0));
    check_broadcast(shape_of(3, 5, 0, 0), shape_of(3, 1, 0, 0));
    check_broadcast(shape_of(3, 1, 0, 0), shape_of(1, 5, 0, 0));
    check_broadcast(shape_of(3, 5, 0, 0), shape_of(0, 0, 0, 0));
    check_broadcast(shape_of(0, 0, 0, 0), shape_of(2, 3, 0, 0));
    check_broadcast(shape_of(0, 0, 0, 0), shape_of(0, 0, 0, 0));
    check_broadcast(shape_of(2, 3, 4, 5), shape_of(3, 1, 5, 0));
    check_broadcast(shape_of(2, 1, 4, 1), shape_of(3, 1, 5, 0));
    check_broadcast(shape_of(2, 3, 4, 5), shape_of(1, 3, 4, 1));
    check_broadcast(shape_of(1, 1, 1, 0), shape_of(1, 7, 0, 0));
    check_broadcast(shape_of(7, 67, 0, 0), shape_of(67, 0, 0, 0));
}

static void binary_lengths_around_vectors_equal_naive_loops(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 67; n++) {
        check_broadcast(shape_of(n, 0, 0, 0), shape_of(n, 0, 0, 0));
        check_broadcast(shape_of(2, n, 0, 0), shape_of(n, 0, 0, 0));
    }
}

static void binary_shapes_that_do_not_fit_are_refused_with_both(void **state)
{
    (void)state;
    const char *const names[] = {"add: [2, 3] and [4]", "sub: [2, 3] and [4]",
                                 "mul: [2, 3] and [4]", "div: [2, 3] and [4]"};
    for (size_t i = 0; i < 4; i++) {
        lmn_graph *graph = new_graph();
        const lmn_tensor *a = lmn_input(graph, "a", LMN_F32, shape_of(2, 3, 0, 0));
        const lmn_tensor *b = lmn_input(graph, "b", LMN_F32, shape_of(4, 0, 0, 0));
        assert_null(binary_ops[i](graph, a, b));
        assert_refused(graph, LMN_ERR_SHAPE, names[i]);
        lmn_graph_destroy(graph);
    }
}

static void binary_integer_operand_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *a = lmn_input(graph, "a", LMN_F32, shape_of(2, 0, 0, 0));
    const lmn_tensor *b = lmn_input(graph, "b", LMN_I32, shape_of(2, 0, 0, 0));
    assert_null(lmn_add(graph, a, b));
    assert_refused(graph, LMN_ERR_ARGUMENT, "add: operand 1 ('b') is i32");
    lmn_graph_destroy(graph);
}

static double relu(double x)
{
    return x > 0.0 ? x : 0.0;
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static void check_unary(unary_fn op, double (*expected)(double), float low, float high)
{
    for (size_t n = 1; n <= 67; n += n < 20 ? 1 : 47) {
        float x[67];
        float y[67];
        double want[67];
        fill_uniform((uint32_t)n, low, high, n, x);
        lmn_graph *graph = new_graph();
        const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(n, 0, 0, 0));
        run_graph(graph, op(graph, input), (binding[]){{input, x}}, 1, NULL, y);
        for (size_t i = 0; i < n; i++) {
            want[i] = expected((double)x[i]);
        }
        assert_close(y, want, n, 1e-6);
        lmn_graph_destroy(graph);
    }
}

static void unary_random_values_equal_double_functions(void **state)
{
    (void)state;
    check_unary(lmn_relu, relu, -2.0F, 2.0F);
    check_unary(lmn_tanh, tanh, -3.0F, 3.0F);
    check_unary(lmn_sigmoid, sigmoid, -5.0F, 5.0F);
    check_unary(lmn_exp, exp, -3.0F, 3.0F);
    check_unary(lmn_log, log, 0.1F, 9.0F);
    check_unary(lmn_sqrt, sqrt, 0.1F, 9.0F);
}

static void unary_extreme_values_stay_right(void **state)
{
    (void)state;
    const float x[] = {-200.0F, 200.0F, -INFINITY, INFINITY, 0.0F};
    float y[5];
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(5, 0, 0, 0));
    const binding bound = {input, x};
    run_graph(graph, lmn_sigmoid(graph, input), &bound, 1, NULL, y);
    assert_close(y, (const double[]){0.0, 1.0, 0.0, 1.0, 0.5}, 5, 1e-7);
    run_graph(graph, lmn_tanh(graph, input), &bound, 1, NULL, y);
    assert_close(y, (const double[]){-1.0, 1.0, -1.0, 1.0, 0.0}, 5, 1e-7);
    run_graph(graph, lmn_relu(graph, input), &bound, 1, NULL, y);
    assert_close(y, (const double[]){0.0, 200.0, 0.0, (double)INFINITY, 0.0}, 5, 0.0);
    lmn_graph_destroy(graph);
}

static void relu_nan_passes(void **state)
{
    (void)state;
    const float x[] = {-1.0F, NAN, 1.0F, NAN, 2.0F};
    float y[5];
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(5, 0, 0, 0));
    run_graph(graph, lmn_relu(graph, input), (binding[]){{input, x}}, 1, NULL, y);
    assert_true(isnan(y[1]) && isnan(y[3]));
    assert_true(y[0] == 0.0F && y[2] == 1.0F && y[4] == 2.0F);
    lmn_graph_destroy(graph);
}

static void relu_at_zero_has_derivative_zero(void **state)
{
    (void)state;
    const float x[] = {-1.0F, 0.0F, 1.0F, -0.0F};
    float dx[4];
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(4, 0, 0, 0));
    const lmn_tensor *sum = lmn_reduce_sum(graph, lmn_relu(graph, input), LMN_ALL_AXES, false);
    const lmn_tensor *grad = NULL;
    assert_int_equal(lmn_gradients(graph, sum, &input, 1, &grad, NULL), LMN_OK);
    run_graph(graph, grad, (binding[]){{input, x}}, 1, NULL, dx);
    assert_close(dx, (const double[]){0.0, 0.0, 1.0, 0.0}, 4, 0.0);
    lmn_graph_destroy(graph);
}

static void scale_by_factor_multiplies(void **state)
{
    (void)state;
    const float x[] = {1.0F, -2.0F, 3.0F};
    float y[3];
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(3, 0, 0, 0));
    run_graph(graph, lmn_scale(graph, input, -2.5F), (binding[]){{input, x}}, 1, NULL, y);
    assert_close(y, (const double[]){-2.5, 5.0, -7.5}, 3, 0.0);
    lmn_graph_destroy(graph);
}

static void gate_shapes_that_differ_are_refused_with_both(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *a = lmn_input(graph, "a", LMN_F32, shape_of(2, 3, 0, 0));
    const lmn_tensor *b = lmn_input(graph, "b", LMN_F32, shape_of(3, 0, 0, 0));
    assert_null(lmn_gate(graph, a, b));
    assert_refused(graph, LMN_ERR_SHAPE, "gate: [2, 3] and its gate [3]");
    lmn_graph_destroy(graph);
}

static const lmn_tensor *build_add(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_add(g, x[0], x[1]);
}

static const lmn_tensor *build_sub(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_sub(g, x[0], x[1]);
}

static const lmn_tensor *build_mul(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_mul(g, x[0], x[1]);
}

static const lmn_tensor *build_div(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_div(g, x[0], x[1]);
}

static void binary_gradients_match_differences(void **state)
{
    (void)state;
    const lmn_shape pairs[][2] = {
        {shape_of(2, 3, 0, 0), shape_of(2, 3, 0, 0)}, {shape_of(2, 3, 0, 0), shape_of(3, 0, 0, 0)},
        {shape_of(2, 1, 0, 0), shape_of(1, 3, 0, 0)}, {shape_of(0, 0, 0, 0), shape_of(2, 2, 0, 0)},
        {shape_of(2, 2, 0, 0), shape_of(0, 0, 0, 0)}, {shape_of(2, 1, 2, 0), shape_of(3, 1, 0, 0)},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        gradient_case checked = {.n_inputs = 2,
                                 .shapes = {pairs[i][0], pairs[i][1]},
                                 .low = 0.8F,
                                 .high = 2.0F,
                                 .orders = 2};
        checked.build = build_add;
        check_gradients(&checked);
        checked.build = build_sub;
        check_gradients(&checked);
        checked.build = build_mul;
        check_gradients(&checked);
        checked.build = build_div;
        check_gradients(&checked);
    }
}

static const lmn_tensor *build_square(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_mul(g, x[0], x[0]);
}

static void mul_with_itself_gradients_match_differences(void **state)
{
    (void)state;
    check_gradients(&(gradient_case){.build = build_square,
                                     .n_inputs = 1,
                                     .shapes = {shape_of(5, 0, 0, 0)},
                                     .low = -1.0F,
                                     .high = 1.0F,
                                     .orders = 3});
}

static const lmn_tensor *build_tanh(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_tanh(g, x[0]);
}

static const lmn_tensor *build_sigmoid(lmn_graph *g, const lmn_tensor *const *x,
                                       const lmn_tensor *l)
{
    (void)l;
    return lmn_sigmoid(g, x[0]);
}

static const lmn_tensor *build_exp(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_exp(g, x[0]);
}

static const lmn_tensor *build_log(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_log(g, x[0]);
}

static const lmn_tensor *build_sqrt(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_sqrt(g, x[0]);
}

static const lmn_tensor *build_scale(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_scale(g, x[0], -1.7F);
}

static void unary_smooth_gradients_match_differences(void **state)
{
    (void)state;
    gradient_case checked = {
        .n_inputs = 1, .shapes = {shape_of(2, 3, 0, 0)}, .low = -1.0F, .high = 1.0F, .orders = 3};
    checked.build = build_tanh;
    check_gradients(&checked);
    checked.build = build_sigmoid;
    check_gradients(&checked);
    checked.build = build_exp;
    check_gradients(&checked);
    checked.build = build_scale;
    check_gradients(&checked);
    checked.low = 1.0F;
    checked.high = 3.0F;
    checked.build = build_log;
    check_gradients(&checked);
    checked.build = build_sqrt;
    check_gradients(&checked);
}

/* Squared, so that the second derivative is not zero everywhere. */
static const lmn_tensor *build_relu(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    const lmn_tensor *y = lmn_relu(g, x[0]);
    return lmn_mul(g, y, y);
}

static const lmn_tensor *build_gate(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_gate(g, lmn_mul(g, x[0], x[0]), x[1]);
}

static void unary_kinked_gradients_match_differences(void **state)
{
    (void)state;
    gradient_case checked = {.n_inputs = 1, .shapes = {shape_of(3, 4, 0, 0)}, .orders = 2};
    checked.build = build_relu;
    check_gradients(&checked);
    checked.build = build_gate;
    checked.n_inputs = 2;
    checked.shapes[1] = checked.shapes[0];
    check_gradients(&checked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binary_shapes_that_broadcast_equal_naive_loops),
        cmocka_unit_test(binary_lengths_around_vectors_equal_naive_loops),
        cmocka_unit_test(binary_shapes_that_do_not_fit_are_refused_with_both),
        cmocka_unit_test(binary_integer_operand_is_refused),
        cmocka_unit_test(unary_random_values_equal_double_functions),
        cmocka_unit_test(unary_extreme_values_stay_right),
        cmocka_unit_test(relu_nan_passes),
        cmocka_unit_test(relu_at_zero_has_derivative_zero),
        cmocka_unit_test(scale_by_factor_multiplies),
        cmocka_unit_test(gate_shapes_that_differ_are_refused_with_both),
        cmocka_unit_test(binary_gradients_match_differences),
        cmocka_unit_test(mul_with_itself_gradients_match_differences),
        cmocka_unit_test(unary_smooth_gradients_match_differences),
        cmocka_unit_test(unary_kinked_gradients_match_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

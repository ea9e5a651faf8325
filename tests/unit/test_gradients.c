/*
 * Tests of differentiation, against derivatives known in closed form.
 *
 * What single ops do is tested with the ops; here it is the walk through the graph: sums over
 * paths, paths that are left out, derivatives of derivatives, refusals.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/compute_internal.h"
#include "compute_check.h"
#include "naive_run.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEED  7
#define COUNT 5

static const lmn_shape SCALAR = {.n_dims = 0};
static const lmn_run EVALUATION = {.training = false};

static lmn_shape vector_of(size_t count)
{
    return lmn_shape_make(1, (const size_t[]){count});
}

static const lmn_tensor *new_input(lmn_graph *graph, const char *name)
{
    return lmn_input(graph, name, LMN_F32, vector_of(COUNT));
}

static const lmn_tensor *sum_all(lmn_graph *graph, const lmn_tensor *x)
{
    return lmn_reduce_sum(graph, x, LMN_ALL_AXES, false);
}

/* The gradient of the sum of y in x. */
static const lmn_tensor *gradient(lmn_graph *graph, const lmn_tensor *y, const lmn_tensor *x)
{
    const lmn_tensor *grad = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_gradients(graph, sum_all(graph, y), &x, 1, &grad, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return grad;
}

/* Lets a test write the derivative that it expects as a function of the operand. */
typedef double (*expected_fn)(double x);

/* Checks y against expected(x), element by element. */
static void assert_function(const lmn_graph *graph, const lmn_tensor *y, const lmn_tensor *x,
                            expected_fn expected)
{
    assert_int_equal(lmn_graph_status(graph, NULL), LMN_OK);
    assert_true(lmn_shape_equal(lmn_tensor_shape(x), lmn_tensor_shape(y)));
    naive_values values = naive_run(graph, SEED, &EVALUATION);
    for (size_t i = 0; i < COUNT; i++) {
        const double want = expected((double)naive_value(&values, x)[i]);
        const double have = (double)naive_value(&values, y)[i];
        if (!(fabs(have - want) <= 1e-5 * (1.0 + fabs(want)))) {
            fail_msg("element %zu: %g instead of %g", i, have, want);
        }
    }
    naive_free(&values);
}

static double six_x(double x)
{
    return 6.0 * x;
}

static double three_x_squared(double x)
{
    return 3.0 * x * x;
}

static double six(double x)
{
    (void)x;
    return 6.0;
}

static double zero(double x)
{
    (void)x;
    return 0.0;
}

static double one(double x)
{
    (void)x;
    return 1.0;
}

static void gradients_of_cube_are_right_up_to_the_fourth(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    const lmn_tensor *cube = lmn_mul(graph, x, lmn_mul(graph, x, x));
    const lmn_tensor *first = gradient(graph, cube, x);
    const lmn_tensor *second = gradient(graph, first, x);
    const lmn_tensor *third = gradient(graph, second, x);
    const lmn_tensor *fourth = gradient(graph, third, x);
    assert_function(graph, first, x, three_x_squared);
    assert_function(graph, second, x, six_x);
    assert_function(graph, third, x, six);
    assert_function(graph, fourth, x, zero);
    lmn_graph_destroy(graph);
}

static double diamond_derivative(double x)
{
    return exp(x) * tanh(x) + exp(x) * (1.0 - tanh(x) * tanh(x));
}

static void gradients_of_diamond_sum_over_paths(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    const lmn_tensor *y = lmn_mul(graph, lmn_exp(graph, x), lmn_tanh(graph, x));
    assert_function(graph, gradient(graph, y, x), x, diamond_derivative);
    lmn_graph_destroy(graph);
}

static double sixteen(double x)
{
    (void)x;
    return 16.0;
}

/* Four diamonds in a row: 2^4 paths, each visited node once. */
static void gradients_of_chained_diamonds_visit_nodes_once(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    const lmn_tensor *y = x;
    for (size_t i = 0; i < 4; i++) {
        y = lmn_add(graph, y, y);
    }
    const lmn_tensor *loss = sum_all(graph, y);
    const size_t before = lmn__graph_tensor_count(graph);
    const lmn_tensor *grad = NULL;
    assert_int_equal(lmn_gradients(graph, loss, &x, 1, &grad, NULL), LMN_OK);
    assert_true(lmn__graph_tensor_count(graph) - before < 12);
    assert_function(graph, grad, x, sixteen);
    lmn_graph_destroy(graph);
}

static void gradients_of_inner_tensor_reach_it_and_those_behind(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    const lmn_tensor *square = lmn_mul(graph, x, x);
    const lmn_tensor *y = lmn_mul(graph, x, square);
    const lmn_tensor *const wrt[] = {square, x};
    const lmn_tensor *grads[2] = {NULL, NULL};
    assert_int_equal(lmn_gradients(graph, sum_all(graph, y), wrt, 2, grads, NULL), LMN_OK);
    assert_function(graph, grads[1], x, three_x_squared);
    naive_values values = naive_run(graph, SEED, &EVALUATION);
    assert_memory_equal(naive_value(&values, grads[0]), naive_value(&values, x),
                        COUNT * sizeof(float));
    naive_free(&values);
    lmn_graph_destroy(graph);
}

static double twice(double x)
{
    return 2.0 * x;
}

static void gradients_through_stop_gradient_are_cut(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    const lmn_tensor *square = lmn_mul(graph, x, x);
    const lmn_tensor *stopped = lmn_stop_gradient(graph, square);
    assert_function(graph, gradient(graph, lmn_add(graph, square, stopped), x), x, twice);
    assert_function(graph, gradient(graph, stopped, x), x, zero);
    assert_function(graph, gradient(graph, stopped, stopped), x, one);
    lmn_graph_destroy(graph);
}

static void gradients_of_what_the_loss_ignores_are_zero(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    const lmn_tensor *ignored = new_input(graph, "ignored");
    const lmn_tensor *loss = sum_all(graph, x);
    const lmn_tensor *later = new_input(graph, "later");
    const lmn_tensor *const wrt[] = {ignored, later};
    const lmn_tensor *grads[2] = {NULL, NULL};
    assert_int_equal(lmn_gradients(graph, loss, wrt, 2, grads, NULL), LMN_OK);
    assert_function(graph, grads[0], ignored, zero);
    assert_function(graph, grads[1], later, zero);
    lmn_graph_destroy(graph);
}

static void gradients_of_constant_gate_operand_are_zero(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    const lmn_tensor *gate = new_input(graph, "gate");
    assert_function(graph, gradient(graph, lmn_gate(graph, x, gate), gate), gate, zero);
    lmn_graph_destroy(graph);
}

/* Ops of these tests: a sum of two operands with derivatives that are wrong in some way. */

static lmn_status sum_run(const lmn__node_run *node_run)
{
    const float *a = node_run->inputs[0];
    const float *b = node_run->inputs[1];
    float *y = node_run->output;
    for (size_t i = 0; i < lmn_shape_count(&node_run->node->shape); i++) {
        y[i] = a[i] + b[i];
    }
    return LMN_OK;
}

static const lmn_tensor *only_second_vjp(lmn_graph *graph, const lmn_tensor *node,
                                         const lmn_tensor *grad, size_t input)
{
    (void)graph;
    (void)node;
    if (input == 0) {
        fail_msg("the gradient of an operand that nobody asked for was built");
    }
    return grad;
}

static const lmn_tensor *misshapen_vjp(lmn_graph *graph, const lmn_tensor *node,
                                       const lmn_tensor *grad, size_t input)
{
    (void)node;
    (void)input;
    return sum_all(graph, grad);
}

static const lmn__op rough_op = {.name = "rough", .run = sum_run};
static const lmn__op only_second_op = {
    .name = "only_second", .vjp = only_second_vjp, .run = sum_run};
static const lmn__op misshapen_op = {.name = "misshapen", .vjp = misshapen_vjp, .run = sum_run};

static const lmn_tensor *apply(lmn_graph *graph, const lmn__op *op, const lmn_tensor *a,
                               const lmn_tensor *b)
{
    const lmn_tensor *const inputs[] = {a, b};
    if (!lmn__inputs_fit(graph, op, inputs, 2)) {
        return NULL;
    }
    return lmn__tensor_new(graph, op, inputs, 2, a->shape, LMN_F32, NULL);
}

static void gradients_of_unwanted_operand_are_not_built(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    const lmn_tensor *weight = new_input(graph, "weight");
    const lmn_tensor *y = apply(graph, &only_second_op, lmn_exp(graph, x), weight);
    assert_function(graph, gradient(graph, y, weight), weight, one);
    lmn_graph_destroy(graph);
}

/* gradients of y in x fail so, and the graph keeps the error. */
static void assert_gradients_fail(lmn_graph *graph, const lmn_tensor *y, const lmn_tensor *x,
                                  lmn_status status, const char *part)
{
    const lmn_tensor *grad = x;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_gradients(graph, y, &x, 1, &grad, &err), status);
    assert_ptr_equal(grad, x);
    assert_int_equal(lmn_graph_status(graph, NULL), status);
    check_message(&err, part);
    lmn_graph_destroy(graph);
}

static void gradients_of_op_without_derivative_are_refused_by_name(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    const lmn_tensor *y = apply(graph, &rough_op, x, x);
    assert_gradients_fail(graph, sum_all(graph, y), x, LMN_ERR_UNSUPPORTED,
                          "rough has no derivative");
}

static void gradients_beside_op_without_derivative_succeed(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    const lmn_tensor *other = new_input(graph, "other");
    const lmn_tensor *y = lmn_add(graph, x, apply(graph, &rough_op, other, other));
    assert_function(graph, gradient(graph, y, x), x, one);
    lmn_graph_destroy(graph);
}

static void gradients_with_misshapen_vjp_are_refused(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    const lmn_tensor *y = apply(graph, &misshapen_op, x, x);
    assert_gradients_fail(graph, sum_all(graph, y), x, LMN_ERR_SHAPE,
                          "misshapen in operand 0 has shape []");
}

static void gradients_of_vector_loss_are_refused(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = new_input(graph, "x");
    assert_gradients_fail(graph, lmn_exp(graph, x), x, LMN_ERR_SHAPE, "[5]");
}

static void gradients_in_integers_or_nothing_are_refused(void **state)
{
    (void)state;
    lmn_graph *graph = check_new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, SCALAR);
    const lmn_tensor *labels = lmn_input(graph, "labels", LMN_I32, SCALAR);
    assert_gradients_fail(graph, x, labels, LMN_ERR_ARGUMENT, "not f32");
    graph = check_new_graph();
    x = lmn_input(graph, "x", LMN_F32, SCALAR);
    assert_gradients_fail(graph, NULL, x, LMN_ERR_ARGUMENT, "loss is missing");
}

/* A graph with several paths, built twice, is the same to the last node. */
static void gradients_built_twice_are_the_same_graph(void **state)
{
    (void)state;
    lmn_graph *graphs[2] = {check_new_graph(), check_new_graph()};
    for (size_t k = 0; k < 2; k++) {
        lmn_graph *graph = graphs[k];
        const lmn_tensor *x = new_input(graph, "x");
        const lmn_tensor *a = lmn_tanh(graph, lmn_mul(graph, x, x));
        const lmn_tensor *b = lmn_sigmoid(graph, lmn_add(graph, a, x));
        (void)gradient(graph, gradient(graph, lmn_mul(graph, a, b), x), x);
    }
    const size_t n = lmn__graph_tensor_count(graphs[0]);
    assert_int_equal(n, lmn__graph_tensor_count(graphs[1]));
    for (size_t i = 0; i < n; i++) {
        const lmn_tensor *a = lmn__graph_tensor(graphs[0], i);
        const lmn_tensor *b = lmn__graph_tensor(graphs[1], i);
        assert_ptr_equal(a->op, b->op);
        for (size_t k = 0; k < a->n_inputs; k++) {
            assert_int_equal(a->inputs[k]->index, b->inputs[k]->index);
        }
    }
    lmn_graph_destroy(graphs[0]);
    lmn_graph_destroy(graphs[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_cube_are_right_up_to_the_fourth),
        cmocka_unit_test(gradients_of_diamond_sum_over_paths),
        cmocka_unit_test(gradients_of_chained_diamonds_visit_nodes_once),
        cmocka_unit_test(gradients_of_inner_tensor_reach_it_and_those_behind),
        cmocka_unit_test(gradients_through_stop_gradient_are_cut),
        cmocka_unit_test(gradients_of_what_the_loss_ignores_are_zero),
        cmocka_unit_test(gradients_of_constant_gate_operand_are_zero),
        cmocka_unit_test(gradients_of_unwanted_operand_are_not_built),
        cmocka_unit_test(gradients_of_op_without_derivative_are_refused_by_name),
        cmocka_unit_test(gradients_beside_op_without_derivative_succeed),
        cmocka_unit_test(gradients_with_misshapen_vjp_are_refused),
        cmocka_unit_test(gradients_of_vector_loss_are_refused),
        cmocka_unit_test(gradients_in_integers_or_nothing_are_refused),
        cmocka_unit_test(gradients_built_twice_are_the_same_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Tests of broadcast_to, reshape and transpose: places of elements, refusals, derivatives.
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

#define COUNT_MAX 1024

static void strides_of(const lmn_shape *shape, size_t *strides_out)
{
    size_t stride = 1;
    for (size_t axis = shape->n_dims; axis-- > 0;) {
        strides_out[axis] = stride;
        stride *= shape->dims[axis];
    }
}

/* y[i_0, i_1, ...] = x with index i_k at axis order[k], element by element. */
static void check_transpose(lmn_shape shape, const size_t *order)
{
    float x[COUNT_MAX];
    float y[COUNT_MAX];
    const size_t count = lmn_shape_count(&shape);
    assert_true(count <= COUNT_MAX);
    fill_uniform(1, -1.0F, 1.0F, count, x);
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape);
    const lmn_tensor *transposed = lmn_transpose(graph, input, order);
    run_graph(graph, transposed, (binding[]){{input, x}}, 1, NULL, y);
    const lmn_shape *result = lmn_tensor_shape(transposed);
    size_t x_strides[LMN_DIMS_MAX];
    strides_of(&shape, x_strides);
    for (size_t i = 0; i < count; i++) {
        size_t rest = i;
        size_t from = 0;
        for (size_t axis = shape.n_dims; axis-- > 0;) {
            from += rest % result->dims[axis] * x_strides[order[axis]];
            rest /= result->dims[axis];
        }
        assert_true(y[i] == x[from]);
    }
    lmn_graph_destroy(graph);
}

static void transpose_every_order_moves_each_element(void **state)
{
    (void)state;
    for (size_t code = 0; code < 256; code++) {
        const size_t order[] = {code % 4, code / 4 % 4, code / 16 % 4, code / 64};
        const unsigned seen = 1U << order[0] | 1U << order[1] | 1U << order[2] | 1U << order[3];
        if (seen == 15U) {
            check_transpose(shape_of(2, 3, 4, 5), order);
            check_transpose(shape_of(3, 1, 7, 2), order);
        }
    }
    check_transpose(shape_of(17, 23, 0, 0), (const size_t[]){1, 0});
    check_transpose(shape_of(0, 0, 0, 0), (const size_t[]){0});
}

static void transpose_order_that_repeats_is_refused(void **state)
{
    (void)state;
    const size_t bad[][2] = {{0, 0}, {1, 2}};
    for (size_t i = 0; i < 2; i++) {
        lmn_graph *graph = new_graph();
        const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(2, 3, 0, 0));
        assert_null(lmn_transpose(graph, input, bad[i]));
        assert_refused(graph, LMN_ERR_SHAPE, "is not a permutation of the 2 axes of [2, 3]");
        lmn_graph_destroy(graph);
    }
}

static void broadcast_to_repeats_elements(void **state)
{
    (void)state;
    const float x[] = {1.0F, 2.0F, 3.0F};
    float y[12];
    lmn_graph *graph = new_graph();
    const lmn_tensor *row = lmn_input(graph, "row", LMN_F32, shape_of(3, 0, 0, 0));
    const lmn_tensor *column = lmn_input(graph, "column", LMN_F32, shape_of(3, 1, 0, 0));
    run_graph(graph, lmn_broadcast_to(graph, row, shape_of(2, 2, 3, 0)), (binding[]){{row, x}}, 1,
              NULL, y);
    assert_close(y, (const double[]){1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3}, 12, 0.0);
    run_graph(graph, lmn_broadcast_to(graph, column, shape_of(2, 3, 2, 0)),
              (binding[]){{column, x}}, 1, NULL, y);
    assert_close(y, (const double[]){1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3}, 12, 0.0);
    run_graph(graph, lmn_broadcast_to(graph, row, shape_of(3, 0, 0, 0)), (binding[]){{row, x}}, 1,
              NULL, y);
    assert_close(y, (const double[]){1, 2, 3}, 3, 0.0);
    lmn_graph_destroy(graph);
}

static void broadcast_to_smaller_shape_is_refused_with_both(void **state)
{
    (void)state;
    const lmn_shape bad[] = {shape_of(3, 0, 0, 0), shape_of(2, 4, 0, 0), shape_of(1, 3, 0, 0)};
    const char *const messages[] = {"[2, 3] does not broadcast to [3]",
                                    "[2, 3] does not broadcast to [2, 4]",
                                    "[2, 3] does not broadcast to [1, 3]"};
    for (size_t i = 0; i < 3; i++) {
        lmn_graph *graph = new_graph();
        const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(2, 3, 0, 0));
        assert_null(lmn_broadcast_to(graph, input, bad[i]));
        assert_refused(graph, LMN_ERR_SHAPE, messages[i]);
        lmn_graph_destroy(graph);
    }
}

static void reshape_keeps_order(void **state)
{
    (void)state;
    const float x[] = {1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F};
    float y[6];
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(2, 3, 0, 0));
    const lmn_tensor *reshaped = lmn_reshape(graph, input, shape_of(3, 1, 2, 0));
    assert_int_equal(lmn_tensor_shape(reshaped)->n_dims, 3);
    run_graph(graph, lmn_scale(graph, reshaped, 2.0F), (binding[]){{input, x}}, 1, NULL, y);
    assert_close(y, (const double[]){2, 4, 6, 8, 10, 12}, 6, 0.0);
    lmn_graph_destroy(graph);
}

static void reshape_of_labels_serves_ops_that_take_them(void **state)
{
    (void)state;
    const int32_t labels[] = {2, 0, 1, 1, 2, 0};
    const float table[] = {10.0F, 20.0F, 30.0F};
    float y[6];
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "labels", LMN_I32, shape_of(2, 3, 0, 0));
    const lmn_tensor *values = lmn_input(graph, "table", LMN_F32, shape_of(3, 1, 0, 0));
    const lmn_tensor *flat = lmn_reshape(graph, input, shape_of(6, 0, 0, 0));
    assert_int_equal(lmn_tensor_dtype(flat), LMN_I32);
    run_graph(graph, lmn_gather(graph, values, flat), (binding[]){{input, labels}, {values, table}},
              2, NULL, y);
    assert_close(y, (const double[]){30, 10, 20, 20, 30, 10}, 6, 0.0);
    lmn_graph_destroy(graph);
}

static void reshape_to_another_count_is_refused_with_both(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(2, 3, 0, 0));
    assert_null(lmn_reshape(graph, input, shape_of(4, 2, 0, 0)));
    assert_refused(graph, LMN_ERR_SHAPE, "reshape: [2, 3] does not fit into [4, 2]: 6 and 8");
    lmn_graph_destroy(graph);
}

static const lmn_tensor *square(lmn_graph *graph, const lmn_tensor *x)
{
    return lmn_mul(graph, x, x);
}

static const lmn_tensor *build_broadcast(lmn_graph *g, const lmn_tensor *const *x,
                                         const lmn_tensor *l)
{
    (void)l;
    return square(g, lmn_broadcast_to(g, x[0], shape_of(2, 2, 3, 0)));
}

static const lmn_tensor *build_reshape(lmn_graph *g, const lmn_tensor *const *x,
                                       const lmn_tensor *l)
{
    (void)l;
    return square(g, lmn_reshape(g, x[0], shape_of(6, 0, 0, 0)));
}

static const lmn_tensor *build_transpose(lmn_graph *g, const lmn_tensor *const *x,
                                         const lmn_tensor *l)
{
    (void)l;
    return square(g, lmn_transpose(g, x[0], (const size_t[]){2, 0, 1}));
}

static void shape_ops_gradients_match_differences(void **state)
{
    (void)state;
    gradient_case checked = {.n_inputs = 1, .low = -1.0F, .high = 1.0F, .orders = 2};
    checked.build = build_broadcast;
    checked.shapes[0] = shape_of(2, 1, 0, 0);
    check_gradients(&checked);
    checked.shapes[0] = shape_of(3, 0, 0, 0);
    check_gradients(&checked);
    checked.build = build_reshape;
    checked.shapes[0] = shape_of(2, 3, 0, 0);
    check_gradients(&checked);
    checked.build = build_transpose;
    checked.shapes[0] = shape_of(2, 3, 2, 0);
    check_gradients(&checked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transpose_every_order_moves_each_element),
        cmocka_unit_test(transpose_order_that_repeats_is_refused),
        cmocka_unit_test(broadcast_to_repeats_elements),
        cmocka_unit_test(broadcast_to_smaller_shape_is_refused_with_both),
        cmocka_unit_test(reshape_keeps_order),
        cmocka_unit_test(reshape_of_labels_serves_ops_that_take_them),
        cmocka_unit_test(reshape_to_another_count_is_refused_with_both),
        cmocka_unit_test(shape_ops_gradients_match_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

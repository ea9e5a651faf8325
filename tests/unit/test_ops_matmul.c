/*
 * Tests of matmul: products against naive loops, refusals, derivatives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gradient_check.h"
#include "lamina/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT_MAX 8192

static lmn_shape stored_shape(size_t rows, size_t columns, bool transposed)
{
    return transposed ? shape_of(columns, rows, 0, 0) : shape_of(rows, columns, 0, 0);
}

static double element(const float *x, size_t rows, size_t columns, bool transposed, size_t row,
                      size_t column)
{
    return (double)(transposed ? x[column * rows + row] : x[row * columns + column]);
}

static void check_product(size_t m, size_t n, size_t k, bool transpose_a, bool transpose_b)
{
    static float a[COUNT_MAX];
    static float b[COUNT_MAX];
    static float c[COUNT_MAX];
    static double want[COUNT_MAX];
    assert_true(m * k <= COUNT_MAX && k * n <= COUNT_MAX && m * n <= COUNT_MAX);
    fill_uniform(1, -1.0F, 1.0F, m * k, a);
    fill_uniform(2, -1.0F, 1.0F, k * n, b);
    for (size_t i = 0; i < m * n; i++) {
        want[i] = 0.0;
        for (size_t p = 0; p < k; p++) {
            want[i] +=
                element(a, m, k, transpose_a, i / n, p) * element(b, k, n, transpose_b, p, i % n);
        }
    }
    lmn_graph *graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "a", LMN_F32, stored_shape(m, k, transpose_a));
    const lmn_tensor *y = lmn_input(graph, "b", LMN_F32, stored_shape(k, n, transpose_b));
    run_graph(graph, lmn_matmul(graph, x, y, transpose_a, transpose_b), (binding[]){{x, a}, {y, b}},
              2, NULL, c);
    assert_close(c, want, m * n, 1e-5);
    lmn_graph_destroy(graph);
}

static void matmul_all_transposes_equal_naive_loops(void **state)
{
    (void)state;
    const size_t extents[][3] = {{1, 1, 1}, {2, 3, 4}, {7, 1, 5}, {1, 9, 3}, {33, 17, 65}};
    for (size_t i = 0; i < sizeof extents / sizeof extents[0]; i++) {
        for (unsigned flags = 0; flags < 4; flags++) {
            check_product(extents[i][0], extents[i][1], extents[i][2], (flags & 1U) != 0,
                          (flags & 2U) != 0);
        }
    }
}

static void expect_refusal(lmn_shape a, lmn_shape b, bool transpose_a, const char *part)
{
    lmn_graph *graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "a", LMN_F32, a);
    const lmn_tensor *y = lmn_input(graph, "b", LMN_F32, b);
    assert_null(lmn_matmul(graph, x, y, transpose_a, false));
    assert_refused(graph, LMN_ERR_SHAPE, part);
    lmn_graph_destroy(graph);
}

static void matmul_shapes_that_do_not_fit_are_refused_with_both(void **state)
{
    (void)state;
    expect_refusal(shape_of(128, 784, 0, 0), shape_of(512, 10, 0, 0), false,
                   "matmul: [128, 784] times [512, 10] does not fit: 784 and 512 differ");
    expect_refusal(shape_of(128, 784, 0, 0), shape_of(784, 10, 0, 0), true,
                   "matmul: [128, 784] transposed times [784, 10] does not fit: 128 and 784");
    expect_refusal(shape_of(2, 3, 4, 0), shape_of(4, 5, 0, 0), false,
                   "matmul: [2, 3, 4] is not a matrix (the other factor is [4, 5])");
}

static void matmul_extent_beyond_blas_is_refused(void **state)
{
    (void)state;
    expect_refusal(shape_of((size_t)1 << 31, 1, 0, 0), shape_of(1, 1, 0, 0), false,
                   "[2147483648, 1] has an extent beyond 2^31 - 1");
}

static const lmn_tensor *build_plain(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_matmul(g, x[0], x[1], false, false);
}

static const lmn_tensor *build_left(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_matmul(g, x[0], x[1], true, false);
}

static const lmn_tensor *build_right(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_matmul(g, x[0], x[1], false, true);
}

static const lmn_tensor *build_both(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_matmul(g, x[0], x[1], true, true);
}

static const lmn_tensor *build_gram(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_matmul(g, x[0], x[0], true, false);
}

static void matmul_gradients_match_differences(void **state)
{
    (void)state;
    gradient_case checked = {.n_inputs = 2, .low = -1.0F, .high = 1.0F, .orders = 2};
    checked.build = build_plain;
    checked.shapes[0] = shape_of(2, 3, 0, 0);
    checked.shapes[1] = shape_of(3, 4, 0, 0);
    check_gradients(&checked);
    checked.build = build_left;
    checked.shapes[0] = shape_of(3, 2, 0, 0);
    check_gradients(&checked);
    checked.build = build_both;
    checked.shapes[1] = shape_of(4, 3, 0, 0);
    check_gradients(&checked);
    checked.build = build_right;
    checked.shapes[0] = shape_of(2, 3, 0, 0);
    check_gradients(&checked);
    checked.build = build_gram;
    checked.n_inputs = 1;
    check_gradients(&checked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_all_transposes_equal_naive_loops),
        cmocka_unit_test(matmul_shapes_that_do_not_fit_are_refused_with_both),
        cmocka_unit_test(matmul_extent_beyond_blas_is_refused),
        cmocka_unit_test(matmul_gradients_match_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

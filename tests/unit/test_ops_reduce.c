/*
 * Tests of reductions: values against naive loops in double, derivatives against differences.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/compute_internal.h"
#include "compute/kernels/kernels_internal.h"
#include "gradient_check.h"
#include "lamina/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_MAX 20000

/* Place of element `index` of x in the result when the axes in `axes` go. */
static size_t kept_index(const lmn_shape *shape, unsigned axes, size_t index)
{
    size_t found = 0;
    size_t stride = 1;
    for (size_t axis = shape->n_dims; axis-- > 0;) {
        const size_t place = index % shape->dims[axis];
        index /= shape->dims[axis];
        if ((axes >> axis & 1U) == 0) {
            found += place * stride;
            stride *= shape->dims[axis];
        }
    }
    return found;
}

static void naive_reduce(const lmn_shape *shape, unsigned axes, const float *x, double *sums,
                         double *maxima)
{
    const size_t count = lmn_shape_count(shape);
    for (size_t i = 0; i < count; i++) {
        sums[kept_index(shape, axes, i)] = 0.0;
        maxima[kept_index(shape, axes, i)] = (double)-INFINITY;
    }
    for (size_t i = 0; i < count; i++) {
        const size_t place = kept_index(shape, axes, i);
        sums[place] += (double)x[i];
        maxima[place] = fmax(maxima[place], (double)x[i]);
    }
}

static void check_reductions(lmn_shape shape, unsigned axes)
{
    static float x[COUNT_MAX];
    static float result[COUNT_MAX];
    static double sums[COUNT_MAX];
    static double maxima[COUNT_MAX];
    const size_t count = lmn_shape_count(&shape);
    assert_true(count <= COUNT_MAX);
    fill_uniform(axes, -1.0F, 1.0F, count, x);
    naive_reduce(&shape, axes, x, sums, maxima);
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape);
    const binding bound = {input, x};
    const lmn_tensor *sum = lmn_reduce_sum(graph, input, axes, false);
    const size_t n = lmn_shape_count(lmn_tensor_shape(sum));
    run_graph(graph, sum, &bound, 1, NULL, result);
    assert_close(result, sums, n, 1e-5);
    run_graph(graph, lmn_reduce_max(graph, input, axes, true), &bound, 1, NULL, result);
    assert_close(result, maxima, n, 0.0);
    run_graph(graph, lmn_reduce_mean(graph, input, axes, true), &bound, 1, NULL, result);
    for (size_t i = 0; i < n; i++) {
        sums[i] *= (double)n / (double)count;
    }
    assert_close(result, sums, n, 1e-5);
    lmn_graph_destroy(graph);
}

static void reductions_every_set_of_axes_equal_naive_loops(void **state)
{
    (void)state;
    const lmn_shape shapes[] = {shape_of(2, 3, 4, 5), shape_of(3, 1, 2, 7), shape_of(1, 5, 1, 3)};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (unsigned axes = 0; axes < 16; axes++) {
            check_reductions(shapes[i], axes);
        }
    }
    const lmn_shape deep = lmn_shape_make(6, (const size_t[]){2, 3, 2, 2, 3, 2});
    for (unsigned axes = 0; axes < 64; axes++) {
        check_reductions(deep, axes);
    }
}

static void reductions_lengths_around_blocks_equal_naive_loops(void **state)
{
    (void)state;
    const size_t lengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 67, 255, 256, 257};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        check_reductions(shape_of(lengths[i], 0, 0, 0), 1U);
        check_reductions(shape_of(3, lengths[i], 0, 0), 2U);
        check_reductions(shape_of(3, lengths[i], 0, 0), 1U);
        check_reductions(shape_of(lengths[i], 65, 0, 0), 1U);
    }
}

static void reduce_sum_all_axes_of_scalar_is_the_scalar(void **state)
{
    (void)state;
    check_reductions(shape_of(0, 0, 0, 0), 0U);
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(2, 3, 0, 0));
    const lmn_tensor *sum = lmn_reduce_sum(graph, input, LMN_ALL_AXES, false);
    assert_int_equal(lmn_tensor_shape(sum)->n_dims, 0);
    const lmn_tensor *kept = lmn_reduce_sum(graph, input, LMN_ALL_AXES, true);
    assert_int_equal(lmn_tensor_shape(kept)->n_dims, 2);
    assert_int_equal(lmn_shape_count(lmn_tensor_shape(kept)), 1);
    lmn_graph_destroy(graph);
}

/* The order that the comment of lmn__kernel_sum promises, written out. */
static float sixteen_lanes(size_t n, const float *x)
{
    float sums[16] = {0.0F};
    for (size_t i = 0; i < n; i++) {
        sums[i % 16] += x[i];
    }
    for (size_t width = 8; width > 0; width /= 2) {
        for (size_t lane = 0; lane < width; lane++) {
            sums[lane] += sums[lane + width];
        }
    }
    return sums[0];
}

static void sum_any_alignment_gives_the_promised_bits(void **state)
{
    (void)state;
    float values[1200];
    for (size_t n = 0; n <= 1000; n += n < 70 ? 1 : 31) {
        for (size_t shift = 0; shift < 5; shift++) {
            fill_uniform((uint32_t)n, -1.0F, 1.0F, n, values + shift);
            const float want = sixteen_lanes(n, values + shift);
            const float have = lmn__kernel_sum(n, values + shift);
            assert_memory_equal(&have, &want, sizeof want);
        }
    }
}

static void reduce_sum_many_rows_stays_accurate(void **state)
{
    (void)state;
    const size_t rows = 100000;
    float *x = malloc(2 * rows * sizeof *x);
    float sums[2];
    assert_non_null(x);
    for (size_t i = 0; i < 2 * rows; i++) {
        x[i] = 0.1F;
    }
    const lmn_shape shape = shape_of(rows, 2, 0, 0);
    lmn__kernel_reduce_sum(&shape, 1U, x, sums);
    const double want = (double)0.1F * (double)rows;
    assert_close(sums, (const double[]){want, want}, 2, 1e-6);
    free(x);
}

static void reduce_max_ties_give_the_gradient_to_the_first(void **state)
{
    (void)state;
    const float x[] = {1.0F, 3.0F, 3.0F, 2.0F, 2.0F, 2.0F};
    float dx[6];
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(2, 3, 0, 0));
    const lmn_tensor *maxima = lmn_reduce_max(graph, input, 2U, false);
    const lmn_tensor *sum = lmn_reduce_sum(graph, maxima, LMN_ALL_AXES, false);
    const lmn_tensor *grad = NULL;
    assert_int_equal(lmn_gradients(graph, sum, &input, 1, &grad, NULL), LMN_OK);
    run_graph(graph, grad, (binding[]){{input, x}}, 1, NULL, dx);
    assert_close(dx, (const double[]){0.0, 1.0, 0.0, 1.0, 0.0, 0.0}, 6, 0.0);
    lmn_graph_destroy(graph);
}

static void reduce_max_nan_wins(void **state)
{
    (void)state;
    const float x[] = {1.0F, NAN, 3.0F, -INFINITY, -INFINITY, -INFINITY};
    float maxima[2];
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(2, 3, 0, 0));
    run_graph(graph, lmn_reduce_max(graph, input, 2U, false), (binding[]){{input, x}}, 1, NULL,
              maxima);
    assert_true(isnan(maxima[0]));
    assert_true(maxima[1] == -INFINITY);
    lmn_graph_destroy(graph);
}

/* Squares make second derivatives appear. */
static const lmn_tensor *square(lmn_graph *graph, const lmn_tensor *x)
{
    return lmn_mul(graph, x, x);
}

static const lmn_tensor *build_sum(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return square(g, lmn_reduce_sum(g, square(g, x[0]), 2U, false));
}

static const lmn_tensor *build_mean(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return square(g, lmn_reduce_mean(g, x[0], 5U, true));
}

static const lmn_tensor *build_max(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return square(g, lmn_reduce_max(g, x[0], 2U, false));
}

static const lmn_tensor *build_outer_max(lmn_graph *g, const lmn_tensor *const *x,
                                         const lmn_tensor *l)
{
    (void)l;
    return square(g, lmn_reduce_max(g, x[0], 5U, true));
}

static void reductions_gradients_match_differences(void **state)
{
    (void)state;
    gradient_case checked = {
        .n_inputs = 1, .shapes = {shape_of(2, 3, 2, 0)}, .low = -1.0F, .high = 1.0F, .orders = 2};
    checked.build = build_sum;
    check_gradients(&checked);
    checked.build = build_mean;
    check_gradients(&checked);
}

static void reduce_max_gradients_match_differences(void **state)
{
    (void)state;
    gradient_case checked = {.n_inputs = 1, .shapes = {shape_of(2, 3, 2, 0)}, .orders = 3};
    checked.build = build_max;
    check_gradients(&checked);
    checked.build = build_outer_max;
    check_gradients(&checked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reductions_every_set_of_axes_equal_naive_loops),
        cmocka_unit_test(reductions_lengths_around_blocks_equal_naive_loops),
        cmocka_unit_test(reduce_sum_all_axes_of_scalar_is_the_scalar),
        cmocka_unit_test(sum_any_alignment_gives_the_promised_bits),
        cmocka_unit_test(reduce_sum_many_rows_stays_accurate),
        cmocka_unit_test(reduce_max_ties_give_the_gradient_to_the_first),
        cmocka_unit_test(reduce_max_nan_wins),
        cmocka_unit_test(reductions_gradients_match_differences),
        cmocka_unit_test(reduce_max_gradients_match_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

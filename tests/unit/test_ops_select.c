/*
 * Choices, slices, rows by index, cumulative sums, and elementwise functions with kinks or tables:
 * values against closed forms, derivatives against differences.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gradient_check.h"
#include "lamina/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define N 6

static const float A[N] = {1.0F, -2.0F, 3.0F, 0.0F, NAN, 5.0F};
static const float B[N] = {2.0F, -3.0F, 3.0F, -0.5F, 1.0F, NAN};

typedef const lmn_tensor *(*binary_fn)(lmn_graph *, const lmn_tensor *, const lmn_tensor *);

static void run_binary(binary_fn op, float *values)
{
    lmn_graph *graph = new_graph();
    const lmn_tensor *a = lmn_input(graph, "a", LMN_F32, shape_of(N, 0, 0, 0));
    const lmn_tensor *b = lmn_input(graph, "b", LMN_F32, shape_of(N, 0, 0, 0));
    run_graph(graph, op(graph, a, b), (binding[]){{a, A}, {b, B}}, 2, NULL, values);
    lmn_graph_destroy(graph);
}

static void max_and_min_choose_and_pass_nan(void **state)
{
    (void)state;
    float largest[N];
    float smallest[N];
    run_binary(lmn_max, largest);
    run_binary(lmn_min, smallest);
    for (size_t i = 0; i < 4; i++) {
        assert_true(largest[i] == fmaxf(A[i], B[i]));
        assert_true(smallest[i] == fminf(A[i], B[i]));
    }
    assert_true(isnan(largest[4]) && isnan(largest[5]));
    assert_true(isnan(smallest[4]) && isnan(smallest[5]));
}

static void where_chooses_and_broadcasts(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *condition = lmn_input(graph, "c", LMN_F32, shape_of(2, 1, 0, 0));
    const lmn_tensor *a = lmn_input(graph, "a", LMN_F32, shape_of(3, 0, 0, 0));
    const lmn_tensor *zero = lmn_constant(graph, 0.0F, shape_of(1, 0, 0, 0));
    const float conditions[2] = {1.0F, 0.0F};
    const float values[3] = {4.0F, 5.0F, 6.0F};
    float have[6];
    run_graph(graph, lmn_where(graph, condition, a, zero),
              (binding[]){{condition, conditions}, {a, values}}, 2, NULL, have);
    const float want[6] = {4.0F, 5.0F, 6.0F, 0.0F, 0.0F, 0.0F};
    assert_memory_equal(have, want, sizeof want);
    lmn_graph_destroy(graph);
}

static const lmn_tensor *build_max(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    const lmn_tensor *other = lmn_scale(g, x[1], 0.77F); /* so that nothing is equal */
    return lmn_mul(g, lmn_max(g, x[0], other), lmn_min(g, x[0], other));
}

static const lmn_tensor *build_where(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_where(g, x[0], lmn_mul(g, x[1], x[1]), x[2]);
}

static const lmn_tensor *build_functions(lmn_graph *g, const lmn_tensor *const *x,
                                         const lmn_tensor *l)
{
    (void)l;
    return lmn_mul(g, lmn_sin(g, x[0]), lmn_mul(g, lmn_cos(g, x[0]), lmn_abs(g, x[0])));
}

static const lmn_tensor *build_gelu(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    return lmn_add(g, lmn_gelu(g, x[0]), lmn_erf(g, x[0]));
}

static const lmn_tensor *build_scan(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    const lmn_tensor *forward = lmn_cumulative_sum(g, lmn_mul(g, x[0], x[0]), 1, false);
    return lmn_mul(g, forward, lmn_cumulative_sum(g, x[0], 1, true));
}

static const lmn_tensor *build_slices(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    (void)l;
    const lmn_tensor *const parts[] = {lmn_slice(g, x[0], 1, 1, 2), x[1],
                                       lmn_slice(g, x[0], 1, 0, 1)};
    const lmn_tensor *whole = lmn_concat(g, parts, 3, 1);
    return lmn_mul(g, whole, lmn_pad(g, lmn_slice(g, whole, 1, 0, 2), 1, 1, 2));
}

static const lmn_tensor *build_gather(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    const lmn_tensor *rows = lmn_gather(g, x[0], l);
    return lmn_mul(g, rows, rows);
}

/* order 2 of every one */
static void derivatives_match_differences(void **state)
{
    (void)state;
    const int32_t indices[5] = {2, 0, 2, -1, 3};
    const gradient_case cases[] = {
        {.build = build_max,
         .n_inputs = 2,
         .shapes = {shape_of(2, 3, 0, 0), shape_of(3, 0, 0, 0)},
         .orders = 2},
        {.build = build_where,
         .n_inputs = 3,
         .shapes = {shape_of(2, 3, 0, 0), shape_of(3, 0, 0, 0), shape_of(2, 1, 0, 0)},
         .orders = 2},
        {.build = build_functions, .n_inputs = 1, .shapes = {shape_of(6, 0, 0, 0)}, .orders = 2},
        {.build = build_gelu,
         .n_inputs = 1,
         .shapes = {shape_of(5, 0, 0, 0)},
         .low = -2.0F,
         .high = 2.0F,
         .orders = 3},
        {.build = build_scan,
         .n_inputs = 1,
         .shapes = {shape_of(2, 3, 2, 0)},
         .low = -1.0F,
         .high = 1.0F,
         .orders = 2},
        {.build = build_slices,
         .n_inputs = 2,
         .shapes = {shape_of(2, 3, 2, 0), shape_of(2, 2, 2, 0)},
         .low = -1.0F,
         .high = 1.0F,
         .orders = 2},
        {.build = build_gather,
         .n_inputs = 1,
         .shapes = {shape_of(3, 2, 0, 0)},
         .low = -1.0F,
         .high = 1.0F,
         .labels = indices,
         .n_labels = 5,
         .orders = 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_gradients(&cases[i]);
    }
}

static void gather_and_scatter_leave_out_indices_that_name_no_row(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *table = lmn_input(graph, "table", LMN_F32, shape_of(3, 2, 0, 0));
    const lmn_tensor *indices = lmn_input(graph, "indices", LMN_I32, shape_of(2, 2, 0, 0));
    const lmn_tensor *rows = lmn_gather(graph, table, indices);
    const float values[6] = {1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F};
    const int32_t places[4] = {1, -1, 3, 1};
    const binding bindings[] = {{table, values}, {indices, places}};
    float have[8];
    run_graph(graph, rows, bindings, 2, NULL, have);
    const float want[8] = {3.0F, 4.0F, 0.0F, 0.0F, 0.0F, 0.0F, 3.0F, 4.0F};
    assert_memory_equal(have, want, sizeof want);
    float sums[6];
    run_graph(graph, lmn_scatter_add(graph, rows, indices, 3), bindings, 2, NULL, sums);
    const float want_sums[6] = {0.0F, 0.0F, 6.0F, 8.0F, 0.0F, 0.0F};
    assert_memory_equal(sums, want_sums, sizeof want_sums);
    lmn_graph_destroy(graph);
}

static void scan_slice_and_concat_values_are_right(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, shape_of(2, 3, 0, 0));
    const float values[6] = {1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F};
    const lmn_tensor *const parts[] = {lmn_cumulative_sum(graph, x, 1, false),
                                       lmn_cumulative_sum(graph, x, 0, true),
                                       lmn_slice(graph, x, 1, 1, 2)};
    float have[16];
    run_graph(graph, lmn_concat(graph, parts, 3, 1), (binding[]){{x, values}}, 1, NULL, have);
    const float want[16] = {1.0F, 3.0F, 6.0F,  5.0F, 7.0F, 9.0F, 2.0F, 3.0F,
                            4.0F, 9.0F, 15.0F, 4.0F, 5.0F, 6.0F, 5.0F, 6.0F};
    assert_memory_equal(have, want, sizeof want);
    lmn_graph_destroy(graph);
}

static void shapes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        lmn_graph *graph = new_graph();
        const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, shape_of(2, 3, 0, 0));
        const lmn_tensor *y = lmn_input(graph, "y", LMN_F32, shape_of(4, 0, 0, 0));
        const lmn_tensor *indices = lmn_input(graph, "i", LMN_I32, shape_of(5, 0, 0, 0));
        const lmn_tensor *const parts[] = {x, y};
        const lmn_tensor *made[] = {lmn_max(graph, x, y),
                                    lmn_slice(graph, x, 1, 2, 2),
                                    lmn_pad(graph, x, 2, 1, 1),
                                    lmn_concat(graph, parts, 2, 0),
                                    lmn_scatter_add(graph, x, indices, 3),
                                    lmn_cumulative_sum(graph, x, 2, false)};
        assert_null(made[i]);
        assert_refused(graph, LMN_ERR_SHAPE, "");
        lmn_graph_destroy(graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(max_and_min_choose_and_pass_nan),
        cmocka_unit_test(where_chooses_and_broadcasts),
        cmocka_unit_test(derivatives_match_differences),
        cmocka_unit_test(gather_and_scatter_leave_out_indices_that_name_no_row),
        cmocka_unit_test(scan_slice_and_concat_values_are_right),
        cmocka_unit_test(shapes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

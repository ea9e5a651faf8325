/*
 * Causal attention and batches of products against plain loops, and their derivatives.
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

/* Extents of one attention. */
typedef struct extents {
    size_t batch, t, heads, d;
} extents;

/* Element c of token t of part 0 (queries), 1 (keys) or 2 (values). */
static double element(const extents *e, const float *qkv, size_t row, size_t t, size_t part,
                      size_t c)
{
    const size_t width = e->heads * e->d;
    return (double)qkv[(row * e->t + t) * 3 * width + part * width + c];
}

/* out [d]: attention of one head at one place. */
static void attend(const extents *e, const float *qkv, size_t row, size_t head, size_t t,
                   double *out)
{
    double *weights = calloc(t + 1, sizeof *weights);
    double total = 0.0;
    for (size_t s = 0; s <= t; s++) {
        double score = 0.0;
        for (size_t i = 0; i < e->d; i++) {
            score += element(e, qkv, row, t, 0, head * e->d + i) *
                     element(e, qkv, row, s, 1, head * e->d + i);
        }
        weights[s] = exp(score / sqrt((double)e->d));
        total += weights[s];
    }
    for (size_t i = 0; i < e->d; i++) {
        out[i] = 0.0;
        for (size_t s = 0; s <= t; s++) {
            out[i] += weights[s] / total * element(e, qkv, row, s, 2, head * e->d + i);
        }
    }
    free(weights);
}

static void check_attention(extents e)
{
    const size_t width = e.heads * e.d;
    const size_t count = e.batch * e.t * width;
    float *qkv = calloc(3 * count, sizeof *qkv);
    float *have = calloc(count, sizeof *have);
    double *want = calloc(count, sizeof *want);
    fill_uniform(2, -2.0F, 2.0F, 3 * count, qkv);
    lmn_graph *graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "qkv", LMN_F32, shape_of(e.batch, e.t, 3 * width, 0));
    run_graph(graph, lmn_causal_attention(graph, x, e.heads), (binding[]){{x, qkv}}, 1, NULL, have);
    for (size_t place = 0; place < e.batch * e.t; place++) {
        for (size_t head = 0; head < e.heads; head++) {
            attend(&e, qkv, place / e.t, head, place % e.t, want + place * width + head * e.d);
        }
    }
    assert_close(have, want, count, 1e-5);
    lmn_graph_destroy(graph);
    free(qkv);
    free(have);
    free(want);
}

/* One place, one block, several blocks with a short last one. */
static void attention_values_equal_plain_loops(void **state)
{
    (void)state;
    check_attention((extents){.batch = 1, .t = 1, .heads = 1, .d = 1});
    check_attention((extents){.batch = 2, .t = 7, .heads = 3, .d = 5});
    check_attention((extents){.batch = 1, .t = 64, .heads = 2, .d = 8});
    check_attention((extents){.batch = 2, .t = 150, .heads = 2, .d = 16});
}

static const lmn_tensor *build_attention(lmn_graph *g, const lmn_tensor *const *x,
                                         const lmn_tensor *l)
{
    (void)l;
    return lmn_causal_attention(g, x[0], 2);
}

static void attention_derivatives_match_differences(void **state)
{
    (void)state;
    const gradient_case checked = {.build = build_attention,
                                   .n_inputs = 1,
                                   .shapes = {shape_of(2, 4, 12, 0)},
                                   .low = -1.0F,
                                   .high = 1.0F,
                                   .orders = 2};
    check_gradients(&checked);
}

/* dq, dk and dv over several blocks of queries, in one direction, against differences in double. */
static void attention_gradient_over_blocks_matches_the_slope(void **state)
{
    (void)state;
    const extents e = {.batch = 1, .t = 140, .heads = 1, .d = 4};
    const size_t count = e.t * e.d;
    float *qkv = calloc(3 * count, sizeof *qkv);
    float *grad = calloc(3 * count, sizeof *grad);
    fill_uniform(5, -1.0F, 1.0F, 3 * count, qkv);
    lmn_graph *graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "qkv", LMN_F32, shape_of(1, e.t, 3 * e.d, 0));
    const lmn_tensor *y = lmn_causal_attention(graph, x, 1);
    const lmn_tensor *loss = lmn_reduce_sum(graph, lmn_mul(graph, y, y), LMN_ALL_AXES, false);
    const lmn_tensor *dx = NULL;
    assert_int_equal(lmn_gradients(graph, loss, &x, 1, &dx, NULL), LMN_OK);
    run_graph(graph, dx, (binding[]){{x, qkv}}, 1, NULL, grad);
    float *direction = calloc(3 * count, sizeof *direction);
    fill_uniform(6, -1.0F, 1.0F, 3 * count, direction);
    double slope = 0.0;
    double losses[2] = {0.0, 0.0};
    for (size_t i = 0; i < 3 * count; i++) {
        slope += (double)grad[i] * (double)direction[i];
    }
    const float step = 1.0F / 256.0F;
    for (size_t side = 0; side < 2; side++) {
        float *moved = calloc(3 * count, sizeof *moved);
        for (size_t i = 0; i < 3 * count; i++) {
            moved[i] = qkv[i] + (side == 0 ? step : -step) * direction[i];
        }
        for (size_t t = 0; t < e.t; t++) {
            double out[4];
            attend(&e, moved, 0, 0, t, out);
            for (size_t i = 0; i < e.d; i++) {
                losses[side] += out[i] * out[i];
            }
        }
        free(moved);
    }
    const double difference = (losses[0] - losses[1]) / (2.0 * (double)step);
    assert_true(fabs(difference - slope) < 2e-3 * (1.0 + fabs(difference)));
    lmn_graph_destroy(graph);
    free(qkv);
    free(grad);
    free(direction);
}

static const lmn_tensor *build_products(lmn_graph *g, const lmn_tensor *const *x,
                                        const lmn_tensor *l)
{
    (void)l;
    return lmn_batch_matmul(g, x[0], x[1], true, false);
}

static const lmn_tensor *build_products_transposed(lmn_graph *g, const lmn_tensor *const *x,
                                                   const lmn_tensor *l)
{
    (void)l;
    return lmn_batch_matmul(g, x[0], x[1], false, true);
}

static void batch_matmul_derivatives_match_differences(void **state)
{
    (void)state;
    const gradient_case first = {.build = build_products,
                                 .n_inputs = 2,
                                 .shapes = {shape_of(2, 3, 2, 0), shape_of(2, 3, 4, 0)},
                                 .low = -1.0F,
                                 .high = 1.0F,
                                 .orders = 2};
    check_gradients(&first);
    const gradient_case second = {.build = build_products_transposed,
                                  .n_inputs = 2,
                                  .shapes = {shape_of(2, 2, 3, 4), shape_of(2, 2, 2, 4)},
                                  .low = -1.0F,
                                  .high = 1.0F,
                                  .orders = 2};
    check_gradients(&second);
}

static void batch_matmul_values_equal_plain_loops(void **state)
{
    (void)state;
    float a[2 * 3 * 4];
    float b[2 * 4 * 5];
    float have[2 * 3 * 5];
    double want[2 * 3 * 5];
    fill_uniform(1, -1.0F, 1.0F, sizeof a / sizeof *a, a);
    fill_uniform(2, -1.0F, 1.0F, sizeof b / sizeof *b, b);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const size_t matrix = i / 15;
        want[i] = 0.0;
        for (size_t k = 0; k < 4; k++) {
            want[i] += (double)a[matrix * 12 + i % 15 / 5 * 4 + k] *
                       (double)b[matrix * 20 + k * 5 + i % 5];
        }
    }
    lmn_graph *graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "a", LMN_F32, shape_of(2, 3, 4, 0));
    const lmn_tensor *y = lmn_input(graph, "b", LMN_F32, shape_of(2, 4, 5, 0));
    run_graph(graph, lmn_batch_matmul(graph, x, y, false, false), (binding[]){{x, a}, {y, b}}, 2,
              NULL, have);
    assert_close(have, want, sizeof want / sizeof *want, 1e-6);
    lmn_graph_destroy(graph);
}

static void attention_shapes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, shape_of(2, 4, 12, 0));
    assert_null(lmn_causal_attention(graph, x, 3));
    assert_refused(graph, LMN_ERR_SHAPE, "C a multiple of 3 heads");
    lmn_graph_destroy(graph);
    graph = new_graph();
    x = lmn_input(graph, "x", LMN_F32, shape_of(2, 4, 12, 0));
    const lmn_tensor *y = lmn_input(graph, "y", LMN_F32, shape_of(3, 12, 4, 0));
    assert_null(lmn_batch_matmul(graph, x, y, false, false));
    assert_refused(graph, LMN_ERR_SHAPE, "leading axes");
    lmn_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_values_equal_plain_loops),
        cmocka_unit_test(attention_derivatives_match_differences),
        cmocka_unit_test(attention_gradient_over_blocks_matches_the_slope),
        cmocka_unit_test(batch_matmul_derivatives_match_differences),
        cmocka_unit_test(batch_matmul_values_equal_plain_loops),
        cmocka_unit_test(attention_shapes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

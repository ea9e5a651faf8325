/*
 * Tests of softmax, one_hot, softmax_cross_entropy and hits.
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

#define CLASSES_MAX 67

/* Graph with logits [rows, n] and labels [rows]. */
typedef struct fixture {
    lmn_graph *graph;
    const lmn_tensor *logits;
    const lmn_tensor *labels;
} fixture;

static fixture new_fixture(size_t rows, size_t n)
{
    fixture f = {.graph = new_graph()};
    f.logits = lmn_input(f.graph, "logits", LMN_F32, shape_of(rows, n, 0, 0));
    f.labels = lmn_input(f.graph, "labels", LMN_I32, shape_of(rows, 0, 0, 0));
    return f;
}

static void run_fixture(const fixture *f, const lmn_tensor *y, const float *logits,
                        const int32_t *labels, float *values_out)
{
    run_graph(f->graph, y, (binding[]){{f->logits, logits}, {f->labels, labels}}, 2, NULL,
              values_out);
}

static const lmn_tensor *loss_gradient(const fixture *f)
{
    const lmn_tensor *losses = lmn_softmax_cross_entropy(f->graph, f->logits, f->labels);
    const lmn_tensor *sum = lmn_reduce_sum(f->graph, losses, LMN_ALL_AXES, false);
    const lmn_tensor *grad = NULL;
    assert_int_equal(lmn_gradients(f->graph, sum, &f->logits, 1, &grad, NULL), LMN_OK);
    return grad;
}

/* In double, without subtracting the maximum: another order of the same sums. */
static double log_sum_exp(size_t n, const float *x)
{
    double sum = exp((double)x[0]);
    for (size_t i = 1; i < n; i++) {
        sum += exp((double)x[i]);
    }
    return log(sum);
}

static void softmax_and_cross_entropy_random_logits_equal_double_sums(void **state)
{
    (void)state;
    for (size_t n = 1; n <= CLASSES_MAX; n++) {
        float logits[2 * CLASSES_MAX];
        float y[2 * CLASSES_MAX];
        double want[2 * CLASSES_MAX];
        const int32_t labels[] = {0, (int32_t)n - 1};
        fill_uniform((uint32_t)n, -4.0F, 4.0F, 2 * n, logits);
        const fixture f = new_fixture(2, n);
        run_fixture(&f, lmn_softmax(f.graph, f.logits), logits, labels, y);
        for (size_t i = 0; i < 2 * n; i++) {
            want[i] = exp((double)logits[i] - log_sum_exp(n, logits + i / n * n));
        }
        assert_close(y, want, 2 * n, 1e-6);
        run_fixture(&f, lmn_softmax_cross_entropy(f.graph, f.logits, f.labels), logits, labels, y);
        want[0] = log_sum_exp(n, logits) - (double)logits[0];
        want[1] = log_sum_exp(n, logits + n) - (double)logits[2 * n - 1];
        assert_close(y, want, 2, 1e-6);
        lmn_graph_destroy(f.graph);
    }
}

static void cross_entropy_extreme_logits_stay_finite(void **state)
{
    (void)state;
    const float logits[] = {1e30F, 1e30F,  0.0F, -INFINITY, 2.0F,   2.0F,
                            3e38F, -3e38F, 0.0F, -1e30F,    -1e30F, -1e30F};
    const int32_t labels[] = {0, 1, 0, 2};
    float losses[4];
    float y[12];
    const fixture f = new_fixture(4, 3);
    run_fixture(&f, lmn_softmax_cross_entropy(f.graph, f.logits, f.labels), logits, labels, losses);
    assert_close(losses, (const double[]){log(2.0), log(2.0), 0.0, log(3.0)}, 4, 1e-6);
    run_fixture(&f, lmn_softmax(f.graph, f.logits), logits, labels, y);
    const double third = 1.0 / 3.0;
    assert_close(y, (const double[]){0.5, 0.5, 0, 0, 0.5, 0.5, 1, 0, 0, third, third, third}, 12,
                 1e-6);
    run_fixture(&f, loss_gradient(&f), logits, labels, y);
    assert_close(y,
                 (const double[]){-0.5, 0.5, 0, 0, -0.5, 0.5, 0, 0, 0, third, third, third - 1.0},
                 12, 1e-6);
    lmn_graph_destroy(f.graph);
}

static void cross_entropy_impossible_label_costs_infinity(void **state)
{
    (void)state;
    const float logits[] = {-INFINITY, 0.0F, 1.0F};
    const int32_t label = 0;
    float loss = 0.0F;
    const fixture f = new_fixture(1, 3);
    run_fixture(&f, lmn_softmax_cross_entropy(f.graph, f.logits, f.labels), logits, &label, &loss);
    assert_true(loss == INFINITY);
    lmn_graph_destroy(f.graph);
}

static void labels_out_of_range_have_no_class_loss_gradient_or_hit(void **state)
{
    (void)state;
    const float logits[] = {5.0F, 1.0F, 2.0F, 5.0F, 1.0F, 2.0F, 1.0F, 5.0F, 2.0F, 5.0F, 1.0F, 2.0F};
    const int32_t labels[] = {-1, 3, 1, INT32_MIN};
    float y[12];
    const fixture f = new_fixture(4, 3);
    run_fixture(&f, lmn_one_hot(f.graph, f.labels, 3), logits, labels, y);
    assert_close(y, (const double[]){0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, 12, 0.0);
    run_fixture(&f, lmn_hits(f.graph, f.logits, f.labels), logits, labels, y);
    assert_close(y, (const double[]){0, 0, 1, 0}, 4, 0.0);
    run_fixture(&f, lmn_softmax_cross_entropy(f.graph, f.logits, f.labels), logits, labels, y);
    const double loss = log_sum_exp(3, logits + 6) - 5.0;
    assert_close(y, (const double[]){0, 0, loss, 0}, 4, 1e-6);
    run_fixture(&f, loss_gradient(&f), logits, labels, y);
    const double sum = log_sum_exp(3, logits + 6);
    const double middle[] = {exp(1.0 - sum), expm1(5.0 - sum), exp(2.0 - sum)};
    assert_close(y, (const double[]){0, 0, 0, 0, 0, 0, middle[0], middle[1], middle[2], 0, 0, 0},
                 12, 1e-6);
    lmn_graph_destroy(f.graph);
}

static void hits_ties_go_to_the_first(void **state)
{
    (void)state;
    const float logits[] = {1.0F, 1.0F, 0.0F, 2.0F, 2.0F, 2.0F};
    const int32_t labels[] = {0, 1};
    float y[2];
    const fixture f = new_fixture(2, 3);
    run_fixture(&f, lmn_hits(f.graph, f.logits, f.labels), logits, labels, y);
    assert_close(y, (const double[]){1, 0}, 2, 0.0);
    lmn_graph_destroy(f.graph);
}

static void hits_gradient_is_zero(void **state)
{
    (void)state;
    const float logits[] = {1.0F, 1.0F, 0.0F, 2.0F, 2.0F, 2.0F};
    const int32_t labels[] = {0, 1};
    float y[6];
    const fixture f = new_fixture(2, 3);
    const lmn_tensor *hits = lmn_hits(f.graph, f.logits, f.labels);
    const lmn_tensor *sum = lmn_reduce_sum(f.graph, hits, LMN_ALL_AXES, false);
    const lmn_tensor *grad = NULL;
    assert_int_equal(lmn_gradients(f.graph, sum, &f.logits, 1, &grad, NULL), LMN_OK);
    run_fixture(&f, grad, logits, labels, y);
    assert_close(y, (const double[]){0, 0, 0, 0, 0, 0}, 6, 0.0);
    lmn_graph_destroy(f.graph);
}

static void cross_entropy_shapes_that_do_not_fit_are_refused_with_both(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *logits = lmn_input(graph, "logits", LMN_F32, shape_of(4, 3, 0, 0));
    const lmn_tensor *labels = lmn_input(graph, "labels", LMN_I32, shape_of(5, 0, 0, 0));
    assert_null(lmn_softmax_cross_entropy(graph, logits, labels));
    assert_refused(graph, LMN_ERR_SHAPE, "logits [4, 3] and labels [5] do not fit");
    lmn_graph_destroy(graph);
    graph = new_graph();
    logits = lmn_input(graph, "logits", LMN_F32, shape_of(4, 3, 0, 0));
    labels = lmn_input(graph, "labels", LMN_I32, shape_of(4, 1, 0, 0));
    assert_null(lmn_hits(graph, logits, labels));
    assert_refused(graph, LMN_ERR_SHAPE, "hits: logits [4, 3] and labels [4, 1] do not fit");
    lmn_graph_destroy(graph);
}

static void cross_entropy_float_labels_are_refused(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *logits = lmn_input(graph, "logits", LMN_F32, shape_of(4, 3, 0, 0));
    const lmn_tensor *labels = lmn_input(graph, "labels", LMN_F32, shape_of(4, 0, 0, 0));
    assert_null(lmn_softmax_cross_entropy(graph, logits, labels));
    assert_refused(graph, LMN_ERR_ARGUMENT, "operand 1 ('labels') is f32, not i32");
    lmn_graph_destroy(graph);
}

static void one_hot_bad_arguments_are_refused(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *matrix = lmn_input(graph, "labels", LMN_I32, shape_of(4, 2, 0, 0));
    assert_null(lmn_one_hot(graph, matrix, 3));
    assert_refused(graph, LMN_ERR_SHAPE, "one_hot: labels have shape [4, 2]");
    lmn_graph_destroy(graph);
    graph = new_graph();
    const lmn_tensor *labels = lmn_input(graph, "labels", LMN_I32, shape_of(4, 0, 0, 0));
    assert_null(lmn_one_hot(graph, labels, 0));
    assert_refused(graph, LMN_ERR_SHAPE, "one_hot: shape [4, 0]");
    lmn_graph_destroy(graph);
}

static void softmax_scalar_is_refused(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, shape_of(0, 0, 0, 0));
    assert_null(lmn_softmax(graph, x));
    assert_refused(graph, LMN_ERR_SHAPE, "softmax: [] has no axis");
    lmn_graph_destroy(graph);
}

static const lmn_tensor *build_softmax(lmn_graph *g, const lmn_tensor *const *x,
                                       const lmn_tensor *l)
{
    (void)l;
    return lmn_softmax(g, x[0]);
}

static void softmax_gradients_match_differences(void **state)
{
    (void)state;
    gradient_case checked = {.build = build_softmax,
                             .n_inputs = 1,
                             .shapes = {shape_of(2, 2, 3, 0)},
                             .low = -1.0F,
                             .high = 1.0F,
                             .orders = 2};
    check_gradients(&checked);
    checked.shapes[0] = shape_of(4, 0, 0, 0);
    check_gradients(&checked);
}

static const lmn_tensor *build_loss(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    return lmn_softmax_cross_entropy(g, x[0], l);
}

static void cross_entropy_gradients_match_differences(void **state)
{
    (void)state;
    const int32_t labels[] = {2, 0, -1};
    check_gradients(&(gradient_case){.build = build_loss,
                                     .n_inputs = 1,
                                     .shapes = {shape_of(3, 4, 0, 0)},
                                     .low = -1.0F,
                                     .high = 1.0F,
                                     .labels = labels,
                                     .n_labels = 3,
                                     .orders = 3});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_and_cross_entropy_random_logits_equal_double_sums),
        cmocka_unit_test(cross_entropy_extreme_logits_stay_finite),
        cmocka_unit_test(cross_entropy_impossible_label_costs_infinity),
        cmocka_unit_test(labels_out_of_range_have_no_class_loss_gradient_or_hit),
        cmocka_unit_test(hits_ties_go_to_the_first),
        cmocka_unit_test(hits_gradient_is_zero),
        cmocka_unit_test(cross_entropy_shapes_that_do_not_fit_are_refused_with_both),
        cmocka_unit_test(cross_entropy_float_labels_are_refused),
        cmocka_unit_test(one_hot_bad_arguments_are_refused),
        cmocka_unit_test(softmax_scalar_is_refused),
        cmocka_unit_test(softmax_gradients_match_differences),
        cmocka_unit_test(cross_entropy_gradients_match_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

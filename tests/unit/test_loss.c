/*
 * Losses over weighted rows against closed forms in double.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/loss.h"
#include "lamina/memory.h"
#include "lamina/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 4, CLASSES = 3 };

/* Row 3 holds no sample. */
static const float logit_values[ROWS][CLASSES] = {
    {0.5F, -1.0F, 2.0F}, {1.0F, 1.0F, 0.0F}, {-2.0F, 0.25F, 0.0F}, {9.0F, 0.0F, 0.0F}};
static const int32_t label_values[ROWS] = {2, 1, 0, -1};
static const float weight_values[ROWS] = {0.5F, 2.0F, 0.25F, 0.0F};

typedef struct fixture {
    lmn_graph *graph;
    const lmn_tensor *logits, *labels, *weights;
    const lmn_tensor *outputs[3]; /* loss, hits, gradient of the loss in logits */
    lmn_plan *plan;
    lmn_arena *arena;
} fixture;

static void *bind_copy(fixture *f, const lmn_tensor *tensor, const void *values, size_t bytes)
{
    void *memory = lmn_arena_take(f->arena, bytes, 1);
    assert_non_null(memory);
    memcpy(memory, values, bytes);
    assert_int_equal(lmn_plan_bind(f->plan, tensor, memory, NULL), LMN_OK);
    return memory;
}

static fixture make_fixture(void)
{
    fixture f = {.graph = NULL};
    const lmn_shape logits_shape = {.n_dims = 2, .dims = {ROWS, CLASSES}};
    const lmn_shape row_shape = {.n_dims = 1, .dims = {ROWS}};
    assert_int_equal(lmn_graph_create(&f.graph, NULL), LMN_OK);
    f.logits = lmn_input(f.graph, "logits", LMN_F32, logits_shape);
    f.labels = lmn_input(f.graph, "labels", LMN_I32, row_shape);
    f.weights = lmn_input(f.graph, "weights", LMN_F32, row_shape);
    f.outputs[0] = lmn_weighted_cross_entropy(f.graph, f.logits, f.labels, f.weights);
    f.outputs[1] = lmn_weighted_hits(f.graph, f.logits, f.labels, f.weights);
    lmn_error err = lmn_error_none();
    lmn_status status = lmn_gradients(f.graph, f.outputs[0], &f.logits, 1, &f.outputs[2], &err);
    if (status == LMN_OK) {
        status = lmn_plan_create(f.graph, f.outputs, 3, NULL, &f.plan, &err);
    }
    if (status != LMN_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(lmn_arena_create(4096, &f.arena, NULL), LMN_OK);
    (void)bind_copy(&f, f.logits, logit_values, sizeof logit_values);
    (void)bind_copy(&f, f.labels, label_values, sizeof label_values);
    (void)bind_copy(&f, f.weights, weight_values, sizeof weight_values);
    const lmn_run run = {.training = true};
    assert_int_equal(lmn_plan_run(f.plan, &run, NULL), LMN_OK);
    return f;
}

static void destroy_fixture(fixture *f)
{
    lmn_plan_destroy(f->plan);
    lmn_graph_destroy(f->graph);
    lmn_arena_destroy(f->arena);
}

static double probability(size_t row, size_t class)
{
    double sum = 0.0;
    for (size_t k = 0; k < CLASSES; k++) {
        sum += exp((double)logit_values[row][k]);
    }
    return exp((double)logit_values[row][class]) / sum;
}

static void weighted_cross_entropy_weighted_rows_match_closed_form(void **state)
{
    (void)state;
    fixture f = make_fixture();
    double expected = 0.0;
    for (size_t row = 0; row < 3; row++) {
        expected -= (double)weight_values[row] * log(probability(row, (size_t)label_values[row]));
    }
    const float *loss = lmn_plan_value(f.plan, f.outputs[0]);
    assert_true(fabs((double)*loss - expected) < 1e-6);
    destroy_fixture(&f);
}

static void weighted_cross_entropy_gradient_matches_closed_form(void **state)
{
    (void)state;
    fixture f = make_fixture();
    const float *gradient = lmn_plan_value(f.plan, f.outputs[2]);
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t k = 0; k < CLASSES; k++) {
            const double target = (int32_t)k == label_values[row] ? 1.0 : 0.0;
            const double expected = (double)weight_values[row] * (probability(row, k) - target);
            assert_true(fabs((double)gradient[row * CLASSES + k] - expected) < 1e-6);
        }
    }
    destroy_fixture(&f);
}

/* Row 0 is right; row 1 ties, and the first of its largest is not the label; row 2 is wrong. */
static void weighted_hits_weighted_rows_count_by_weight(void **state)
{
    (void)state;
    fixture f = make_fixture();
    const float *hits = lmn_plan_value(f.plan, f.outputs[1]);
    assert_true(*hits == 0.5F);
    destroy_fixture(&f);
}

static void weighted_cross_entropy_weights_of_other_length_are_refused(void **state)
{
    (void)state;
    lmn_graph *graph = NULL;
    const lmn_shape logits_shape = {.n_dims = 2, .dims = {ROWS, CLASSES}};
    const lmn_shape row_shape = {.n_dims = 1, .dims = {ROWS}};
    const lmn_shape other_shape = {.n_dims = 1, .dims = {ROWS + 1}};
    assert_int_equal(lmn_graph_create(&graph, NULL), LMN_OK);
    const lmn_tensor *logits = lmn_input(graph, "logits", LMN_F32, logits_shape);
    const lmn_tensor *labels = lmn_input(graph, "labels", LMN_I32, row_shape);
    const lmn_tensor *weights = lmn_input(graph, "weights", LMN_F32, other_shape);
    assert_null(lmn_weighted_cross_entropy(graph, logits, labels, weights));
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_graph_status(graph, &err), LMN_ERR_SHAPE);
    assert_non_null(strstr(err.message, "[5]"));
    lmn_graph_destroy(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weighted_cross_entropy_weighted_rows_match_closed_form),
        cmocka_unit_test(weighted_cross_entropy_gradient_matches_closed_form),
        cmocka_unit_test(weighted_hits_weighted_rows_count_by_weight),
        cmocka_unit_test(weighted_cross_entropy_weights_of_other_length_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

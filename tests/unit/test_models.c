/*
 * Tests of the models: parameters, start values, specs, refusals, and that they learn.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gradient_check.h"
#include "lamina/memory.h"
#include "lamina/model.h"
#include "lamina/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PARAMETERS_MAX 16

static size_t parameter_total(const lmn_graph *graph)
{
    size_t total = 0;
    for (size_t i = 0; i < lmn_graph_parameter_count(graph); i++) {
        total += lmn_shape_count(lmn_tensor_shape(lmn_graph_parameter(graph, i)));
    }
    return total;
}

static const lmn_tensor *build_model(lmn_graph *graph, const char *spec, lmn_shape images,
                                     size_t n_classes)
{
    const lmn_tensor *input = lmn_input(graph, "images", LMN_F32, images);
    const lmn_tensor *logits = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_model_build(spec, graph, &(lmn_model_input){.values = input, .n_classes = n_classes},
                        &logits, &err) != LMN_OK) {
        fail_msg("%s: %s", spec, err.message);
    }
    const lmn_shape want = shape_of(images.dims[0], n_classes, 0, 0);
    assert_true(lmn_shape_equal(lmn_tensor_shape(logits), &want));
    return logits;
}

static void check_names(const lmn_graph *graph, const char *const *names, size_t n)
{
    assert_int_equal(lmn_graph_parameter_count(graph), n);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(lmn_tensor_name(lmn_graph_parameter(graph, i)), names[i]);
    }
}

static void cnn_fashion_images_has_the_known_parameters(void **state)
{
    (void)state;
    const char *const names[] = {"conv1/weight",  "conv1/bias",  "conv2/weight",  "conv2/bias",
                                 "dense1/weight", "dense1/bias", "dense2/weight", "dense2/bias"};
    lmn_graph *graph = new_graph();
    (void)build_model(graph, "cnn", shape_of(4, 28, 28, 1), 10);
    check_names(graph, names, 8);
    assert_int_equal(parameter_total(graph), 1199882);
    lmn_graph_destroy(graph);
}

static void mlp_default_and_given_layers_have_the_known_parameters(void **state)
{
    (void)state;
    const char *const names[] = {"dense1/weight", "dense1/bias",   "dense2/weight",
                                 "dense2/bias",   "dense3/weight", "dense3/bias"};
    lmn_graph *graph = new_graph();
    (void)build_model(graph, "mlp", shape_of(4, 28, 28, 1), 10);
    check_names(graph, names, 6);
    assert_int_equal(parameter_total(graph),
                     784 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 10 + 10);
    lmn_graph_destroy(graph);
    graph = new_graph();
    (void)build_model(graph, "mlp:hidden=7/5/3,dropout=0.5", shape_of(4, 2, 3, 4), 2);
    assert_int_equal(parameter_total(graph), 24 * 7 + 7 + 7 * 5 + 5 + 5 * 3 + 3 + 3 * 2 + 2);
    lmn_graph_destroy(graph);
}

static void mlp_hidden_separated_by_x_equals_slashes(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    (void)build_model(graph, "mlp:hidden=12x34", shape_of(4, 2, 3, 4), 2);
    assert_int_equal(parameter_total(graph), 24 * 12 + 12 + 12 * 34 + 34 + 34 * 2 + 2);
    lmn_graph_destroy(graph);
}

static void cnn_smallest_image_is_accepted(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    (void)build_model(graph, "cnn:dropout=0.25", shape_of(2, 6, 6, 3), 4);
    lmn_graph_destroy(graph);
}

/* Fan-in of a weight is the product of all its extents but the last. */
static void check_weight(const lmn_tensor *weight)
{
    const lmn_shape *shape = lmn_tensor_shape(weight);
    const size_t count = lmn_shape_count(shape);
    const double fan_in = (double)count / (double)shape->dims[shape->n_dims - 1];
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    lmn_parameter_init(weight, 5, values);
    double sum = 0.0;
    double squares = 0.0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    free(values);
    /* Five standard errors of a mean and of a variance of normal numbers. */
    const double n = (double)count;
    const double variance = 2.0 / fan_in;
    assert_true(fabs(sum / n) <= 5.0 * sqrt(variance / n));
    assert_true(fabs(squares / n / variance - 1.0) <= 5.0 * sqrt(2.0 / n));
}

static void parameters_start_with_he_variance_and_zero_biases(void **state)
{
    (void)state;
    const char *const specs[] = {"cnn", "mlp:hidden=300/200"};
    for (size_t k = 0; k < 2; k++) {
        lmn_graph *graph = new_graph();
        (void)build_model(graph, specs[k], shape_of(4, 28, 28, 1), 10);
        for (size_t i = 0; i < lmn_graph_parameter_count(graph); i++) {
            const lmn_tensor *parameter = lmn_graph_parameter(graph, i);
            if (lmn_tensor_shape(parameter)->n_dims > 1) {
                check_weight(parameter);
                continue;
            }
            float bias[1024];
            lmn_parameter_init(parameter, 5, bias);
            for (size_t j = 0; j < lmn_shape_count(lmn_tensor_shape(parameter)); j++) {
                assert_true(bias[j] == 0.0F);
            }
        }
        lmn_graph_destroy(graph);
    }
}

static void expect_refusal(const char *spec, lmn_shape images, lmn_status status, const char *part)
{
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "images", LMN_F32, images);
    const lmn_tensor *logits = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_model_build(spec, graph,
                                     &(lmn_model_input){.values = input, .n_classes = 10}, &logits,
                                     &err),
                     status);
    if (strstr(err.message, part) == NULL) {
        fail_msg("'%s' does not say '%s'", err.message, part);
    }
    assert_null(logits);
    lmn_graph_destroy(graph);
}

static void model_build_bad_specs_are_refused(void **state)
{
    (void)state;
    const lmn_shape images = shape_of(4, 28, 28, 1);
    expect_refusal("cnnn", images, LMN_ERR_USAGE, "no model 'cnnn'; did you mean 'cnn'?");
    expect_refusal("", images, LMN_ERR_USAGE, "model");
    expect_refusal("cnn:hidden=3", images, LMN_ERR_USAGE, "dropout");
    expect_refusal("cnn:dropout=1", images, LMN_ERR_USAGE, "dropout must be");
    expect_refusal("mlp:hidden=0", images, LMN_ERR_USAGE, "hidden must be");
    expect_refusal("mlp:hidden=3.5", images, LMN_ERR_USAGE, "whole numbers, not 3.5");
}

static void model_build_images_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    expect_refusal("cnn", shape_of(4, 5, 28, 1), LMN_ERR_SHAPE,
                   "images of 5 x 28 pixels are too small, it needs at least 6 x 6");
    expect_refusal("cnn", shape_of(4, 784, 0, 0), LMN_ERR_SHAPE,
                   "model 'cnn' takes f32 images [B, H, W, C], but 'images' is f32 [4, 784]");
    expect_refusal("gpt", shape_of(4, 28, 28, 1), LMN_ERR_SHAPE,
                   "model 'gpt' takes i32 tokens [B, T], but 'images' is f32");
}

/* Elements of the parameters that are trained. */
static size_t count_trained(const lmn_graph *graph)
{
    size_t total = 0;
    for (size_t i = 0; i < lmn_graph_parameter_count(graph); i++) {
        const lmn_tensor *parameter = lmn_graph_parameter(graph, i);
        total += lmn_parameter_is_statistic(parameter)
                     ? 0
                     : lmn_shape_count(lmn_tensor_shape(parameter));
    }
    return total;
}

/* The counts of the same networks in PyTorch. */
static void model_build_residual_networks_have_the_known_sizes(void **state)
{
    (void)state;
    const struct {
        const char *spec;
        size_t count;
    } known[] = {{"resnet20", 272186}, {"resnet18", 11172810}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        lmn_graph *graph = new_graph();
        (void)build_model(graph, known[i].spec, shape_of(2, 28, 28, 1), 10);
        assert_int_equal(count_trained(graph), known[i].count);
        for (size_t k = 0; k < lmn_graph_parameter_count(graph); k++) {
            const lmn_tensor *parameter = lmn_graph_parameter(graph, k);
            assert_true(!lmn_parameter_is_statistic(parameter) ||
                        lmn_statistic_observed(parameter) != NULL);
        }
        lmn_graph_destroy(graph);
    }
}

static lmn_status build_gpt(lmn_graph *graph, const char *spec, size_t n_tokens,
                            const lmn_tensor **logits_out, lmn_error *err)
{
    const lmn_tensor *tokens = lmn_input(graph, "tokens", LMN_I32, shape_of(2, n_tokens, 0, 0));
    const lmn_model_input input = {.values = tokens, .n_classes = 96};
    return lmn_model_build(spec, graph, &input, logits_out, err);
}

static void model_build_gpt_has_the_known_size_and_context(void **state)
{
    (void)state;
    const struct {
        const char *spec;
        size_t count, context;
    } known[] = {{"gpt", 3241472, 128},
                 {"gpt:tied=1", 3241472 - 96 * 256, 128},
                 {"gpt:layers=1,width=8,heads=2,context=5", 2 * 96 * 8 + 5 * 8 + 872 + 16, 5}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        lmn_graph *graph = new_graph();
        const lmn_tensor *logits = NULL;
        lmn_error err = lmn_error_none();
        if (build_gpt(graph, known[i].spec, 3, &logits, &err) != LMN_OK) {
            fail_msg("%s", err.message);
        }
        const lmn_shape want = shape_of(2, 3, 96, 0);
        assert_true(lmn_shape_equal(lmn_tensor_shape(logits), &want));
        assert_int_equal(count_trained(graph), known[i].count);
        size_t context = 0;
        assert_int_equal(lmn_model_context(known[i].spec, &context, NULL), LMN_OK);
        assert_int_equal(context, known[i].context);
        lmn_graph_destroy(graph);
    }
    size_t context = 1;
    assert_int_equal(lmn_model_context("cnn", &context, NULL), LMN_OK);
    assert_int_equal(context, 0);
}

static void model_build_gpt_refuses_what_does_not_fit(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *logits = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(build_gpt(graph, "gpt:heads=7", 3, &logits, &err), LMN_ERR_USAGE);
    assert_non_null(strstr(err.message, "7 heads cannot share a width of 256"));
    lmn_graph_destroy(graph);
    graph = new_graph();
    assert_int_equal(build_gpt(graph, "gpt:context=4", 5, &logits, &err), LMN_ERR_SHAPE);
    assert_non_null(strstr(err.message, "5 tokens are more than its context of 4"));
    lmn_graph_destroy(graph);
}

static void model_build_failed_graph_keeps_its_error(void **state)
{
    (void)state;
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "images", LMN_F32, shape_of(4, 28, 28, 1));
    assert_null(lmn_reshape(graph, input, shape_of(7, 0, 0, 0)));
    const lmn_tensor *logits = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_model_build("cnn", graph,
                                     &(lmn_model_input){.values = input, .n_classes = 10}, &logits,
                                     &err),
                     LMN_ERR_SHAPE);
    assert_non_null(strstr(err.message, "reshape"));
    lmn_graph_destroy(graph);
}

static void model_entries_are_listed_once_with_help(void **state)
{
    (void)state;
    size_t n = 0;
    for (; lmn_model_entry(n) != NULL; n++) {
        const lmn_spec_entry *entry = lmn_model_entry(n);
        assert_true(strlen(entry->summary) > 0);
        for (size_t i = 0; i < entry->n_fields; i++) {
            assert_true(strlen(entry->fields[i].help) > 0);
        }
        for (size_t i = 0; i < n; i++) {
            assert_string_not_equal(entry->name, lmn_model_entry(i)->name);
        }
    }
    assert_int_equal(n, 5);
}

/* A model with its loss, gradients and memory, for plain gradient descent. */
typedef struct learner {
    lmn_graph *graph;
    const lmn_tensor *images;
    const lmn_tensor *labels;
    const lmn_tensor *loss;
    const lmn_tensor *grads[PARAMETERS_MAX];
    float *values[PARAMETERS_MAX];
    size_t n;
    lmn_plan *plan;
} learner;

static learner make_learner(const char *spec, lmn_shape images, size_t n_classes)
{
    learner l = {.graph = new_graph()};
    const lmn_tensor *logits = NULL;
    l.images = lmn_input(l.graph, "images", LMN_F32, images);
    l.labels = lmn_input(l.graph, "labels", LMN_I32, shape_of(images.dims[0], 0, 0, 0));
    assert_int_equal(lmn_model_build(spec, l.graph,
                                     &(lmn_model_input){.values = l.images, .n_classes = n_classes},
                                     &logits, NULL),
                     LMN_OK);
    const lmn_tensor *losses = lmn_softmax_cross_entropy(l.graph, logits, l.labels);
    l.loss = lmn_reduce_mean(l.graph, losses, LMN_ALL_AXES, false);
    l.n = lmn_graph_parameter_count(l.graph);
    const lmn_tensor *outputs[PARAMETERS_MAX + 1];
    const lmn_tensor *parameters[PARAMETERS_MAX];
    for (size_t i = 0; i < l.n; i++) {
        parameters[i] = lmn_graph_parameter(l.graph, i);
    }
    assert_int_equal(lmn_gradients(l.graph, l.loss, parameters, l.n, l.grads, NULL), LMN_OK);
    for (size_t i = 0; i < l.n; i++) {
        outputs[i] = l.grads[i];
    }
    outputs[l.n] = l.loss;
    assert_int_equal(lmn_plan_create(l.graph, outputs, l.n + 1, NULL, &l.plan, NULL), LMN_OK);
    for (size_t i = 0; i < l.n; i++) {
        const size_t count = lmn_shape_count(lmn_tensor_shape(parameters[i]));
        l.values[i] = lmn_alloc(count, sizeof(float), NULL);
        assert_non_null(l.values[i]);
        lmn_parameter_init(parameters[i], 1, l.values[i]);
        assert_int_equal(lmn_plan_bind(l.plan, parameters[i], l.values[i], NULL), LMN_OK);
    }
    return l;
}

/* One step; returns the loss before it. */
static float learn(const learner *l, uint64_t step, float lr)
{
    const lmn_run run = {.seed = 1, .step = step, .training = true};
    assert_int_equal(lmn_plan_run(l->plan, &run, NULL), LMN_OK);
    for (size_t i = 0; i < l->n; i++) {
        const float *grad = lmn_plan_value(l->plan, l->grads[i]);
        for (size_t j = 0; j < lmn_shape_count(lmn_tensor_shape(l->grads[i])); j++) {
            l->values[i][j] -= lr * grad[j];
        }
    }
    return *(const float *)lmn_plan_value(l->plan, l->loss);
}

#define ROWS 16

static void destroy_learner(learner *l)
{
    lmn_plan_destroy(l->plan);
    lmn_graph_destroy(l->graph);
    for (size_t i = 0; i < l->n; i++) {
        lmn_free(l->values[i]);
    }
}

static void model_gradient_descent_learns_random_labels(void **state)
{
    (void)state;
    static _Alignas(LMN_ALIGNMENT) float images[ROWS * 8 * 8 * 2];
    static _Alignas(LMN_ALIGNMENT) int32_t labels[ROWS];
    const char *const specs[] = {"cnn", "mlp:hidden=64", "mlp:hidden=64/32,dropout=0.1"};
    fill_uniform(9, -1.0F, 1.0F, sizeof images / sizeof images[0], images);
    for (size_t i = 0; i < ROWS; i++) {
        labels[i] = (int32_t)(i * 7 % 4);
    }
    for (size_t k = 0; k < 3; k++) {
        learner l = make_learner(specs[k], shape_of(ROWS, 8, 8, 2), 4);
        assert_int_equal(lmn_plan_bind(l.plan, l.images, images, NULL), LMN_OK);
        assert_int_equal(lmn_plan_bind(l.plan, l.labels, labels, NULL), LMN_OK);
        float last = INFINITY;
        for (uint64_t step = 0; step < 200; step++) {
            last = learn(&l, step, 0.05F);
        }
        assert_true(last < 0.2F);
        destroy_learner(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cnn_fashion_images_has_the_known_parameters),
        cmocka_unit_test(mlp_default_and_given_layers_have_the_known_parameters),
        cmocka_unit_test(mlp_hidden_separated_by_x_equals_slashes),
        cmocka_unit_test(cnn_smallest_image_is_accepted),
        cmocka_unit_test(parameters_start_with_he_variance_and_zero_biases),
        cmocka_unit_test(model_build_bad_specs_are_refused),
        cmocka_unit_test(model_build_images_that_do_not_fit_are_refused),
        cmocka_unit_test(model_build_residual_networks_have_the_known_sizes),
        cmocka_unit_test(model_build_gpt_has_the_known_size_and_context),
        cmocka_unit_test(model_build_gpt_refuses_what_does_not_fit),
        cmocka_unit_test(model_build_failed_graph_keeps_its_error),
        cmocka_unit_test(model_entries_are_listed_once_with_help),
        cmocka_unit_test(model_gradient_descent_learns_random_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

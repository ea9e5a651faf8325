/*
 * A model with its loss, gradients, plan and memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trial.h"

#include "lamina/loss.h"
#include "lamina/memory.h"
#include "lamina/model.h"
#include "lamina/ops.h"
#include "lamina/random.h"

#include <stdlib.h>
#include <string.h>

static lmn_status add_model(trial *t, const char *model, lmn_error *err)
{
    const size_t n_rows = t->context > 0 ? t->batch * t->context : t->batch;
    const lmn_shape image = {.n_dims = 4, .dims = {t->batch, TRIAL_SIDE, TRIAL_SIDE, 1}};
    const lmn_shape text = {.n_dims = 2, .dims = {t->batch, t->context}};
    const lmn_shape rows = {.n_dims = 1, .dims = {n_rows}};
    t->n_classes = t->context > 0 ? TRIAL_VOCABULARY : TRIAL_CLASSES;
    t->values = t->context > 0 ? lmn_input(t->graph, "tokens", LMN_I32, text)
                               : lmn_input(t->graph, "images", LMN_F32, image);
    t->labels = lmn_input(t->graph, "labels", LMN_I32, rows);
    t->weights = lmn_input(t->graph, "weights", LMN_F32, rows);
    const lmn_model_input input = {.values = t->values,
                                   .weights = t->context > 0 ? NULL : t->weights,
                                   .n_classes = t->n_classes};
    const lmn_tensor *logits = NULL;
    const lmn_status status = lmn_model_build(model, t->graph, &input, &logits, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_shape flat = {.n_dims = 2, .dims = {n_rows, t->n_classes}};
    logits = lmn_reshape(t->graph, logits, flat);
    t->outputs[0] = lmn_weighted_cross_entropy(t->graph, logits, t->labels, t->weights);
    return lmn_graph_status(t->graph, err);
}

static lmn_status add_gradients(trial *t, lmn_error *err)
{
    const lmn_tensor **trained = (const lmn_tensor **)calloc(t->n_parameters, sizeof(lmn_tensor *));
    const lmn_tensor **gradients =
        (const lmn_tensor **)calloc(t->n_parameters, sizeof(lmn_tensor *));
    size_t n = 0;
    for (size_t i = 0; i < t->n_parameters; i++) {
        const lmn_tensor *parameter = lmn_graph_parameter(t->graph, i);
        if (!lmn_parameter_is_statistic(parameter)) {
            trained[n++] = parameter;
        }
    }
    const lmn_status status = lmn_gradients(t->graph, t->outputs[0], trained, n, gradients, err);
    for (size_t i = t->n_parameters; i > 0; i--) {
        const lmn_tensor *parameter = lmn_graph_parameter(t->graph, i - 1);
        t->outputs[i] = lmn_parameter_is_statistic(parameter) ? lmn_statistic_observed(parameter)
                                                              : gradients[--n];
    }
    free((void *)trained);
    free((void *)gradients);
    return status;
}

static lmn_status bind_parameters(trial *t, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < t->n_parameters && status == LMN_OK; i++) {
        const lmn_tensor *parameter = lmn_graph_parameter(t->graph, i);
        const size_t count = lmn_shape_count(lmn_tensor_shape(parameter));
        t->parameters[i] = lmn_alloc(count, sizeof(float), err);
        if (t->parameters[i] == NULL) {
            return LMN_ERR_MEMORY;
        }
        lmn_parameter_init(parameter, 1, t->parameters[i]);
        status = lmn_plan_bind(t->plan, parameter, t->parameters[i], err);
    }
    return status;
}

/* Random images or tokens, labels and equal weights. */
static lmn_status bind_data(trial *t, lmn_error *err)
{
    const size_t count = lmn_shape_count(lmn_tensor_shape(t->values));
    const size_t n_rows = lmn_shape_count(lmn_tensor_shape(t->labels));
    float *values = lmn_alloc(count, sizeof *values, err);
    int32_t *labels = lmn_alloc(n_rows, sizeof *labels, err);
    float *weights = lmn_alloc(n_rows, sizeof *weights, err);
    if (values == NULL || labels == NULL || weights == NULL) {
        return LMN_ERR_MEMORY;
    }
    const lmn_stream stream = {.seed = 7};
    lmn_stream_uniform(&stream, 0, count, values);
    for (size_t i = 0; i < count && t->context > 0; i++) {
        const int32_t token = (int32_t)(values[i] * TRIAL_VOCABULARY);
        memcpy(&values[i], &token, sizeof token);
    }
    for (size_t i = 0; i < n_rows; i++) {
        labels[i] = (int32_t)(i * 7 % t->n_classes);
        weights[i] = 1.0F / (float)n_rows;
    }
    t->values_memory = values;
    t->labels_memory = labels;
    lmn_status status = lmn_plan_bind(t->plan, t->values, values, err);
    if (status == LMN_OK) {
        status = lmn_plan_bind(t->plan, t->labels, labels, err);
    }
    return status == LMN_OK ? lmn_plan_bind(t->plan, t->weights, weights, err) : status;
}

lmn_status trial_prepare(trial *t, const char *model, size_t batch, lmn_error *err)
{
    *t = (trial){.batch = batch};
    lmn_status status = lmn_model_context(model, &t->context, err);
    if (status == LMN_OK) {
        status = lmn_graph_create(&t->graph, err);
    }
    t->outputs = (const lmn_tensor **)calloc(4096, sizeof(lmn_tensor *));
    if (status == LMN_OK) {
        status = add_model(t, model, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    t->n_parameters = lmn_graph_parameter_count(t->graph);
    t->parameters = (float **)calloc(t->n_parameters, sizeof(float *));
    status = add_gradients(t, err);
    if (status == LMN_OK) {
        status = lmn_plan_create(t->graph, t->outputs, t->n_parameters + 1, NULL, &t->plan, err);
    }
    if (status == LMN_OK) {
        status = bind_parameters(t, err);
    }
    if (status == LMN_OK) {
        status = bind_data(t, err);
    }
    return status;
}

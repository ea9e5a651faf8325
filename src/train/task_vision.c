/*
 * The task of image classification: a model, softmax cross-entropy, and how many answers are right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/loss.h"
#include "lamina/model.h"
#include "lamina/task.h"

#include <string.h>

static lmn_status build_vision(const void *user, lmn_graph *graph, size_t rows,
                               lmn_task_graph *task_out, lmn_error *err)
{
    const lmn_vision_task *vision = user;
    const lmn_field *field = &vision->data.fields[0];
    lmn_shape shape = {.n_dims = 1 + field->n_dims, .dims = {rows}};
    memcpy(shape.dims + 1, field->dims, field->n_dims * sizeof *field->dims);
    const lmn_shape row_shape = {.n_dims = 1, .dims = {rows}};
    const lmn_tensor *values = lmn_input(graph, field->name, LMN_F32, shape);
    const lmn_tensor *labels = lmn_input(graph, "labels", LMN_I32, row_shape);
    const lmn_tensor *weights = lmn_input(graph, "weights", LMN_F32, row_shape);
    const lmn_model_input input = {
        .values = values, .weights = weights, .n_classes = vision->data.n_classes};
    const lmn_tensor *logits = NULL;
    lmn_status status = lmn_model_build(vision->model, graph, &input, &logits, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_task_graph task = {
        .n_inputs = 2,
        .inputs = {values, labels},
        .weights = weights,
        .loss = lmn_weighted_cross_entropy(graph, logits, labels, weights),
        .hits = lmn_weighted_hits(graph, logits, labels, weights),
    };
    status = lmn_graph_status(graph, err);
    if (status == LMN_OK) {
        *task_out = task;
    }
    return status;
}

lmn_task lmn_vision_task_get(const lmn_vision_task *vision)
{
    return (lmn_task){.build = build_vision, .user = vision};
}

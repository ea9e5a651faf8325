/*
 * The task of image classification: a model, softmax cross-entropy, and how many answers are right.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/loss.h"
#include "lamina/model.h"
#include "lamina/task.h"

lmn_vision_task lmn_vision_task_make(const char *model, const lmn_dataset_info *info)
{
    return (lmn_vision_task){.model = model,
                             .height = info->height,
                             .width = info->width,
                             .channels = info->channels,
                             .n_classes = info->n_classes};
}

static lmn_status build_vision(const void *user, lmn_graph *graph, size_t rows,
                               lmn_task_graph *task_out, lmn_error *err)
{
    const lmn_vision_task *vision = user;
    const lmn_shape image_shape = {.n_dims = 4,
                                   .dims = {rows, vision->height, vision->width, vision->channels}};
    const lmn_shape row_shape = {.n_dims = 1, .dims = {rows}};
    lmn_task_graph task = {.features = lmn_input(graph, "images", LMN_F32, image_shape),
                           .labels = lmn_input(graph, "labels", LMN_I32, row_shape),
                           .weights = lmn_input(graph, "weights", LMN_F32, row_shape)};
    const lmn_tensor *logits = NULL;
    lmn_status status =
        lmn_model_build(vision->model, graph, task.features, vision->n_classes, &logits, err);
    if (status != LMN_OK) {
        return status;
    }
    task.loss = lmn_weighted_cross_entropy(graph, logits, task.labels, task.weights);
    task.hits = lmn_weighted_hits(graph, logits, task.labels, task.weights);
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

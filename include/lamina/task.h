/*
 * Tasks: what is trained, as the trainer and the evaluator see it.
 *
 * A task adds a model and its loss to a graph. The trainer adds gradients, binds memory and runs
 * it. Rows of a batch carry weights, so that slices of unequal size and rows without a sample count
 * as they should: the loss is the sum over rows of weight times loss.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TASK_H
#define LAMINA_TASK_H

#include "lamina/dataset.h"
#include "lamina/graph.h"
#include "lamina/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The tensors of a task's graph that data goes into and answers come out of. */
typedef struct lmn_task_graph {
    size_t n_inputs;
    const lmn_tensor *inputs[LMN_FIELDS_MAX]; /* each named as a field of the dataset, rows first */
    const lmn_tensor *weights;                /* input, f32 [rows] */
    const lmn_tensor *loss;                   /* scalar: sum of weights * loss of the row */
    const lmn_tensor *hits; /* scalar: sum of weights * 1 where the row is answered rightly */
} lmn_task_graph;

/** A number that says the loss of a split in other words, such as bits per byte. */
typedef struct lmn_metric {
    const char *name; /* column of /evaluations in run.h5, and what people are shown */
    const char *unit; /* "1" when there is none */
    const char *help; /* one line, kept with the column */
    /* loss: mean over the samples of the split, in the unit of the task's loss */
    double (*value)(const void *user, lmn_split split, double loss);
} lmn_metric;

#define LMN_METRICS_MAX 4

/** A kind of task. `build` adds everything for batches of `rows` rows. */
typedef struct lmn_task {
    lmn_status (*build)(const void *user, lmn_graph *graph, size_t rows, lmn_task_graph *task_out,
                        lmn_error *err);
    const void *user;          /* borrowed */
    size_t n_metrics;          /* at most LMN_METRICS_MAX */
    const lmn_metric *metrics; /* [n_metrics], borrowed; told beside loss and accuracy */
} lmn_task;

/** Classification of images: a model from lamina/model.h with softmax cross-entropy. */
typedef struct lmn_vision_task {
    const char *model; /* model spec, borrowed */
    lmn_dataset_info data;
} lmn_vision_task;

/** A task that builds `vision`, which is borrowed. */
lmn_task lmn_vision_task_get(const lmn_vision_task *vision);

/**
 * Foretelling the next token of a text: a model of tokens with softmax cross-entropy. The loss of a
 * row is the mean over its tokens, in nats; so are the hits.
 */
typedef struct lmn_text_task {
    const char *model; /* model spec, borrowed */
    lmn_dataset_info data;
} lmn_text_task;

/** A task that builds `text`, which is borrowed. Metrics: bits_per_byte, perplexity. */
lmn_task lmn_text_task_get(const lmn_text_task *text);

#ifdef __cplusplus
}
#endif

#endif

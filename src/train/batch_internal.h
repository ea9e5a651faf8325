/*
 * The inputs of a task's graph: memory that is bound to a plan once and filled with every batch.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_BATCH_INTERNAL_H
#define LAMINA_BATCH_INTERNAL_H

#include "lamina/plan.h"
#include "lamina/task.h"

typedef struct lmn__inputs {
    size_t rows;
    size_t feature_count; /* of one row */
    float *features;      /* [rows, ...] owned */
    int32_t *labels;      /* [rows] owned */
    float *weights;       /* [rows] owned */
} lmn__inputs;

/** Rows of the largest slice that any of `size` ranks gets of a batch. */
size_t lmn__slice_rows(size_t global_batch, int size);

/** Memory for the inputs of `task`, bound to `plan`. Destroy it after an error, too. */
lmn_status lmn__inputs_create(lmn__inputs *inputs, const lmn_task_graph *task, lmn_plan *plan,
                              lmn_error *err);
void lmn__inputs_destroy(lmn__inputs *inputs);

/** Take over a batch; rows that hold samples get `weight`, the others 0. No heap allocation. */
void lmn__inputs_fill(lmn__inputs *inputs, const lmn_batch *batch, float weight);

#endif

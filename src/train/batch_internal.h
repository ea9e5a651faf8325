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
    size_t n_fields;
    size_t field_of[LMN_FIELDS_MAX]; /* place in the dataset of each input of the task */
    size_t bytes[LMN_FIELDS_MAX];    /* of each input */
    void *values[LMN_FIELDS_MAX];    /* of each input, owned */
    float *weights;                  /* [rows] owned */
} lmn__inputs;

/** Rows of the largest slice that any of `size` ranks gets of a batch. */
size_t lmn__slice_rows(size_t global_batch, int size);

/**
 * Memory for the inputs of `task`, bound to `plan`. Destroy it after an error, too.
 * Errors: LMN_ERR_ARGUMENT when the dataset has no field of an input's name.
 */
lmn_status lmn__inputs_create(lmn__inputs *inputs, const lmn_dataset_info *info,
                              const lmn_task_graph *task, lmn_plan *plan, lmn_error *err);
void lmn__inputs_destroy(lmn__inputs *inputs);

/** Take over a batch; rows that hold samples get `weight`, the others 0. No heap allocation. */
void lmn__inputs_fill(lmn__inputs *inputs, const lmn_batch *batch, float weight);

/** No sample in any row: all values and weights 0. */
void lmn__inputs_clear(lmn__inputs *inputs);

#endif

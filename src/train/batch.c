/*
 * Batches on their way from the reader into a plan.
 *
 * They are copied, because the reader owns its memory, may lay it out as it likes, and fills it
 * again while the plan runs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "batch_internal.h"
#include "lamina/memory.h"

#include <assert.h>
#include <string.h>

size_t lmn__slice_rows(size_t global_batch, int size)
{
    const size_t ranks = (size_t)size;
    return global_batch / ranks + (global_batch % ranks != 0 ? 1 : 0);
}

lmn_status lmn__inputs_create(lmn__inputs *inputs, const lmn_task_graph *task, lmn_plan *plan,
                              lmn_error *err)
{
    const size_t count = lmn_shape_count(lmn_tensor_shape(task->features));
    *inputs = (lmn__inputs){.rows = lmn_tensor_shape(task->features)->dims[0]};
    inputs->feature_count = count / inputs->rows;
    inputs->features = lmn_alloc(count, sizeof *inputs->features, err);
    inputs->labels = lmn_alloc(inputs->rows, sizeof *inputs->labels, err);
    inputs->weights = lmn_alloc(inputs->rows, sizeof *inputs->weights, err);
    if (inputs->features == NULL || inputs->labels == NULL || inputs->weights == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = lmn_plan_bind(plan, task->features, inputs->features, err);
    if (status == LMN_OK) {
        status = lmn_plan_bind(plan, task->labels, inputs->labels, err);
    }
    if (status == LMN_OK) {
        status = lmn_plan_bind(plan, task->weights, inputs->weights, err);
    }
    return status;
}

void lmn__inputs_destroy(lmn__inputs *inputs)
{
    lmn_free(inputs->features);
    lmn_free(inputs->labels);
    lmn_free(inputs->weights);
    *inputs = (lmn__inputs){0};
}

void lmn__inputs_fill(lmn__inputs *inputs, const lmn_batch *batch, float weight)
{
    assert(batch->rows == inputs->rows && batch->valid <= batch->rows);
    memcpy(inputs->features, batch->features,
           inputs->rows * inputs->feature_count * sizeof *inputs->features);
    memcpy(inputs->labels, batch->labels, inputs->rows * sizeof *inputs->labels);
    for (size_t row = 0; row < inputs->rows; row++) {
        inputs->weights[row] = row < batch->valid ? weight : 0.0F;
    }
}

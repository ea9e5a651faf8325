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

/* Find the field that an input of the task is filled from, and take memory for it. */
static lmn_status add_input(lmn__inputs *inputs, const lmn_dataset_info *info,
                            const lmn_tensor *input, lmn_plan *plan, lmn_error *err)
{
    const lmn_field *field = lmn_dataset_info_field(info, lmn_tensor_name(input));
    const size_t count = lmn_shape_count(lmn_tensor_shape(input));
    size_t field_count = inputs->rows;
    for (size_t i = 0; field != NULL && i < field->n_dims; i++) {
        field_count *= field->dims[i];
    }
    if (field == NULL || field->dtype != lmn_tensor_dtype(input) || field_count != count) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the task's input '%s' of %zu %s in %zu rows is not what the dataset "
                             "has",
                             lmn_tensor_name(input), count, lmn_dtype_name(lmn_tensor_dtype(input)),
                             inputs->rows);
    }
    const size_t place = inputs->n_fields;
    inputs->field_of[place] = (size_t)(field - info->fields);
    inputs->bytes[place] = count * lmn_dtype_bytes(field->dtype);
    inputs->values[place] = lmn_alloc(inputs->bytes[place], 1, err);
    if (inputs->values[place] == NULL) {
        return LMN_ERR_MEMORY;
    }
    inputs->n_fields++;
    return lmn_plan_bind(plan, input, inputs->values[place], err);
}

lmn_status lmn__inputs_create(lmn__inputs *inputs, const lmn_dataset_info *info,
                              const lmn_task_graph *task, lmn_plan *plan, lmn_error *err)
{
    *inputs = (lmn__inputs){.rows = lmn_tensor_shape(task->weights)->dims[0]};
    inputs->weights = lmn_alloc(inputs->rows, sizeof *inputs->weights, err);
    lmn_status status = inputs->weights == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        status = lmn_plan_bind(plan, task->weights, inputs->weights, err);
    }
    for (size_t i = 0; i < task->n_inputs && status == LMN_OK; i++) {
        status = add_input(inputs, info, task->inputs[i], plan, err);
    }
    return status;
}

void lmn__inputs_destroy(lmn__inputs *inputs)
{
    for (size_t i = 0; i < inputs->n_fields; i++) {
        lmn_free(inputs->values[i]);
    }
    lmn_free(inputs->weights);
    *inputs = (lmn__inputs){0};
}

void lmn__inputs_fill(lmn__inputs *inputs, const lmn_batch *batch, float weight)
{
    assert(batch->rows == inputs->rows && batch->valid <= batch->rows);
    for (size_t i = 0; i < inputs->n_fields; i++) {
        memcpy(inputs->values[i], batch->fields[inputs->field_of[i]], inputs->bytes[i]);
    }
    for (size_t row = 0; row < inputs->rows; row++) {
        inputs->weights[row] = row < batch->valid ? weight : 0.0F;
    }
}

void lmn__inputs_clear(lmn__inputs *inputs)
{
    for (size_t i = 0; i < inputs->n_fields; i++) {
        memset(inputs->values[i], 0, inputs->bytes[i]);
    }
    memset(inputs->weights, 0, inputs->rows * sizeof *inputs->weights);
}

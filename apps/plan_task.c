/*
 * What `lamina plan` computes: a model, and samples from a dataset or drawn at random.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan_facts.h"

#include <stdlib.h>

/* Rows, columns or channels of an image. */
#define SIDE_MAX 99999UL

static lmn_status parse_shape(const char *text, lmn_field *field, lmn_error *err)
{
    *field = (lmn_field){.name = "images", .dtype = LMN_F32, .n_dims = 3};
    const char *rest = text;
    bool is_shape = true;
    for (size_t i = 0; i < 3 && is_shape; i++) {
        char *end = NULL;
        const unsigned long side = strtoul(rest, &end, 10);
        is_shape = *rest >= '0' && *rest <= '9' && side > 0 && side <= SIDE_MAX &&
                   *end == (i < 2 ? 'x' : '\0');
        field->dims[i] = side;
        rest = end + 1;
    }
    return is_shape
               ? LMN_OK
               : lmn_error_set(err, LMN_ERR_USAGE,
                               "option --shape: '%s' is no shape of images, such as 28x28x1", text);
}

/* What random samples are: text for a model with a context, images for others. */
static lmn_status describe_samples(plan_task *self, const plan_options *o, size_t context,
                                   lmn_error *err)
{
    lmn_dataset_info *info = &self->info;
    *info = (lmn_dataset_info){.kind = context > 0 ? LMN_DATASET_TEXT : LMN_DATASET_IMAGES,
                               .n_fields = 2,
                               .n_classes = (size_t)o->classes,
                               .sample_count = {1, 1},
                               .text_bytes = {1, 1},
                               .text_tokens = {1, 1}};
    if (context > 0) {
        info->fields[0] =
            (lmn_field){.name = "tokens", .dtype = LMN_I32, .n_dims = 1, .dims = {context}};
        info->fields[1] = info->fields[0];
        info->fields[1].name = "targets";
        return LMN_OK;
    }
    info->fields[1] = (lmn_field){.name = "labels", .dtype = LMN_I32};
    return parse_shape(o->shape, &info->fields[0], err);
}

static lmn_status take_samples(plan_task *self, const plan_options *o, lmn_dataset *dataset,
                               size_t context, lmn_error *err)
{
    if (dataset == NULL) {
        return describe_samples(self, o, context, err);
    }
    lmn_status status = LMN_OK;
    const bool is_text = lmn_dataset_get_info(dataset)->kind == LMN_DATASET_TEXT;
    if (is_text != (context > 0)) {
        status = lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' is no data for the model %s", o->data,
                               o->model);
    }
    if (status == LMN_OK && is_text) {
        status = lmn_dataset_set_context(dataset, context, err);
    }
    self->info = *lmn_dataset_get_info(dataset);
    if (status == LMN_OK && !is_text && lmn_dataset_info_field(&self->info, "labels") == NULL) {
        status =
            lmn_error_set(err, LMN_ERR_ARGUMENT,
                          "'%s' has numbers as answers, and a classifier needs labels", o->data);
    }
    return status;
}

lmn_status plan_make_task(const plan_options *options, lmn_dataset *dataset, plan_task *task_out,
                          lmn_error *err)
{
    size_t context = 0;
    lmn_status status = lmn_model_context(options->model, &context, err);
    if (status == LMN_OK) {
        status = take_samples(task_out, options, dataset, context, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    if (context > 0) {
        task_out->model.text = (lmn_text_task){.model = options->model, .data = task_out->info};
        task_out->task = lmn_text_task_get(&task_out->model.text);
    } else {
        task_out->model.vision = (lmn_vision_task){.model = options->model, .data = task_out->info};
        task_out->task = lmn_vision_task_get(&task_out->model.vision);
    }
    return LMN_OK;
}

/*
 * The registry of models, and what all of them need checked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/model.h"
#include "models_internal.h"

#include <string.h>

#define MODEL_POINTER(name) &lmn__model_##name,
static const lmn__model *const models[] = {LMN__MODEL_LIST(MODEL_POINTER)};
#undef MODEL_POINTER

#define N_MODELS (sizeof models / sizeof models[0])

const lmn_spec_entry *lmn_model_entry(size_t index)
{
    return index < N_MODELS ? &models[index]->entry : NULL;
}

/* NULL after writing LMN_ERR_USAGE into err. */
static const lmn__model *find_model(const char *spec, lmn_error *err)
{
    char name[LMN_SPEC_NAME_BYTES];
    if (lmn_spec_name(spec, name, err) != LMN_OK) {
        lmn_error_add_context(err, "model");
        return NULL;
    }
    const char *known[N_MODELS];
    for (size_t i = 0; i < N_MODELS; i++) {
        known[i] = models[i]->entry.name;
        if (strcmp(known[i], name) == 0) {
            return models[i];
        }
    }
    (void)lmn_spec_unknown("model", name, known, N_MODELS, err);
    return NULL;
}

static const char *describe_values(lmn__values values)
{
    switch (values) {
    case LMN__VALUES_IMAGES:
        return "f32 images [B, H, W, C]";
    case LMN__VALUES_TOKENS:
        return "i32 tokens [B, T]";
    case LMN__VALUES_DENSE:
    default:
        return "f32 images [B, H, W, C] or vectors [B, D]";
    }
}

static lmn_status check_values(const lmn__model *model, const lmn_tensor *values, lmn_error *err)
{
    if (values == NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "model: the input is missing");
    }
    const lmn_shape *shape = lmn_tensor_shape(values);
    const bool is_tokens = model->takes == LMN__VALUES_TOKENS;
    const bool fits_type = (lmn_tensor_dtype(values) == LMN_I32) == is_tokens;
    const bool is_vector = shape->n_dims == 2 && model->takes != LMN__VALUES_IMAGES;
    const bool is_image = shape->n_dims == 4 && !is_tokens;
    if (fits_type && (is_vector || is_image)) {
        return LMN_OK;
    }
    char text[128];
    lmn_shape_format(shape, text, sizeof text);
    return lmn_error_set(err, LMN_ERR_SHAPE, "model '%s' takes %s, but '%s' is %s %s",
                         model->entry.name, describe_values(model->takes), lmn_tensor_name(values),
                         lmn_dtype_name(lmn_tensor_dtype(values)), text);
}

lmn_status lmn_model_build(const char *spec, lmn_graph *graph, const lmn_model_input *input,
                           const lmn_tensor **logits_out, lmn_error *err)
{
    lmn_status status = lmn_graph_status(graph, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn__model *model = find_model(spec, err);
    if (model == NULL) {
        return LMN_ERR_USAGE;
    }
    const lmn_tensor *logits = NULL;
    status = check_values(model, input->values, err);
    if (status == LMN_OK) {
        status = model->build(spec, graph, input, &logits, err);
    }
    if (status == LMN_OK) {
        status = lmn_graph_status(graph, err);
    }
    if (status == LMN_OK) {
        *logits_out = logits;
    }
    return status;
}

lmn_status lmn_model_context(const char *spec, size_t *context_out, lmn_error *err)
{
    const lmn__model *model = find_model(spec, err);
    if (model == NULL) {
        return LMN_ERR_USAGE;
    }
    *context_out = 0;
    return model->context != NULL ? model->context(spec, context_out, err) : LMN_OK;
}

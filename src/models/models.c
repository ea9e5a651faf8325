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

static lmn_status check_images(const lmn_tensor *images, lmn_error *err)
{
    if (images == NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "model: images are missing");
    }
    const lmn_shape *shape = lmn_tensor_shape(images);
    if (shape->n_dims != 4 || lmn_tensor_dtype(images) != LMN_F32) {
        char text[128];
        lmn_shape_format(shape, text, sizeof text);
        return lmn_error_set(
            err, LMN_ERR_SHAPE, "model: images '%s' are %s %s, but must be f32 [B, H, W, C]",
            lmn_tensor_name(images), lmn_tensor_dtype(images) == LMN_F32 ? "f32" : "i32", text);
    }
    return LMN_OK;
}

lmn_status lmn_model_build(const char *spec, lmn_graph *graph, const lmn_tensor *images,
                           size_t n_classes, const lmn_tensor **logits_out, lmn_error *err)
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
    status = check_images(images, err);
    if (status == LMN_OK) {
        status = model->build(spec, graph, images, n_classes, &logits, err);
    }
    if (status == LMN_OK) {
        status = lmn_graph_status(graph, err);
    }
    if (status == LMN_OK) {
        *logits_out = logits;
    }
    return status;
}

/*
 * The parameters of a checkpoint in memory, with their views in another layout.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "weight_set.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void weight_shape_text(size_t n_dims, const uint64_t *dims, char text[256])
{
    size_t used = (size_t)snprintf(text, 256, "[");
    for (size_t i = 0; i < n_dims; i++) {
        used +=
            (size_t)snprintf(text + used, 256 - used, "%s%" PRIu64, i == 0 ? "" : ", ", dims[i]);
    }
    (void)snprintf(text + used, 256 - used, "]");
}

static lmn_status read_values(const lmn_file *file, const array_fact *array, float *values,
                              lmn_error *err)
{
    double *wide = NULL;
    size_t count = 0;
    const lmn_status status = lmn_file_read_f64(file, array->path, &wide, &count, err);
    for (size_t i = 0; status == LMN_OK && i < count; i++) {
        values[i] = (float)wide[i]; /* exact: it was f32 in the file */
    }
    lmn_free(wide);
    return status;
}

static lmn_status fill(const lmn_file *file, const char *model, weight_layout layout,
                       bool with_values, weight_set *set, lmn_error *err)
{
    const size_t count = set->arrays.count;
    set->ours = (float **)lmn_alloc(count, sizeof *set->ours, err);
    set->views = lmn_alloc(count * VIEWS_OF_AN_ARRAY, sizeof *set->views, err);
    set->array_of = lmn_alloc(count * VIEWS_OF_AN_ARRAY, sizeof *set->array_of, err);
    if (set->ours == NULL || set->views == NULL || set->array_of == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        const array_fact *array = &set->arrays.items[i];
        const size_t n =
            weight_layout_views(layout, model, array, &set->arrays, &set->views[set->n_views]);
        for (size_t k = 0; k < n; k++) {
            set->array_of[set->n_views++] = i;
        }
        set->ours[i] = lmn_alloc((size_t)(array->bytes / sizeof(float)), sizeof(float), err);
        if (set->ours[i] == NULL) {
            return LMN_ERR_MEMORY;
        }
        const lmn_status status =
            with_values ? read_values(file, array, set->ours[i], err) : LMN_OK;
        if (status != LMN_OK) {
            return status;
        }
    }
    return LMN_OK;
}

lmn_status weight_set_read(const lmn_file *file, const char *model, weight_layout layout,
                           bool with_values, weight_set *set_out, lmn_error *err)
{
    *set_out = (weight_set){.n_views = 0};
    lmn_status status = array_list_read(file, "/parameters/", &set_out->arrays, err);
    for (size_t i = 0; status == LMN_OK && i < set_out->arrays.count; i++) {
        if (strcmp(set_out->arrays.items[i].type, "f32") != 0) {
            status = lmn_error_set(err, LMN_ERR_FORMAT, "its array '%s' is not f32",
                                   set_out->arrays.items[i].path);
        }
    }
    if (status == LMN_OK && set_out->arrays.count == 0) {
        status = lmn_error_set(err, LMN_ERR_FORMAT, "it holds no parameters");
    }
    if (status == LMN_OK) {
        status = fill(file, model, layout, with_values, set_out, err);
    }
    if (status != LMN_OK) {
        weight_set_free(set_out);
    }
    return status;
}

void weight_set_free(weight_set *set)
{
    for (size_t i = 0; set->ours != NULL && i < set->arrays.count; i++) {
        lmn_free(set->ours[i]);
    }
    lmn_free((void *)set->ours);
    lmn_free(set->views);
    lmn_free(set->array_of);
    lmn_free(set->arrays.items);
    *set = (weight_set){.n_views = 0};
}

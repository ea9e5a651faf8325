/*
 * A file as a JSON object, for programs.
 *
 * Names are those of the file; hashes are texts in hexadecimal, since JSON numbers are doubles.
 * Numbers that JSON cannot write (NaN, infinity) become null.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inspect.h"
#include "text.h"

#include <string.h>

static lmn_status out_of_memory(lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_MEMORY, "out of memory while writing JSON");
}

/* Put `value` (owned from here on, NULL: memory was short) into an object. */
static lmn_status put(json_t *object, const char *name, json_t *value, lmn_error *err)
{
    return json_object_set_new(object, name, value) == 0 ? LMN_OK : out_of_memory(err);
}

static json_t *number(double value)
{
    json_t *real = json_real(value);
    return real == NULL ? json_null() : real;
}

static json_t *whole(const char *name, uint64_t value)
{
    return inspect_is_hash(name) || value > INT64_MAX ? json_string(text_hash(value).data)
                                                      : json_integer((json_int_t)value);
}

static lmn_status put_attribute(void *user, const lmn_value *value, lmn_error *err)
{
    json_t *object = user;
    switch (value->type) {
    case LMN_VALUE_TEXT:
        return put(object, value->name, json_string(value->text), err);
    case LMN_VALUE_F64:
        return put(object, value->name, number(value->f64), err);
    case LMN_VALUE_U64:
        return put(object, value->name, whole(value->name, value->u64), err);
    }
    return LMN_OK;
}

/* The attributes of a group as an object of its own. */
static lmn_status put_group(json_t *object, const char *name, const lmn_file *file,
                            const char *path, lmn_error *err)
{
    json_t *group = json_object();
    const lmn_status status = put(object, name, group, err);
    return status != LMN_OK ? status
                            : lmn_file_visit_attributes(file, path, put_attribute, group, err);
}

/* ---- arrays ---- */

static json_t *shape_of(const lmn_file_array *array)
{
    json_t *shape = json_array();
    for (size_t i = 0; i < array->n_dims; i++) {
        if (json_array_append_new(shape, json_integer((json_int_t)array->dims[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    }
    return shape;
}

/* "/train/images": {"type": "u8", "shape": [...], "unit": "1", "bytes": 47040000} */
static lmn_status put_array(void *user, const lmn_file_array *array, lmn_error *err)
{
    json_t *arrays = user;
    json_t *one = json_object();
    lmn_status status = put(arrays, array->path, one, err);
    if (status == LMN_OK) {
        status = put(one, "type", json_string(array->type), err);
    }
    if (status == LMN_OK) {
        status = put(one, "shape", shape_of(array), err);
    }
    if (status == LMN_OK) {
        status = put(one, "unit", json_string(array->unit), err);
    }
    if (status == LMN_OK) {
        status = put(one, "bytes", whole("bytes", array->bytes), err);
    }
    return status;
}

static lmn_status put_arrays(json_t *object, const lmn_file *file, lmn_error *err)
{
    json_t *arrays = json_object();
    const lmn_status status = put(object, "arrays", arrays, err);
    return status != LMN_OK ? status : lmn_file_visit_arrays(file, put_array, arrays, err);
}

/* ---- the kinds ---- */

static lmn_status put_results(json_t *object, const lmn_file *file, lmn_error *err)
{
    lmn_status status = lmn_file_visit_attributes(file, "/summary", put_attribute, object, err);
    if (status == LMN_OK) {
        status = put_group(object, "configuration", file, "/configuration", err);
    }
    if (status == LMN_OK) {
        status = put_group(object, "machine", file, "/machine", err);
    }
    return status;
}

static lmn_status put_sizes(json_t *object, const lmn_file *file, lmn_error *err)
{
    array_totals all = {.folder = "/"};
    array_totals parameters = {.folder = "/parameters/"};
    json_t *sizes = json_object();
    lmn_status status = put(object, "sizes", sizes, err);
    if (status == LMN_OK) {
        status = inspect_count_arrays(file, &all, err);
    }
    if (status == LMN_OK) {
        status = inspect_count_arrays(file, &parameters, err);
    }
    if (status == LMN_OK) {
        status = put(sizes, "parameters", whole("parameters", parameters.elements), err);
    }
    if (status == LMN_OK) {
        status = put(sizes, "bytes", whole("bytes", all.bytes), err);
    }
    if (status == LMN_OK) {
        status = put(sizes, "arrays", whole("arrays", all.count), err);
    }
    return status;
}

static lmn_status put_mechanisms(json_t *object, const lmn_file *file, lmn_error *err)
{
    static const char *const names[] = {"compress", "feedback", "allocate", "optimizer",
                                        "schedule"};
    json_t *mechanisms = json_object();
    lmn_status status = put(object, "mechanisms", mechanisms, err);
    for (size_t i = 0; i < sizeof names / sizeof names[0] && status == LMN_OK; i++) {
        attribute value;
        status = inspect_find(file, "/", names[i], &value, err);
        if (status == LMN_OK && value.is_there) {
            status = put(mechanisms, names[i], json_string(value.text), err);
        }
    }
    return status;
}

static lmn_status put_checkpoint(json_t *object, const lmn_file *file, lmn_error *err)
{
    const lmn_status status = put_sizes(object, file, err);
    return status != LMN_OK ? status : put_mechanisms(object, file, err);
}

/* Where the parts of a dataset's object are gathered while its arrays are visited. */
typedef struct dataset_parts {
    const lmn_file *file;
    json_t *splits, *shapes, *types, *classes;
} dataset_parts;

static lmn_status put_class_names(const dataset_parts *parts, const lmn_file_array *array,
                                  lmn_error *err)
{
    for (uint64_t i = 0; i < array->dims[0]; i++) {
        char name[256];
        const lmn_status status =
            lmn_file_read_text(parts->file, array->path, (size_t)i, name, sizeof name, err);
        if (status != LMN_OK) {
            return status;
        }
        if (json_array_append_new(parts->classes, json_string(name)) != 0) {
            return out_of_memory(err);
        }
    }
    return LMN_OK;
}

static lmn_status put_dataset_array(void *user, const lmn_file_array *array, lmn_error *err)
{
    const dataset_parts *parts = user;
    if (strcmp(array->path, "/classes") == 0 && array->n_dims == 1) {
        return put_class_names(parts, array, err);
    }
    lmn_status status = put(parts->shapes, array->path + 1, shape_of(array), err);
    if (status == LMN_OK) {
        status = put(parts->types, array->path + 1, json_string(array->type), err);
    }
    const char *name = strrchr(array->path, '/');
    const size_t length = (size_t)(name - array->path);
    const bool is_sparse = strcmp(name, "/row_start") == 0;
    const bool is_samples =
        is_sparse || strcmp(name, "/images") == 0 || strcmp(name, "/vectors") == 0;
    const bool is_tokens = strcmp(name, "/tokens") == 0 && strncmp(array->path, "/t", 2) == 0;
    if (status == LMN_OK && (is_samples || is_tokens) && length > 1 && length < 32) {
        const uint64_t count = array->dims[0] - (is_sparse && array->dims[0] > 0 ? 1 : 0);
        char split[32] = "";
        memcpy(split, array->path + 1, length - 1);
        status = put(parts->splits, split, whole("samples", count), err);
    }
    return status;
}

static lmn_status put_dataset(json_t *object, const lmn_file *file, lmn_error *err)
{
    dataset_parts parts = {.file = file};
    attribute kind = {.is_there = false};
    lmn_status status = inspect_find(file, "/", "kind", &kind, err);
    if (status == LMN_OK) {
        status = put(object, "holds", json_string(kind.is_there ? kind.text : "images"), err);
    }
    if (status == LMN_OK) {
        status = put(object, "splits", parts.splits = json_object(), err);
    }
    if (status == LMN_OK) {
        status = put(object, "shapes", parts.shapes = json_object(), err);
    }
    if (status == LMN_OK) {
        status = put(object, "types", parts.types = json_object(), err);
    }
    if (status == LMN_OK) {
        status = put(object, "classes", parts.classes = json_array(), err);
    }
    if (status != LMN_OK) {
        return status;
    }
    return lmn_file_visit_arrays(file, put_dataset_array, &parts, err);
}

static lmn_status fill(json_t *object, const inspected *one, lmn_error *err)
{
    const lmn_file_kind kind = lmn_file_get_kind(one->file);
    /* The attributes come first: a dataset has a "kind" as well, of its samples. */
    lmn_status status = lmn_file_visit_attributes(one->file, "/", put_attribute, object, err);
    if (status == LMN_OK) {
        status = put(object, "kind", json_string(lmn_file_kind_name(kind)), err);
    }
    if (status == LMN_OK) {
        status = put(object, "file", json_string(one->path), err);
    }
    if (status == LMN_OK) {
        status = put(object, "verified", json_boolean(one->is_verified), err);
    }
    if (status == LMN_OK && kind == LMN_FILE_RESULTS) {
        status = put_results(object, one->file, err);
    }
    if (status == LMN_OK && kind == LMN_FILE_CHECKPOINT) {
        status = put_checkpoint(object, one->file, err);
    }
    if (status == LMN_OK && kind == LMN_FILE_DATASET) {
        status = put_dataset(object, one->file, err);
    }
    return status != LMN_OK ? status : put_arrays(object, one->file, err);
}

lmn_status inspect_to_json(const inspected *one, json_t **json_out, lmn_error *err)
{
    json_t *object = json_object();
    if (object == NULL) {
        return out_of_memory(err);
    }
    const lmn_status status = fill(object, one, err);
    if (status != LMN_OK) {
        json_decref(object);
        return status;
    }
    *json_out = object;
    return LMN_OK;
}

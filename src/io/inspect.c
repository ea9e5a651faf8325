/*
 * Reading any Lamina file without knowing its kind.
 *
 * Everything is looked up when asked for. Names are collected first and visited then, so that a
 * visitor may call anything, HDF5 included.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "inspect_internal.h"
#include "lamina/memory.h"

#include <stdlib.h>
#include <string.h>

lmn_status lmn_file_open(const char *path, lmn_file **file_out, lmn_error *err)
{
    lmn_file *file = lmn_alloc(1, sizeof *file, err);
    if (file == NULL) {
        return LMN_ERR_MEMORY;
    }
    file->h5 = H5I_INVALID_HID;
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    lmn_status status = lmn__path_format(file->path, err, "%s", path);
    if (status == LMN_OK) {
        status = lmn__h5_open(path, &file->h5, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_kind(file->h5, path, &file->kind, err);
    }
    if (status != LMN_OK) {
        lmn_file_close(file);
    } else {
        *file_out = file;
    }
    lmn__h5_quiet_end(&quiet);
    return status;
}

void lmn_file_close(lmn_file *file)
{
    if (file != NULL) {
        lmn__h5_close_file(file->h5);
        lmn_free(file);
    }
}

lmn_file_kind lmn_file_get_kind(const lmn_file *file)
{
    return file->kind;
}

/* ---- attributes ---- */

static bool is_single(hid_t attribute)
{
    const hid_t space = H5Aget_space(attribute);
    const bool is_one = H5Sget_simple_extent_npoints(space) == 1;
    lmn__h5_close(space);
    return is_one;
}

/* Whole numbers that are not negative stay whole. */
static lmn_value number_value(hid_t attribute, hid_t type, const char *name)
{
    lmn_value value = {.name = name, .type = LMN_VALUE_F64};
    (void)H5Aread(attribute, H5T_NATIVE_DOUBLE, &value.f64);
    if (H5Tget_class(type) == H5T_INTEGER && value.f64 >= 0.0) {
        value.type = LMN_VALUE_U64;
        (void)H5Aread(attribute, H5T_NATIVE_UINT64, &value.u64);
    }
    return value;
}

/* Hand one attribute to the visitor; lists and references, which tools of HDF5 use, are left out.
 */
static lmn_status visit_attribute(hid_t attribute, const char *name, lmn_value_fn visit, void *user,
                                  lmn_error *err)
{
    if (!is_single(attribute)) {
        return LMN_OK;
    }
    const hid_t type = H5Aget_type(attribute);
    const H5T_class_t class = H5Tget_class(type);
    lmn_status status = LMN_OK;
    if (class == H5T_INTEGER || class == H5T_FLOAT) {
        const lmn_value value = number_value(attribute, type, name);
        status = visit(user, &value, err);
    } else if (class == H5T_STRING) {
        lmn__texts texts = {0};
        status = lmn__h5_read_texts(attribute, &texts, err);
        if (status == LMN_OK) {
            const lmn_value value = {.name = name, .type = LMN_VALUE_TEXT, .text = texts.items[0]};
            status = visit(user, &value, err);
        }
        lmn_free(texts.items);
    }
    lmn__h5_close(type);
    return status;
}

static lmn_status visit_attribute_at(hid_t object, hsize_t index, lmn_value_fn visit, void *user,
                                     lmn_error *err)
{
    const hid_t attribute =
        H5Aopen_by_idx(object, ".", H5_INDEX_NAME, H5_ITER_INC, index, H5P_DEFAULT, H5P_DEFAULT);
    const ssize_t length = H5Aget_name(attribute, 0, NULL);
    char *name = length < 0 ? NULL : lmn_alloc((size_t)length + 1, 1, err);
    lmn_status status = LMN_OK;
    if (length < 0) {
        status = lmn__h5_error(err, LMN_ERR_FORMAT, "an attribute cannot be read");
    } else if (name == NULL) {
        status = LMN_ERR_MEMORY;
    } else {
        (void)H5Aget_name(attribute, (size_t)length + 1, name);
        status = visit_attribute(attribute, name, visit, user, err);
    }
    lmn_free(name);
    lmn__h5_close(attribute);
    return status;
}

lmn_status lmn_file_visit_attributes(const lmn_file *file, const char *path, lmn_value_fn visit,
                                     void *user, lmn_error *err)
{
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    lmn_status status = LMN_OK;
    if (lmn__h5_has_object(file->h5, path)) {
        const hid_t object = H5Oopen(file->h5, path, H5P_DEFAULT);
        H5O_info_t info;
        if (H5Oget_info(object, &info) < 0) {
            status = lmn__h5_error(err, LMN_ERR_FORMAT, "'%s' cannot be read", path);
        }
        for (hsize_t i = 0; status == LMN_OK && i < info.num_attrs; i++) {
            status = visit_attribute_at(object, i, visit, user, err);
        }
        lmn__h5_close(object);
    }
    lmn__h5_quiet_end(&quiet);
    return status;
}

/* ---- arrays ---- */

/* Paths of all datasets, while they are collected. */
typedef struct path_list {
    char **items; /* [count] owned, each allocated */
    size_t count;
    size_t capacity;
} path_list;

static bool add_path(path_list *list, const char *name)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        char **items = lmn_alloc(capacity, sizeof *items, NULL);
        if (items == NULL) {
            return false;
        }
        for (size_t i = 0; i < list->count; i++) {
            items[i] = list->items[i];
        }
        lmn_free(list->items);
        list->items = items;
        list->capacity = capacity;
    }
    const size_t length = strlen(name);
    char *path = lmn_alloc(length + 2, 1, NULL);
    if (path == NULL) {
        return false;
    }
    path[0] = '/';
    memcpy(path + 1, name, length + 1);
    list->items[list->count++] = path;
    return true;
}

static herr_t collect(hid_t root, const char *name, const H5O_info_t *info, void *user)
{
    (void)root;
    return info->type != H5O_TYPE_DATASET || add_path(user, name) ? 0 : -1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static lmn_status collect_paths(const lmn_file *file, path_list *list, lmn_error *err)
{
    if (H5Ovisit(file->h5, H5_INDEX_NAME, H5_ITER_NATIVE, collect, list) < 0) {
        return lmn__h5_error(err, LMN_ERR_FORMAT, "the content of '%s' cannot be listed",
                             file->path);
    }
    if (list->count > 0) {
        qsort(list->items, list->count, sizeof *list->items, by_name);
    }
    return LMN_OK;
}

static void free_paths(path_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        lmn_free(list->items[i]);
    }
    lmn_free(list->items);
}

/* "f32", "u8", "text", ... */
static const char *type_name(hid_t type)
{
    static const char *const integers[2][4] = {{"u8", "u16", "u32", "u64"},
                                               {"i8", "i16", "i32", "i64"}};
    const size_t bytes = H5Tget_size(type);
    const H5T_class_t class = H5Tget_class(type);
    if (class == H5T_STRING) {
        return "text";
    }
    if (class == H5T_FLOAT && (bytes == 4 || bytes == 8)) {
        return bytes == 4 ? "f32" : "f64";
    }
    for (size_t i = 0; class == H5T_INTEGER && i < 4; i++) {
        if (bytes == (size_t)1 << i) {
            return integers[H5Tget_sign(type) == H5T_SGN_NONE ? 0 : 1][i];
        }
    }
    return "other";
}

static lmn_status visit_array(hid_t dataset, const char *path, lmn_array_fn visit, void *user,
                              lmn_error *err)
{
    lmn__h5_shape shape = {0};
    const lmn_status status = lmn__h5_shape_of(dataset, &shape, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "'%s'", path);
        return status;
    }
    const hid_t type = H5Dget_type(dataset);
    char *unit = NULL;
    const bool has_unit = lmn__h5_read_text(dataset, "units", &unit, NULL) == LMN_OK;
    lmn_file_array array = {
        .path = path,
        .type = type_name(type),
        .unit = has_unit ? unit : "",
        .n_dims = (size_t)shape.n_dims,
        .bytes = lmn__h5_elements(&shape) * H5Tget_size(type),
        .offset = H5Dget_offset(dataset), /* HADDR_UNDEF has all bits set */
    };
    for (size_t i = 0; i < array.n_dims; i++) {
        array.dims[i] = shape.dims[i];
    }
    lmn__h5_close(type);
    const lmn_status visited = visit(user, &array, err);
    lmn_free(unit);
    return visited;
}

lmn_status lmn_file_visit_arrays(const lmn_file *file, lmn_array_fn visit, void *user,
                                 lmn_error *err)
{
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    path_list list = {0};
    lmn_status status = collect_paths(file, &list, err);
    for (size_t i = 0; status == LMN_OK && i < list.count; i++) {
        const hid_t dataset = H5Dopen2(file->h5, list.items[i], H5P_DEFAULT);
        if (dataset < 0) {
            status = lmn__h5_error(err, LMN_ERR_FORMAT, "'%s' cannot be read", list.items[i]);
        } else {
            status = visit_array(dataset, list.items[i], visit, user, err);
        }
        lmn__h5_close(dataset);
    }
    free_paths(&list);
    lmn__h5_quiet_end(&quiet);
    return status;
}

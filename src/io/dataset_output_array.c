/*
 * One array of a dataset that is being written.
 *
 * Rows gather in a block of about 1 MiB; each full block is hashed, entered into the moments and
 * written. What the array is called, and how it is described, is a row of a table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_output_internal.h"
#include "files_internal.h"
#include "lamina/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <hdf5_hl.h>

#define BLOCK_BYTES ((size_t)1 << 20)

static const char *const split_groups[2] = {"/train", "/test"};

static const struct {
    const char *leaf;
    const char *description;
    const char *axes[4];
    bool is_shared; /* by the splits */
} roles[] = {
    [LMN__ARRAY_IMAGES] = {"images",
                           "value = scale * stored + offset",
                           {"sample", "height", "width", "channel"},
                           false},
    [LMN__ARRAY_VECTORS] = {"vectors",
                            "one vector of features a row",
                            {"sample", "feature"},
                            false},
    [LMN__ARRAY_ROW_START] = {"row_start",
                              "sample i has the elements row_start[i] to row_start[i + 1] - 1 of "
                              "column and value",
                              {"sample"},
                              false},
    [LMN__ARRAY_COLUMN] = {"column",
                           "feature of each value, from 0, ascending in a sample",
                           {"element"},
                           false},
    [LMN__ARRAY_VALUE] = {"value", "features that are not here are 0", {"element"}, false},
    [LMN__ARRAY_LABELS] = {"labels", "index into /classes", {"sample"}, false},
    [LMN__ARRAY_TARGETS] = {"targets", "the number to predict", {"sample"}, false},
    [LMN__ARRAY_TOKENS] = {"tokens",
                           "the text: tokens below 256 are bytes, token 256 + m is what merge m of "
                           "/vocabulary/merges joins",
                           {"token"},
                           false},
    [LMN__ARRAY_MEAN] = {"standardisation/mean",
                         "of each channel or column in the training split; taken away from values",
                         {"column"},
                         true},
    [LMN__ARRAY_DEVIATION] =
        {"standardisation/deviation",
         "of each channel or column in the training split, or 1 where it is 0; "
         "values are divided by it",
         {"column"},
         true},
};

/* ---- beginning ---- */

static hid_t file_type(hid_t type)
{
    const hid_t copy = H5Tcopy(type);
    (void)H5Tset_order(copy, H5T_ORDER_LE);
    return copy;
}

static lmn_status create_array(lmn__output_array *array, lmn_error *err)
{
    const hid_t type = file_type(array->type);
    const lmn_status status = lmn__h5_create_array(array->output->h5.file, array->path, type,
                                                   &array->shape, "1", &array->dataset, err);
    lmn__h5_close(type);
    return status;
}

static bool is_standardised(const lmn__output_array *array, lmn_split split)
{
    return array->output->common->standardise && split == LMN_SPLIT_TRAIN &&
           (array->role == LMN__ARRAY_IMAGES || array->role == LMN__ARRAY_VECTORS);
}

lmn_status lmn__output_array_begin(lmn__output_array *array, lmn__dataset_output *output,
                                   lmn_split split, lmn__array_role role, hid_t type,
                                   const lmn__h5_shape *shape, lmn_error *err)
{
    *array = (lmn__output_array){.output = output,
                                 .role = role,
                                 .dataset = H5I_INVALID_HID,
                                 .type = type,
                                 .shape = *shape,
                                 .row_bytes = H5Tget_size(type)};
    (void)snprintf(array->path, sizeof array->path, "%s/%s",
                   roles[role].is_shared ? "" : split_groups[split], roles[role].leaf);
    for (int i = 1; i < shape->n_dims; i++) {
        array->row_bytes *= (size_t)shape->dims[i];
    }
    array->capacity = array->row_bytes < BLOCK_BYTES ? BLOCK_BYTES / array->row_bytes : 1;
    array->block = lmn_alloc(array->capacity, array->row_bytes, err);
    lmn_status status = array->block == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        status = lmn__checksum_create(&array->checksum, err);
    }
    if (status == LMN_OK && is_standardised(array, split)) {
        const size_t n_columns = (size_t)shape->dims[shape->n_dims - 1];
        status = lmn__moments_create(n_columns, &array->moments, err);
    }
    return status == LMN_OK ? create_array(array, err) : status;
}

lmn_status lmn__output_array_begin_list(lmn__output_array *array, lmn__dataset_output *output,
                                        lmn_split split, lmn__array_role role, hid_t type,
                                        uint64_t count, lmn_error *err)
{
    const lmn__h5_shape shape = {.n_dims = 1, .dims = {count}};
    return lmn__output_array_begin(array, output, split, role, type, &shape, err);
}

/* ---- rows ---- */

static bool write_rows(lmn__output_array *array)
{
    const hsize_t start[LMN__H5_DIMS_MAX] = {array->n_written};
    lmn__h5_shape part = array->shape;
    part.dims[0] = array->n_waiting;
    const hid_t space = H5Dget_space(array->dataset);
    const hid_t memory = H5Screate_simple(part.n_dims, part.dims, NULL);
    const bool is_written =
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, part.dims, NULL) >= 0 &&
        H5Dwrite(array->dataset, array->type, memory, space, H5P_DEFAULT, array->block) >= 0;
    lmn__h5_close(memory);
    lmn__h5_close(space);
    return is_written;
}

static void add_moments(lmn__output_array *array)
{
    const size_t values = array->n_waiting * (array->row_bytes / H5Tget_size(array->type));
    const size_t rows = values / lmn__moments_columns(array->moments);
    const void *block = array->block;
    if (H5Tget_size(array->type) == 1) {
        lmn__moments_add_u8(array->moments, block, rows);
    } else {
        lmn__moments_add_f32(array->moments, block, rows);
    }
}

static lmn_status flush(lmn__output_array *array, lmn_error *err)
{
    if (array->n_waiting == 0) {
        return LMN_OK;
    }
    lmn__checksum_update(array->checksum, array->block, array->n_waiting * array->row_bytes);
    if (array->moments != NULL) {
        add_moments(array);
    }
    if (!write_rows(array)) {
        return lmn__h5_error(err, LMN_ERR_IO, "cannot write '%s' of '%s'", array->path,
                             array->output->h5.part);
    }
    array->n_written += array->n_waiting;
    array->n_waiting = 0;
    return lmn__h5_output_check(&array->output->h5, err);
}

static lmn_status count_differs(const lmn__output_array *array, const char *how, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_FORMAT,
                         "%s rows for '%s' than were counted before: a file changed while it was "
                         "imported",
                         how, array->path);
}

lmn_status lmn__output_array_append(lmn__output_array *array, const void *rows, size_t n_rows,
                                    lmn_error *err)
{
    if (n_rows > array->shape.dims[0] - array->n_written - array->n_waiting) {
        return count_differs(array, "more", err);
    }
    const unsigned char *from = rows;
    lmn_status status = LMN_OK;
    while (status == LMN_OK && n_rows > 0) {
        const size_t room = array->capacity - array->n_waiting;
        const size_t n = n_rows < room ? n_rows : room;
        memcpy(array->block + array->n_waiting * array->row_bytes, from, n * array->row_bytes);
        array->n_waiting += n;
        from += n * array->row_bytes;
        n_rows -= n;
        if (array->n_waiting == array->capacity) {
            status = flush(array, err);
        }
    }
    return status;
}

/* ---- ending ---- */

/* How stored pixels become values: those of bytes go from 0 to 1. */
static double image_scale(const lmn__output_array *array)
{
    return array->role == LMN__ARRAY_IMAGES && array->row_bytes > 0 && H5Tget_size(array->type) == 1
               ? 1.0 / 255.0
               : 1.0;
}

static lmn_status write_image_attributes(const lmn__output_array *array, lmn_error *err)
{
    lmn_status status = lmn__h5_write_f64(array->dataset, "scale", image_scale(array), err);
    if (status == LMN_OK) {
        status = lmn__h5_write_f64(array->dataset, "offset", 0.0, err);
    }
    return status == LMN_OK ? lmn__h5_write_text(array->dataset, "layout", "NHWC", err) : status;
}

static lmn_status label_axes(const lmn__output_array *array, lmn_error *err)
{
    for (int i = 0; i < array->shape.n_dims; i++) {
        if (H5DSset_label(array->dataset, (unsigned)i, roles[array->role].axes[i]) < 0) {
            return lmn__h5_error(err, LMN_ERR_IO, "cannot label the axes of '%s'", array->path);
        }
    }
    return LMN_OK;
}

/* Where the array came from, and what its bytes must hash to. */
static lmn_status write_origin(const lmn__output_array *array, const char *source, lmn_error *err)
{
    char text[LMN__CHECKSUM_TEXT_BYTES];
    lmn__checksum_text(lmn__checksum_value(array->checksum), text);
    lmn_status status = lmn__h5_write_text(array->dataset, "checksum_xxh3", text, err);
    if (status == LMN_OK) {
        status = lmn__h5_write_text(array->dataset, "source", lmn__path_base(source), err);
    }
    if (status == LMN_OK) {
        status =
            lmn__h5_write_text(array->dataset, "description", roles[array->role].description, err);
    }
    return status;
}

static lmn_status complete(lmn__output_array *array, const char *source, lmn_error *err)
{
    lmn_status status = flush(array, err);
    if (status == LMN_OK && array->n_written != array->shape.dims[0]) {
        status = count_differs(array, "fewer", err);
    }
    if (status == LMN_OK) {
        status = write_origin(array, source, err);
    }
    return status == LMN_OK ? label_axes(array, err) : status;
}

static lmn_status write_columns(const lmn__output_array *samples, lmn__array_role role,
                                const float *values, const char *source, lmn_error *err)
{
    const size_t n_columns = lmn__moments_columns(samples->moments);
    lmn__output_array array = LMN__OUTPUT_ARRAY_NONE;
    lmn_status status = lmn__output_array_begin_list(&array, samples->output, LMN_SPLIT_TRAIN, role,
                                                     H5T_NATIVE_FLOAT, n_columns, err);
    if (status == LMN_OK) {
        status = lmn__output_array_append(&array, values, n_columns, err);
    }
    if (status == LMN_OK) {
        status = complete(&array, source, err);
    }
    lmn__output_array_close(&array);
    return status;
}

static lmn_status write_moments(const lmn__output_array *samples, const char *source,
                                lmn_error *err)
{
    const size_t n_columns = lmn__moments_columns(samples->moments);
    float *mean = lmn_alloc(n_columns, sizeof *mean, err);
    float *deviation = lmn_alloc(n_columns, sizeof *deviation, err);
    lmn_status status = mean == NULL || deviation == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        lmn__moments_get(samples->moments, image_scale(samples), 0.0, mean, deviation);
        status = write_columns(samples, LMN__ARRAY_MEAN, mean, source, err);
    }
    if (status == LMN_OK) {
        status = write_columns(samples, LMN__ARRAY_DEVIATION, deviation, source, err);
    }
    lmn_free(deviation);
    lmn_free(mean);
    return status;
}

lmn_status lmn__output_array_end(lmn__output_array *array, const char *source, lmn_error *err)
{
    lmn_status status = complete(array, source, err);
    if (status == LMN_OK && array->role == LMN__ARRAY_IMAGES) {
        status = write_image_attributes(array, err);
    }
    return status == LMN_OK && array->moments != NULL ? write_moments(array, source, err) : status;
}

void lmn__output_array_close(lmn__output_array *array)
{
    lmn__h5_close(array->dataset);
    array->dataset = H5I_INVALID_HID;
    lmn_free(array->block);
    array->block = NULL;
    lmn__checksum_destroy(array->checksum);
    array->checksum = NULL;
    lmn__moments_destroy(array->moments);
    array->moments = NULL;
}

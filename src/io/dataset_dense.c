/*
 * Images and dense vectors: samples of one size, one after the other.
 *
 * Neighbouring samples of the file are fetched by one read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_internal.h"
#include "files_internal.h"
#include "lamina/memory.h"

#include <inttypes.h>
#include <string.h>

/* ---- opening ---- */

static lmn_status check_type(lmn__opening *open, const lmn__array *array, lmn_split split,
                             lmn_error *err)
{
    lmn_dataset *dataset = open->dataset;
    const bool is_f32 = lmn__array_is(array, H5T_NATIVE_FLOAT);
    if (!is_f32 && !lmn__array_is(array, H5T_NATIVE_UINT8)) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' must hold u8 or f32 in this machine's byte order", array->path);
    }
    if (split != LMN_SPLIT_TRAIN && dataset->is_f32 != is_f32) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' has another type than /train/%s",
                             array->path, dataset->info.fields[0].name);
    }
    dataset->is_f32 = is_f32;
    return LMN_OK;
}

/* The field that the array's samples make: [N, H, W, C] or [N, H, W]; [N, D]. */
static lmn_status field_of(const lmn__array *array, lmn_dataset_kind kind, lmn_field *field_out,
                           lmn_error *err)
{
    const lmn__h5_shape *shape = &array->shape;
    const bool is_images = kind == LMN_DATASET_IMAGES;
    const bool fits = is_images ? shape->n_dims == 3 || shape->n_dims == 4 : shape->n_dims == 2;
    if (!fits) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' has %d dimensions; needed are samples, %s",
                             array->path, shape->n_dims,
                             is_images ? "height, width, channels" : "columns");
    }
    *field_out = (lmn_field){.name = is_images ? "images" : "vectors",
                             .dtype = LMN_F32,
                             .n_dims = is_images ? 3 : 1,
                             .dims = {1, 1, 1}};
    uint64_t values = 1;
    for (int i = 1; i < shape->n_dims; i++) {
        const hsize_t dim = shape->dims[i];
        if (dim == 0 || dim > UINT32_MAX / values) {
            return lmn_error_set(err, LMN_ERR_FORMAT, "the %s of '%s' are empty or too large",
                                 field_out->name, array->path);
        }
        values *= dim;
        field_out->dims[i - 1] = (size_t)dim;
    }
    return LMN_OK;
}

static lmn_status take_shape(lmn__opening *open, const lmn__array *array, lmn_split split,
                             lmn_error *err)
{
    lmn_dataset *dataset = open->dataset;
    lmn_field field = {0};
    const lmn_status status = field_of(array, dataset->info.kind, &field, err);
    if (status != LMN_OK) {
        return status;
    }
    if (split != LMN_SPLIT_TRAIN &&
        memcmp(field.dims, dataset->info.fields[0].dims, 3 * sizeof field.dims[0]) != 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "the %s of '%s' are not of the size of /train/%s",
                             field.name, array->path, field.name);
    }
    const size_t channels = field.n_dims == 3 ? field.dims[1] * field.dims[2] : 1;
    dataset->info.fields[0] = field;
    dataset->info.sample_count[split] = array->shape.dims[0];
    dataset->sample_values = field.dims[0] * channels;
    return LMN_OK;
}

static lmn_status load_samples(lmn__opening *open, lmn__array *array, lmn_split split,
                               lmn_error *err)
{
    lmn_dataset *dataset = open->dataset;
    lmn_status status = take_shape(open, array, split, err);
    if (status == LMN_OK) {
        status = check_type(open, array, split, err);
    }
    if (status == LMN_OK) {
        const size_t value_bytes = dataset->is_f32 ? sizeof(float) : 1;
        dataset->sample_bytes = dataset->sample_values * value_bytes;
        status = lmn__array_find(open, array, value_bytes, &dataset->splits[split].offset, err);
    }
    if (status == LMN_OK) {
        status = lmn__values_load_scale(open, array, split, err);
    }
    return status;
}

static lmn_status load_split(lmn__opening *open, lmn_split split, lmn_error *err)
{
    const bool is_images = open->dataset->info.kind == LMN_DATASET_IMAGES;
    lmn__array array = LMN__ARRAY_NONE;
    lmn_status status = lmn__array_open(open, split, is_images ? "images" : "vectors", &array, err);
    if (status == LMN_OK) {
        status = load_samples(open, &array, split, err);
    }
    if (status == LMN_OK) {
        lmn__array_hash(open, &array);
        status = lmn__dataset_load_answers(open, split, err);
    }
    lmn__array_close(&array);
    return status;
}

static lmn_status load(lmn__opening *open, lmn_error *err)
{
    lmn_status status = lmn__dataset_load_splits(open, load_split, err);
    if (status == LMN_OK) {
        const lmn_field *field = &open->dataset->info.fields[0];
        status = lmn__values_load_standard(open, field->dims[field->n_dims - 1], err);
    }
    return status == LMN_OK ? lmn__dataset_count_classes(open, err) : status;
}

/* ---- reading ---- */

/* The samples as stored, and after them one image before it is changed. */
static size_t scratch_bytes(const lmn_dataset *dataset, size_t rows)
{
    return lmn_align_up(rows * dataset->sample_bytes) + dataset->sample_values * sizeof(float);
}

/* Fetch the samples into the scratch, neighbours of the file together. */
static lmn_status fetch(const lmn_dataset *dataset, const lmn__rows *rows, lmn_error *err)
{
    const uint64_t base = dataset->splits[rows->split].offset;
    size_t row = 0;
    lmn_status status = LMN_OK;
    while (status == LMN_OK && row < rows->valid) {
        size_t run = 1;
        while (row + run < rows->valid && rows->samples[row + run] == rows->samples[row] + run) {
            run++;
        }
        status = lmn__file_read_at(
            dataset->fd, dataset->path, base + rows->samples[row] * dataset->sample_bytes,
            rows->scratch + row * dataset->sample_bytes, run * dataset->sample_bytes, err);
        row += run;
    }
    return status;
}

static void convert(const lmn_dataset *dataset, const lmn__rows *rows)
{
    const size_t n = dataset->sample_values;
    float *values = rows->fields[0];
    float *before =
        (float *)(void *)(rows->scratch + lmn_align_up(rows->count * dataset->sample_bytes));
    for (size_t row = 0; row < rows->valid; row++) {
        float *to = rows->augment == NULL ? values + row * n : before;
        lmn__values_convert(dataset, rows->scratch + row * dataset->sample_bytes, to);
        if (rows->augment != NULL) {
            lmn_augment_apply(rows->augment, rows->seed, rows->epochs[row], rows->samples[row],
                              dataset->info.fields[0].dims, before, values + row * n);
        }
    }
    memset(values + rows->valid * n, 0, (rows->count - rows->valid) * n * sizeof *values);
}

static lmn_status read_rows(const lmn_dataset *dataset, const lmn__rows *rows, lmn_error *err)
{
    const lmn_status status = fetch(dataset, rows, err);
    if (status == LMN_OK) {
        convert(dataset, rows);
        lmn__answers_read(dataset, rows);
    }
    return status;
}

const lmn__store lmn__store_dense = {
    .load = load, .scratch_bytes = scratch_bytes, .read = read_rows};

/*
 * From stored numbers to values: (scale * stored + offset - mean) / deviation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_internal.h"
#include "lamina/hash.h"
#include "lamina/memory.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define MEAN_PATH      "/standardisation/mean"
#define DEVIATION_PATH "/standardisation/deviation"

/* ---- scale and offset ---- */

static lmn_status read_optional_f32(hid_t id, const char *name, float *value, lmn_error *err)
{
    if (!lmn__h5_has_attribute(id, name)) {
        return LMN_OK;
    }
    double number = 0.0;
    lmn_status status = lmn__h5_read_f64(id, name, &number, err);
    if (status == LMN_OK && !isfinite((float)number)) {
        status = lmn_error_set(err, LMN_ERR_FORMAT, "the attribute '%s' is not finite", name);
    }
    if (status == LMN_OK) {
        *value = (float)number;
    }
    return status;
}

/* Defaults: bytes map to [0, 1], floats to themselves; the test split does as the training split.
 */
lmn_status lmn__values_load_scale(lmn__opening *open, const lmn__array *array, lmn_split split,
                                  lmn_error *err)
{
    lmn_dataset *dataset = open->dataset;
    float scale = dataset->is_f32 ? 1.0F : 1.0F / 255.0F;
    float offset = 0.0F;
    if (split != LMN_SPLIT_TRAIN) {
        scale = dataset->scale;
        offset = dataset->offset;
    }
    lmn_status status = read_optional_f32(array->id, "scale", &scale, err);
    if (status == LMN_OK) {
        status = read_optional_f32(array->id, "offset", &offset, err);
    }
    const bool differs = scale < dataset->scale || scale > dataset->scale ||
                         offset < dataset->offset || offset > dataset->offset;
    if (status == LMN_OK && split != LMN_SPLIT_TRAIN && differs) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "the attributes 'scale' and 'offset' differ between the splits");
    }
    dataset->scale = scale;
    dataset->offset = offset;
    return status;
}

/* ---- mean and deviation ---- */

/* One number for each column, or one for all, repeated over the sample. */
static lmn_status read_columns(lmn__opening *open, const char *path, size_t n_columns, float *to,
                               lmn_error *err)
{
    lmn__array array = LMN__ARRAY_NONE;
    const size_t n_values = open->dataset->sample_values;
    lmn_status status = lmn__array_open_path(open, path, &array, err);
    const size_t count = lmn__array_is_list(&array, 1) ? 1 : n_columns;
    if (status == LMN_OK &&
        (!lmn__array_is_class(&array, H5T_FLOAT) || !lmn__array_is_list(&array, count))) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "'%s' must hold one floating-point number, or one for each of the "
                               "%zu columns or channels",
                               path, n_columns);
    }
    if (status == LMN_OK) {
        status = lmn__array_read(&array, 0, count, H5T_NATIVE_FLOAT, to, err);
    }
    lmn__array_close(&array);
    if (status == LMN_OK) {
        open->hash = lmn_hash64(to, count * sizeof *to, open->hash);
        for (size_t i = count; i < n_values; i++) {
            to[i] = to[i - count];
        }
    }
    return status;
}

static lmn_status check_columns(const lmn_dataset *dataset, size_t n_columns, lmn_error *err)
{
    for (size_t i = 0; i < n_columns; i++) {
        if (!isfinite(dataset->mean[i])) {
            return lmn_error_set(err, LMN_ERR_FORMAT, "number %zu of '%s' is not finite", i,
                                 MEAN_PATH);
        }
        if (!isfinite(dataset->deviation[i]) || dataset->deviation[i] <= 0.0F) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "number %zu of '%s' is %g; a deviation is above 0", i,
                                 DEVIATION_PATH, (double)dataset->deviation[i]);
        }
    }
    return LMN_OK;
}

lmn_status lmn__values_load_standard(lmn__opening *open, size_t n_columns, lmn_error *err)
{
    lmn_dataset *dataset = open->dataset;
    if (!lmn__h5_has_object(open->file, "/standardisation")) {
        return LMN_OK;
    }
    dataset->mean = lmn_alloc(dataset->sample_values, 2 * sizeof *dataset->mean, err);
    if (dataset->mean == NULL) {
        return LMN_ERR_MEMORY;
    }
    dataset->deviation = dataset->mean + dataset->sample_values;
    lmn_status status = read_columns(open, MEAN_PATH, n_columns, dataset->mean, err);
    if (status == LMN_OK) {
        status = read_columns(open, DEVIATION_PATH, n_columns, dataset->deviation, err);
    }
    return status == LMN_OK ? check_columns(dataset, n_columns, err) : status;
}

/* ---- reading ---- */

void lmn__values_standardise(const lmn_dataset *dataset, float *values)
{
    const size_t count = dataset->sample_values;
    const float *mean = dataset->mean;
    const float *deviation = dataset->deviation;
    if (mean == NULL) {
        return;
    }
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        values[i] = (values[i] - mean[i]) / deviation[i];
    }
}

void lmn__values_convert(const lmn_dataset *dataset, const unsigned char *stored, float *values)
{
    const size_t count = dataset->sample_values;
    const float scale = dataset->scale;
    const float offset = dataset->offset;
    if (dataset->is_f32) {
        memcpy(values, stored, count * sizeof *values);
#pragma omp simd
        for (size_t i = 0; i < count; i++) {
            values[i] = scale * values[i] + offset;
        }
    } else {
#pragma omp simd
        for (size_t i = 0; i < count; i++) {
            values[i] = scale * (float)stored[i] + offset;
        }
    }
    lmn__values_standardise(dataset, values);
}

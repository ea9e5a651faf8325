/*
 * Reading a stated allocation problem from an HDF5 file.
 *
 * Such files come from scripts, so any numeric type is taken and everything is checked: a wrong
 * number in a cost table would only show as a strange choice of levels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/costs.h"

#include "h5_internal.h"
#include "lamina/memory.h"

#include <math.h>
#include <stdio.h>

/* Whole numbers up to here are exact in double. */
#define EXACT_MAX 0x1p53

/* One array that was found. */
typedef struct found_array {
    const char *name;
    hid_t dataset; /* owned */
    H5T_class_t class;
    bool is_unsigned;
    lmn__h5_shape shape;
} found_array;

static lmn_status find_array(hid_t file, const char *name, int n_dims, found_array *array_out,
                             lmn_error *err)
{
    found_array array = {.name = name, .dataset = H5I_INVALID_HID};
    if (lmn__h5_has_object(file, name)) {
        array.dataset = H5Dopen2(file, name, H5P_DEFAULT);
    }
    *array_out = array;
    if (array.dataset < 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "there is no array '%s'; /bytes and /error hold layers x levels, and "
                             "/static_level holds layers",
                             name);
    }
    const hid_t type = H5Dget_type(array.dataset);
    array.class = H5Tget_class(type);
    array.is_unsigned = array.class == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_NONE;
    lmn__h5_close(type);
    const lmn_status status = lmn__h5_shape_of(array.dataset, &array.shape, err);
    *array_out = array;
    if (status != LMN_OK) {
        return status;
    }
    if (array.class != H5T_INTEGER && array.class != H5T_FLOAT) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' does not hold numbers", name);
    }
    if (array.shape.n_dims != n_dims) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' has %d dimensions, not %d", name,
                             array.shape.n_dims, n_dims);
    }
    return LMN_OK;
}

static lmn_status read_as(const found_array *array, hid_t type, void *values, lmn_error *err)
{
    if (H5Dread(array->dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
        return lmn__h5_error(err, LMN_ERR_FORMAT, "'%s' cannot be read", array->name);
    }
    return LMN_OK;
}

/* "'/bytes' of layer 3 at level 2", or "'/static_level' of layer 3" */
static lmn_status refuse_number(const found_array *array, size_t index, const char *value,
                                const char *wanted, lmn_error *err)
{
    if (array->shape.n_dims == 1) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' of layer %zu is %s; %s", array->name, index,
                             value, wanted);
    }
    const size_t n_levels = (size_t)array->shape.dims[1];
    return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' of layer %zu at level %zu is %s; %s",
                         array->name, index / n_levels, index % n_levels, value, wanted);
}

static lmn_status read_errors(const found_array *array, double *values, lmn_error *err)
{
    const lmn_status status = read_as(array, H5T_NATIVE_DOUBLE, values, err);
    const size_t count = (size_t)lmn__h5_elements(&array->shape);
    for (size_t i = 0; i < count && status == LMN_OK; i++) {
        if (!isfinite(values[i]) || values[i] < 0.0) {
            char text[32];
            (void)snprintf(text, sizeof text, "%g", values[i]);
            return refuse_number(array, i, text, "errors are finite and not negative", err);
        }
    }
    return status;
}

static lmn_status check_whole(const found_array *array, const double *values, size_t count,
                              lmn_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!(values[i] >= 0.0 && values[i] <= EXACT_MAX && values[i] == floor(values[i]))) {
            char text[32];
            (void)snprintf(text, sizeof text, "%.17g", values[i]);
            return refuse_number(array, i, text, "a whole number from 0 on is wanted", err);
        }
    }
    return LMN_OK;
}

/* Unsigned integers are read as they are; all else by way of double, which shows signs and
 * fractions that a conversion would drop. */
static lmn_status read_whole(const found_array *array, uint64_t *values, lmn_error *err)
{
    if (array->is_unsigned) {
        return read_as(array, H5T_NATIVE_UINT64, values, err);
    }
    const size_t count = (size_t)lmn__h5_elements(&array->shape);
    double *real = lmn_alloc(count, sizeof *real, err);
    if (real == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = read_as(array, H5T_NATIVE_DOUBLE, real, err);
    if (status == LMN_OK) {
        status = check_whole(array, real, count, err);
    }
    for (size_t i = 0; i < count && status == LMN_OK; i++) {
        values[i] = (uint64_t)real[i];
    }
    lmn_free(real);
    return status;
}

static lmn_status read_static_levels(const found_array *array, lmn_costs *costs, lmn_error *err)
{
    uint64_t *levels = lmn_alloc(costs->n_layers, sizeof *levels, err);
    if (levels == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = read_whole(array, levels, err);
    for (size_t i = 0; i < costs->n_layers && status == LMN_OK; i++) {
        if (levels[i] >= costs->n_levels) {
            char text[32], wanted[64];
            (void)snprintf(text, sizeof text, "%llu", (unsigned long long)levels[i]);
            (void)snprintf(wanted, sizeof wanted, "there are %zu levels, counted from 0",
                           costs->n_levels);
            status = refuse_number(array, i, text, wanted, err);
        } else {
            costs->static_level[i] = (size_t)levels[i];
        }
    }
    lmn_free(levels);
    return status;
}

/* The three arrays, in this order. */
enum { BYTES = 0, ERROR = 1, STATIC_LEVEL = 2, N_ARRAYS = 3 };

static lmn_status check_shapes(const found_array *arrays, lmn_error *err)
{
    const hsize_t *bytes = arrays[BYTES].shape.dims;
    const hsize_t *error = arrays[ERROR].shape.dims;
    const hsize_t layers = arrays[STATIC_LEVEL].shape.dims[0];
    if (bytes[0] == 0 || bytes[1] == 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'/bytes' has no layers or no levels");
    }
    if (error[0] != bytes[0] || error[1] != bytes[1] || layers != bytes[0]) {
        return lmn_error_set(
            err, LMN_ERR_FORMAT,
            "shapes do not fit: '/bytes' is [%llu, %llu], '/error' is [%llu, %llu] and "
            "'/static_level' is [%llu]; wanted are [layers, levels] twice and [layers]",
            (unsigned long long)bytes[0], (unsigned long long)bytes[1],
            (unsigned long long)error[0], (unsigned long long)error[1], (unsigned long long)layers);
    }
    return LMN_OK;
}

static lmn_status read_arrays(const found_array *arrays, lmn_costs *costs, lmn_error *err)
{
    costs->n_layers = (size_t)arrays[BYTES].shape.dims[0];
    costs->n_levels = (size_t)arrays[BYTES].shape.dims[1];
    const size_t count = (size_t)lmn__h5_elements(&arrays[BYTES].shape);
    costs->bytes = lmn_alloc(count, sizeof *costs->bytes, err);
    costs->error = lmn_alloc(count, sizeof *costs->error, err);
    costs->static_level = lmn_alloc(costs->n_layers, sizeof *costs->static_level, err);
    if (costs->bytes == NULL || costs->error == NULL || costs->static_level == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = read_whole(&arrays[BYTES], costs->bytes, err);
    if (status == LMN_OK) {
        status = read_errors(&arrays[ERROR], costs->error, err);
    }
    return status == LMN_OK ? read_static_levels(&arrays[STATIC_LEVEL], costs, err) : status;
}

static lmn_status read_file(hid_t file, lmn_costs *costs, lmn_error *err)
{
    static const char *const names[N_ARRAYS] = {"/bytes", "/error", "/static_level"};
    found_array arrays[N_ARRAYS];
    size_t n_found = 0;
    lmn_status status = LMN_OK;
    while (n_found < N_ARRAYS && status == LMN_OK) {
        status = find_array(file, names[n_found], n_found == STATIC_LEVEL ? 1 : 2, &arrays[n_found],
                            err);
        n_found++;
    }
    if (status == LMN_OK) {
        status = check_shapes(arrays, err);
    }
    if (status == LMN_OK) {
        status = read_arrays(arrays, costs, err);
    }
    for (size_t i = 0; i < n_found; i++) {
        lmn__h5_close(arrays[i].dataset);
    }
    return status;
}

lmn_status lmn_costs_read(const char *path, lmn_costs *costs_out, lmn_error *err)
{
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    hid_t file = H5I_INVALID_HID;
    lmn_costs costs = {0};
    lmn_status status = lmn__h5_open(path, &file, err);
    if (status == LMN_OK) {
        status = read_file(file, &costs, err);
        if (status != LMN_OK) {
            lmn_error_add_context(err, "'%s'", path);
        }
    }
    lmn__h5_close_file(file);
    lmn__h5_quiet_end(&quiet);
    if (status != LMN_OK) {
        lmn_costs_free(&costs);
    }
    *costs_out = costs;
    return status;
}

void lmn_costs_free(lmn_costs *costs)
{
    lmn_free(costs->bytes);
    lmn_free(costs->error);
    lmn_free(costs->static_level);
    *costs = (lmn_costs){0};
}

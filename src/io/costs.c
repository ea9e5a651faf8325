/*
 * Reading a stated allocation problem from an HDF5 file, or that of a decision of a run.
 *
 * Such files come from scripts, so any numeric type is taken and everything is checked: a wrong
 * number in a cost table would only show as a strange choice of levels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/costs.h"

#include "h5_internal.h"
#include "lamina/inspect.h"
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
    hid_t row, memory; /* owned; dataspaces of what is read, H5S_ALL where all is */
} found_array;

static lmn_status find_array(hid_t file, const char *name, int n_dims, found_array *array_out,
                             lmn_error *err)
{
    found_array array = {
        .name = name, .dataset = H5I_INVALID_HID, .row = H5S_ALL, .memory = H5S_ALL};
    if (lmn__h5_has_object(file, name)) {
        array.dataset = H5Dopen2(file, name, H5P_DEFAULT);
    }
    *array_out = array;
    if (array.dataset < 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "there is no array '%s'; a table has /bytes and /error, layers x "
                             "levels, and /static_level, layers; results have /decisions when "
                             "the allocator decided on levels",
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
    if (H5Dread(array->dataset, type, array->memory, array->row, H5P_DEFAULT, values) < 0) {
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
    /* There is a number to refuse, so there are levels. */
    const size_t n_levels = array->shape.dims[1] > 0 ? (size_t)array->shape.dims[1] : 1;
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
            char text[32];
            char wanted[64];
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

static const char *const stated_names[N_ARRAYS] = {"/bytes", "/error", "/static_level"};
static const char *const decision_names[N_ARRAYS] = {
    "/decisions/level_bytes", "/decisions/level_error", "/decisions/static_level"};

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

/* ---- results ---- */

/* The shapes of one row of /decisions, as if it were a file of its own; and which row it is. */
static lmn_status pick_decision(found_array *arrays, uint64_t decision, uint64_t *row_out,
                                lmn_error *err)
{
    const uint64_t n_rows = arrays[STATIC_LEVEL].shape.dims[0];
    const uint64_t layers = arrays[STATIC_LEVEL].shape.dims[1];
    const uint64_t entries = arrays[BYTES].shape.dims[1];
    if (decision > n_rows || n_rows == 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "there is no decision %llu: the run made %llu",
                             (unsigned long long)decision, (unsigned long long)n_rows);
    }
    *row_out = decision == 0 ? n_rows - 1 : decision - 1;
    if (layers == 0 || entries % layers != 0 || arrays[ERROR].shape.dims[1] != entries) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "the columns of /decisions do not fit");
    }
    for (size_t i = 0; i < N_ARRAYS; i++) {
        arrays[i].shape = (lmn__h5_shape){.n_dims = 2, .dims = {layers, entries / layers}};
    }
    arrays[STATIC_LEVEL].shape = (lmn__h5_shape){.n_dims = 1, .dims = {layers}};
    return LMN_OK;
}

/* Read from this row only. */
static lmn_status select_row(found_array *array, uint64_t row, lmn_error *err)
{
    const hsize_t start[2] = {row, 0};
    const hsize_t count[2] = {1, lmn__h5_elements(&array->shape)};
    array->row = H5Dget_space(array->dataset);
    array->memory = H5Screate_simple(1, &count[1], NULL);
    if (array->row < 0 || array->memory < 0 ||
        H5Sselect_hyperslab(array->row, H5S_SELECT_SET, start, NULL, count, NULL) < 0) {
        return lmn__h5_error(err, LMN_ERR_FORMAT, "'%s' cannot be read", array->name);
    }
    return LMN_OK;
}

static lmn_status pick_rows(found_array *arrays, uint64_t decision, lmn_error *err)
{
    uint64_t row = 0;
    lmn_status status = pick_decision(arrays, decision, &row, err);
    for (size_t i = 0; i < N_ARRAYS && status == LMN_OK; i++) {
        status = select_row(&arrays[i], row, err);
    }
    return status;
}

/* ---- files ---- */

static bool is_results(hid_t file, const char *path)
{
    lmn_file_kind kind = LMN_FILE_DATASET;
    lmn_error none = lmn_error_none();
    return lmn__h5_kind(file, path, &kind, &none) == LMN_OK && kind == LMN_FILE_RESULTS;
}

static lmn_status read_file(hid_t file, bool from_results, uint64_t decision, lmn_costs *costs,
                            lmn_error *err)
{
    const char *const *names = from_results ? decision_names : stated_names;
    found_array arrays[N_ARRAYS];
    size_t n_found = 0;
    lmn_status status = LMN_OK;
    while (n_found < N_ARRAYS && status == LMN_OK) {
        const int n_dims = n_found == STATIC_LEVEL && !from_results ? 1 : 2;
        status = find_array(file, names[n_found], n_dims, &arrays[n_found], err);
        n_found++;
    }
    if (status == LMN_OK && from_results) {
        status = pick_rows(arrays, decision, err);
    }
    if (status == LMN_OK) {
        status = check_shapes(arrays, err);
    }
    if (status == LMN_OK) {
        status = read_arrays(arrays, costs, err);
    }
    for (size_t i = 0; i < n_found; i++) {
        lmn__h5_close(arrays[i].row);
        lmn__h5_close(arrays[i].memory);
        lmn__h5_close(arrays[i].dataset);
    }
    return status;
}

lmn_status lmn_costs_read(const char *path, uint64_t decision, lmn_costs *costs_out, lmn_error *err)
{
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    hid_t file = H5I_INVALID_HID;
    lmn_costs costs = {0};
    lmn_status status = lmn__h5_open(path, &file, err);
    if (status == LMN_OK) {
        status = read_file(file, is_results(file, path), decision, &costs, err);
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

lmn_status lmn_costs_join(lmn_costs *costs, const lmn_costs *other, lmn_error *err)
{
    if (costs->n_layers != other->n_layers) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "tables of %zu and of %zu layers cannot be joined", costs->n_layers,
                             other->n_layers);
    }
    const size_t n_levels = costs->n_levels + other->n_levels;
    uint64_t *bytes = lmn_alloc(costs->n_layers * n_levels, sizeof *bytes, err);
    double *error = lmn_alloc(costs->n_layers * n_levels, sizeof *error, err);
    if (bytes == NULL || error == NULL) {
        lmn_free(bytes);
        lmn_free(error);
        return LMN_ERR_MEMORY;
    }
    for (size_t cell = 0; cell < costs->n_layers * n_levels; cell++) {
        const size_t layer = cell / n_levels;
        const size_t level = cell % n_levels;
        const bool is_own = level < costs->n_levels;
        const size_t from = is_own ? layer * costs->n_levels + level
                                   : layer * other->n_levels + level - costs->n_levels;
        bytes[cell] = is_own ? costs->bytes[from] : other->bytes[from];
        error[cell] = is_own ? costs->error[from] : other->error[from];
    }
    lmn_free(costs->bytes);
    lmn_free(costs->error);
    costs->bytes = bytes;
    costs->error = error;
    costs->n_levels = n_levels;
    return LMN_OK;
}

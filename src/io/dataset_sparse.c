/*
 * Vectors stored as sparse rows: for each sample the columns that are not 0, and their values.
 *
 * Where rows begin is kept in memory, 8 bytes a sample. Columns are checked whenever they are read,
 * since a file may change after it was opened: nothing is written outside the row.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_internal.h"
#include "files_internal.h"
#include "lamina/hash.h"
#include "lamina/memory.h"

#include <inttypes.h>
#include <string.h>

/* ---- opening ---- */

/* Rows follow each other without a gap, and none is longer than there are columns. */
static lmn_status check_row_start(lmn__opening *open, const lmn__array *array, lmn_split split,
                                  uint64_t n_entries, lmn_error *err)
{
    lmn_dataset *dataset = open->dataset;
    const uint64_t *start = dataset->splits[split].row_start;
    const uint64_t count = dataset->info.sample_count[split];
    if (start[0] != 0 || start[count] != n_entries) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' goes from %" PRIu64 " to %" PRIu64 "; with %" PRIu64
                             " entries it must go from 0 to %" PRIu64,
                             array->path, start[0], start[count], n_entries, n_entries);
    }
    for (uint64_t row = 0; row < count; row++) {
        if (start[row + 1] < start[row] || start[row + 1] > n_entries ||
            start[row + 1] - start[row] > dataset->sample_values) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "'%s': row %" PRIu64 " goes from entry %" PRIu64 " to %" PRIu64
                                 " of %" PRIu64 ", with %zu columns",
                                 array->path, row, start[row], start[row + 1], n_entries,
                                 dataset->sample_values);
        }
        const size_t entries = (size_t)(start[row + 1] - start[row]);
        dataset->row_max = entries > dataset->row_max ? entries : dataset->row_max;
    }
    return LMN_OK;
}

static lmn_status read_row_start(lmn__opening *open, const lmn__array *array, lmn_split split,
                                 uint64_t n_entries, lmn_error *err)
{
    if (!lmn__array_is_class(array, H5T_INTEGER) || array->shape.n_dims != 1 ||
        array->shape.dims[0] == 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' must be a list of integers, one more than there are samples",
                             array->path);
    }
    const size_t count = (size_t)array->shape.dims[0];
    uint64_t offset = 0;
    lmn_status status = lmn__array_find(open, array, 1, &offset, err);
    if (status != LMN_OK) {
        return status;
    }
    uint64_t *start = lmn_alloc(count, sizeof *start, err);
    if (start == NULL) {
        return LMN_ERR_MEMORY;
    }
    open->dataset->splits[split].row_start = start;
    open->dataset->info.sample_count[split] = count - 1;
    status = lmn__array_read(array, 0, count, H5T_NATIVE_UINT64, start, err);
    if (status == LMN_OK) {
        open->hash = lmn_hash64(start, count * sizeof *start, open->hash);
        status = check_row_start(open, array, split, n_entries, err);
    }
    return status;
}

/* Columns or values. */
static lmn_status find_entries(lmn__opening *open, lmn_split split, const char *leaf, hid_t type,
                               const char *type_name, uint64_t *count_out, uint64_t *offset_out,
                               lmn_error *err)
{
    lmn__array array = LMN__ARRAY_NONE;
    lmn_status status = lmn__array_open(open, split, leaf, &array, err);
    /* Others write columns as i32, and a negative one is then beyond all columns. */
    const bool is_i32 = type == H5T_NATIVE_UINT32 && lmn__array_is(&array, H5T_NATIVE_INT32);
    if (status == LMN_OK &&
        (array.shape.n_dims != 1 || (!lmn__array_is(&array, type) && !is_i32))) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "'%s' must be a list of %s in this machine's byte order", array.path,
                               type_name);
    }
    if (status == LMN_OK) {
        lmn__array_hash(open, &array);
        *count_out = array.shape.dims[0];
        status = lmn__array_find(open, &array, H5Tget_size(type), offset_out, err);
    }
    lmn__array_close(&array);
    return status;
}

static lmn_status load_split(lmn__opening *open, lmn_split split, lmn_error *err)
{
    lmn__split_data *data = &open->dataset->splits[split];
    const char *name = lmn__split_name(split);
    uint64_t n_columns = 0;
    uint64_t n_values = 0;
    lmn__array array = LMN__ARRAY_NONE;
    lmn_status status = find_entries(open, split, "column", H5T_NATIVE_UINT32, "u32", &n_columns,
                                     &data->offset, err);
    if (status == LMN_OK) {
        status = find_entries(open, split, "value", H5T_NATIVE_FLOAT, "f32", &n_values,
                              &data->value_offset, err);
    }
    if (status == LMN_OK && n_columns != n_values) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "'/%s/column' has %" PRIu64 " entries and '/%s/value' %" PRIu64,
                               name, n_columns, name, n_values);
    }
    if (status == LMN_OK) {
        status = lmn__array_open(open, split, "row_start", &array, err);
    }
    if (status == LMN_OK) {
        status = read_row_start(open, &array, split, n_values, err);
    }
    lmn__array_close(&array);
    return status == LMN_OK ? lmn__dataset_load_answers(open, split, err) : status;
}

static lmn_status load(lmn__opening *open, lmn_error *err)
{
    lmn_dataset *dataset = open->dataset;
    uint64_t n_columns = 0;
    lmn_status status = lmn__h5_read_u64(open->file, "features", &n_columns, err);
    if (status == LMN_OK && (n_columns == 0 || n_columns > UINT32_MAX)) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "the attribute 'features' is %" PRIu64 "; 1 to %" PRIu32
                               " columns are allowed",
                               n_columns, UINT32_MAX);
    }
    if (status != LMN_OK) {
        return status;
    }
    dataset->info.fields[0] =
        (lmn_field){.name = "vectors", .dtype = LMN_F32, .n_dims = 1, .dims = {(size_t)n_columns}};
    dataset->sample_values = (size_t)n_columns;
    status = lmn__dataset_load_splits(open, load_split, err);
    if (status == LMN_OK) {
        status = lmn__values_load_standard(open, (size_t)n_columns, err);
    }
    return status == LMN_OK ? lmn__dataset_count_classes(open, err) : status;
}

/* ---- reading ---- */

/* The columns of one row, and its values. */
static size_t scratch_bytes(const lmn_dataset *dataset, size_t rows)
{
    (void)rows;
    return lmn_align_up(dataset->row_max * sizeof(uint32_t)) + dataset->row_max * sizeof(float);
}

static lmn_status scatter(const lmn_dataset *dataset, const lmn__rows *rows, uint64_t sample,
                          const uint32_t *columns, const float *values, float *to, lmn_error *err)
{
    const uint64_t *start = dataset->splits[rows->split].row_start + sample;
    const size_t count = (size_t)(start[1] - start[0]);
    memset(to, 0, dataset->sample_values * sizeof *to);
    for (size_t i = 0; i < count; i++) {
        if (columns[i] >= dataset->sample_values || (i > 0 && columns[i] <= columns[i - 1])) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "'%s': '/%s/column' is %" PRIu32 " at entry %" PRIu64
                                 " of row %" PRIu64 "; columns ascend in a row and are below %zu",
                                 dataset->path, lmn__split_name(rows->split), columns[i],
                                 start[0] + i, sample, dataset->sample_values);
        }
        to[columns[i]] = values[i];
    }
    return LMN_OK;
}

static lmn_status read_row(const lmn_dataset *dataset, const lmn__rows *rows, size_t row,
                           lmn_error *err)
{
    const lmn__split_data *data = &dataset->splits[rows->split];
    const uint64_t sample = rows->samples[row];
    const uint64_t first = data->row_start[sample];
    const size_t count = (size_t)(data->row_start[sample + 1] - first);
    void *columns = rows->scratch;
    void *values = rows->scratch + lmn_align_up(dataset->row_max * sizeof(uint32_t));
    float *to = (float *)rows->fields[0] + row * dataset->sample_values;
    lmn_status status =
        lmn__file_read_at(dataset->fd, dataset->path, data->offset + first * sizeof(uint32_t),
                          columns, count * sizeof(uint32_t), err);
    if (status == LMN_OK) {
        status = lmn__file_read_at(dataset->fd, dataset->path,
                                   data->value_offset + first * sizeof(float), values,
                                   count * sizeof(float), err);
    }
    if (status == LMN_OK) {
        status = scatter(dataset, rows, sample, columns, values, to, err);
    }
    if (status == LMN_OK) {
        lmn__values_standardise(dataset, to);
    }
    return status;
}

static lmn_status read_rows(const lmn_dataset *dataset, const lmn__rows *rows, lmn_error *err)
{
    const size_t n = dataset->sample_values;
    lmn_status status = LMN_OK;
    for (size_t row = 0; status == LMN_OK && row < rows->valid; row++) {
        status = read_row(dataset, rows, row, err);
    }
    if (status == LMN_OK) {
        float *values = rows->fields[0];
        memset(values + rows->valid * n, 0, (rows->count - rows->valid) * n * sizeof *values);
        lmn__answers_read(dataset, rows);
    }
    return status;
}

const lmn__store lmn__store_sparse = {
    .load = load, .scratch_bytes = scratch_bytes, .read = read_rows};

/*
 * Results in the file: bringing it up to date, and finding one's place in a resumed one.
 *
 * A flush copies the file beside itself, changes the copy, and renames it; so the file under its
 * name is whole at any moment, and a flush that fails leaves it and what waits in memory as they
 * were. The copy costs as much as the file is long: flush with checkpoints, not with steps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "h5_output_internal.h"
#include "lamina/memory.h"
#include "results_internal.h"

#include <math.h>
#include <string.h>

#include <hdf5_hl.h>

/* Values of one column that are stored together, and of these in one row where its width varies. */
#define CHUNK_VALUES 1024
#define CHUNK_ACROSS 64

static lmn_status column_path(const lmn_table *table, size_t index, char path_out[LMN_PATH_BYTES],
                              lmn_error *err)
{
    return lmn__path_format(path_out, err, "%s/%s", table->group, table->columns[index].name);
}

/* ---- writing ---- */

static lmn_status write_numbers(hid_t file, const lmn__entry *entry, lmn_error *err)
{
    const bool is_whole = entry->type == LMN__ENTRY_U64S;
    if (lmn__h5_has_object(file, entry->place)) {
        (void)H5Ldelete(file, entry->place, H5P_DEFAULT);
    }
    const lmn__h5_shape shape = {.n_dims = 1, .dims = {entry->count}};
    hid_t dataset = H5I_INVALID_HID;
    lmn_status status =
        lmn__h5_create_array(file, entry->place, is_whole ? H5T_STD_U64LE : H5T_IEEE_F64LE, &shape,
                             entry->name, &dataset, err);
    if (status == LMN_OK && entry->count > 0 &&
        H5Dwrite(dataset, is_whole ? H5T_NATIVE_UINT64 : H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL,
                 H5P_DEFAULT, entry->values) < 0) {
        status = lmn__h5_error(err, LMN_ERR_IO, "cannot write '%s'", entry->place);
    }
    lmn__h5_close(dataset);
    return status;
}

static lmn_status write_attribute(hid_t file, const lmn__entry *entry, lmn_error *err)
{
    hid_t group = H5I_INVALID_HID;
    lmn_status status = lmn__h5_require_group(file, entry->place, &group, err);
    if (status != LMN_OK) {
        return status;
    }
    if (entry->type == LMN__ENTRY_TEXT) {
        status = lmn__h5_write_text(group, entry->name, entry->texts[0], err);
    } else if (entry->type == LMN__ENTRY_U64) {
        status = lmn__h5_write_u64(group, entry->name, entry->u64, err);
    } else {
        status = lmn__h5_write_f64(group, entry->name, entry->f64, err);
    }
    lmn__h5_close(group);
    return status;
}

static lmn_status write_entry(hid_t file, const lmn__entry *entry, lmn_error *err)
{
    if (entry->type == LMN__ENTRY_TEXTS) {
        const char *const *texts = (const char *const *)entry->texts;
        return lmn__h5_write_texts(file, entry->place, texts, entry->count, err);
    }
    return entry->type == LMN__ENTRY_U64S || entry->type == LMN__ENTRY_F64S
               ? write_numbers(file, entry, err)
               : write_attribute(file, entry, err);
}

static bool varies(const lmn_column *column)
{
    return column->type == LMN_COLUMN_F32_EACH;
}

static int dims_of(const lmn_column *column)
{
    return column->width > 1 || varies(column) ? 2 : 1;
}

static hid_t file_type(const lmn_column *column)
{
    return varies(column)                   ? H5T_IEEE_F32LE
           : column->type == LMN_COLUMN_F64 ? H5T_IEEE_F64LE
                                            : H5T_STD_U64LE;
}

static hid_t cell_type(const lmn_column *column)
{
    return column->type == LMN_COLUMN_U64 ? H5T_NATIVE_UINT64 : H5T_NATIVE_DOUBLE;
}

/* Chunked, so that rows can be added; [rows] or [rows, width]. */
static hid_t create_column(hid_t group, const lmn_column *column)
{
    static const float nobody = NAN;
    const int n_dims = dims_of(column);
    const hsize_t dims[2] = {0, column->width};
    const hsize_t most[2] = {H5S_UNLIMITED, varies(column) ? H5S_UNLIMITED : column->width};
    const hsize_t across =
        varies(column) && column->width > CHUNK_ACROSS ? CHUNK_ACROSS : column->width;
    const hsize_t rows = across < CHUNK_VALUES ? CHUNK_VALUES / across : 1;
    const hsize_t chunk[2] = {rows, across};
    const hid_t space = H5Screate_simple(n_dims, dims, most);
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    hid_t dataset = H5I_INVALID_HID;
    if (H5Pset_chunk(creation, n_dims, chunk) >= 0 &&
        (!varies(column) || H5Pset_fill_value(creation, H5T_NATIVE_FLOAT, &nobody) >= 0)) {
        dataset = H5Dcreate2(group, column->name, file_type(column), space, H5P_DEFAULT, creation,
                             H5P_DEFAULT);
    }
    lmn__h5_close(creation);
    lmn__h5_close(space);
    return dataset;
}

/* Column 0 becomes the dimension scale, and the others name it as theirs. */
static bool attach_key(hid_t dataset, hid_t key, const lmn_column *columns, size_t index)
{
    const char *name = columns[0].name;
    if (index == 0) {
        return H5DSset_scale(dataset, name) >= 0;
    }
    return H5DSattach_scale(dataset, key, 0) >= 0 && H5DSset_label(dataset, 0, name) >= 0;
}

static lmn_status create_columns(hid_t group, const lmn_table *table, lmn_error *err)
{
    hid_t key = H5I_INVALID_HID;
    lmn_status status = LMN_OK;
    for (size_t i = 0; status == LMN_OK && i < table->n_columns; i++) {
        const lmn_column *column = &table->columns[i];
        const hid_t dataset = create_column(group, column);
        if (dataset < 0 || !attach_key(dataset, key, table->columns, i)) {
            status =
                lmn__h5_error(err, LMN_ERR_IO, "cannot create '%s/%s'", table->group, column->name);
        }
        if (status == LMN_OK) {
            status = lmn__h5_write_text(dataset, "units", column->unit, err);
        }
        if (status == LMN_OK) {
            status = lmn__h5_write_text(dataset, "description", column->help, err);
        }
        if (i == 0) {
            key = dataset;
        } else {
            lmn__h5_close(dataset);
        }
    }
    lmn__h5_close(key);
    return status == LMN_OK ? lmn__h5_write_text(group, "columns", table->layout, err) : status;
}

/* The column's width in the file, after rows of another width, too; 0 when it cannot be told. */
static hsize_t common_width(hid_t dataset, const lmn_column *column)
{
    lmn__h5_shape shape = {0};
    if (!varies(column)) {
        return column->width;
    }
    if (lmn__h5_shape_of(dataset, &shape, NULL) != LMN_OK || shape.n_dims != 2) {
        return 0;
    }
    return shape.dims[1] > column->width ? shape.dims[1] : column->width;
}

/* Cut the column down to the rows that stay, and add those that wait. */
static bool extend_column(hid_t dataset, const lmn_table *table, size_t index)
{
    const lmn_column *column = &table->columns[index];
    const hsize_t width = common_width(dataset, column);
    const hsize_t kept[2] = {table->kept_rows, width};
    const hsize_t dims[2] = {table->kept_rows + table->waiting, width};
    /* In two moves: what a narrower row does not overwrite must go first. */
    if (width == 0 || H5Dset_extent(dataset, kept) < 0 || H5Dset_extent(dataset, dims) < 0) {
        return false;
    }
    if (table->waiting == 0) {
        return true;
    }
    const hsize_t start[2] = {table->kept_rows, 0};
    const hsize_t count[2] = {table->waiting, column->width};
    const hid_t space = H5Dget_space(dataset);
    const hid_t memory = H5Screate_simple(dims_of(column), count, NULL);
    const lmn_cell *cells = table->cells + table->capacity * lmn__table_offset(table, index);
    const bool is_written =
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
        H5Dwrite(dataset, cell_type(column), memory, space, H5P_DEFAULT, cells) >= 0;
    lmn__h5_close(memory);
    lmn__h5_close(space);
    return is_written;
}

static lmn_status write_table(hid_t file, const lmn_table *table, lmn_error *err)
{
    hid_t group = H5I_INVALID_HID;
    lmn_status status = lmn__h5_require_group(file, table->group, &group, err);
    if (status != LMN_OK) {
        return status;
    }
    if (!lmn__h5_has_attribute(group, "columns")) {
        status = create_columns(group, table, err);
    }
    for (size_t i = 0; status == LMN_OK && i < table->n_columns; i++) {
        const hid_t dataset = H5Dopen2(group, table->columns[i].name, H5P_DEFAULT);
        if (dataset < 0 || !extend_column(dataset, table, i)) {
            status = lmn__h5_error(err, LMN_ERR_IO, "cannot write '%s/%s'", table->group,
                                   table->columns[i].name);
        }
        lmn__h5_close(dataset);
    }
    lmn__h5_close(group);
    return status;
}

static lmn_status write_changes(hid_t file, const lmn_results *results, lmn_error *err)
{
    lmn_status status = LMN_OK;
    if (!results->has_file) {
        status = lmn__h5_write_kind(file, LMN_FILE_RESULTS, err);
    }
    for (const lmn__entry *entry = results->entries; status == LMN_OK && entry != NULL;
         entry = entry->next) {
        status = write_entry(file, entry, err);
    }
    for (const lmn_table *table = results->tables; status == LMN_OK && table != NULL;
         table = table->next) {
        status = write_table(file, table, err);
    }
    return status;
}

static lmn_status open_part(const lmn_results *results, lmn__h5_output *output, lmn_error *err)
{
    char part[LMN_PATH_BYTES];
    lmn_status status = lmn__path_format(part, err, "%s.part", results->path);
    if (status != LMN_OK || !results->has_file) {
        return status == LMN_OK ? lmn__h5_output_create(output, part, 0, err) : status;
    }
    status = lmn__file_copy(results->path, part, err);
    return status == LMN_OK ? lmn__h5_output_open(output, part, err) : status;
}

static lmn_status flush_part(const lmn_results *results, lmn_error *err)
{
    lmn__h5_output output = LMN__H5_OUTPUT_NONE;
    lmn_status status = open_part(results, &output, err);
    if (status == LMN_OK) {
        status = write_changes(output.file, results, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_output_finish(&output, err);
    }
    if (status == LMN_OK) {
        status = lmn__file_publish(output.part, results->path, err);
    }
    if (status != LMN_OK) {
        lmn__h5_output_discard(&output);
    }
    return status;
}

lmn_status lmn_results_flush(lmn_results *results, lmn_error *err)
{
    if (!results->is_changed) {
        return LMN_OK;
    }
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    const lmn_status status = flush_part(results, err);
    lmn__h5_quiet_end(&quiet);
    if (status != LMN_OK) {
        return status;
    }
    results->has_file = true;
    results->is_changed = false;
    lmn__results_drop_entries(results);
    for (lmn_table *table = results->tables; table != NULL; table = table->next) {
        table->kept_rows += table->waiting;
        table->file_rows = table->kept_rows;
        table->waiting = 0;
    }
    return LMN_OK;
}

/* ---- reading back ---- */

static lmn_status check_layout(hid_t group, const lmn_table *table, lmn_error *err)
{
    char *layout = NULL;
    lmn_status status = lmn__h5_read_text(group, "columns", &layout, err);
    if (status == LMN_OK && strcmp(layout, table->layout) != 0) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "the table '%s' has the columns '%.300s', and this run writes "
                               "'%.300s'; use another results file",
                               table->group, layout, table->layout);
    }
    lmn_free(layout);
    return status;
}

/* All columns must have the same number of rows. */
static lmn_status count_rows(hid_t group, lmn_table *table, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = 0; status == LMN_OK && i < table->n_columns; i++) {
        const hid_t dataset = H5Dopen2(group, table->columns[i].name, H5P_DEFAULT);
        lmn__h5_shape shape = {0};
        if (dataset < 0 || lmn__h5_shape_of(dataset, &shape, err) != LMN_OK || shape.n_dims < 1 ||
            (i > 0 && shape.dims[0] != table->file_rows)) {
            status = lmn_error_set(err, LMN_ERR_FORMAT, "the column '%s/%s' is missing or damaged",
                                   table->group, table->columns[i].name);
        }
        table->file_rows = shape.dims[0];
        lmn__h5_close(dataset);
    }
    return status;
}

lmn_status lmn__results_count_below(const lmn_table *table, uint64_t first_key, uint64_t *rows_out,
                                    uint64_t *last_key_out, lmn_error *err)
{
    char path[LMN_PATH_BYTES];
    hid_t file = H5I_INVALID_HID;
    lmn_status status = column_path(table, 0, path, err);
    if (status == LMN_OK) {
        status = lmn__h5_open(table->results->path, &file, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    uint64_t *keys = lmn_alloc((size_t)table->file_rows, sizeof *keys, err);
    const hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
    if (keys == NULL) {
        status = LMN_ERR_MEMORY;
    } else if (H5Dread(dataset, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, keys) < 0) {
        status =
            lmn__h5_error(err, LMN_ERR_IO, "cannot read '%s' of '%s'", path, table->results->path);
    } else {
        uint64_t rows = table->kept_rows;
        while (rows > 0 && keys[rows - 1] >= first_key) {
            rows--;
        }
        *rows_out = rows;
        *last_key_out = rows > 0 ? keys[rows - 1] : 0;
    }
    lmn__h5_close(dataset);
    lmn__h5_close_file(file);
    lmn_free(keys);
    return status;
}

static lmn_status resume_group(hid_t file, lmn_table *table, lmn_error *err)
{
    if (!lmn__h5_has_object(file, table->group)) {
        return LMN_OK;
    }
    const hid_t group = H5Gopen2(file, table->group, H5P_DEFAULT);
    lmn_status status = LMN_OK;
    if (lmn__h5_has_attribute(group, "columns")) {
        status = check_layout(group, table, err);
        if (status == LMN_OK) {
            status = count_rows(group, table, err);
        }
    }
    lmn__h5_close(group);
    return status;
}

lmn_status lmn__results_resume_table(const lmn_results *results, lmn_table *table, lmn_error *err)
{
    hid_t file = H5I_INVALID_HID;
    lmn_status status = lmn__h5_open(results->path, &file, err);
    if (status != LMN_OK) {
        return status;
    }
    status = resume_group(file, table, err);
    lmn__h5_close_file(file);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "'%s'", results->path);
        return status;
    }
    table->kept_rows = table->file_rows;
    table->has_key = table->file_rows > 0;
    if (table->has_key) {
        uint64_t rows = 0;
        status = lmn__results_count_below(table, UINT64_MAX, &rows, &table->last_key, err);
    }
    return status;
}

/*
 * What the columns of a table of text are for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "csv_table_internal.h"
#include "lamina/memory.h"
#include "numbers_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void lmn__csv_table_free(lmn__csv_table *table)
{
    lmn_free(table->names);
    lmn_free(table->features);
    *table = (lmn__csv_table){0};
}

void lmn__csv_column_text(const lmn__csv_table *table, size_t column,
                          char text_out[LMN__COLUMN_TEXT_BYTES])
{
    if (table->names != NULL) {
        (void)snprintf(text_out, LMN__COLUMN_TEXT_BYTES, "column %zu (%.60s)", column + 1,
                       table->names[column]);
    } else {
        (void)snprintf(text_out, LMN__COLUMN_TEXT_BYTES, "column %zu", column + 1);
    }
}

bool lmn__csv_is_missing(const char *cell)
{
    static const char *const words[] = {"", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(cell, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- header ---- */

static bool is_number(const char *cell)
{
    float value = 0.0F;
    return lmn__number_f32(cell, &value) == LMN__NUMBER_OK;
}

/* Copy the cells of the present record. */
static lmn_status keep_names(lmn__csv_table *table, const lmn__csv *csv, lmn_error *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < csv->count; i++) {
        bytes += strlen(csv->cells[i]) + 1;
    }
    table->n_columns = csv->count;
    table->names = lmn_alloc(csv->count * sizeof *table->names + bytes, 1, err);
    if (table->names == NULL) {
        return LMN_ERR_MEMORY;
    }
    char *to = (char *)(table->names + csv->count);
    for (size_t i = 0; i < csv->count; i++) {
        const size_t length = strlen(csv->cells[i]) + 1;
        memcpy(to, csv->cells[i], length);
        table->names[i] = to;
        to += length;
    }
    return LMN_OK;
}

/* Whether row 1, which is in `names`, heads row 2, which the file is at. */
static bool is_heading(const lmn__csv_table *table, const lmn__csv *csv, bool has_second)
{
    bool has_number = false;
    for (size_t i = 0; i < table->n_columns; i++) {
        const bool first = is_number(table->names[i]);
        has_number = has_number || first;
        if (has_second && !first && table->names[i][0] != '\0' && i < csv->count &&
            is_number(csv->cells[i])) {
            return true;
        }
    }
    return !has_number;
}

static lmn_status detect_header(lmn__csv_table *table, lmn__csv *csv, lmn_csv_header header,
                                lmn_error *err)
{
    bool has_first = false;
    bool has_second = false;
    lmn_status status = lmn__csv_next(csv, &has_first, err);
    if (status == LMN_OK && !has_first) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' holds no rows", csv->lines.source.path);
    }
    if (status == LMN_OK) {
        status = keep_names(table, csv, err);
    }
    if (status == LMN_OK) {
        status = lmn__csv_next(csv, &has_second, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    table->has_header = header == LMN_CSV_HEADER_YES ||
                        (header == LMN_CSV_HEADER_AUTO && is_heading(table, csv, has_second));
    if (!table->has_header) {
        lmn_free(table->names);
        table->names = NULL;
    }
    return LMN_OK;
}

lmn_status lmn__csv_table_skip_header(const lmn__csv_table *table, lmn__csv *csv, lmn_error *err)
{
    if (!table->has_header) {
        return LMN_OK;
    }
    bool is_row = false;
    const lmn_status status = lmn__csv_next(csv, &is_row, err);
    if (status != LMN_OK || !is_row) {
        return status;
    }
    for (size_t i = 0; i < table->n_columns && i < csv->count; i++) {
        if (strcmp(table->names[i], csv->cells[i]) != 0) {
            return lmn__lines_error(&csv->lines, err,
                                    "column %zu is '%.60s', and in the training file it is '%.60s'",
                                    i + 1, csv->cells[i], table->names[i]);
        }
    }
    return LMN_OK;
}

/* ---- columns ---- */

static lmn_status no_column(const lmn__csv_table *table, const char *path, const char *column,
                            lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_ARGUMENT,
                         "'%s' has no column '%s'; it has %zu columns %s; give a name, or a number "
                         "from 1 on",
                         path, column, table->n_columns,
                         table->has_header ? "with names in its first row" : "without names");
}

/* A column by name, else by number from 1. */
static lmn_status find_column(const lmn__csv_table *table, const char *path, const char *column,
                              size_t *index_out, lmn_error *err)
{
    size_t n_found = 0;
    for (size_t i = 0; table->has_header && i < table->n_columns; i++) {
        if (strcmp(table->names[i], column) == 0) {
            *index_out = i;
            n_found++;
        }
    }
    if (n_found > 1) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s' has %zu columns '%s'; say which by its number", path, n_found,
                             column);
    }
    uint64_t number = 0;
    if (n_found == 0) {
        if (lmn__number_u64(column, &number) != LMN__NUMBER_OK || number == 0 ||
            number > table->n_columns) {
            return no_column(table, path, column, err);
        }
        *index_out = (size_t)number - 1;
    }
    return LMN_OK;
}

static lmn_status mark_columns(lmn__csv_table *table, const char *path,
                               const lmn_import_csv_options *options, bool *is_other,
                               lmn_error *err)
{
    const char *answer = options->label != NULL ? options->label : options->target;
    lmn_status status = find_column(table, path, answer, &table->answer, err);
    for (size_t i = 0; status == LMN_OK && i < options->n_drop; i++) {
        size_t column = 0;
        status = find_column(table, path, options->drop[i], &column, err);
        if (status == LMN_OK && column == table->answer) {
            status =
                lmn_error_set(err, LMN_ERR_ARGUMENT,
                              "column '%s' is the answer and cannot be dropped", options->drop[i]);
        }
        if (status == LMN_OK) {
            is_other[column] = true;
        }
    }
    if (status == LMN_OK) {
        is_other[table->answer] = true;
    }
    return status;
}

static lmn_status choose_features(lmn__csv_table *table, const char *path,
                                  const lmn_import_csv_options *options, lmn_error *err)
{
    bool *is_other = lmn_alloc(table->n_columns, sizeof *is_other, err);
    table->features = lmn_alloc(table->n_columns, sizeof *table->features, err);
    lmn_status status = is_other == NULL || table->features == NULL
                            ? LMN_ERR_MEMORY
                            : mark_columns(table, path, options, is_other, err);
    for (size_t i = 0; status == LMN_OK && i < table->n_columns; i++) {
        if (!is_other[i]) {
            table->features[table->n_features++] = i;
        }
    }
    if (status == LMN_OK && table->n_features == 0) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "'%s' has no column of features beside the answer; is '%c' what "
                               "parts its columns?",
                               path, options->separator == 0 ? ',' : options->separator);
    }
    lmn_free(is_other);
    return status;
}

lmn_status lmn__csv_table_plan(lmn__csv_table *table, lmn__csv *csv,
                               const lmn_import_csv_options *options, lmn_error *err)
{
    lmn_status status = detect_header(table, csv, options->header, err);
    if (status == LMN_OK) {
        status = choose_features(table, csv->lines.source.path, options, err);
    }
    return status == LMN_OK ? lmn__csv_rewind(csv, err) : status;
}

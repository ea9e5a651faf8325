/*
 * Tables of results in memory: rows that wait for a flush.
 *
 * Waiting rows are kept column by column, as in the file, in memory taken when the table is made,
 * so appending costs no allocation and flushing no rearranging.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "results_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void lmn__table_destroy(lmn_table *table)
{
    if (table != NULL) {
        lmn_free(table->layout);
        lmn_free(table->columns);
        lmn_free(table->cells);
        lmn_free(table);
    }
}

size_t lmn__table_offset(const lmn_table *table, size_t index)
{
    size_t offset = 0;
    for (size_t i = 0; i < index; i++) {
        offset += table->columns[i].width;
    }
    return offset;
}

static lmn_status check_columns(const char *group, const lmn_column *columns, size_t n_columns,
                                lmn_error *err)
{
    bool is_good = group[0] == '/' && strlen(group) < LMN__RESULTS_NAME_BYTES && n_columns > 0 &&
                   columns[0].type == LMN_COLUMN_U64 && columns[0].width == 1;
    for (size_t i = 0; is_good && i < n_columns; i++) {
        is_good = columns[i].width > 0 && strlen(columns[i].name) < LMN__RESULTS_NAME_BYTES;
    }
    return is_good ? LMN_OK
                   : lmn_error_set(err, LMN_ERR_ARGUMENT,
                                   "the table '%.200s' needs a place that begins with '/', a first "
                                   "column of single whole numbers, and widths above 0",
                                   group);
}

static const char *const type_names[] = {
    [LMN_COLUMN_F64] = "f64", [LMN_COLUMN_U64] = "u64", [LMN_COLUMN_F32_EACH] = "f32"};

/* "step u64, loss f64, levels u64[8]": what a resumed file must have as well. */
static lmn_status describe_layout(lmn_table *table, lmn_error *err)
{
    const size_t per_column = LMN__RESULTS_NAME_BYTES + 64;
    const size_t capacity = table->n_columns * per_column;
    table->layout = lmn_alloc(capacity, 1, err);
    if (table->layout == NULL) {
        return LMN_ERR_MEMORY;
    }
    size_t used = 0;
    for (size_t i = 0; i < table->n_columns; i++) {
        const lmn_column *column = &table->columns[i];
        char width[32] = "";
        if (column->type == LMN_COLUMN_F32_EACH) {
            (void)snprintf(width, sizeof width, "[]");
        } else if (column->width > 1) {
            (void)snprintf(width, sizeof width, "[%zu]", column->width);
        }
        used += (size_t)snprintf(table->layout + used, capacity - used, "%s%s %s%s",
                                 i == 0 ? "" : ", ", column->name, type_names[column->type], width);
    }
    return LMN_OK;
}

static lmn_status table_alloc(const lmn_column *columns, size_t n_columns, size_t capacity,
                              lmn_table *table, lmn_error *err)
{
    table->columns = lmn_alloc(n_columns, sizeof *columns, err);
    if (table->columns == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < n_columns; i++) {
        table->columns[i] = columns[i];
    }
    table->n_columns = n_columns;
    table->n_cells = lmn__table_offset(table, n_columns);
    table->capacity = capacity;
    table->cells = lmn_alloc(capacity, table->n_cells * sizeof *table->cells, err);
    return table->cells == NULL ? LMN_ERR_MEMORY : describe_layout(table, err);
}

lmn_status lmn_results_add_table(lmn_results *results, const char *group, const lmn_column *columns,
                                 size_t n_columns, size_t capacity, lmn_table **table_out,
                                 lmn_error *err)
{
    lmn_status status = check_columns(group, columns, n_columns, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_table *table = lmn_alloc(1, sizeof *table, err);
    if (table == NULL) {
        return LMN_ERR_MEMORY;
    }
    table->results = results;
    memcpy(table->group, group, strlen(group) + 1);
    status = table_alloc(columns, n_columns, capacity, table, err);
    if (status == LMN_OK && results->has_file) {
        const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
        status = lmn__results_resume_table(results, table, err);
        lmn__h5_quiet_end(&quiet);
    }
    if (status != LMN_OK) {
        lmn__table_destroy(table);
        return status;
    }
    lmn_table **link = &results->tables;
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = table;
    results->is_changed = true;
    *table_out = table;
    return LMN_OK;
}

lmn_status lmn_table_append(lmn_table *table, const lmn_cell *cells, lmn_error *err)
{
    if (table->waiting == table->capacity) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the table '%s' is full: %zu rows wait for a flush", table->group,
                             table->waiting);
    }
    if (table->has_key && cells[0].u64 <= table->last_key) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the key '%s' of the table '%s' must ascend: %" PRIu64
                             " follows %" PRIu64,
                             table->columns[0].name, table->group, cells[0].u64, table->last_key);
    }
    const lmn_cell *from = cells;
    lmn_cell *column = table->cells;
    for (size_t i = 0; i < table->n_columns; i++) {
        const size_t width = table->columns[i].width;
        memcpy(column + table->waiting * width, from, width * sizeof *from);
        from += width;
        column += table->capacity * width;
    }
    table->waiting++;
    table->has_key = true;
    table->last_key = cells[0].u64;
    table->results->is_changed = true;
    return LMN_OK;
}

size_t lmn_table_waiting(const lmn_table *table)
{
    return table->waiting;
}

size_t lmn_table_room(const lmn_table *table)
{
    return table->capacity - table->waiting;
}

lmn_status lmn_table_truncate(lmn_table *table, uint64_t first_key, lmn_error *err)
{
    uint64_t kept = table->kept_rows;
    uint64_t last_key = 0;
    if (kept > 0) {
        const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
        const lmn_status status = lmn__results_count_below(table, first_key, &kept, &last_key, err);
        lmn__h5_quiet_end(&quiet);
        if (status != LMN_OK) {
            return status;
        }
    }
    /* Column 0, the keys, stands first in the cells and ascends. */
    while (table->waiting > 0 && table->cells[table->waiting - 1].u64 >= first_key) {
        table->waiting--;
    }
    table->kept_rows = kept;
    table->has_key = kept > 0 || table->waiting > 0;
    table->last_key = table->waiting > 0 ? table->cells[table->waiting - 1].u64 : last_key;
    table->results->is_changed = true;
    return LMN_OK;
}

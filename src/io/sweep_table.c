/*
 * The table of a sweep: attributes that runs tell, one column for each name.
 *
 * Runs need not tell the same. A column is of whole numbers when every run has one; of numbers,
 * with NaN where there is none, when no run has a text; else of texts, empty where there is none.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "sweep_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_BYTES 32

typedef struct cell {
    bool is_there;
    lmn_value_type type;
    uint64_t u64;
    double f64;
    char *text; /* owned; also of a number */
} cell;

struct lmn__sweep_column {
    struct lmn__sweep_column *next; /* owned */
    char *name;                     /* owned */
    cell *cells;                    /* [n_rows] owned */
};

typedef struct lmn__sweep_column column;

static char *copy_text(const char *text, lmn_error *err)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = lmn_alloc(bytes, 1, err);
    if (copy != NULL) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

static void free_column(column *c, size_t n_rows)
{
    for (size_t i = 0; c->cells != NULL && i < n_rows; i++) {
        lmn_free(c->cells[i].text);
    }
    lmn_free(c->cells);
    lmn_free(c->name);
    lmn_free(c);
}

void lmn__sweep_table_free(lmn__sweep_table *table)
{
    while (table->columns != NULL) {
        column *first = table->columns;
        table->columns = first->next;
        free_column(first, table->n_rows);
    }
}

/* The column of that name, made if need be; NULL when memory is short. */
static column *require_column(lmn__sweep_table *table, const char *name, lmn_error *err)
{
    column **link = &table->columns;
    while (*link != NULL && strcmp((*link)->name, name) < 0) {
        link = &(*link)->next;
    }
    if (*link != NULL && strcmp((*link)->name, name) == 0) {
        return *link;
    }
    column *made = lmn_alloc(1, sizeof *made, err);
    if (made == NULL) {
        return NULL;
    }
    made->name = copy_text(name, err);
    made->cells = lmn_alloc(table->n_rows, sizeof *made->cells, err);
    if (made->name == NULL || made->cells == NULL) {
        free_column(made, table->n_rows);
        return NULL;
    }
    made->next = *link;
    *link = made;
    return made;
}

/* Where attributes go while they are visited. */
typedef struct target {
    lmn__sweep_table *table;
    size_t row;
} target;

static lmn_status take(void *user, const lmn_value *value, lmn_error *err)
{
    const target *to = user;
    column *c = require_column(to->table, value->name, err);
    if (c == NULL) {
        return LMN_ERR_MEMORY;
    }
    char number[NUMBER_BYTES] = "";
    cell *at = &c->cells[to->row];
    lmn_free(at->text);
    *at = (cell){.is_there = true, .type = value->type, .u64 = value->u64, .f64 = value->f64};
    if (value->type == LMN_VALUE_U64) {
        at->f64 = (double)value->u64;
        (void)snprintf(number, sizeof number, "%" PRIu64, value->u64);
    } else if (value->type == LMN_VALUE_F64) {
        (void)snprintf(number, sizeof number, "%.17g", value->f64);
    }
    at->text = copy_text(value->type == LMN_VALUE_TEXT ? value->text : number, err);
    return at->text == NULL ? LMN_ERR_MEMORY : LMN_OK;
}

lmn_status lmn__sweep_table_add(lmn__sweep_table *table, size_t row, const char *path,
                                lmn_error *err)
{
    static const char *const groups[] = {"/configuration", "/summary"};
    lmn_file *file = NULL;
    lmn_status status = lmn_file_open(path, &file, err);
    target to = {.table = table, .row = row};
    for (size_t i = 0; status == LMN_OK && i < sizeof groups / sizeof groups[0]; i++) {
        status = lmn_file_visit_attributes(file, groups[i], take, &to, err);
    }
    lmn_file_close(file);
    return status;
}

static lmn_value_type type_of(const column *c, size_t n_rows)
{
    lmn_value_type type = LMN_VALUE_U64;
    for (size_t i = 0; i < n_rows; i++) {
        const cell *at = &c->cells[i];
        if (at->is_there && at->type == LMN_VALUE_TEXT) {
            return LMN_VALUE_TEXT;
        }
        if (!at->is_there || at->type == LMN_VALUE_F64) {
            type = LMN_VALUE_F64;
        }
    }
    return type;
}

static lmn_status write_text_column(const column *c, size_t n_rows, hid_t file, const char *path,
                                    lmn_error *err)
{
    const char **texts = lmn_alloc(n_rows, sizeof *texts, err);
    if (texts == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < n_rows; i++) {
        texts[i] = c->cells[i].is_there ? c->cells[i].text : "";
    }
    const lmn_status status = lmn__h5_write_texts(file, path, texts, n_rows, err);
    lmn_free(texts);
    return status;
}

/* Eight bytes a number, whole or not. */
static lmn_status write_number_column(const column *c, size_t n_rows, bool is_whole, hid_t file,
                                      const char *path, lmn_error *err)
{
    union {
        uint64_t u64;
        double f64;
    } *values = lmn_alloc(n_rows, sizeof *values, err);
    if (values == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < n_rows; i++) {
        const cell *at = &c->cells[i];
        if (is_whole) {
            values[i].u64 = at->u64;
        } else {
            values[i].f64 = at->is_there ? at->f64 : (double)NAN;
        }
    }
    const lmn__h5_shape shape = {.n_dims = 1, .dims = {n_rows}};
    hid_t dataset = H5I_INVALID_HID;
    lmn_status status = lmn__h5_create_array(file, path, is_whole ? H5T_STD_U64LE : H5T_IEEE_F64LE,
                                             &shape, "1", &dataset, err);
    if (status == LMN_OK && H5Dwrite(dataset, is_whole ? H5T_NATIVE_UINT64 : H5T_NATIVE_DOUBLE,
                                     H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
        status = lmn__h5_error(err, LMN_ERR_IO, "cannot write '%s'", path);
    }
    lmn__h5_close(dataset);
    lmn_free(values);
    return status;
}

lmn_status lmn__sweep_table_write(const lmn__sweep_table *table, hid_t file, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (const column *c = table->columns; status == LMN_OK && c != NULL; c = c->next) {
        char path[LMN_PATH_BYTES];
        (void)snprintf(path, sizeof path, "/table/%s", c->name);
        const lmn_value_type type = type_of(c, table->n_rows);
        status =
            type == LMN_VALUE_TEXT
                ? write_text_column(c, table->n_rows, file, path, err)
                : write_number_column(c, table->n_rows, type == LMN_VALUE_U64, file, path, err);
    }
    return status;
}

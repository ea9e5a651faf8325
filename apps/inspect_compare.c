/*
 * Runs side by side, one line each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "inspect.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define N_COLUMNS  9
#define CELL_BYTES 256

static const char *const titles[N_COLUMNS] = {"run",      "compress",       "feedback",
                                              "allocate", "ranks",          "test accuracy",
                                              "seconds",  "gradients sent", "saving"};

typedef struct row {
    char cells[N_COLUMNS][CELL_BYTES];
} row;

static void fill_text(char *cell, const attribute *value)
{
    (void)snprintf(cell, CELL_BYTES, "%.60s", value->is_there ? value->text : "-");
}

static lmn_status fill_configuration(const lmn_file *file, row *r, lmn_error *err)
{
    static const char *const names[] = {"compress", "feedback", "allocate"};
    for (size_t i = 0; i < 3; i++) {
        attribute value;
        const lmn_status status = inspect_find(file, "/configuration", names[i], &value, err);
        if (status != LMN_OK) {
            return status;
        }
        fill_text(r->cells[1 + i], &value);
    }
    return LMN_OK;
}

static lmn_status fill_summary(const lmn_file *file, row *r, lmn_error *err)
{
    static const char *const names[] = {"ranks", "test_accuracy", "seconds", "bytes_sent",
                                        "bytes_dense"};
    attribute values[5];
    for (size_t i = 0; i < 5; i++) {
        const lmn_status status = inspect_find(file, "/summary", names[i], &values[i], err);
        if (status != LMN_OK) {
            return status;
        }
    }
    for (size_t i = 4; i < N_COLUMNS; i++) {
        (void)snprintf(r->cells[i], CELL_BYTES, "-");
    }
    if (values[0].is_there) {
        (void)snprintf(r->cells[4], CELL_BYTES, "%" PRIu64, values[0].u64);
    }
    if (values[1].is_there) {
        (void)snprintf(r->cells[5], CELL_BYTES, "%.4f", values[1].f64);
    }
    if (values[2].is_there) {
        (void)snprintf(r->cells[6], CELL_BYTES, "%.1f", values[2].f64);
    }
    if (values[3].is_there) {
        (void)snprintf(r->cells[7], CELL_BYTES, "%.1f MB", values[3].f64 / 1e6);
        (void)snprintf(r->cells[8], CELL_BYTES, "%s",
                       text_saving(values[3].u64, values[4].u64).data);
    }
    return LMN_OK;
}

static lmn_status fill_row(const inspected *run, row *r, lmn_error *err)
{
    const char *slash = strrchr(run->path, '/');
    (void)snprintf(r->cells[0], CELL_BYTES, "%s", slash == NULL ? run->path : slash + 1);
    const lmn_status status = fill_configuration(run->file, r, err);
    return status != LMN_OK ? status : fill_summary(run->file, r, err);
}

/* Texts to the left, numbers to the right. */
static void print_row(const row *r, const size_t *widths)
{
    for (size_t i = 0; i < N_COLUMNS; i++) {
        const int width = i < 4 ? -(int)widths[i] : (int)widths[i];
        (void)printf("%s%*s", i == 0 ? "" : "  ", width, r->cells[i]);
    }
    (void)putchar('\n');
}

static void widen(size_t *widths, const row *r)
{
    for (size_t i = 0; i < N_COLUMNS; i++) {
        const size_t length = strlen(r->cells[i]);
        widths[i] = length > widths[i] ? length : widths[i];
    }
}

lmn_status inspect_print_comparison(const inspected *runs, size_t count, lmn_error *err)
{
    row *rows = lmn_alloc(count + 1, sizeof *rows, err);
    if (rows == NULL) {
        return LMN_ERR_MEMORY;
    }
    size_t widths[N_COLUMNS] = {0};
    for (size_t i = 0; i < N_COLUMNS; i++) {
        (void)snprintf(rows[0].cells[i], CELL_BYTES, "%s", titles[i]);
    }
    widen(widths, &rows[0]);
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < count && status == LMN_OK; i++) {
        status = fill_row(&runs[i], &rows[i + 1], err);
        widen(widths, &rows[i + 1]);
    }
    for (size_t i = 0; i <= count && status == LMN_OK; i++) {
        print_row(&rows[i], widths);
    }
    lmn_free(rows);
    return status;
}

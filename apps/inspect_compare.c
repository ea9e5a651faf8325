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
#define PATH_BYTES 128

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

/* An attribute of a group of the run. */
static lmn_status find(const inspected *run, const char *group, const char *name,
                       attribute *attribute_out, lmn_error *err)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s%s", run->root == NULL ? "" : run->root, group);
    return inspect_find(run->file, path, name, attribute_out, err);
}

static lmn_status fill_configuration(const inspected *run, row *r, lmn_error *err)
{
    static const char *const names[] = {"compress", "feedback", "allocate"};
    for (size_t i = 0; i < 3; i++) {
        attribute value;
        const lmn_status status = find(run, "/configuration", names[i], &value, err);
        if (status != LMN_OK) {
            return status;
        }
        fill_text(r->cells[1 + i], &value);
    }
    return LMN_OK;
}

static lmn_status fill_summary(const inspected *run, row *r, lmn_error *err)
{
    static const char *const names[] = {"ranks", "test_accuracy", "seconds", "bytes_sent",
                                        "bytes_dense"};
    attribute values[5];
    for (size_t i = 0; i < 5; i++) {
        const lmn_status status = find(run, "/summary", names[i], &values[i], err);
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
    /* The runs of a sweep are hardly told apart by names without their folders. */
    const char *name = slash == NULL || run->root != NULL ? run->path : slash + 1;
    (void)snprintf(r->cells[0], CELL_BYTES, "%s", name);
    const lmn_status status = fill_configuration(run, r, err);
    return status != LMN_OK ? status : fill_summary(run, r, err);
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

/* How many runs the file has: as many as names. */
static lmn_status count_names(void *user, const lmn_file_array *array, lmn_error *err)
{
    (void)err;
    if (strcmp(array->path, "/table/file") == 0 && array->n_dims == 1) {
        *(size_t *)user = (size_t)array->dims[0];
    }
    return LMN_OK;
}

/* What a run of a sweep is called, in the file and by its user. */
typedef struct run_names {
    char root[PATH_BYTES];
    char path[CELL_BYTES];
} run_names;

static lmn_status print_runs(const inspected *one, inspected *runs, run_names *names, size_t count,
                             lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < count && status == LMN_OK; i++) {
        (void)snprintf(names[i].root, PATH_BYTES, "/runs/%04zu", i);
        status = lmn_file_read_text(one->file, "/table/file", i, names[i].path, CELL_BYTES, err);
        runs[i] = (inspected){.path = names[i].path, .root = names[i].root, .file = one->file};
    }
    return status == LMN_OK ? inspect_print_comparison(runs, count, err) : status;
}

lmn_status inspect_print_sweep(const inspected *one, lmn_error *err)
{
    size_t count = 0;
    lmn_status status = lmn_file_visit_arrays(one->file, count_names, &count, err);
    if (status != LMN_OK) {
        return status;
    }
    (void)printf("%s: sweep of %zu run%s\n", one->path, count, count == 1 ? "" : "s");
    inspected *runs = lmn_alloc(count, sizeof *runs, err);
    run_names *names = lmn_alloc(count, sizeof *names, err);
    if (runs == NULL || names == NULL) {
        status = LMN_ERR_MEMORY;
    } else {
        status = print_runs(one, runs, names, count, err);
    }
    lmn_free(names);
    lmn_free(runs);
    return status;
}

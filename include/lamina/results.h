/*
 * Results: what happened in a run, in run.h5.
 *
 * One rank writes. A results file has attributes in groups (configuration, machine, summary) and
 * tables, one HDF5 dataset per column, with units. Rows are collected in memory and
 * lmn_results_flush brings the file up to date: it writes beside and renames, so the file under its
 * name can be read at any moment and survives a kill. File format: docs/formats.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_RESULTS_H
#define LAMINA_RESULTS_H

#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_results lmn_results;

/**
 * Open the results file `path` for writing: a new one, or with `resume` the one that is there, if
 * any, with all rows and attributes so far.
 * Errors: LMN_ERR_IO, LMN_ERR_FORMAT.
 */
lmn_status lmn_results_open(const char *path, bool resume, lmn_results **results_out,
                            lmn_error *err) LMN_NODISCARD;

/** Rows not flushed are lost: flush first. NULL is allowed. */
void lmn_results_close(lmn_results *results);

/* Set an attribute of a group ("/configuration"); written at the next flush. Texts are copied. */
lmn_status lmn_results_set_text(lmn_results *results, const char *group, const char *name,
                                const char *value, lmn_error *err) LMN_NODISCARD;
lmn_status lmn_results_set_u64(lmn_results *results, const char *group, const char *name,
                               uint64_t value, lmn_error *err) LMN_NODISCARD;
lmn_status lmn_results_set_f64(lmn_results *results, const char *group, const char *name,
                               double value, lmn_error *err) LMN_NODISCARD;

typedef enum lmn_column_type {
    LMN_COLUMN_F64,
    LMN_COLUMN_U64,
    /* One value for each of some members, such as ranks, given as f64 and kept as f32: always
       [rows, width]. A file may be resumed with another width; it then has the largest one, and NaN
       where a row has no value. */
    LMN_COLUMN_F32_EACH
} lmn_column_type;

/** A column of a table. Strings are borrowed until the results are closed. */
typedef struct lmn_column {
    const char *name; /* "bytes_sent" */
    const char *unit; /* "byte"; "1" when there is none */
    const char *help; /* one line, kept as an attribute */
    lmn_column_type type;
    size_t width; /* values per row, 1 for a plain column; more makes it [rows, width] */
} lmn_column;

/** A cell is given in the type of its column; f64 for LMN_COLUMN_F32_EACH. */
typedef union lmn_cell {
    double f64;
    uint64_t u64;
} lmn_cell;

typedef struct lmn_table lmn_table;

/**
 * A table ("/steps"). Column 0 is its key: u64, ascending, made the dimension scale of the others.
 * capacity   rows that can wait for a flush; all memory is taken here
 * table_out  owned by the results
 * Errors: LMN_ERR_MEMORY, LMN_ERR_FORMAT (the resumed file has other columns).
 */
lmn_status lmn_results_add_table(lmn_results *results, const char *group, const lmn_column *columns,
                                 size_t n_columns, size_t capacity, lmn_table **table_out,
                                 lmn_error *err) LMN_NODISCARD;

/** A list of texts as a dataset ("/layers/name"); written at the next flush. Copied. */
lmn_status lmn_results_set_texts(lmn_results *results, const char *path, const char *const *texts,
                                 size_t n, lmn_error *err) LMN_NODISCARD;

/** A list of numbers with a unit as a dataset ("/x"). Copied. */
lmn_status lmn_results_set_f64s(lmn_results *results, const char *path, const char *unit,
                                const double *values, size_t n, lmn_error *err) LMN_NODISCARD;

/** A list of whole numbers with a unit as a dataset ("/layers/parameters"). Copied. */
lmn_status lmn_results_set_u64s(lmn_results *results, const char *path, const char *unit,
                                const uint64_t *values, size_t n, lmn_error *err) LMN_NODISCARD;

/**
 * Append a row: cells [sum of the columns' widths]. No heap allocation.
 * Errors: LMN_ERR_ARGUMENT when capacity rows wait already, or the key does not ascend.
 */
lmn_status lmn_table_append(lmn_table *table, const lmn_cell *cells, lmn_error *err) LMN_NODISCARD;

/** Rows that wait for a flush, and how many more can. */
size_t lmn_table_waiting(const lmn_table *table);
size_t lmn_table_room(const lmn_table *table);

/** Drop all rows, flushed ones too, whose key is `first_key` or above: after a resume. */
lmn_status lmn_table_truncate(lmn_table *table, uint64_t first_key, lmn_error *err) LMN_NODISCARD;

/** Bring the file up to date. Errors: LMN_ERR_IO; the file under its name is then the old one. */
lmn_status lmn_results_flush(lmn_results *results, lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif

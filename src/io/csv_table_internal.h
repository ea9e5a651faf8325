/*
 * What the columns of a table of text are for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_CSV_TABLE_INTERNAL_H
#define LAMINA_IO_CSV_TABLE_INTERNAL_H

#include "csv_internal.h"
#include "lamina/import.h"

#define LMN__COLUMN_TEXT_BYTES 96

/** Starts as {0}. */
typedef struct lmn__csv_table {
    bool has_header;
    size_t n_columns;
    char **names;      /* [n_columns] from the header, in one piece; owned; NULL without */
    size_t answer;     /* the column of labels or targets */
    size_t n_features; /* the other columns that are kept */
    size_t *features;  /* [n_features] columns, ascending; owned */
} lmn__csv_table;

/**
 * Look at the first two records of the training file, find out whether there is a header, and look
 * up the columns that the options name. The file is at its front again then.
 * Errors: LMN_ERR_FORMAT (no rows), LMN_ERR_ARGUMENT (no such column), those of lmn__csv_next.
 */
lmn_status lmn__csv_table_plan(lmn__csv_table *table, lmn__csv *csv,
                               const lmn_import_csv_options *options, lmn_error *err) LMN_NODISCARD;
void lmn__csv_table_free(lmn__csv_table *table);

/** Pass over the header, where there is one. Errors: LMN_ERR_FORMAT when it is another. */
lmn_status lmn__csv_table_skip_header(const lmn__csv_table *table, lmn__csv *csv,
                                      lmn_error *err) LMN_NODISCARD;

/** "column 3" or "column 3 (age)", for messages. */
void lmn__csv_column_text(const lmn__csv_table *table, size_t column,
                          char text_out[LMN__COLUMN_TEXT_BYTES]);

/** True for a cell that holds no value: empty, or what tables write in its place. */
bool lmn__csv_is_missing(const char *cell);

#endif

/*
 * Reading tables of text: records of cells that a character parts, quoted as RFC 4180 has it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_CSV_INTERNAL_H
#define LAMINA_IO_CSV_INTERNAL_H

#include "lines_internal.h"

/** A file and its present record. Starts as {0}. */
typedef struct lmn__csv {
    lmn__lines lines;
    char separator;
    char **cells; /* [count] in the line, without quotes; blanks around unquoted ones are gone;
                     owned */
    size_t count;
    size_t capacity;
} lmn__csv;

lmn_status lmn__csv_open(lmn__csv *csv, const char *path, char separator,
                         lmn_error *err) LMN_NODISCARD;
void lmn__csv_close(lmn__csv *csv);

/**
 * Go to the next record, over blank lines; found_out becomes false at the end.
 * Errors: LMN_ERR_FORMAT, naming file and line (a quote that is not closed, text beside a quoted
 * cell); LMN_ERR_IO, LMN_ERR_MEMORY.
 */
lmn_status lmn__csv_next(lmn__csv *csv, bool *found_out, lmn_error *err) LMN_NODISCARD;

/** Back to the front. Errors: LMN_ERR_IO (a pipe). */
lmn_status lmn__csv_rewind(lmn__csv *csv, lmn_error *err) LMN_NODISCARD;

#endif

/*
 * Reading tables of text: records of cells that a character parts, quoted as RFC 4180 has it.
 *
 * A record ends where a line ends outside quotes: lines are joined as long as they have an odd
 * number of quotes. Then the record is cut and its quotes are taken away in place.
 *
 * Format: Y. Shafranovich, RFC 4180, "Common format and MIME type for CSV files".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "csv_internal.h"
#include "lamina/memory.h"

#include <string.h>

/* Wider tables are taken for something else. */
#define CELLS_MAX ((size_t)1 << 24)

lmn_status lmn__csv_open(lmn__csv *csv, const char *path, char separator, lmn_error *err)
{
    *csv = (lmn__csv){.separator = separator};
    return lmn__lines_open(&csv->lines, path, err);
}

void lmn__csv_close(lmn__csv *csv)
{
    lmn__lines_close(&csv->lines);
    lmn_free(csv->cells);
    csv->cells = NULL;
}

static lmn_status add_cell(lmn__csv *csv, char *cell, lmn_error *err)
{
    if (csv->count == csv->capacity) {
        const size_t capacity = csv->capacity == 0 ? 64 : 2 * csv->capacity;
        if (capacity > CELLS_MAX) {
            return lmn__lines_error(&csv->lines, err, "it has more than %zu columns",
                                    CELLS_MAX / 2);
        }
        char **cells = lmn_alloc(capacity, sizeof *cells, err);
        if (cells == NULL) {
            return LMN_ERR_MEMORY;
        }
        if (csv->count > 0) {
            memcpy(cells, csv->cells, csv->count * sizeof *cells);
        }
        lmn_free(csv->cells);
        csv->cells = cells;
        csv->capacity = capacity;
    }
    csv->cells[csv->count++] = cell;
    return LMN_OK;
}

static bool is_blank(const lmn__csv *csv, char c)
{
    return (c == ' ' || c == '\t') && c != csv->separator;
}

/* A quoted cell that begins at `from`: ended in place. Returns what follows the closing quote, or
 * NULL when there is none. */
static char *unquote(char *from)
{
    char *to = from;
    char *at = from + 1;
    while (*at != '\0' && (at[0] != '"' || at[1] == '"')) {
        at += *at == '"' ? 1 : 0;
        *to++ = *at++;
    }
    const bool is_closed = *at == '"';
    *to = '\0';
    return is_closed ? at + 1 : NULL;
}

static void trim_end(const lmn__csv *csv, const char *cell, char *end)
{
    while (end > cell && is_blank(csv, end[-1])) {
        end--;
    }
    *end = '\0';
}

static char *skip_blanks(const lmn__csv *csv, char *at)
{
    while (is_blank(csv, *at)) {
        at++;
    }
    return at;
}

/* The end of the cell at `cell`, whose text is ended in place: a separator or the record's end. */
static lmn_status find_end(const lmn__csv *csv, char *cell, char **end_out, bool *is_last_out,
                           lmn_error *err)
{
    char *end = strchr(cell, csv->separator);
    end = end == NULL ? cell + strlen(cell) : end;
    const bool is_quoted = *cell == '"';
    if (is_quoted) {
        end = unquote(cell);
        if (end == NULL) {
            return lmn__lines_error(&csv->lines, err, "a quote in column %zu is not closed",
                                    csv->count + 1);
        }
        end = skip_blanks(csv, end);
    }
    if (*end != '\0' && *end != csv->separator) {
        return lmn__lines_error(&csv->lines, err, "column %zu has text behind its closing quote",
                                csv->count + 1);
    }
    *is_last_out = *end == '\0';
    *end_out = end;
    if (!is_quoted) {
        trim_end(csv, cell, end);
    }
    return LMN_OK;
}

/* Cut the present line into cells. */
static lmn_status cut(lmn__csv *csv, lmn_error *err)
{
    char *at = csv->lines.text;
    bool is_last = false;
    csv->count = 0;
    lmn_status status = LMN_OK;
    while (status == LMN_OK && !is_last) {
        char *cell = skip_blanks(csv, at);
        status = find_end(csv, cell, &at, &is_last, err);
        if (status == LMN_OK) {
            status = add_cell(csv, cell, err);
            at++;
        }
    }
    return status;
}

static size_t count_quotes(const char *text)
{
    size_t n = 0;
    for (const char *at = strchr(text, '"'); at != NULL; at = strchr(at + 1, '"')) {
        n++;
    }
    return n;
}

/* Add lines until no quote is open. */
static lmn_status complete(lmn__csv *csv, lmn_error *err)
{
    size_t n_quotes = count_quotes(csv->lines.text);
    while (n_quotes % 2 == 1) {
        const size_t before = csv->lines.length;
        bool is_line = false;
        const lmn_status status = lmn__lines_join(&csv->lines, &is_line, err);
        if (status != LMN_OK) {
            return status;
        }
        if (!is_line) {
            return lmn__lines_error(&csv->lines, err, "a quote that is opened here is not closed");
        }
        n_quotes += count_quotes(csv->lines.text + before);
    }
    return LMN_OK;
}

lmn_status lmn__csv_next(lmn__csv *csv, bool *found_out, lmn_error *err)
{
    bool is_line = true;
    lmn_status status = LMN_OK;
    do {
        status = lmn__lines_next(&csv->lines, &is_line, err);
    } while (status == LMN_OK && is_line &&
             csv->lines.text[strspn(csv->lines.text, " \t")] == '\0');
    *found_out = is_line;
    if (status != LMN_OK || !is_line) {
        return status;
    }
    status = complete(csv, err);
    return status == LMN_OK ? cut(csv, err) : status;
}

lmn_status lmn__csv_rewind(lmn__csv *csv, lmn_error *err)
{
    return lmn__lines_rewind(&csv->lines, err);
}

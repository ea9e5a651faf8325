/*
 * Text files line by line, plain or gzip, of lines of any length.
 *
 * The file is read in blocks; a line is copied out of them into memory that grows with the longest.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "lines_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)1 << 18)

/* No table has longer lines; a file without line ends is no text. */
#define LINE_BYTES_MAX ((size_t)1 << 28)

lmn_status lmn__lines_open(lmn__lines *lines, const char *path, lmn_error *err)
{
    *lines = (lmn__lines){0};
    lmn_status status = lmn__source_open(&lines->source, path, err);
    if (status == LMN_OK) {
        lines->block = lmn_alloc(BLOCK_BYTES, 1, err);
        status = lines->block == NULL ? LMN_ERR_MEMORY : LMN_OK;
    }
    if (status != LMN_OK) {
        lmn__lines_close(lines);
    }
    return status;
}

void lmn__lines_close(lmn__lines *lines)
{
    lmn__source_close(&lines->source);
    lmn_free(lines->block);
    lines->block = NULL;
    lmn_free(lines->text);
    lines->text = NULL;
}

lmn_status lmn__lines_error(const lmn__lines *lines, lmn_error *err, const char *format, ...)
{
    char what[LMN_ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return lmn_error_set(err, LMN_ERR_FORMAT, "line %" PRIu64 " of '%s': %s", lines->first,
                         lines->source.path, what);
}

static lmn_status refill(lmn__lines *lines, lmn_error *err)
{
    lines->next = 0;
    lines->held = 0;
    return lmn__source_read_some(&lines->source, lines->block, BLOCK_BYTES, &lines->held, err);
}

/* Room for `bytes` more characters and the end. */
static lmn_status reserve(lmn__lines *lines, size_t bytes, lmn_error *err)
{
    const size_t needed = lines->length + bytes + 1;
    if (needed <= lines->capacity) {
        return LMN_OK;
    }
    if (needed > LINE_BYTES_MAX) {
        return lmn__lines_error(lines, err, "it has more than %zu MiB; is this a text file?",
                                LINE_BYTES_MAX >> 20);
    }
    const size_t capacity = 2 * needed;
    char *text = lmn_alloc(capacity, 1, err);
    if (text == NULL) {
        return LMN_ERR_MEMORY;
    }
    if (lines->length > 0) {
        memcpy(text, lines->text, lines->length);
    }
    lmn_free(lines->text);
    lines->text = text;
    lines->capacity = capacity;
    return LMN_OK;
}

static lmn_status append(lmn__lines *lines, const char *from, size_t bytes, lmn_error *err)
{
    if (memchr(from, '\0', bytes) != NULL) {
        return lmn__lines_error(lines, err, "it has a byte 0; this is no text file");
    }
    const lmn_status status = reserve(lines, bytes, err);
    if (status == LMN_OK) {
        memcpy(lines->text + lines->length, from, bytes);
        lines->length += bytes;
        lines->text[lines->length] = '\0';
    }
    return status;
}

/* Append what is left of the present line. Sets `found_out` to whether there was one. */
static lmn_status take_line(lmn__lines *lines, bool *found_out, lmn_error *err)
{
    lmn_status status = LMN_OK;
    bool is_found = false;
    bool is_complete = false;
    while (status == LMN_OK && !is_complete) {
        if (lines->next == lines->held) {
            status = refill(lines, err);
            if (status != LMN_OK || lines->held == 0) {
                break;
            }
        }
        const char *from = lines->block + lines->next;
        const size_t left = lines->held - lines->next;
        const char *end = memchr(from, '\n', left);
        const size_t bytes = end == NULL ? left : (size_t)(end - from);
        lines->number += is_found ? 0 : 1;
        is_found = true;
        is_complete = end != NULL;
        lines->next += bytes + (is_complete ? 1 : 0);
        status = append(lines, from, bytes, err);
    }
    if (is_found && lines->length > 0 && lines->text[lines->length - 1] == '\r') {
        lines->text[--lines->length] = '\0';
    }
    *found_out = is_found;
    return status;
}

static void skip_byte_order_mark(lmn__lines *lines)
{
    static const char mark[] = "\xef\xbb\xbf";
    if (lines->number == 1 && strncmp(lines->text, mark, sizeof mark - 1) == 0) {
        lines->length -= sizeof mark - 1;
        memmove(lines->text, lines->text + sizeof mark - 1, lines->length + 1);
    }
}

lmn_status lmn__lines_next(lmn__lines *lines, bool *found_out, lmn_error *err)
{
    lines->length = 0;
    lines->first = lines->number + 1;
    const lmn_status status = take_line(lines, found_out, err);
    if (status == LMN_OK && *found_out) {
        skip_byte_order_mark(lines);
    }
    return status;
}

lmn_status lmn__lines_join(lmn__lines *lines, bool *found_out, lmn_error *err)
{
    const lmn_status status = append(lines, "\n", 1, err);
    return status == LMN_OK ? take_line(lines, found_out, err) : status;
}

lmn_status lmn__lines_rewind(lmn__lines *lines, lmn_error *err)
{
    lines->number = 0;
    lines->length = 0;
    lines->next = 0;
    lines->held = 0;
    return lmn__source_rewind(&lines->source, err);
}

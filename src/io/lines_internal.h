/*
 * Text files line by line, plain or gzip, of lines of any length.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_LINES_INTERNAL_H
#define LAMINA_IO_LINES_INTERNAL_H

#include "source_internal.h"

/** Starts as {0}. */
typedef struct lmn__lines {
    lmn__source source;
    char *text;        /* the present line without its end, terminated; may be changed; owned */
    size_t length;     /* of the text */
    size_t capacity;   /* of its memory */
    uint64_t number;   /* of the present line, from 1; of the last one when several were joined */
    uint64_t first;    /* of the first one */
    char *block;       /* owned: what was read ahead */
    size_t next, held; /* in the block: the next byte, and the end */
} lmn__lines;

/** Open. Errors: LMN_ERR_IO, LMN_ERR_MEMORY. */
lmn_status lmn__lines_open(lmn__lines *lines, const char *path, lmn_error *err) LMN_NODISCARD;
void lmn__lines_close(lmn__lines *lines);

/**
 * Go to the next line; found_out becomes false at the end of the file. Line ends are "\n" and
 * "\r\n"; a byte order mark before the first line is passed over. Errors: LMN_ERR_IO;
 * LMN_ERR_FORMAT (damaged gzip, not text, a line of more than 256 MiB); LMN_ERR_MEMORY.
 */
lmn_status lmn__lines_next(lmn__lines *lines, bool *found_out, lmn_error *err) LMN_NODISCARD;

/** Add a newline and the next line to the present one. */
lmn_status lmn__lines_join(lmn__lines *lines, bool *found_out, lmn_error *err) LMN_NODISCARD;

/** Back to the front. Errors: LMN_ERR_IO (a pipe). */
lmn_status lmn__lines_rewind(lmn__lines *lines, lmn_error *err) LMN_NODISCARD;

/** LMN_ERR_FORMAT: "line 7 of 'path': " and the formatted text; of joined lines the first. */
lmn_status lmn__lines_error(const lmn__lines *lines, lmn_error *err, const char *format, ...)
    LMN_PRINTF(3, 4);

#endif

/*
 * What the files of the base room share: bounded text and number scanning.
 *
 * Nothing here allocates, so that errors can be described when memory is gone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_BASE_INTERNAL_H
#define LAMINA_BASE_INTERNAL_H

#include "lamina/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/**
 * Format one line into `buffer` [capacity >= 4]: newlines become spaces, and a line that does not
 * fit is cut at a character boundary (UTF-8) and ends in "...". Arguments must not overlap
 * `buffer`.
 */
void lmn__format_line(char *buffer, size_t capacity, const char *format, va_list arguments)
    LMN_PRINTF(3, 0);

/** Text that grows up to a fixed size; what does not fit is cut as in lmn__format_line. */
typedef struct lmn__text {
    char data[LMN_ERROR_MESSAGE_BYTES];
} lmn__text;

/** Append formatted text. `text` starts as {0}. */
void lmn__text_append(lmn__text *text, const char *format, ...) LMN_PRINTF(2, 3);

/**
 * Scan a decimal floating-point number at the start of `text`: no blanks, no infinity, no NaN, no
 * hexadecimal. On success sets the value and the first character behind it.
 */
bool lmn__scan_number(const char *text, double *value_out, const char **end_out);

/** The known word nearest to `word`, or NULL when none is near enough to be what was meant. */
const char *lmn__nearest_word(const char *word, const char *const *known, size_t n_known);

#endif

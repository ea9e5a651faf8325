/*
 * Bounded text: one formatted line, lists for messages, numbers, and the nearest known word.
 *
 * Every buffer has a fixed size and every function cuts rather than fails: a shortened message is
 * worth more than no message.
 *
 * Method of the distance: R. Wagner and M. Fischer, J. ACM 21 (1974) 168-173, with the
 * transposition of neighbours added, since that is the commonest slip of the keyboard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longest word that the distance looks at; names of methods and options are shorter. */
#define WORD_MAX 47

static const char CUT_MARK[] = "...";

/* End a full buffer in "...", without leaving half of a UTF-8 character before it. */
static void mark_cut(char *buffer, size_t capacity)
{
    size_t end = capacity - sizeof CUT_MARK;
    while (end > 0 && ((unsigned char)buffer[end] & 0xC0U) == 0x80U) {
        end--;
    }
    memcpy(buffer + end, CUT_MARK, sizeof CUT_MARK);
}

void lmn__format_line(char *buffer, size_t capacity, const char *format, va_list arguments)
{
    buffer[0] = '\0';
    const int length = vsnprintf(buffer, capacity, format, arguments);
    if (length >= 0 && (size_t)length >= capacity) {
        mark_cut(buffer, capacity);
    }
    for (char *c = buffer; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\r') {
            *c = ' ';
        }
    }
}

void lmn__text_append(lmn__text *text, const char *format, ...)
{
    const size_t used = strlen(text->data);
    const size_t room = sizeof text->data - used;
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(text->data + used, room, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length >= room) {
        mark_cut(text->data, sizeof text->data);
    }
}

bool lmn__scan_number(const char *text, double *value_out, const char **end_out)
{
    const char *digits = text + (text[0] == '+' || text[0] == '-' ? 1 : 0);
    const bool is_decimal = (digits[0] >= '0' && digits[0] <= '9') || digits[0] == '.';
    const bool is_hexadecimal = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
    if (!is_decimal || is_hexadecimal) {
        return false;
    }
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || !isfinite(value)) {
        return false;
    }
    *value_out = value;
    *end_out = end;
    return true;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits (insert, delete, replace, swap neighbours) from a to b; three rows of the table at a time.
 */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1] = {{0}};
    const size_t a_length = strlen(a);
    const size_t b_length = strlen(b);
    for (size_t j = 0; j <= b_length; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        const size_t *two_back = rows[(i + 1) % 3];
        const size_t *back = rows[(i + 2) % 3];
        size_t *row = rows[i % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            const size_t replaced = back[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = min_size(replaced, 1 + min_size(back[j], row[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = min_size(row[j], 1 + two_back[j - 2]);
            }
        }
    }
    return rows[a_length % 3][b_length];
}

const char *lmn__nearest_word(const char *word, const char *const *known, size_t n_known)
{
    const size_t length = strlen(word);
    if (length == 0 || length > WORD_MAX) {
        return NULL;
    }
    const char *nearest = NULL;
    size_t best = 2 + length / 4;
    for (size_t i = 0; i < n_known; i++) {
        if (strlen(known[i]) > WORD_MAX) {
            continue;
        }
        const bool is_prefix = length > 1 && strncmp(word, known[i], length) == 0;
        const size_t distance = is_prefix ? 1 : edit_distance(word, known[i]);
        /* As many edits as letters would turn any word into any other. */
        if (distance < best && distance < length) {
            best = distance;
            nearest = known[i];
        }
    }
    return nearest;
}

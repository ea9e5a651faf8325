/*
 * Numbers in text files.
 *
 * The C library rounds correctly; what it would take beyond plain decimal numbers (blanks,
 * hexadecimal, words) is kept from it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "numbers_internal.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *lmn__number_fault(lmn__number_outcome outcome)
{
    switch (outcome) {
    case LMN__NUMBER_OK:
        break;
    case LMN__NUMBER_NONE:
        return "is not a number";
    case LMN__NUMBER_INFINITE:
        return "is not a finite number";
    case LMN__NUMBER_LARGE:
        return "is too large a number";
    }
    return "is a number";
}

/* Whether strtod and its kin may look at it: signs, digits, a point, an exponent. */
static lmn__number_outcome check_decimal(const char *text)
{
    static const char *const words[] = {"nan", "inf", "infinity"};
    const char *digits = text + (text[0] == '+' || text[0] == '-' ? 1 : 0);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(digits, words[i]) == 0) {
            return LMN__NUMBER_INFINITE;
        }
    }
    const bool is_decimal = digits[0] != '\0' && digits[strspn(digits, "0123456789.eE+-")] == '\0';
    return is_decimal ? LMN__NUMBER_OK : LMN__NUMBER_NONE;
}

lmn__number_outcome lmn__number_f32(const char *text, float *value_out)
{
    const lmn__number_outcome outcome = check_decimal(text);
    if (outcome != LMN__NUMBER_OK) {
        return outcome;
    }
    char *end = NULL;
    const float value = strtof(text, &end);
    if (end == text || *end != '\0') {
        return LMN__NUMBER_NONE;
    }
    *value_out = value;
    return isfinite(value) ? LMN__NUMBER_OK : LMN__NUMBER_LARGE;
}

lmn__number_outcome lmn__number_f64(const char *text, double *value_out)
{
    const lmn__number_outcome outcome = check_decimal(text);
    if (outcome != LMN__NUMBER_OK) {
        return outcome;
    }
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0') {
        return LMN__NUMBER_NONE;
    }
    *value_out = value;
    return isfinite(value) ? LMN__NUMBER_OK : LMN__NUMBER_LARGE;
}

lmn__number_outcome lmn__number_u64(const char *text, uint64_t *value_out)
{
    if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0') {
        return LMN__NUMBER_NONE;
    }
    errno = 0;
    const unsigned long long value = strtoull(text, NULL, 10);
    if (errno != 0) {
        return LMN__NUMBER_LARGE;
    }
    *value_out = value;
    return LMN__NUMBER_OK;
}

/*
 * Values of options: words to members of a struct, and back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "option_value.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *member(const bound_option *o)
{
    return (char *)o->values + o->row->offset;
}

static lmn_status parse_u64(const char *text, uint64_t *value_out, lmn_error *err)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0) {
        return lmn_error_set(err, LMN_ERR_USAGE, "'%s' is not a whole number", text);
    }
    *value_out = value;
    return LMN_OK;
}

static lmn_status parse_f64(const char *text, double *value_out, lmn_error *err)
{
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value)) {
        return lmn_error_set(err, LMN_ERR_USAGE, "'%s' is not a number", text);
    }
    *value_out = value;
    return LMN_OK;
}

static lmn_status parse_flag(const char *text, bool *value_out, lmn_error *err)
{
    static const char *const words[] = {"0", "no", "off", "false", "1", "yes", "on", "true"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(text, words[i]) == 0) {
            *value_out = i >= 4;
            return LMN_OK;
        }
    }
    return lmn_error_set(err, LMN_ERR_USAGE, "'%s' is neither 1 nor 0", text);
}

static lmn_status check_range(const option_row *row, const char *text, double value, lmn_error *err)
{
    if (value >= row->min && value <= row->max) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_USAGE, "%s is out of range: %.10g to %.10g", text, row->min,
                         row->max);
}

lmn_status option_assign(const bound_option *o, const char *text, lmn_error *err)
{
    const option_row *row = o->row;
    lmn_status status = LMN_OK;
    switch (row->type) {
    case OPTION_TEXT:
        if (text[0] == '\0') {
            return lmn_error_set(err, LMN_ERR_USAGE, "the value is empty");
        }
        *(const char **)member(o) = text;
        return LMN_OK;
    case OPTION_FLAG:
        if (text == NULL) {
            *(bool *)member(o) = true;
            return LMN_OK;
        }
        return parse_flag(text, member(o), err);
    case OPTION_F64:
        status = parse_f64(text, member(o), err);
        return status != LMN_OK ? status : check_range(row, text, *(double *)member(o), err);
    case OPTION_U64:
        status = parse_u64(text, member(o), err);
        break;
    case OPTION_BYTES:
        status = lmn_parse_bytes(text, member(o), err);
        break;
    }
    if (status != LMN_OK) {
        return status;
    }
    return check_range(row, text, (double)*(const uint64_t *)member(o), err);
}

lmn_status option_assign_initial(const bound_option *o, lmn_error *err)
{
    if (o->row->type == OPTION_FLAG) {
        *(bool *)member(o) = false;
        return LMN_OK;
    }
    if (o->row->initial == NULL) {
        if (o->row->type == OPTION_TEXT) {
            *(const char **)member(o) = NULL;
        }
        return LMN_OK;
    }
    return option_assign(o, o->row->initial, err);
}

int option_format(const bound_option *o, char *text, size_t capacity)
{
    const char *name = o->row->name;
    switch (o->row->type) {
    case OPTION_FLAG:
        return *(const bool *)member(o) ? snprintf(text, capacity, " --%s", name) : 0;
    case OPTION_F64:
        return snprintf(text, capacity, " --%s %.10g", name, *(const double *)member(o));
    case OPTION_U64:
    case OPTION_BYTES:
        return snprintf(text, capacity, " --%s %llu", name,
                        (unsigned long long)*(const uint64_t *)member(o));
    case OPTION_TEXT:
        break;
    }
    const char *value = *(const char *const *)member(o);
    return value == NULL ? 0 : snprintf(text, capacity, " --%s %s", name, value);
}

/*
 * Specs: `name:key=value,key=value` into a plain struct, by a table of fields.
 *
 * The text is cut into keys and values in fixed buffers; each value is parsed by its field's type
 * and written at the field's offset. Every refusal says which method, which key, what was given and
 * what would have been accepted.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/spec.h"

#include "base_internal.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES   48
#define VALUE_BYTES 1024
#define FIELDS_MAX  64

/* Bounds beyond this are not limits but the absence of one. */
static const double NO_BOUND = 1e18;

/* One `key=value` on its way into the struct, with what its messages need. */
typedef struct assignment {
    const char *what; /* kind of method */
    char name[LMN_SPEC_NAME_BYTES];
    char key[KEY_BYTES];
    char value[VALUE_BYTES];
    const lmn_spec_field *field;
} assignment;

/* Copy [length] characters into a buffer; false when they do not fit. */
static bool copy_piece(const char *piece, size_t length, char *buffer, size_t capacity)
{
    if (length >= capacity) {
        return false;
    }
    memcpy(buffer, piece, length);
    buffer[length] = '\0';
    return true;
}

lmn_status lmn_spec_name(const char *text, char name_out[LMN_SPEC_NAME_BYTES], lmn_error *err)
{
    const size_t length = strcspn(text, ":");
    const size_t legal = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-");
    if (length == 0) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%s' starts with no name; write name or name:key=value", text);
    }
    if (legal < length) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%s': a name is made of a-z, 0-9, '_' and '-', and ends at ':'",
                             text);
    }
    if (!copy_piece(text, length, name_out, LMN_SPEC_NAME_BYTES)) {
        return lmn_error_set(err, LMN_ERR_USAGE, "'%s': a name has at most %d characters", text,
                             LMN_SPEC_NAME_BYTES - 1);
    }
    return LMN_OK;
}

lmn_status lmn_spec_unknown(const char *what, const char *name, const char *const *known,
                            size_t n_known, lmn_error *err)
{
    lmn__text list = {0};
    for (size_t i = 0; i < n_known; i++) {
        lmn__text_append(&list, "%s%s", i == 0 ? "" : ", ", known[i]);
    }
    const char *nearest = lmn__nearest_word(name, known, n_known);
    if (nearest != NULL) {
        return lmn_error_set(err, LMN_ERR_USAGE, "no %s '%s'; did you mean '%s'? Known: %s", what,
                             name, nearest, list.data);
    }
    return lmn_error_set(err, LMN_ERR_USAGE, "no %s '%s'; known: %s", what, name, list.data);
}

static lmn_status unknown_key(const assignment *a, const lmn_spec_field *fields, size_t n_fields,
                              lmn_error *err)
{
    if (n_fields == 0) {
        return lmn_error_set(err, LMN_ERR_USAGE, "%s '%s' takes no keys, but got '%s'", a->what,
                             a->name, a->key);
    }
    const char *keys[FIELDS_MAX];
    for (size_t i = 0; i < n_fields; i++) {
        keys[i] = fields[i].key;
    }
    const lmn_status status = lmn_spec_unknown("key", a->key, keys, n_fields, err);
    lmn_error_add_context(err, "%s '%s'", a->what, a->name);
    return status;
}

/* "greater than 0 and at most 1", from the bounds that a field has. */
static void describe_range(const lmn_spec_field *field, lmn__text *text)
{
    const bool has_min = field->min > -NO_BOUND;
    const bool has_max = field->max < NO_BOUND;
    if (has_min) {
        lmn__text_append(text, "%s %.10g", field->min_exclusive ? "greater than" : "at least",
                         field->min);
    }
    if (has_max) {
        lmn__text_append(text, "%sat most %.10g", has_min ? " and " : "", field->max);
    }
    if (!has_min && !has_max) {
        lmn__text_append(text, "%s", "a finite number");
    }
}

static lmn_status refuse_value(const assignment *a, const char *expected, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_USAGE, "%s '%s': %s must be %s, not '%s'", a->what, a->name,
                         a->key, expected, a->value);
}

static lmn_status check_range(const assignment *a, double value, lmn_error *err)
{
    const lmn_spec_field *field = a->field;
    const bool is_below = field->min_exclusive ? value <= field->min : value < field->min;
    if (!is_below && value <= field->max) {
        return LMN_OK;
    }
    lmn__text range = {0};
    describe_range(field, &range);
    return refuse_value(a, range.data, err);
}

static lmn_status parse_f64(const assignment *a, double *value_out, lmn_error *err)
{
    const char *word = a->field->choices;
    if (word != NULL && strcmp(a->value, word) == 0) {
        *value_out = (double)NAN;
        return LMN_OK;
    }
    double value = 0.0;
    const char *end = NULL;
    if (!lmn__scan_number(a->value, &value, &end) || *end != '\0') {
        lmn__text expected = {0};
        lmn__text_append(&expected, "a number%s%s", word == NULL ? "" : " or ",
                         word == NULL ? "" : word);
        return refuse_value(a, expected.data, err);
    }
    const lmn_status status = check_range(a, value, err);
    if (status == LMN_OK) {
        *value_out = value;
    }
    return status;
}

static lmn_status parse_u64(const assignment *a, uint64_t *value_out, lmn_error *err)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(a->value, &end, 10);
    /* strtoull skips blanks and takes a sign, which would wrap around. */
    if (isdigit((unsigned char)a->value[0]) == 0 || *end != '\0' || errno != 0) {
        return refuse_value(a, "a whole number", err);
    }
    const lmn_status status = check_range(a, (double)value, err);
    if (status == LMN_OK) {
        *value_out = value;
    }
    return status;
}

static lmn_status parse_bool(const assignment *a, bool *value_out, lmn_error *err)
{
    static const char *const no_and_yes[][2] = {
        {"0", "1"}, {"false", "true"}, {"no", "yes"}, {"off", "on"}};
    for (size_t i = 0; i < sizeof no_and_yes / sizeof no_and_yes[0]; i++) {
        const bool is_yes = strcmp(a->value, no_and_yes[i][1]) == 0;
        if (is_yes || strcmp(a->value, no_and_yes[i][0]) == 0) {
            *value_out = is_yes;
            return LMN_OK;
        }
    }
    return refuse_value(a, "true or false (also 1/0, yes/no, on/off)", err);
}

static lmn_status parse_choice(const assignment *a, uint64_t *value_out, lmn_error *err)
{
    const size_t length = strlen(a->value);
    const char *choice = a->field->choices;
    for (uint64_t index = 0;; index++) {
        const size_t choice_length = strcspn(choice, "|");
        if (choice_length == length && strncmp(choice, a->value, length) == 0) {
            *value_out = index;
            return LMN_OK;
        }
        if (choice[choice_length] == '\0') {
            break;
        }
        choice += choice_length + 1;
    }
    lmn__text expected = {0};
    lmn__text_append(&expected, "one of %s", a->field->choices);
    return refuse_value(a, expected.data, err);
}

static lmn_status parse_list(const assignment *a, lmn_spec_list *list_out, lmn_error *err)
{
    lmn_spec_list list = {0};
    const char *rest = a->value;
    for (;;) {
        double value = 0.0;
        const char *end = NULL;
        const bool ends = lmn__scan_number(rest, &value, &end);
        if (!ends || (*end != '\0' && *end != '/' && *end != 'x')) {
            return refuse_value(a, "numbers separated by '/' or 'x'", err);
        }
        const lmn_status status = check_range(a, value, err);
        if (status != LMN_OK) {
            return status;
        }
        if (list.count == LMN_SPEC_LIST_MAX) {
            return lmn_error_set(err, LMN_ERR_USAGE, "%s '%s': %s has more than %d numbers",
                                 a->what, a->name, a->key, LMN_SPEC_LIST_MAX);
        }
        list.values[list.count++] = value;
        if (*end == '\0') {
            break;
        }
        rest = end + 1;
    }
    *list_out = list;
    return LMN_OK;
}

static lmn_status parse_value(const assignment *a, void *values, lmn_error *err)
{
    void *member = (unsigned char *)values + a->field->offset;
    switch (a->field->type) {
    case LMN_SPEC_F64:
        return parse_f64(a, member, err);
    case LMN_SPEC_U64:
        return parse_u64(a, member, err);
    case LMN_SPEC_BOOL:
        return parse_bool(a, member, err);
    case LMN_SPEC_CHOICE:
        return parse_choice(a, member, err);
    case LMN_SPEC_F64_LIST:
        return parse_list(a, member, err);
    default:
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "field '%s' has type %d, which does not exist",
                             a->field->key, (int)a->field->type);
    }
}

/* Cut [length] characters `key=value` into the buffers of `a`. */
static lmn_status split_piece(assignment *a, const char *piece, size_t length, lmn_error *err)
{
    const char *equals = memchr(piece, '=', length);
    const int shown = length < KEY_BYTES ? (int)length : KEY_BYTES;
    if (length == 0 || equals == piece) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "%s '%s': a key is missing; write %s:key=value,key=value", a->what,
                             a->name, a->name);
    }
    if (equals == NULL) {
        return lmn_error_set(err, LMN_ERR_USAGE, "%s '%s': '%.*s' lacks '='; write key=value",
                             a->what, a->name, shown, piece);
    }
    const size_t key_length = (size_t)(equals - piece);
    if (!copy_piece(piece, key_length, a->key, sizeof a->key) ||
        !copy_piece(equals + 1, length - key_length - 1, a->value, sizeof a->value)) {
        return lmn_error_set(err, LMN_ERR_USAGE, "%s '%s': '%.*s...' is too long", a->what, a->name,
                             shown, piece);
    }
    return LMN_OK;
}

/* Find the field of `a`, refuse it the second time, and store its value. */
static lmn_status assign(assignment *a, const lmn_spec_field *fields, size_t n_fields,
                         uint64_t *seen, void *values, lmn_error *err)
{
    size_t index = 0;
    while (index < n_fields && strcmp(fields[index].key, a->key) != 0) {
        index++;
    }
    if (index == n_fields) {
        return unknown_key(a, fields, n_fields, err);
    }
    if ((*seen >> index & 1U) != 0) {
        return lmn_error_set(err, LMN_ERR_USAGE, "%s '%s': %s is given twice", a->what, a->name,
                             a->key);
    }
    *seen |= UINT64_C(1) << index;
    a->field = &fields[index];
    return parse_value(a, values, err);
}

lmn_status lmn_spec_parse(const char *what, const char *text, const lmn_spec_field *fields,
                          size_t n_fields, void *values, lmn_error *err)
{
    assert(n_fields <= FIELDS_MAX);
    assignment a = {.what = what};
    lmn_status status = lmn_spec_name(text, a.name, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "%s", what);
        return status;
    }
    const char *rest = text + strlen(a.name);
    uint64_t seen = 0;
    while (status == LMN_OK && *rest != '\0') {
        rest++; /* past ':' or ',' */
        const size_t length = strcspn(rest, ",");
        status = split_piece(&a, rest, length, err);
        if (status == LMN_OK) {
            status = assign(&a, fields, n_fields, &seen, values, err);
        }
        rest += length;
    }
    return status;
}

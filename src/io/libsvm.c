/*
 * Reading LIBSVM files: one sample a line, `label index:value index:value ...`.
 *
 * Indices count from 1 and ascend; what follows '#' is a comment. Lines are cut in place.
 *
 * Format: C.-C. Chang and C.-J. Lin, "LIBSVM: a library for support vector machines", ACM TIST 2
 * (2011); it goes back to T. Joachims, SVMlight.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "libsvm_internal.h"
#include "numbers_internal.h"

#include <inttypes.h>
#include <string.h>

static const char BLANKS[] = " \t";

lmn_status lmn__libsvm_open(lmn__libsvm *file, const char *path, lmn_error *err)
{
    *file = (lmn__libsvm){0};
    return lmn__lines_open(&file->lines, path, err);
}

void lmn__libsvm_close(lmn__libsvm *file)
{
    lmn__lines_close(&file->lines);
    lmn_free(file->columns);
    lmn_free(file->values);
    file->columns = NULL;
    file->values = NULL;
}

static lmn_status grow(lmn__libsvm *file, lmn_error *err)
{
    const size_t capacity = file->capacity == 0 ? 256 : 2 * file->capacity;
    uint32_t *columns = lmn_alloc(capacity, sizeof *columns, err);
    float *values = lmn_alloc(capacity, sizeof *values, err);
    if (columns == NULL || values == NULL) {
        lmn_free(columns);
        lmn_free(values);
        return LMN_ERR_MEMORY;
    }
    if (file->count > 0) {
        memcpy(columns, file->columns, file->count * sizeof *columns);
        memcpy(values, file->values, file->count * sizeof *values);
    }
    lmn_free(file->columns);
    lmn_free(file->values);
    file->columns = columns;
    file->values = values;
    file->capacity = capacity;
    return LMN_OK;
}

/* The next word of the line, ended in place; NULL when there is none. */
static char *take_word(char **rest)
{
    char *word = *rest + strspn(*rest, BLANKS);
    char *end = word + strcspn(word, BLANKS);
    *rest = end + (*end == '\0' ? 0 : 1);
    *end = '\0';
    return *word == '\0' ? NULL : word;
}

static lmn_status take_index(lmn__libsvm *file, const char *text, uint32_t *column_out,
                             lmn_error *err)
{
    uint64_t index = 0;
    if (lmn__number_u64(text, &index) != LMN__NUMBER_OK) {
        return lmn__lines_error(&file->lines, err,
                                "'%.40s' is no index of a feature, a whole number from 1 on", text);
    }
    if (index == 0) {
        return lmn__lines_error(&file->lines, err,
                                "index 0; features count from 1 (if all of the file counts from 0, "
                                "add 1 to each index)");
    }
    if (index - 1 > UINT32_MAX) {
        return lmn__lines_error(&file->lines, err, "index %" PRIu64 " is larger than 2^32", index);
    }
    const uint32_t column = (uint32_t)(index - 1);
    if (file->count > 0 && column <= file->columns[file->count - 1]) {
        return lmn__lines_error(&file->lines, err,
                                "index %" PRIu64 " comes after %" PRIu64
                                "; the indices of a sample must ascend",
                                index, (uint64_t)file->columns[file->count - 1] + 1);
    }
    *column_out = column;
    return LMN_OK;
}

/* "index:value" */
static lmn_status take_element(lmn__libsvm *file, char *word, lmn_error *err)
{
    char *colon = strchr(word, ':');
    if (colon == NULL) {
        return lmn__lines_error(&file->lines, err, "'%.40s' is not index:value", word);
    }
    *colon = '\0';
    uint32_t column = 0;
    lmn_status status = take_index(file, word, &column, err);
    if (status != LMN_OK) {
        return status;
    }
    float value = 0.0F;
    const lmn__number_outcome outcome = lmn__number_f32(colon + 1, &value);
    if (outcome != LMN__NUMBER_OK) {
        return lmn__lines_error(&file->lines, err, "the value '%.40s' of index %s %s", colon + 1,
                                word, lmn__number_fault(outcome));
    }
    if (file->count == file->capacity) {
        status = grow(file, err);
    }
    if (status == LMN_OK) {
        file->columns[file->count] = column;
        file->values[file->count] = value;
        file->count++;
    }
    return status;
}

static lmn_status take_label(lmn__libsvm *file, const char *word, lmn_error *err)
{
    if (strchr(word, ':') != NULL) {
        return lmn__lines_error(&file->lines, err,
                                "it begins with '%.40s' and has no label; a sample is: label "
                                "index:value index:value ...",
                                word);
    }
    float value = 0.0F;
    const lmn__number_outcome outcome = lmn__number_f32(word, &value);
    if (outcome != LMN__NUMBER_OK) {
        return lmn__lines_error(&file->lines, err, "the label '%.40s' %s", word,
                                lmn__number_fault(outcome));
    }
    file->label = word;
    return LMN_OK;
}

/* Sets found_out to whether the line holds a sample. */
static lmn_status parse_line(lmn__libsvm *file, bool *found_out, lmn_error *err)
{
    file->lines.text[strcspn(file->lines.text, "#")] = '\0';
    char *rest = file->lines.text;
    const char *label = take_word(&rest);
    file->count = 0;
    *found_out = label != NULL;
    if (label == NULL) {
        return LMN_OK;
    }
    lmn_status status = take_label(file, label, err);
    for (char *word = take_word(&rest); status == LMN_OK && word != NULL; word = take_word(&rest)) {
        status = take_element(file, word, err);
    }
    return status;
}

lmn_status lmn__libsvm_next(lmn__libsvm *file, bool *found_out, lmn_error *err)
{
    bool is_line = true;
    *found_out = false;
    lmn_status status = LMN_OK;
    while (status == LMN_OK && is_line && !*found_out) {
        status = lmn__lines_next(&file->lines, &is_line, err);
        if (status == LMN_OK && is_line) {
            status = parse_line(file, found_out, err);
        }
    }
    return status;
}

lmn_status lmn__libsvm_rewind(lmn__libsvm *file, lmn_error *err)
{
    return lmn__lines_rewind(&file->lines, err);
}

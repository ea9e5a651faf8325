/*
 * LIBSVM files as samples in memory. The file is read twice: to count, and to keep.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "lamina/problem.h"
#include "libsvm_internal.h"
#include "numbers_internal.h"

#include <string.h>

void lmn_samples_free(lmn_samples *samples)
{
    lmn_free(samples->starts);
    lmn_free(samples->indices);
    lmn_free(samples->values);
    lmn_free(samples->answers);
    *samples = (lmn_samples){0};
}

static lmn_status count_samples(lmn__libsvm *file, lmn_samples *samples, size_t *entries_out,
                                lmn_error *err)
{
    bool found = true;
    lmn_status status = LMN_OK;
    while (status == LMN_OK && found) {
        status = lmn__libsvm_next(file, &found, err);
        if (status != LMN_OK || !found) {
            break;
        }
        samples->count++;
        *entries_out += file->count;
        if (file->count > 0 && (size_t)file->columns[file->count - 1] + 1 > samples->columns) {
            samples->columns = (size_t)file->columns[file->count - 1] + 1;
        }
    }
    return status;
}

static lmn_status take_memory(lmn_samples *samples, size_t entries, lmn_error *err)
{
    samples->starts = lmn_alloc(samples->count + 1, sizeof *samples->starts, err);
    samples->indices = lmn_alloc(entries, sizeof *samples->indices, err);
    samples->values = lmn_alloc(entries, sizeof *samples->values, err);
    samples->answers = lmn_alloc(samples->count, sizeof *samples->answers, err);
    const bool has_all = samples->starts != NULL && samples->indices != NULL &&
                         samples->values != NULL && samples->answers != NULL;
    return has_all ? LMN_OK : LMN_ERR_MEMORY;
}

static lmn_status keep_samples(lmn__libsvm *file, lmn_samples *samples, size_t entries,
                               lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < samples->count && status == LMN_OK; i++) {
        bool found = false;
        status = lmn__libsvm_next(file, &found, err);
        const size_t start = samples->starts[i];
        if (status == LMN_OK && (!found || file->count > entries - start)) {
            status = lmn_error_set(err, LMN_ERR_FORMAT, "'%s' changes while it is read",
                                   file->lines.source.path);
        }
        if (status != LMN_OK) {
            return status;
        }
        /* The label has been found to be a finite number when the line was parsed. */
        (void)lmn__number_f64(file->label, &samples->answers[i]);
        for (size_t k = 0; k < file->count; k++) {
            samples->indices[start + k] = file->columns[k];
            samples->values[start + k] = (double)file->values[k];
        }
        samples->starts[i + 1] = start + file->count;
    }
    return status;
}

static lmn_status read_samples(lmn__libsvm *file, lmn_samples *samples, lmn_error *err)
{
    size_t entries = 0;
    lmn_status status = count_samples(file, samples, &entries, err);
    if (status == LMN_OK && (samples->count == 0 || entries == 0)) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "'%s' holds no samples with entries; a sample is a line: label "
                               "index:value index:value ...",
                               file->lines.source.path);
    }
    if (status == LMN_OK) {
        status = take_memory(samples, entries, err);
    }
    if (status == LMN_OK) {
        status = lmn__libsvm_rewind(file, err);
    }
    return status == LMN_OK ? keep_samples(file, samples, entries, err) : status;
}

lmn_status lmn_samples_read_libsvm(const char *path, lmn_samples *samples_out, lmn_error *err)
{
    lmn__libsvm file = {0};
    lmn_samples samples = {0};
    lmn_status status = lmn__libsvm_open(&file, path, err);
    if (status == LMN_OK) {
        status = read_samples(&file, &samples, err);
    }
    lmn__libsvm_close(&file);
    if (status != LMN_OK) {
        lmn_samples_free(&samples);
        return status;
    }
    *samples_out = samples;
    return LMN_OK;
}

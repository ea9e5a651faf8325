/*
 * Importing LIBSVM files: sparse rows.
 *
 * Each file is read twice: once to count rows, values, features and labels and to find every fault,
 * once to write. Memory holds one sample and a block for each array.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_output_internal.h"
#include "libsvm_internal.h"
#include "numbers_internal.h"

#include <inttypes.h>
#include <math.h>

/* With more distinct labels than this, they are numbers to predict. */
#define CLASSES_MAX 1000

/* What is being imported. */
typedef struct libsvm_import {
    const lmn_import_libsvm_options *options; /* borrowed */
    lmn__libsvm files[2];                     /* by split; owned */
    size_t n_splits;
    uint64_t samples[2];
    uint64_t values[2];
    uint64_t n_features;    /* so many as are needed */
    lmn__label_set *labels; /* owned; what it holds counts only while has_classes */
    bool has_classes;
} libsvm_import;

/* The arrays of a split. */
typedef struct libsvm_arrays {
    lmn__output_array row_start;
    lmn__output_array column;
    lmn__output_array value;
    lmn__output_array answer; /* labels or targets */
} libsvm_arrays;

/* ---- the first reading ---- */

static lmn_status note_label(libsvm_import *job, const char *label, lmn_error *err)
{
    double value = 0.0;
    const bool is_whole = lmn__number_f64(label, &value) == LMN__NUMBER_OK && value == floor(value);
    if (!is_whole) {
        job->has_classes = false;
    }
    if (!job->has_classes) {
        return LMN_OK;
    }
    const lmn_status status = lmn__label_set_add(job->labels, label, err);
    job->has_classes = lmn__label_set_count(job->labels) <= CLASSES_MAX;
    return status;
}

static lmn_status note_sample(libsvm_import *job, size_t split, lmn_error *err)
{
    const lmn__libsvm *file = &job->files[split];
    const uint64_t limit = job->options->n_features;
    const uint64_t needed = file->count == 0 ? 0 : (uint64_t)file->columns[file->count - 1] + 1;
    if (limit > 0 && needed > limit) {
        return lmn__lines_error(&file->lines, err,
                                "index %" PRIu64 " is beyond the %" PRIu64
                                " features that were asked for",
                                needed, limit);
    }
    job->n_features = needed > job->n_features ? needed : job->n_features;
    job->samples[split]++;
    job->values[split] += file->count;
    return note_label(job, file->label, err);
}

static lmn_status survey(libsvm_import *job, size_t split, const char *path, lmn_error *err)
{
    lmn__libsvm *file = &job->files[split];
    bool is_sample = true;
    lmn_status status = lmn__libsvm_open(file, path, err);
    while (status == LMN_OK && is_sample) {
        status = lmn__libsvm_next(file, &is_sample, err);
        if (status == LMN_OK && is_sample) {
            status = note_sample(job, split, err);
        }
    }
    if (status == LMN_OK && job->values[split] == 0) {
        status = lmn_error_set(err, LMN_ERR_FORMAT, "'%s' holds no %s", path,
                               job->samples[split] == 0 ? "samples" : "values");
    }
    job->n_splits = split + 1;
    return status == LMN_OK ? lmn__libsvm_rewind(file, err) : status;
}

static lmn_status survey_all(libsvm_import *job, lmn_error *err)
{
    const lmn_import_libsvm_options *options = job->options;
    lmn_status status = lmn__label_set_create(true, &job->labels, err);
    if (status == LMN_OK) {
        status = survey(job, 0, options->train, err);
    }
    if (status == LMN_OK && options->test != NULL) {
        status = survey(job, 1, options->test, err);
    }
    if (status == LMN_OK && options->common.class_names != NULL && !job->has_classes) {
        status = lmn_error_set(err, LMN_ERR_ARGUMENT,
                               "class names are given, but the labels of '%s' are numbers to "
                               "predict",
                               options->train);
    }
    if (status == LMN_OK && options->n_features > 0) {
        job->n_features = options->n_features;
    }
    return status;
}

/* ---- the second reading ---- */

static lmn_status begin_arrays(const libsvm_import *job, libsvm_arrays *arrays,
                               lmn__dataset_output *output, lmn_split split, lmn_error *err)
{
    const uint64_t samples = job->samples[split];
    const uint64_t values = job->values[split];
    lmn_status status =
        lmn__output_array_begin_list(&arrays->row_start, output, split, LMN__ARRAY_ROW_START,
                                     H5T_NATIVE_UINT64, samples + 1, err);
    if (status == LMN_OK) {
        status = lmn__output_array_begin_list(&arrays->column, output, split, LMN__ARRAY_COLUMN,
                                              H5T_NATIVE_UINT32, values, err);
    }
    if (status == LMN_OK) {
        status = lmn__output_array_begin_list(&arrays->value, output, split, LMN__ARRAY_VALUE,
                                              H5T_NATIVE_FLOAT, values, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    return job->has_classes
               ? lmn__output_begin_labels(&arrays->answer, output, split, job->labels, samples, err)
               : lmn__output_array_begin_list(&arrays->answer, output, split, LMN__ARRAY_TARGETS,
                                              H5T_NATIVE_FLOAT, samples, err);
}

static lmn_status append_answer(const libsvm_import *job, libsvm_arrays *arrays,
                                const lmn__libsvm *file, lmn_error *err)
{
    if (!job->has_classes) {
        float target = 0.0F;
        (void)lmn__number_f32(file->label, &target);
        return lmn__output_array_append(&arrays->answer, &target, 1, err);
    }
    return lmn__output_append_label(&arrays->answer, job->labels, file->label, err);
}

static lmn_status append_sample(const libsvm_import *job, libsvm_arrays *arrays,
                                const lmn__libsvm *file, uint64_t *end, lmn_error *err)
{
    *end += file->count;
    lmn_status status = lmn__output_array_append(&arrays->row_start, end, 1, err);
    if (status == LMN_OK) {
        status = lmn__output_array_append(&arrays->column, file->columns, file->count, err);
    }
    if (status == LMN_OK) {
        status = lmn__output_array_append(&arrays->value, file->values, file->count, err);
    }
    return status == LMN_OK ? append_answer(job, arrays, file, err) : status;
}

static lmn_status copy_samples(const libsvm_import *job, libsvm_arrays *arrays, lmn__libsvm *file,
                               lmn_error *err)
{
    uint64_t end = 0;
    bool is_sample = true;
    lmn_status status = lmn__output_array_append(&arrays->row_start, &end, 1, err);
    while (status == LMN_OK && is_sample) {
        status = lmn__libsvm_next(file, &is_sample, err);
        if (status == LMN_OK && is_sample) {
            status = append_sample(job, arrays, file, &end, err);
        }
    }
    return status;
}

static lmn_status end_arrays(libsvm_arrays *arrays, const char *source, lmn_error *err)
{
    lmn_status status = lmn__output_array_end(&arrays->row_start, source, err);
    if (status == LMN_OK) {
        status = lmn__output_array_end(&arrays->column, source, err);
    }
    if (status == LMN_OK) {
        status = lmn__output_array_end(&arrays->value, source, err);
    }
    return status == LMN_OK ? lmn__output_array_end(&arrays->answer, source, err) : status;
}

static lmn_status fill_split(libsvm_import *job, lmn__dataset_output *output, lmn_split split,
                             lmn_error *err)
{
    lmn__libsvm *file = &job->files[split];
    libsvm_arrays arrays = {LMN__OUTPUT_ARRAY_NONE, LMN__OUTPUT_ARRAY_NONE, LMN__OUTPUT_ARRAY_NONE,
                            LMN__OUTPUT_ARRAY_NONE};
    lmn_status status = begin_arrays(job, &arrays, output, split, err);
    if (status == LMN_OK) {
        status = copy_samples(job, &arrays, file, err);
    }
    if (status == LMN_OK) {
        status = end_arrays(&arrays, file->lines.source.path, err);
    }
    lmn__output_array_close(&arrays.answer);
    lmn__output_array_close(&arrays.value);
    lmn__output_array_close(&arrays.column);
    lmn__output_array_close(&arrays.row_start);
    return status;
}

static lmn_status fill(void *user, lmn__dataset_output *output, lmn_error *err)
{
    libsvm_import *job = user;
    lmn_status status = lmn__h5_write_u64(output->h5.file, "features", job->n_features, err);
    for (size_t split = 0; status == LMN_OK && split < job->n_splits; split++) {
        status = fill_split(job, output, (lmn_split)split, err);
    }
    if (status == LMN_OK && job->has_classes) {
        status = lmn__output_named_classes(output, lmn__label_set_names(job->labels),
                                           lmn__label_set_count(job->labels), err);
    }
    return status;
}

lmn_status lmn_import_libsvm(const lmn_import_libsvm_options *options, const char *output,
                             lmn_error *err)
{
    if (options->common.standardise) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "sparse rows cannot be standardised: taking the mean away would make "
                             "their zeros numbers; scale the values before, or import them dense");
    }
    libsvm_import job = {.options = options, .has_classes = !options->targets};
    lmn_status status = survey_all(&job, err);
    if (status == LMN_OK) {
        status = lmn__dataset_output_write(output, "vectors", &options->common, fill, &job, err);
    }
    for (size_t split = 0; split < 2; split++) {
        lmn__libsvm_close(&job.files[split]);
    }
    lmn__label_set_destroy(job.labels);
    return status;
}

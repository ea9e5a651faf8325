/*
 * Importing tables of text: dense vectors.
 *
 * Each file is read twice: once to count rows, collect labels and means, and to find every fault,
 * once to write. Whether a row of the training file goes to the test split is a function of (seed,
 * row) alone, so both readings agree, and rows that are added later change nothing for the others.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "csv_table_internal.h"
#include "dataset_output_internal.h"
#include "lamina/memory.h"
#include "lamina/random.h"
#include "numbers_internal.h"

#include <string.h>

#define CLASSES_MAX 65536

/* What is being imported. */
typedef struct csv_import {
    const lmn_import_csv_options *options; /* borrowed */
    lmn__csv files[2];                     /* train, test; owned */
    size_t n_files;
    lmn__csv_table table;
    uint64_t samples[2];    /* by split */
    lmn__label_set *labels; /* owned */
    float *row;             /* [n_features] owned: the present row */
    bool *is_missing;       /* [n_features] owned: cells of it that are empty */
    float *fill;            /* [n_features] owned: what stands for an empty cell */
    double *sums;           /* [n_features] owned: of the training split, for the means */
    uint64_t *counts;       /* [n_features] owned */
    bool fills_mean;
} csv_import;

/* The arrays of a split. */
typedef struct csv_arrays {
    lmn__output_array vectors;
    lmn__output_array answer; /* labels or targets */
} csv_arrays;

/* ---- rows ---- */

static lmn_status refuse_cell(const csv_import *job, const lmn__csv *csv, size_t column,
                              lmn__number_outcome outcome, lmn_error *err)
{
    char text[LMN__COLUMN_TEXT_BYTES];
    lmn__csv_column_text(&job->table, column, text);
    const char *cell = csv->cells[column];
    if (lmn__csv_is_missing(cell)) {
        return lmn__lines_error(&csv->lines, err,
                                "%s is empty ('%s'); say what stands for it (--missing mean, "
                                "--missing 0), or leave the column out (--drop %zu)",
                                text, cell, column + 1);
    }
    return lmn__lines_error(&csv->lines, err,
                            "%s holds '%.40s', which %s; leave the column out with --drop "
                            "%zu, or make numbers of it",
                            text, cell, lmn__number_fault(outcome), column + 1);
}

static lmn_status parse_feature(csv_import *job, const lmn__csv *csv, size_t feature,
                                lmn_error *err)
{
    const size_t column = job->table.features[feature];
    const char *cell = csv->cells[column];
    job->row[feature] = job->fill[feature];
    job->is_missing[feature] = job->options->missing != NULL && lmn__csv_is_missing(cell);
    if (job->is_missing[feature]) {
        return LMN_OK;
    }
    const lmn__number_outcome outcome = lmn__number_f32(cell, &job->row[feature]);
    return outcome == LMN__NUMBER_OK ? LMN_OK : refuse_cell(job, csv, column, outcome, err);
}

/* The features of the present record into job->row. */
static lmn_status parse_row(csv_import *job, const lmn__csv *csv, lmn_error *err)
{
    if (csv->count != job->table.n_columns) {
        return lmn__lines_error(&csv->lines, err, "it has %zu columns, and the first row has %zu",
                                csv->count, job->table.n_columns);
    }
    lmn_status status = LMN_OK;
    for (size_t i = 0; status == LMN_OK && i < job->table.n_features; i++) {
        status = parse_feature(job, csv, i, err);
    }
    return status;
}

static lmn_split split_of(const csv_import *job, size_t file, uint64_t row)
{
    if (file == 1) {
        return LMN_SPLIT_TEST;
    }
    const lmn_stream stream = {
        .seed = job->options->seed, .purpose = LMN_STREAM_USER, .rank = LMN_STREAM_ALL_RANKS};
    float drawn = 0.0F;
    lmn_stream_uniform(&stream, row, 1, &drawn);
    return (double)drawn < job->options->test_part ? LMN_SPLIT_TEST : LMN_SPLIT_TRAIN;
}

/* What is done with the present row, whose features are in job->row. */
typedef lmn_status (*row_fn)(csv_import *job, const lmn__csv *csv, lmn_split split, void *user,
                             lmn_error *err);

static lmn_status visit_file(csv_import *job, size_t file, row_fn visit, void *user, lmn_error *err)
{
    lmn__csv *csv = &job->files[file];
    bool is_row = true;
    lmn_status status = lmn__csv_table_skip_header(&job->table, csv, err);
    for (uint64_t row = 0; status == LMN_OK; row++) {
        status = lmn__csv_next(csv, &is_row, err);
        if (status != LMN_OK || !is_row) {
            break;
        }
        status = parse_row(job, csv, err);
        if (status == LMN_OK) {
            status = visit(job, csv, split_of(job, file, row), user, err);
        }
    }
    return status;
}

/* ---- the first reading ---- */

static lmn_status note_label(csv_import *job, const lmn__csv *csv, lmn_error *err)
{
    const char *label = csv->cells[job->table.answer];
    if (label[0] == '\0') {
        return lmn__lines_error(&csv->lines, err, "the label is empty");
    }
    const lmn_status status = lmn__label_set_add(job->labels, label, err);
    if (status == LMN_OK && lmn__label_set_count(job->labels) > CLASSES_MAX) {
        return lmn__lines_error(
            &csv->lines, err,
            "there are more than %d labels; if they are numbers to predict, use "
            "--target in place of --label",
            CLASSES_MAX);
    }
    return status;
}

static lmn_status note_target(const csv_import *job, const lmn__csv *csv, lmn_error *err)
{
    const char *cell = csv->cells[job->table.answer];
    float value = 0.0F;
    const lmn__number_outcome outcome = lmn__number_f32(cell, &value);
    return outcome == LMN__NUMBER_OK ? LMN_OK
                                     : lmn__lines_error(&csv->lines, err, "the target '%.40s' %s",
                                                        cell, lmn__number_fault(outcome));
}

static lmn_status note_row(csv_import *job, const lmn__csv *csv, lmn_split split, void *user,
                           lmn_error *err)
{
    (void)user;
    job->samples[split]++;
    for (size_t i = 0; split == LMN_SPLIT_TRAIN && i < job->table.n_features; i++) {
        job->sums[i] += job->is_missing[i] ? 0.0 : (double)job->row[i];
        job->counts[i] += job->is_missing[i] ? 0 : 1;
    }
    return job->options->label != NULL ? note_label(job, csv, err) : note_target(job, csv, err);
}

static lmn_status check_splits(const csv_import *job, lmn_error *err)
{
    const bool wants_test = job->n_files == 2 || job->options->test_part > 0.0;
    for (size_t split = 0; split < (wants_test ? 2 : 1); split++) {
        if (job->samples[split] == 0) {
            return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' gives no rows for the %s split",
                                 job->files[job->n_files == 2 ? split : 0].lines.source.path,
                                 split == 0 ? "training" : "test");
        }
    }
    return LMN_OK;
}

static lmn_status take_means(csv_import *job, lmn_error *err)
{
    for (size_t i = 0; job->fills_mean && i < job->table.n_features; i++) {
        if (job->counts[i] == 0) {
            char text[LMN__COLUMN_TEXT_BYTES];
            lmn__csv_column_text(&job->table, job->table.features[i], text);
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "%s of '%s' has no value in the training split; leave it out with "
                                 "--drop %zu",
                                 text, job->files[0].lines.source.path, job->table.features[i] + 1);
        }
        job->fill[i] = (float)(job->sums[i] / (double)job->counts[i]);
    }
    return LMN_OK;
}

static lmn_status make_rows(csv_import *job, lmn_error *err)
{
    const size_t n = job->table.n_features;
    job->row = lmn_alloc(n, sizeof *job->row, err);
    job->is_missing = lmn_alloc(n, sizeof *job->is_missing, err);
    job->fill = lmn_alloc(n, sizeof *job->fill, err);
    job->sums = lmn_alloc(n, sizeof *job->sums, err);
    job->counts = lmn_alloc(n, sizeof *job->counts, err);
    if (job->row == NULL || job->is_missing == NULL || job->fill == NULL || job->sums == NULL ||
        job->counts == NULL) {
        return LMN_ERR_MEMORY;
    }
    const char *missing = job->options->missing;
    job->fills_mean = missing != NULL && strcmp(missing, "mean") == 0;
    if (missing == NULL || job->fills_mean) {
        return LMN_OK;
    }
    float value = 0.0F;
    if (lmn__number_f32(missing, &value) != LMN__NUMBER_OK) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s' cannot stand for empty cells: give a number, or mean", missing);
    }
    for (size_t i = 0; i < n; i++) {
        job->fill[i] = value;
    }
    return LMN_OK;
}

static lmn_status open_files(csv_import *job, lmn_error *err)
{
    const lmn_import_csv_options *options = job->options;
    const char *const paths[2] = {options->train, options->test};
    char separator = options->separator;
    if (separator == 0) {
        separator = ',';
    }
    lmn_status status = lmn__label_set_create(false, &job->labels, err);
    for (size_t file = 0; status == LMN_OK && file < 2 && paths[file] != NULL; file++) {
        job->n_files = file + 1;
        status = lmn__csv_open(&job->files[file], paths[file], separator, err);
    }
    if (status == LMN_OK) {
        status = lmn__csv_table_plan(&job->table, &job->files[0], options, err);
    }
    return status == LMN_OK ? make_rows(job, err) : status;
}

static lmn_status survey(csv_import *job, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t file = 0; status == LMN_OK && file < job->n_files; file++) {
        status = visit_file(job, file, note_row, NULL, err);
        if (status == LMN_OK) {
            status = lmn__csv_rewind(&job->files[file], err);
        }
    }
    if (status == LMN_OK) {
        status = check_splits(job, err);
    }
    return status == LMN_OK ? take_means(job, err) : status;
}

/* ---- the second reading ---- */

static lmn_status append_answer(const csv_import *job, lmn__output_array *answer,
                                const lmn__csv *csv, lmn_error *err)
{
    const char *cell = csv->cells[job->table.answer];
    if (job->options->target != NULL) {
        float target = 0.0F;
        (void)lmn__number_f32(cell, &target);
        return lmn__output_array_append(answer, &target, 1, err);
    }
    return lmn__output_append_label(answer, job->labels, cell, err);
}

static lmn_status write_row(csv_import *job, const lmn__csv *csv, lmn_split split, void *user,
                            lmn_error *err)
{
    csv_arrays *arrays = (csv_arrays *)user + split;
    const lmn_status status = lmn__output_array_append(&arrays->vectors, job->row, 1, err);
    return status == LMN_OK ? append_answer(job, &arrays->answer, csv, err) : status;
}

static lmn_status begin_split(const csv_import *job, csv_arrays *arrays,
                              lmn__dataset_output *output, lmn_split split, lmn_error *err)
{
    const uint64_t samples = job->samples[split];
    const lmn__h5_shape shape = {.n_dims = 2, .dims = {samples, job->table.n_features}};
    const lmn_status status = lmn__output_array_begin(
        &arrays->vectors, output, split, LMN__ARRAY_VECTORS, H5T_NATIVE_FLOAT, &shape, err);
    if (status != LMN_OK) {
        return status;
    }
    return job->options->label != NULL
               ? lmn__output_begin_labels(&arrays->answer, output, split, job->labels, samples, err)
               : lmn__output_array_begin_list(&arrays->answer, output, split, LMN__ARRAY_TARGETS,
                                              H5T_NATIVE_FLOAT, samples, err);
}

static lmn_status write_features(const csv_import *job, lmn__dataset_output *output, lmn_error *err)
{
    const lmn__csv_table *table = &job->table;
    if (!table->has_header) {
        return LMN_OK;
    }
    const char **names = lmn_alloc(table->n_features, sizeof *names, err);
    if (names == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < table->n_features; i++) {
        names[i] = table->names[table->features[i]];
    }
    const lmn_status status =
        lmn__h5_write_texts(output->h5.file, "/features", names, table->n_features, err);
    lmn_free(names);
    return status;
}

static lmn_status write_splits(csv_import *job, csv_arrays *arrays, lmn__dataset_output *output,
                               lmn_error *err)
{
    const size_t n_splits = job->samples[1] > 0 ? 2 : 1;
    lmn_status status = LMN_OK;
    for (size_t split = 0; status == LMN_OK && split < n_splits; split++) {
        status = begin_split(job, &arrays[split], output, (lmn_split)split, err);
    }
    for (size_t file = 0; status == LMN_OK && file < job->n_files; file++) {
        status = visit_file(job, file, write_row, arrays, err);
    }
    for (size_t split = 0; status == LMN_OK && split < n_splits; split++) {
        const char *source = job->files[job->n_files == 2 ? split : 0].lines.source.path;
        status = lmn__output_array_end(&arrays[split].vectors, source, err);
        if (status == LMN_OK) {
            status = lmn__output_array_end(&arrays[split].answer, source, err);
        }
    }
    return status;
}

static lmn_status fill(void *user, lmn__dataset_output *output, lmn_error *err)
{
    csv_import *job = user;
    csv_arrays arrays[2] = {{LMN__OUTPUT_ARRAY_NONE, LMN__OUTPUT_ARRAY_NONE},
                            {LMN__OUTPUT_ARRAY_NONE, LMN__OUTPUT_ARRAY_NONE}};
    lmn_status status = write_splits(job, arrays, output, err);
    for (size_t split = 0; split < 2; split++) {
        lmn__output_array_close(&arrays[split].vectors);
        lmn__output_array_close(&arrays[split].answer);
    }
    if (status == LMN_OK) {
        status = write_features(job, output, err);
    }
    if (status == LMN_OK && job->options->label != NULL) {
        status = lmn__output_named_classes(output, lmn__label_set_names(job->labels),
                                           lmn__label_set_count(job->labels), err);
    }
    return status;
}

/* ---- the whole ---- */

static lmn_status check_options(const lmn_import_csv_options *options, lmn_error *err)
{
    if ((options->label == NULL) == (options->target == NULL)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "one column must be named as the label, or as the target");
    }
    if (options->target != NULL && options->common.class_names != NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "class names are given, but the answer is a number");
    }
    if (options->test != NULL && options->test_part > 0.0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the test split is a file, or a part of the training file, not both");
    }
    return LMN_OK;
}

static void free_all(csv_import *job)
{
    for (size_t file = 0; file < 2; file++) {
        lmn__csv_close(&job->files[file]);
    }
    lmn__csv_table_free(&job->table);
    lmn__label_set_destroy(job->labels);
    lmn_free(job->row);
    lmn_free(job->is_missing);
    lmn_free(job->fill);
    lmn_free(job->sums);
    lmn_free(job->counts);
}

lmn_status lmn_import_csv(const lmn_import_csv_options *options, const char *output, lmn_error *err)
{
    csv_import job = {.options = options};
    lmn_status status = check_options(options, err);
    if (status == LMN_OK) {
        status = open_files(&job, err);
    }
    if (status == LMN_OK) {
        status = survey(&job, err);
    }
    if (status == LMN_OK) {
        status = lmn__dataset_output_write(output, "vectors", &options->common, fill, &job, err);
    }
    free_all(&job);
    return status;
}

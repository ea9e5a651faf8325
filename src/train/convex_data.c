/*
 * Data of workers from files: HDF5 problem files and LIBSVM files.
 *
 * Every rank reads what all must know, labels and sizes, and keeps the rows of its own workers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_internal.h"
#include "lamina/memory.h"
#include "lamina/problem.h"
#include "lamina/random.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ HDF5 */

/* Classes of all workers, which each rank needs. */
static lmn_status collect_classes(const lmn_convex_problem *problem, const lmn_problem_file *file,
                                  lmn__convex_classes *classes, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t worker = 0;
         problem->loss == LMN_CONVEX_LOGISTIC && status == LMN_OK && worker < problem->workers;
         worker++) {
        const size_t rows = lmn_problem_file_rows(file, worker);
        double *answers = lmn_alloc(rows, sizeof *answers, err);
        status = answers == NULL ? LMN_ERR_MEMORY
                                 : lmn_problem_file_read_answers(file, worker, answers, err);
        if (status == LMN_OK) {
            status = lmn__convex_classes_add(classes, answers, rows, err);
        }
        lmn_free(answers);
    }
    return status;
}

static lmn_status read_part(const lmn_problem_file *file, size_t worker, lmn__convex_part *part,
                            lmn_error *err)
{
    lmn__convex_matrix *matrix = &part->matrix;
    matrix->rows = lmn_problem_file_rows(file, worker);
    matrix->columns = lmn_problem_file_columns(file);
    matrix->dense = lmn_alloc(matrix->rows * matrix->columns, sizeof(double), err);
    part->answers = lmn_alloc(matrix->rows, sizeof(double), err);
    if (matrix->dense == NULL || part->answers == NULL) {
        return LMN_ERR_MEMORY;
    }
    const lmn_status status = lmn_problem_file_read_matrix(file, worker, matrix->dense, err);
    return status == LMN_OK ? lmn_problem_file_read_answers(file, worker, part->answers, err)
                            : status;
}

static lmn_status read_parts(lmn_convex_problem *problem, const lmn_problem_file *file,
                             const lmn__convex_classes *classes, lmn_error *err)
{
    lmn_status status = lmn__convex_take_parts(problem, err);
    for (size_t i = 0; status == LMN_OK && i < problem->own.count; i++) {
        lmn__convex_part *part = &problem->parts[i];
        status = read_part(file, problem->own.first + i, part, err);
        if (status == LMN_OK) {
            lmn__convex_number_labels(problem, classes, part->answers, part->matrix.rows);
        }
    }
    return status;
}

static lmn_status read_start(lmn_convex_problem *problem, const lmn_problem_file *file,
                             const char *path, lmn_error *err)
{
    const size_t count = lmn_problem_file_start_count(file);
    if (count == 0) {
        return LMN_OK;
    }
    if (count != problem->dimension) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s': /x0 has %zu elements, and x has %zu: one for each column of A, "
                             "and with more than two classes for each of them",
                             path, count, problem->dimension);
    }
    return lmn_problem_file_read_start(file, problem->start, err);
}

static lmn_status read_open(lmn_convex_problem *problem, const lmn_problem_file *file,
                            const lmn_convex_problem_options *options, lmn__convex_classes *classes,
                            lmn_error *err)
{
    problem->features = lmn_problem_file_columns(file);
    lmn_status status = lmn__convex_deal_workers(
        problem, options->workers, lmn_problem_file_workers(file), options->data, err);
    if (status == LMN_OK) {
        status = collect_classes(problem, file, classes, err);
    }
    if (status == LMN_OK) {
        status = lmn__convex_set_classes(problem, classes, err);
    }
    if (status == LMN_OK) {
        status = read_parts(problem, file, classes, err);
    }
    return status == LMN_OK ? read_start(problem, file, options->data, err) : status;
}

lmn_status lmn__convex_read_hdf5(lmn_convex_problem *problem,
                                 const lmn_convex_problem_options *options, lmn_error *err)
{
    lmn_problem_file *file = NULL;
    lmn__convex_classes classes = {0};
    lmn_status status = lmn_problem_file_open(options->data, &file, err);
    if (status == LMN_OK) {
        status = read_open(problem, file, options, &classes, err);
    }
    lmn_free(classes.values);
    lmn_problem_file_close(file);
    return status;
}

/* ------------------------------------------------------------------ LIBSVM */

/* A sample, to be put in order by its answer. */
typedef struct ordered_sample {
    double answer;
    size_t index;
} ordered_sample;

static int by_answer(const void *a_memory, const void *b_memory)
{
    const ordered_sample *a = a_memory;
    const ordered_sample *b = b_memory;
    if (a->answer != b->answer) {
        return a->answer < b->answer ? -1 : 1;
    }
    return a->index < b->index ? -1 : 1;
}

/* order [count]: samples as they are dealt out, the first to worker 0 and so on. */
static void order_samples(const lmn_samples *samples, const lmn_convex_problem_options *options,
                          ordered_sample *order)
{
    for (size_t i = 0; i < samples->count; i++) {
        const size_t index = options->split == LMN_CONVEX_SPLIT_IID
                                 ? (size_t)lmn_permute(options->seed, 0, i, samples->count)
                                 : i;
        order[i] = (ordered_sample){.answer = samples->answers[index], .index = index};
    }
    if (options->split == LMN_CONVEX_SPLIT_LABEL) {
        qsort(order, samples->count, sizeof *order, by_answer);
    }
}

static lmn_status copy_samples(const lmn_samples *samples, const ordered_sample *order,
                               lmn__convex_part *part, lmn_error *err)
{
    lmn__convex_matrix *matrix = &part->matrix;
    size_t entries = 0;
    for (size_t i = 0; i < matrix->rows; i++) {
        const size_t index = order[i].index;
        entries += samples->starts[index + 1] - samples->starts[index];
    }
    matrix->starts = lmn_alloc(matrix->rows + 1, sizeof *matrix->starts, err);
    matrix->indices = lmn_alloc(entries, sizeof *matrix->indices, err);
    matrix->values = lmn_alloc(entries, sizeof *matrix->values, err);
    part->answers = lmn_alloc(matrix->rows, sizeof *part->answers, err);
    if (matrix->starts == NULL || matrix->indices == NULL || matrix->values == NULL ||
        part->answers == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < matrix->rows; i++) {
        const size_t from = samples->starts[order[i].index];
        const size_t count = samples->starts[order[i].index + 1] - from;
        const size_t to = matrix->starts[i];
        for (size_t k = 0; k < count; k++) {
            matrix->indices[to + k] = samples->indices[from + k];
            matrix->values[to + k] = samples->values[from + k];
        }
        matrix->starts[i + 1] = to + count;
        part->answers[i] = order[i].answer;
    }
    return LMN_OK;
}

static lmn_status deal_samples(lmn_convex_problem *problem, const lmn_samples *samples,
                               const lmn_convex_problem_options *options,
                               const lmn__convex_classes *classes, lmn_error *err)
{
    ordered_sample *order = lmn_alloc(samples->count, sizeof *order, err);
    lmn_status status = order == NULL ? LMN_ERR_MEMORY : lmn__convex_take_parts(problem, err);
    if (status == LMN_OK) {
        order_samples(samples, options, order);
    }
    for (size_t i = 0; status == LMN_OK && i < problem->own.count; i++) {
        lmn__convex_part *part = &problem->parts[i];
        const lmn_range range =
            lmn_partition(samples->count, problem->workers, problem->own.first + i);
        part->matrix.rows = range.count;
        part->matrix.columns = problem->features;
        status = copy_samples(samples, order + range.first, part, err);
        if (status == LMN_OK) {
            lmn__convex_number_labels(problem, classes, part->answers, range.count);
        }
    }
    lmn_free(order);
    return status;
}

static lmn_status take_samples(lmn_convex_problem *problem, const lmn_samples *samples,
                               const lmn_convex_problem_options *options,
                               lmn__convex_classes *classes, lmn_error *err)
{
    const size_t workers =
        options->workers == 0 ? (size_t)lmn_world_size(problem->world) : options->workers;
    if (workers > samples->count) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%s' has %zu samples, which is not one for each of %zu workers",
                             options->data, samples->count, workers);
    }
    problem->features = samples->columns;
    lmn_status status = lmn__convex_deal_workers(problem, workers, workers, options->data, err);
    if (status == LMN_OK && problem->loss == LMN_CONVEX_LOGISTIC) {
        status = lmn__convex_classes_add(classes, samples->answers, samples->count, err);
    }
    if (status == LMN_OK) {
        status = lmn__convex_set_classes(problem, classes, err);
    }
    return status == LMN_OK ? deal_samples(problem, samples, options, classes, err) : status;
}

lmn_status lmn__convex_read_libsvm(lmn_convex_problem *problem,
                                   const lmn_convex_problem_options *options, lmn_error *err)
{
    lmn_samples samples = {0};
    lmn__convex_classes classes = {0};
    lmn_status status = lmn_samples_read_libsvm(options->data, &samples, err);
    if (status == LMN_OK) {
        status = take_samples(problem, &samples, options, &classes, err);
    }
    lmn_free(classes.values);
    lmn_samples_free(&samples);
    return status;
}

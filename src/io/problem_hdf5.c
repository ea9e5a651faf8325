/*
 * HDF5 problem files: /rank_<i>/A, /rank_<i>/b and /x0.
 *
 * Other programs write these files, so any type of number and any layout that HDF5 can convert is
 * read, and everything about shapes is checked when the file is opened.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "h5_internal.h"
#include "lamina/memory.h"
#include "lamina/problem.h"

#include <math.h>
#include <string.h>

struct lmn_problem_file {
    const char *path; /* borrowed */
    hid_t h5;         /* owned */
    size_t workers;
    size_t columns;
    size_t *rows; /* [workers] owned */
    size_t start_count;
};

static const char START[] = "/x0";

/* How many of the file's links are called rank_<something>. */
static herr_t count_worker(hid_t group, const char *name, const H5L_info_t *info, void *user)
{
    (void)group;
    (void)info;
    size_t *count = user;
    *count += strncmp(name, "rank_", strlen("rank_")) == 0 ? 1 : 0;
    return 0;
}

/* Workers are numbered without a gap. */
static lmn_status count_workers(lmn_problem_file *file, lmn_error *err)
{
    size_t named = 0;
    if (H5Literate(file->h5, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, count_worker, &named) < 0) {
        return lmn__h5_error(err, LMN_ERR_FORMAT, "'%s': its groups cannot be listed", file->path);
    }
    for (size_t worker = 0; worker < named; worker++) {
        char path[LMN_PATH_BYTES];
        const lmn_status status = lmn__path_format(path, err, "/rank_%zu", worker);
        if (status != LMN_OK) {
            return status;
        }
        if (!lmn__h5_has_object(file->h5, path)) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "'%s' has %zu groups named rank_<i>, but no %s; workers are "
                                 "numbered from 0 without a gap",
                                 file->path, named, path);
        }
    }
    if (named == 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is no problem file: it has no group /rank_0 with A and b",
                             file->path);
    }
    file->workers = named;
    return LMN_OK;
}

/* A dataset of numbers, open, and its shape. */
static lmn_status open_numbers(const lmn_problem_file *file, const char *path, hid_t *dataset_out,
                               lmn__h5_shape *shape_out, lmn_error *err)
{
    const hid_t dataset =
        lmn__h5_has_object(file->h5, path) ? H5Dopen2(file->h5, path, H5P_DEFAULT) : -1;
    if (dataset < 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' has no dataset %s", file->path, path);
    }
    const hid_t type = H5Dget_type(dataset);
    const H5T_class_t class = H5Tget_class(type);
    lmn__h5_close(type);
    lmn_status status = LMN_OK;
    if (class != H5T_INTEGER && class != H5T_FLOAT) {
        status =
            lmn_error_set(err, LMN_ERR_FORMAT, "'%s': %s does not hold numbers", file->path, path);
    } else {
        status = lmn__h5_shape_of(dataset, shape_out, err);
        if (status != LMN_OK) {
            lmn_error_add_context(err, "'%s': %s", file->path, path);
        }
    }
    if (status != LMN_OK) {
        lmn__h5_close(dataset);
        return status;
    }
    *dataset_out = dataset;
    return LMN_OK;
}

static lmn_status shape_of(const lmn_problem_file *file, const char *path, lmn__h5_shape *shape_out,
                           lmn_error *err)
{
    hid_t dataset = H5I_INVALID_HID;
    const lmn_status status = open_numbers(file, path, &dataset, shape_out, err);
    if (status == LMN_OK) {
        lmn__h5_close(dataset);
    }
    return status;
}

static lmn_status check_matrix(lmn_problem_file *file, size_t worker, lmn_error *err)
{
    char path[LMN_PATH_BYTES];
    lmn__h5_shape shape = {0};
    lmn_status status = lmn__path_format(path, err, "/rank_%zu/A", worker);
    if (status == LMN_OK) {
        status = shape_of(file, path, &shape, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    if (shape.n_dims != 2 || shape.dims[0] == 0 || shape.dims[1] == 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s': %s must be a matrix, rows x columns, with at least one of each",
                             file->path, path);
    }
    if (shape.dims[0] > SIZE_MAX / sizeof(double) / shape.dims[1]) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s': %s is larger than memory can be",
                             file->path, path);
    }
    if (worker == 0) {
        file->columns = (size_t)shape.dims[1];
    } else if (shape.dims[1] != file->columns) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s': %s has %llu columns, and /rank_0/A has %zu; all workers need "
                             "the same number",
                             file->path, path, (unsigned long long)shape.dims[1], file->columns);
    }
    file->rows[worker] = (size_t)shape.dims[0];
    return LMN_OK;
}

static lmn_status check_answers(const lmn_problem_file *file, size_t worker, lmn_error *err)
{
    char path[LMN_PATH_BYTES];
    lmn__h5_shape shape = {0};
    lmn_status status = lmn__path_format(path, err, "/rank_%zu/b", worker);
    if (status == LMN_OK) {
        status = shape_of(file, path, &shape, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const bool is_column = shape.n_dims == 2 && shape.dims[1] == 1;
    if ((shape.n_dims != 1 && !is_column) || shape.dims[0] != file->rows[worker]) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s': %s must have %zu elements in one dimension, one for each row "
                             "of /rank_%zu/A",
                             file->path, path, file->rows[worker], worker);
    }
    return LMN_OK;
}

static lmn_status check_start(lmn_problem_file *file, lmn_error *err)
{
    if (!lmn__h5_has_object(file->h5, START)) {
        return LMN_OK;
    }
    lmn__h5_shape shape = {0};
    const lmn_status status = shape_of(file, START, &shape, err);
    if (status != LMN_OK) {
        return status;
    }
    file->start_count = (size_t)lmn__h5_elements(&shape);
    return file->start_count > 0
               ? LMN_OK
               : lmn_error_set(err, LMN_ERR_FORMAT, "'%s': /x0 is empty", file->path);
}

static lmn_status open_checked(lmn_problem_file *file, lmn_error *err)
{
    lmn_status status = lmn__h5_open(file->path, &file->h5, err);
    if (status == LMN_OK) {
        status = count_workers(file, err);
    }
    if (status == LMN_OK) {
        file->rows = lmn_alloc(file->workers, sizeof *file->rows, err);
        status = file->rows == NULL ? LMN_ERR_MEMORY : LMN_OK;
    }
    for (size_t worker = 0; status == LMN_OK && worker < file->workers; worker++) {
        status = check_matrix(file, worker, err);
        if (status == LMN_OK) {
            status = check_answers(file, worker, err);
        }
    }
    return status == LMN_OK ? check_start(file, err) : status;
}

lmn_status lmn_problem_file_open(const char *path, lmn_problem_file **file_out, lmn_error *err)
{
    lmn_problem_file *file = lmn_alloc(1, sizeof *file, err);
    if (file == NULL) {
        return LMN_ERR_MEMORY;
    }
    file->path = path;
    file->h5 = H5I_INVALID_HID;
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    const lmn_status status = open_checked(file, err);
    lmn__h5_quiet_end(&quiet);
    if (status != LMN_OK) {
        lmn_problem_file_close(file);
        return status;
    }
    *file_out = file;
    return LMN_OK;
}

void lmn_problem_file_close(lmn_problem_file *file)
{
    if (file != NULL) {
        lmn__h5_close_file(file->h5);
        lmn_free(file->rows);
        lmn_free(file);
    }
}

size_t lmn_problem_file_workers(const lmn_problem_file *file)
{
    return file->workers;
}

size_t lmn_problem_file_columns(const lmn_problem_file *file)
{
    return file->columns;
}

size_t lmn_problem_file_rows(const lmn_problem_file *file, size_t worker)
{
    return file->rows[worker];
}

size_t lmn_problem_file_start_count(const lmn_problem_file *file)
{
    return file->start_count;
}

static lmn_status check_finite(const lmn_problem_file *file, const char *path, const double *values,
                               size_t count, lmn_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            return lmn_error_set(err, LMN_ERR_FORMAT, "'%s': element %zu of %s is NaN or infinite",
                                 file->path, i, path);
        }
    }
    return LMN_OK;
}

static lmn_status read_numbers(const lmn_problem_file *file, const char *path, double *values,
                               size_t count, lmn_error *err)
{
    hid_t dataset = H5I_INVALID_HID;
    lmn__h5_shape shape = {0};
    lmn_status status = open_numbers(file, path, &dataset, &shape, err);
    if (status != LMN_OK) {
        return status;
    }
    if (H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
        status = lmn__h5_error(err, LMN_ERR_FORMAT, "'%s': %s cannot be read", file->path, path);
    }
    lmn__h5_close(dataset);
    return status == LMN_OK ? check_finite(file, path, values, count, err) : status;
}

static lmn_status read_of_worker(const lmn_problem_file *file, size_t worker, const char *name,
                                 double *values, size_t count, lmn_error *err)
{
    char path[LMN_PATH_BYTES];
    lmn_status status = lmn__path_format(path, err, "/rank_%zu/%s", worker, name);
    if (status != LMN_OK) {
        return status;
    }
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    status = read_numbers(file, path, values, count, err);
    lmn__h5_quiet_end(&quiet);
    return status;
}

lmn_status lmn_problem_file_read_matrix(const lmn_problem_file *file, size_t worker, double *matrix,
                                        lmn_error *err)
{
    return read_of_worker(file, worker, "A", matrix, file->rows[worker] * file->columns, err);
}

lmn_status lmn_problem_file_read_answers(const lmn_problem_file *file, size_t worker,
                                         double *answers, lmn_error *err)
{
    return read_of_worker(file, worker, "b", answers, file->rows[worker], err);
}

lmn_status lmn_problem_file_read_start(const lmn_problem_file *file, double *start, lmn_error *err)
{
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    const lmn_status status = read_numbers(file, START, start, file->start_count, err);
    lmn__h5_quiet_end(&quiet);
    return status;
}

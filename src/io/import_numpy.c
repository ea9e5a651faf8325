/*
 * Importing arrays that NumPy saved.
 *
 * All headers are read and compared first; then each array streams through one block of memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_output_internal.h"
#include "files_internal.h"
#include "lamina/memory.h"
#include "npy_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)1 << 20)
#define SHAPE_BYTES 128

/* One array: where it is, and its reader. */
typedef struct numpy_array {
    char path[LMN_PATH_BYTES];
    char member[LMN__ZIP_NAME_BYTES]; /* "": none named */
    lmn__npy npy;                     /* owned once is_open */
    bool is_open;
} numpy_array;

/* What is being imported. */
typedef struct numpy_import {
    const lmn_import_numpy_options *options; /* borrowed */
    numpy_array samples[2];                  /* by split */
    numpy_array labels[2];
    size_t n_splits;
    bool are_images;
    bool are_bytes; /* samples are stored as u8, else f32 */
    bool are_classes;
} numpy_import;

/* ---- where the arrays are ---- */

/* "FILE:MEMBER", unless a file has that whole name. */
static lmn_status split_name(numpy_array *array, const char *text, lmn_error *err)
{
    const char *colon = strrchr(text, ':');
    const lmn_status status = lmn__path_format(array->path, err, "%s", text);
    if (status != LMN_OK || colon == NULL || access(text, F_OK) == 0) {
        return status;
    }
    array->path[colon - text] = '\0';
    (void)snprintf(array->member, sizeof array->member, "%s", colon + 1);
    return LMN_OK;
}

static lmn_status name_member(numpy_array *array, const char *archive, const char *member,
                              lmn_error *err)
{
    (void)snprintf(array->member, sizeof array->member, "%s", member);
    return lmn__path_format(array->path, err, "%s", archive);
}

static lmn_status locate_in_archive(numpy_import *job, const char *archive, lmn_error *err)
{
    bool has_samples = false;
    bool has_labels = false;
    lmn_status status = lmn__zip_has_member(archive, "x_test", &has_samples, err);
    if (status == LMN_OK) {
        status = lmn__zip_has_member(archive, "y_test", &has_labels, err);
    }
    if (status == LMN_OK) {
        status = name_member(&job->samples[0], archive, "x_train", err);
    }
    if (status == LMN_OK) {
        status = name_member(&job->labels[0], archive, "y_train", err);
    }
    job->n_splits = has_samples || has_labels ? 2 : 1;
    if (status == LMN_OK && job->n_splits == 2) {
        status = name_member(&job->samples[1], archive, "x_test", err);
    }
    if (status == LMN_OK && job->n_splits == 2) {
        status = name_member(&job->labels[1], archive, "y_test", err);
    }
    return status;
}

static lmn_status locate(numpy_import *job, lmn_error *err)
{
    const lmn_import_numpy_options *options = job->options;
    if (options->archive != NULL) {
        return locate_in_archive(job, options->archive, err);
    }
    const char *const samples[2] = {options->train_samples, options->test_samples};
    const char *const labels[2] = {options->train_labels, options->test_labels};
    if (samples[0] == NULL || labels[0] == NULL || (samples[1] == NULL) != (labels[1] == NULL)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "an import needs both samples and labels of a split");
    }
    lmn_status status = LMN_OK;
    for (size_t split = 0; status == LMN_OK && split < 2; split++) {
        if (samples[split] == NULL || labels[split] == NULL) {
            break;
        }
        job->n_splits = split + 1;
        status = split_name(&job->samples[split], samples[split], err);
        if (status == LMN_OK) {
            status = split_name(&job->labels[split], labels[split], err);
        }
    }
    return status;
}

/* ---- do they fit together ---- */

static lmn_status open_array(numpy_array *array, lmn_error *err)
{
    const char *member = array->member[0] == '\0' ? NULL : array->member;
    const lmn_status status = lmn__npy_open(&array->npy, array->path, member, err);
    array->is_open = status == LMN_OK;
    return status;
}

static lmn_status refuse_shape(const lmn__npy *npy, const char *wanted, lmn_error *err)
{
    char shape[SHAPE_BYTES];
    lmn__npy_shape_text(npy, shape, sizeof shape);
    return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' has the shape %s; %s", npy->name, shape,
                         wanted);
}

static lmn_status check_samples(numpy_import *job, const lmn__npy *npy, lmn_error *err)
{
    const lmn_numpy_samples kind = job->options->kind;
    const bool is_image = npy->n_dims == 3 || npy->n_dims == 4;
    if (kind == LMN_NUMPY_IMAGES && !is_image) {
        return refuse_shape(npy, "images are (N, H, W) or (N, H, W, C)", err);
    }
    if (kind == LMN_NUMPY_VECTORS && npy->n_dims != 2) {
        return refuse_shape(npy, "vectors are (N, D)", err);
    }
    if (!is_image && npy->n_dims != 2) {
        return refuse_shape(npy, "images are (N, H, W) or (N, H, W, C), vectors (N, D)", err);
    }
    job->are_images = is_image;
    job->are_bytes = is_image && npy->type == LMN__NPY_U8;
    return LMN_OK;
}

static lmn_status check_labels(numpy_import *job, const lmn__npy *npy, lmn_error *err)
{
    const bool is_list = npy->n_dims == 1 || (npy->n_dims == 2 && npy->dims[1] == 1);
    if (!is_list) {
        return refuse_shape(npy,
                            "one label a sample is needed: (N,) (of one-hot rows: numpy.argmax(y, "
                            "axis=1))",
                            err);
    }
    job->are_classes = !job->options->targets && !lmn__npy_is_float(npy);
    return LMN_OK;
}

static lmn_status check_split(numpy_import *job, size_t split, lmn_error *err)
{
    lmn_status status = open_array(&job->samples[split], err);
    if (status == LMN_OK) {
        status = open_array(&job->labels[split], err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const lmn__npy *samples = &job->samples[split].npy;
    const lmn__npy *labels = &job->labels[split].npy;
    status = check_samples(job, samples, err);
    if (status == LMN_OK) {
        status = check_labels(job, labels, err);
    }
    if (status == LMN_OK && samples->dims[0] != labels->dims[0]) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "'%s' has %" PRIu64 " samples and '%s' has %" PRIu64 " labels",
                               samples->name, samples->dims[0], labels->name, labels->dims[0]);
    }
    return status;
}

static lmn_status compare_splits(const numpy_import *job, lmn_error *err)
{
    const lmn__npy *train = &job->samples[0].npy;
    const lmn__npy *test = &job->samples[1].npy;
    const bool is_same_size =
        train->n_dims == test->n_dims &&
        memcmp(train->dims + 1, test->dims + 1, sizeof train->dims - sizeof train->dims[0]) == 0;
    if (!is_same_size) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "the samples of '%s' are not of the size of those of '%s'", test->name,
                             train->name);
    }
    const bool are_same_bytes = (train->type == LMN__NPY_U8) == (test->type == LMN__NPY_U8);
    if (job->are_images && !are_same_bytes) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "of '%s' and '%s' one holds bytes, which map to [0, 1], and one does "
                             "not; save both with the same type",
                             test->name, train->name);
    }
    if (lmn__npy_is_float(&job->labels[0].npy) != lmn__npy_is_float(&job->labels[1].npy)) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "of '%s' and '%s' one holds integers, which are classes, and one "
                             "numbers to predict; save both with the same type",
                             job->labels[1].npy.name, job->labels[0].npy.name);
    }
    return LMN_OK;
}

static lmn_status open_all(numpy_import *job, lmn_error *err)
{
    lmn_status status = locate(job, err);
    for (size_t split = 0; status == LMN_OK && split < job->n_splits; split++) {
        status = check_split(job, split, err);
    }
    if (status == LMN_OK && job->n_splits == 2) {
        status = compare_splits(job, err);
    }
    if (status == LMN_OK && !job->are_classes && job->options->common.class_names != NULL) {
        status = lmn_error_set(err, LMN_ERR_ARGUMENT,
                               "class names are given, but '%s' holds numbers to predict",
                               job->labels[0].npy.name);
    }
    return status;
}

static void close_all(numpy_import *job)
{
    for (size_t split = 0; split < 2; split++) {
        if (job->samples[split].is_open) {
            lmn__npy_close(&job->samples[split].npy);
        }
        if (job->labels[split].is_open) {
            lmn__npy_close(&job->labels[split].npy);
        }
    }
}

/* ---- copying ---- */

/* Rows first .. first + n_rows - 1 from the reader into the array. */
typedef lmn_status (*copy_fn)(lmn__npy *npy, lmn__output_array *array, void *block, uint64_t first,
                              size_t n_rows, lmn_error *err);

static lmn_status copy_bytes(lmn__npy *npy, lmn__output_array *array, void *block, uint64_t first,
                             size_t n_rows, lmn_error *err)
{
    (void)first;
    const lmn_status status = lmn__npy_read_bytes(npy, block, n_rows * npy->row_elements, err);
    return status == LMN_OK ? lmn__output_array_append(array, block, n_rows, err) : status;
}

static lmn_status copy_f32(lmn__npy *npy, lmn__output_array *array, void *block, uint64_t first,
                           size_t n_rows, lmn_error *err)
{
    const lmn_status status =
        lmn__npy_read_f32(npy, first * npy->row_elements, block, n_rows * npy->row_elements, err);
    return status == LMN_OK ? lmn__output_array_append(array, block, n_rows, err) : status;
}

static lmn_status copy_classes(lmn__npy *npy, lmn__output_array *array, void *block, uint64_t first,
                               size_t n_rows, lmn_error *err)
{
    int64_t *labels = block;
    lmn_status status = lmn__npy_read_i64(npy, first, labels, n_rows, err);
    for (size_t i = 0; status == LMN_OK && i < n_rows; i++) {
        const int32_t label = (int32_t)labels[i];
        status = lmn__output_check_label(array->output, labels[i], first + i, npy->name, err);
        if (status == LMN_OK) {
            status = lmn__output_array_append(array, &label, 1, err);
        }
    }
    return status;
}

static lmn_status copy_rows(lmn__npy *npy, lmn__output_array *array, size_t value_bytes,
                            copy_fn copy, lmn_error *err)
{
    const size_t row_bytes = (size_t)npy->row_elements * value_bytes;
    const size_t rows = row_bytes < BLOCK_BYTES ? BLOCK_BYTES / row_bytes : 1;
    void *block = lmn_alloc(rows, row_bytes, err);
    lmn_status status = block == NULL ? LMN_ERR_MEMORY : LMN_OK;
    const uint64_t count = npy->dims[0];
    for (uint64_t done = 0; status == LMN_OK && done < count; done += rows) {
        const size_t n = count - done < rows ? (size_t)(count - done) : rows;
        status = copy(npy, array, block, done, n, err);
    }
    lmn_free(block);
    return status == LMN_OK ? lmn__npy_finish(npy, err) : status;
}

/* How an array is stored. */
typedef struct numpy_store {
    lmn__array_role role;
    hid_t type;
    size_t value_bytes; /* of an element in the block */
    copy_fn copy;
} numpy_store;

static lmn_status import_array(lmn__dataset_output *output, lmn_split split, lmn__npy *npy,
                               const numpy_store *store, lmn_error *err)
{
    lmn__h5_shape shape = {.n_dims = store->role == LMN__ARRAY_IMAGES    ? 4
                                     : store->role == LMN__ARRAY_VECTORS ? 2
                                                                         : 1};
    for (int i = 0; i < shape.n_dims; i++) {
        shape.dims[i] = i < npy->n_dims ? npy->dims[i] : 1;
    }
    lmn__output_array array = LMN__OUTPUT_ARRAY_NONE;
    lmn_status status =
        lmn__output_array_begin(&array, output, split, store->role, store->type, &shape, err);
    if (status == LMN_OK) {
        status = copy_rows(npy, &array, store->value_bytes, store->copy, err);
    }
    if (status == LMN_OK) {
        status = lmn__output_array_end(&array, npy->name, err);
    }
    lmn__output_array_close(&array);
    return status;
}

static lmn_status fill(void *user, lmn__dataset_output *output, lmn_error *err)
{
    numpy_import *job = user;
    const lmn__array_role role = job->are_images ? LMN__ARRAY_IMAGES : LMN__ARRAY_VECTORS;
    const numpy_store bytes = {role, H5T_NATIVE_UINT8, 1, copy_bytes};
    const numpy_store floats = {role, H5T_NATIVE_FLOAT, sizeof(float), copy_f32};
    const numpy_store classes = {LMN__ARRAY_LABELS, H5T_NATIVE_INT32, sizeof(int64_t),
                                 copy_classes};
    const numpy_store targets = {LMN__ARRAY_TARGETS, H5T_NATIVE_FLOAT, sizeof(float), copy_f32};
    lmn_status status = LMN_OK;
    for (size_t split = 0; status == LMN_OK && split < job->n_splits; split++) {
        status = import_array(output, (lmn_split)split, &job->samples[split].npy,
                              job->are_bytes ? &bytes : &floats, err);
        if (status == LMN_OK) {
            status = import_array(output, (lmn_split)split, &job->labels[split].npy,
                                  job->are_classes ? &classes : &targets, err);
        }
    }
    return status == LMN_OK && job->are_classes ? lmn__output_numbered_classes(output, err)
                                                : status;
}

lmn_status lmn_import_numpy(const lmn_import_numpy_options *options, const char *output,
                            lmn_error *err)
{
    numpy_import *job = lmn_alloc(1, sizeof *job, err);
    if (job == NULL) {
        return LMN_ERR_MEMORY;
    }
    job->options = options;
    lmn_status status = open_all(job, err);
    if (status == LMN_OK) {
        status = lmn__dataset_output_write(output, job->are_images ? "images" : "vectors",
                                           &options->common, fill, job, err);
    }
    close_all(job);
    lmn_free(job);
    return status;
}

/*
 * Importing IDX files (the format of MNIST and its successors) into dataset.h5.
 *
 * Samples stream from the source through one block of memory into the file, so the size of a
 * dataset does not matter. The file is written beside its name and gets it when everything was
 * read, checked and flushed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "digest_internal.h"
#include "files_internal.h"
#include "h5_output_internal.h"
#include "idx_internal.h"
#include "lamina/import.h"
#include "lamina/memory.h"

#include <inttypes.h>
#include <stdio.h>

#include <hdf5_hl.h>

#define BLOCK_BYTES ((size_t)1 << 20)

/* What is being imported. */
typedef struct idx_import {
    const lmn_import_idx_options *options; /* borrowed */
    lmn__idx images[2];                    /* by split: train, test; owned */
    lmn__idx labels[2];
    size_t n_splits;
    size_t n_classes;      /* so many as the labels need, or as are named */
    lmn__h5_output output; /* owned */
} idx_import;

static const char *const split_groups[2] = {"/train", "/test"};

static lmn_status open_pair(idx_import *job, size_t split, const char *images, const char *labels,
                            lmn_error *err)
{
    lmn_status status = lmn__idx_open(&job->images[split], images, LMN__IDX_IMAGES, err);
    if (status == LMN_OK) {
        status = lmn__idx_open(&job->labels[split], labels, LMN__IDX_LABELS, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const uint64_t n_images = job->images[split].dims[0];
    const uint64_t n_labels = job->labels[split].dims[0];
    if (n_images != n_labels) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' has %" PRIu64 " images and '%s' has %" PRIu64 " labels", images,
                             n_images, labels, n_labels);
    }
    return LMN_OK;
}

static lmn_status open_sources(idx_import *job, lmn_error *err)
{
    const lmn_import_idx_options *options = job->options;
    if (options->train_images == NULL || options->train_labels == NULL ||
        (options->test_images == NULL) != (options->test_labels == NULL)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "an import needs both images and labels of a split");
    }
    lmn_status status = open_pair(job, 0, options->train_images, options->train_labels, err);
    job->n_splits = 1;
    if (status != LMN_OK || options->test_images == NULL) {
        return status;
    }
    status = open_pair(job, 1, options->test_images, options->test_labels, err);
    job->n_splits = 2;
    for (size_t i = 1; status == LMN_OK && i < 4; i++) {
        if (job->images[0].dims[i] != job->images[1].dims[i]) {
            status = lmn_error_set(err, LMN_ERR_FORMAT,
                                   "the images of '%s' are not of the size of those of '%s'",
                                   options->test_images, options->train_images);
        }
    }
    return status;
}

static void close_sources(idx_import *job)
{
    for (size_t split = 0; split < 2; split++) {
        lmn__idx_close(&job->images[split]);
        lmn__idx_close(&job->labels[split]);
    }
}

/* Labels are classes: remember how many they need, or refuse one that has no name. */
static lmn_status check_labels(idx_import *job, const lmn__idx *source, const unsigned char *labels,
                               uint64_t first, size_t count, lmn_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const size_t needed = (size_t)labels[i] + 1;
        if (job->options->class_names != NULL && needed > job->n_classes) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "label %u of sample %" PRIu64 " in '%s' has no class: there are "
                                 "%zu class names",
                                 labels[i], first + i, source->path, job->n_classes);
        }
        job->n_classes = needed > job->n_classes ? needed : job->n_classes;
    }
    return LMN_OK;
}

static herr_t write_rows(hid_t dataset, const lmn__h5_shape *shape, uint64_t first, uint64_t count,
                         const void *data)
{
    hsize_t start[LMN__H5_DIMS_MAX] = {first};
    lmn__h5_shape part = *shape;
    part.dims[0] = count;
    const hid_t space = H5Dget_space(dataset);
    const hid_t memory = H5Screate_simple(part.n_dims, part.dims, NULL);
    herr_t code = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, part.dims, NULL);
    if (code >= 0) {
        code = H5Dwrite(dataset, H5T_NATIVE_UINT8, memory, space, H5P_DEFAULT, data);
    }
    lmn__h5_close(memory);
    lmn__h5_close(space);
    return code;
}

/* All samples of a source, block by block. */
static lmn_status copy_samples(idx_import *job, lmn__idx *source, hid_t dataset,
                               const lmn__h5_shape *shape, lmn__checksum *checksum, lmn_error *err)
{
    const size_t sample_bytes = source->sample_bytes;
    const size_t rows = sample_bytes < BLOCK_BYTES ? BLOCK_BYTES / sample_bytes : 1;
    unsigned char *block = lmn_alloc(rows, sample_bytes, err);
    lmn_status status = block == NULL ? LMN_ERR_MEMORY : LMN_OK;
    const uint64_t count = source->dims[0];
    for (uint64_t done = 0; status == LMN_OK && done < count; done += rows) {
        const size_t n = count - done < rows ? (size_t)(count - done) : rows;
        status = lmn__idx_read(source, block, n * sample_bytes, err);
        if (status == LMN_OK && source->n_dims == 1) {
            status = check_labels(job, source, block, done, n, err);
        }
        if (status == LMN_OK) {
            lmn__checksum_update(checksum, block, n * sample_bytes);
        }
        if (status == LMN_OK && write_rows(dataset, shape, done, n, block) < 0) {
            status = lmn__h5_error(err, LMN_ERR_IO, "cannot write what was read from '%s'",
                                   source->path);
        }
        if (status == LMN_OK) {
            status = lmn__h5_output_check(&job->output, err);
        }
    }
    lmn_free(block);
    return status == LMN_OK ? lmn__idx_finish(source, err) : status;
}

static lmn_status write_image_attributes(hid_t dataset, lmn_error *err)
{
    static const char *const labels[] = {"sample", "height", "width", "channel"};
    lmn_status status = lmn__h5_write_f64(dataset, "scale", 1.0 / 255.0, err);
    if (status == LMN_OK) {
        status = lmn__h5_write_f64(dataset, "offset", 0.0, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_write_text(dataset, "layout", "NHWC", err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_write_text(dataset, "description", "value = scale * stored + offset", err);
    }
    for (unsigned i = 0; status == LMN_OK && i < 4; i++) {
        if (H5DSset_label(dataset, i, labels[i]) < 0) {
            status = lmn__h5_error(err, LMN_ERR_IO, "cannot label the dimensions of the images");
        }
    }
    return status;
}

static lmn_status write_label_attributes(hid_t dataset, lmn_error *err)
{
    if (H5DSset_label(dataset, 0, "sample") < 0) {
        return lmn__h5_error(err, LMN_ERR_IO, "cannot label the dimension of the labels");
    }
    return lmn__h5_write_text(dataset, "description", "index into /classes", err);
}

/* Where the array came from, and what its bytes must hash to. */
static lmn_status write_origin(hid_t dataset, const lmn__idx *source, const lmn__checksum *checksum,
                               lmn_error *err)
{
    char text[LMN__CHECKSUM_TEXT_BYTES];
    lmn__checksum_text(lmn__checksum_value(checksum), text);
    lmn_status status = lmn__h5_write_text(dataset, "checksum_xxh3", text, err);
    if (status == LMN_OK) {
        status = lmn__h5_write_text(dataset, "source", lmn__path_base(source->path), err);
    }
    return status;
}

static lmn_status copy_into(idx_import *job, lmn__idx *source, hid_t dataset,
                            const lmn__h5_shape *shape, lmn_error *err)
{
    lmn__checksum *checksum = NULL;
    lmn_status status = lmn__checksum_create(&checksum, err);
    if (status == LMN_OK) {
        status = copy_samples(job, source, dataset, shape, checksum, err);
    }
    if (status == LMN_OK) {
        status = write_origin(dataset, source, checksum, err);
    }
    lmn__checksum_destroy(checksum);
    return status;
}

static lmn_status import_array(idx_import *job, lmn__idx *source, size_t split, const char *leaf,
                               lmn_error *err)
{
    char path[32];
    (void)snprintf(path, sizeof path, "%s/%s", split_groups[split], leaf);
    const bool is_labels = source->n_dims == 1;
    lmn__h5_shape shape = {.n_dims = is_labels ? 1 : 4};
    for (int i = 0; i < shape.n_dims; i++) {
        shape.dims[i] = source->dims[i];
    }
    hid_t dataset = H5I_INVALID_HID;
    lmn_status status =
        lmn__h5_create_array(job->output.file, path, H5T_STD_U8LE, &shape, "1", &dataset, err);
    if (status == LMN_OK) {
        status = copy_into(job, source, dataset, &shape, err);
    }
    if (status == LMN_OK) {
        status =
            is_labels ? write_label_attributes(dataset, err) : write_image_attributes(dataset, err);
    }
    lmn__h5_close(dataset);
    return status;
}

/* Names that were given, or numbers. */
static lmn_status write_classes(const idx_import *job, lmn_error *err)
{
    char numbers[256][4];
    const char *names[256];
    for (unsigned i = 0; i < 256; i++) {
        (void)snprintf(numbers[i], sizeof numbers[i], "%u", i);
        names[i] = numbers[i];
    }
    const bool are_given = job->options->class_names != NULL;
    return lmn__h5_write_texts(job->output.file, "/classes",
                               are_given ? job->options->class_names : names, job->n_classes, err);
}

static lmn_status import_all(idx_import *job, lmn_error *err)
{
    const lmn_import_idx_options *options = job->options;
    job->n_classes = options->class_names != NULL ? options->n_classes : 0;
    lmn_status status = lmn__h5_write_kind(job->output.file, LMN_FILE_DATASET, err);
    if (status == LMN_OK && options->title != NULL) {
        status = lmn__h5_write_text(job->output.file, "title", options->title, err);
    }
    for (size_t split = 0; status == LMN_OK && split < job->n_splits; split++) {
        status = import_array(job, &job->images[split], split, "images", err);
        if (status == LMN_OK) {
            status = import_array(job, &job->labels[split], split, "labels", err);
        }
    }
    return status == LMN_OK ? write_classes(job, err) : status;
}

static lmn_status import_to(idx_import *job, const char *output, lmn_error *err)
{
    char part[LMN_PATH_BYTES];
    lmn_status status = lmn__path_format(part, err, "%s.part", output);
    if (status != LMN_OK) {
        return status;
    }
    status = lmn__h5_output_create(&job->output, part, 0, err);
    if (status == LMN_OK) {
        status = import_all(job, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_output_finish(&job->output, err);
    }
    if (status == LMN_OK) {
        status = lmn__file_publish(part, output, err);
    }
    if (status != LMN_OK) {
        lmn__h5_output_discard(&job->output);
    }
    return status;
}

lmn_status lmn_import_idx(const lmn_import_idx_options *options, const char *output, lmn_error *err)
{
    idx_import job = {.options = options, .output = LMN__H5_OUTPUT_NONE};
    lmn_status status = open_sources(&job, err);
    if (status == LMN_OK) {
        const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
        status = import_to(&job, output, err);
        lmn__h5_quiet_end(&quiet);
    }
    close_sources(&job);
    return status;
}

/*
 * Importing IDX files (the format of MNIST and its successors) into dataset.h5.
 *
 * Samples stream from the source through one block of memory into the file, so the size of a
 * dataset does not matter.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_output_internal.h"
#include "idx_internal.h"
#include "lamina/memory.h"

#include <inttypes.h>

#define BLOCK_BYTES ((size_t)1 << 20)

/* What is being imported. */
typedef struct idx_import {
    const lmn_import_idx_options *options; /* borrowed */
    lmn__idx images[2];                    /* by split; owned */
    lmn__idx labels[2];
    size_t n_splits;
} idx_import;

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

/* All samples of a source, block by block. */
static lmn_status copy_samples(lmn__idx *source, lmn__output_array *array, lmn_error *err)
{
    const size_t sample_bytes = source->sample_bytes;
    const size_t rows = sample_bytes < BLOCK_BYTES ? BLOCK_BYTES / sample_bytes : 1;
    unsigned char *block = lmn_alloc(rows, sample_bytes, err);
    lmn_status status = block == NULL ? LMN_ERR_MEMORY : LMN_OK;
    const uint64_t count = source->dims[0];
    for (uint64_t done = 0; status == LMN_OK && done < count; done += rows) {
        const size_t n = count - done < rows ? (size_t)(count - done) : rows;
        status = lmn__source_read(&source->source, block, n * sample_bytes, err);
        for (size_t i = 0; status == LMN_OK && source->n_dims == 1 && i < n; i++) {
            status = lmn__output_check_label(array->output, block[i], done + i, source->source.path,
                                             err);
        }
        if (status == LMN_OK) {
            status = lmn__output_array_append(array, block, n, err);
        }
    }
    lmn_free(block);
    return status == LMN_OK ? lmn__idx_finish(source, err) : status;
}

static lmn_status import_array(lmn__dataset_output *output, lmn__idx *source, size_t split,
                               lmn_error *err)
{
    const bool is_labels = source->n_dims == 1;
    lmn__h5_shape shape = {.n_dims = is_labels ? 1 : 4};
    for (int i = 0; i < shape.n_dims; i++) {
        shape.dims[i] = source->dims[i];
    }
    lmn__output_array array = LMN__OUTPUT_ARRAY_NONE;
    lmn_status status = lmn__output_array_begin(&array, output, (lmn_split)split,
                                                is_labels ? LMN__ARRAY_LABELS : LMN__ARRAY_IMAGES,
                                                H5T_NATIVE_UINT8, &shape, err);
    if (status == LMN_OK) {
        status = copy_samples(source, &array, err);
    }
    if (status == LMN_OK) {
        status = lmn__output_array_end(&array, source->source.path, err);
    }
    lmn__output_array_close(&array);
    return status;
}

static lmn_status fill(void *user, lmn__dataset_output *output, lmn_error *err)
{
    idx_import *job = user;
    lmn_status status = LMN_OK;
    for (size_t split = 0; status == LMN_OK && split < job->n_splits; split++) {
        status = import_array(output, &job->images[split], split, err);
        if (status == LMN_OK) {
            status = import_array(output, &job->labels[split], split, err);
        }
    }
    return status == LMN_OK ? lmn__output_numbered_classes(output, err) : status;
}

lmn_status lmn_import_idx(const lmn_import_idx_options *options, const char *output, lmn_error *err)
{
    idx_import job = {.options = options};
    lmn_status status = open_sources(&job, err);
    if (status == LMN_OK) {
        status = lmn__dataset_output_write(output, "images", &options->common, fill, &job, err);
    }
    close_sources(&job);
    return status;
}

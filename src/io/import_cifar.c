/*
 * Importing the binary files of CIFAR-10 and CIFAR-100.
 *
 * A file is records without a header: one label byte (CIFAR-10) or two (CIFAR-100: coarse, fine),
 * then 32 x 32 bytes of red, green and blue each, row by row. How many records there are, and of
 * which kind, follows from the length; the colour planes are interleaved on the way.
 *
 * Format: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and
 * https://www.cs.toronto.edu/~kriz/cifar.html.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_output_internal.h"
#include "lamina/memory.h"
#include "source_internal.h"

#include <inttypes.h>

enum { SIDE = 32, PIXELS = SIDE * SIDE, CHANNELS = 3, IMAGE_BYTES = CHANNELS * PIXELS };

/* Records that are read at a time. */
#define BLOCK_RECORDS 256

typedef struct cifar_format {
    const char *name;
    size_t label_bytes;
} cifar_format;

static const cifar_format formats[] = {
    [LMN_CIFAR_10] = {"CIFAR-10", 1}, [LMN_CIFAR_100] = {"CIFAR-100", 2}};

static const char *const cifar_10_names[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                             "dog",      "frog",       "horse", "ship", "truck"};

enum { CIFAR_10_CLASSES = 10, FINE_CLASSES = 100, COARSE_CLASSES = 20 };

/* What is being imported. */
typedef struct cifar_import {
    const lmn_import_cifar_options *options; /* borrowed */
    const cifar_format *format;              /* NULL until it is known */
    uint64_t counts[2];                      /* samples by split */
} cifar_import;

static size_t record_bytes(const cifar_format *format)
{
    return format->label_bytes + IMAGE_BYTES;
}

static const char *const *split_files(const cifar_import *job, lmn_split split, size_t *count_out)
{
    *count_out = split == LMN_SPLIT_TRAIN ? job->options->n_train : job->options->n_test;
    return split == LMN_SPLIT_TRAIN ? job->options->train : job->options->test;
}

/* ---- which format, how many records ---- */

/* The format whose records fit the length; NULL, with the error, when none or both do. */
static const cifar_format *detect_format(const char *path, uint64_t bytes, lmn_status *status,
                                         lmn_error *err)
{
    const cifar_format *ten = &formats[LMN_CIFAR_10];
    const cifar_format *hundred = &formats[LMN_CIFAR_100];
    const bool is_ten = bytes % record_bytes(ten) == 0;
    const bool is_hundred = bytes % record_bytes(hundred) == 0;
    if (is_ten != is_hundred) {
        return is_ten ? ten : hundred;
    }
    if (is_ten) {
        *status = lmn_error_set(err, LMN_ERR_ARGUMENT,
                                "'%s' may be of %s or %s by its size; say which format it has",
                                path, ten->name, hundred->name);
    } else {
        *status = lmn_error_set(
            err, LMN_ERR_FORMAT,
            "'%s' has %" PRIu64 " bytes, which are no whole records of %s (%zu bytes) or %s (%zu "
            "bytes); is it truncated, or not the binary version?",
            path, bytes, ten->name, record_bytes(ten), hundred->name, record_bytes(hundred));
    }
    return NULL;
}

static lmn_status count_records(cifar_import *job, const char *path, uint64_t *count_out,
                                lmn_error *err)
{
    lmn__source source = {0};
    uint64_t bytes = 0;
    lmn_status status = lmn__source_open(&source, path, err);
    if (status == LMN_OK) {
        status = lmn__source_measure(&source, &bytes, err);
    }
    lmn__source_close(&source);
    if (status != LMN_OK) {
        return status;
    }
    if (bytes == 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is empty", path);
    }
    if (job->format == NULL) {
        job->format = detect_format(path, bytes, &status, err);
    }
    if (job->format == NULL) {
        return status;
    }
    if (bytes % record_bytes(job->format) != 0) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "'%s' has %" PRIu64 " bytes, which are no whole records of %s (%zu "
                               "bytes); is it truncated, or of another format?",
                               path, bytes, job->format->name, record_bytes(job->format));
    }
    if (status == LMN_OK) {
        *count_out += bytes / record_bytes(job->format);
    }
    return status;
}

static lmn_status count_split(cifar_import *job, lmn_split split, lmn_error *err)
{
    size_t n_files = 0;
    const char *const *files = split_files(job, split, &n_files);
    lmn_status status = LMN_OK;
    for (size_t i = 0; status == LMN_OK && i < n_files; i++) {
        status = count_records(job, files[i], &job->counts[split], err);
    }
    return status;
}

/* ---- records ---- */

/* The two arrays of a split. */
typedef struct cifar_arrays {
    lmn__output_array images;
    lmn__output_array labels;
} cifar_arrays;

static void interleave(const unsigned char *planes, unsigned char *image)
{
    for (size_t channel = 0; channel < CHANNELS; channel++) {
        for (size_t i = 0; i < PIXELS; i++) {
            image[i * CHANNELS + channel] = planes[channel * PIXELS + i];
        }
    }
}

static lmn_status take_label(const cifar_import *job, cifar_arrays *arrays,
                             const unsigned char *record, uint64_t sample, const char *path,
                             lmn_error *err)
{
    const bool is_hundred = job->format->label_bytes == 2;
    const bool is_fine = is_hundred && !job->options->coarse;
    const unsigned label = record[is_fine ? 1 : 0];
    const unsigned n_classes = is_fine      ? FINE_CLASSES
                               : is_hundred ? COARSE_CLASSES
                                            : CIFAR_10_CLASSES;
    if (label >= n_classes) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "label %u of record %" PRIu64 " in '%s' is none of the %u classes of "
                             "%s; the file is damaged or of another format",
                             label, sample, path, n_classes, job->format->name);
    }
    lmn_status status = lmn__output_check_label(arrays->labels.output, label, sample, path, err);
    if (status == LMN_OK) {
        const unsigned char stored = (unsigned char)label;
        status = lmn__output_array_append(&arrays->labels, &stored, 1, err);
    }
    return status;
}

static lmn_status take_block(const cifar_import *job, cifar_arrays *arrays,
                             const unsigned char *block, size_t n_records, uint64_t first,
                             const char *path, lmn_error *err)
{
    const size_t bytes = record_bytes(job->format);
    unsigned char image[IMAGE_BYTES];
    lmn_status status = LMN_OK;
    for (size_t i = 0; status == LMN_OK && i < n_records; i++) {
        const unsigned char *record = block + i * bytes;
        status = take_label(job, arrays, record, first + i, path, err);
        if (status == LMN_OK) {
            interleave(record + job->format->label_bytes, image);
            status = lmn__output_array_append(&arrays->images, image, 1, err);
        }
    }
    return status;
}

static lmn_status copy_records(const cifar_import *job, cifar_arrays *arrays, lmn__source *source,
                               unsigned char *block, lmn_error *err)
{
    uint64_t bytes = 0;
    lmn_status status = lmn__source_measure(source, &bytes, err);
    const uint64_t count = bytes / record_bytes(job->format);
    for (uint64_t done = 0; status == LMN_OK && done < count; done += BLOCK_RECORDS) {
        const size_t n = count - done < BLOCK_RECORDS ? (size_t)(count - done) : BLOCK_RECORDS;
        status = lmn__source_read(source, block, n * record_bytes(job->format), err);
        if (status == LMN_OK) {
            status = take_block(job, arrays, block, n, done, source->path, err);
        }
    }
    return status;
}

static lmn_status copy_file(const cifar_import *job, cifar_arrays *arrays, const char *path,
                            lmn_error *err)
{
    lmn__source source = {0};
    lmn_status status = lmn__source_open(&source, path, err);
    unsigned char *block = lmn_alloc(BLOCK_RECORDS, record_bytes(job->format), err);
    if (block == NULL) {
        status = LMN_ERR_MEMORY;
    }
    if (status == LMN_OK) {
        status = copy_records(job, arrays, &source, block, err);
    }
    lmn_free(block);
    lmn__source_close(&source);
    return status;
}

static lmn_status copy_files(const cifar_import *job, cifar_arrays *arrays, lmn_split split,
                             lmn_error *err)
{
    size_t n_files = 0;
    const char *const *files = split_files(job, split, &n_files);
    lmn_status status = LMN_OK;
    for (size_t i = 0; status == LMN_OK && i < n_files; i++) {
        status = copy_file(job, arrays, files[i], err);
    }
    if (status == LMN_OK) {
        status = lmn__output_array_end(&arrays->images, files[0], err);
    }
    return status == LMN_OK ? lmn__output_array_end(&arrays->labels, files[0], err) : status;
}

static lmn_status fill_split(const cifar_import *job, lmn__dataset_output *output, lmn_split split,
                             lmn_error *err)
{
    const lmn__h5_shape shape = {.n_dims = 4, .dims = {job->counts[split], SIDE, SIDE, CHANNELS}};
    cifar_arrays arrays = {LMN__OUTPUT_ARRAY_NONE, LMN__OUTPUT_ARRAY_NONE};
    lmn_status status = lmn__output_array_begin(&arrays.images, output, split, LMN__ARRAY_IMAGES,
                                                H5T_NATIVE_UINT8, &shape, err);
    if (status == LMN_OK) {
        status = lmn__output_array_begin_list(&arrays.labels, output, split, LMN__ARRAY_LABELS,
                                              H5T_NATIVE_UINT8, job->counts[split], err);
    }
    if (status == LMN_OK) {
        status = copy_files(job, &arrays, split, err);
    }
    lmn__output_array_close(&arrays.labels);
    lmn__output_array_close(&arrays.images);
    return status;
}

static lmn_status fill(void *user, lmn__dataset_output *output, lmn_error *err)
{
    const cifar_import *job = user;
    lmn_status status = fill_split(job, output, LMN_SPLIT_TRAIN, err);
    if (status == LMN_OK && job->options->n_test > 0) {
        status = fill_split(job, output, LMN_SPLIT_TEST, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const bool has_names = job->format->label_bytes == 1 && output->common->class_names == NULL;
    return has_names ? lmn__output_named_classes(output, cifar_10_names, CIFAR_10_CLASSES, err)
                     : lmn__output_numbered_classes(output, err);
}

lmn_status lmn_import_cifar(const lmn_import_cifar_options *options, const char *output,
                            lmn_error *err)
{
    cifar_import job = {.options = options};
    if (options->n_train == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "an import needs a file to train with");
    }
    if (options->format != LMN_CIFAR_AUTO) {
        job.format = &formats[options->format];
    }
    lmn_status status = count_split(&job, LMN_SPLIT_TRAIN, err);
    if (status == LMN_OK) {
        status = count_split(&job, LMN_SPLIT_TEST, err);
    }
    if (status == LMN_OK && options->coarse && job.format != NULL && job.format->label_bytes == 1) {
        status =
            lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' is of CIFAR-10, which has no coarse labels",
                          options->train[0]);
    }
    if (status == LMN_OK) {
        status = lmn__dataset_output_write(output, "images", &options->common, fill, &job, err);
    }
    return status;
}

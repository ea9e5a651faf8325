/*
 * The content of any Lamina file: single arrays, and the checksums over all of them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "digest_internal.h"
#include "files_internal.h"
#include "inspect_internal.h"
#include "lamina/checkpoint.h"
#include "lamina/memory.h"

#include <string.h>

/* ---- reading ---- */

static lmn_status open_array(const lmn_file *file, const char *path, hid_t *dataset_out,
                             lmn_error *err)
{
    const hid_t dataset =
        lmn__h5_has_object(file->h5, path) ? H5Dopen2(file->h5, path, H5P_DEFAULT) : -1;
    if (dataset < 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' has no array '%s'", file->path, path);
    }
    *dataset_out = dataset;
    return LMN_OK;
}

static lmn_status read_numbers(hid_t dataset, const char *path, double **values_out,
                               size_t *count_out, lmn_error *err)
{
    const hid_t type = H5Dget_type(dataset);
    const H5T_class_t class = H5Tget_class(type);
    lmn__h5_close(type);
    if (class != H5T_INTEGER && class != H5T_FLOAT) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' does not hold numbers", path);
    }
    lmn__h5_shape shape = {0};
    const lmn_status status = lmn__h5_shape_of(dataset, &shape, err);
    if (status != LMN_OK) {
        return status;
    }
    const size_t count = (size_t)lmn__h5_elements(&shape);
    double *values = lmn_alloc(count, sizeof *values, err);
    if (values == NULL) {
        return LMN_ERR_MEMORY;
    }
    if (count > 0 &&
        H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
        lmn_free(values);
        return lmn__h5_error(err, LMN_ERR_FORMAT, "'%s' cannot be read", path);
    }
    *values_out = values;
    *count_out = count;
    return LMN_OK;
}

lmn_status lmn_file_read_f64(const lmn_file *file, const char *path, double **values_out,
                             size_t *count_out, lmn_error *err)
{
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    hid_t dataset = H5I_INVALID_HID;
    lmn_status status = open_array(file, path, &dataset, err);
    if (status == LMN_OK) {
        status = read_numbers(dataset, path, values_out, count_out, err);
    }
    lmn__h5_close(dataset);
    lmn__h5_quiet_end(&quiet);
    return status;
}

static lmn_status copy_item(const lmn__texts *texts, const char *path, size_t index, char *text,
                            size_t capacity, lmn_error *err)
{
    if (index >= texts->count) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' has %zu texts, and none of number %zu",
                             path, texts->count, index);
    }
    const size_t bytes = strlen(texts->items[index]) + 1;
    if (bytes > capacity) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "text %zu of '%s' needs %zu bytes, and %zu are "
                             "given",
                             index, path, bytes, capacity);
    }
    memcpy(text, texts->items[index], bytes);
    return LMN_OK;
}

lmn_status lmn_file_read_text(const lmn_file *file, const char *path, size_t index, char *text,
                              size_t capacity, lmn_error *err)
{
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    hid_t dataset = H5I_INVALID_HID;
    lmn__texts texts = {0};
    lmn_status status = open_array(file, path, &dataset, err);
    if (status == LMN_OK) {
        status = lmn__h5_read_texts(dataset, &texts, err);
    }
    if (status == LMN_OK) {
        status = copy_item(&texts, path, index, text, capacity, err);
    }
    lmn_free(texts.items);
    lmn__h5_close(dataset);
    lmn__h5_quiet_end(&quiet);
    return status;
}

/* ---- verifying ---- */

/* The checksum covers the bytes as stored, which for contiguous data are the bytes in the file. */
static lmn_status verify_checksum(int fd, const lmn_file *file, hid_t dataset,
                                  const lmn_file_array *array, const char *wanted, lmn_error *err)
{
    const haddr_t offset = H5Dget_offset(dataset);
    uint64_t value = 0;
    if (array->bytes > 0 && offset == HADDR_UNDEF) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' of '%s' has a checksum but is not contiguous", array->path,
                             file->path);
    }
    const lmn_status status = lmn__checksum_file(fd, file->path, array->bytes > 0 ? offset : 0,
                                                 array->bytes, &value, err);
    if (status != LMN_OK) {
        return status;
    }
    char found[LMN__CHECKSUM_TEXT_BYTES];
    lmn__checksum_text(value, found);
    if (strcmp(found, wanted) != 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' of '%s' is damaged: its checksum is %s and should be %s",
                             array->path, file->path, found, wanted);
    }
    return LMN_OK;
}

/* Arrays without a checksum are at least read. */
static lmn_status read_through(hid_t dataset, const lmn_file *file, const lmn_file_array *array,
                               lmn_error *err)
{
    double *values = NULL;
    lmn__texts texts = {0};
    size_t count = 0;
    lmn_status status = LMN_OK;
    if (strcmp(array->type, "text") == 0) {
        status = lmn__h5_read_texts(dataset, &texts, err);
    } else if (strcmp(array->type, "other") != 0) {
        status = read_numbers(dataset, array->path, &values, &count, err);
    }
    if (status != LMN_OK) {
        lmn_error_add_context(err, "'%s' is damaged", file->path);
    }
    lmn_free(values);
    lmn_free(texts.items);
    return status;
}

/* A file under verification, for the visitor. */
typedef struct verification {
    const lmn_file *file; /* borrowed */
    int fd;
} verification;

static lmn_status verify_array(void *user, const lmn_file_array *array, lmn_error *err)
{
    const verification *job = user;
    const hid_t dataset = H5Dopen2(job->file->h5, array->path, H5P_DEFAULT);
    char *checksum = NULL;
    lmn_status status = LMN_OK;
    if (!lmn__h5_has_attribute(dataset, "checksum_xxh3")) {
        status = read_through(dataset, job->file, array, err);
    } else {
        status = lmn__h5_read_text(dataset, "checksum_xxh3", &checksum, err);
        if (status == LMN_OK) {
            status = verify_checksum(job->fd, job->file, dataset, array, checksum, err);
        }
    }
    lmn_free(checksum);
    lmn__h5_close(dataset);
    return status;
}

static lmn_status ignore_value(void *user, const lmn_value *value, lmn_error *err)
{
    (void)user;
    (void)value;
    (void)err;
    return LMN_OK;
}

lmn_status lmn_file_verify(const lmn_file *file, lmn_error *err)
{
    if (file->kind == LMN_FILE_CHECKPOINT) {
        return lmn_checkpoint_verify(file->path, err);
    }
    verification job = {.file = file, .fd = -1};
    lmn_status status = lmn__file_open_read(file->path, &job.fd, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    status = lmn_file_visit_attributes(file, "/", ignore_value, NULL, err);
    if (status == LMN_OK) {
        status = lmn_file_visit_arrays(file, verify_array, &job, err);
    }
    lmn__h5_quiet_end(&quiet);
    lmn__file_close(job.fd);
    return status;
}

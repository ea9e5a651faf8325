/*
 * A dataset being written: its file from creation to its name, and its classes.
 *
 * The file is written beside its name and gets it when everything was read, checked and flushed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_internal.h"
#include "dataset_output_internal.h"
#include "files_internal.h"
#include "lamina/memory.h"

#include <inttypes.h>
#include <stdio.h>

static lmn_status fill_file(lmn__dataset_output *output, const char *kind, lmn__fill_fn fill,
                            void *job, lmn_error *err)
{
    const hid_t file = output->h5.file;
    const char *title = output->common->title;
    lmn_status status = lmn__h5_write_kind(file, LMN_FILE_DATASET, err);
    if (status == LMN_OK) {
        status = lmn__h5_write_text(file, "kind", kind, err);
    }
    if (status == LMN_OK && title != NULL) {
        status = lmn__h5_write_text(file, "title", title, err);
    }
    return status == LMN_OK ? fill(job, output, err) : status;
}

static lmn_status write_part(lmn__dataset_output *output, const char *path, const char *kind,
                             lmn__fill_fn fill, void *job, lmn_error *err)
{
    char part[LMN_PATH_BYTES];
    lmn_status status = lmn__path_format(part, err, "%s.part", path);
    if (status != LMN_OK) {
        return status;
    }
    status = lmn__h5_output_create(&output->h5, part, 0, err);
    if (status == LMN_OK) {
        status = fill_file(output, kind, fill, job, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_output_finish(&output->h5, err);
    }
    if (status == LMN_OK) {
        status = lmn__file_publish(part, path, err);
    }
    if (status != LMN_OK) {
        lmn__h5_output_discard(&output->h5);
    }
    return status;
}

lmn_status lmn__dataset_output_write(const char *path, const char *kind,
                                     const lmn_import_common *common, lmn__fill_fn fill, void *job,
                                     lmn_error *err)
{
    lmn__dataset_output output = {.h5 = LMN__H5_OUTPUT_NONE, .common = common};
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    const lmn_status status = write_part(&output, path, kind, fill, job, err);
    lmn__h5_quiet_end(&quiet);
    return status;
}

/* ---- classes ---- */

lmn_status lmn__output_begin_labels(lmn__output_array *array, lmn__dataset_output *output,
                                    lmn_split split, const lmn__label_set *labels, uint64_t count,
                                    lmn_error *err)
{
    const bool is_narrow = lmn__label_set_count(labels) <= 256;
    return lmn__output_array_begin_list(array, output, split, LMN__ARRAY_LABELS,
                                        is_narrow ? H5T_NATIVE_UINT8 : H5T_NATIVE_UINT16, count,
                                        err);
}

lmn_status lmn__output_append_label(lmn__output_array *array, const lmn__label_set *labels,
                                    const char *label, lmn_error *err)
{
    size_t index = 0;
    if (!lmn__label_set_find(labels, label, &index)) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "the label '%.40s' is new: a file changed while it was imported",
                             label);
    }
    const uint8_t narrow = (uint8_t)index;
    const uint16_t wide = (uint16_t)index;
    return lmn__output_array_append(
        array, array->row_bytes == 1 ? (const void *)&narrow : (const void *)&wide, 1, err);
}

lmn_status lmn__output_check_label(lmn__dataset_output *output, int64_t label, uint64_t sample,
                                   const char *source, lmn_error *err)
{
    const lmn_import_common *common = output->common;
    if (common->class_names != NULL && (label < 0 || (uint64_t)label >= common->n_classes)) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "label %" PRId64 " of sample %" PRIu64 " in '%s' has no class: there "
                             "are %zu class names",
                             label, sample, source, common->n_classes);
    }
    if (label < 0 || label >= LMN__CLASSES_MAX) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "label %" PRId64 " of sample %" PRIu64 " in '%s' is no class: classes "
                             "are numbered from 0, and there are at most %d",
                             label, sample, source, LMN__CLASSES_MAX);
    }
    const size_t needed = (size_t)label + 1;
    output->n_numbered = needed > output->n_numbered ? needed : output->n_numbered;
    return LMN_OK;
}

static lmn_status write_classes(lmn__dataset_output *output, const char *const *names, size_t count,
                                lmn_error *err)
{
    return lmn__h5_write_texts(output->h5.file, "/classes", names, count, err);
}

static lmn_status write_numbers(lmn__dataset_output *output, lmn_error *err)
{
    enum { NAME_BYTES = 8 };
    const size_t count = output->n_numbered;
    const char **names = lmn_alloc(count, sizeof *names + NAME_BYTES, err);
    if (names == NULL) {
        return LMN_ERR_MEMORY;
    }
    char *texts = (char *)(names + count);
    for (size_t i = 0; i < count; i++) {
        names[i] = texts + i * NAME_BYTES;
        (void)snprintf(texts + i * NAME_BYTES, NAME_BYTES, "%u",
                       (unsigned)i % (LMN__CLASSES_MAX + 1U));
    }
    const lmn_status status = write_classes(output, names, count, err);
    lmn_free(names);
    return status;
}

lmn_status lmn__output_numbered_classes(lmn__dataset_output *output, lmn_error *err)
{
    const lmn_import_common *common = output->common;
    return common->class_names == NULL
               ? write_numbers(output, err)
               : write_classes(output, common->class_names, common->n_classes, err);
}

lmn_status lmn__output_named_classes(lmn__dataset_output *output, const char *const *names,
                                     size_t count, lmn_error *err)
{
    const lmn_import_common *common = output->common;
    if (common->class_names == NULL) {
        return write_classes(output, names, count, err);
    }
    if (common->n_classes != count) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "%zu class names are given, and the labels are of %zu classes",
                             common->n_classes, count);
    }
    return write_classes(output, common->class_names, count, err);
}

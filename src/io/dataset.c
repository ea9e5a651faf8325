/*
 * Opening a dataset: what is in the file, where its images begin, and its labels.
 *
 * Every rank opens the file for itself, read-only, and closes HDF5 again at once: images are
 * contiguous, so the reader needs only their place in the file. What each rank saw is compared by
 * its fingerprint. A file may come from Lamina's importers or from a few lines of h5py, so
 * everything that can have a sane default has one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_internal.h"
#include "files_internal.h"
#include "h5_internal.h"
#include "lamina/hash.h"
#include "lamina/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const split_names[2] = {"train", "test"};

/* ---- splits and classes ---- */

static lmn_status open_array(lmn__opening *open, lmn_split split, const char *leaf, char name[32],
                             hid_t *dataset_out, lmn_error *err)
{
    (void)snprintf(name, 32, "/%s/%s", split_names[split], leaf);
    if (!lmn__h5_has_object(open->file, name)) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "there is no '%s'", name);
    }
    *dataset_out = H5Dopen2(open->file, name, H5P_DEFAULT);
    return *dataset_out >= 0 ? LMN_OK
                             : lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is not an array", name);
}

/* A checksum, where the file has one, stands for the array's content. */
static void hash_checksum(lmn__opening *open, hid_t dataset)
{
    char *text = NULL;
    if (lmn__h5_read_text(dataset, "checksum_xxh3", &text, NULL) == LMN_OK) {
        open->hash = lmn_hash64(text, strlen(text), open->hash);
    }
    lmn_free(text);
}

static lmn_status load_split(lmn__opening *open, lmn_split split, lmn_error *err)
{
    char name[32];
    hid_t images = H5I_INVALID_HID;
    hid_t labels = H5I_INVALID_HID;
    lmn_status status = open_array(open, split, "images", name, &images, err);
    if (status == LMN_OK) {
        status = lmn__dataset_check_images(open, images, split, name, err);
    }
    if (status == LMN_OK) {
        hash_checksum(open, images);
        status = open_array(open, split, "labels", name, &labels, err);
    }
    if (status == LMN_OK) {
        status = lmn__dataset_read_labels(open, labels, split, name, err);
    }
    lmn__h5_close(labels);
    lmn__h5_close(images);
    return status;
}

static lmn_status load_class_names(lmn__opening *open, lmn_error *err)
{
    if (!lmn__h5_has_object(open->file, "/classes")) {
        return LMN_OK;
    }
    const hid_t dataset = H5Dopen2(open->file, "/classes", H5P_DEFAULT);
    lmn__texts texts = {0};
    lmn_status status = lmn__h5_read_texts(dataset, &texts, err);
    lmn__h5_close(dataset);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "'/classes'");
        return status;
    }
    open->dataset->class_names = texts.items;
    if (texts.count == 0 || texts.count > LMN__CLASSES_MAX) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'/classes' names %zu classes; 1 to %d are allowed", texts.count,
                             LMN__CLASSES_MAX);
    }
    open->n_classes = texts.count;
    return LMN_OK;
}

/* "0", "1", ... as many as the labels need. */
static lmn_status number_classes(lmn__opening *open, lmn_error *err)
{
    enum { NAME_BYTES = 8 };
    const size_t count = (size_t)(open->max_label + 1);
    char **names = lmn_alloc(count, sizeof *names + NAME_BYTES, err);
    if (names == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = (char *)(names + count) + i * NAME_BYTES;
        (void)snprintf(names[i], NAME_BYTES, "%u", (unsigned)i % (LMN__CLASSES_MAX + 1U));
    }
    open->dataset->class_names = names;
    open->n_classes = count;
    return LMN_OK;
}

static void hash_description(lmn__opening *open)
{
    const lmn_dataset_info *info = &open->dataset->info;
    const size_t *dims = info->fields[0].dims;
    const uint64_t facts[] = {dims[0],
                              dims[1],
                              dims[2],
                              info->n_classes,
                              info->sample_count[LMN_SPLIT_TRAIN],
                              info->sample_count[LMN_SPLIT_TEST],
                              open->dataset->is_f32 ? 1 : 0};
    const float map[] = {info->scale, info->offset};
    open->hash = lmn_hash64(facts, sizeof facts, open->hash);
    open->hash = lmn_hash64(map, sizeof map, open->hash);
    open->dataset->fingerprint = open->hash;
}

static lmn_status load_content(lmn__opening *open, lmn_error *err)
{
    lmn_dataset_info *info = &open->dataset->info;
    lmn_status status = load_class_names(open, err);
    if (status == LMN_OK) {
        status = load_split(open, LMN_SPLIT_TRAIN, err);
    }
    if (status == LMN_OK && info->sample_count[LMN_SPLIT_TRAIN] == 0) {
        status = lmn_error_set(err, LMN_ERR_FORMAT, "'/train/images' holds no samples");
    }
    if (status == LMN_OK && lmn__h5_has_object(open->file, "/test")) {
        status = load_split(open, LMN_SPLIT_TEST, err);
    }
    if (status == LMN_OK && open->dataset->class_names == NULL) {
        status = number_classes(open, err);
    }
    if (status == LMN_OK) {
        info->n_classes = open->n_classes;
        hash_description(open);
    }
    return status;
}

/* ---- opening and closing ---- */

static lmn_status load_file(lmn_dataset *dataset, const char *path, lmn_error *err)
{
    lmn__opening open = {.file = H5I_INVALID_HID, .dataset = dataset};
    lmn_status status = lmn__h5_open_kind(path, LMN_FILE_DATASET, &open.file, err);
    if (status != LMN_OK) {
        return status;
    }
    status = lmn__file_open_read(path, &dataset->fd, err);
    if (status == LMN_OK) {
        status = lmn__file_length(dataset->fd, path, &open.length, err);
    }
    if (status == LMN_OK) {
        status = load_content(&open, err);
        if (status != LMN_OK) {
            lmn_error_add_context(err, "'%s'", path);
        }
    }
    lmn__h5_close_file(open.file);
    return status;
}

lmn_status lmn__dataset_load(const char *path, lmn_dataset **dataset_out, lmn_error *err)
{
    lmn_dataset *dataset = lmn_alloc(1, sizeof *dataset, err);
    if (dataset == NULL) {
        return LMN_ERR_MEMORY;
    }
    dataset->fd = -1;
    const size_t path_bytes = strlen(path) + 1;
    dataset->path = lmn_alloc(path_bytes, 1, err);
    lmn_status status = LMN_ERR_MEMORY;
    if (dataset->path != NULL) {
        memcpy(dataset->path, path, path_bytes);
        const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
        status = load_file(dataset, path, err);
        lmn__h5_quiet_end(&quiet);
    }
    if (status != LMN_OK) {
        lmn_dataset_close(dataset);
        return status;
    }
    *dataset_out = dataset;
    return LMN_OK;
}

lmn_status lmn_dataset_open(lmn_world *world, const char *path, lmn_dataset **dataset_out,
                            lmn_error *err)
{
    lmn_dataset *dataset = NULL;
    lmn_status status = lmn_agree(world, lmn__dataset_load(path, &dataset, err), err);
    const uint64_t fingerprint = dataset == NULL ? 0 : dataset->fingerprint;
    if (status == LMN_OK) {
        status = lmn_world_check_same(world, "the dataset", fingerprint, err);
    }
    if (status != LMN_OK) {
        lmn_dataset_close(dataset);
        return status;
    }
    *dataset_out = dataset;
    return LMN_OK;
}

void lmn_dataset_close(lmn_dataset *dataset)
{
    if (dataset == NULL) {
        return;
    }
    lmn__file_close(dataset->fd);
    lmn_free(dataset->path);
    lmn_free(dataset->splits[LMN_SPLIT_TRAIN].labels);
    lmn_free(dataset->splits[LMN_SPLIT_TEST].labels);
    lmn_free(dataset->class_names);
    lmn_free(dataset);
}

const lmn_field *lmn_dataset_info_field(const lmn_dataset_info *info, const char *name)
{
    for (size_t i = 0; i < info->n_fields; i++) {
        if (strcmp(info->fields[i].name, name) == 0) {
            return &info->fields[i];
        }
    }
    return NULL;
}

const lmn_dataset_info *lmn_dataset_get_info(const lmn_dataset *dataset)
{
    return &dataset->info;
}

const char *lmn_dataset_class_name(const lmn_dataset *dataset, size_t index)
{
    return dataset->class_names[index];
}

uint64_t lmn_dataset_fingerprint(const lmn_dataset *dataset)
{
    return dataset->fingerprint;
}

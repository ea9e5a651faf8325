/*
 * Opening a dataset: which kind it is, and what all kinds have in common.
 *
 * Every rank opens the file for itself, read-only, and closes HDF5 again at once: samples are
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

#include <string.h>

static const char *const split_names[2] = {"train", "test"};

const char *lmn__split_name(lmn_split split)
{
    return split_names[split];
}

/* ---- content ---- */

lmn_status lmn__dataset_load_splits(lmn__opening *open,
                                    lmn_status (*load_split)(lmn__opening *open, lmn_split split,
                                                             lmn_error *err),
                                    lmn_error *err)
{
    lmn_status status = load_split(open, LMN_SPLIT_TRAIN, err);
    if (status == LMN_OK && open->dataset->info.sample_count[LMN_SPLIT_TRAIN] == 0) {
        status = lmn_error_set(err, LMN_ERR_FORMAT, "the training split holds no samples");
    }
    if (status == LMN_OK && lmn__h5_has_object(open->file, "/test")) {
        status = load_split(open, LMN_SPLIT_TEST, err);
    }
    return status;
}

static lmn_status choose_store(lmn__opening *open, const char *name, lmn_error *err)
{
    static const struct {
        const char *name;
        const lmn__store *store;
    } kinds[] = {[LMN_DATASET_IMAGES] = {"images", &lmn__store_dense},
                 [LMN_DATASET_VECTORS] = {"vectors", &lmn__store_dense},
                 [LMN_DATASET_TEXT] = {"text", &lmn__store_text}};
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
        if (strcmp(name, kinds[kind].name) == 0) {
            const bool is_sparse = kind == LMN_DATASET_VECTORS &&
                                   lmn__array_exists(open, LMN_SPLIT_TRAIN, "row_start");
            open->dataset->info.kind = (lmn_dataset_kind)kind;
            open->dataset->store = is_sparse ? &lmn__store_sparse : kinds[kind].store;
            return LMN_OK;
        }
    }
    return lmn_error_set(err, LMN_ERR_FORMAT,
                         "the attribute 'kind' is '%s'; images, vectors and text can be read",
                         name);
}

/* Files from before there were other kinds do not say that they hold images. */
static lmn_status load_kind(lmn__opening *open, lmn_error *err)
{
    if (!lmn__h5_has_attribute(open->file, "kind")) {
        return choose_store(open, "images", err);
    }
    char *name = NULL;
    lmn_status status = lmn__h5_read_text(open->file, "kind", &name, err);
    if (status == LMN_OK) {
        status = choose_store(open, name, err);
    }
    lmn_free(name);
    return status;
}

/* Of images the same as in files from before there were other kinds. */
static void hash_description(lmn__opening *open)
{
    const lmn_dataset *dataset = open->dataset;
    const lmn_dataset_info *info = &dataset->info;
    const size_t *dims = info->fields[0].dims;
    const uint64_t facts[] = {dims[0],
                              dims[1],
                              dims[2],
                              info->n_classes,
                              info->sample_count[LMN_SPLIT_TRAIN],
                              info->sample_count[LMN_SPLIT_TEST],
                              dataset->is_f32 ? 1 : 0};
    const uint64_t others[] = {(uint64_t)info->kind,
                               dataset->store == &lmn__store_sparse ? 1 : 0,
                               info->text_bytes[LMN_SPLIT_TRAIN],
                               info->text_bytes[LMN_SPLIT_TEST],
                               info->text_tokens[LMN_SPLIT_TRAIN],
                               info->text_tokens[LMN_SPLIT_TEST]};
    const float map[] = {dataset->scale, dataset->offset};
    open->hash = lmn_hash64(facts, sizeof facts, open->hash);
    open->hash = lmn_hash64(map, sizeof map, open->hash);
    if (info->kind != LMN_DATASET_IMAGES) {
        open->hash = lmn_hash64(others, sizeof others, open->hash);
    }
    open->dataset->fingerprint = open->hash;
}

static lmn_status load_content(lmn__opening *open, lmn_error *err)
{
    lmn_status status = load_kind(open, err);
    if (status == LMN_OK && open->dataset->info.kind != LMN_DATASET_TEXT) {
        status = lmn__dataset_load_classes(open, err);
    }
    if (status == LMN_OK) {
        status = open->dataset->store->load(open, err);
    }
    if (status == LMN_OK) {
        hash_description(open);
    }
    return status;
}

uint64_t lmn__dataset_count(const lmn_dataset *dataset, lmn_split split, bool shuffle)
{
    return dataset->store->count == NULL ? dataset->info.sample_count[split]
                                         : dataset->store->count(dataset, split, shuffle);
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
    for (size_t split = 0; split < 2; split++) {
        lmn_free(dataset->splits[split].row_start);
        lmn_free(dataset->splits[split].labels);
        lmn_free(dataset->splits[split].targets);
    }
    lmn_free(dataset->mean);
    lmn_vocabulary_destroy(dataset->vocabulary);
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
    return dataset->class_names == NULL ? NULL : dataset->class_names[index];
}

uint64_t lmn_dataset_fingerprint(const lmn_dataset *dataset)
{
    return dataset->fingerprint;
}

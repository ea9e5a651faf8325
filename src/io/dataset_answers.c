/*
 * What is to be predicted: labels of classes, with the names of the classes, or numbers.
 *
 * Answers are few bytes a sample, so they are read when the dataset is opened and stay in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_internal.h"
#include "lamina/hash.h"
#include "lamina/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LABEL_BLOCK 65536

/* ---- classes ---- */

lmn_status lmn__dataset_load_classes(lmn__opening *open, lmn_error *err)
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

lmn_status lmn__dataset_count_classes(lmn__opening *open, lmn_error *err)
{
    lmn_dataset *dataset = open->dataset;
    lmn_status status = LMN_OK;
    if (dataset->splits[LMN_SPLIT_TRAIN].labels == NULL) {
        if (open->n_classes > 0) {
            status = lmn_error_set(err, LMN_ERR_FORMAT,
                                   "there are '/classes', but '/train/targets' are numbers");
        }
        return status;
    }
    if (dataset->class_names == NULL) {
        status = number_classes(open, err);
    }
    dataset->info.n_classes = open->n_classes;
    return status;
}

/* ---- labels ---- */

static lmn_status take_labels(lmn__opening *open, const lmn__array *array, const int64_t *block,
                              size_t count, uint64_t first, int32_t *labels, lmn_error *err)
{
    const int64_t limit = open->n_classes > 0 ? (int64_t)open->n_classes : LMN__CLASSES_MAX;
    for (size_t i = 0; i < count; i++) {
        if (block[i] < 0 || block[i] >= limit) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "label %" PRId64 " of sample %" PRIu64 " in '%s' has no class: "
                                 "labels go from 0 to %" PRId64,
                                 block[i], first + i, array->path, limit - 1);
        }
        open->max_label = block[i] > open->max_label ? block[i] : open->max_label;
        labels[i] = (int32_t)block[i];
    }
    return LMN_OK;
}

static lmn_status read_label_blocks(lmn__opening *open, const lmn__array *array, int64_t *block,
                                    uint64_t count, int32_t *labels, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (uint64_t done = 0; status == LMN_OK && done < count; done += LABEL_BLOCK) {
        const size_t n = count - done < LABEL_BLOCK ? (size_t)(count - done) : LABEL_BLOCK;
        status = lmn__array_read(array, done, n, H5T_NATIVE_INT64, block, err);
        if (status == LMN_OK) {
            status = take_labels(open, array, block, n, done, labels + done, err);
        }
    }
    return status;
}

static lmn_status read_labels(lmn__opening *open, const lmn__array *array, lmn_split split,
                              lmn_error *err)
{
    const uint64_t count = open->dataset->info.sample_count[split];
    if (!lmn__array_is_class(array, H5T_INTEGER) || !lmn__array_is_list(array, count)) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' must hold one integer for each of the %" PRIu64 " %s",
                             array->path, count, open->dataset->info.fields[0].name);
    }
    int32_t *labels = lmn_alloc((size_t)count, sizeof *labels, err);
    int64_t *block = lmn_alloc(LABEL_BLOCK, sizeof *block, err);
    open->dataset->splits[split].labels = labels;
    lmn_status status = labels == NULL || block == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        status = read_label_blocks(open, array, block, count, labels, err);
    }
    lmn_free(block);
    if (status == LMN_OK) {
        open->hash = lmn_hash64(labels, (size_t)count * sizeof *labels, open->hash);
    }
    return status;
}

/* ---- targets ---- */

static lmn_status read_targets(lmn__opening *open, const lmn__array *array, lmn_split split,
                               lmn_error *err)
{
    const uint64_t count = open->dataset->info.sample_count[split];
    if (!lmn__array_is_class(array, H5T_FLOAT) || !lmn__array_is_list(array, count)) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' must hold one floating-point number for each of the %" PRIu64
                             " %s",
                             array->path, count, open->dataset->info.fields[0].name);
    }
    float *targets = lmn_alloc((size_t)count, sizeof *targets, err);
    open->dataset->splits[split].targets = targets;
    lmn_status status = targets == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        status = lmn__array_read(array, 0, (size_t)count, H5T_NATIVE_FLOAT, targets, err);
    }
    for (uint64_t i = 0; status == LMN_OK && i < count; i++) {
        if (!isfinite(targets[i])) {
            status = lmn_error_set(err, LMN_ERR_FORMAT,
                                   "the target of sample %" PRIu64 " in '%s' is not finite", i,
                                   array->path);
        }
    }
    if (status == LMN_OK) {
        open->hash = lmn_hash64(targets, (size_t)count * sizeof *targets, open->hash);
    }
    return status;
}

/* ---- either ---- */

static lmn_status choose_answers(lmn__opening *open, lmn_split split, bool *has_targets_out,
                                 lmn_error *err)
{
    lmn_dataset_info *info = &open->dataset->info;
    const char *name = lmn__split_name(split);
    const bool has_labels = lmn__array_exists(open, split, "labels");
    const bool has_targets = lmn__array_exists(open, split, "targets");
    if (has_labels == has_targets) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             has_labels ? "there are '/%s/labels' and '/%s/targets'; only one of "
                                          "them can be the answer"
                                        : "there is no '/%s/labels', nor '/%s/targets'",
                             name, name);
    }
    const bool was_targets = open->dataset->splits[LMN_SPLIT_TRAIN].targets != NULL;
    if (split != LMN_SPLIT_TRAIN && was_targets != has_targets) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "one split has labels and the other has targets");
    }
    info->n_fields = 2;
    info->fields[1] = has_targets ? (lmn_field){.name = "targets", .dtype = LMN_F32}
                                  : (lmn_field){.name = "labels", .dtype = LMN_I32};
    *has_targets_out = has_targets;
    return LMN_OK;
}

lmn_status lmn__dataset_load_answers(lmn__opening *open, lmn_split split, lmn_error *err)
{
    lmn__array array = LMN__ARRAY_NONE;
    bool has_targets = false;
    lmn_status status = choose_answers(open, split, &has_targets, err);
    if (status == LMN_OK) {
        status = lmn__array_open(open, split, has_targets ? "targets" : "labels", &array, err);
    }
    if (status == LMN_OK) {
        status = has_targets ? read_targets(open, &array, split, err)
                             : read_labels(open, &array, split, err);
    }
    lmn__array_close(&array);
    return status;
}

void lmn__answers_read(const lmn_dataset *dataset, const lmn__rows *rows)
{
    const lmn__split_data *data = &dataset->splits[rows->split];
    int32_t *labels = rows->fields[1];
    float *targets = rows->fields[1];
    for (size_t i = 0; i < rows->count; i++) {
        if (data->targets != NULL) {
            targets[i] = i < rows->valid ? data->targets[rows->samples[i]] : 0.0F;
        } else {
            labels[i] = i < rows->valid ? data->labels[rows->samples[i]] : -1;
        }
    }
}

/*
 * The arrays of a dataset, as they are met when it is opened: are the images of a kind that the
 * reader can fetch, where do they begin, and are the labels classes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_internal.h"
#include "lamina/hash.h"
#include "lamina/memory.h"

#include <inttypes.h>
#include <math.h>

#define LABEL_BLOCK 65536

/* ---- images ---- */

static lmn_status check_image_type(lmn__opening *open, hid_t images, const char *name,
                                   lmn_error *err)
{
    const hid_t type = H5Dget_type(images);
    const bool is_u8 = H5Tequal(type, H5T_STD_U8LE) > 0 || H5Tequal(type, H5T_STD_U8BE) > 0;
    const bool is_f32 = H5Tequal(type, H5T_NATIVE_FLOAT) > 0;
    lmn__h5_close(type);
    if (!is_u8 && !is_f32) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' must hold u8 or f32 in this machine's byte order", name);
    }
    const bool is_first = open->dataset->sample_bytes == 0;
    if (!is_first && open->dataset->is_f32 != is_f32) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' has another type than /train/images", name);
    }
    open->dataset->is_f32 = is_f32;
    return LMN_OK;
}

/* [N, H, W, C], or [N, H, W] for one channel. */
static lmn_status check_image_shape(lmn__opening *open, hid_t images, lmn_split split,
                                    const char *name, lmn_error *err)
{
    lmn__h5_shape shape = {0};
    const lmn_status status = lmn__h5_shape_of(images, &shape, err);
    if (status != LMN_OK) {
        return status;
    }
    if (shape.n_dims != 3 && shape.n_dims != 4) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' has %d dimensions; needed are samples, height, width, channels",
                             name, shape.n_dims);
    }
    lmn_dataset *dataset = open->dataset;
    const hsize_t channels = shape.n_dims == 4 ? shape.dims[3] : 1;
    const hsize_t side_max = UINT32_MAX;
    if (shape.dims[1] == 0 || shape.dims[2] == 0 || channels == 0 || shape.dims[1] > side_max ||
        shape.dims[2] > side_max || channels > side_max ||
        shape.dims[1] * shape.dims[2] > side_max / channels) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "the images of '%s' are empty or too large",
                             name);
    }
    lmn_dataset_info *info = &dataset->info;
    const size_t *known = info->fields[0].dims;
    if (dataset->sample_bytes > 0 &&
        (known[0] != shape.dims[1] || known[1] != shape.dims[2] || known[2] != channels)) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "the images of '%s' are not of the size of /train/images", name);
    }
    info->n_fields = 2;
    info->fields[0] = (lmn_field){.name = "images",
                                  .dtype = LMN_F32,
                                  .n_dims = 3,
                                  .dims = {shape.dims[1], shape.dims[2], channels}};
    info->fields[1] = (lmn_field){.name = "labels", .dtype = LMN_I32};
    info->sample_count[split] = shape.dims[0];
    dataset->sample_values = shape.dims[1] * shape.dims[2] * channels;
    dataset->sample_bytes = dataset->sample_values * (dataset->is_f32 ? sizeof(float) : 1);
    return LMN_OK;
}

/* Only data that lie in one piece can be read without HDF5. */
static lmn_status find_images(lmn__opening *open, hid_t images, lmn_split split, const char *name,
                              lmn_error *err)
{
    lmn_dataset *dataset = open->dataset;
    const hid_t creation = H5Dget_create_plist(images);
    const bool is_contiguous =
        H5Pget_layout(creation) == H5D_CONTIGUOUS && H5Pget_external_count(creation) == 0;
    lmn__h5_close(creation);
    const uint64_t count = dataset->info.sample_count[split];
    if (!is_contiguous) {
        return lmn_error_set(
            err, LMN_ERR_FORMAT,
            "'%s' is chunked, compressed or outside the file and must be "
            "contiguous; mend it with: h5repack -l %s:CONTI -f %s:NONE '%s' new.h5",
            name, name + 1, name + 1, dataset->path);
    }
    const haddr_t offset = H5Dget_offset(images);
    if (count > 0 && offset == HADDR_UNDEF) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' was created and never written", name);
    }
    if (count > 0 &&
        (offset > open->length || count > (open->length - offset) / dataset->sample_bytes)) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "the file is truncated: it ends inside '%s'",
                             name);
    }
    dataset->splits[split].offset = count > 0 ? offset : 0;
    return LMN_OK;
}

static lmn_status read_optional_f32(hid_t id, const char *name, float *value, lmn_error *err)
{
    if (!lmn__h5_has_attribute(id, name)) {
        return LMN_OK;
    }
    double number = 0.0;
    lmn_status status = lmn__h5_read_f64(id, name, &number, err);
    if (status == LMN_OK && !isfinite((float)number)) {
        status = lmn_error_set(err, LMN_ERR_FORMAT, "the attribute '%s' is not finite", name);
    }
    if (status == LMN_OK) {
        *value = (float)number;
    }
    return status;
}

/* Defaults: bytes map to [0, 1], floats to themselves; the test split does as the training split.
 */
static lmn_status read_scale(lmn__opening *open, hid_t images, lmn_split split, lmn_error *err)
{
    lmn_dataset_info *info = &open->dataset->info;
    float scale = open->dataset->is_f32 ? 1.0F : 1.0F / 255.0F;
    float offset = 0.0F;
    if (split != LMN_SPLIT_TRAIN) {
        scale = info->scale;
        offset = info->offset;
    }
    lmn_status status = read_optional_f32(images, "scale", &scale, err);
    if (status == LMN_OK) {
        status = read_optional_f32(images, "offset", &offset, err);
    }
    const bool differs = scale < info->scale || scale > info->scale || offset < info->offset ||
                         offset > info->offset;
    if (status == LMN_OK && split != LMN_SPLIT_TRAIN && differs) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "the attributes 'scale' and 'offset' differ between the splits");
    }
    info->scale = scale;
    info->offset = offset;
    return status;
}

lmn_status lmn__dataset_check_images(lmn__opening *open, hid_t images, lmn_split split,
                                     const char *name, lmn_error *err)
{
    lmn_status status = check_image_type(open, images, name, err);
    if (status == LMN_OK) {
        status = check_image_shape(open, images, split, name, err);
    }
    if (status == LMN_OK) {
        status = find_images(open, images, split, name, err);
    }
    return status == LMN_OK ? read_scale(open, images, split, err) : status;
}

/* ---- labels ---- */

static lmn_status take_labels(lmn__opening *open, const int64_t *block, size_t count,
                              uint64_t first, int32_t *labels, const char *name, lmn_error *err)
{
    const int64_t limit = open->n_classes > 0 ? (int64_t)open->n_classes : LMN__CLASSES_MAX;
    for (size_t i = 0; i < count; i++) {
        if (block[i] < 0 || block[i] >= limit) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "label %" PRId64 " of sample %" PRIu64 " in '%s' has no class: "
                                 "labels go from 0 to %" PRId64,
                                 block[i], first + i, name, limit - 1);
        }
        open->max_label = block[i] > open->max_label ? block[i] : open->max_label;
        labels[i] = (int32_t)block[i];
    }
    return LMN_OK;
}

static lmn_status read_label_blocks(lmn__opening *open, hid_t dataset, int64_t *block,
                                    uint64_t count, int32_t *labels, const char *name,
                                    lmn_error *err)
{
    const hid_t space = H5Dget_space(dataset);
    lmn_status status = LMN_OK;
    for (uint64_t done = 0; status == LMN_OK && done < count; done += LABEL_BLOCK) {
        const hsize_t start[1] = {done};
        const hsize_t n[1] = {count - done < LABEL_BLOCK ? count - done : LABEL_BLOCK};
        const hid_t memory = H5Screate_simple(1, n, NULL);
        if (H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, n, NULL) < 0 ||
            H5Dread(dataset, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, block) < 0) {
            status = lmn__h5_error(err, LMN_ERR_FORMAT, "cannot read '%s'", name);
        } else {
            status = take_labels(open, block, (size_t)n[0], done, labels + done, name, err);
        }
        lmn__h5_close(memory);
    }
    lmn__h5_close(space);
    return status;
}

lmn_status lmn__dataset_read_labels(lmn__opening *open, hid_t dataset, lmn_split split,
                                    const char *name, lmn_error *err)
{
    const uint64_t count = open->dataset->info.sample_count[split];
    const hid_t type = H5Dget_type(dataset);
    const bool is_integer = H5Tget_class(type) == H5T_INTEGER;
    lmn__h5_close(type);
    lmn__h5_shape shape = {0};
    lmn_status status = lmn__h5_shape_of(dataset, &shape, err);
    if (status != LMN_OK) {
        return status;
    }
    if (!is_integer || shape.n_dims != 1 || shape.dims[0] != count) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' must hold one integer for each of the %" PRIu64 " images", name,
                             count);
    }
    int32_t *labels = lmn_alloc((size_t)count, sizeof *labels, err);
    int64_t *block = lmn_alloc(LABEL_BLOCK, sizeof *block, err);
    open->dataset->splits[split].labels = labels;
    status = labels == NULL || block == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        status = read_label_blocks(open, dataset, block, count, labels, name, err);
    }
    lmn_free(block);
    if (status == LMN_OK) {
        open->hash = lmn_hash64(labels, (size_t)count * sizeof *labels, open->hash);
    }
    return status;
}

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
#include <math.h>
#include <stdio.h>
#include <string.h>

/* More classes than any classifier has; a larger label is taken for a mistake. */
#define CLASSES_MAX 1000000

#define LABEL_BLOCK 65536

static const char *const split_names[2] = {"train", "test"};

/* A file while it is being opened. */
typedef struct opening {
    hid_t file;           /* owned */
    uint64_t length;      /* of the file, bytes */
    lmn_dataset *dataset; /* borrowed */
    size_t n_classes;     /* named in the file; 0 when it names none */
    int64_t max_label;
    uint64_t hash; /* becomes the fingerprint */
} opening;

/* ---- images ---- */

static lmn_status check_image_type(opening *open, hid_t images, const char *name, lmn_error *err)
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
static lmn_status check_image_shape(opening *open, hid_t images, lmn_split split, const char *name,
                                    lmn_error *err)
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
    if (dataset->sample_bytes > 0 && (info->height != shape.dims[1] ||
                                      info->width != shape.dims[2] || info->channels != channels)) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "the images of '%s' are not of the size of /train/images", name);
    }
    info->height = shape.dims[1];
    info->width = shape.dims[2];
    info->channels = channels;
    info->sample_count[split] = shape.dims[0];
    dataset->sample_values = info->height * info->width * info->channels;
    dataset->sample_bytes = dataset->sample_values * (dataset->is_f32 ? sizeof(float) : 1);
    return LMN_OK;
}

/* Only data that lie in one piece can be read without HDF5. */
static lmn_status find_images(opening *open, hid_t images, lmn_split split, const char *name,
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
static lmn_status read_scale(opening *open, hid_t images, lmn_split split, lmn_error *err)
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

/* ---- labels ---- */

static lmn_status take_labels(opening *open, const int64_t *block, size_t count, uint64_t first,
                              int32_t *labels, const char *name, lmn_error *err)
{
    const int64_t limit = open->n_classes > 0 ? (int64_t)open->n_classes : CLASSES_MAX;
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

static lmn_status read_label_blocks(opening *open, hid_t dataset, int64_t *block, uint64_t count,
                                    int32_t *labels, const char *name, lmn_error *err)
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

static lmn_status read_labels(opening *open, hid_t dataset, lmn_split split, const char *name,
                              lmn_error *err)
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

/* ---- splits and classes ---- */

static lmn_status open_array(opening *open, lmn_split split, const char *leaf, char name[32],
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
static void hash_checksum(opening *open, hid_t dataset)
{
    char *text = NULL;
    if (lmn__h5_read_text(dataset, "checksum_xxh3", &text, NULL) == LMN_OK) {
        open->hash = lmn_hash64(text, strlen(text), open->hash);
    }
    lmn_free(text);
}

static lmn_status load_split(opening *open, lmn_split split, lmn_error *err)
{
    char name[32];
    hid_t images = H5I_INVALID_HID;
    hid_t labels = H5I_INVALID_HID;
    lmn_status status = open_array(open, split, "images", name, &images, err);
    if (status == LMN_OK) {
        status = check_image_type(open, images, name, err);
    }
    if (status == LMN_OK) {
        status = check_image_shape(open, images, split, name, err);
    }
    if (status == LMN_OK) {
        status = find_images(open, images, split, name, err);
    }
    if (status == LMN_OK) {
        status = read_scale(open, images, split, err);
    }
    if (status == LMN_OK) {
        hash_checksum(open, images);
        status = open_array(open, split, "labels", name, &labels, err);
    }
    if (status == LMN_OK) {
        status = read_labels(open, labels, split, name, err);
    }
    lmn__h5_close(labels);
    lmn__h5_close(images);
    return status;
}

static lmn_status load_class_names(opening *open, lmn_error *err)
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
    if (texts.count == 0 || texts.count > CLASSES_MAX) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'/classes' names %zu classes; 1 to %d are allowed", texts.count,
                             CLASSES_MAX);
    }
    open->n_classes = texts.count;
    return LMN_OK;
}

/* "0", "1", ... as many as the labels need. */
static lmn_status number_classes(opening *open, lmn_error *err)
{
    enum { NAME_BYTES = 8 };
    const size_t count = (size_t)(open->max_label + 1);
    char **names = lmn_alloc(count, sizeof *names + NAME_BYTES, err);
    if (names == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = (char *)(names + count) + i * NAME_BYTES;
        (void)snprintf(names[i], NAME_BYTES, "%u", (unsigned)i % (CLASSES_MAX + 1U));
    }
    open->dataset->class_names = names;
    open->n_classes = count;
    return LMN_OK;
}

static void hash_description(opening *open)
{
    const lmn_dataset_info *info = &open->dataset->info;
    const uint64_t facts[] = {info->height,
                              info->width,
                              info->channels,
                              info->n_classes,
                              info->sample_count[LMN_SPLIT_TRAIN],
                              info->sample_count[LMN_SPLIT_TEST],
                              open->dataset->is_f32 ? 1 : 0};
    const float map[] = {info->scale, info->offset};
    open->hash = lmn_hash64(facts, sizeof facts, open->hash);
    open->hash = lmn_hash64(map, sizeof map, open->hash);
    open->dataset->fingerprint = open->hash;
}

static lmn_status load_content(opening *open, lmn_error *err)
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
    opening open = {.file = H5I_INVALID_HID, .dataset = dataset};
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
    if (status == LMN_OK) {
        status = lmn_world_check_same(world, "the dataset", dataset->fingerprint, err);
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

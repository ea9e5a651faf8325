/*
 * The arrays of a dataset, as they are met when it is opened: what they hold, and where they begin.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_internal.h"
#include "lamina/hash.h"
#include "lamina/memory.h"

#include <stdio.h>
#include <string.h>

static void make_path(char path_out[LMN__ARRAY_PATH_BYTES], lmn_split split, const char *leaf)
{
    (void)snprintf(path_out, LMN__ARRAY_PATH_BYTES, "/%s/%s", lmn__split_name(split), leaf);
}

bool lmn__array_exists(const lmn__opening *open, lmn_split split, const char *leaf)
{
    char path[LMN__ARRAY_PATH_BYTES];
    make_path(path, split, leaf);
    return lmn__h5_has_object(open->file, path);
}

lmn_status lmn__array_open_path(const lmn__opening *open, const char *path, lmn__array *array_out,
                                lmn_error *err)
{
    *array_out = (lmn__array)LMN__ARRAY_NONE;
    (void)snprintf(array_out->path, sizeof array_out->path, "%s", path);
    if (!lmn__h5_has_object(open->file, path)) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "there is no '%s'", path);
    }
    array_out->id = H5Dopen2(open->file, path, H5P_DEFAULT);
    if (array_out->id < 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is not an array", path);
    }
    const lmn_status status = lmn__h5_shape_of(array_out->id, &array_out->shape, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "'%s'", path);
    }
    return status;
}

lmn_status lmn__array_open(const lmn__opening *open, lmn_split split, const char *leaf,
                           lmn__array *array_out, lmn_error *err)
{
    char path[LMN__ARRAY_PATH_BYTES];
    make_path(path, split, leaf);
    return lmn__array_open_path(open, path, array_out, err);
}

void lmn__array_close(lmn__array *array)
{
    lmn__h5_close(array->id);
    array->id = H5I_INVALID_HID;
}

void lmn__array_hash(lmn__opening *open, const lmn__array *array)
{
    char *text = NULL;
    if (lmn__h5_read_text(array->id, "checksum_xxh3", &text, NULL) == LMN_OK) {
        open->hash = lmn_hash64(text, strlen(text), open->hash);
    }
    lmn_free(text);
}

bool lmn__array_is(const lmn__array *array, hid_t type)
{
    const hid_t stored = H5Dget_type(array->id);
    /* The order of bytes does not matter to single ones. */
    const bool is_byte = H5Tequal(type, H5T_NATIVE_UINT8) > 0;
    const bool is_same =
        H5Tequal(stored, type) > 0 ||
        (is_byte && (H5Tequal(stored, H5T_STD_U8LE) > 0 || H5Tequal(stored, H5T_STD_U8BE) > 0));
    lmn__h5_close(stored);
    return is_same;
}

bool lmn__array_is_class(const lmn__array *array, H5T_class_t class)
{
    const hid_t stored = H5Dget_type(array->id);
    const bool is_class = H5Tget_class(stored) == class;
    lmn__h5_close(stored);
    return is_class;
}

bool lmn__array_is_list(const lmn__array *array, uint64_t count)
{
    return array->shape.n_dims == 1 && array->shape.dims[0] == count;
}

/* How many rows of the array fit between its beginning and the file's end. */
static uint64_t rows_that_fit(const lmn__array *array, size_t element_bytes, uint64_t bytes)
{
    uint64_t room = bytes / element_bytes;
    for (int i = 1; i < array->shape.n_dims; i++) {
        room /= array->shape.dims[i];
    }
    return room;
}

/* Only data that lie in one piece can be read without HDF5. */
lmn_status lmn__array_find(const lmn__opening *open, const lmn__array *array, size_t element_bytes,
                           uint64_t *offset_out, lmn_error *err)
{
    const char *path = array->path;
    const hid_t creation = H5Dget_create_plist(array->id);
    const bool is_contiguous =
        H5Pget_layout(creation) == H5D_CONTIGUOUS && H5Pget_external_count(creation) == 0;
    lmn__h5_close(creation);
    if (!is_contiguous) {
        return lmn_error_set(
            err, LMN_ERR_FORMAT,
            "'%s' is chunked, compressed or outside the file and must be "
            "contiguous; mend it with: h5repack -l %s:CONTI -f %s:NONE '%s' new.h5",
            path, path + 1, path + 1, open->dataset->path);
    }
    for (int i = 0; i < array->shape.n_dims; i++) {
        if (array->shape.dims[i] == 0) {
            *offset_out = 0;
            return LMN_OK;
        }
    }
    const haddr_t offset = H5Dget_offset(array->id);
    if (offset == HADDR_UNDEF) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' was created and never written", path);
    }
    if (offset > open->length ||
        array->shape.dims[0] > rows_that_fit(array, element_bytes, open->length - offset)) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "the file is truncated: it ends inside '%s'",
                             path);
    }
    *offset_out = offset;
    return LMN_OK;
}

lmn_status lmn__array_read(const lmn__array *array, uint64_t first, size_t count, hid_t type,
                           void *to, lmn_error *err)
{
    const hsize_t start[1] = {first};
    const hsize_t n[1] = {count};
    if (count == 0) {
        return LMN_OK;
    }
    const hid_t space = H5Dget_space(array->id);
    const hid_t memory = H5Screate_simple(1, n, NULL);
    const bool is_read = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, n, NULL) >= 0 &&
                         H5Dread(array->id, type, memory, space, H5P_DEFAULT, to) >= 0;
    lmn__h5_close(memory);
    lmn__h5_close(space);
    return is_read ? LMN_OK : lmn__h5_error(err, LMN_ERR_FORMAT, "cannot read '%s'", array->path);
}

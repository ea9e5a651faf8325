/*
 * Attributes and lists of texts.
 *
 * Attributes hold texts as variable-length UTF-8, which Python reads as str; datasets hold them
 * with a fixed length, which needs no heap in the file. Reading takes either.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "h5_internal.h"
#include "lamina/memory.h"

#include <string.h>

bool lmn__h5_has_attribute(hid_t id, const char *name)
{
    return H5Aexists(id, name) > 0;
}

/* Create a scalar attribute in place of one that may be there, and write it. */
static lmn_status write_attribute(hid_t id, const char *name, hid_t file_type, hid_t memory_type,
                                  const void *value, lmn_error *err)
{
    if (lmn__h5_has_attribute(id, name)) {
        (void)H5Adelete(id, name);
    }
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(id, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool is_written = attribute >= 0 && H5Awrite(attribute, memory_type, value) >= 0;
    const lmn_status status =
        is_written ? LMN_OK
                   : lmn__h5_error(err, LMN_ERR_IO, "cannot write the attribute '%s'", name);
    lmn__h5_close(attribute);
    lmn__h5_close(space);
    return status;
}

/* UTF-8; bytes 0: of variable length. */
static hid_t text_type(size_t bytes)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    (void)H5Tset_size(type, bytes == 0 ? H5T_VARIABLE : bytes);
    (void)H5Tset_cset(type, H5T_CSET_UTF8);
    (void)H5Tset_strpad(type, bytes == 0 ? H5T_STR_NULLTERM : H5T_STR_NULLPAD);
    return type;
}

lmn_status lmn__h5_write_text(hid_t id, const char *name, const char *value, lmn_error *err)
{
    const hid_t type = text_type(0);
    const lmn_status status = write_attribute(id, name, type, type, &value, err);
    lmn__h5_close(type);
    return status;
}

lmn_status lmn__h5_write_u64(hid_t id, const char *name, uint64_t value, lmn_error *err)
{
    return write_attribute(id, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, &value, err);
}

lmn_status lmn__h5_write_f64(hid_t id, const char *name, double value, lmn_error *err)
{
    return write_attribute(id, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value, err);
}

static lmn_status read_number(hid_t id, const char *name, hid_t memory_type, void *value_out,
                              lmn_error *err)
{
    if (!lmn__h5_has_attribute(id, name)) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "the attribute '%s' is missing", name);
    }
    const hid_t attribute = H5Aopen(id, name, H5P_DEFAULT);
    const hid_t space = H5Aget_space(attribute);
    const hid_t type = H5Aget_type(attribute);
    const H5T_class_t class = H5Tget_class(type);
    const bool is_number =
        H5Sget_simple_extent_npoints(space) == 1 && (class == H5T_INTEGER || class == H5T_FLOAT);
    const bool is_read = is_number && H5Aread(attribute, memory_type, value_out) >= 0;
    lmn__h5_close(type);
    lmn__h5_close(space);
    lmn__h5_close(attribute);
    return is_read
               ? LMN_OK
               : lmn_error_set(err, LMN_ERR_FORMAT, "the attribute '%s' is not one number", name);
}

lmn_status lmn__h5_read_u64(hid_t id, const char *name, uint64_t *value_out, lmn_error *err)
{
    return read_number(id, name, H5T_NATIVE_UINT64, value_out, err);
}

lmn_status lmn__h5_read_f64(hid_t id, const char *name, double *value_out, lmn_error *err)
{
    return read_number(id, name, H5T_NATIVE_DOUBLE, value_out, err);
}

/* What a list of texts is stored in: the dataset or attribute, with its type and extent. */
typedef struct text_source {
    hid_t id;
    hid_t type;  /* owned */
    hid_t space; /* owned */
    bool is_attribute;
    size_t count;
} text_source;

static herr_t read_source(const text_source *source, hid_t memory_type, void *data)
{
    return source->is_attribute
               ? H5Aread(source->id, memory_type, data)
               : H5Dread(source->id, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
}

/* Room for `count` texts of `bytes` bytes each, without and with their ends. */
static lmn_status texts_alloc(size_t count, size_t bytes, lmn__texts *texts, lmn_error *err)
{
    char **items = lmn_alloc(count, sizeof *items + bytes + 1, err);
    if (items == NULL) {
        return LMN_ERR_MEMORY;
    }
    *texts = (lmn__texts){.count = count, .items = items};
    char *bytes_start = (char *)(items + count);
    for (size_t i = 0; i < count; i++) {
        items[i] = bytes_start + i * (bytes + 1);
    }
    return LMN_OK;
}

static void trim_spaces(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == ' ') {
        text[--length] = '\0';
    }
}

static lmn_status read_fixed(const text_source *source, lmn__texts *texts, lmn_error *err)
{
    const size_t bytes = H5Tget_size(source->type);
    char *raw = lmn_alloc(source->count, bytes, err);
    if (raw == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = LMN_OK;
    if (read_source(source, source->type, raw) < 0) {
        (void)lmn__h5_error(err, LMN_ERR_FORMAT, "a text cannot be read");
        status = LMN_ERR_FORMAT;
    } else {
        status = texts_alloc(source->count, bytes, texts, err);
    }
    const bool is_padded = H5Tget_strpad(source->type) == H5T_STR_SPACEPAD;
    for (size_t i = 0; status == LMN_OK && i < source->count; i++) {
        memcpy(texts->items[i], raw + i * bytes, bytes);
        if (is_padded) {
            trim_spaces(texts->items[i]);
        }
    }
    lmn_free(raw);
    return status;
}

static lmn_status copy_variable(char *const *raw, size_t count, lmn__texts *texts, lmn_error *err)
{
    size_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t length = raw[i] == NULL ? 0 : strlen(raw[i]);
        longest = length > longest ? length : longest;
    }
    const lmn_status status = texts_alloc(count, longest, texts, err);
    for (size_t i = 0; status == LMN_OK && i < count; i++) {
        if (raw[i] != NULL) {
            memcpy(texts->items[i], raw[i], strlen(raw[i]));
        }
    }
    return status;
}

static lmn_status read_variable(const text_source *source, lmn__texts *texts, lmn_error *err)
{
    char **raw = lmn_alloc(source->count, sizeof *raw, err);
    if (raw == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = LMN_OK;
    if (read_source(source, source->type, raw) < 0) {
        status = lmn__h5_error(err, LMN_ERR_FORMAT, "a text cannot be read");
    } else {
        status = copy_variable(raw, source->count, texts, err);
        (void)H5Dvlen_reclaim(source->type, source->space, H5P_DEFAULT, raw);
    }
    lmn_free(raw);
    return status;
}

lmn_status lmn__h5_read_texts(hid_t id, lmn__texts *texts_out, lmn_error *err)
{
    const bool is_attribute = H5Iget_type(id) == H5I_ATTR;
    const text_source source = {
        .id = id,
        .type = is_attribute ? H5Aget_type(id) : H5Dget_type(id),
        .space = is_attribute ? H5Aget_space(id) : H5Dget_space(id),
        .is_attribute = is_attribute,
    };
    const hssize_t count = H5Sget_simple_extent_npoints(source.space);
    lmn_status status = LMN_OK;
    if (count < 0 || H5Tget_class(source.type) != H5T_STRING) {
        status = lmn_error_set(err, LMN_ERR_FORMAT, "a text was expected and is of another type");
    } else {
        text_source counted = source;
        counted.count = (size_t)count;
        status = H5Tis_variable_str(source.type) > 0 ? read_variable(&counted, texts_out, err)
                                                     : read_fixed(&counted, texts_out, err);
    }
    lmn__h5_close(source.space);
    lmn__h5_close(source.type);
    return status;
}

lmn_status lmn__h5_read_text(hid_t id, const char *name, char **text_out, lmn_error *err)
{
    if (!lmn__h5_has_attribute(id, name)) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "the attribute '%s' is missing", name);
    }
    const hid_t attribute = H5Aopen(id, name, H5P_DEFAULT);
    lmn__texts texts = {0};
    lmn_status status = lmn__h5_read_texts(attribute, &texts, err);
    lmn__h5_close(attribute);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "attribute '%s'", name);
        return status;
    }
    if (texts.count == 1) {
        const size_t bytes = strlen(texts.items[0]) + 1;
        char *text = lmn_alloc(bytes, 1, err);
        status = text == NULL ? LMN_ERR_MEMORY : LMN_OK;
        if (text != NULL) {
            memcpy(text, texts.items[0], bytes);
            *text_out = text;
        }
    } else {
        status = lmn_error_set(err, LMN_ERR_FORMAT, "the attribute '%s' is not one text", name);
    }
    lmn_free(texts.items);
    return status;
}

lmn_status lmn__h5_write_texts(hid_t file, const char *path, const char *const *texts, size_t count,
                               lmn_error *err)
{
    size_t longest = 1;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(texts[i]);
        longest = length > longest ? length : longest;
    }
    char *raw = lmn_alloc(count, longest, err);
    if (raw == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        memcpy(raw + i * longest, texts[i], strlen(texts[i]));
    }
    if (lmn__h5_has_object(file, path)) {
        (void)H5Ldelete(file, path, H5P_DEFAULT);
    }
    const lmn__h5_shape shape = {.n_dims = 1, .dims = {count}};
    const hid_t type = text_type(longest);
    hid_t dataset = H5I_INVALID_HID;
    lmn_status status = lmn__h5_create_array(file, path, type, &shape, "1", &dataset, err);
    if (status == LMN_OK && count > 0 &&
        H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, raw) < 0) {
        status = lmn__h5_error(err, LMN_ERR_IO, "cannot write '%s'", path);
    }
    lmn__h5_close(dataset);
    lmn__h5_close(type);
    lmn_free(raw);
    return status;
}

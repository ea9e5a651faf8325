/*
 * Reading weights from a .safetensors file.
 *
 * The header is a JSON object of which only what the format allows is understood: entries with
 * type, shape and place, in any order, and a map of texts. Every length and place is checked
 * against the file before it is followed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "lamina/memory.h"
#include "weights_internal.h"
#include "zip_directory_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES_MAX ((uint64_t)100000000)
#define BLOCK_ELEMENTS   ((size_t)1 << 16)
#define TYPE_BYTES       16

typedef struct entry {
    char *name; /* in the header's text, ended by 0 */
    char type[TYPE_BYTES];
    size_t n_dims;
    uint64_t dims[LMN_WEIGHT_DIMS_MAX];
    uint64_t first, end; /* bytes behind the header */
} entry;

struct lmn_safetensors {
    char path[LMN_PATH_BYTES];
    int fd;
    uint64_t data; /* where the arrays begin in the file */
    char *header;  /* owned */
    char *at;      /* in the header, while it is read */
    size_t count, capacity;
    entry *entries; /* [capacity] owned */
};

/* ---- JSON ---- */

static bool take_sign(lmn_safetensors *file, char sign)
{
    while (isspace((unsigned char)*file->at)) {
        file->at++;
    }
    if (*file->at != sign) {
        return false;
    }
    file->at++;
    return true;
}

/* The character that \uXXXX names, as UTF-8; false outside of what one such escape can name. */
static bool take_escaped_code(const char *digits, char **to)
{
    char text[5] = {0};
    for (size_t i = 0; i < 4; i++) {
        if (!isxdigit((unsigned char)digits[i])) {
            return false;
        }
        text[i] = digits[i];
    }
    const unsigned long code = strtoul(text, NULL, 16);
    if (code == 0 || (code >= 0xd800 && code < 0xe000)) {
        return false;
    }
    if (code < 0x80) {
        *(*to)++ = (char)code;
    } else if (code < 0x800) {
        *(*to)++ = (char)(0xc0 | code >> 6);
        *(*to)++ = (char)(0x80 | (code & 0x3f));
    } else {
        *(*to)++ = (char)(0xe0 | code >> 12);
        *(*to)++ = (char)(0x80 | (code >> 6 & 0x3f));
        *(*to)++ = (char)(0x80 | (code & 0x3f));
    }
    return true;
}

/* One escape, behind its backslash; returns what follows it, or NULL. */
static const char *take_escape(const char *from, char **to)
{
    static const char names[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    if (*from == 'u') {
        return take_escaped_code(from + 1, to) ? from + 5 : NULL;
    }
    const char *name = *from == '\0' ? NULL : strchr(names, *from);
    if (name == NULL) {
        return NULL;
    }
    *(*to)++ = meanings[name - names];
    return from + 1;
}

/* A string, decoded where it stands; NULL when there is none. */
static char *take_string(lmn_safetensors *file)
{
    if (!take_sign(file, '"')) {
        return NULL;
    }
    char *const text = file->at;
    char *to = text;
    const char *from = text;
    while (from != NULL && *from != '"' && *from != '\0') {
        if (*from == '\\') {
            from = take_escape(from + 1, &to);
        } else {
            *to++ = *from++;
        }
    }
    if (from == NULL || *from == '\0') {
        return NULL;
    }
    file->at += from - text + 1;
    *to = '\0';
    return text;
}

/* [n, n, ...] of at most `capacity` whole numbers. */
static bool take_numbers(lmn_safetensors *file, uint64_t *numbers, size_t capacity,
                         size_t *count_out)
{
    *count_out = 0;
    if (!take_sign(file, '[')) {
        return false;
    }
    if (take_sign(file, ']')) {
        return true;
    }
    do {
        (void)take_sign(file, ' ');
        if (*count_out == capacity || !isdigit((unsigned char)*file->at)) {
            return false;
        }
        numbers[(*count_out)++] = strtoull(file->at, &file->at, 10);
    } while (take_sign(file, ','));
    return take_sign(file, ']');
}

static bool take_fact(lmn_safetensors *file, entry *item)
{
    const char *key = take_string(file);
    if (key == NULL || !take_sign(file, ':')) {
        return false;
    }
    if (strcmp(key, "shape") == 0) {
        return take_numbers(file, item->dims, LMN_WEIGHT_DIMS_MAX, &item->n_dims);
    }
    if (strcmp(key, "data_offsets") == 0) {
        uint64_t places[2] = {0};
        size_t count = 0;
        const bool is_taken = take_numbers(file, places, 2, &count) && count == 2;
        item->first = places[0];
        item->end = places[1];
        return is_taken;
    }
    const char *value = take_string(file);
    if (value == NULL || strcmp(key, "dtype") != 0) {
        return false;
    }
    (void)snprintf(item->type, sizeof item->type, "%.15s", value);
    return true;
}

/* { fact, fact, ... }, or of the metadata { name: text, ... }, which is passed over. */
static bool take_object(lmn_safetensors *file, entry *item)
{
    if (!take_sign(file, '{')) {
        return false;
    }
    if (take_sign(file, '}')) {
        return true;
    }
    do {
        const bool is_taken = item != NULL ? take_fact(file, item)
                                           : take_string(file) != NULL && take_sign(file, ':') &&
                                                 take_string(file) != NULL;
        if (!is_taken) {
            return false;
        }
    } while (take_sign(file, ','));
    return take_sign(file, '}');
}

/* ---- the header ---- */

static lmn_status refuse(const lmn_safetensors *file, const char *why, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is no complete .safetensors file: %s",
                         file->path, why);
}

/* Bytes of an element of a type that holds floating point numbers; 0 of any other. */
static size_t element_bytes(const char *type)
{
    static const struct {
        const char *name;
        size_t bytes;
    } types[] = {{"F16", 2}, {"BF16", 2}, {"F32", 4}, {"F64", 8}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(type, types[i].name) == 0) {
            return types[i].bytes;
        }
    }
    return 0;
}

static lmn_status check_entry(const lmn_safetensors *file, const entry *item, uint64_t data_bytes,
                              lmn_error *err)
{
    uint64_t count = 1;
    for (size_t i = 0; i < item->n_dims; i++) {
        if (item->dims[i] != 0 && count > ((uint64_t)1 << 48) / item->dims[i]) {
            return refuse(file, "an array is too large", err);
        }
        count *= item->dims[i];
    }
    const size_t bytes = element_bytes(item->type);
    const bool is_inside = item->first <= item->end && item->end <= data_bytes;
    if (!is_inside || (bytes > 0 && item->end - item->first != count * bytes)) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is truncated or damaged: its array '%.200s' has another length "
                             "than its shape",
                             file->path, item->name);
    }
    return LMN_OK;
}

/* The new last entry; NULL when there is no memory. */
static entry *append(lmn_safetensors *file, lmn_error *err)
{
    if (file->count == file->capacity) {
        const size_t capacity = file->capacity == 0 ? 64 : 2 * file->capacity;
        entry *entries = lmn_alloc(capacity, sizeof *entries, err);
        if (entries == NULL) {
            return NULL;
        }
        if (file->count > 0) {
            memcpy(entries, file->entries, file->count * sizeof *entries);
        }
        lmn_free(file->entries);
        file->entries = entries;
        file->capacity = capacity;
    }
    entry *item = &file->entries[file->count++];
    *item = (entry){.name = NULL};
    return item;
}

static lmn_status take_entry(lmn_safetensors *file, uint64_t data_bytes, lmn_error *err)
{
    char *name = take_string(file);
    if (name == NULL || !take_sign(file, ':')) {
        return refuse(file, "its header is damaged", err);
    }
    if (strcmp(name, "__metadata__") == 0) {
        return take_object(file, NULL) ? LMN_OK : refuse(file, "its metadata is damaged", err);
    }
    entry *item = append(file, err);
    if (item == NULL) {
        return LMN_ERR_MEMORY;
    }
    item->name = name;
    if (!take_object(file, item)) {
        return refuse(file, "its header is damaged", err);
    }
    return check_entry(file, item, data_bytes, err);
}

static lmn_status parse_header(lmn_safetensors *file, uint64_t data_bytes, lmn_error *err)
{
    file->at = file->header;
    if (!take_sign(file, '{')) {
        return refuse(file, "its header is no JSON object", err);
    }
    if (take_sign(file, '}')) {
        return LMN_OK;
    }
    lmn_status status = LMN_OK;
    do {
        status = take_entry(file, data_bytes, err);
    } while (status == LMN_OK && take_sign(file, ','));
    if (status == LMN_OK && !take_sign(file, '}')) {
        return refuse(file, "its header is damaged", err);
    }
    return status;
}

static lmn_status read_header(lmn_safetensors *file, lmn_error *err)
{
    unsigned char prefix[8];
    uint64_t length = 0;
    lmn_status status = lmn__file_length(file->fd, file->path, &length, err);
    if (status == LMN_OK) {
        status = lmn__file_read_at(file->fd, file->path, 0, prefix, sizeof prefix, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const uint64_t bytes = lmn__little_endian(prefix, sizeof prefix);
    if (bytes > HEADER_BYTES_MAX || bytes > length - sizeof prefix) {
        return refuse(file, "its header is longer than the file", err);
    }
    file->data = sizeof prefix + bytes;
    file->header = lmn_alloc((size_t)bytes + 1, 1, err);
    if (file->header == NULL) {
        return LMN_ERR_MEMORY;
    }
    status =
        lmn__file_read_at(file->fd, file->path, sizeof prefix, file->header, (size_t)bytes, err);
    return status == LMN_OK ? parse_header(file, length - file->data, err) : status;
}

lmn_status lmn_safetensors_open(const char *path, lmn_safetensors **file_out, lmn_error *err)
{
    lmn_safetensors *file = lmn_alloc(1, sizeof *file, err);
    if (file == NULL) {
        return LMN_ERR_MEMORY;
    }
    file->fd = -1;
    lmn_status status = lmn__path_format(file->path, err, "%s", path);
    if (status == LMN_OK) {
        status = lmn__file_open_read(path, &file->fd, err);
    }
    if (status == LMN_OK) {
        status = read_header(file, err);
    }
    if (status != LMN_OK) {
        lmn_safetensors_close(file);
        return status;
    }
    *file_out = file;
    return LMN_OK;
}

void lmn_safetensors_close(lmn_safetensors *file)
{
    if (file == NULL) {
        return;
    }
    lmn__file_close(file->fd);
    lmn_free(file->header);
    lmn_free(file->entries);
    lmn_free(file);
}

size_t lmn_safetensors_count(const lmn_safetensors *file)
{
    return file->count;
}

lmn_weight lmn_safetensors_describe(const lmn_safetensors *file, size_t index)
{
    const entry *item = &file->entries[index];
    lmn_weight weight = {.name = item->name, .n_dims = item->n_dims};
    memcpy(weight.dims, item->dims, sizeof weight.dims);
    return weight;
}

/* ---- numbers ---- */

static float from_bits(uint32_t bits)
{
    float value = 0.0F;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE 754 binary16: 5 bits of exponent, 10 of fraction. */
static float from_half(uint32_t half)
{
    const uint32_t sign = (half & 0x8000U) << 16;
    const uint32_t exponent = half >> 10 & 0x1fU;
    const uint32_t fraction = half & 0x3ffU;
    if (exponent == 0) {
        const float tiny = ldexpf((float)fraction, -24);
        return sign != 0 ? -tiny : tiny;
    }
    const uint32_t wide = exponent == 0x1fU ? 0xffU : exponent + 112U;
    return from_bits(sign | wide << 23 | fraction << 13);
}

static float convert_one(const unsigned char *bytes, const char *type)
{
    if (strcmp(type, "F64") == 0) {
        const uint64_t bits = lmn__little_endian(bytes, 8);
        double value = 0.0;
        memcpy(&value, &bits, sizeof value);
        return (float)value;
    }
    if (strcmp(type, "F32") == 0) {
        return from_bits((uint32_t)lmn__little_endian(bytes, 4));
    }
    const uint32_t bits = (uint32_t)lmn__little_endian(bytes, 2);
    return strcmp(type, "F16") == 0 ? from_half(bits) : from_bits(bits << 16);
}

static lmn_status read_blocks(const lmn_safetensors *file, const entry *item, size_t size,
                              unsigned char *block, float *values, lmn_error *err)
{
    const uint64_t count = (item->end - item->first) / size;
    for (uint64_t done = 0; done < count; done += BLOCK_ELEMENTS) {
        const size_t some = count - done < BLOCK_ELEMENTS ? (size_t)(count - done) : BLOCK_ELEMENTS;
        const lmn_status status = lmn__file_read_at(
            file->fd, file->path, file->data + item->first + done * size, block, some * size, err);
        if (status != LMN_OK) {
            return status;
        }
        bool is_finite = true;
        for (size_t i = 0; i < some; i++) {
            values[done + i] = convert_one(block + i * size, item->type);
            is_finite = is_finite && isfinite(values[done + i]);
        }
        if (!is_finite) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "the array '%.200s' in '%s' holds NaN, infinity, or a number that "
                                 "is too large for f32",
                                 item->name, file->path);
        }
    }
    return LMN_OK;
}

lmn_status lmn_safetensors_read(const lmn_safetensors *file, size_t index, float *values,
                                lmn_error *err)
{
    const entry *item = &file->entries[index];
    const size_t size = element_bytes(item->type);
    if (size == 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "the array '%.200s' in '%s' is of type %s; F16, BF16, F32 and F64 are "
                             "read",
                             item->name, file->path, item->type);
    }
    unsigned char *block = lmn_alloc(BLOCK_ELEMENTS, size, err);
    if (block == NULL) {
        return LMN_ERR_MEMORY;
    }
    const lmn_status status = read_blocks(file, item, size, block, values, err);
    lmn_free(block);
    return status;
}

/*
 * Reading arrays that NumPy saved: opening, and the header.
 *
 * A header is a magic text, a version, a length, and a Python dictionary of three entries, of which
 * only what numpy.save writes is understood.
 *
 * Format: R. Kern and others, NEP 1, "A simple file format for NumPy arrays", versions 1 to 3.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "npy_internal.h"
#include "zip_directory_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC_BYTES      8
#define HEADER_BYTES_MAX 65536
#define BLOCK_ELEMENTS   65536
#define READ_BYTES       ((size_t)1 << 20)

/* Deflate cannot shrink by more than about 1032; a little more is allowed for. */
#define DEFLATE_RATIO_MAX 1040

static const struct {
    const char *code; /* in the header, without byte order */
    size_t bytes;
} types[] = {
    [LMN__NPY_BOOL] = {"b1", 1}, [LMN__NPY_U8] = {"u1", 1},  [LMN__NPY_U16] = {"u2", 2},
    [LMN__NPY_U32] = {"u4", 4},  [LMN__NPY_U64] = {"u8", 8}, [LMN__NPY_I8] = {"i1", 1},
    [LMN__NPY_I16] = {"i2", 2},  [LMN__NPY_I32] = {"i4", 4}, [LMN__NPY_I64] = {"i8", 8},
    [LMN__NPY_F32] = {"f4", 4},  [LMN__NPY_F64] = {"f8", 8},
};

#define N_TYPES (sizeof types / sizeof types[0])

bool lmn__npy_is_float(const lmn__npy *npy)
{
    return npy->type == LMN__NPY_F32 || npy->type == LMN__NPY_F64;
}

void lmn__npy_shape_text(const lmn__npy *npy, char *text, size_t capacity)
{
    size_t used = (size_t)snprintf(text, capacity, "(");
    for (int i = 0; i < npy->n_dims && used < capacity; i++) {
        used += (size_t)snprintf(text + used, capacity - used, "%s%" PRIu64, i == 0 ? "" : ", ",
                                 npy->dims[i]);
    }
    if (used < capacity) {
        (void)snprintf(text + used, capacity - used, "%s)", npy->n_dims == 1 ? "," : "");
    }
}

/* ---- bytes ---- */

static lmn_status read_some(lmn__npy *npy, void *data, size_t capacity, size_t *bytes_out,
                            lmn_error *err)
{
    return npy->is_member ? lmn__zip_read_some(&npy->zip, data, capacity, bytes_out, err)
                          : lmn__source_read_some(&npy->source, data, capacity, bytes_out, err);
}

lmn_status lmn__npy_read_bytes(lmn__npy *npy, void *data, size_t bytes, lmn_error *err)
{
    unsigned char *to = data;
    for (size_t done = 0; done < bytes;) {
        const size_t wanted = bytes - done < READ_BYTES ? bytes - done : READ_BYTES;
        size_t got = 0;
        const lmn_status status = read_some(npy, to + done, wanted, &got, err);
        if (status != LMN_OK) {
            return status;
        }
        if (got == 0) {
            return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is truncated; get the file again",
                                 npy->name);
        }
        done += got;
    }
    return LMN_OK;
}

lmn_status lmn__npy_finish(lmn__npy *npy, lmn_error *err)
{
    char extra = 0;
    size_t got = 0;
    const lmn_status status = read_some(npy, &extra, 1, &got, err);
    if (status == LMN_OK && got > 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' has data after its last element; its header is wrong",
                             npy->name);
    }
    return status;
}

/* ---- header ---- */

static lmn_status refuse_header(const lmn__npy *npy, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' has a header that cannot be understood",
                         npy->name);
}

/* What follows 'key': in the dictionary; NULL when it is not there. */
static const char *find_value(const char *header, const char *key)
{
    char quoted[32];
    (void)snprintf(quoted, sizeof quoted, "'%s':", key);
    const char *value = strstr(header, quoted);
    return value == NULL ? NULL : value + strlen(quoted) + strspn(value + strlen(quoted), " ");
}

static lmn_status refuse_type(const lmn__npy *npy, const char *code, lmn_error *err)
{
    return lmn_error_set(
        err, LMN_ERR_FORMAT,
        "'%s' has elements of type %.20s, which is not read; save it as numbers of "
        "this machine: numpy.save(file, a.astype('float32'))",
        npy->name, code);
}

static lmn_status parse_type(lmn__npy *npy, const char *header, lmn_error *err)
{
    char code[16] = "";
    const char *value = find_value(header, "descr");
    if (value == NULL) {
        return refuse_header(npy, err);
    }
    if (value[0] != '\'') {
        return refuse_type(npy, "record", err);
    }
    const size_t length = strcspn(value + 1, "'");
    if (length < 3 || length >= sizeof code) {
        return refuse_type(npy, value, err);
    }
    memcpy(code, value + 1, length);
    for (size_t i = 0; i < N_TYPES; i++) {
        const bool has_order = code[0] == '<' || code[0] == '=' || types[i].bytes == 1;
        if (has_order && strcmp(code + 1, types[i].code) == 0) {
            npy->type = (lmn__npy_type)i;
            npy->element_bytes = types[i].bytes;
            return LMN_OK;
        }
    }
    return refuse_type(npy, code, err);
}

static lmn_status parse_shape(lmn__npy *npy, const char *header, lmn_error *err)
{
    const char *at = find_value(header, "shape");
    if (at == NULL || *at != '(') {
        return refuse_header(npy, err);
    }
    at++;
    while (*at >= '0' && *at <= '9') {
        if (npy->n_dims == LMN__NPY_DIMS_MAX) {
            return refuse_header(npy, err);
        }
        char *end = NULL;
        npy->dims[npy->n_dims++] = strtoull(at, &end, 10);
        at = end + (*end == 'L' ? 1 : 0);
        at += strspn(at, ", ");
    }
    return *at == ')' ? LMN_OK : refuse_header(npy, err);
}

static lmn_status parse_order(const lmn__npy *npy, const char *header, lmn_error *err)
{
    const char *value = find_value(header, "fortran_order");
    if (value == NULL) {
        return refuse_header(npy, err);
    }
    if (strncmp(value, "True", 4) == 0 && npy->n_dims > 1) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is in Fortran order, and rows of samples are needed; save it "
                             "again with numpy.save(file, numpy.ascontiguousarray(a))",
                             npy->name);
    }
    return strncmp(value, "True", 4) == 0 || strncmp(value, "False", 5) == 0
               ? LMN_OK
               : refuse_header(npy, err);
}

static lmn_status read_header_text(lmn__npy *npy, char *header, size_t *bytes_out, lmn_error *err)
{
    static const char magic[] = "\x93NUMPY";
    unsigned char start[MAGIC_BYTES];
    unsigned char length[4] = {0};
    lmn_status status = lmn__npy_read_bytes(npy, start, sizeof start, err);
    if (status != LMN_OK) {
        return status;
    }
    if (memcmp(start, magic, sizeof magic - 1) != 0) {
        return lmn_error_set(
            err, LMN_ERR_FORMAT,
            "'%s' is not a NumPy array: it begins with other bytes than numpy.save "
            "writes",
            npy->name);
    }
    if (start[6] < 1 || start[6] > 3) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' has version %u of the format, and 1 to 3 are read", npy->name,
                             start[6]);
    }
    const size_t length_bytes = start[6] == 1 ? 2 : 4;
    status = lmn__npy_read_bytes(npy, length, length_bytes, err);
    const uint64_t bytes = lmn__little_endian(length, sizeof length);
    if (status == LMN_OK && bytes >= HEADER_BYTES_MAX) {
        return refuse_header(npy, err);
    }
    *bytes_out = MAGIC_BYTES + length_bytes + (size_t)bytes;
    return status == LMN_OK ? lmn__npy_read_bytes(npy, header, (size_t)bytes, err) : status;
}

/* Whether the file can hold what the header promises: found before space is taken. */
static lmn_status check_promise(lmn__npy *npy, size_t header_bytes, lmn_error *err)
{
    char shape[128];
    uint64_t elements = 1;
    lmn__npy_shape_text(npy, shape, sizeof shape);
    for (int i = 0; i < npy->n_dims; i++) {
        if (npy->dims[i] == 0 || npy->dims[i] > ((uint64_t)1 << 48) / elements) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "'%s' has the shape %s, which is empty or "
                                 "too large",
                                 npy->name, shape);
        }
        elements *= npy->dims[i];
    }
    npy->row_elements = npy->n_dims == 0 ? 1 : elements / npy->dims[0];
    const uint64_t promised = header_bytes + elements * npy->element_bytes;
    const bool is_plain = !npy->is_member && lmn__source_is_plain(&npy->source);
    const uint64_t held = npy->is_member ? npy->zip.bytes : npy->source.length;
    const bool is_pipe = !npy->is_member && npy->source.length == 0;
    const uint64_t ratio = npy->is_member || is_plain ? 1 : DEFLATE_RATIO_MAX;
    if (!is_pipe && promised / ratio > held) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is truncated: %" PRIu64 " bytes cannot hold its shape %s",
                             npy->name, held, shape);
    }
    return LMN_OK;
}

static lmn_status read_header(lmn__npy *npy, lmn_error *err)
{
    char *header = lmn_alloc(HEADER_BYTES_MAX, 1, err);
    if (header == NULL) {
        return LMN_ERR_MEMORY;
    }
    size_t header_bytes = 0;
    lmn_status status = read_header_text(npy, header, &header_bytes, err);
    if (status == LMN_OK) {
        status = parse_type(npy, header, err);
    }
    if (status == LMN_OK) {
        status = parse_shape(npy, header, err);
    }
    if (status == LMN_OK) {
        status = parse_order(npy, header, err);
    }
    lmn_free(header);
    return status == LMN_OK ? check_promise(npy, header_bytes, err) : status;
}

/* ---- opening and closing ---- */

lmn_status lmn__npy_open(lmn__npy *npy, const char *path, const char *member, lmn_error *err)
{
    *npy = (lmn__npy){.is_member = member != NULL || lmn__zip_is_archive(path), .zip = {.fd = -1}};
    lmn_status status = npy->is_member ? lmn__zip_open(&npy->zip, path, member, err)
                                       : lmn__source_open(&npy->source, path, err);
    if (status == LMN_OK) {
        (void)snprintf(npy->name, sizeof npy->name, "%s%s%s", path, npy->is_member ? ":" : "",
                       npy->is_member ? npy->zip.name : "");
        status = read_header(npy, err);
    }
    if (status == LMN_OK) {
        npy->capacity = BLOCK_ELEMENTS;
        npy->block = lmn_alloc(npy->capacity, npy->element_bytes, err);
        status = npy->block == NULL ? LMN_ERR_MEMORY : LMN_OK;
    }
    if (status != LMN_OK) {
        lmn__npy_close(npy);
    }
    return status;
}

void lmn__npy_close(lmn__npy *npy)
{
    lmn__source_close(&npy->source);
    if (npy->is_member) {
        lmn__zip_close(&npy->zip);
    }
    lmn_free(npy->block);
    npy->block = NULL;
}

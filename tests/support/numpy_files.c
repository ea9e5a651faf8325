/*
 * Files as NumPy saves them, written without NumPy.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "numpy_files.h"

#include "files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include <cmocka.h>

void bytes_append(file_bytes_list *list, const void *data, size_t bytes)
{
    list->data = realloc(list->data, list->bytes + bytes + 1);
    assert_non_null(list->data);
    if (bytes > 0 && data != NULL) {
        memcpy(list->data + list->bytes, data, bytes);
    }
    list->bytes += bytes;
}

/* A little-endian number of `bytes` bytes. */
static void append_number(file_bytes_list *list, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char byte = (unsigned char)(i < sizeof value ? value >> (8 * i) : 0);
        bytes_append(list, &byte, 1);
    }
}

file_bytes_list npy_bytes(int version, const char *descr, bool fortran, const char *shape,
                          const void *data, size_t bytes)
{
    file_bytes_list list = {0};
    char header[256];
    const int length =
        snprintf(header, sizeof header, "{'descr': %s%s%s, 'fortran_order': %s, 'shape': %s, }\n",
                 descr[0] == '[' ? "" : "'", descr, descr[0] == '[' ? "" : "'",
                 fortran ? "True" : "False", shape);
    assert_true(length > 0 && length < (int)sizeof header);
    bytes_append(&list, "\x93NUMPY", 6);
    append_number(&list, (uint64_t)version, 1);
    append_number(&list, 0, 1);
    append_number(&list, (uint64_t)length, version == 1 ? 2 : 4);
    bytes_append(&list, header, (size_t)length);
    bytes_append(&list, data, bytes);
    return list;
}

void npy_write(const char *path, const char *descr, const char *shape, const void *data,
               size_t bytes)
{
    const file_bytes_list list = npy_bytes(1, descr, false, shape, data, bytes);
    file_write(path, list.data, list.bytes);
    free(list.data);
}

/* Deflate without zlib's own header. */
static file_bytes_list deflate_bytes(const file_bytes_list *from)
{
    z_stream stream = {0};
    file_bytes_list to = {.data = malloc(from->bytes + 1000)};
    assert_non_null(to.data);
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = from->data;
    stream.avail_in = (unsigned)from->bytes;
    stream.next_out = to.data;
    stream.avail_out = (unsigned)from->bytes + 1000;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    to.bytes = stream.total_out;
    assert_int_equal(deflateEnd(&stream), Z_OK);
    return to;
}

/* What local header and directory have in common. */
static void append_description(file_bytes_list *list, const npz_member *member, uint64_t packed,
                               size_t extra_bytes)
{
    const uint32_t crc = (uint32_t)crc32(0, member->content.data, (unsigned)member->content.bytes);
    append_number(list, 20, 2);
    append_number(list, 0, 2);
    append_number(list, member->is_deflated ? 8 : 0, 2);
    append_number(list, 0, 4);
    append_number(list, crc, 4);
    append_number(list, member->is_large ? UINT32_MAX : packed, 4);
    append_number(list, member->is_large ? UINT32_MAX : member->content.bytes, 4);
    append_number(list, strlen(member->name), 2);
    append_number(list, extra_bytes, 2);
}

static void append_member(file_bytes_list *archive, file_bytes_list *directory,
                          const npz_member *member)
{
    const uint64_t offset = archive->bytes;
    const file_bytes_list packed =
        member->is_deflated ? deflate_bytes(&member->content) : member->content;
    const size_t name_bytes = strlen(member->name);
    bytes_append(archive, "PK\x03\x04", 4);
    append_description(archive, member, packed.bytes, 5);
    bytes_append(archive, member->name, name_bytes);
    bytes_append(archive, "\x02\x00\x01\x00x", 5); /* an extra field to pass over */
    bytes_append(archive, packed.data, packed.bytes);
    bytes_append(directory, "PK\x01\x02\x14\x00", 6);
    append_description(directory, member, packed.bytes, member->is_large ? 33 : 0);
    append_number(directory, 0, 2 + 2 + 2 + 4);
    append_number(directory, member->is_large ? UINT32_MAX : offset, 4);
    bytes_append(directory, member->name, name_bytes);
    if (member->is_large) {
        bytes_append(directory, "\x02\x00\x01\x00x\x01\x00\x18\x00", 9);
        append_number(directory, member->content.bytes, 8);
        append_number(directory, packed.bytes, 8);
        append_number(directory, offset, 8);
    }
    if (member->is_deflated) {
        free(packed.data);
    }
}

/* The records of large archives: end of directory, and where that is. */
static void append_large_end(file_bytes_list *archive, uint64_t count, uint64_t offset)
{
    const uint64_t end = archive->bytes;
    bytes_append(archive, "PK\x06\x06", 4);
    append_number(archive, 44, 8);
    append_number(archive, 0, 2 + 2 + 4 + 4);
    append_number(archive, count, 8);
    append_number(archive, count, 8);
    append_number(archive, end - offset, 8);
    append_number(archive, offset, 8);
    bytes_append(archive, "PK\x06\x07\x00\x00\x00\x00", 8);
    append_number(archive, end, 8);
    append_number(archive, 1, 4);
}

void npz_write(const char *path, npz_member *members, size_t count)
{
    file_bytes_list archive = {0};
    file_bytes_list directory = {0};
    bool is_large = false;
    for (size_t i = 0; i < count; i++) {
        append_member(&archive, &directory, &members[i]);
        is_large = is_large || members[i].is_large;
        free(members[i].content.data);
        members[i].content = (file_bytes_list){0};
    }
    const uint64_t offset = archive.bytes;
    bytes_append(&archive, directory.data, directory.bytes);
    if (is_large) {
        append_large_end(&archive, count, offset);
    }
    bytes_append(&archive, "PK\x05\x06\x00\x00\x00\x00", 8);
    append_number(&archive, count, 2);
    append_number(&archive, count, 2);
    append_number(&archive, is_large ? UINT32_MAX : directory.bytes, 4);
    append_number(&archive, is_large ? UINT32_MAX : offset, 4);
    append_number(&archive, 5, 2);
    bytes_append(&archive, "hello", 5);
    file_write(path, archive.data, archive.bytes);
    free(archive.data);
    free(directory.data);
}

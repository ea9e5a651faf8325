/*
 * The directory of a zip archive: what members it has and where they are.
 *
 * The archive ends in a record that says where the directory is; archives of more than 4 GiB have a
 * second one (zip64), which a locator before the first points at. Every place and length is checked
 * against the file before it is followed.
 *
 * Format: PKWARE, APPNOTE.TXT, .ZIP file format specification 6.3.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "lamina/memory.h"
#include "zip_directory_internal.h"

#include <string.h>

enum { END_BYTES = 22, LOCATOR_BYTES = 20, END64_BYTES = 56, ENTRY_BYTES = 46 };

#define COMMENT_BYTES_MAX   ((uint64_t)65535)
#define DIRECTORY_BYTES_MAX ((uint64_t)1 << 28)

static const unsigned char end_mark[4] = {'P', 'K', 5, 6};
static const unsigned char locator_mark[4] = {'P', 'K', 6, 7};
static const unsigned char end64_mark[4] = {'P', 'K', 6, 6};
static const unsigned char entry_mark[4] = {'P', 'K', 1, 2};

static lmn_status damaged(const char *path, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_FORMAT,
                         "'%s' is no complete zip archive: its directory is missing or damaged",
                         path);
}

/* Where the directory is. */
typedef struct directory_place {
    uint64_t offset;
    uint64_t bytes;
} directory_place;

/* In the last `count` bytes of the file: the end record; false when there is none. */
static bool find_end(const unsigned char *tail, size_t count, size_t *at_out)
{
    for (size_t i = count - END_BYTES + 1; i-- > 0;) {
        if (memcmp(tail + i, end_mark, sizeof end_mark) == 0 &&
            lmn__little_endian(tail + i + 20, 2) <= count - i - END_BYTES) {
            *at_out = i;
            return true;
        }
    }
    return false;
}

/* The second end record, of large archives. Leaves `place` alone when there is none. */
static lmn_status read_end64(int fd, const char *path, uint64_t end_offset, directory_place *place,
                             lmn_error *err)
{
    unsigned char locator[LOCATOR_BYTES];
    unsigned char end[END64_BYTES];
    if (end_offset < LOCATOR_BYTES) {
        return LMN_OK;
    }
    lmn_status status =
        lmn__file_read_at(fd, path, end_offset - LOCATOR_BYTES, locator, sizeof locator, err);
    if (status != LMN_OK || memcmp(locator, locator_mark, sizeof locator_mark) != 0) {
        return status;
    }
    const uint64_t offset = lmn__little_endian(locator + 8, 8);
    if (offset > end_offset || end_offset - offset < END64_BYTES) {
        return damaged(path, err);
    }
    status = lmn__file_read_at(fd, path, offset, end, sizeof end, err);
    if (status == LMN_OK && memcmp(end, end64_mark, sizeof end64_mark) != 0) {
        return damaged(path, err);
    }
    if (status == LMN_OK) {
        place->bytes = lmn__little_endian(end + 40, 8);
        place->offset = lmn__little_endian(end + 48, 8);
    }
    return status;
}

static lmn_status find_directory(int fd, const char *path, uint64_t length, unsigned char *tail,
                                 size_t tail_bytes, directory_place *place_out, lmn_error *err)
{
    const uint64_t tail_offset = length - tail_bytes;
    size_t at = 0;
    lmn_status status = lmn__file_read_at(fd, path, tail_offset, tail, tail_bytes, err);
    if (status != LMN_OK) {
        return status;
    }
    if (!find_end(tail, tail_bytes, &at)) {
        return damaged(path, err);
    }
    directory_place found = {.bytes = lmn__little_endian(tail + at + 12, 4),
                             .offset = lmn__little_endian(tail + at + 16, 4)};
    const uint64_t end_offset = tail_offset + at;
    status = read_end64(fd, path, end_offset, &found, err);
    if (status == LMN_OK && (found.offset > end_offset || found.bytes > end_offset - found.offset ||
                             found.bytes > DIRECTORY_BYTES_MAX)) {
        return damaged(path, err);
    }
    *place_out = found;
    return status;
}

lmn_status lmn__zip_directory_read(int fd, const char *path, lmn__zip_directory *directory_out,
                                   lmn_error *err)
{
    *directory_out = (lmn__zip_directory){.path = path};
    uint64_t length = 0;
    lmn_status status = lmn__file_length(fd, path, &length, err);
    if (status != LMN_OK) {
        return status;
    }
    if (length < END_BYTES) {
        return damaged(path, err);
    }
    const uint64_t most = END_BYTES + COMMENT_BYTES_MAX;
    const size_t tail_bytes = (size_t)(length < most ? length : most);
    unsigned char *tail = lmn_alloc(tail_bytes, 1, err);
    directory_place place = {0};
    status = tail == NULL ? LMN_ERR_MEMORY
                          : find_directory(fd, path, length, tail, tail_bytes, &place, err);
    lmn_free(tail);
    if (status != LMN_OK) {
        return status;
    }
    directory_out->bytes = (size_t)place.bytes;
    directory_out->data = lmn_alloc(directory_out->bytes, 1, err);
    if (directory_out->data == NULL) {
        return LMN_ERR_MEMORY;
    }
    status =
        lmn__file_read_at(fd, path, place.offset, directory_out->data, directory_out->bytes, err);
    if (status != LMN_OK) {
        lmn__zip_directory_free(directory_out);
    }
    return status;
}

void lmn__zip_directory_free(lmn__zip_directory *directory)
{
    lmn_free(directory->data);
    directory->data = NULL;
}

/* Numbers that do not fit into 32 bits stand in an extra field, in this order. */
static void take_large_numbers(const unsigned char *field, size_t bytes, lmn__zip_entry *entry)
{
    uint64_t *const numbers[] = {&entry->bytes, &entry->packed_bytes, &entry->header_offset};
    size_t used = 0;
    for (size_t i = 0; i < 3; i++) {
        if (*numbers[i] == UINT32_MAX && used + 8 <= bytes) {
            *numbers[i] = lmn__little_endian(field + used, 8);
            used += 8;
        }
    }
}

/* Look for that field, number 1, among the extra ones. */
static void read_extra(const unsigned char *extra, size_t bytes, lmn__zip_entry *entry)
{
    while (bytes >= 4) {
        const size_t field_bytes = (size_t)lmn__little_endian(extra + 2, 2);
        if (field_bytes > bytes - 4) {
            return;
        }
        if (lmn__little_endian(extra, 2) == 1) {
            take_large_numbers(extra + 4, field_bytes, entry);
            return;
        }
        extra += 4 + field_bytes;
        bytes -= 4 + field_bytes;
    }
}

lmn_status lmn__zip_directory_next(lmn__zip_directory *directory, lmn__zip_entry *entry_out,
                                   bool *found_out, lmn_error *err)
{
    const size_t left = directory->bytes - directory->next;
    *found_out = left > 0;
    if (left == 0) {
        return LMN_OK;
    }
    const unsigned char *from = directory->data + directory->next;
    if (left < ENTRY_BYTES || memcmp(from, entry_mark, sizeof entry_mark) != 0) {
        return damaged(directory->path, err);
    }
    const size_t name_bytes = (size_t)lmn__little_endian(from + 28, 2);
    const size_t extra_bytes = (size_t)lmn__little_endian(from + 30, 2);
    const size_t comment_bytes = (size_t)lmn__little_endian(from + 32, 2);
    if (name_bytes + extra_bytes + comment_bytes > left - ENTRY_BYTES) {
        return damaged(directory->path, err);
    }
    *entry_out = (lmn__zip_entry){.flags = (unsigned)lmn__little_endian(from + 8, 2),
                                  .method = (unsigned)lmn__little_endian(from + 10, 2),
                                  .crc = (uint32_t)lmn__little_endian(from + 16, 4),
                                  .packed_bytes = lmn__little_endian(from + 20, 4),
                                  .bytes = lmn__little_endian(from + 24, 4),
                                  .header_offset = lmn__little_endian(from + 42, 4)};
    const size_t kept = name_bytes < LMN__ZIP_NAME_BYTES ? name_bytes : LMN__ZIP_NAME_BYTES - 1;
    memcpy(entry_out->name, from + ENTRY_BYTES, kept);
    read_extra(from + ENTRY_BYTES + name_bytes, extra_bytes, entry_out);
    directory->next += ENTRY_BYTES + name_bytes + extra_bytes + comment_bytes;
    return LMN_OK;
}

/*
 * Reading one member of a zip archive, such as the .npz files of NumPy.
 *
 * Members are stored or deflated; either way their length and CRC must be what the directory says.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "lamina/memory.h"
#include "zip_directory_internal.h"
#include "zip_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define INPUT_BYTES ((size_t)1 << 18)

enum { LOCAL_BYTES = 30, METHOD_STORED = 0, METHOD_DEFLATE = 8 };

static const unsigned char local_mark[4] = {'P', 'K', 3, 4};

/* ---- finding a member ---- */

bool lmn__zip_is_archive(const char *path)
{
    int fd = -1;
    unsigned char mark[sizeof local_mark] = {0};
    if (lmn__file_open_read(path, &fd, NULL) != LMN_OK) {
        return false;
    }
    const lmn_status status = lmn__file_read_at(fd, path, 0, mark, sizeof mark, NULL);
    lmn__file_close(fd);
    return status == LMN_OK && memcmp(mark, local_mark, sizeof mark) == 0;
}

static bool is_name(const lmn__zip_entry *entry, const char *name)
{
    const size_t length = strlen(name);
    return strncmp(entry->name, name, length) == 0 &&
           (entry->name[length] == '\0' || strcmp(entry->name + length, ".npy") == 0);
}

static void add_to_list(char *list, size_t capacity, const char *name)
{
    const size_t used = strlen(list);
    (void)snprintf(list + used, capacity - used, "%s%s", used == 0 ? "" : ", ", name);
}

static lmn_status no_member(const lmn__zip_directory *directory, const char *name, size_t n_seen,
                            const char *list, lmn_error *err)
{
    if (name == NULL && n_seen > 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' has %zu members; say which: FILE:MEMBER, one of %s",
                             directory->path, n_seen, list);
    }
    return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' has no member '%s'; it has %s", directory->path,
                         name == NULL ? "" : name, n_seen == 0 ? "none" : list);
}

/* The entry that `name` means. */
static lmn_status find_entry(lmn__zip_directory *directory, const char *name,
                             lmn__zip_entry *entry_out, lmn_error *err)
{
    char list[512] = "";
    size_t n_seen = 0;
    bool is_entry = true;
    while (is_entry) {
        lmn__zip_entry entry;
        const lmn_status status = lmn__zip_directory_next(directory, &entry, &is_entry, err);
        if (status != LMN_OK) {
            return status;
        }
        if (!is_entry) {
            break;
        }
        add_to_list(list, sizeof list, entry.name);
        n_seen++;
        if (name == NULL || is_name(&entry, name)) {
            *entry_out = entry;
        }
        if (name != NULL && is_name(&entry, name)) {
            return LMN_OK;
        }
    }
    return name == NULL && n_seen == 1 ? LMN_OK : no_member(directory, name, n_seen, list, err);
}

static lmn_status look_up(int fd, const char *path, const char *name, lmn__zip_entry *entry_out,
                          lmn_error *err)
{
    lmn__zip_directory directory = {0};
    lmn_status status = lmn__zip_directory_read(fd, path, &directory, err);
    if (status == LMN_OK) {
        status = find_entry(&directory, name, entry_out, err);
    }
    lmn__zip_directory_free(&directory);
    return status;
}

lmn_status lmn__zip_has_member(const char *path, const char *name, bool *has_out, lmn_error *err)
{
    int fd = -1;
    lmn__zip_directory directory = {0};
    lmn_status status = lmn__file_open_read(path, &fd, err);
    if (status == LMN_OK) {
        status = lmn__zip_directory_read(fd, path, &directory, err);
    }
    bool is_entry = true;
    *has_out = false;
    while (status == LMN_OK && is_entry && !*has_out) {
        lmn__zip_entry entry;
        status = lmn__zip_directory_next(&directory, &entry, &is_entry, err);
        *has_out = status == LMN_OK && is_entry && is_name(&entry, name);
    }
    lmn__zip_directory_free(&directory);
    lmn__file_close(fd);
    return status;
}

/* ---- opening a member ---- */

static lmn_status damaged(const lmn__zip *zip, const char *why, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_FORMAT, "member '%s' of '%s' is damaged: %s", zip->name,
                         zip->path, why);
}

static lmn_status check_entry(const lmn__zip *zip, const lmn__zip_entry *entry, lmn_error *err)
{
    if ((entry->flags & 1U) != 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "member '%s' of '%s' is encrypted", zip->name,
                             zip->path);
    }
    if (entry->method != METHOD_STORED && entry->method != METHOD_DEFLATE) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "member '%s' of '%s' is packed with method %u; stored and deflated "
                             "members are read (numpy.savez, numpy.savez_compressed)",
                             zip->name, zip->path, entry->method);
    }
    return entry->method == METHOD_DEFLATE || entry->bytes == entry->packed_bytes
               ? LMN_OK
               : damaged(zip, "its two lengths differ", err);
}

/* The member's data follow its local header. */
static lmn_status find_data(lmn__zip *zip, const lmn__zip_entry *entry, lmn_error *err)
{
    unsigned char local[LOCAL_BYTES];
    uint64_t length = 0;
    lmn_status status = lmn__file_length(zip->fd, zip->path, &length, err);
    if (status == LMN_OK && (length < LOCAL_BYTES || entry->header_offset > length - LOCAL_BYTES)) {
        status = damaged(zip, "it lies behind the end of the file", err);
    }
    if (status == LMN_OK) {
        status =
            lmn__file_read_at(zip->fd, zip->path, entry->header_offset, local, sizeof local, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    if (memcmp(local, local_mark, sizeof local_mark) != 0) {
        return damaged(zip, "its header is missing", err);
    }
    zip->offset = entry->header_offset + LOCAL_BYTES + lmn__little_endian(local + 26, 2) +
                  lmn__little_endian(local + 28, 2);
    if (zip->offset > length || entry->packed_bytes > length - zip->offset) {
        return damaged(zip, "it goes beyond the end of the file", err);
    }
    return LMN_OK;
}

static lmn_status begin(lmn__zip *zip, const lmn__zip_entry *entry, lmn_error *err)
{
    (void)snprintf(zip->name, sizeof zip->name, "%s", entry->name);
    zip->bytes = entry->bytes;
    zip->left = entry->bytes;
    zip->packed_left = entry->packed_bytes;
    zip->wanted = entry->crc;
    zip->crc = (uint32_t)crc32(0, NULL, 0);
    zip->is_deflated = entry->method == METHOD_DEFLATE;
    lmn_status status = check_entry(zip, entry, err);
    if (status == LMN_OK) {
        status = find_data(zip, entry, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    zip->input = lmn_alloc(INPUT_BYTES, 1, err);
    if (zip->input == NULL) {
        return LMN_ERR_MEMORY;
    }
    /* Negative: deflate without zlib's own header. */
    if (zip->is_deflated && inflateInit2(&zip->stream, -MAX_WBITS) != Z_OK) {
        return lmn_error_set(err, LMN_ERR_MEMORY, "no memory to decompress '%s'", zip->path);
    }
    zip->has_stream = zip->is_deflated;
    return LMN_OK;
}

lmn_status lmn__zip_open(lmn__zip *zip, const char *path, const char *name, lmn_error *err)
{
    *zip = (lmn__zip){.fd = -1, .path = path};
    lmn__zip_entry entry = {0};
    lmn_status status = lmn__file_open_read(path, &zip->fd, err);
    if (status == LMN_OK) {
        status = look_up(zip->fd, path, name, &entry, err);
    }
    if (status == LMN_OK) {
        status = begin(zip, &entry, err);
    }
    if (status != LMN_OK) {
        lmn__zip_close(zip);
    }
    return status;
}

void lmn__zip_close(lmn__zip *zip)
{
    if (zip->has_stream) {
        (void)inflateEnd(&zip->stream);
        zip->has_stream = false;
    }
    lmn_free(zip->input);
    zip->input = NULL;
    lmn__file_close(zip->fd);
    zip->fd = -1;
}

/* ---- reading it ---- */

/* The archive's next bytes into `to`. */
static lmn_status fetch(lmn__zip *zip, void *to, size_t capacity, size_t *bytes_out, lmn_error *err)
{
    const size_t n = zip->packed_left < capacity ? (size_t)zip->packed_left : capacity;
    const lmn_status status = lmn__file_read_at(zip->fd, zip->path, zip->offset, to, n, err);
    if (status == LMN_OK) {
        zip->offset += n;
        zip->packed_left -= n;
        *bytes_out = n;
    }
    return status;
}

static lmn_status inflate_some(lmn__zip *zip, void *data, size_t capacity, size_t *bytes_out,
                               lmn_error *err)
{
    zip->stream.next_out = data;
    zip->stream.avail_out = (unsigned)capacity;
    while (zip->stream.avail_out == capacity) {
        if (zip->stream.avail_in == 0) {
            size_t n = 0;
            const lmn_status status = fetch(zip, zip->input, INPUT_BYTES, &n, err);
            if (status != LMN_OK) {
                return status;
            }
            zip->stream.next_in = zip->input;
            zip->stream.avail_in = (unsigned)n;
        }
        const int code = inflate(&zip->stream, Z_NO_FLUSH);
        if (code == Z_MEM_ERROR) {
            return lmn_error_set(err, LMN_ERR_MEMORY, "no memory to decompress '%s'", zip->path);
        }
        if ((code != Z_OK && code != Z_STREAM_END) ||
            (code == Z_STREAM_END && zip->stream.avail_out == capacity)) {
            return damaged(zip, "it cannot be decompressed to its length", err);
        }
    }
    *bytes_out = capacity - zip->stream.avail_out;
    return LMN_OK;
}

lmn_status lmn__zip_read_some(lmn__zip *zip, void *data, size_t capacity, size_t *bytes_out,
                              lmn_error *err)
{
    if (zip->left == 0) {
        *bytes_out = 0;
        return zip->crc == zip->wanted ? LMN_OK : damaged(zip, "its CRC is wrong", err);
    }
    const size_t n = zip->left < capacity ? (size_t)zip->left : capacity;
    size_t got = 0;
    const lmn_status status =
        zip->is_deflated ? inflate_some(zip, data, n, &got, err) : fetch(zip, data, n, &got, err);
    if (status != LMN_OK) {
        return status;
    }
    zip->crc = (uint32_t)crc32(zip->crc, data, (unsigned)got);
    zip->left -= got;
    *bytes_out = got;
    return LMN_OK;
}

/*
 * Files that are imported: read from front to back, plain or gzip by content.
 *
 * zlib reads plain files as they are, so one path serves both; a gzip file that was cut is told
 * from one that is damaged.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "lamina/memory.h"
#include "source_internal.h"

#include <errno.h>

/* Bytes asked of zlib at a time; far below what its int can count. */
#define READ_BYTES ((size_t)1 << 20)

lmn_status lmn__source_open(lmn__source *source, const char *path, lmn_error *err)
{
    *source = (lmn__source){.path = path};
    int fd = -1;
    lmn_status status = lmn__file_open_read(path, &fd, err);
    if (status != LMN_OK) {
        return status;
    }
    status = lmn__file_length(fd, path, &source->length, err);
    source->file = status == LMN_OK ? gzdopen(fd, "rb") : NULL;
    if (source->file == NULL) {
        lmn__file_close(fd);
        return status != LMN_OK
                   ? status
                   : lmn_error_set(err, LMN_ERR_MEMORY, "no memory to read '%s'", path);
    }
    (void)gzbuffer(source->file, 128U << 10);
    return LMN_OK;
}

void lmn__source_close(lmn__source *source)
{
    if (source->file != NULL) {
        (void)gzclose_r(source->file);
        source->file = NULL;
    }
}

bool lmn__source_is_plain(const lmn__source *source)
{
    return gzdirect(source->file) != 0;
}

static lmn_status read_failed(const lmn__source *source, lmn_error *err)
{
    int code = Z_OK;
    const char *reason = gzerror(source->file, &code);
    if (code == Z_ERRNO) {
        return lmn__io_error(err, errno, "cannot read '%s'", source->path);
    }
    if (code == Z_MEM_ERROR) {
        return lmn_error_set(err, LMN_ERR_MEMORY, "no memory to decompress '%s'", source->path);
    }
    if (code == Z_DATA_ERROR) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is damaged: gzip says '%s'", source->path,
                             reason);
    }
    return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is truncated; get the file again",
                         source->path);
}

lmn_status lmn__source_read_some(lmn__source *source, void *data, size_t capacity,
                                 size_t *bytes_out, lmn_error *err)
{
    const int got = gzread(source->file, data, (unsigned)capacity);
    int code = Z_OK;
    if (got <= 0) {
        (void)gzerror(source->file, &code);
    }
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
        return read_failed(source, err);
    }
    *bytes_out = (size_t)got;
    return LMN_OK;
}

lmn_status lmn__source_read(lmn__source *source, void *data, size_t bytes, lmn_error *err)
{
    unsigned char *to = data;
    size_t done = 0;
    while (done < bytes) {
        const size_t wanted = bytes - done < READ_BYTES ? bytes - done : READ_BYTES;
        size_t got = 0;
        const lmn_status status = lmn__source_read_some(source, to + done, wanted, &got, err);
        if (status != LMN_OK) {
            return status;
        }
        if (got == 0) {
            return read_failed(source, err);
        }
        done += got;
    }
    return LMN_OK;
}

lmn_status lmn__source_rewind(lmn__source *source, lmn_error *err)
{
    if (gzrewind(source->file) != 0) {
        return lmn_error_set(err, LMN_ERR_IO,
                             "'%s' cannot be read twice; save what comes through the pipe to a "
                             "file and import that",
                             source->path);
    }
    return LMN_OK;
}

static lmn_status count_bytes(lmn__source *source, uint64_t *bytes_out, lmn_error *err)
{
    void *block = lmn_alloc(READ_BYTES, 1, err);
    lmn_status status = block == NULL ? LMN_ERR_MEMORY : LMN_OK;
    uint64_t bytes = 0;
    for (size_t got = 1; status == LMN_OK && got > 0;) {
        status = lmn__source_read_some(source, block, READ_BYTES, &got, err);
        bytes += status == LMN_OK ? got : 0;
    }
    lmn_free(block);
    *bytes_out = bytes;
    return status;
}

lmn_status lmn__source_measure(lmn__source *source, uint64_t *bytes_out, lmn_error *err)
{
    if (lmn__source_is_plain(source) && source->length > 0) {
        *bytes_out = source->length;
        return LMN_OK;
    }
    const lmn_status status = count_bytes(source, bytes_out, err);
    return status == LMN_OK ? lmn__source_rewind(source, err) : status;
}

/*
 * Files below HDF5: whole reads and writes, and making a finished file appear under its name.
 *
 * pread and pwrite may do less than asked and may be interrupted; here they are repeated until the
 * whole is done. A file is published by flushing it, renaming it, and flushing its directory: after
 * a crash the name leads to the old file or to the new one, never to a mixture.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "lamina/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)1 << 20)

lmn_status lmn__io_error(lmn_error *err, int code, const char *format, ...)
{
    char what[LMN_ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    char reason[128];
    if (strerror_r(code, reason, sizeof reason) != 0) {
        (void)snprintf(reason, sizeof reason, "error %d", code);
    }
    return lmn_error_set(err, LMN_ERR_IO, "%s: %s", what, reason);
}

lmn_status lmn__path_format(char path_out[LMN_PATH_BYTES], lmn_error *err, const char *format, ...)
{
    char path[LMN_PATH_BYTES];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof path) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the path '%.200s...' is longer than %d bytes; use a shorter one",
                             path, LMN_PATH_BYTES - 1);
    }
    memcpy(path_out, path, (size_t)length + 1);
    return LMN_OK;
}

const char *lmn__path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

lmn_status lmn__file_open_read(const char *path, int *fd_out, lmn_error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return lmn__io_error(err, errno, "cannot open '%s'", path);
    }
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
        lmn__file_close(fd);
        return lmn__io_error(err, EISDIR, "cannot open '%s'", path);
    }
    *fd_out = fd;
    return LMN_OK;
}

void lmn__file_close(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

lmn_status lmn__file_length(int fd, const char *path, uint64_t *bytes_out, lmn_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return lmn__io_error(err, errno, "cannot ask for the size of '%s'", path);
    }
    *bytes_out = (uint64_t)info.st_size;
    return LMN_OK;
}

lmn_status lmn__file_length_of(const char *path, uint64_t *bytes_out, lmn_error *err)
{
    int fd = -1;
    lmn_status status = lmn__file_open_read(path, &fd, err);
    if (status == LMN_OK) {
        status = lmn__file_length(fd, path, bytes_out, err);
        lmn__file_close(fd);
    }
    return status;
}

lmn_status lmn__file_read_at(int fd, const char *path, uint64_t offset, void *data, size_t bytes,
                             lmn_error *err)
{
    unsigned char *to = data;
    size_t done = 0;
    while (done < bytes) {
        const ssize_t got = pread(fd, to + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno != EINTR) {
            return lmn__io_error(err, errno, "cannot read '%s'", path);
        }
        if (got == 0) {
            const uint64_t end = offset + done;
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "'%s' is truncated: it ends at byte %" PRIu64
                                 ", and %zu more are needed",
                                 path, end, bytes - done);
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return LMN_OK;
}

int lmn__file_write_at(int fd, uint64_t offset, const void *data, size_t bytes)
{
    const unsigned char *from = data;
    size_t done = 0;
    while (done < bytes) {
        const ssize_t put = pwrite(fd, from + done, bytes - done, (off_t)(offset + done));
        if (put < 0 && errno != EINTR) {
            return errno;
        }
        if (put == 0) {
            return ENOSPC;
        }
        done += put > 0 ? (size_t)put : 0;
    }
    return 0;
}

/* Close a file that was written to; returns the first error number of `code` and its own. */
static int close_written(int fd, int code)
{
    const bool failed = close(fd) != 0;
    return code == 0 && failed ? errno : code;
}

lmn_status lmn__file_patch(const char *path, uint64_t offset, const void *data, size_t bytes,
                           lmn_error *err)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return lmn__io_error(err, errno, "cannot open '%s' for writing", path);
    }
    const int code = close_written(fd, lmn__file_write_at(fd, offset, data, bytes));
    return code == 0 ? LMN_OK : lmn__io_error(err, code, "cannot write '%s'", path);
}

static lmn_status copy_bytes(int from, const char *from_path, int to, const char *to_path,
                             void *buffer, lmn_error *err)
{
    uint64_t length = 0;
    lmn_status status = lmn__file_length(from, from_path, &length, err);
    for (uint64_t done = 0; status == LMN_OK && done < length; done += COPY_BYTES) {
        const size_t bytes = length - done < COPY_BYTES ? (size_t)(length - done) : COPY_BYTES;
        status = lmn__file_read_at(from, from_path, done, buffer, bytes, err);
        const int code = status == LMN_OK ? lmn__file_write_at(to, done, buffer, bytes) : 0;
        if (code != 0) {
            status = lmn__io_error(err, code, "cannot write '%s'", to_path);
        }
    }
    return status;
}

lmn_status lmn__file_copy(const char *from, const char *to, lmn_error *err)
{
    int source = -1;
    lmn_status status = lmn__file_open_read(from, &source, err);
    if (status != LMN_OK) {
        return status;
    }
    void *buffer = lmn_alloc(COPY_BYTES, 1, err);
    const int target =
        buffer == NULL ? -1 : open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (buffer == NULL) {
        status = LMN_ERR_MEMORY;
    } else if (target < 0) {
        status = lmn__io_error(err, errno, "cannot create '%s'", to);
    } else {
        status = copy_bytes(source, from, target, to, buffer, err);
        const int code = close_written(target, 0);
        if (status == LMN_OK && code != 0) {
            status = lmn__io_error(err, code, "cannot write '%s'", to);
        }
        if (status != LMN_OK) {
            (void)unlink(to);
        }
    }
    lmn_free(buffer);
    lmn__file_close(source);
    return status;
}

static int sync_path(const char *path, int flags)
{
    const int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    const int code = fsync(fd) != 0 ? errno : 0;
    return close_written(fd, code);
}

lmn_status lmn__file_publish(const char *part, const char *path, lmn_error *err)
{
    char directory[LMN_PATH_BYTES];
    const size_t length = (size_t)(lmn__path_base(path) - path);
    lmn_status status = lmn__path_format(directory, err, "%.*s", (int)length, path);
    if (status != LMN_OK) {
        return status;
    }
    const int code = sync_path(part, O_RDWR);
    if (code != 0) {
        return lmn__io_error(err, code, "cannot flush '%s' to the disk", part);
    }
    if (rename(part, path) != 0) {
        return lmn__io_error(err, errno, "cannot rename '%s' to '%s'", part, path);
    }
    /* Some file systems cannot flush a directory (EINVAL); the rename itself has been done. */
    (void)sync_path(length == 0 ? "." : directory, O_RDONLY | O_DIRECTORY);
    return LMN_OK;
}

bool lmn__directory_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

lmn_status lmn__directory_create(const char *path, lmn_error *err)
{
    char whole[LMN_PATH_BYTES];
    const lmn_status status = lmn__path_format(whole, err, "%s", path);
    if (status != LMN_OK) {
        return status;
    }
    for (size_t i = 1; i <= strlen(path); i++) {
        if ((path[i] != '/' && path[i] != '\0') || path[i - 1] == '/') {
            continue;
        }
        whole[i] = '\0';
        if (mkdir(whole, 0777) != 0 && errno != EEXIST) {
            return lmn__io_error(err, errno, "cannot create the directory '%s'", whole);
        }
        whole[i] = path[i];
    }
    return lmn__directory_exists(path)
               ? LMN_OK
               : lmn__io_error(err, ENOTDIR, "cannot use the directory '%s'", path);
}

/*
 * Files and the disk below them, by what Linux offers beyond POSIX: room reserved ahead without
 * writing it, and writing to the disk begun early.
 *
 * posix_fallocate is not used: where a file system cannot reserve, the C library writes a byte into
 * every block instead, which takes as long as the file itself and may undo what others write at
 * the same time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
/* For fallocate and sync_file_range. */
#define _GNU_SOURCE /* NOLINT(*-reserved-identifier,cert-dcl*,readability-identifier-naming) */
#include "files_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int reserve(int fd, uint64_t bytes)
{
#ifdef __linux__
    int code = 0;
    do {
        code = fallocate(fd, 0, 0, (off_t)bytes) == 0 ? 0 : errno;
    } while (code == EINTR);
    return code == EOPNOTSUPP || code == ENOSYS ? 0 : code;
#else
    (void)fd;
    (void)bytes;
    return 0;
#endif
}

lmn_status lmn__file_reserve(const char *path, uint64_t bytes, lmn_error *err)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return lmn__io_error(err, errno, "cannot open '%s' for writing", path);
    }
    struct statvfs disk;
    const uint64_t free_bytes =
        fstatvfs(fd, &disk) == 0 ? (uint64_t)disk.f_bavail * (uint64_t)disk.f_frsize : 0;
    int code = reserve(fd, bytes);
    if (close(fd) != 0 && code == 0) {
        code = errno;
    }
    if (code == 0) {
        return LMN_OK;
    }
    return lmn__io_error(err, code,
                         "no space for '%s': it needs %" PRIu64 " bytes and %" PRIu64
                         " are free; make room or choose another directory",
                         path, bytes, free_bytes);
}

void lmn__file_start_flush(int fd, uint64_t offset, uint64_t bytes)
{
#ifdef __linux__
    (void)sync_file_range(fd, (off_t)offset, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
#else
    (void)fd;
    (void)offset;
    (void)bytes;
#endif
}

int lmn__file_end_flush(int fd, uint64_t offset, uint64_t bytes, bool forget)
{
    int code = 0;
#ifdef __linux__
    const unsigned how =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    /* What it reports of the disk, fsync will not report again. Other errors say that this file
       system does not know the call. */
    if (sync_file_range(fd, (off_t)offset, (off_t)bytes, how) != 0 &&
        (errno == EIO || errno == ENOSPC || errno == EDQUOT)) {
        code = errno;
    }
#endif
    if (forget && code == 0) {
        (void)posix_fadvise(fd, (off_t)offset, (off_t)bytes, POSIX_FADV_DONTNEED);
    }
    return code;
}

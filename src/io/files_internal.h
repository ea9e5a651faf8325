/*
 * Files below HDF5: whole reads and writes, and making a finished file appear under its name.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_FILES_INTERNAL_H
#define LAMINA_IO_FILES_INTERNAL_H

#include "lamina/checkpoint.h"
#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** LMN_ERR_IO: the formatted text, then ": " and what the system says to error number `code`. */
lmn_status lmn__io_error(lmn_error *err, int code, const char *format, ...) LMN_PRINTF(3, 4);

/** Format a path. Errors: LMN_ERR_ARGUMENT when it does not fit. */
lmn_status lmn__path_format(char path_out[LMN_PATH_BYTES], lmn_error *err, const char *format, ...)
    LMN_PRINTF(3, 4) LMN_NODISCARD;

/** What follows the last '/'. */
const char *lmn__path_base(const char *path);

/** Open for reading. Errors: LMN_ERR_IO, also when `path` is a directory. */
lmn_status lmn__file_open_read(const char *path, int *fd_out, lmn_error *err) LMN_NODISCARD;

/** Close; -1 is allowed. For descriptors that were only read from, where nothing can be lost. */
void lmn__file_close(int fd);

lmn_status lmn__file_length(int fd, const char *path, uint64_t *bytes_out,
                            lmn_error *err) LMN_NODISCARD;

/** The same of a file that is not open. */
lmn_status lmn__file_length_of(const char *path, uint64_t *bytes_out, lmn_error *err) LMN_NODISCARD;

/** Read exactly `bytes` bytes at `offset`. Errors: LMN_ERR_IO; LMN_ERR_FORMAT at the file's end. */
lmn_status lmn__file_read_at(int fd, const char *path, uint64_t offset, void *data, size_t bytes,
                             lmn_error *err) LMN_NODISCARD;

/** Write all of `data` at `offset`. Returns 0 or the error number. */
int lmn__file_write_at(int fd, uint64_t offset, const void *data, size_t bytes);

/** Write `data` into an existing file at `offset`. */
lmn_status lmn__file_patch(const char *path, uint64_t offset, const void *data, size_t bytes,
                           lmn_error *err) LMN_NODISCARD;

/** Copy a file's bytes; `to` is created or replaced, and removed again after an error. */
lmn_status lmn__file_copy(const char *from, const char *to, lmn_error *err) LMN_NODISCARD;

/**
 * Make sure that the disk holds the existing file's first `bytes` bytes, so that writing them later
 * cannot fail for lack of space. File systems that cannot promise that are left to say so when they
 * are written to. Errors: LMN_ERR_IO with the space needed and the space there is.
 */
lmn_status lmn__file_reserve(const char *path, uint64_t bytes, lmn_error *err) LMN_NODISCARD;

/** Let the system begin to move these bytes to the disk, and do not wait. A hint: cannot fail. */
void lmn__file_start_flush(int fd, uint64_t offset, uint64_t bytes);

/**
 * Wait until these bytes have left for the disk, where the system can tell; they are safe only
 * after fsync. forget: memory need not hold them any longer, either. Returns 0 or the error number.
 */
int lmn__file_end_flush(int fd, uint64_t offset, uint64_t bytes, bool forget);

/** Flush `part` to the disk, rename it to `path`, and flush the directory. */
lmn_status lmn__file_publish(const char *part, const char *path, lmn_error *err) LMN_NODISCARD;

/** Whether `path` leads to a directory. */
bool lmn__directory_exists(const char *path);

/** Create a directory and what leads to it, where missing. */
lmn_status lmn__directory_create(const char *path, lmn_error *err) LMN_NODISCARD;

#endif

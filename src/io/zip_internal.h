/*
 * Reading one member of a zip archive, such as the .npz files of NumPy.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_ZIP_INTERNAL_H
#define LAMINA_IO_ZIP_INTERNAL_H

#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zlib.h>

#define LMN__ZIP_NAME_BYTES 256

/** A member that is read from front to back. Starts as {.fd = -1}. */
typedef struct lmn__zip {
    int fd;           /* of the archive; owned */
    const char *path; /* of the archive; borrowed */
    char name[LMN__ZIP_NAME_BYTES];
    uint64_t bytes;       /* of the member when decompressed */
    uint64_t left;        /* of them, still to be read */
    uint64_t offset;      /* in the archive: the next byte to fetch */
    uint64_t packed_left; /* bytes of the archive still to be fetched */
    bool is_deflated;     /* else stored as it is */
    uint32_t crc, wanted; /* of what was read so far, and of the whole */
    z_stream stream;
    bool has_stream;      /* whether it must be ended */
    unsigned char *input; /* owned; what was fetched */
} lmn__zip;

/** True when the file begins like a zip archive. */
bool lmn__zip_is_archive(const char *path);

/** True when the archive has such a member. */
lmn_status lmn__zip_has_member(const char *path, const char *name, bool *has_out,
                               lmn_error *err) LMN_NODISCARD;

/**
 * Open a member: `name`, or name.npy, or the only one when NULL.
 * Errors: LMN_ERR_IO; LMN_ERR_FORMAT (damaged or truncated, no such member, encrypted, another
 * method than stored and deflate); LMN_ERR_MEMORY.
 */
lmn_status lmn__zip_open(lmn__zip *zip, const char *path, const char *name,
                         lmn_error *err) LMN_NODISCARD;
void lmn__zip_close(lmn__zip *zip);

/**
 * Up to `capacity` (at most 2^30) bytes; 0 at the end, when the CRC is right.
 * Errors: LMN_ERR_IO, LMN_ERR_FORMAT.
 */
lmn_status lmn__zip_read_some(lmn__zip *zip, void *data, size_t capacity, size_t *bytes_out,
                              lmn_error *err) LMN_NODISCARD;

#endif

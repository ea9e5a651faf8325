/*
 * The directory of a zip archive: what members it has and where they are.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_ZIP_DIRECTORY_INTERNAL_H
#define LAMINA_IO_ZIP_DIRECTORY_INTERNAL_H

#include "zip_internal.h"

/** One member, as the directory describes it. */
typedef struct lmn__zip_entry {
    char name[LMN__ZIP_NAME_BYTES];
    unsigned flags;  /* bit 0: encrypted */
    unsigned method; /* 0: stored, 8: deflate */
    uint32_t crc;
    uint64_t packed_bytes;
    uint64_t bytes;
    uint64_t header_offset; /* of its local header in the archive */
} lmn__zip_entry;

typedef struct lmn__zip_directory {
    unsigned char *data; /* owned */
    size_t bytes;
    size_t next; /* in data: the next entry */
    const char *path;
} lmn__zip_directory;

/** Read the directory at the end of an open archive. Errors: LMN_ERR_IO, LMN_ERR_FORMAT. */
lmn_status lmn__zip_directory_read(int fd, const char *path, lmn__zip_directory *directory_out,
                                   lmn_error *err) LMN_NODISCARD;
void lmn__zip_directory_free(lmn__zip_directory *directory);

/** The next entry; found_out becomes false behind the last. Errors: LMN_ERR_FORMAT. */
lmn_status lmn__zip_directory_next(lmn__zip_directory *directory, lmn__zip_entry *entry_out,
                                   bool *found_out, lmn_error *err) LMN_NODISCARD;

/** Little-endian numbers in bytes. */
static inline uint64_t lmn__little_endian(const unsigned char *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = count; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

#endif

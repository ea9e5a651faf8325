/*
 * Files that are imported: read from front to back, plain or gzip by content.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_SOURCE_INTERNAL_H
#define LAMINA_IO_SOURCE_INTERNAL_H

#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zlib.h>

/** An open file. Starts as {0}. */
typedef struct lmn__source {
    gzFile file;      /* owned */
    const char *path; /* borrowed */
    uint64_t length;  /* of the file as it is on the disk, bytes; 0 for a pipe */
} lmn__source;

/** Open. Errors: LMN_ERR_IO, LMN_ERR_MEMORY. */
lmn_status lmn__source_open(lmn__source *source, const char *path, lmn_error *err) LMN_NODISCARD;
void lmn__source_close(lmn__source *source);

/** True when the file is not compressed; after the first read. */
bool lmn__source_is_plain(const lmn__source *source);

/** The next bytes, all of them. Errors: LMN_ERR_IO; LMN_ERR_FORMAT (truncated, damaged). */
lmn_status lmn__source_read(lmn__source *source, void *data, size_t bytes,
                            lmn_error *err) LMN_NODISCARD;

/**
 * Up to `capacity` (at most 2^30) bytes; 0 at the end, whose gzip checksum is right then.
 * Errors: LMN_ERR_IO; LMN_ERR_FORMAT (truncated in the middle of gzip, damaged).
 */
lmn_status lmn__source_read_some(lmn__source *source, void *data, size_t capacity,
                                 size_t *bytes_out, lmn_error *err) LMN_NODISCARD;

/** Back to the front. Errors: LMN_ERR_IO (a pipe). */
lmn_status lmn__source_rewind(lmn__source *source, lmn_error *err) LMN_NODISCARD;

/** Bytes when decompressed; reads a compressed file through. Then as after opening. */
lmn_status lmn__source_measure(lmn__source *source, uint64_t *bytes_out,
                               lmn_error *err) LMN_NODISCARD;

#endif

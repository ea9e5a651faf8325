/*
 * Checksums of arrays and of whole checkpoint files.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_DIGEST_INTERNAL_H
#define LAMINA_IO_DIGEST_INTERNAL_H

#include "lamina/status.h"
#include "lamina/world.h"

#include <stddef.h>
#include <stdint.h>

/** XXH3-64 of bytes that come in pieces: the same value as of the whole at once. */
typedef struct lmn__checksum lmn__checksum;

lmn_status lmn__checksum_create(lmn__checksum **checksum_out, lmn_error *err) LMN_NODISCARD;
void lmn__checksum_destroy(lmn__checksum *checksum);
void lmn__checksum_update(lmn__checksum *checksum, const void *data, size_t bytes);
uint64_t lmn__checksum_value(const lmn__checksum *checksum);

#define LMN__CHECKSUM_TEXT_BYTES 17

/** 16 hexadecimal digits, as they stand in files. */
void lmn__checksum_text(uint64_t value, char text_out[LMN__CHECKSUM_TEXT_BYTES]);

/** XXH3-64 of `bytes` bytes of a file from `offset`. */
lmn_status lmn__checksum_file(int fd, const char *path, uint64_t offset, uint64_t bytes,
                              uint64_t *value_out, lmn_error *err) LMN_NODISCARD;

/**
 * The seal of a checkpoint: its first 512 bytes, which HDF5 leaves to the user. A short text with
 * the file's length and the hash of all that follows, then zeros; exactly one seal fits a file, so
 * any changed byte in either is found.
 */
#define LMN__SEAL_BYTES 512

typedef struct lmn__seal {
    char bytes[LMN__SEAL_BYTES];
} lmn__seal;

/**
 * Work out the seal that fits the file, all ranks sharing the reading. Each rank first flushes what
 * it wrote to the file when `flush` is not 0.
 * Collective. Errors, the same on all ranks: LMN_ERR_IO, LMN_ERR_FORMAT, LMN_ERR_MEMORY.
 */
lmn_status lmn__seal_compute(lmn_world *world, const char *path, int flush, lmn__seal *seal_out,
                             lmn_error *err) LMN_NODISCARD;

/** Compare the file's seal with the one that fits, all ranks sharing the reading. Collective. */
lmn_status lmn__seal_check(lmn_world *world, const char *path, lmn_error *err) LMN_NODISCARD;

/** The cheap half of the check: the seal is there and names the file's length. Errors as above. */
lmn_status lmn__seal_check_length(const char *path, lmn_error *err) LMN_NODISCARD;

#endif

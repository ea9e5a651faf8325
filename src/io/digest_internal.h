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

/** How the bytes behind the seal are cut: block i begins at LMN__SEAL_BYTES + i * bytes. */
typedef struct lmn__blocks {
    uint64_t length; /* of the file, bytes */
    size_t bytes;    /* of a block; the last may be short */
    size_t count;
} lmn__blocks;

/** The blocks of a file of `length` > LMN__SEAL_BYTES bytes that is to be sealed. */
lmn__blocks lmn__seal_blocks(uint64_t length);

/** The seal that fits a file whose blocks have these hashes [count], lmn_hash64 with seed 0.
 * Errors: LMN_ERR_MEMORY. */
lmn_status lmn__seal_make(const lmn__blocks *blocks, uint64_t *hashes, lmn__seal *seal_out,
                          lmn_error *err) LMN_NODISCARD;

/** Compare the file's seal with the one that fits, all ranks sharing the reading. Collective. */
lmn_status lmn__seal_check(lmn_world *world, const char *path, lmn_error *err) LMN_NODISCARD;

/** The cheap half of the check: the seal is there and names the file's length. Errors as above. */
lmn_status lmn__seal_check_length(const char *path, lmn_error *err) LMN_NODISCARD;

#endif

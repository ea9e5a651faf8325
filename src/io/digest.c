/*
 * Checksums of arrays and of whole checkpoint files.
 *
 * A checkpoint is hashed in blocks of 1 MiB, dealt out to the ranks in contiguous runs; the digest
 * is the hash of the block hashes with the length of the file as seed. It does not depend on the
 * number of ranks.
 *
 * Y. Collet, XXH3, https://xxhash.com.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "digest_internal.h"
#include "files_internal.h"
#include "h5_internal.h"
#include "lamina/hash.h"
#include "lamina/memory.h"
#include "lamina/partition.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#define BLOCK_BYTES ((size_t)1 << 20)

static const char seal_name[] = "LAMINA CHECKPOINT ";

struct lmn__checksum {
    XXH3_state_t *state; /* owned */
};

lmn_status lmn__checksum_create(lmn__checksum **checksum_out, lmn_error *err)
{
    lmn__checksum *checksum = lmn_alloc(1, sizeof *checksum, err);
    if (checksum == NULL) {
        return LMN_ERR_MEMORY;
    }
    checksum->state = XXH3_createState();
    if (checksum->state == NULL || XXH3_64bits_reset(checksum->state) != XXH_OK) {
        lmn__checksum_destroy(checksum);
        (void)lmn_error_set(err, LMN_ERR_MEMORY, "no memory for a checksum");
        return LMN_ERR_MEMORY;
    }
    *checksum_out = checksum;
    return LMN_OK;
}

void lmn__checksum_destroy(lmn__checksum *checksum)
{
    if (checksum != NULL) {
        (void)XXH3_freeState(checksum->state);
        lmn_free(checksum);
    }
}

void lmn__checksum_update(lmn__checksum *checksum, const void *data, size_t bytes)
{
    (void)XXH3_64bits_update(checksum->state, data, bytes);
}

uint64_t lmn__checksum_value(const lmn__checksum *checksum)
{
    return XXH3_64bits_digest(checksum->state);
}

void lmn__checksum_text(uint64_t value, char text_out[LMN__CHECKSUM_TEXT_BYTES])
{
    (void)snprintf(text_out, LMN__CHECKSUM_TEXT_BYTES, "%016" PRIx64, value);
}

/* The next block when `left` bytes are left; small files need only small buffers. */
static size_t block_bytes(uint64_t left)
{
    return left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
}

lmn_status lmn__checksum_file(int fd, const char *path, uint64_t offset, uint64_t bytes,
                              uint64_t *value_out, lmn_error *err)
{
    lmn__checksum *checksum = NULL;
    lmn_status status = lmn__checksum_create(&checksum, err);
    if (status != LMN_OK) {
        return status;
    }
    unsigned char *buffer = lmn_alloc(block_bytes(bytes), 1, err);
    status = buffer == NULL ? LMN_ERR_MEMORY : LMN_OK;
    for (uint64_t done = 0; status == LMN_OK && done < bytes; done += BLOCK_BYTES) {
        const size_t n = block_bytes(bytes - done);
        status = lmn__file_read_at(fd, path, offset + done, buffer, n, err);
        if (status == LMN_OK) {
            lmn__checksum_update(checksum, buffer, n);
        }
    }
    if (status == LMN_OK) {
        *value_out = lmn__checksum_value(checksum);
    }
    lmn_free(buffer);
    lmn__checksum_destroy(checksum);
    return status;
}

/* A file that is being hashed. */
typedef struct sealed_file {
    const char *path;
    int fd;
    uint64_t length;  /* bytes */
    size_t n_blocks;  /* behind the seal; the last may be short */
    uint64_t *hashes; /* [n_blocks] owned */
} sealed_file;

static lmn_status sealed_open(sealed_file *file, lmn_error *err)
{
    lmn_status status = lmn__file_open_read(file->path, &file->fd, err);
    if (status == LMN_OK) {
        status = lmn__file_length(file->fd, file->path, &file->length, err);
    }
    if (status == LMN_OK && file->length <= LMN__SEAL_BYTES) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "'%s' is not a checkpoint, or is truncated: it has only %" PRIu64
                               " bytes",
                               file->path, file->length);
    }
    if (status != LMN_OK) {
        return status;
    }
    file->n_blocks = (size_t)((file->length - LMN__SEAL_BYTES + BLOCK_BYTES - 1) / BLOCK_BYTES);
    file->hashes = lmn_alloc(file->n_blocks, sizeof *file->hashes, err);
    return file->hashes == NULL ? LMN_ERR_MEMORY : LMN_OK;
}

static void sealed_close(sealed_file *file)
{
    lmn__file_close(file->fd);
    lmn_free(file->hashes);
}

static lmn_status hash_blocks(const sealed_file *file, lmn_range blocks, lmn_error *err)
{
    if (blocks.count == 0) {
        return LMN_OK;
    }
    unsigned char *buffer = lmn_alloc(block_bytes(file->length), 1, err);
    lmn_status status = buffer == NULL ? LMN_ERR_MEMORY : LMN_OK;
    for (size_t i = blocks.first; status == LMN_OK && i < blocks.first + blocks.count; i++) {
        const uint64_t offset = LMN__SEAL_BYTES + (uint64_t)i * BLOCK_BYTES;
        const size_t bytes = block_bytes(file->length - offset);
        status = lmn__file_read_at(file->fd, file->path, offset, buffer, bytes, err);
        if (status == LMN_OK) {
            file->hashes[i] = lmn_hash64(buffer, bytes, 0);
        }
    }
    lmn_free(buffer);
    return status;
}

/* Hash the hashes as little-endian bytes, in place; the file's hashes are used up. */
static uint64_t digest(sealed_file *file)
{
    unsigned char *bytes = (unsigned char *)file->hashes;
    for (size_t i = 0; i < file->n_blocks; i++) {
        const uint64_t hash = file->hashes[i];
        for (unsigned byte = 0; byte < sizeof hash; byte++) {
            bytes[sizeof hash * i + byte] = (unsigned char)(hash >> (8 * byte));
        }
    }
    return lmn_hash64(bytes, file->n_blocks * sizeof *file->hashes, file->length);
}

static void make_seal(sealed_file *file, lmn__seal *seal_out)
{
    *seal_out = (lmn__seal){{0}};
    (void)snprintf(seal_out->bytes, sizeof seal_out->bytes,
                   "%s%d\nlength %" PRIu64 "\nxxh3-blocks %016" PRIx64 "\n", seal_name,
                   LMN__CHECKPOINT_VERSION, file->length, digest(file));
}

/* The ranks' shares of the hashes put together. Collective, and agreed on. */
static lmn_status hash_together(lmn_world *world, sealed_file *file, int flush, lmn_error *err)
{
    lmn_status status = sealed_open(file, err);
    if (status == LMN_OK && flush != 0 && fsync(file->fd) != 0) {
        status = lmn__io_error(err, errno, "cannot flush '%s' to the disk", file->path);
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        status =
            lmn_world_check_same(world, "the length of the checkpoint file", file->length, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const lmn_range mine =
        lmn_partition(file->n_blocks, (size_t)lmn_world_size(world), (size_t)lmn_world_rank(world));
    status = lmn_agree(world, hash_blocks(file, mine, err), err);
    if (status == LMN_OK) {
        status = lmn_world_sum_u64(world, file->hashes, file->n_blocks, err);
    }
    return status;
}

lmn_status lmn__seal_compute(lmn_world *world, const char *path, int flush, lmn__seal *seal_out,
                             lmn_error *err)
{
    sealed_file file = {.path = path, .fd = -1};
    const lmn_status status = hash_together(world, &file, flush, err);
    if (status == LMN_OK) {
        make_seal(&file, seal_out);
    }
    sealed_close(&file);
    return status;
}

/* What a seal's text says about version and length, compared with what is there. */
static lmn_status check_seal_text(const sealed_file *file, const char *text, lmn_error *err)
{
    const size_t name_bytes = sizeof seal_name - 1;
    if (strncmp(text, seal_name, name_bytes) != 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is not a complete checkpoint: it does not begin with '%s%d'",
                             file->path, seal_name, LMN__CHECKPOINT_VERSION);
    }
    const unsigned long version = strtoul(text + name_bytes, NULL, 10);
    if (version > LMN__CHECKPOINT_VERSION) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' has checkpoint format version %lu, and this Lamina reads up to "
                             "%d; use a newer Lamina, or the file is damaged",
                             file->path, version, LMN__CHECKPOINT_VERSION);
    }
    const char *line = strstr(text, "\nlength ");
    const unsigned long long length =
        line == NULL ? 0 : strtoull(line + strlen("\nlength "), NULL, 10);
    if (length != file->length) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is truncated or damaged: it has %" PRIu64
                             " bytes and should have %llu",
                             file->path, file->length, length);
    }
    return LMN_OK;
}

static lmn_status read_seal(const sealed_file *file, lmn__seal *seal_out, lmn_error *err)
{
    char text[LMN__SEAL_BYTES + 1] = {0};
    lmn_status status = lmn__file_read_at(file->fd, file->path, 0, text, LMN__SEAL_BYTES, err);
    if (status == LMN_OK) {
        status = check_seal_text(file, text, err);
    }
    if (status == LMN_OK) {
        memcpy(seal_out->bytes, text, LMN__SEAL_BYTES);
    }
    return status;
}

static lmn_status compare_seals(const sealed_file *file, const lmn__seal *fitting, lmn_error *err)
{
    lmn__seal carried = {{0}};
    const lmn_status status = read_seal(file, &carried, err);
    if (status == LMN_OK && memcmp(carried.bytes, fitting->bytes, LMN__SEAL_BYTES) != 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is damaged: its checksum does not match its content",
                             file->path);
    }
    return status;
}

lmn_status lmn__seal_check(lmn_world *world, const char *path, lmn_error *err)
{
    sealed_file file = {.path = path, .fd = -1};
    lmn_status status = hash_together(world, &file, 0, err);
    if (status == LMN_OK) {
        lmn__seal fitting = {{0}};
        make_seal(&file, &fitting);
        status = lmn_agree(world, compare_seals(&file, &fitting, err), err);
    }
    sealed_close(&file);
    return status;
}

lmn_status lmn__seal_check_length(const char *path, lmn_error *err)
{
    sealed_file file = {.path = path, .fd = -1};
    lmn_status status = sealed_open(&file, err);
    if (status == LMN_OK) {
        lmn__seal carried = {{0}};
        status = read_seal(&file, &carried, err);
    }
    sealed_close(&file);
    return status;
}

lmn_status lmn_checkpoint_verify(const char *path, lmn_error *err)
{
    sealed_file file = {.path = path, .fd = -1};
    lmn_status status = sealed_open(&file, err);
    if (status == LMN_OK) {
        status = hash_blocks(&file, (lmn_range){.count = file.n_blocks}, err);
    }
    if (status == LMN_OK) {
        lmn__seal fitting = {{0}};
        make_seal(&file, &fitting);
        status = compare_seals(&file, &fitting, err);
    }
    sealed_close(&file);
    return status;
}

/*
 * Checksums of arrays and of whole checkpoint files.
 *
 * A checkpoint is hashed in blocks, dealt out to the ranks in contiguous runs; the digest is the
 * hash of the block hashes with the length of the file as seed. It does not depend on the number of
 * ranks. The seal also holds the hashes of up to 24 runs of blocks, so that a damaged file can tell
 * which part of it is damaged.
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

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* Of what is read at once, and the largest block. */
#define BLOCK_BYTES ((size_t)1 << 20)

/* Blocks of small files are smaller, so that they, too, have several parts. */
#define BLOCK_BYTES_MIN ((size_t)1 << 12)

/* Seals of version 1 have blocks of 1 MiB and name no parts. */
#define VERSION_WITH_PARTS 2

static const char seal_name[] = "LAMINA CHECKPOINT ";
static const char parts_name[] = "parts ";

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
    unsigned long version; /* of its seal */
    uint64_t length;       /* bytes */
    size_t block;          /* bytes of a block */
    size_t n_blocks;       /* behind the seal; the last may be short */
    uint64_t *hashes;      /* [n_blocks] owned */
} sealed_file;

static size_t n_parts(const sealed_file *file)
{
    if (file->version < VERSION_WITH_PARTS) {
        return 0;
    }
    return file->n_blocks < LMN_DAMAGE_MAX ? file->n_blocks : LMN_DAMAGE_MAX;
}

static void cut(sealed_file *file)
{
    const uint64_t bytes = file->length - LMN__SEAL_BYTES;
    file->block = file->version < VERSION_WITH_PARTS ? BLOCK_BYTES : BLOCK_BYTES_MIN;
    while (file->block < BLOCK_BYTES && bytes > LMN_DAMAGE_MAX * (uint64_t)file->block) {
        file->block *= 2;
    }
    file->n_blocks = (size_t)((bytes + file->block - 1) / file->block);
}

static lmn_status cut_into_blocks(sealed_file *file, lmn_error *err)
{
    cut(file);
    file->hashes = lmn_alloc(file->n_blocks, sizeof *file->hashes, err);
    return file->hashes == NULL ? LMN_ERR_MEMORY : LMN_OK;
}

/* Open it and learn its length. */
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
    return status;
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
        const uint64_t offset = LMN__SEAL_BYTES + (uint64_t)i * file->block;
        const uint64_t left = file->length - offset;
        const size_t bytes = left < file->block ? (size_t)left : file->block;
        status = lmn__file_read_at(file->fd, file->path, offset, buffer, bytes, err);
        if (status == LMN_OK) {
            file->hashes[i] = lmn_hash64(buffer, bytes, 0);
        }
    }
    lmn_free(buffer);
    return status;
}

/* Hash some of the hashes as little-endian bytes. */
static uint64_t hash_hashes(const sealed_file *file, lmn_range blocks, uint64_t seed,
                            unsigned char *bytes)
{
    for (size_t i = 0; i < blocks.count; i++) {
        const uint64_t hash = file->hashes[blocks.first + i];
        for (unsigned byte = 0; byte < sizeof hash; byte++) {
            bytes[sizeof hash * i + byte] = (unsigned char)(hash >> (8 * byte));
        }
    }
    return lmn_hash64(bytes, blocks.count * sizeof *file->hashes, seed);
}

static lmn_status make_seal(const sealed_file *file, lmn__seal *seal_out, lmn_error *err)
{
    unsigned char *bytes = lmn_alloc(file->n_blocks, sizeof *file->hashes, err);
    if (bytes == NULL) {
        return LMN_ERR_MEMORY;
    }
    *seal_out = (lmn__seal){{0}};
    const lmn_range all = {.count = file->n_blocks};
    size_t used =
        (size_t)snprintf(seal_out->bytes, sizeof seal_out->bytes,
                         "%s%lu\nlength %" PRIu64 "\nxxh3-blocks %016" PRIx64 "\n", seal_name,
                         file->version, file->length, hash_hashes(file, all, file->length, bytes));
    const size_t parts = n_parts(file);
    for (size_t i = 0; i < parts; i++) {
        const lmn_range part = lmn_partition(file->n_blocks, parts, i);
        used += (size_t)snprintf(seal_out->bytes + used, sizeof seal_out->bytes - used,
                                 "%s%016" PRIx64 "%s", i == 0 ? parts_name : " ",
                                 hash_hashes(file, part, 0, bytes), i + 1 == parts ? "\n" : "");
    }
    lmn_free(bytes);
    return LMN_OK;
}

/* The ranks' shares of the hashes put together. Collective, and agreed on.
 * status  what opening the file gave on this rank */
static lmn_status hash_together(lmn_world *world, lmn_status status, sealed_file *file,
                                lmn_error *err)
{
    if (status == LMN_OK) {
        status = cut_into_blocks(file, err);
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

lmn__blocks lmn__seal_blocks(uint64_t length)
{
    sealed_file file = {.version = LMN__CHECKPOINT_VERSION, .length = length};
    cut(&file);
    return (lmn__blocks){.length = length, .bytes = file.block, .count = file.n_blocks};
}

/* A file that is read writes them. NOLINTNEXTLINE(readability-non-const-parameter) */
lmn_status lmn__seal_make(const lmn__blocks *blocks, uint64_t *hashes, lmn__seal *seal_out,
                          lmn_error *err)
{
    const sealed_file file = {.version = LMN__CHECKPOINT_VERSION,
                              .length = blocks->length,
                              .block = blocks->bytes,
                              .n_blocks = blocks->count,
                              .hashes = hashes};
    return make_seal(&file, seal_out, err);
}

/* What a seal's text says about version and length, compared with what is there. */
static lmn_status check_seal_text(sealed_file *file, const char *text, lmn_error *err)
{
    const size_t name_bytes = sizeof seal_name - 1;
    if (strncmp(text, seal_name, name_bytes) != 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is not a complete checkpoint: it does not begin with '%s%d'",
                             file->path, seal_name, LMN__CHECKPOINT_VERSION);
    }
    file->version = strtoul(text + name_bytes, NULL, 10);
    if (file->version > LMN__CHECKPOINT_VERSION) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' has checkpoint format version %lu, and this Lamina reads up to "
                             "%d; use a newer Lamina, or the file is damaged",
                             file->path, file->version, LMN__CHECKPOINT_VERSION);
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

static lmn_status read_seal(sealed_file *file, lmn__seal *seal_out, lmn_error *err)
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

/* Open a file that has a seal, and read it. */
static lmn_status open_with_seal(sealed_file *file, lmn__seal *carried_out, lmn_error *err)
{
    const lmn_status status = sealed_open(file, err);
    return status == LMN_OK ? read_seal(file, carried_out, err) : status;
}

static lmn_status compare_seals(const sealed_file *file, const lmn__seal *carried, lmn_error *err)
{
    lmn__seal fitting = {{0}};
    const lmn_status status = make_seal(file, &fitting, err);
    if (status == LMN_OK && memcmp(carried->bytes, fitting.bytes, LMN__SEAL_BYTES) != 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is damaged: its checksum does not match its content",
                             file->path);
    }
    return status;
}

lmn_status lmn__seal_check(lmn_world *world, const char *path, lmn_error *err)
{
    sealed_file file = {.path = path, .fd = -1};
    lmn__seal carried = {{0}};
    lmn_status status = open_with_seal(&file, &carried, err);
    status = hash_together(world, status, &file, err);
    if (status == LMN_OK) {
        status = lmn_agree(world, compare_seals(&file, &carried, err), err);
    }
    sealed_close(&file);
    return status;
}

lmn_status lmn__seal_check_length(const char *path, lmn_error *err)
{
    sealed_file file = {.path = path, .fd = -1};
    lmn__seal carried = {{0}};
    const lmn_status status = open_with_seal(&file, &carried, err);
    sealed_close(&file);
    return status;
}

/* Open it, read its seal and hash all of it. */
static lmn_status hash_alone(sealed_file *file, lmn__seal *carried_out, lmn_error *err)
{
    lmn_status status = open_with_seal(file, carried_out, err);
    if (status == LMN_OK) {
        status = cut_into_blocks(file, err);
    }
    return status == LMN_OK ? hash_blocks(file, (lmn_range){.count = file->n_blocks}, err) : status;
}

lmn_status lmn_checkpoint_verify(const char *path, lmn_error *err)
{
    sealed_file file = {.path = path, .fd = -1};
    lmn__seal carried = {{0}};
    lmn_status status = hash_alone(&file, &carried, err);
    if (status == LMN_OK) {
        status = compare_seals(&file, &carried, err);
    }
    sealed_close(&file);
    return status;
}

/* The text of the hashes of parts in a seal; "" where there is none. */
static const char *parts_of(const lmn__seal *seal)
{
    const char *end = memchr(seal->bytes, '\0', sizeof seal->bytes);
    const char *text = end == NULL ? NULL : strstr(seal->bytes, parts_name);
    return text == NULL ? "" : text + sizeof parts_name - 1;
}

/* Parts whose hashes the two seals, of one file, tell apart. */
static void compare_parts(const sealed_file *file, const lmn__seal *carried,
                          const lmn__seal *fitting, lmn_damage *damage_out)
{
    const size_t parts = n_parts(file);
    if (parts == 0) {
        return;
    }
    const char *texts[2] = {parts_of(carried), parts_of(fitting)};
    const size_t each = LMN__CHECKSUM_TEXT_BYTES; /* 16 digits, and a blank or the end */
    const size_t before = (size_t)(texts[1] - fitting->bytes);
    if (strlen(texts[0]) != strlen(texts[1]) ||
        memcmp(carried->bytes, fitting->bytes, before) == 0) {
        return; /* it is the seal that is damaged */
    }
    for (size_t i = 0; i < parts; i++) {
        if (strncmp(texts[0] + i * each, texts[1] + i * each, each - 1) == 0) {
            continue;
        }
        const lmn_range blocks = lmn_partition(file->n_blocks, parts, i);
        const uint64_t first = LMN__SEAL_BYTES + (uint64_t)blocks.first * file->block;
        const uint64_t end = first + (uint64_t)blocks.count * file->block;
        damage_out->first[damage_out->count] = first;
        damage_out->end[damage_out->count++] = end < file->length ? end : file->length;
    }
}

lmn_status lmn_checkpoint_find_damage(const char *path, lmn_damage *damage_out, lmn_error *err)
{
    *damage_out = (lmn_damage){.count = 0};
    sealed_file file = {.path = path, .fd = -1};
    lmn__seal carried = {{0}};
    lmn__seal fitting = {{0}};
    lmn_status status = hash_alone(&file, &carried, err);
    if (status == LMN_OK) {
        status = make_seal(&file, &fitting, err);
    }
    if (status == LMN_OK) {
        compare_parts(&file, &carried, &fitting, damage_out);
    }
    sealed_close(&file);
    return status;
}

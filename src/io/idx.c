/*
 * Reading IDX files, plain or gzip.
 *
 * An IDX file is a big-endian header (two zero bytes, the element type, the number of dimensions,
 * then each dimension as u32) and the elements in row-major order.
 *
 * Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "idx_internal.h"

#include <inttypes.h>
#include <string.h>

#define IDX_TYPE_U8 0x08

/* Larger images than this are taken for a damaged header. */
#define SAMPLE_BYTES_MAX ((uint64_t)1 << 30)

/* Deflate cannot shrink by more than about 1032; a little more is allowed for. */
#define DEFLATE_RATIO_MAX 1040

lmn_status lmn__idx_finish(lmn__idx *idx, lmn_error *err)
{
    char extra = 0;
    size_t got = 0;
    const lmn_status status = lmn__source_read_some(&idx->source, &extra, 1, &got, err);
    if (status == LMN_OK && got > 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' has data after its %" PRIu64 " samples; its header is wrong",
                             idx->source.path, idx->dims[0]);
    }
    return status;
}

static uint32_t big_endian(const unsigned char bytes[4])
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static lmn_status check_magic(lmn__idx *idx, const unsigned char magic[4], lmn__idx_kind kind,
                              lmn_error *err)
{
    const bool wants_images = kind == LMN__IDX_IMAGES;
    const char *wanted = wants_images ? "images (0x00000803 or 0x00000804)" : "labels (0x00000801)";
    if (magic[0] != 0 || magic[1] != 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is not an IDX file of %s: it begins with 0x%08" PRIx32,
                             idx->source.path, wanted, big_endian(magic));
    }
    if (magic[2] != IDX_TYPE_U8) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' has elements of IDX type 0x%02x; only unsigned bytes (0x08) are "
                             "read",
                             idx->source.path, magic[2]);
    }
    idx->n_dims = magic[3];
    const bool fits = wants_images ? idx->n_dims == 3 || idx->n_dims == 4 : idx->n_dims == 1;
    if (!fits) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' has %zu dimensions (0x%08" PRIx32 "), and %s are expected; are "
                             "images and labels exchanged?",
                             idx->source.path, idx->n_dims, big_endian(magic), wanted);
    }
    return LMN_OK;
}

static lmn_status read_dims(lmn__idx *idx, lmn_error *err)
{
    for (size_t i = 0; i < 4; i++) {
        idx->dims[i] = 1;
    }
    for (size_t i = 0; i < idx->n_dims; i++) {
        unsigned char bytes[4];
        const lmn_status status = lmn__source_read(&idx->source, bytes, sizeof bytes, err);
        if (status != LMN_OK) {
            return status;
        }
        idx->dims[i] = big_endian(bytes);
    }
    if (idx->dims[0] == 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' holds no samples", idx->source.path);
    }
    uint64_t sample_bytes = 1;
    for (size_t i = 1; i < 4; i++) {
        if (idx->dims[i] == 0 || idx->dims[i] > SAMPLE_BYTES_MAX / sample_bytes) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "'%s' has images of %" PRIu64 " x %" PRIu64 " x %" PRIu64
                                 "; its header is damaged",
                                 idx->source.path, idx->dims[1], idx->dims[2], idx->dims[3]);
        }
        sample_bytes *= idx->dims[i];
    }
    idx->sample_bytes = (size_t)sample_bytes;
    return LMN_OK;
}

/* Whether the file can hold what the header promises: found before space is taken. */
static lmn_status check_promise(const lmn__idx *idx, lmn_error *err)
{
    const uint64_t ratio = lmn__source_is_plain(&idx->source) ? 1 : DEFLATE_RATIO_MAX;
    if (idx->dims[0] * idx->sample_bytes / ratio > idx->source.length) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is truncated: %" PRIu64 " bytes of file cannot hold the %" PRIu64
                             " samples of %zu bytes that its header promises",
                             idx->source.path, idx->source.length, idx->dims[0], idx->sample_bytes);
    }
    return LMN_OK;
}

lmn_status lmn__idx_open(lmn__idx *idx, const char *path, lmn__idx_kind kind, lmn_error *err)
{
    *idx = (lmn__idx){0};
    unsigned char magic[4];
    lmn_status status = lmn__source_open(&idx->source, path, err);
    if (status == LMN_OK) {
        status = lmn__source_read(&idx->source, magic, sizeof magic, err);
    }
    if (status == LMN_OK) {
        status = check_magic(idx, magic, kind, err);
    }
    if (status == LMN_OK) {
        status = read_dims(idx, err);
    }
    if (status == LMN_OK) {
        status = check_promise(idx, err);
    }
    if (status != LMN_OK) {
        lmn__idx_close(idx);
    }
    return status;
}

void lmn__idx_close(lmn__idx *idx)
{
    lmn__source_close(&idx->source);
}

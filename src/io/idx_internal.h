/*
 * Reading IDX files, plain or gzip.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_IDX_INTERNAL_H
#define LAMINA_IO_IDX_INTERNAL_H

#include "lamina/status.h"
#include "source_internal.h"

#include <stddef.h>
#include <stdint.h>

typedef enum lmn__idx_kind { LMN__IDX_IMAGES, LMN__IDX_LABELS } lmn__idx_kind;

/** A file of unsigned bytes, read from front to back. Starts as {0}. */
typedef struct lmn__idx {
    lmn__source source;
    size_t n_dims;
    uint64_t dims[4]; /* [samples, height, width, channels]; the channels are 1 where not given */
    size_t sample_bytes; /* one image, or 1 */
} lmn__idx;

/**
 * Open and read the header.
 * Errors: LMN_ERR_IO; LMN_ERR_FORMAT (not IDX, another kind or element type, shorter than the
 * header promises).
 */
lmn_status lmn__idx_open(lmn__idx *idx, const char *path, lmn__idx_kind kind,
                         lmn_error *err) LMN_NODISCARD;
void lmn__idx_close(lmn__idx *idx);

/** Check that the file ends here, with the right checksum. Errors: LMN_ERR_FORMAT. */
lmn_status lmn__idx_finish(lmn__idx *idx, lmn_error *err) LMN_NODISCARD;

#endif

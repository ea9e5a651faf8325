/*
 * A file being written from front to back, beside the name that it will get.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_WEIGHTS_INTERNAL_H
#define LAMINA_IO_WEIGHTS_INTERNAL_H

#include "lamina/checkpoint.h"
#include "lamina/weights.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct lmn__output {
    FILE *file;                /* owned */
    const char *path;          /* borrowed; the name that it will get */
    char part[LMN_PATH_BYTES]; /* what is written */
    uint64_t bytes;            /* written so far */
    int code;                  /* first error number, 0 for none */
} lmn__output;

/** Create `path`.part. Errors: LMN_ERR_IO. */
lmn_status lmn__output_create(lmn__output *output, const char *path, lmn_error *err) LMN_NODISCARD;

/** Add bytes; what fails is kept until the end. */
void lmn__output_write(lmn__output *output, const void *data, size_t bytes);

/** Add the low `count` bytes of a number, lowest first. */
void lmn__output_number(lmn__output *output, uint64_t value, size_t count);

/**
 * Close, flush and rename it; or remove it, when something could not be written or `status`, which
 * is then returned, is not LMN_OK. Errors: LMN_ERR_IO.
 */
lmn_status lmn__output_finish(lmn__output *output, lmn_status status, lmn_error *err) LMN_NODISCARD;

/** Elements of an array. */
uint64_t lmn__weight_count(const lmn_weight *weight);

/** LMN_ERR_ARGUMENT when a name is empty or there twice, or an array has too many dimensions. */
lmn_status lmn__weights_check(const lmn_weight *weights, size_t count,
                              lmn_error *err) LMN_NODISCARD;

#endif

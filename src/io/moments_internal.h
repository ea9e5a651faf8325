/*
 * Mean and deviation of columns, from rows that come in pieces.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_MOMENTS_INTERNAL_H
#define LAMINA_IO_MOMENTS_INTERNAL_H

#include "lamina/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct lmn__moments lmn__moments;

lmn_status lmn__moments_create(size_t n_columns, lmn__moments **moments_out,
                               lmn_error *err) LMN_NODISCARD;

/** NULL is allowed. */
void lmn__moments_destroy(lmn__moments *moments);

/** Take in rows: [n_rows, n_columns]. */
void lmn__moments_add_u8(lmn__moments *moments, const unsigned char *rows, size_t n_rows);
void lmn__moments_add_f32(lmn__moments *moments, const float *rows, size_t n_rows);

size_t lmn__moments_columns(const lmn__moments *moments);

/**
 * Of all rows so far, each value having been mapped to scale * value + offset.
 * mean, deviation  [n_columns]; the deviation is that of the whole (divided by N), or 1 where it is
 * 0
 */
void lmn__moments_get(const lmn__moments *moments, double scale, double offset, float *mean,
                      float *deviation);

#endif

/*
 * Types of elements.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_DTYPE_H
#define LAMINA_DTYPE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lmn_dtype { LMN_F32 = 0, LMN_I32 = 1 } lmn_dtype;

/** Bytes of one element. */
size_t lmn_dtype_bytes(lmn_dtype dtype);

/** "f32", "i32". */
const char *lmn_dtype_name(lmn_dtype dtype);

#ifdef __cplusplus
}
#endif

#endif

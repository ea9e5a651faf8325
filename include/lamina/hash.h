/*
 * 64-bit checksums (XXH3) for parameters, messages and files. Not cryptographic.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_HASH_H
#define LAMINA_HASH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** XXH3-64 of `bytes` bytes; chain calls by giving the previous hash as `seed`. */
uint64_t lmn_hash64(const void *data, size_t bytes, uint64_t seed);

#ifdef __cplusplus
}
#endif

#endif

/*
 * 64-bit checksums: XXH3 from libxxhash.
 *
 * Y. Collet, XXH3, https://xxhash.com; the 64-bit form is frozen since version 0.8.0, so hashes may
 * be stored in files.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/hash.h"

#include <xxhash.h>

uint64_t lmn_hash64(const void *data, size_t bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, bytes, seed);
}

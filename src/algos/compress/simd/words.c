/*
 * Random words of a stream, block by block side by side, for one instruction set: see buckets.h and
 * lamina_add_isa_variants. The same words as lmn_stream_u32 gives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "buckets.h"

#define MULTIPLIER_0 UINT32_C(0xD2511F53)
#define MULTIPLIER_1 UINT32_C(0xCD9E8D57)
#define WEYL_0       UINT32_C(0x9E3779B9)
#define WEYL_1       UINT32_C(0xBB67AE85)

extern const lmn__word_kernels VARIANT_NAME(lmn__word_kernels_);

typedef struct block {
    uint32_t x[4];
} block;

static inline block next(block b, uint32_t key_0, uint32_t key_1)
{
    const uint64_t product_0 = (uint64_t)MULTIPLIER_0 * b.x[0];
    const uint64_t product_1 = (uint64_t)MULTIPLIER_1 * b.x[2];
    return (block){{(uint32_t)(product_1 >> 32) ^ b.x[1] ^ key_0, (uint32_t)product_1,
                    (uint32_t)(product_0 >> 32) ^ b.x[3] ^ key_1, (uint32_t)product_0}};
}

static void words(const lmn_stream *stream, uint32_t first_block, size_t n_blocks, uint32_t *out)
{
    const uint32_t layer = stream->layer;
    const uint32_t step = stream->step;
    const uint32_t who = ((uint32_t)stream->purpose << 16) | stream->rank;
    const uint32_t key_0 = (uint32_t)stream->seed;
    const uint32_t key_1 = (uint32_t)(stream->seed >> 32);
#pragma omp simd
    for (size_t i = 0; i < n_blocks; i++) {
        block b = {{first_block + (uint32_t)i, layer, step, who}};
        b = next(b, key_0, key_1);
        b = next(b, key_0 + WEYL_0, key_1 + WEYL_1);
        b = next(b, key_0 + 2 * WEYL_0, key_1 + 2 * WEYL_1);
        b = next(b, key_0 + 3 * WEYL_0, key_1 + 3 * WEYL_1);
        b = next(b, key_0 + 4 * WEYL_0, key_1 + 4 * WEYL_1);
        b = next(b, key_0 + 5 * WEYL_0, key_1 + 5 * WEYL_1);
        b = next(b, key_0 + 6 * WEYL_0, key_1 + 6 * WEYL_1);
        b = next(b, key_0 + 7 * WEYL_0, key_1 + 7 * WEYL_1);
        b = next(b, key_0 + 8 * WEYL_0, key_1 + 8 * WEYL_1);
        b = next(b, key_0 + 9 * WEYL_0, key_1 + 9 * WEYL_1);
        out[4 * i] = b.x[0];
        out[4 * i + 1] = b.x[1];
        out[4 * i + 2] = b.x[2];
        out[4 * i + 3] = b.x[3];
    }
}

const lmn__word_kernels VARIANT_NAME(lmn__word_kernels_) = {.words = words};

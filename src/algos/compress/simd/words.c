/*
 * Random words of a stream, block by block side by side, for one instruction set: see buckets.h and
 * lamina_add_isa_variants. The same words as lmn_stream_u32 gives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "buckets.h"

#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#define ROUNDS       10
#define MULTIPLIER_0 UINT32_C(0xD2511F53)
#define MULTIPLIER_1 UINT32_C(0xCD9E8D57)
#define WEYL_0       UINT32_C(0x9E3779B9)
#define WEYL_1       UINT32_C(0xBB67AE85)

extern const lmn__word_kernels VARIANT_NAME(lmn__word_kernels_);

/* One word of several blocks: of each lane the lower half. The upper one holds anything. */
#if defined(__AVX512F__)
#define LANES ((size_t)8)
typedef uint64_t lanes __attribute__((vector_size(8 * sizeof(uint64_t))));

static inline lanes multiply(lanes x, uint32_t factor)
{
    return (lanes)_mm512_mul_epu32((__m512i)x, _mm512_set1_epi64(factor));
}

/* Lanes of a and b in turn. */
static inline void interleave(lanes a, lanes b, lanes both[2])
{
    both[0] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    both[1] = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
#elif defined(__AVX2__)
#define LANES ((size_t)4)
typedef uint64_t lanes __attribute__((vector_size(4 * sizeof(uint64_t))));

static inline lanes multiply(lanes x, uint32_t factor)
{
    return (lanes)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(factor));
}

static inline void interleave(lanes a, lanes b, lanes both[2])
{
    both[0] = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    both[1] = __builtin_shufflevector(a, b, 2, 6, 3, 7);
}
#elif defined(__SSE2__)
#define LANES ((size_t)2)
typedef uint64_t lanes __attribute__((vector_size(2 * sizeof(uint64_t))));

static inline lanes multiply(lanes x, uint32_t factor)
{
    return (lanes)_mm_mul_epu32((__m128i)x, _mm_set1_epi64x(factor));
}

static inline void interleave(lanes a, lanes b, lanes both[2])
{
    both[0] = __builtin_shufflevector(a, b, 0, 2);
    both[1] = __builtin_shufflevector(a, b, 1, 3);
}
#else
#define LANES ((size_t)1)
typedef uint64_t lanes;

static inline lanes multiply(lanes x, uint32_t factor)
{
    return (x & UINT32_MAX) * factor;
}

static inline void interleave(lanes a, lanes b, lanes both[2])
{
    both[0] = a;
    both[1] = b;
}
#endif
#define AT_ONCE (2 * LANES)

/* Words 0 to 3 of LANES blocks. */
typedef struct block {
    lanes x0, x1, x2, x3;
} block;

static inline block next(block b, lanes key_0, lanes key_1)
{
    const lanes product_0 = multiply(b.x0, MULTIPLIER_0);
    const lanes product_1 = multiply(b.x2, MULTIPLIER_1);
    return (block){product_1 >> 32 ^ b.x1 ^ key_0, product_1, product_0 >> 32 ^ b.x3 ^ key_1,
                   product_0};
}

static inline void store(block b, uint32_t *out)
{
    lanes both[2];
    interleave((b.x0 & UINT32_MAX) | b.x1 << 32, (b.x2 & UINT32_MAX) | b.x3 << 32, both);
    memcpy(out, both, sizeof both);
}

/* AT_ONCE blocks from the one with these counters on: two of each lane, so that one is worked on
   while the other waits for its products. */
static inline void some_words(block first, lanes key_0, lanes key_1, uint32_t *out)
{
    block a = first;
    block b = first;
    b.x0 += LANES;
#pragma GCC unroll 10
    for (int round = 0; round < ROUNDS; round++) {
        a = next(a, key_0, key_1);
        b = next(b, key_0, key_1);
        key_0 += WEYL_0;
        key_1 += WEYL_1;
    }
    store(a, out);
    store(b, out + 4 * LANES);
}

static void words(const lmn_stream *stream, uint32_t first_block, size_t n_blocks, uint32_t *out)
{
    uint64_t numbers[LANES];
    for (size_t i = 0; i < LANES; i++) {
        numbers[i] = first_block + i;
    }
    block b;
    memcpy(&b.x0, numbers, sizeof b.x0);
    const lanes zero = b.x0 * 0;
    b.x1 = zero + stream->layer;
    b.x2 = zero + stream->step;
    b.x3 = zero + (((uint32_t)stream->purpose << 16) | stream->rank);
    const lanes key_0 = zero + (uint32_t)stream->seed;
    const lanes key_1 = zero + (uint32_t)(stream->seed >> 32);
    size_t i = 0;
    for (; i + AT_ONCE <= n_blocks; i += AT_ONCE) {
        some_words(b, key_0, key_1, out + 4 * i);
        b.x0 += AT_ONCE;
    }
    if (i < n_blocks) {
        uint32_t last[4 * AT_ONCE];
        some_words(b, key_0, key_1, last);
        memcpy(out + 4 * i, last, 4 * (n_blocks - i) * sizeof last[0]);
    }
}

const lmn__word_kernels VARIANT_NAME(lmn__word_kernels_) = {.words = words};

/*
 * Counter-based random numbers: Philox4x32-10.
 *
 * A random number is a pure function of (seed, what it is for, layer, step, rank, element index).
 * Nothing advances and nothing has to be saved, so results depend neither on thread or rank counts
 * nor on where a run was stopped and resumed.
 *
 * Method: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * SC'11, doi:10.1145/2063384.2063405.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_RANDOM_H
#define LAMINA_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One Philox4x32-10 block: 128 random bits for a counter and a key. */
void lmn_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/** What a stream is for; streams of different purposes never overlap. */
typedef enum lmn_stream_purpose {
    LMN_STREAM_USER = 0,
    LMN_STREAM_INIT = 1,
    LMN_STREAM_DROPOUT = 2,
    LMN_STREAM_SHUFFLE = 3,
    LMN_STREAM_COMPRESS = 4,
    LMN_STREAM_AUGMENT = 5,
    LMN_STREAM_SHARD = 6
} lmn_stream_purpose;

#define LMN_STREAM_ALL_RANKS 0xFFFFu

/** Names one stream; plain data. Element i of a stream is word i % 4 of block i / 4. */
typedef struct lmn_stream {
    uint64_t seed;    /* of the run */
    uint32_t layer;   /* layer, node or other sub-stream */
    uint32_t step;    /* training step, epoch, or 0 */
    uint16_t purpose; /* lmn_stream_purpose */
    uint16_t rank;    /* LMN_STREAM_ALL_RANKS for a stream shared by all ranks */
} lmn_stream;

/** Elements first .. first + count - 1 as raw 32-bit words. first + count <= 2^34. */
void lmn_stream_u32(const lmn_stream *stream, uint64_t first, size_t count, uint32_t *out);

/** The same elements as f32 uniform in [0, 1): (word >> 8) * 2^-24. */
void lmn_stream_uniform(const lmn_stream *stream, uint64_t first, size_t count, float *out);

/** Standard normal f32 by Box-Muller in double; element i uses words i and i ^ 1 of the stream. */
void lmn_stream_normal(const lmn_stream *stream, uint64_t first, size_t count, float *out);

/**
 * Where `index` goes in the pseudo-random permutation of 0 .. n - 1 that (seed, round) names.
 * A bijection for every n >= 1; constant memory. Requires index < n.
 * Method: balanced Feistel network over the next power of four, cycle walking (Black and Rogaway,
 * CT-RSA 2002, doi:10.1007/3-540-45760-7_9).
 */
uint64_t lmn_permute(uint64_t seed, uint64_t round, uint64_t index, uint64_t n);

#ifdef __cplusplus
}
#endif

#endif

/*
 * Aligned memory and arenas.
 *
 * All numeric buffers of Lamina are 64-byte aligned, so that vector loads never split a cache line.
 * An arena is one allocation cut into aligned pieces that are freed together: rooms that must not
 * allocate during a training step take everything they need from an arena when they are created.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_MEMORY_H
#define LAMINA_MEMORY_H

#include "lamina/status.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LMN_ALIGNMENT 64

/**
 * [count] zeroed elements of `size` bytes, aligned to LMN_ALIGNMENT.
 * Returns NULL with LMN_ERR_MEMORY in `err` when memory is short or count * size overflows.
 * A count of 0 gives a valid pointer to no elements. Caller owns; free with lmn_free.
 */
void *lmn_alloc(size_t count, size_t size, lmn_error *err) LMN_NODISCARD;

/** Free what lmn_alloc gave; NULL is allowed. */
void lmn_free(void *memory);

/** `bytes` rounded up to a multiple of LMN_ALIGNMENT. */
size_t lmn_align_up(size_t bytes);

/** Element count rounded up so that the next f32 starts on an alignment boundary. */
size_t lmn_align_up_f32(size_t count);

/**
 * to [count] = from [count], written around the caches where the processor can: for arrays that no
 * cache would hold until they are read again, whose old contents need not be fetched first.
 * to and from do not overlap. Other threads see it after any barrier or lock.
 */
void lmn_copy_past_caches(float *to, const float *from, size_t count);

typedef struct lmn_arena lmn_arena;

/** An arena of `bytes` zeroed bytes. Errors: LMN_ERR_MEMORY. */
lmn_status lmn_arena_create(size_t bytes, lmn_arena **arena_out, lmn_error *err) LMN_NODISCARD;

/** Free the arena and everything taken from it; NULL is allowed. */
void lmn_arena_destroy(lmn_arena *arena);

/**
 * The next [count] elements of `size` bytes, zeroed and aligned to LMN_ALIGNMENT; NULL when the
 * arena is exhausted. Owned by the arena.
 */
void *lmn_arena_take(lmn_arena *arena, size_t count, size_t size) LMN_NODISCARD;

/** Bytes taken so far, with alignment. */
size_t lmn_arena_used(const lmn_arena *arena);

#ifdef __cplusplus
}
#endif

#endif

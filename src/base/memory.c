/*
 * Aligned memory and arenas.
 *
 * Sizes are checked before they are multiplied. An arena only ever moves forward, so what it hands
 * out is still zero from its one allocation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
/* For madvise. */
#define _DEFAULT_SOURCE  /* NOLINT(*-reserved-identifier,cert-dcl*,readability-identifier-naming)  \
                          */
#include "lamina/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define F32_PER_LINE (LMN_ALIGNMENT / sizeof(float))

/* From this size on memory is asked for in huge pages, of which one entry of the address
   translation covers 2 MiB: walks over several long arrays at once gain a fifth. */
#define HUGE_BYTES ((size_t)8 << 20)
#define HUGE_PAGE  ((size_t)2 << 20)

struct lmn_arena {
    unsigned char *base; /* [capacity] owned */
    size_t capacity;     /* bytes, a multiple of LMN_ALIGNMENT */
    size_t used;         /* bytes, a multiple of LMN_ALIGNMENT */
};

static size_t round_up(size_t value, size_t multiple)
{
    const size_t largest = SIZE_MAX - SIZE_MAX % multiple;
    return value > largest ? largest : (value + multiple - 1) / multiple * multiple;
}

/* Whether count * size, rounded up to the alignment, can be expressed. */
static bool size_fits(size_t count, size_t size)
{
    return size == 0 || count <= (SIZE_MAX - LMN_ALIGNMENT) / size;
}

size_t lmn_align_up(size_t bytes)
{
    return round_up(bytes, LMN_ALIGNMENT);
}

size_t lmn_align_up_f32(size_t count)
{
    return round_up(count, F32_PER_LINE);
}

/* Memory that nobody has touched yet; NULL when there is none. Huge pages are a wish: where the
   system has none to give, nothing is lost. */
static void *take(size_t bytes)
{
    void *memory = NULL;
    const size_t alignment = bytes >= HUGE_BYTES ? HUGE_PAGE : LMN_ALIGNMENT;
    if (posix_memalign(&memory, alignment, bytes) != 0) {
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (bytes >= HUGE_BYTES) {
        (void)madvise(memory, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    }
#endif
    return memory;
}

void *lmn_alloc(size_t count, size_t size, lmn_error *err)
{
    if (size_fits(count, size)) {
        const size_t wanted = lmn_align_up(count * size);
        const size_t bytes = wanted > 0 ? wanted : LMN_ALIGNMENT;
        void *const memory = take(bytes);
        if (memory != NULL) {
            memset(memory, 0, bytes);
            return memory;
        }
    }
    (void)lmn_error_set(err, LMN_ERR_MEMORY,
                        "no memory for %zu elements of %zu bytes; use a smaller model or batch, or "
                        "fewer ranks on this host",
                        count, size);
    return NULL;
}

void lmn_free(void *memory)
{
    free(memory);
}

void lmn_copy_past_caches(float *to, const float *from, size_t count)
{
    size_t done = 0;
#ifdef __SSE2__
    /* Whole lines, whose four stores the processor puts together. */
    const size_t lines = (uintptr_t)to % LMN_ALIGNMENT == 0 ? count / F32_PER_LINE : 0;
    for (; done < lines * F32_PER_LINE; done += F32_PER_LINE) {
        _mm_stream_ps(to + done, _mm_loadu_ps(from + done));
        _mm_stream_ps(to + done + 4, _mm_loadu_ps(from + done + 4));
        _mm_stream_ps(to + done + 8, _mm_loadu_ps(from + done + 8));
        _mm_stream_ps(to + done + 12, _mm_loadu_ps(from + done + 12));
    }
#endif
    memcpy(to + done, from + done, (count - done) * sizeof *to);
}

lmn_status lmn_arena_create(size_t bytes, lmn_arena **arena_out, lmn_error *err)
{
    lmn_arena *arena = lmn_alloc(1, sizeof *arena, err);
    if (arena == NULL) {
        return LMN_ERR_MEMORY;
    }
    arena->base = lmn_alloc(bytes, 1, err);
    if (arena->base == NULL) {
        lmn_arena_destroy(arena);
        return LMN_ERR_MEMORY;
    }
    arena->capacity = lmn_align_up(bytes);
    *arena_out = arena;
    return LMN_OK;
}

void lmn_arena_destroy(lmn_arena *arena)
{
    if (arena != NULL) {
        lmn_free(arena->base);
        lmn_free(arena);
    }
}

void *lmn_arena_take(lmn_arena *arena, size_t count, size_t size)
{
    if (!size_fits(count, size)) {
        return NULL;
    }
    const size_t bytes = lmn_align_up(count * size);
    if (bytes > arena->capacity - arena->used) {
        return NULL;
    }
    void *memory = arena->base + arena->used;
    arena->used += bytes;
    return memory;
}

size_t lmn_arena_used(const lmn_arena *arena)
{
    return arena->used;
}

/*
 * The loops of all mechanisms in f32, for one instruction set: see loops_template.h and
 * lamina_add_isa_variants.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

/* Whole cache lines in one store each, where there are such stores. */
static void store_past_caches(float *to, const float *from, size_t count)
{
    size_t done = 0;
#ifdef __AVX512F__
    const size_t per_line = LMN_ALIGNMENT / sizeof *to;
    const size_t whole = (size_t)to % LMN_ALIGNMENT == 0 ? count - count % per_line : 0;
    for (; done < whole; done += per_line) {
        _mm512_stream_ps(to + done, _mm512_loadu_ps(from + done));
    }
#endif
    lmn_copy_past_caches(to + done, from + done, count - done);
}

#define REAL                         float
#define TILE                         lmn_feedback_tile
#define LOOPS_STORE(to, from, count) store_past_caches((to), (from), (count))
#include "../loops_template.h"

#define LOOPS_TEXT_OF(name) #name
#define LOOPS_TEXT(name)    LOOPS_TEXT_OF(name)
#define LOOPS_JOIN(a, b)    a##b
#define LOOPS_PASTE(a, b)   LOOPS_JOIN(a, b)
#define LOOPS_NAME          LOOPS_PASTE(lmn__feedback_loops_, LMN__VARIANT)

extern const lmn__feedback_loops LOOPS_NAME;
const lmn__feedback_loops LOOPS_NAME = {
    .isa = LOOPS_TEXT(LMN__VARIANT), .form = form, .advance = advance};

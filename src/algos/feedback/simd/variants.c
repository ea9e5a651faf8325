/*
 * Which variants of the feedback loops this processor has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../loops.h"

extern const lmn__feedback_loops lmn__feedback_loops_baseline;
#ifdef LMN__HAVE_X86_VARIANTS
extern const lmn__feedback_loops lmn__feedback_loops_avx2, lmn__feedback_loops_avx512;
#endif

const lmn__feedback_loops *lmn__feedback_loops_variant(size_t index)
{
    const lmn__feedback_loops *usable[3];
    size_t n = 0;
#ifdef LMN__HAVE_X86_VARIANTS
    if (__builtin_cpu_supports("avx512f") != 0) {
        usable[n++] = &lmn__feedback_loops_avx512;
    }
    if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) {
        usable[n++] = &lmn__feedback_loops_avx2;
    }
#endif
    usable[n++] = &lmn__feedback_loops_baseline;
    return index < n ? usable[index] : NULL;
}

/*
 * Which of the variants that lamina_add_isa_variants compiles this processor can run.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_ALGOS_ISA_H
#define LAMINA_ALGOS_ISA_H

#include <stdbool.h>
#include <stddef.h>

/** How many of the instruction sets AVX-512 and AVX2, in this order, the processor lacks: the place
 *  of its fastest variant in a list {avx512, avx2, baseline}. */
static inline size_t lmn__isa_lacking(void)
{
#ifdef LMN__HAVE_X86_VARIANTS
    if (__builtin_cpu_supports("avx512f") != 0) {
        return 0;
    }
    const bool has_avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
    return has_avx2 ? 1 : 2;
#else
    return 0; /* the baseline is the whole list */
#endif
}

#endif

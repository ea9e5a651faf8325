/*
 * Which variants of the knapsack kernel this processor has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cheapest.h"

extern const lmn__cheapest_kernels lmn__cheapest_kernels_baseline;
#ifdef LMN__HAVE_X86_VARIANTS
extern const lmn__cheapest_kernels lmn__cheapest_kernels_avx2, lmn__cheapest_kernels_avx512;
#endif

const lmn__cheapest_kernels *lmn__cheapest_kernels_variant(size_t index)
{
    const lmn__cheapest_kernels *usable[3];
    size_t n = 0;
#ifdef LMN__HAVE_X86_VARIANTS
    if (__builtin_cpu_supports("avx512f") != 0) {
        usable[n++] = &lmn__cheapest_kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) {
        usable[n++] = &lmn__cheapest_kernels_avx2;
    }
#endif
    usable[n++] = &lmn__cheapest_kernels_baseline;
    return index < n ? usable[index] : NULL;
}

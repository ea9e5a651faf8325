/*
 * Which variant of the kernels of this folder runs: the widest that the processor has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "winograd.h"

extern const lmn__winograd_kernels lmn__winograd_kernels_baseline;
#ifdef LMN__HAVE_X86_VARIANTS
extern const lmn__winograd_kernels lmn__winograd_kernels_avx2;
extern const lmn__winograd_kernels lmn__winograd_kernels_avx512;
#endif

const lmn__winograd_kernels *lmn__winograd_kernels_get(void)
{
#ifdef LMN__HAVE_X86_VARIANTS
    if (__builtin_cpu_supports("avx512f")) {
        return &lmn__winograd_kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return &lmn__winograd_kernels_avx2;
    }
#endif
    return &lmn__winograd_kernels_baseline;
}

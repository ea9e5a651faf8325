/*
 * Which variant of the kernels of this folder runs: the widest that the processor has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gemm.h"
#include "panels.h"
#include "winograd.h"

extern const lmn__panel_kernels lmn__panel_kernels_baseline;
extern const lmn__winograd_kernels lmn__winograd_kernels_baseline;
extern const lmn__gemm_kernels lmn__gemm_kernels_baseline;
#ifdef LMN__HAVE_X86_VARIANTS
extern const lmn__panel_kernels lmn__panel_kernels_avx2, lmn__panel_kernels_avx512;
extern const lmn__winograd_kernels lmn__winograd_kernels_avx2, lmn__winograd_kernels_avx512;
extern const lmn__gemm_kernels lmn__gemm_kernels_avx2, lmn__gemm_kernels_avx512;

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") != 0;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
}
#endif

const lmn__panel_kernels *lmn__panel_kernels_get(void)
{
#ifdef LMN__HAVE_X86_VARIANTS
    if (has_avx512()) {
        return &lmn__panel_kernels_avx512;
    }
    if (has_avx2()) {
        return &lmn__panel_kernels_avx2;
    }
#endif
    return &lmn__panel_kernels_baseline;
}

const lmn__winograd_kernels *lmn__winograd_kernels_get(void)
{
#ifdef LMN__HAVE_X86_VARIANTS
    if (has_avx512()) {
        return &lmn__winograd_kernels_avx512;
    }
    if (has_avx2()) {
        return &lmn__winograd_kernels_avx2;
    }
#endif
    return &lmn__winograd_kernels_baseline;
}

const lmn__gemm_kernels *lmn__gemm_kernels_get(void)
{
#ifdef LMN__HAVE_X86_VARIANTS
    if (has_avx512()) {
        return &lmn__gemm_kernels_avx512;
    }
    if (has_avx2()) {
        return &lmn__gemm_kernels_avx2;
    }
#endif
    return &lmn__gemm_kernels_baseline;
}

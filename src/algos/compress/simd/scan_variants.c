/*
 * Which variants of the scanning kernels this processor has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../../isa.h"
#include "scan.h"

extern const lmn__scan_kernels lmn__scan_kernels_baseline;
#ifdef LMN__HAVE_X86_VARIANTS
extern const lmn__scan_kernels lmn__scan_kernels_avx2, lmn__scan_kernels_avx512;
#endif

const lmn__scan_kernels *lmn__scan_kernels_variant(size_t index)
{
    static const lmn__scan_kernels *const variants[] = {
#ifdef LMN__HAVE_X86_VARIANTS
        &lmn__scan_kernels_avx512, &lmn__scan_kernels_avx2,
#endif
        &lmn__scan_kernels_baseline};
    const size_t place = index + lmn__isa_lacking();
    return place < sizeof variants / sizeof variants[0] ? variants[place] : NULL;
}

/*
 * Which variants of the knapsack kernel this processor has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../../isa.h"
#include "cheapest.h"

extern const lmn__cheapest_kernels lmn__cheapest_kernels_baseline;
#ifdef LMN__HAVE_X86_VARIANTS
extern const lmn__cheapest_kernels lmn__cheapest_kernels_avx2, lmn__cheapest_kernels_avx512;
#endif

const lmn__cheapest_kernels *lmn__cheapest_kernels_variant(size_t index)
{
    static const lmn__cheapest_kernels *const variants[] = {
#ifdef LMN__HAVE_X86_VARIANTS
        &lmn__cheapest_kernels_avx512, &lmn__cheapest_kernels_avx2,
#endif
        &lmn__cheapest_kernels_baseline};
    const size_t place = index + lmn__isa_lacking();
    return place < sizeof variants / sizeof variants[0] ? variants[place] : NULL;
}

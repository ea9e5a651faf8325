/*
 * Which variants of the feedback loops this processor has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../../isa.h"
#include "../loops.h"

extern const lmn__feedback_loops lmn__feedback_loops_baseline;
#ifdef LMN__HAVE_X86_VARIANTS
extern const lmn__feedback_loops lmn__feedback_loops_avx2, lmn__feedback_loops_avx512;
#endif

const lmn__feedback_loops *lmn__feedback_loops_variant(size_t index)
{
    static const lmn__feedback_loops *const variants[] = {
#ifdef LMN__HAVE_X86_VARIANTS
        &lmn__feedback_loops_avx512, &lmn__feedback_loops_avx2,
#endif
        &lmn__feedback_loops_baseline};
    const size_t place = index + lmn__isa_lacking();
    return place < sizeof variants / sizeof variants[0] ? variants[place] : NULL;
}

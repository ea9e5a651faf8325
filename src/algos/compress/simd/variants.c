/*
 * Which variant of the kernels of this folder runs: the widest that the processor has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../../isa.h"
#include "buckets.h"

extern const lmn__measure_kernels lmn__measure_kernels_baseline;
extern const lmn__code_kernels lmn__code_kernels_baseline;
extern const lmn__half_kernels lmn__half_kernels_baseline;
extern const lmn__word_kernels lmn__word_kernels_baseline;

static const lmn__bucket_kernels baseline = {.isa = "baseline",
                                             .measure = &lmn__measure_kernels_baseline,
                                             .code = &lmn__code_kernels_baseline,
                                             .half = &lmn__half_kernels_baseline,
                                             .word = &lmn__word_kernels_baseline};

#ifdef LMN__HAVE_X86_VARIANTS
extern const lmn__measure_kernels lmn__measure_kernels_avx2, lmn__measure_kernels_avx512;
extern const lmn__code_kernels lmn__code_kernels_avx2, lmn__code_kernels_avx512;
extern const lmn__half_kernels lmn__half_kernels_avx2, lmn__half_kernels_avx512;
extern const lmn__word_kernels lmn__word_kernels_avx2, lmn__word_kernels_avx512;

static const lmn__bucket_kernels avx2 = {.isa = "avx2",
                                         .measure = &lmn__measure_kernels_avx2,
                                         .code = &lmn__code_kernels_avx2,
                                         .half = &lmn__half_kernels_avx2,
                                         .word = &lmn__word_kernels_avx2};
static const lmn__bucket_kernels avx512 = {.isa = "avx512",
                                           .measure = &lmn__measure_kernels_avx512,
                                           .code = &lmn__code_kernels_avx512,
                                           .half = &lmn__half_kernels_avx512,
                                           .word = &lmn__word_kernels_avx512};

const lmn__bucket_kernels *lmn__bucket_kernels_variant(size_t index)
{
    static const lmn__bucket_kernels *const variants[] = {&avx512, &avx2, &baseline};
    const size_t place = index + lmn__isa_lacking();
    return place < sizeof variants / sizeof variants[0] ? variants[place] : NULL;
}
#else
const lmn__bucket_kernels *lmn__bucket_kernels_variant(size_t index)
{
    return index == 0 ? &baseline : NULL;
}
#endif

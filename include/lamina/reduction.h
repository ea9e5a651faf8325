/*
 * What an allreduce does with numbers: which numbers they are, and how two become one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_REDUCTION_H
#define LAMINA_REDUCTION_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lmn_reduction {
    LMN_REDUCTION_SUM_F32,
    LMN_REDUCTION_MAX_F32,
    LMN_REDUCTION_SUM_I8,  /* the caller sees to it that no sum can overflow */
    LMN_REDUCTION_SUM_I16, /* the same */
    LMN_REDUCTION_SUM_BF16 /* f32 in memory, bf16 on the wire, added in f32 */
} lmn_reduction;

#ifdef __cplusplus
}
#endif

#endif

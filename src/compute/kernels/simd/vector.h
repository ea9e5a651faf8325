/*
 * The widest vectors of the instruction set that a source is compiled for.
 *
 * For sources of lamina_add_isa_variants only. LMN__VARIANT is the name of the variant.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SIMD_VECTOR_H
#define LAMINA_SIMD_VECTOR_H

#include "panels.h"

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define VECTORS (LMN__PANEL / LANES) /* registers of one row of a panel */

typedef float vector __attribute__((vector_size(LANES * sizeof(float))));
typedef float loose_vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

static inline vector load(const float *from)
{
    return *(const loose_vector *)from;
}

static inline void store(float *to, vector value)
{
    *(loose_vector *)to = value;
}

static inline vector broadcast(float value)
{
    return value - (vector){0.0F};
}

/* Names of what a variant defines: VARIANT_NAME(lmn__panel_kernels_) is lmn__panel_kernels_avx2. */
#define VARIANT_TEXT_OF(name) #name
#define VARIANT_TEXT(name)    VARIANT_TEXT_OF(name)
#define VARIANT_JOIN(a, b)    a##b
#define VARIANT_PASTE(a, b)   VARIANT_JOIN(a, b)
#define VARIANT_NAME(prefix)  VARIANT_PASTE(prefix, LMN__VARIANT)

#endif

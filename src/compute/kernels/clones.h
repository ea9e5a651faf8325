/*
 * Loops that are compiled for several instruction sets, the best of which is chosen when the
 * program starts.
 *
 * For loops whose results do not depend on the instruction set: no products and sums that could be
 * fused, and partial sums whose number is fixed in the source. Where that is not so, see simd/.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_CLONES_H
#define LAMINA_CLONES_H

/* Sanitizers are not ready when the dynamic linker makes the choice. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) &&   \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LMN__CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define LMN__CLONES
#endif

#endif

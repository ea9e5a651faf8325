/*
 * What an allreduce does with numbers, one table entry for each reduction of lamina/reduction.h.
 *
 * Numbers have a form in memory and a form on the wire. The two are the same, except for bf16 sums:
 * these are f32 in memory, travel rounded to bf16, and are added in f32.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_ARITHMETIC_INTERNAL_H
#define LAMINA_ARITHMETIC_INTERNAL_H

#include "lamina/reduction.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** One reduction. The functions are local, exact or rounded once for each addition. */
typedef struct lmn__arithmetic {
    const char *name;
    size_t bytes;      /* of a number in memory */
    size_t wire_bytes; /* of a number on the wire */
    bool has_factor;   /* a sum that may be multiplied */
    bool has_mpi_sum;  /* MPI can add these numbers */
    bool is_exact;     /* in any order of additions */
    /** sum = term, which comes from the wire. [count] */
    void (*take)(void *sum, const void *term, size_t count);
    /** sum = sum and term, which comes from the wire. [count] */
    void (*add)(void *sum, const void *term, size_t count);
    /** sum = low and high; sum may be one of the two. NULL when the wire has another form. */
    void (*combine)(void *sum, const void *low, const void *high, size_t count);
} lmn__arithmetic;

/** NULL when there is no such reduction. */
const lmn__arithmetic *lmn__arithmetic_of(lmn_reduction reduction);

/** Whether numbers change their form when they travel. */
bool lmn__arithmetic_is_rounded(const lmn__arithmetic *arithmetic);

/** values *= factor, which is 1 unless has_factor. */
void lmn__arithmetic_scale(const lmn__arithmetic *arithmetic, void *values, size_t count,
                           float factor);

/**
 * f32 to bf16, to nearest, ties to even. Finite numbers stay finite: what would round up to
 * infinity becomes the largest bf16. NaN stays NaN, made quiet.
 */
void lmn__bf16_encode(uint16_t *wire, const float *values, size_t count);

/**
 * bf16 to f32, exact. The wire's [count] may be the upper half of the memory of values, as it is
 * when a message was received in place.
 */
void lmn__bf16_decode(float *values, const void *wire, size_t count);

#endif

/*
 * Numbers in text files.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_NUMBERS_INTERNAL_H
#define LAMINA_IO_NUMBERS_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

typedef enum lmn__number_outcome {
    LMN__NUMBER_OK,
    LMN__NUMBER_NONE,     /* not a decimal number from the first character to the last */
    LMN__NUMBER_INFINITE, /* nan or inf in words */
    LMN__NUMBER_LARGE     /* beyond what the type holds */
} lmn__number_outcome;

/** "is not a number", for messages: '...' <this>. */
const char *lmn__number_fault(lmn__number_outcome outcome);

/**
 * The f32 nearest to a decimal number. What is too small to be told from 0 becomes 0 or denormal.
 * text  nothing but the number
 */
lmn__number_outcome lmn__number_f32(const char *text, float *value_out);

/** The double nearest to a decimal number. */
lmn__number_outcome lmn__number_f64(const char *text, double *value_out);

/** Digits alone. */
lmn__number_outcome lmn__number_u64(const char *text, uint64_t *value_out);

#endif

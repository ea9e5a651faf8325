/*
 * The distinct labels of a text file, in order: they become classes.
 *
 * Numbers come before words and are ordered by value, words by their bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_LABEL_SET_INTERNAL_H
#define LAMINA_IO_LABEL_SET_INTERNAL_H

#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct lmn__label_set lmn__label_set;

/** by_value: labels that are the same number are the same label, however they are written. */
lmn_status lmn__label_set_create(bool by_value, lmn__label_set **set_out,
                                 lmn_error *err) LMN_NODISCARD;

/** NULL is allowed. */
void lmn__label_set_destroy(lmn__label_set *set);

/** Add a label unless it is there. Errors: LMN_ERR_MEMORY. */
lmn_status lmn__label_set_add(lmn__label_set *set, const char *label, lmn_error *err) LMN_NODISCARD;

size_t lmn__label_set_count(const lmn__label_set *set);

/** All labels in order, as they were first written; borrowed until the next is added. */
const char *const *lmn__label_set_names(const lmn__label_set *set);

/** Place of a label among them; false when it is not there. */
bool lmn__label_set_find(const lmn__label_set *set, const char *label, size_t *index_out);

#endif

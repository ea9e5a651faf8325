/*
 * Reading LIBSVM files: one sample a line, `label index:value index:value ...`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_LIBSVM_INTERNAL_H
#define LAMINA_IO_LIBSVM_INTERNAL_H

#include "lines_internal.h"

/** A file and its present sample. Starts as {0}. */
typedef struct lmn__libsvm {
    lmn__lines lines;
    const char *label; /* a finite number, as it is written; borrowed from the line */
    size_t count;      /* of the sample's values */
    uint32_t *columns; /* [count] ascending, from 0; owned */
    float *values;     /* [count] finite; owned */
    size_t capacity;
} lmn__libsvm;

lmn_status lmn__libsvm_open(lmn__libsvm *file, const char *path, lmn_error *err) LMN_NODISCARD;
void lmn__libsvm_close(lmn__libsvm *file);

/**
 * Go to the next sample, over blank lines and comments; found_out becomes false at the end.
 * Errors: LMN_ERR_FORMAT, naming file and line: a missing label, an index that is 0, too large or
 * not ascending, a number that is none, not finite or too large. LMN_ERR_IO, LMN_ERR_MEMORY.
 */
lmn_status lmn__libsvm_next(lmn__libsvm *file, bool *found_out, lmn_error *err) LMN_NODISCARD;

/** Back to the front. Errors: LMN_ERR_IO (a pipe). */
lmn_status lmn__libsvm_rewind(lmn__libsvm *file, lmn_error *err) LMN_NODISCARD;

#endif

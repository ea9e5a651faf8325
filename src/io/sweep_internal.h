/*
 * The table of a sweep, while it is collected.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_SWEEP_INTERNAL_H
#define LAMINA_IO_SWEEP_INTERNAL_H

#include "h5_internal.h"

struct lmn__sweep_column;

/** One row for each run; starts as {.n_rows = n}. */
typedef struct lmn__sweep_table {
    size_t n_rows;
    struct lmn__sweep_column *columns; /* owned; in the order of their names */
} lmn__sweep_table;

/** Take the attributes of a run's configuration and summary into row `row`. */
lmn_status lmn__sweep_table_add(lmn__sweep_table *table, size_t row, const char *path,
                                lmn_error *err) LMN_NODISCARD;

/** Write every column as /table/NAME. */
lmn_status lmn__sweep_table_write(const lmn__sweep_table *table, hid_t file,
                                  lmn_error *err) LMN_NODISCARD;

void lmn__sweep_table_free(lmn__sweep_table *table);

#endif

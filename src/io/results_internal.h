/*
 * Results in memory, for the code that brings the file up to date.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_RESULTS_INTERNAL_H
#define LAMINA_IO_RESULTS_INTERNAL_H

#include "h5_internal.h"
#include "lamina/results.h"

#define LMN__RESULTS_NAME_BYTES 256

typedef enum lmn__entry_type {
    LMN__ENTRY_TEXT,
    LMN__ENTRY_U64,
    LMN__ENTRY_F64,
    LMN__ENTRY_TEXTS,
    LMN__ENTRY_U64S,
    LMN__ENTRY_F64S
} lmn__entry_type;

/** An attribute or a list that waits for the next flush. */
typedef struct lmn__entry {
    struct lmn__entry *next; /* owned */
    lmn__entry_type type;
    char place[LMN__RESULTS_NAME_BYTES]; /* group of an attribute; path of a list */
    char name[LMN__RESULTS_NAME_BYTES];  /* of an attribute; unit of a list of numbers */
    uint64_t u64;
    double f64;
    size_t count; /* of a list */
    void *values; /* [count] of u64 or f64; owned */
    char **texts; /* [count], or 1 for a text attribute; owned, one piece of memory */
} lmn__entry;

struct lmn_table {
    lmn_table *next;      /* owned */
    lmn_results *results; /* borrowed */
    char group[LMN__RESULTS_NAME_BYTES];
    char *layout;        /* owned; "step u64, loss f64, levels u64[8]" */
    lmn_column *columns; /* [n_columns] owned; their strings are borrowed */
    size_t n_columns;
    size_t n_cells;  /* sum of widths */
    size_t capacity; /* rows */
    size_t waiting;  /* rows */
    lmn_cell *cells; /* owned; column after column, [capacity, width] each */

    uint64_t file_rows; /* in the file under its name */
    uint64_t kept_rows; /* of these, what the next flush keeps */
    bool has_key;       /* there is a row, kept or waiting */
    uint64_t last_key;  /* of the last row */
};

struct lmn_results {
    char path[LMN_PATH_BYTES];
    bool has_file;       /* the file under this name is ours to go on with */
    bool is_changed;     /* something waits for a flush */
    lmn__entry *entries; /* in the order of their making */
    lmn_table *tables;   /* in the order of their making */
};

/** Where column `index` begins in a row, and in units of `capacity` in the cells. */
size_t lmn__table_offset(const lmn_table *table, size_t index);

/** Rows and last key of the table in the resumed file, if it has it. */
lmn_status lmn__results_resume_table(const lmn_results *results, lmn_table *table,
                                     lmn_error *err) LMN_NODISCARD;

/** NULL and half-built tables are allowed. */
void lmn__table_destroy(lmn_table *table);

/** Forget entries that have been written. */
void lmn__results_drop_entries(lmn_results *results);

/** How many of the first `rows` rows in the file have keys below `first_key`, and the last of these
 *  keys. */
lmn_status lmn__results_count_below(const lmn_table *table, uint64_t first_key, uint64_t *rows_out,
                                    uint64_t *last_key_out, lmn_error *err) LMN_NODISCARD;

#endif

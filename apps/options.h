/*
 * Options: one row of a table per option, from which parsing, defaults and --help come.
 *
 * A command describes its options in constant rows; each names the member of a plain struct that it
 * fills. Precedence: default < environment (LAMINA_*) < command line. Commands may join several
 * sets of rows, so that applications share what all of them need.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_OPTIONS_H
#define LAMINA_APPS_OPTIONS_H

#include "lamina/lamina.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum option_type {
    OPTION_TEXT, /* const char *, NULL while not given */
    OPTION_FLAG, /* bool */
    OPTION_U64,  /* uint64_t */
    OPTION_F64,  /* double */
    OPTION_BYTES /* uint64_t, written as "4MiB" */
} option_type;

typedef struct option_row {
    const char *heading; /* in --help, of this row and those that follow; NULL: none new */
    const char *name;    /* long name without the dashes */
    char short_name;     /* 0: none */
    option_type type;
    size_t offset;           /* of the member in the struct of its set */
    const char *argument;    /* what --help calls the value; NULL for a flag */
    const char *initial;     /* default, as it would be typed; NULL: none */
    const char *unit;        /* NULL: none */
    const char *environment; /* name of the variable; NULL: none */
    double min, max;         /* legal numbers */
    bool is_required;
    const char *help;
} option_row;

/** Rows and the struct they fill. */
typedef struct option_set {
    const option_row *rows;
    size_t n_rows;
    void *values; /* borrowed */
} option_set;

#define OPTION_ROWS_MAX 64
#define OPTION_SETS_MAX 4

/** All that --help says and all that parsing accepts. Texts are borrowed. */
typedef struct option_table {
    const char *command;   /* "lamina train vision" */
    const char *arguments; /* what follows the options: "FILE...", or "[FILE...]" where nothing
                              need follow; NULL: nothing may */
    const char *summary;   /* what the command does */
    const char *details;   /* after the options in --help; NULL: nothing */
    size_t n_sets;
    option_set sets[OPTION_SETS_MAX];
} option_table;

/** What is left when the options are taken away. */
typedef struct option_words {
    bool wants_help;
    size_t count;
    char **words; /* [count] in argv */
} option_words;

/**
 * Fill the structs of all sets, first with defaults, then from the environment, then from argv
 * (which is reordered). Prints nothing.
 * Errors: LMN_ERR_USAGE naming the option, or the variable, and what would be accepted.
 */
lmn_status options_parse(const option_table *table, int argc, char **argv, option_words *words_out,
                         lmn_error *err) LMN_NODISCARD;

/** Print --help. */
void options_print_help(const option_table *table);

/**
 * The command line that gives all options their present values, defaults included, so that a log
 * tells how to repeat a run.
 * text  [capacity], cut when it does not fit
 */
void options_format(const option_table *table, char *text, size_t capacity);

#endif

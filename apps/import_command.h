/*
 * Commands that import: what `lamina data import ...` of every format has in common.
 *
 * A format is a constant import_format in a file of its own: its option rows, and a function that
 * imports. Options that all formats have, and those of formats with one file for each split, are in
 * import_command.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_IMPORT_COMMAND_H
#define LAMINA_APPS_IMPORT_COMMAND_H

#include "command.h"
#include "lamina/lamina.h"
#include "options.h"

/** Filled by the options --train and --test, in formats that keep a split in one file. */
typedef struct import_files {
    const char *train;
    const char *test;
} import_files;

/** Filled by --train-images and its kin, in formats that keep images and labels apart. */
typedef struct import_pairs {
    const char *train_images;
    const char *train_labels;
    const char *test_images;
    const char *test_labels;
} import_pairs;

/** What the command line said, for a format's function. */
typedef struct import_request {
    const void *options; /* the format's own */
    import_files files;
    import_pairs pairs;
    option_words words;
    lmn_import_common common;
    const char *out;
} import_request;

typedef struct import_format {
    const char *command; /* "lamina data import idx" */
    const char *arguments;
    const char *summary;
    const char *details;
    bool has_files, has_pairs, has_classes; /* which of the shared rows it takes */
    const option_row *rows;                 /* its own; may be NULL */
    size_t n_rows;
    void *options; /* that its rows fill; borrowed */
    lmn_status (*import)(const import_request *request, lmn_error *err);
    void (*print_choices)(void); /* after the options in --help; NULL: nothing */
} import_format;

/** Parse the options, import, and say what was written. */
exit_code import_run(const import_format *format, int argc, char **argv);

/** A list that was cut at its commas; text and items are one piece of memory. */
typedef struct name_list {
    const char **items; /* [count], freed by lmn_free; NULL when nothing was given */
    size_t count;
} name_list;

/**
 * Cut a text at its commas; NULL gives no names. option: for messages.
 * more  words that are added at the end, borrowed; may be NULL
 * Errors: LMN_ERR_USAGE (an empty name), LMN_ERR_MEMORY.
 */
lmn_status name_list_split(const char *text, const char *option, const option_words *more,
                           name_list *list_out, lmn_error *err) LMN_NODISCARD;

#endif

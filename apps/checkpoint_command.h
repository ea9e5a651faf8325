/*
 * Commands about checkpoints: what verify, diff, prune, export and import have in common.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_CHECKPOINT_COMMAND_H
#define LAMINA_APPS_CHECKPOINT_COMMAND_H

#include "command.h"
#include "lamina/lamina.h"
#include "options.h"

/** The work; `words` is what followed the options. */
typedef lmn_status (*checkpoint_fn)(void *user, const option_words *words, lmn_error *err);

/**
 * Parse the options, print --help or do the work, and print the error if there is one.
 * n_words  how many words must follow the options; 0: one or more
 */
exit_code checkpoint_command_run(const option_table *table, size_t n_words, int argc, char **argv,
                                 checkpoint_fn work, void *user);

/** Open a checkpoint for reading. Errors: those of lmn_file_open; LMN_ERR_FORMAT (another kind). */
lmn_status checkpoint_open(const char *path, lmn_file **file_out, lmn_error *err) LMN_NODISCARD;

/** An array in a file. */
typedef struct array_fact {
    char path[512];
    char type[8];
    size_t n_dims;
    uint64_t dims[8];
    uint64_t bytes, offset;
} array_fact;

typedef struct array_list {
    size_t count, capacity;
    array_fact *items; /* [capacity] owned, freed by lmn_free */
} array_list;

/** The arrays of a file below `folder` ("/": all), in order of their paths. */
lmn_status array_list_read(const lmn_file *file, const char *folder, array_list *list_out,
                           lmn_error *err) LMN_NODISCARD;

#endif

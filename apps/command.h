/*
 * Commands: what `lamina` can be asked to do.
 *
 * Every command is one constant in a file of its own; the table in lamina.c lists them. A command
 * parses its own options, does its work, reports at most one error and returns an exit code.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_COMMAND_H
#define LAMINA_APPS_COMMAND_H

/** Exit codes; scripts rely on them. */
typedef enum exit_code {
    EXIT_CODE_DONE = 0,
    EXIT_CODE_FAILED = 1,
    EXIT_CODE_USAGE = 2,   /* an option, a spec or a command that makes no sense */
    EXIT_CODE_STOPPED = 3, /* by a signal, after a checkpoint was written */
    EXIT_CODE_LOST = 4     /* the ranks do not come together any more: one was lost, or is late */
} exit_code;

typedef struct command {
    const char *path;    /* the words that choose it: "train vision" */
    const char *summary; /* one line for `lamina --help` */
    /* argv[0] is "lamina train vision", the rest what followed it. */
    exit_code (*run)(int argc, char **argv);
} command;

extern const command command_data_import_idx;
extern const command command_data_import_cifar;
extern const command command_data_import_libsvm;
extern const command command_data_import_numpy;
extern const command command_data_import_csv;
extern const command command_data_import_text;
extern const command command_train_vision;
extern const command command_train_text;
extern const command command_train_convex;
extern const command command_eval;
extern const command command_generate;
extern const command command_inspect;
extern const command command_allocate;
extern const command command_plan;
extern const command command_checkpoint_verify;
extern const command command_checkpoint_diff;
extern const command command_checkpoint_prune;
extern const command command_checkpoint_export;
extern const command command_checkpoint_import;
extern const command command_results_merge;

#endif

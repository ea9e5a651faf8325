/*
 * Training applications: what `lamina train ...` commands share.
 *
 * An application says what is trained (a task on a dataset) and which options of its own it has;
 * everything else, from options over signals to the summary, is the same for all of them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_APP_TRAIN_H
#define LAMINA_APPS_APP_TRAIN_H

#include "command.h"
#include "lamina/lamina.h"
#include "options.h"
#include "train_settings.h"

typedef struct train_application {
    const char *command; /* "lamina train vision" */
    const char *summary;
    option_set own; /* rows that only this application has, and the struct they fill */

    const train_default *defaults; /* [n_defaults] in place of the common ones */
    size_t n_defaults;

    /* Make the dataset ready and the task for it, which may live in `values`, the struct of `own`.
     * Local; the same on all ranks. Errors: a dataset of another kind. */
    lmn_status (*make_task)(void *values, lmn_dataset *dataset, lmn_task *task_out, lmn_error *err);

    /* Set the trainer's options that only this application has. NULL: none. */
    void (*set_options)(const void *values, lmn_trainer_options *options);

    /* Keep with the run what a later command must know, with lmn_trainer_describe. Local. */
    lmn_status (*describe)(const void *values, const lmn_dataset *dataset, lmn_trainer *trainer,
                           lmn_error *err);

    /* Print what own options may be chosen from, for --help. */
    void (*print_choices)(void);
} train_application;

/** Parse, train, report. */
exit_code train_application_run(const train_application *application, int argc, char **argv);

/** Refuse text, or what is none, naming the command that it is for. */
lmn_status train_check_kind(const lmn_dataset *dataset, bool wants_text,
                            lmn_error *err) LMN_NODISCARD;

/** One entry of a registry, NULL past the last. */
typedef const lmn_spec_entry *(*spec_entry_fn)(size_t index);

/** Print the methods of a registry with their keys, for --help. */
void train_print_methods(const char *option, spec_entry_fn entry_at);

#endif

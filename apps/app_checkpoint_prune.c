/*
 * `lamina checkpoint prune`: remove old and damaged checkpoints of a directory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_command.h"

#include <stdio.h>

typedef struct prune_options {
    uint64_t keep;
    bool dry;
} prune_options;

static const option_row rows[] = {
    {.name = "keep",
     .type = OPTION_U64,
     .offset = offsetof(prune_options, keep),
     .argument = "N",
     .min = 1,
     .max = 1e9,
     .is_required = true,
     .help = "how many of the newest complete checkpoints stay"},
    {.name = "dry-run",
     .type = OPTION_FLAG,
     .offset = offsetof(prune_options, dry),
     .help = "say what would be removed, and remove nothing"},
};

static void tell(void *user, const char *path, lmn_prune_action action)
{
    const prune_options *options = user;
    static const char *const reasons[] = {
        [LMN_PRUNE_OLD] = "old", [LMN_PRUNE_DAMAGED] = "cut short or damaged"};
    if (action == LMN_PRUNE_KEEP) {
        (void)printf("%s: stays\n", path);
    } else {
        (void)printf("%s: %s (%s)\n", path, options->dry ? "would be removed" : "removed",
                     reasons[action]);
    }
}

static lmn_status prune(void *user, const option_words *words, lmn_error *err)
{
    prune_options *options = user;
    return lmn_checkpoint_prune(words->words[0], (size_t)options->keep, options->dry, tell, options,
                                err);
}

static exit_code run(int argc, char **argv)
{
    prune_options options = {0};
    const option_table table = {
        .command = "lamina checkpoint prune",
        .arguments = "DIR",
        .summary = "Remove all but the newest complete checkpoints of a directory, and damaged "
                   "ones. The newest complete one always stays, and so does all when none is "
                   "complete.",
        .n_sets = 1,
        .sets = {{.rows = rows, .n_rows = sizeof rows / sizeof rows[0], .values = &options}}};
    return checkpoint_command_run(&table, 1, argc, argv, prune, &options);
}

const command command_checkpoint_prune = {
    .path = "checkpoint prune", .summary = "remove old checkpoints of a directory", .run = run};

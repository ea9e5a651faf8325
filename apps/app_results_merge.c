/*
 * `lamina results merge`: the results of several runs in one file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "command.h"
#include "console.h"
#include "lamina/lamina.h"
#include "options.h"
#include "session.h"

typedef struct merge_options {
    const char *out;
} merge_options;

static const option_row rows[] = {
    {.name = "out",
     .short_name = 'o',
     .type = OPTION_TEXT,
     .offset = offsetof(merge_options, out),
     .argument = "FILE",
     .is_required = true,
     .help = "file to write; one that is there is replaced"},
};

static exit_code run(int argc, char **argv)
{
    merge_options options = {0};
    const option_table table = {
        .command = "lamina results merge",
        .arguments = "RUN.h5...",
        .summary = "Copy the results of several runs into one file, with a table of all that their "
                   "configurations and summaries tell. `lamina inspect FILE` prints them side by "
                   "side.",
        .n_sets = 1,
        .sets = {{.rows = rows, .n_rows = sizeof rows / sizeof rows[0], .values = &options}}};
    console c = console_make(false);
    option_words words;
    lmn_error err = lmn_error_none();
    lmn_status status = options_parse(&table, argc, argv, &words, &err);
    if (status == LMN_OK && words.wants_help) {
        options_print_help(&table);
        return EXIT_CODE_DONE;
    }
    if (status == LMN_OK) {
        status = lmn_sweep_write(options.out, (const char *const *)words.words, words.count, &err);
    }
    if (status == LMN_OK) {
        console_say(&c, "%s: %zu run%s", options.out, words.count, words.count == 1 ? "" : "s");
    } else {
        console_error(&c, &err);
    }
    return session_exit_code(status);
}

const command command_results_merge = {
    .path = "results merge",
    .summary = "copy the results of several runs into one file",
    .run = run,
};

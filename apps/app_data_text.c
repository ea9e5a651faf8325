/*
 * `lamina data import text`: text into a dataset of tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app_train.h"
#include "command.h"
#include "console.h"
#include "lamina/lamina.h"
#include "options.h"
#include "session.h"

#include <stddef.h>

typedef struct import_options {
    const char *vocabulary;
    double test_part;
    const char *title;
    const char *out;
} import_options;

#define MEMBER(name) offsetof(import_options, name)

static const option_row rows[] = {
    {.name = "vocabulary",
     .type = OPTION_TEXT,
     .offset = MEMBER(vocabulary),
     .argument = "SPEC",
     .initial = "bytes",
     .help = "what the tokens are"},
    {.name = "test-part",
     .type = OPTION_F64,
     .offset = MEMBER(test_part),
     .argument = "X",
     .initial = "0.1",
     .min = 0.0,
     .max = 0.999999,
     .help = "how much of the text's end is kept to test with, from the start of a line on; 0: "
             "nothing"},
    {.name = "title",
     .type = OPTION_TEXT,
     .offset = MEMBER(title),
     .argument = "TEXT",
     .help = "what the data is, for people"},
    {.name = "out",
     .short_name = 'o',
     .type = OPTION_TEXT,
     .offset = MEMBER(out),
     .argument = "FILE",
     .initial = "dataset.h5",
     .help = "dataset to write; a file of that name is replaced"},
};

static exit_code run(int argc, char **argv)
{
    import_options options = {0};
    const option_table table = {
        .command = "lamina data import text",
        .arguments = "FILE...",
        .summary = "Write a dataset from text, plain or gzip: the files one after the other, as if "
                   "they were one.",
        .details = "A SPEC is a name, or a name with parameters: name:key=value. The vocabulary is "
                   "learnt from the training part alone and kept in the dataset.",
        .n_sets = 1,
        .sets = {{.rows = rows, .n_rows = sizeof rows / sizeof rows[0], .values = &options}}};
    console c = console_make(false);
    option_words words;
    lmn_error err = lmn_error_none();
    lmn_status status = options_parse(&table, argc, argv, &words, &err);
    if (status == LMN_OK && words.wants_help) {
        options_print_help(&table);
        train_print_methods("vocabulary", lmn_vocabulary_entry);
        return EXIT_CODE_DONE;
    }
    if (status == LMN_OK) {
        const lmn_import_text_options text = {.files = (const char *const *)words.words,
                                              .n_files = words.count,
                                              .vocabulary = options.vocabulary,
                                              .test_part = options.test_part,
                                              .title = options.title};
        status = lmn_import_text(&text, options.out, &err);
    }
    if (status != LMN_OK) {
        console_error(&c, &err);
        return session_exit_code(status);
    }
    console_answer(&c, "wrote %s", options.out);
    return EXIT_CODE_DONE;
}

const command command_data_import_text = {
    .path = "data import text", .summary = "write a dataset from text", .run = run};

/*
 * `lamina data import text`: text into a dataset of tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app_train.h"
#include "import_command.h"

typedef struct text_options {
    const char *vocabulary;
    double test_part;
} text_options;

#define MEMBER(name) offsetof(text_options, name)

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
};

static lmn_status import(const import_request *request, lmn_error *err)
{
    const text_options *options = request->options;
    const lmn_import_text_options text = {.files = (const char *const *)request->words.words,
                                          .n_files = request->words.count,
                                          .vocabulary = options->vocabulary,
                                          .test_part = options->test_part,
                                          .title = request->common.title};
    return lmn_import_text(&text, request->out, err);
}

static void print_choices(void)
{
    train_print_methods("vocabulary", lmn_vocabulary_entry);
}

static exit_code run(int argc, char **argv)
{
    text_options options = {0};
    const import_format format = {
        .command = "lamina data import text",
        .arguments = "FILE...",
        .summary = "Write a dataset from text, plain or gzip: the files one after the other, as if "
                   "they were one.",
        .details = "A SPEC is a name, or a name with parameters: name:key=value. The vocabulary is "
                   "learnt from the training part alone and kept in the dataset.",
        .rows = rows,
        .n_rows = sizeof rows / sizeof rows[0],
        .options = &options,
        .import = import,
        .print_choices = print_choices};
    return import_run(&format, argc, argv);
}

const command command_data_import_text = {
    .path = "data import text", .summary = "write a dataset from text", .run = run};

/*
 * `lamina data import csv`: tables of text into a dataset.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "import_command.h"

#include <string.h>

typedef struct csv_options {
    const char *label;
    const char *target;
    const char *drop;
    const char *missing;
    const char *separator;
    bool header;
    bool no_header;
    double test_part;
    uint64_t seed;
} csv_options;

#define MEMBER(name) offsetof(csv_options, name)

static const option_row rows[] = {
    {.name = "label",
     .type = OPTION_TEXT,
     .offset = MEMBER(label),
     .argument = "COLUMN",
     .help = "column that holds the class, by name or by number from 1 on"},
    {.name = "target",
     .type = OPTION_TEXT,
     .offset = MEMBER(target),
     .argument = "COLUMN",
     .help = "in place of --label: column that holds the number to predict"},
    {.name = "drop",
     .type = OPTION_TEXT,
     .offset = MEMBER(drop),
     .argument = "COLUMN,...",
     .help = "columns to leave out; all others must hold numbers"},
    {.name = "missing",
     .type = OPTION_TEXT,
     .offset = MEMBER(missing),
     .argument = "VALUE",
     .help = "number that stands for empty cells (also NA, NaN, null, ?), or mean: that of the "
             "column in the training split; without: an empty cell is an error"},
    {.name = "separator",
     .type = OPTION_TEXT,
     .offset = MEMBER(separator),
     .argument = "CHARACTER",
     .initial = ",",
     .help = "what parts the columns; tab for a tabulator"},
    {.name = "header",
     .type = OPTION_FLAG,
     .offset = MEMBER(header),
     .help =
         "the first row names the columns; without: it does when it has a text where the second "
         "row has a number, or no number at all"},
    {.name = "no-header",
     .type = OPTION_FLAG,
     .offset = MEMBER(no_header),
     .help = "the first row is a sample"},
    {.name = "test-part",
     .type = OPTION_F64,
     .offset = MEMBER(test_part),
     .argument = "FRACTION",
     .initial = "0",
     .min = 0,
     .max = 0.99,
     .help = "without --test: about so much of the rows is drawn for the test split"},
    {.name = "seed",
     .type = OPTION_U64,
     .offset = MEMBER(seed),
     .argument = "N",
     .initial = "1",
     .min = 0,
     .max = 1.8446744073709552e19,
     .help = "chooses which rows these are"},
};

static lmn_status parse_separator(const char *text, char *separator_out, lmn_error *err)
{
    char separator = text[0];
    if (strcmp(text, "tab") == 0) {
        separator = '\t';
    }
    if ((separator != '\t' && strlen(text) != 1) || separator == '"' || separator == '\n') {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "option --separator: '%s' is not one character, or tab", text);
    }
    *separator_out = separator;
    return LMN_OK;
}

static lmn_status check(const import_request *request, char *separator_out, lmn_error *err)
{
    const csv_options *options = request->options;
    if ((options->label == NULL) == (options->target == NULL)) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "give --label COLUMN for classes, or --target COLUMN for a number to "
                             "predict; see `lamina data import csv --help`");
    }
    if (options->header && options->no_header) {
        return lmn_error_set(err, LMN_ERR_USAGE, "--header and --no-header contradict each other");
    }
    if (request->files.test != NULL && options->test_part > 0) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "--test names a test split, and --test-part draws one: give one of "
                             "them");
    }
    return parse_separator(options->separator, separator_out, err);
}

static lmn_status import(const import_request *request, lmn_error *err)
{
    const csv_options *options = request->options;
    char separator = ',';
    name_list drop = {0};
    lmn_status status = check(request, &separator, err);
    if (status == LMN_OK) {
        status = name_list_split(options->drop, "drop", NULL, &drop, err);
    }
    if (status == LMN_OK) {
        const lmn_import_csv_options csv = {.train = request->files.train,
                                            .test = request->files.test,
                                            .separator = separator,
                                            .header = options->header      ? LMN_CSV_HEADER_YES
                                                      : options->no_header ? LMN_CSV_HEADER_NO
                                                                           : LMN_CSV_HEADER_AUTO,
                                            .label = options->label,
                                            .target = options->target,
                                            .drop = drop.items,
                                            .n_drop = drop.count,
                                            .missing = options->missing,
                                            .test_part = options->test_part,
                                            .seed = options->seed,
                                            .common = request->common};
        status = lmn_import_csv(&csv, request->out, err);
    }
    lmn_free(drop.items);
    return status;
}

static exit_code run(int argc, char **argv)
{
    csv_options options = {0};
    const import_format format = {
        .command = "lamina data import csv",
        .summary = "Write a dataset of vectors from tables of text (CSV).",
        .details =
            "One column is the answer, all others are features and hold numbers. Cells may be "
            "quoted as RFC 4180 has it. Labels become classes: numbers in order of value "
            "before words in order of bytes. The files are read twice, so they cannot be "
            "pipes. Whether a row is drawn for the test split depends on the seed and the "
            "row's number alone.",
        .has_files = true,
        .has_classes = true,
        .rows = rows,
        .n_rows = sizeof rows / sizeof rows[0],
        .options = &options,
        .import = import};
    return import_run(&format, argc, argv);
}

const command command_data_import_csv = {
    .path = "data import csv", .summary = "write a dataset from tables of text", .run = run};

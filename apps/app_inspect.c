/*
 * `lamina inspect`: what is in a file, in words or as JSON; several runs as a table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "command.h"
#include "console.h"
#include "inspect.h"
#include "lamina/lamina.h"
#include "options.h"
#include "session.h"

#include <stdio.h>

typedef struct inspect_options {
    bool wants_json;
    bool wants_verification;
} inspect_options;

static const option_row rows[] = {
    {.name = "json",
     .short_name = 'j',
     .type = OPTION_FLAG,
     .offset = offsetof(inspect_options, wants_json),
     .help = "print a JSON object, or an array of them for several files"},
    {.name = "verify",
     .type = OPTION_FLAG,
     .offset = offsetof(inspect_options, wants_verification),
     .help = "read all data and compare checksums where the file has them; for checkpoints this is "
             "always done"},
};

static lmn_status open_file(const inspect_options *options, const char *path, inspected *one,
                            lmn_error *err)
{
    one->path = path;
    lmn_status status = lmn_file_open(path, &one->file, err);
    if (status != LMN_OK) {
        return status;
    }
    if (options->wants_verification || lmn_file_get_kind(one->file) == LMN_FILE_CHECKPOINT) {
        status = lmn_file_verify(one->file, err);
        /* Results carry no checksums: all that was found is that they can be read. */
        one->is_verified = status == LMN_OK && lmn_file_get_kind(one->file) < LMN_FILE_RESULTS;
    }
    return status;
}

static bool are_all_results(const inspected *files, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (lmn_file_get_kind(files[i].file) != LMN_FILE_RESULTS) {
            return false;
        }
    }
    return true;
}

static lmn_status print_words(const inspected *files, size_t count, lmn_error *err)
{
    if (count > 1 && are_all_results(files, count)) {
        return inspect_print_comparison(files, count, err);
    }
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < count && status == LMN_OK; i++) {
        if (i > 0) {
            (void)putchar('\n');
        }
        status = inspect_print(&files[i], err);
    }
    return status;
}

static lmn_status dump_json(const json_t *json, lmn_error *err)
{
    if (json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) != 0) {
        return lmn_error_set(err, LMN_ERR_IO, "cannot write JSON to standard output");
    }
    (void)putchar('\n');
    return LMN_OK;
}

static lmn_status print_json(const inspected *files, size_t count, lmn_error *err)
{
    json_t *all = json_array();
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < count && status == LMN_OK; i++) {
        json_t *one = NULL;
        status = inspect_to_json(&files[i], &one, err);
        if (status == LMN_OK && json_array_append_new(all, one) != 0) {
            status = lmn_error_set(err, LMN_ERR_MEMORY, "out of memory while writing JSON");
        }
    }
    if (status == LMN_OK) {
        status = dump_json(count == 1 ? json_array_get(all, 0) : all, err);
    }
    json_decref(all);
    return status;
}

static lmn_status inspect_files(const inspect_options *options, const option_words *words,
                                lmn_error *err)
{
    inspected *files = lmn_alloc(words->count, sizeof *files, err);
    if (files == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < words->count && status == LMN_OK; i++) {
        status = open_file(options, words->words[i], &files[i], err);
    }
    if (status == LMN_OK) {
        status = options->wants_json ? print_json(files, words->count, err)
                                     : print_words(files, words->count, err);
    }
    for (size_t i = 0; i < words->count; i++) {
        lmn_file_close(files[i].file);
    }
    lmn_free(files);
    return status;
}

static exit_code run(int argc, char **argv)
{
    inspect_options options = {0};
    const option_table table = {
        .command = "lamina inspect",
        .arguments = "FILE...",
        .summary =
            "Explain a dataset, a checkpoint, the results of a run or a sweep. Several results are "
            "printed side by side.",
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
        status = inspect_files(&options, &words, &err);
    }
    if (status != LMN_OK) {
        console_error(&c, &err);
    }
    return session_exit_code(status);
}

const command command_inspect = {
    .path = "inspect", .summary = "explain a dataset, checkpoint or results file", .run = run};

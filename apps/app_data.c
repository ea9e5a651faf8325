/*
 * `lamina data import idx`: IDX files, as MNIST and its kin come, into a dataset.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "command.h"
#include "console.h"
#include "lamina/lamina.h"
#include "options.h"
#include "session.h"

#include <string.h>

typedef struct import_options {
    const char *train_images;
    const char *train_labels;
    const char *test_images;
    const char *test_labels;
    const char *classes;
    const char *title;
    const char *out;
} import_options;

#define MEMBER(name) offsetof(import_options, name)

static const option_row rows[] = {
    {.name = "train-images",
     .type = OPTION_TEXT,
     .offset = MEMBER(train_images),
     .argument = "FILE",
     .is_required = true,
     .help = "images to train with, plain or gzip"},
    {.name = "train-labels",
     .type = OPTION_TEXT,
     .offset = MEMBER(train_labels),
     .argument = "FILE",
     .is_required = true,
     .help = "their labels"},
    {.name = "test-images",
     .type = OPTION_TEXT,
     .offset = MEMBER(test_images),
     .argument = "FILE",
     .help = "images to test with"},
    {.name = "test-labels",
     .type = OPTION_TEXT,
     .offset = MEMBER(test_labels),
     .argument = "FILE",
     .help = "their labels"},
    {.name = "classes",
     .type = OPTION_TEXT,
     .offset = MEMBER(classes),
     .argument = "A,B,...",
     .help = "names of the classes, label 0 first, parted by commas; without: 0,1,..."},
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

static size_t count_classes(const char *classes)
{
    size_t n = 1;
    for (const char *c = strchr(classes, ','); c != NULL; c = strchr(c + 1, ',')) {
        n++;
    }
    return n;
}

/* Cut `text` (changed) at its commas. names_out [count_classes(text)] point into it. */
static lmn_status split_classes(char *text, const char **names_out, lmn_error *err)
{
    size_t n = 0;
    for (char *name = text; name != NULL; n++) {
        char *comma = strchr(name, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        if (*name == '\0') {
            return lmn_error_set(err, LMN_ERR_USAGE, "option --classes: name %zu is empty", n);
        }
        names_out[n] = name;
        name = comma == NULL ? NULL : comma + 1;
    }
    return LMN_OK;
}

static lmn_status import_with_classes(const import_options *options, lmn_import_idx_options *idx,
                                      lmn_error *err)
{
    const size_t n_classes = count_classes(options->classes);
    const size_t length = strlen(options->classes) + 1;
    char *text = lmn_alloc(length, 1, err);
    const char **names = lmn_alloc(n_classes, sizeof *names, err);
    lmn_status status = text == NULL || names == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        memcpy(text, options->classes, length);
        status = split_classes(text, names, err);
    }
    if (status == LMN_OK) {
        idx->class_names = names;
        idx->n_classes = n_classes;
        status = lmn_import_idx(idx, options->out, err);
    }
    lmn_free(names);
    lmn_free(text);
    return status;
}

static lmn_status import_files(const import_options *options, lmn_error *err)
{
    if ((options->test_images == NULL) != (options->test_labels == NULL)) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "--test-images and --test-labels go together: give both or neither");
    }
    lmn_import_idx_options idx = {.train_images = options->train_images,
                                  .train_labels = options->train_labels,
                                  .test_images = options->test_images,
                                  .test_labels = options->test_labels,
                                  .title = options->title};
    if (options->classes == NULL) {
        return lmn_import_idx(&idx, options->out, err);
    }
    return import_with_classes(options, &idx, err);
}

static exit_code run(int argc, char **argv)
{
    import_options options = {0};
    const option_table table = {
        .command = "lamina data import idx",
        .summary = "Write a dataset from IDX files, the format of MNIST and its kin.",
        .details = "The dataset appears under its name only when it is complete. "
                   "`lamina inspect` shows what is in it.",
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
        status = import_files(&options, &err);
    }
    if (status != LMN_OK) {
        console_error(&c, &err);
        return session_exit_code(status);
    }
    console_answer(&c, "wrote %s", options.out);
    return EXIT_CODE_DONE;
}

const command command_data_import_idx = {
    .path = "data import idx", .summary = "write a dataset from IDX files", .run = run};

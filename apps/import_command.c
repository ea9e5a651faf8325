/*
 * Commands that import: what `lamina data import ...` of every format has in common.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "import_command.h"

#include "console.h"
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct common_options {
    const char *classes;
    const char *class_names;
    const char *title;
    const char *out;
    bool standardise;
} common_options;

#define COMMON(name) offsetof(common_options, name)

static const option_row class_rows[] = {
    {.name = "classes",
     .type = OPTION_TEXT,
     .offset = COMMON(classes),
     .argument = "A,B,...",
     .help = "names of the classes in their order, parted by commas; without: from the data, or "
             "0,1,..."},
    {.name = "class-names",
     .type = OPTION_TEXT,
     .offset = COMMON(class_names),
     .argument = "FILE",
     .help = "the same from a file, one name a line"},
    {.name = "standardise",
     .type = OPTION_FLAG,
     .offset = COMMON(standardise),
     .help = "work out mean and deviation of the training split, one of each for every channel of "
             "images or column of vectors, and let training subtract and divide by them"},
};

static const option_row output_rows[] = {
    {.name = "title",
     .type = OPTION_TEXT,
     .offset = COMMON(title),
     .argument = "TEXT",
     .help = "what the data is, for people"},
    {.name = "out",
     .short_name = 'o',
     .type = OPTION_TEXT,
     .offset = COMMON(out),
     .argument = "FILE",
     .initial = "dataset.h5",
     .help = "dataset to write; a file of that name is replaced"},
};

static const option_row files_rows[] = {
    {.name = "train",
     .type = OPTION_TEXT,
     .offset = offsetof(import_files, train),
     .argument = "FILE",
     .is_required = true,
     .help = "samples to train with, plain or gzip"},
    {.name = "test",
     .type = OPTION_TEXT,
     .offset = offsetof(import_files, test),
     .argument = "FILE",
     .help = "samples to test with"},
};

static const option_row pairs_rows[] = {
    {.name = "train-images",
     .type = OPTION_TEXT,
     .offset = offsetof(import_pairs, train_images),
     .argument = "FILE",
     .help = "images to train with, plain or gzip"},
    {.name = "train-labels",
     .type = OPTION_TEXT,
     .offset = offsetof(import_pairs, train_labels),
     .argument = "FILE",
     .help = "their labels"},
    {.name = "test-images",
     .type = OPTION_TEXT,
     .offset = offsetof(import_pairs, test_images),
     .argument = "FILE",
     .help = "images to test with"},
    {.name = "test-labels",
     .type = OPTION_TEXT,
     .offset = offsetof(import_pairs, test_labels),
     .argument = "FILE",
     .help = "their labels"},
};

#define ROWS(rows) (rows), sizeof(rows) / sizeof(rows)[0]

/* ---- lists of names ---- */

/* Room for a text of `length` characters, to be cut into at most `count` pieces. */
static char *list_alloc(size_t count, size_t length, name_list *list, lmn_error *err)
{
    list->items = lmn_alloc(count * sizeof *list->items + length + 1, 1, err);
    list->count = 0;
    return list->items == NULL ? NULL : (char *)(list->items + count);
}

static size_t count_character(const char *text, char wanted)
{
    size_t n = 0;
    for (; *text != '\0'; text++) {
        n += *text == wanted ? 1 : 0;
    }
    return n;
}

/* Cut `text` (changed) at each `separator`. */
static void cut(char *text, char separator, name_list *list)
{
    for (char *name = text; name != NULL;) {
        char *end = strchr(name, separator);
        if (end != NULL) {
            *end = '\0';
        }
        list->items[list->count++] = name;
        name = end == NULL ? NULL : end + 1;
    }
}

static lmn_status check_names(const name_list *list, const char *option, lmn_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i][0] == '\0') {
            return lmn_error_set(err, LMN_ERR_USAGE, "option --%s: name %zu is empty", option, i);
        }
    }
    return LMN_OK;
}

/* `text`, which may be NULL, and then `n_more` items. */
static lmn_status list_fill(const char *text, const char *option, const option_words *more,
                            name_list *list, lmn_error *err)
{
    const size_t length = text == NULL ? 0 : strlen(text);
    const size_t n_cut = text == NULL ? 0 : count_character(text, ',') + 1;
    const size_t n_more = more == NULL ? 0 : more->count;
    char *copy = list_alloc(n_cut + n_more, length, list, err);
    if (copy == NULL) {
        return LMN_ERR_MEMORY;
    }
    if (text != NULL) {
        memcpy(copy, text, length + 1);
        cut(copy, ',', list);
    }
    for (size_t i = 0; i < n_more; i++) {
        list->items[list->count++] = more->words[i];
    }
    return check_names(list, option, err);
}

lmn_status name_list_split(const char *text, const char *option, const option_words *more,
                           name_list *list_out, lmn_error *err)
{
    *list_out = (name_list){0};
    if (text == NULL && (more == NULL || more->count == 0)) {
        return LMN_OK;
    }
    const lmn_status status = list_fill(text, option, more, list_out, err);
    if (status != LMN_OK) {
        lmn_free(list_out->items);
        *list_out = (name_list){0};
    }
    return status;
}

/* ---- class names ---- */

/* Lists of names are short; a longer file is another file. */
#define NAMES_BYTES_MAX ((size_t)1 << 26)

static lmn_status read_failed(const char *path, const char *why, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_IO, "cannot read the class names in '%s': %s", path, why);
}

/* The whole of a text file without the line ends behind its last line; freed with free. */
static lmn_status read_text(FILE *file, const char *path, char **text_out, lmn_error *err)
{
    char *text = NULL;
    size_t capacity = 0;
    const ssize_t length = getdelim(&text, &capacity, '\0', file);
    size_t used = length < 0 ? 0 : (size_t)length;
    if (ferror(file) != 0 || used == 0 || used > NAMES_BYTES_MAX || strlen(text) != used) {
        free(text);
        (void)read_failed(path, "it is not a text with one name a line", err);
        return LMN_ERR_IO;
    }
    while (used > 0 && (text[used - 1] == '\n' || text[used - 1] == '\r')) {
        text[--used] = '\0';
    }
    *text_out = text;
    return LMN_OK;
}

static lmn_status names_from_text(const char *text, const char *path, name_list *list_out,
                                  lmn_error *err)
{
    const size_t length = strlen(text);
    char *copy = list_alloc(count_character(text, '\n') + 1, length, list_out, err);
    if (copy == NULL) {
        return LMN_ERR_MEMORY;
    }
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '\r') {
            copy[n++] = text[i];
        }
    }
    copy[n] = '\0';
    cut(copy, '\n', list_out);
    for (size_t i = 0; i < list_out->count; i++) {
        if (list_out->items[i][0] == '\0') {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "line %zu of '%s' is empty, and class names "
                                 "are wanted one a line",
                                 i + 1, path);
        }
    }
    return LMN_OK;
}

static lmn_status read_names(const char *path, name_list *list_out, lmn_error *err)
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        char reason[128];
        return read_failed(path, strerror_r(errno, reason, sizeof reason) == 0 ? reason : "?", err);
    }
    char *text = NULL;
    lmn_status status = read_text(file, path, &text, err);
    (void)fclose(file);
    if (status == LMN_OK) {
        status = names_from_text(text, path, list_out, err);
    }
    free(text);
    return status;
}

static lmn_status find_class_names(const common_options *options, name_list *list_out,
                                   lmn_error *err)
{
    if (options->classes != NULL && options->class_names != NULL) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "--classes and --class-names say the same: give one of them");
    }
    return options->class_names != NULL
               ? read_names(options->class_names, list_out, err)
               : name_list_split(options->classes, "classes", NULL, list_out, err);
}

/* ---- the command ---- */

static option_table make_table(const import_format *format, common_options *common,
                               import_request *request)
{
    option_table table = {.command = format->command,
                          .arguments = format->arguments,
                          .summary = format->summary,
                          .details = format->details};
    if (format->has_files) {
        table.sets[table.n_sets++] = (option_set){ROWS(files_rows), &request->files};
    }
    if (format->has_pairs) {
        table.sets[table.n_sets++] = (option_set){ROWS(pairs_rows), &request->pairs};
    }
    if (format->n_rows > 0) {
        table.sets[table.n_sets++] = (option_set){format->rows, format->n_rows, format->options};
    }
    if (format->has_classes) {
        table.sets[table.n_sets++] = (option_set){ROWS(class_rows), common};
    }
    table.sets[table.n_sets++] = (option_set){ROWS(output_rows), common};
    return table;
}

static lmn_status import(const import_format *format, const common_options *common,
                         import_request *request, lmn_error *err)
{
    name_list names = {0};
    lmn_status status = find_class_names(common, &names, err);
    if (status == LMN_OK) {
        request->options = format->options;
        request->out = common->out;
        request->common = (lmn_import_common){.title = common->title,
                                              .class_names = names.items,
                                              .n_classes = names.count,
                                              .standardise = common->standardise};
        status = format->import(request, err);
    }
    lmn_free(names.items);
    return status;
}

exit_code import_run(const import_format *format, int argc, char **argv)
{
    common_options common = {0};
    import_request request = {0};
    const option_table table = make_table(format, &common, &request);
    console c = console_make(false);
    lmn_error err = lmn_error_none();
    lmn_status status = options_parse(&table, argc, argv, &request.words, &err);
    if (status == LMN_OK && request.words.wants_help) {
        options_print_help(&table);
        if (format->print_choices != NULL) {
            format->print_choices();
        }
        return EXIT_CODE_DONE;
    }
    if (status == LMN_OK) {
        status = import(format, &common, &request, &err);
    }
    if (status != LMN_OK) {
        console_error(&c, &err);
        return session_exit_code(status);
    }
    console_answer(&c, "wrote %s", request.out);
    return EXIT_CODE_DONE;
}

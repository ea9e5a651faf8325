/*
 * `lamina data import cifar`: the binary files of CIFAR-10 and CIFAR-100 into a dataset.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "import_command.h"

#include <string.h>

typedef struct cifar_options {
    const char *train;
    const char *test;
    const char *format;
    const char *labels;
} cifar_options;

#define MEMBER(name) offsetof(cifar_options, name)

static const option_row rows[] = {
    {.name = "train",
     .type = OPTION_TEXT,
     .offset = MEMBER(train),
     .argument = "FILE,...",
     .help = "files to train with, plain or gzip, parted by commas; those that follow the options "
             "are added"},
    {.name = "test",
     .type = OPTION_TEXT,
     .offset = MEMBER(test),
     .argument = "FILE,...",
     .help = "files to test with"},
    {.name = "format",
     .type = OPTION_TEXT,
     .offset = MEMBER(format),
     .argument = "NAME",
     .initial = "auto",
     .help = "cifar10, cifar100, or auto: by the size of a record"},
    {.name = "labels",
     .type = OPTION_TEXT,
     .offset = MEMBER(labels),
     .argument = "NAME",
     .initial = "fine",
     .help = "of CIFAR-100: fine (100 classes) or coarse (20 classes)"},
};

/* The index of `word` in `known`. */
static lmn_status choose(const char *option, const char *word, const char *const *known,
                         size_t n_known, size_t *index_out, lmn_error *err)
{
    for (size_t i = 0; i < n_known; i++) {
        if (strcmp(word, known[i]) == 0) {
            *index_out = i;
            return LMN_OK;
        }
    }
    return lmn_spec_unknown(option, word, known, n_known, err);
}

static lmn_status import_files_of(const import_request *request, const name_list *train,
                                  const name_list *test, lmn_error *err)
{
    static const char *const formats[] = {"auto", "cifar10", "cifar100"};
    static const char *const labels[] = {"fine", "coarse"};
    const cifar_options *options = request->options;
    size_t format = 0;
    size_t label = 0;
    lmn_status status = choose("--format", options->format, formats, 3, &format, err);
    if (status == LMN_OK) {
        status = choose("--labels", options->labels, labels, 2, &label, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const lmn_import_cifar_options cifar = {.train = train->items,
                                            .n_train = train->count,
                                            .test = test->items,
                                            .n_test = test->count,
                                            .format = (lmn_cifar_format)format,
                                            .coarse = label == 1,
                                            .common = request->common};
    return lmn_import_cifar(&cifar, request->out, err);
}

static lmn_status import(const import_request *request, lmn_error *err)
{
    const cifar_options *options = request->options;
    name_list train = {0};
    name_list test = {0};
    lmn_status status = name_list_split(options->train, "train", &request->words, &train, err);
    if (status == LMN_OK && train.count == 0) {
        status = lmn_error_set(err, LMN_ERR_USAGE,
                               "option --train FILE,... is missing; see `lamina data import cifar "
                               "--help`");
    }
    if (status == LMN_OK) {
        status = name_list_split(options->test, "test", NULL, &test, err);
    }
    if (status == LMN_OK) {
        status = import_files_of(request, &train, &test, err);
    }
    lmn_free(test.items);
    lmn_free(train.items);
    return status;
}

static exit_code run(int argc, char **argv)
{
    cifar_options options = {0};
    const import_format format = {
        .command = "lamina data import cifar",
        .arguments = "[FILE...]",
        .summary = "Write a dataset from the binary files of CIFAR-10 or CIFAR-100.",
        .details =
            "Unpacked from cifar-10-binary.tar.gz or cifar-100-binary.tar.gz:\n\n"
            "  lamina data import cifar --test test_batch.bin --train data_batch_*.bin\n"
            "  lamina data import cifar --test test.bin --train train.bin --class-names "
            "fine_label_names.txt\n\n"
            "The classes of CIFAR-10 have their names; those of CIFAR-100 are numbers unless "
            "they are named.",
        .rows = rows,
        .n_rows = sizeof rows / sizeof rows[0],
        .options = &options,
        .has_classes = true,
        .import = import};
    return import_run(&format, argc, argv);
}

const command command_data_import_cifar = {.path = "data import cifar",
                                           .summary = "write a dataset from CIFAR-10 or CIFAR-100",
                                           .run = run};

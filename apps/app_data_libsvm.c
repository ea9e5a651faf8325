/*
 * `lamina data import libsvm`: sparse text files into a dataset.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "import_command.h"

typedef struct libsvm_options {
    uint64_t features;
    bool targets;
} libsvm_options;

#define MEMBER(name) offsetof(libsvm_options, name)

static const option_row rows[] = {
    {.name = "features",
     .type = OPTION_U64,
     .offset = MEMBER(features),
     .argument = "D",
     .initial = "0",
     .min = 0,
     .max = 4294967296.0,
     .help = "how many features there are; 0: the largest index in both files"},
    {.name = "targets",
     .type = OPTION_FLAG,
     .offset = MEMBER(targets),
     .help = "labels are numbers to predict; without: they are classes when all are whole numbers "
             "and at most 1000 differ"},
};

static lmn_status import(const import_request *request, lmn_error *err)
{
    const libsvm_options *options = request->options;
    const lmn_import_libsvm_options libsvm = {.train = request->files.train,
                                              .test = request->files.test,
                                              .n_features = options->features,
                                              .targets = options->targets,
                                              .common = request->common};
    return lmn_import_libsvm(&libsvm, request->out, err);
}

static exit_code run(int argc, char **argv)
{
    libsvm_options options = {0};
    const import_format format = {
        .command = "lamina data import libsvm",
        .summary = "Write a dataset of sparse vectors from LIBSVM (SVMlight) files.",
        .details = "A sample is a line: label index:value index:value ... with indices from 1 on "
                   "that ascend; what follows # is a comment. Classes are ordered by value and "
                   "named as the labels are written. The files are read twice, so they cannot be "
                   "pipes.",
        .has_files = true,
        .has_classes = true,
        .rows = rows,
        .n_rows = sizeof rows / sizeof rows[0],
        .options = &options,
        .import = import};
    return import_run(&format, argc, argv);
}

const command command_data_import_libsvm = {
    .path = "data import libsvm", .summary = "write a dataset of sparse vectors", .run = run};

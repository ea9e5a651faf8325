/*
 * `lamina data import idx`: IDX files, as MNIST and its kin come, into a dataset.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "import_command.h"

static lmn_status import(const import_request *request, lmn_error *err)
{
    const import_pairs *pairs = &request->pairs;
    if (pairs->train_images == NULL || pairs->train_labels == NULL) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "options --train-images FILE and --train-labels FILE are needed; see "
                             "`lamina data import idx --help`");
    }
    if ((pairs->test_images == NULL) != (pairs->test_labels == NULL)) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "--test-images and --test-labels go together: give both or neither");
    }
    const lmn_import_idx_options idx = {.train_images = pairs->train_images,
                                        .train_labels = pairs->train_labels,
                                        .test_images = pairs->test_images,
                                        .test_labels = pairs->test_labels,
                                        .common = request->common};
    return lmn_import_idx(&idx, request->out, err);
}

static exit_code run(int argc, char **argv)
{
    static const import_format format = {
        .command = "lamina data import idx",
        .summary = "Write a dataset from IDX files, the format of MNIST and its kin.",
        .details =
            "Images and labels to train with are needed, those to test with may be left out. "
            "The dataset appears under its name only when it is complete. "
            "`lamina inspect` shows what is in it.",
        .has_pairs = true,
        .has_classes = true,
        .import = import};
    return import_run(&format, argc, argv);
}

const command command_data_import_idx = {
    .path = "data import idx", .summary = "write a dataset from IDX files", .run = run};

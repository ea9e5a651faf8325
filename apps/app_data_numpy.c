/*
 * `lamina data import numpy`: arrays that NumPy saved into a dataset.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "import_command.h"

typedef struct numpy_options {
    const char *train_vectors;
    const char *test_vectors;
    const char *npz;
    bool targets;
} numpy_options;

#define MEMBER(name) offsetof(numpy_options, name)

static const option_row rows[] = {
    {.name = "train-vectors",
     .type = OPTION_TEXT,
     .offset = MEMBER(train_vectors),
     .argument = "FILE",
     .help = "vectors to train with, in place of images"},
    {.name = "test-vectors",
     .type = OPTION_TEXT,
     .offset = MEMBER(test_vectors),
     .argument = "FILE",
     .help = "vectors to test with"},
    {.name = "npz",
     .type = OPTION_TEXT,
     .offset = MEMBER(npz),
     .argument = "FILE",
     .help = "in place of all of them: an archive with members x_train, y_train and, if there is a "
             "test split, x_test, y_test"},
    {.name = "targets",
     .type = OPTION_FLAG,
     .offset = MEMBER(targets),
     .help = "labels are numbers to predict, even if they are integers"},
};

static lmn_status usage(const char *what, lmn_error *err)
{
    return lmn_error_set(err, LMN_ERR_USAGE, "%s; see `lamina data import numpy --help`", what);
}

static lmn_status check(const import_request *request, lmn_error *err)
{
    const numpy_options *options = request->options;
    const import_pairs *pairs = &request->pairs;
    const bool has_images = pairs->train_images != NULL || pairs->test_images != NULL;
    const bool has_vectors = options->train_vectors != NULL || options->test_vectors != NULL;
    const bool has_labels = pairs->train_labels != NULL || pairs->test_labels != NULL;
    if (options->npz != NULL) {
        return has_images || has_vectors || has_labels
                   ? usage("--npz stands in place of all options that name single arrays", err)
                   : LMN_OK;
    }
    if (has_images && has_vectors) {
        return usage("samples are images or vectors, not both", err);
    }
    if ((pairs->train_images == NULL && options->train_vectors == NULL) ||
        pairs->train_labels == NULL) {
        return usage("needed are --npz FILE, or --train-labels FILE with --train-images FILE or "
                     "--train-vectors FILE",
                     err);
    }
    const bool has_test = pairs->test_images != NULL || options->test_vectors != NULL;
    return has_test == (pairs->test_labels != NULL)
               ? LMN_OK
               : usage("test samples and --test-labels go together: give both or neither", err);
}

static lmn_status import(const import_request *request, lmn_error *err)
{
    const numpy_options *options = request->options;
    const import_pairs *pairs = &request->pairs;
    const lmn_status status = check(request, err);
    if (status != LMN_OK) {
        return status;
    }
    const bool are_vectors = options->train_vectors != NULL;
    const lmn_import_numpy_options numpy = {
        .kind = options->npz != NULL ? LMN_NUMPY_AUTO
                : are_vectors        ? LMN_NUMPY_VECTORS
                                     : LMN_NUMPY_IMAGES,
        .train_samples = are_vectors ? options->train_vectors : pairs->train_images,
        .train_labels = pairs->train_labels,
        .test_samples = are_vectors ? options->test_vectors : pairs->test_images,
        .test_labels = pairs->test_labels,
        .archive = options->npz,
        .targets = options->targets,
        .common = request->common};
    return lmn_import_numpy(&numpy, request->out, err);
}

static exit_code run(int argc, char **argv)
{
    numpy_options options = {0};
    const import_format format = {
        .command = "lamina data import numpy",
        .summary = "Write a dataset from arrays that NumPy saved (.npy, .npz).",
        .details =
            "FILE is a .npy file, or FILE.npz:MEMBER, a member of an archive. Images are (N, H, "
            "W) or (N, H, W, C), vectors (N, D), labels (N,). Images of uint8 map to [0, 1]; all "
            "other samples are taken as they are, as f32. Integer labels are classes from 0 "
            "on, floating-point ones numbers to predict. Channels come last: of (N, C, H, W), "
            "save x.transpose(0, 2, 3, 1).copy().",
        .has_pairs = true,
        .has_classes = true,
        .rows = rows,
        .n_rows = sizeof rows / sizeof rows[0],
        .options = &options,
        .import = import};
    return import_run(&format, argc, argv);
}

const command command_data_import_numpy = {
    .path = "data import numpy", .summary = "write a dataset from arrays of NumPy", .run = run};

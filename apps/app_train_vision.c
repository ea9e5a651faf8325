/*
 * `lamina train vision`: classification of images, and of vectors, for which the model mlp is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app_train.h"

typedef struct vision_options {
    const char *model;
    const char *augment;
    lmn_vision_task task; /* lives as long as the trainer that borrows it */
} vision_options;

static const option_row rows[] = {
    {.heading = "Model:",
     .name = "model",
     .short_name = 'm',
     .type = OPTION_TEXT,
     .offset = offsetof(vision_options, model),
     .argument = "SPEC",
     .initial = "cnn",
     .environment = "LAMINA_MODEL",
     .help = "network to train"},
    {.name = "augment",
     .type = OPTION_TEXT,
     .offset = offsetof(vision_options, augment),
     .argument = "SPEC",
     .initial = "none",
     .environment = "LAMINA_AUGMENT",
     .help = "random changes of the training images, anew in every epoch"},
};

static lmn_status make_task(void *values, lmn_dataset *dataset, lmn_task *task_out, lmn_error *err)
{
    vision_options *options = values;
    const lmn_status status = train_check_kind(dataset, false, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
    if (lmn_dataset_info_field(info, "labels") == NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the dataset has numbers as answers, and a classifier needs labels: "
                             "import it without targets");
    }
    options->task = (lmn_vision_task){.model = options->model, .data = *info};
    *task_out = lmn_vision_task_get(&options->task);
    return LMN_OK;
}

static void set_options(const void *values, lmn_trainer_options *options)
{
    const vision_options *own = values;
    options->augment = own->augment;
}

static lmn_status describe(const void *values, const lmn_dataset *dataset, lmn_trainer *trainer,
                           lmn_error *err)
{
    (void)dataset;
    const vision_options *options = values;
    const lmn_status status = lmn_trainer_describe(trainer, "task", "vision", true, err);
    if (status != LMN_OK) {
        return status;
    }
    return lmn_trainer_describe(trainer, "model", options->model, true, err);
}

static void print_choices(void)
{
    train_print_methods("model", lmn_model_entry);
    train_print_methods("augment", lmn_augment_entry);
}

static exit_code run(int argc, char **argv)
{
    vision_options options = {0};
    const train_application application = {
        .command = "lamina train vision",
        .summary = "Train a classifier of images, or of vectors (--model mlp), on all ranks of an "
                   "MPI job. Start it with mpirun or srun; alone it trains on one rank.",
        .own = {.rows = rows, .n_rows = sizeof rows / sizeof rows[0], .values = &options},
        .make_task = make_task,
        .set_options = set_options,
        .describe = describe,
        .print_choices = print_choices};
    return train_application_run(&application, argc, argv);
}

const command command_train_vision = {
    .path = "train vision", .summary = "train a classifier of images or vectors", .run = run};

/*
 * `lamina train text`: a model that foretells the next token.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app_train.h"

typedef struct text_options {
    const char *model;
    lmn_text_task task; /* lives as long as the trainer that borrows it */
} text_options;

static const option_row rows[] = {
    {.heading = "Model:",
     .name = "model",
     .short_name = 'm',
     .type = OPTION_TEXT,
     .offset = offsetof(text_options, model),
     .argument = "SPEC",
     .initial = "gpt",
     .environment = "LAMINA_MODEL",
     .help = "network to train; its context is the length of a sample"},
};

static const train_default defaults[] = {
    {"epochs", "1"},
    {"batch", "32"},
    {"optimizer", "adamw:weight_decay=0.1"},
    {"lr", "0.001"},
    {"schedule", "cosine:warmup=100"},
};

static lmn_status make_task(void *values, lmn_dataset *dataset, lmn_task *task_out, lmn_error *err)
{
    text_options *options = values;
    size_t context = 0;
    lmn_status status = train_check_kind(dataset, true, err);
    if (status == LMN_OK) {
        status = lmn_model_context(options->model, &context, err);
    }
    if (status == LMN_OK && context == 0) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "model '%s' does not take text; `lamina train text --help` lists the "
                             "models",
                             options->model);
    }
    if (status == LMN_OK) {
        status = lmn_dataset_set_context(dataset, context, err);
    }
    if (status == LMN_OK) {
        const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
        options->task = (lmn_text_task){.model = options->model, .data = *info};
        *task_out = lmn_text_task_get(&options->task);
    }
    return status;
}

/* A checkpoint can be used without the dataset, so the vocabulary goes with it. */
static lmn_status describe(const void *values, const lmn_dataset *dataset, lmn_trainer *trainer,
                           lmn_error *err)
{
    const text_options *options = values;
    lmn_status status = lmn_trainer_describe(trainer, "task", "text", true, err);
    if (status == LMN_OK) {
        status = lmn_trainer_describe(trainer, "model", options->model, true, err);
    }
    if (status == LMN_OK) {
        status = lmn_trainer_keep_vocabulary(trainer, lmn_dataset_vocabulary(dataset), err);
    }
    return status;
}

static void print_choices(void)
{
    train_print_methods("model", lmn_model_entry);
}

static exit_code run(int argc, char **argv)
{
    text_options options = {0};
    const train_application application = {
        .command = "lamina train text",
        .summary = "Train a model that foretells text, token by token, on all ranks of an MPI job. "
                   "Start it with mpirun or srun; alone it trains on one rank.",
        .own = {.rows = rows, .n_rows = sizeof rows / sizeof rows[0], .values = &options},
        .defaults = defaults,
        .n_defaults = sizeof defaults / sizeof defaults[0],
        .make_task = make_task,
        .describe = describe,
        .print_choices = print_choices};
    return train_application_run(&application, argc, argv);
}

const command command_train_text = {
    .path = "train text", .summary = "train a model that foretells text", .run = run};

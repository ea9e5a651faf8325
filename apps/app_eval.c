/*
 * `lamina eval`: loss and accuracy of a checkpoint on a dataset's test split.
 *
 * The checkpoint tells which task and model it holds, so the command line need not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "command.h"
#include "console.h"
#include "lamina/lamina.h"
#include "options.h"
#include "session.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct eval_options {
    const char *data;
    const char *checkpoint;
    uint64_t batch;
    const char *threads;
} eval_options;

#define MEMBER(name) offsetof(eval_options, name)

static const option_row rows[] = {
    {.name = "data",
     .short_name = 'd',
     .type = OPTION_TEXT,
     .offset = MEMBER(data),
     .argument = "FILE",
     .environment = "LAMINA_DATA",
     .is_required = true,
     .help = "dataset, as `lamina data import` writes it"},
    {.name = "checkpoint",
     .type = OPTION_TEXT,
     .offset = MEMBER(checkpoint),
     .argument = "FILE|DIR",
     .is_required = true,
     .help = "checkpoint, or the newest complete one in a directory"},
    {.name = "batch",
     .short_name = 'b',
     .type = OPTION_U64,
     .offset = MEMBER(batch),
     .argument = "N",
     .initial = "512",
     .unit = "samples",
     .min = 1,
     .max = 1 << 24,
     .help = "samples at a time, over all ranks together"},
    {.name = "threads",
     .short_name = 't',
     .type = OPTION_TEXT,
     .offset = MEMBER(threads),
     .argument = "N|auto",
     .initial = "auto",
     .environment = "LAMINA_THREADS",
     .help = "threads of each rank; auto: the cores it shares with no other rank"},
};

#define TEXT_BYTES 1024

/* One evaluation. */
typedef struct eval_job {
    eval_options options;
    console console;
    char path[LMN_PATH_BYTES]; /* of the checkpoint */
    char model[TEXT_BYTES];
    uint64_t step;
    lmn_evaluation evaluation;
} eval_job;

/* The file that was meant, where a directory was given. */
static lmn_status find_checkpoint(eval_job *job, lmn_world *world, lmn_error *err)
{
    struct stat info;
    uint64_t is_directory =
        stat(job->options.checkpoint, &info) == 0 && S_ISDIR(info.st_mode) ? 1 : 0;
    lmn_status status = lmn_world_max_u64(world, &is_directory, 1, err);
    if (status != LMN_OK) {
        return status;
    }
    if (is_directory == 0) {
        (void)snprintf(job->path, sizeof job->path, "%s", job->options.checkpoint);
        return LMN_OK;
    }
    status = lmn_checkpoint_latest(world, job->options.checkpoint, job->path, &job->step, err);
    if (status == LMN_OK && job->path[0] == '\0') {
        return lmn_error_set(err, LMN_ERR_IO, "'%s' holds no complete checkpoint",
                             job->options.checkpoint);
    }
    return status;
}

static lmn_status take_attribute(void *user, const lmn_value *value, lmn_error *err)
{
    eval_job *job = user;
    if (strcmp(value->name, "model") == 0 && value->type == LMN_VALUE_TEXT) {
        const int length = snprintf(job->model, sizeof job->model, "%s", value->text);
        if (length < 0 || (size_t)length >= sizeof job->model) {
            return lmn_error_set(err, LMN_ERR_FORMAT, "its model has an overlong name");
        }
    }
    if (strcmp(value->name, "step") == 0 && value->type == LMN_VALUE_U64) {
        job->step = value->u64;
    }
    return LMN_OK;
}

/* Local. */
static lmn_status read_description(eval_job *job, lmn_error *err)
{
    lmn_file *file = NULL;
    lmn_status status = lmn_file_open(job->path, &file, err);
    if (status != LMN_OK) {
        return status;
    }
    if (lmn_file_get_kind(file) != LMN_FILE_CHECKPOINT) {
        status = lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is a %s file, not a checkpoint",
                               job->path, lmn_file_kind_name(lmn_file_get_kind(file)));
    } else {
        status = lmn_file_visit_attributes(file, "/", take_attribute, job, err);
    }
    lmn_file_close(file);
    if (status == LMN_OK && job->model[0] == '\0') {
        status =
            lmn_error_set(err, LMN_ERR_FORMAT,
                          "'%s' does not say which model it holds (attribute 'model')", job->path);
    }
    return status;
}

static lmn_status load_parameters(const eval_job *job, lmn_world *world, lmn_evaluator *evaluator,
                                  lmn_error *err)
{
    lmn_state *state = NULL;
    lmn_status status = lmn_state_create(&state, err);
    if (status == LMN_OK) {
        status = lmn_parameters_add_state(lmn_evaluator_parameters(evaluator), state, err);
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        status = lmn_checkpoint_read(world, job->path, state, err);
    }
    lmn_state_destroy(state);
    return status;
}

static lmn_status evaluate(eval_job *job, lmn_world *world, const lmn_dataset *dataset,
                           lmn_error *err)
{
    const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
    if (info->sample_count[LMN_SPLIT_TEST] == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' has no test split", job->options.data);
    }
    const lmn_vision_task vision = {.model = job->model, .data = *info};
    const lmn_task task = lmn_vision_task_get(&vision);
    lmn_evaluator *evaluator = NULL;
    lmn_status status = lmn_evaluator_create(world, dataset, LMN_SPLIT_TEST, &task,
                                             (size_t)job->options.batch, NULL, &evaluator, err);
    if (status == LMN_OK) {
        status = load_parameters(job, world, evaluator, err);
    }
    if (status == LMN_OK) {
        status = lmn_evaluator_run(evaluator, &job->evaluation, err);
    }
    lmn_evaluator_destroy(evaluator);
    return status;
}

static lmn_status work(lmn_world *world, void *user, lmn_error *err)
{
    eval_job *job = user;
    int threads = 1;
    lmn_status status = session_parse_threads(world, job->options.threads, &threads, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_compute_set_threads(threads);
    status = find_checkpoint(job, world, err);
    if (status == LMN_OK) {
        status = lmn_agree(world, read_description(job, err), err);
    }
    lmn_dataset *dataset = NULL;
    if (status == LMN_OK) {
        status = lmn_dataset_open(world, job->options.data, &dataset, err);
    }
    if (status == LMN_OK) {
        status = evaluate(job, world, dataset, err);
    }
    lmn_dataset_close(dataset);
    return status;
}

static exit_code run(int argc, char **argv)
{
    eval_job job = {.console = console_make(false)};
    const option_table table = {
        .command = "lamina eval",
        .summary = "Test the model in a checkpoint, on all ranks of an MPI job or alone.",
        .n_sets = 1,
        .sets = {{.rows = rows, .n_rows = sizeof rows / sizeof rows[0], .values = &job.options}}};
    option_words words;
    lmn_error err = lmn_error_none();
    const lmn_status status = options_parse(&table, argc, argv, &words, &err);
    if (status == LMN_OK && words.wants_help) {
        if (job.console.rank == 0) {
            options_print_help(&table);
        }
        return EXIT_CODE_DONE;
    }
    const exit_code code = session_run(&job.console, status, &err, work, &job);
    if (code == EXIT_CODE_DONE) {
        console_answer(&job.console,
                       "test accuracy %.4f, loss %.4f (%" PRIu64 " samples, %s), step %" PRIu64
                       " of %s",
                       job.evaluation.accuracy, job.evaluation.loss, job.evaluation.samples,
                       text_seconds(job.evaluation.seconds).data, job.step, job.path);
    }
    return code;
}

const command command_eval = {
    .path = "eval", .summary = "test the model in a checkpoint", .run = run};

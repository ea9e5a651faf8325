/*
 * `lamina eval`: what a checkpoint achieves on a dataset's test split.
 *
 * The checkpoint tells which task and model it holds, so the command line need not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_facts.h"
#include "command.h"
#include "console.h"
#include "evaluation_text.h"
#include "lamina/lamina.h"
#include "options.h"
#include "session.h"
#include "text.h"

#include <inttypes.h>
#include <string.h>

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

/* One evaluation. */
typedef struct eval_job {
    eval_options options;
    console console;
    checkpoint_facts facts;
    union {
        lmn_vision_task vision;
        lmn_text_task text;
    } model; /* what the task is about */
    lmn_task task;
    lmn_evaluation evaluation;
} eval_job;

static lmn_status make_text_task(eval_job *job, lmn_dataset *dataset, lmn_error *err)
{
    size_t context = 0;
    lmn_status status = lmn_model_context(job->facts.model, &context, err);
    if (status == LMN_OK) {
        status = lmn_dataset_set_context(dataset, context, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const uint64_t hash = lmn_vocabulary_hash(lmn_dataset_vocabulary(dataset));
    if (strcmp(text_hash(hash).data, job->facts.vocabulary_hash) != 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s' has another vocabulary than the model in '%s': import its text "
                             "with the data that the model was trained on",
                             job->options.data, job->facts.path);
    }
    job->model.text =
        (lmn_text_task){.model = job->facts.model, .data = *lmn_dataset_get_info(dataset)};
    job->task = lmn_text_task_get(&job->model.text);
    return LMN_OK;
}

/* The task that the checkpoint was trained for. Local. */
static lmn_status make_task(eval_job *job, lmn_dataset *dataset, lmn_error *err)
{
    const bool is_text = strcmp(job->facts.task, "text") == 0;
    const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
    if (is_text != (info->kind == LMN_DATASET_TEXT)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' %s text, and the model in '%s' %s",
                             job->options.data, is_text ? "does not hold" : "holds",
                             job->facts.path, is_text ? "is for text" : "is not for text");
    }
    if (is_text) {
        const lmn_status status = make_text_task(job, dataset, err);
        if (status != LMN_OK) {
            return status;
        }
    } else {
        job->model.vision = (lmn_vision_task){.model = job->facts.model, .data = *info};
        job->task = lmn_vision_task_get(&job->model.vision);
    }
    if (info->sample_count[LMN_SPLIT_TEST] == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' has no test split", job->options.data);
    }
    return LMN_OK;
}

static lmn_status evaluate(eval_job *job, lmn_world *world, lmn_dataset *dataset, lmn_error *err)
{
    lmn_evaluator *evaluator = NULL;
    lmn_status status = lmn_agree(world, make_task(job, dataset, err), err);
    if (status == LMN_OK) {
        status = lmn_evaluator_create(world, dataset, LMN_SPLIT_TEST, &job->task,
                                      (size_t)job->options.batch, NULL, &evaluator, err);
    }
    if (status == LMN_OK) {
        status = checkpoint_load_parameters(world, &job->facts, lmn_evaluator_parameters(evaluator),
                                            err);
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
    status = checkpoint_facts_read(world, job->options.checkpoint, &job->facts, err);
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
        console_answer(&job.console, "test %s (%" PRIu64 " samples, %s), step %" PRIu64 " of %s",
                       evaluation_text_make(&job.task, &job.evaluation).data,
                       job.evaluation.samples, text_seconds(job.evaluation.seconds).data,
                       job.facts.step, job.facts.path);
    }
    return code;
}

const command command_eval = {
    .path = "eval", .summary = "test the model in a checkpoint", .run = run};

/*
 * Evaluation: forward passes over a split, each rank over its slice of every batch.
 *
 * Ranks work alone until the end, where they agree and add up what they counted, so a rank that
 * cannot read its data keeps nobody waiting. Sums over a rank's batches are in double: one batch is
 * small, a split is not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/evaluator.h"

#include "batch_internal.h"
#include "lamina/clock.h"
#include "lamina/memory.h"
#include "lamina/plan.h"

struct lmn_evaluator {
    lmn_world *world;           /* borrowed */
    const lmn_dataset *dataset; /* borrowed */
    lmn_split split;
    size_t global_batch;
    lmn_graph *graph;
    lmn_task task_kind; /* its user and metrics are borrowed */
    lmn_task_graph task;
    lmn_plan *plan;
    lmn_parameters *parameters;       /* bound to the plan */
    lmn_parameters *owned_parameters; /* NULL when they are borrowed */
    lmn__inputs inputs;               /* bound to the plan */
};

/* What one rank counts, in the order in which it is summed over ranks. */
enum { SUM_LOSS, SUM_HITS, SUM_SAMPLES, N_SUMS };

static lmn_status check_arguments(const lmn_evaluator *evaluator, lmn_error *err)
{
    const size_t size = (size_t)lmn_world_size(evaluator->world);
    if (evaluator->global_batch < size) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "a batch of %zu samples is smaller than the %zu ranks that share it: "
                             "evaluate at least one sample per rank at a time",
                             evaluator->global_batch, size);
    }
    const lmn_dataset_info *info = lmn_dataset_get_info(evaluator->dataset);
    if (info->sample_count[evaluator->split] == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the dataset has no %s split: there is nothing to evaluate",
                             evaluator->split == LMN_SPLIT_TEST ? "test" : "training");
    }
    return LMN_OK;
}

static lmn_status build_plan(lmn_evaluator *evaluator, const lmn_task *task, lmn_error *err)
{
    const size_t rows = lmn__slice_rows(evaluator->global_batch, lmn_world_size(evaluator->world));
    lmn_status status = lmn_graph_create(&evaluator->graph, err);
    if (status == LMN_OK) {
        status = task->build(task->user, evaluator->graph, rows, &evaluator->task, err);
    }
    if (status == LMN_OK) {
        const lmn_tensor *const outputs[] = {evaluator->task.loss, evaluator->task.hits};
        status = lmn_plan_create(evaluator->graph, outputs, 2, NULL, &evaluator->plan, err);
    }
    return status;
}

static lmn_status bind_memory(lmn_evaluator *evaluator, lmn_parameters *parameters, lmn_error *err)
{
    lmn_status status = LMN_OK;
    if (parameters == NULL) {
        status = lmn_parameters_create(evaluator->graph, NULL, &evaluator->owned_parameters, err);
        parameters = evaluator->owned_parameters;
    }
    if (status == LMN_OK) {
        evaluator->parameters = parameters;
        status = lmn_parameters_bind(parameters, evaluator->graph, evaluator->plan, err);
    }
    if (status == LMN_OK) {
        status = lmn__inputs_create(&evaluator->inputs, lmn_dataset_get_info(evaluator->dataset),
                                    &evaluator->task, evaluator->plan, err);
    }
    return status;
}

/* Local. */
static lmn_status prepare(lmn_evaluator *evaluator, const lmn_task *task,
                          lmn_parameters *parameters, lmn_error *err)
{
    lmn_status status = check_arguments(evaluator, err);
    if (status == LMN_OK) {
        status = build_plan(evaluator, task, err);
    }
    if (status == LMN_OK) {
        status = bind_memory(evaluator, parameters, err);
    }
    return status;
}

lmn_status lmn_evaluator_create(lmn_world *world, const lmn_dataset *dataset, lmn_split split,
                                const lmn_task *task, size_t global_batch,
                                lmn_parameters *parameters, lmn_evaluator **evaluator_out,
                                lmn_error *err)
{
    lmn_evaluator *evaluator = lmn_alloc(1, sizeof *evaluator, err);
    lmn_status status = evaluator == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        evaluator->world = world;
        evaluator->dataset = dataset;
        evaluator->split = split;
        evaluator->global_batch = global_batch;
        evaluator->task_kind = *task;
        status = prepare(evaluator, task, parameters, err);
    }
    status = lmn_agree(world, status, err);
    if (status != LMN_OK) {
        lmn_evaluator_destroy(evaluator);
        return status;
    }
    *evaluator_out = evaluator;
    return LMN_OK;
}

void lmn_evaluator_destroy(lmn_evaluator *evaluator)
{
    if (evaluator == NULL) {
        return;
    }
    lmn_plan_destroy(evaluator->plan);
    lmn_parameters_destroy(evaluator->owned_parameters);
    lmn_graph_destroy(evaluator->graph);
    lmn__inputs_destroy(&evaluator->inputs);
    lmn_free(evaluator);
}

lmn_parameters *lmn_evaluator_parameters(lmn_evaluator *evaluator)
{
    return evaluator->parameters;
}

void lmn_task_measure(const lmn_task *task, lmn_split split, double loss, double *metrics_out)
{
    for (size_t i = 0; i < task->n_metrics; i++) {
        metrics_out[i] = task->metrics[i].value(task->user, split, loss);
    }
}

static lmn_status evaluate_batch(lmn_evaluator *evaluator, lmn_reader *reader, double sums[N_SUMS],
                                 lmn_error *err)
{
    lmn_batch batch;
    lmn_status status = lmn_reader_next(reader, &batch, err);
    if (status == LMN_OK) {
        lmn__inputs_fill(&evaluator->inputs, &batch, 1.0F);
        const lmn_run run = {.training = false, .first_row = batch.first_row};
        status = lmn_plan_run(evaluator->plan, &run, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const float *loss = lmn_plan_value(evaluator->plan, evaluator->task.loss);
    const float *hits = lmn_plan_value(evaluator->plan, evaluator->task.hits);
    sums[SUM_LOSS] += (double)*loss;
    sums[SUM_HITS] += (double)*hits;
    sums[SUM_SAMPLES] += (double)batch.valid;
    return LMN_OK;
}

static const lmn_activity evaluating = {.text = "the evaluation", .waits = false};

/* Local. */
static lmn_status evaluate_slices(lmn_evaluator *evaluator, double sums[N_SUMS], lmn_error *err)
{
    const lmn_reader_options options = {.split = evaluator->split,
                                        .shuffle = false,
                                        .global_batch = evaluator->global_batch,
                                        .rank = lmn_world_rank(evaluator->world),
                                        .size = lmn_world_size(evaluator->world),
                                        .read_ahead = 2};
    lmn_reader *reader = NULL;
    lmn_status status = lmn_reader_create(evaluator->dataset, &options, &reader, err);
    if (status != LMN_OK) {
        return status;
    }
    const uint64_t n_batches = lmn_reader_batch_count(reader);
    for (uint64_t i = 0; i < n_batches && status == LMN_OK; i++) {
        (void)lmn_world_note(evaluator->world, &evaluating);
        status = evaluate_batch(evaluator, reader, sums, err);
    }
    lmn_reader_destroy(reader);
    return status;
}

lmn_status lmn_evaluator_run(lmn_evaluator *evaluator, lmn_evaluation *evaluation_out,
                             lmn_error *err)
{
    const double start = lmn_clock_seconds();
    double sums[N_SUMS] = {0.0};
    lmn_status status = lmn_agree(evaluator->world, evaluate_slices(evaluator, sums, err), err);
    if (status == LMN_OK) {
        status = lmn_world_sum_f64(evaluator->world, sums, N_SUMS, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    *evaluation_out = (lmn_evaluation){.loss = sums[SUM_LOSS] / sums[SUM_SAMPLES],
                                       .accuracy = sums[SUM_HITS] / sums[SUM_SAMPLES],
                                       .samples = (uint64_t)sums[SUM_SAMPLES],
                                       .seconds = lmn_clock_seconds() - start,
                                       .n_metrics = evaluator->task_kind.n_metrics};
    lmn_task_measure(&evaluator->task_kind, evaluator->split, evaluation_out->loss,
                     evaluation_out->metrics);
    return LMN_OK;
}

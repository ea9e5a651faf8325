/*
 * The life of a trainer: its parts are built, then steps are made until the run is complete or
 * stopped, with evaluations, checkpoints and comparisons in between.
 *
 * Whatever is decided here is decided from numbers that all ranks share, so all ranks take the same
 * branch; rank 0's clock and the wish to stop travel with the step (trainer_step.c).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "lamina/hash.h"
#include "trainer_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Batches that the reader fetches ahead. */
enum { READ_AHEAD = 4 };

static lmn_status list_layers(lmn_trainer *trainer, lmn_error *err)
{
    const lmn_parameters *parameters = trainer->learner.parameters;
    const size_t n = trainer->learner.n_layers;
    trainer->layers = lmn_alloc(n, sizeof *trainer->layers, err);
    if (trainer->layers == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t layer = 0; layer < n; layer++) {
        const lmn_shape *shape = lmn_parameters_shape(parameters, layer);
        trainer->layers[layer].name = lmn_parameters_name(parameters, layer);
        trainer->layers[layer].n_dims = shape->n_dims;
        trainer->layers[layer].dense = lmn__learner_is_statistic(&trainer->learner, layer);
        memcpy(trainer->layers[layer].dims, shape->dims, shape->n_dims * sizeof *shape->dims);
    }
    return LMN_OK;
}

/* Everything that one rank can do, and fail at, alone. */
static lmn_status prepare(lmn_trainer *trainer, const lmn_trainer_options *options, lmn_error *err)
{
    const lmn_dataset_info *info = lmn_dataset_get_info(trainer->dataset);
    const int size = lmn_world_size(trainer->world);
    trainer->sample_count = info->sample_count[LMN_SPLIT_TRAIN];
    trainer->test_count = info->sample_count[LMN_SPLIT_TEST];
    trainer->evaluated_steps = UINT64_MAX;
    lmn_status status = lmn__settings_create(&trainer->settings, options, info, size, err);
    if (status == LMN_OK) {
        status = lmn__shards_create(trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn__learner_create(&trainer->learner, &trainer->task, info,
                                     &trainer->settings.options, size, err);
    }
    if (status == LMN_OK) {
        status = list_layers(trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn__trainer_make_trace(trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn__waits_create(trainer, err);
    }
    return status == LMN_OK ? lmn__records_create(trainer, err) : status;
}

/* Local, too: what needs the parts that connect has made. */
static lmn_status complete(lmn_trainer *trainer, lmn_error *err)
{
    const lmn_status status = lmn__learner_bind_gradients(&trainer->learner, trainer->reducer, err);
    return status == LMN_OK ? lmn__trainer_make_state(trainer, err) : status;
}

/* Collective. */
static lmn_status connect(lmn_trainer *trainer, lmn_error *err)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    lmn_status status = lmn__settings_agree(&trainer->settings, trainer->world, err);
    if (status == LMN_OK) {
        status = lmn__shards_agree(trainer, err);
    }
    if (status == LMN_OK) {
        lmn_reducer_options reducer = options->reducer;
        reducer.seed = options->seed;
        status = lmn_reducer_create(trainer->world, trainer->layers, trainer->learner.n_layers,
                                    &reducer, &trainer->reducer, err);
    }
    if (status == LMN_OK && trainer->test_count > 0) {
        status = lmn_evaluator_create(trainer->world, trainer->dataset, LMN_SPLIT_TEST,
                                      &trainer->task, options->global_batch,
                                      trainer->learner.parameters, &trainer->evaluator, err);
    }
    return status == LMN_OK ? lmn_agree(trainer->world, complete(trainer, err), err) : status;
}

lmn_status lmn_trainer_create(lmn_world *world, const lmn_dataset *dataset, const lmn_task *task,
                              const lmn_trainer_options *options, lmn_trainer **trainer_out,
                              lmn_error *err)
{
    lmn_trainer *trainer = lmn_alloc(1, sizeof *trainer, err);
    lmn_status status = trainer == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        trainer->world = world;
        trainer->dataset = dataset;
        trainer->task = *task;
        status = prepare(trainer, options, err);
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK && trainer != NULL) {
        status = connect(trainer, err);
    }
    if (status != LMN_OK) {
        lmn_trainer_destroy(trainer);
        return status;
    }
    *trainer_out = trainer;
    return LMN_OK;
}

lmn_parameters *lmn_trainer_parameters(lmn_trainer *trainer)
{
    return trainer->learner.parameters;
}

const lmn_plan *lmn_trainer_plan(const lmn_trainer *trainer)
{
    return trainer->learner.plan;
}

void lmn_trainer_destroy(lmn_trainer *trainer)
{
    if (trainer == NULL) {
        return;
    }
    lmn_checkpoint_writer_destroy(trainer->writer);
    lmn_reader_destroy(trainer->reader);
    lmn_shard_destroy(&trainer->shard);
    lmn_state_destroy(trainer->state);
    lmn_free(trainer->merges);
    lmn__records_destroy(trainer->records);
    lmn__waits_destroy(trainer->waits);
    lmn_trace_destroy(trainer->trace);
    lmn_evaluator_destroy(trainer->evaluator);
    lmn_reducer_destroy(trainer->reducer);
    lmn_free(trainer->layers);
    lmn__learner_destroy(&trainer->learner);
    lmn__settings_destroy(&trainer->settings);
    lmn_free(trainer);
}

double lmn__trainer_total_seconds(const lmn_trainer *trainer)
{
    return trainer->seconds_before + lmn_clock_seconds() - trainer->started_at;
}

double lmn__trainer_epochs(const lmn_trainer *trainer)
{
    return (double)trainer->progress.steps * (double)trainer->settings.options.global_batch /
           (double)trainer->sample_count;
}

bool lmn__trainer_is_complete(const lmn_trainer *trainer)
{
    return trainer->progress.steps >= trainer->settings.total_steps || trainer->time_is_over;
}

/* Of steps made now, and one step earlier: whether a multiple of `every` lies in between. */
static bool crosses(uint64_t before, uint64_t after, uint64_t every)
{
    return before / every != after / every;
}

static bool evaluation_due(const lmn_trainer *trainer)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    const uint64_t steps = trainer->progress.steps;
    if (trainer->evaluator == NULL) {
        return false;
    }
    if (lmn__trainer_is_complete(trainer)) {
        return true;
    }
    return options->evaluate_every > 0
               ? steps % options->evaluate_every == 0
               : crosses((steps - 1) * options->global_batch, steps * options->global_batch,
                         trainer->sample_count);
}

static bool checkpoint_due(const lmn_trainer *trainer)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    if (options->checkpoint_directory == NULL) {
        return false;
    }
    return lmn__trainer_is_complete(trainer) || trainer->stop_wanted ||
           trainer->checkpoint_wanted ||
           (options->checkpoint_every > 0 &&
            trainer->progress.steps % options->checkpoint_every == 0);
}

static lmn_status verify(lmn_trainer *trainer, lmn_error *err)
{
    const uint64_t every = trainer->settings.options.verify_every;
    const uint64_t steps = trainer->progress.steps;
    if (every == 0 || steps % every != 0) {
        return LMN_OK;
    }
    uint64_t hash = lmn_parameters_hash(trainer->learner.parameters);
    for (size_t layer = 0; layer < trainer->learner.n_layers; layer++) {
        const uint64_t level = lmn_reducer_level(trainer->reducer, layer);
        hash = lmn_hash64(&level, sizeof level, hash);
    }
    char what[64];
    (void)snprintf(what, sizeof what, "parameters after step %" PRIu64, steps - 1);
    return lmn_world_check_same(trainer->world, what, hash, err);
}

static lmn_status evaluate(lmn_trainer *trainer, lmn_error *err)
{
    const lmn_status status = lmn_evaluator_run(trainer->evaluator, &trainer->evaluation, err);
    if (status != LMN_OK) {
        return status;
    }
    trainer->evaluated_steps = trainer->progress.steps;
    trainer->progress.test_samples = trainer->evaluation.samples;
    trainer->progress.test_loss = trainer->evaluation.loss;
    trainer->progress.test_accuracy = trainer->evaluation.accuracy;
    lmn__records_add_evaluation(trainer);
    return LMN_OK;
}

static double seconds_left(const lmn_trainer *trainer)
{
    const double limit = trainer->settings.options.max_seconds;
    return limit > 0.0 ? fmax(0.0, limit - lmn__trainer_total_seconds(trainer)) : (double)INFINITY;
}

static void show_progress(const lmn_trainer *trainer, bool evaluated)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    if (options->on_progress == NULL || lmn_world_rank(trainer->world) != 0) {
        return;
    }
    const lmn_training_progress shown = {.step = trainer->progress.steps,
                                         .total_steps = trainer->settings.total_steps,
                                         .epoch = lmn__trainer_epochs(trainer),
                                         .loss = trainer->progress.loss,
                                         .lr = trainer->last_lr,
                                         .seconds = lmn_clock_seconds() - trainer->started_at,
                                         .samples_per_s =
                                             (double)options->global_batch / trainer->step_seconds,
                                         .bytes_sent = trainer->own_bytes_sent,
                                         .bytes_dense = trainer->own_bytes_dense,
                                         .seconds_left = seconds_left(trainer),
                                         .evaluation = evaluated ? &trainer->evaluation : NULL};
    options->on_progress(options->user, &shown);
}

/* Collective. What is due after a step; rows reach the file before the checkpoint that needs them.
 */
static lmn_status follow_up(lmn_trainer *trainer, lmn_error *err)
{
    const bool evaluates = evaluation_due(trainer);
    const bool saves = checkpoint_due(trainer);
    const bool is_full = trainer->records->n_waiting == LMN__RECORD_STEPS;
    lmn_status status = lmn__trainer_follow_checkpoint(trainer, err);
    if (status == LMN_OK) {
        status = verify(trainer, err);
    }
    if (status == LMN_OK && evaluates) {
        status = evaluate(trainer, err);
    }
    if (status == LMN_OK && (evaluates || saves || is_full)) {
        status = lmn__records_gather(trainer, evaluates || saves, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    show_progress(trainer, evaluates);
    status = lmn__trainer_write_trace(trainer, false, err);
    if (status != LMN_OK) {
        return status;
    }
    return saves ? lmn__trainer_checkpoint(trainer, err) : LMN_OK;
}

static lmn_status train(lmn_trainer *trainer, lmn_error *err)
{
    lmn_status status = LMN_OK;
    while (status == LMN_OK && !lmn__trainer_is_complete(trainer) && !trainer->stop_wanted) {
        status = lmn__trainer_step(trainer, err);
        if (status == LMN_OK) {
            status = follow_up(trainer, err);
        }
    }
    status = lmn__trainer_close_checkpoint(trainer, status, err);
    if (status == LMN_ERR_NONFINITE) {
        /* All ranks gave up after the same step: the rows that show how it came are worth keeping.
           Whether that works out does not change why the run ends. */
        const lmn_status kept = lmn__records_gather(trainer, true, NULL);
        return kept == LMN_ERR_COMM ? kept : status;
    }
    return status;
}

/* Collective. */
static lmn_status conclude(lmn_trainer *trainer, lmn_error *err)
{
    const bool evaluates = trainer->evaluator != NULL && lmn__trainer_is_complete(trainer) &&
                           trainer->evaluated_steps != trainer->progress.steps;
    lmn_status status = evaluates ? evaluate(trainer, err) : LMN_OK;
    if (status == LMN_OK) {
        status = lmn__waits_measure_link(trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn__records_gather(trainer, true, err);
    }
    if (status == LMN_OK) {
        status = lmn__waits_share_host(trainer, err);
    }
    return status == LMN_OK ? lmn__trainer_write_trace(trainer, true, err) : status;
}

/* Local. */
static lmn_status open_reader(lmn_trainer *trainer, lmn_error *err)
{
    const lmn_reader_options options = {.split = LMN_SPLIT_TRAIN,
                                        .shuffle = true,
                                        .seed = trainer->settings.options.seed,
                                        .global_batch = trainer->settings.options.global_batch,
                                        .rank = lmn_world_rank(trainer->world),
                                        .size = lmn_world_size(trainer->world),
                                        .first_batch = trainer->progress.steps,
                                        .read_ahead = READ_AHEAD,
                                        .augment = trainer->settings.options.augment,
                                        .shard = lmn__shard_of(trainer)};
    return lmn_reader_create(trainer->dataset, &options, &trainer->reader, err);
}

static lmn_training_summary summarise(const lmn_trainer *trainer)
{
    const lmn__progress *progress = &trainer->progress;
    lmn_training_summary summary = {
        .stopped = trainer->stop_wanted && !lmn__trainer_is_complete(trainer),
        .steps = progress->steps,
        .skipped = progress->skipped,
        .epochs = lmn__trainer_epochs(trainer),
        .loss = progress->loss,
        .test = {.loss = progress->test_loss,
                 .accuracy = progress->test_accuracy,
                 .samples = progress->test_samples,
                 .seconds = trainer->evaluation.seconds,
                 .n_metrics = trainer->task.n_metrics},
        .seconds = progress->seconds,
        .total_seconds = progress->total_seconds,
        .input_seconds = progress->input_seconds,
        .adapt_seconds = progress->adapt_seconds,
        .bytes_sent = progress->bytes_sent,
        .bytes_dense = progress->bytes_dense,
        .param_hash = lmn_parameters_hash(trainer->learner.parameters),
        .parameters = lmn_parameters_total(trainer->learner.parameters)};
    summary.waiting = *lmn__waits_total(trainer);
    lmn_task_measure(&trainer->task, LMN_SPLIT_TEST, progress->test_loss, summary.test.metrics);
    return summary;
}

lmn_status lmn_trainer_run(lmn_trainer *trainer, lmn_training_summary *summary_out, lmn_error *err)
{
    trainer->started_at = lmn_clock_seconds();
    trainer->checkpoint_at = trainer->started_at;
    lmn_status status = lmn__trainer_restore(trainer, err);
    const double limit = trainer->settings.options.max_seconds;
    trainer->time_is_over = limit > 0.0 && trainer->seconds_before >= limit;
    if (status == LMN_OK) {
        status = lmn__trainer_open_writer(trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn__records_open(trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn_agree(trainer->world, open_reader(trainer, err), err);
    }
    if (status == LMN_OK) {
        status = train(trainer, err);
    }
    if (status == LMN_OK) {
        status = conclude(trainer, err);
    }
    if (status == LMN_OK) {
        *summary_out = summarise(trainer);
    }
    return status;
}

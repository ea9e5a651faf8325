/*
 * One training step, as the data flows: batch, gradients, estimate of their mean, new parameters.
 *
 * Gradients are handed to the reducer while the plan still computes the next ones. A rank that
 * fails on the way says so to the reducer and keeps taking part, so that all ranks leave the step
 * together and with the same error. Nothing here allocates.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "trainer_internal.h"

#include <inttypes.h>

static const lmn_activity reading = {.text = "reading a batch", .waits = false};
static const lmn_activity computing = {.text = "the forward and backward pass", .waits = false};
static const lmn_activity updating = {.text = "the update", .waits = false};

/* Weight of the newest step in the smoothed time of a step. */
static const double NEWEST = 0.1;

static lmn_status hand_over(void *user, size_t output, lmn_error *err)
{
    const lmn_trainer *trainer = user;
    if (output < LMN__OUTPUT_GRADIENTS) {
        return LMN_OK;
    }
    const size_t layer = trainer->learner.layer_of[output - LMN__OUTPUT_GRADIENTS];
    return lmn_reducer_ready(trainer->reducer, layer, lmn_reducer_gradient(trainer->reducer, layer),
                             err);
}

static lmn_status move_messages(void *user, lmn_error *err)
{
    const lmn_trainer *trainer = user;
    return lmn_reducer_progress(trainer->reducer, err);
}

/* Collective. For ops that need the values of all ranks, such as synchronised batch norm. */
static lmn_status sum_ranks(void *user, double *values, size_t n, lmn_error *err)
{
    lmn_trainer *trainer = user;
    const double start = lmn_clock_seconds();
    const lmn_status status = lmn_world_sum_f64(trainer->world, values, n, err);
    trainer->seconds_inside += lmn_clock_seconds() - start;
    return status;
}

/* Rows of this rank weigh size / batch, so that the mean over ranks is the mean over the batch. */
static float row_weight(const lmn_trainer *trainer)
{
    return (float)((double)lmn_world_size(trainer->world) /
                   (double)trainer->settings.options.global_batch);
}

/* A rank without a batch still answers where others ask all ranks. What it computes counts nothing,
   since the step fails. */
static lmn_status answer_without_batch(lmn_trainer *trainer, uint64_t step)
{
    lmn__learner *learner = &trainer->learner;
    if (!lmn_plan_asks_ranks(learner->plan)) {
        return LMN_OK;
    }
    lmn__inputs_clear(&learner->inputs);
    const lmn_run run = {.seed = trainer->settings.options.seed,
                         .step = step,
                         .training = true,
                         .sum_ranks = sum_ranks,
                         .user = trainer};
    return lmn_plan_run(learner->plan, &run, NULL);
}

static lmn_status compute_gradients(lmn_trainer *trainer, lmn__step_record *record, lmn_error *err)
{
    lmn__learner *learner = &trainer->learner;
    lmn_trace *trace = lmn__trainer_trace(trainer, record->step);
    const double start = lmn_clock_seconds();
    (void)lmn_world_note(trainer->world, &reading);
    lmn_batch batch;
    lmn_status status = lmn_reader_next(trainer->reader, &batch, err);
    const double read = lmn_clock_seconds();
    record->seconds_read = read - start;
    lmn_trace_add(trace, "wait for batch", LMN_TRACE_LANE_WORK, record->step, start, read);
    if (status != LMN_OK) {
        const lmn_status answer = answer_without_batch(trainer, record->step);
        return answer == LMN_ERR_COMM ? answer : status;
    }
    (void)lmn_world_note(trainer->world, &computing);
    lmn__inputs_fill(&learner->inputs, &batch, row_weight(trainer));
    const lmn_run run = {.seed = trainer->settings.options.seed,
                         .step = record->step,
                         .first_row = batch.first_row,
                         .training = true,
                         .on_output = hand_over,
                         .on_progress = move_messages,
                         .sum_ranks = sum_ranks,
                         .user = trainer};
    status = lmn_plan_run(learner->plan, &run, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_trace_add(trace, "forward and backward", LMN_TRACE_LANE_WORK, record->step, read,
                  lmn_clock_seconds());
    const float *loss = lmn_plan_value(learner->plan, learner->task.loss);
    const float *hits = lmn_plan_value(learner->plan, learner->task.hits);
    lmn_reducer_set_scalar(trainer->reducer, LMN__SCALAR_LOSS, *loss);
    lmn_reducer_set_scalar(trainer->reducer, LMN__SCALAR_HITS, *hits);
    return LMN_OK;
}

static void say_wishes(lmn_trainer *trainer)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    const bool stops = options->should_stop != NULL && options->should_stop(options->user);
    const bool saves = lmn_world_rank(trainer->world) == 0 && lmn__trainer_is_time_to_save(trainer);
    const bool ends = lmn_world_rank(trainer->world) == 0 && options->max_seconds > 0.0 &&
                      lmn__trainer_total_seconds(trainer) >= options->max_seconds;
    lmn_reducer_set_scalar(trainer->reducer, LMN__SCALAR_STOP, stops ? 1.0F : 0.0F);
    lmn_reducer_set_scalar(trainer->reducer, LMN__SCALAR_CHECKPOINT, saves ? 1.0F : 0.0F);
    lmn_reducer_set_scalar(trainer->reducer, LMN__SCALAR_TIME, ends ? 1.0F : 0.0F);
    lmn_reducer_set_scalar(trainer->reducer, LMN__SCALAR_READY,
                           lmn__trainer_is_ready(trainer) ? 1.0F : 0.0F);
}

/* Collective. A local failure of one rank becomes the failure of all. */
static lmn_status reduce_gradients(lmn_trainer *trainer, lmn__step_record *record, lmn_error *err)
{
    lmn_reducer_set_trace(trainer->reducer, lmn__trainer_trace(trainer, record->step));
    lmn_status status = lmn_reducer_begin(trainer->reducer, record->step, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn__records_note_plan(trainer);
    lmn_error cause = lmn_error_none();
    status = compute_gradients(trainer, record, &cause);
    if (status == LMN_ERR_COMM) {
        return lmn_error_set(err, status, "%s", cause.message);
    }
    if (status != LMN_OK) {
        status = lmn_reducer_fail(trainer->reducer, status, &cause, err);
    }
    if (status == LMN_OK) {
        say_wishes(trainer);
        status = lmn_reducer_finish(trainer->reducer, &trainer->report, err);
    }
    return status;
}

static double learning_rate(const lmn_trainer *trainer, uint64_t step)
{
    return trainer->settings.options.lr *
           lmn_schedule_factor(trainer->learner.schedule, step, trainer->settings.total_steps);
}

static void count_step(lmn_trainer *trainer)
{
    const lmn_step_report *report = &trainer->report;
    lmn__progress *progress = &trainer->progress;
    const float loss_sum = report->scalars[LMN__SCALAR_LOSS];
    progress->loss = (double)loss_sum / lmn_world_size(trainer->world);
    progress->steps++;
    progress->updates += report->applied ? 1 : 0;
    progress->skipped += report->applied ? 0 : 1;
    progress->skipped_in_a_row = report->applied ? 0 : progress->skipped_in_a_row + 1;
    trainer->stop_wanted = report->scalars[LMN__SCALAR_STOP] > 0.0F;
    trainer->checkpoint_wanted = report->scalars[LMN__SCALAR_CHECKPOINT] > 0.0F;
    trainer->time_is_over = report->scalars[LMN__SCALAR_TIME] > 0.0F;
    trainer->all_ready =
        report->scalars[LMN__SCALAR_READY] >= (float)lmn_world_size(trainer->world);
}

static void record_step(lmn_trainer *trainer, lmn__step_record *record, double start)
{
    const lmn_step_report *report = &trainer->report;
    record->applied = report->applied;
    record->loss = trainer->progress.loss;
    record->seconds = lmn_clock_seconds() - start;
    record->seconds_encode = report->seconds_encode;
    record->seconds_wait = report->seconds_wait;
    record->seconds_decode = report->seconds_decode;
    record->seconds_compute = record->seconds - record->seconds_read - record->seconds_encode -
                              record->seconds_wait - record->seconds_decode;
    lmn__records_add_step(trainer, record);
    lmn__waits_add_step(trainer, record->seconds);
    trainer->last_lr = record->lr;
    trainer->own_bytes_sent += report->bytes_sent;
    trainer->own_bytes_dense += report->bytes_dense;
    trainer->progress.seconds += record->seconds;
    trainer->progress.input_seconds += record->seconds_read;
    trainer->progress.adapt_seconds += report->seconds_adapt;
    trainer->step_seconds = trainer->step_seconds > 0.0
                                ? (1.0 - NEWEST) * trainer->step_seconds + NEWEST * record->seconds
                                : record->seconds;
}

static lmn_status check_skips(const lmn_trainer *trainer, lmn_error *err)
{
    const lmn__progress *progress = &trainer->progress;
    if (progress->skipped_in_a_row < trainer->settings.options.skip_limit) {
        return LMN_OK;
    }
    if (trainer->settings.options.skip_limit == 1) {
        return lmn_error_set(err, LMN_ERR_NONFINITE,
                             "%s; lower the learning rate or look for bad samples",
                             trainer->report.reason);
    }
    return lmn_error_set(err, LMN_ERR_NONFINITE,
                         "%" PRIu64 " steps in a row were skipped; in the last one: %s; lower the "
                         "learning rate or look for bad samples",
                         progress->skipped_in_a_row, trainer->report.reason);
}

lmn_status lmn__trainer_step(lmn_trainer *trainer, lmn_error *err)
{
    const double start = lmn_clock_seconds();
    const uint64_t step = trainer->progress.steps;
    lmn__step_record record = {.step = step, .lr = learning_rate(trainer, step)};
    trainer->seconds_inside = 0.0;
    lmn_world_note_step(trainer->world, step);
    const lmn_status status = reduce_gradients(trainer, &record, err);
    if (status != LMN_OK) {
        return status;
    }
    (void)lmn_world_note(trainer->world, &updating);
    if (trainer->report.applied) {
        const double reduced = lmn_clock_seconds();
        lmn__learner_update(&trainer->learner, trainer->reducer, record.lr,
                            trainer->progress.updates);
        lmn_trace_add(lmn__trainer_trace(trainer, step), "update", LMN_TRACE_LANE_WORK, step,
                      reduced, lmn_clock_seconds());
    }
    count_step(trainer);
    record_step(trainer, &record, start);
    return check_skips(trainer, err);
}

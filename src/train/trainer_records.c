/*
 * What a run writes down while it goes: steps, evaluations, levels, decisions on levels.
 *
 * Bytes are counted by every rank for itself. So that no step needs another reduction, each rank
 * keeps its numbers of up to 256 steps and they are added up at points that all ranks reach after
 * the same step: when that many wait, at evaluations, at checkpoints and at the end. There rank 0
 * also writes its rows, and there the ranks hear of it when that failed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "trainer_internal.h"

#include <string.h>

/* The file is brought up to date at least so often. */
static const double FLUSH_SECONDS = 60.0;

static const lmn_column step_columns[] = {
    {"step", "1", "number of the training step, from 0", LMN_COLUMN_U64, 1},
    {"loss", "nat", "mean loss of the step's global batch, before the update", LMN_COLUMN_F64, 1},
    {"learning_rate", "1", "learning rate of the step's update", LMN_COLUMN_F64, 1},
    {"applied", "1", "0: gradients were not finite and the step was skipped", LMN_COLUMN_U64, 1},
    {"bytes_sent", "byte", "payload that all ranks sent for gradients", LMN_COLUMN_U64, 1},
    {"bytes_dense", "byte", "what dense gradients would have taken", LMN_COLUMN_U64, 1},
    {"seconds", "s", "the whole step on rank 0", LMN_COLUMN_F64, 1},
    {"seconds_read", "s", "waiting for the batch on rank 0", LMN_COLUMN_F64, 1},
    {"seconds_compute", "s", "forward, backward and update on rank 0", LMN_COLUMN_F64, 1},
    {"seconds_encode", "s", "error feedback and compression on rank 0", LMN_COLUMN_F64, 1},
    {"seconds_wait", "s", "waiting for messages on rank 0", LMN_COLUMN_F64, 1},
    {"seconds_decode", "s", "combining messages on rank 0", LMN_COLUMN_F64, 1},
};
enum { N_STEP_COLUMNS = sizeof step_columns / sizeof step_columns[0] };

static const lmn_column evaluation_columns[] = {
    {"step", "1", "training steps made before the evaluation", LMN_COLUMN_U64, 1},
    {"epoch", "1", "passes over the training split made before it", LMN_COLUMN_F64, 1},
    {"test_loss", "nat", "mean loss over the test split", LMN_COLUMN_F64, 1},
    {"test_accuracy", "1", "fraction of the test split answered rightly", LMN_COLUMN_F64, 1},
    {"seconds", "s", "time of the evaluation on rank 0", LMN_COLUMN_F64, 1},
};
enum { N_EVALUATION_COLUMNS = sizeof evaluation_columns / sizeof evaluation_columns[0] };

/* The columns that every run has, then the metrics of the task. Returns how many. */
static size_t list_evaluation_columns(const lmn_task *task,
                                      lmn_column columns[N_EVALUATION_COLUMNS + LMN_METRICS_MAX])
{
    memcpy(columns, evaluation_columns, sizeof evaluation_columns);
    for (size_t i = 0; i < task->n_metrics; i++) {
        const lmn_metric *metric = &task->metrics[i];
        columns[N_EVALUATION_COLUMNS + i] =
            (lmn_column){metric->name, metric->unit, metric->help, LMN_COLUMN_F64, 1};
    }
    return N_EVALUATION_COLUMNS + task->n_metrics;
}

lmn_status lmn__records_create(lmn_trainer *trainer, lmn_error *err)
{
    lmn__records *records = lmn_alloc(1, sizeof *records, err);
    if (records == NULL) {
        return LMN_ERR_MEMORY;
    }
    trainer->records = records;
    const size_t n = trainer->learner.n_layers;
    records->n_layers = n;
    records->levels_recorded = lmn_alloc(n, sizeof *records->levels_recorded, err);
    records->levels_now = lmn_alloc(n, sizeof *records->levels_now, err);
    records->cells = lmn_alloc(1 + 2 * n, sizeof *records->cells, err);
    records->feedback_recorded = lmn_alloc(2 * n, sizeof *records->feedback_recorded, err);
    records->feedback_now = lmn_alloc(2 * n, sizeof *records->feedback_now, err);
    if (records->levels_recorded == NULL || records->levels_now == NULL || records->cells == NULL ||
        records->feedback_recorded == NULL || records->feedback_now == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t layer = 0; layer < n; layer++) {
        records->levels_recorded[layer] = UINT64_MAX;
    }
    return LMN_OK;
}

void lmn__records_destroy(lmn__records *records)
{
    if (records == NULL) {
        return;
    }
    lmn_results_close(records->results);
    lmn_free(records->levels_recorded);
    lmn_free(records->levels_now);
    lmn_free(records->feedback_recorded);
    lmn_free(records->feedback_now);
    lmn_free(records->cells);
    lmn_free(records->decision_cells);
    lmn_free(records);
}

static lmn_status add_feedback_table(lmn__records *records, lmn_error *err)
{
    const lmn_column columns[] = {
        {"step", "1", "first step with these", LMN_COLUMN_U64, 1},
        {"eta", "1", "strength at which errors of each layer of /layers are fed back",
         LMN_COLUMN_F64, records->n_layers},
        {"kept", "1", "share of energy that compression of each layer was seen to keep; or NaN",
         LMN_COLUMN_F64, records->n_layers},
    };
    return lmn_results_add_table(records->results, "/feedback", columns,
                                 sizeof columns / sizeof columns[0], LMN__TABLE_ROWS,
                                 &records->feedback, err);
}

static lmn_status add_tables(lmn__records *records, const lmn_task *task, lmn_error *err)
{
    lmn_column columns[N_EVALUATION_COLUMNS + LMN_METRICS_MAX];
    const size_t n_columns = list_evaluation_columns(task, columns);
    const lmn_column level_columns[] = {
        {"step", "1", "first step that travelled at these levels", LMN_COLUMN_U64, 1},
        {"level", "1", "compression level of each layer of /layers; 0 is dense", LMN_COLUMN_U64,
         records->n_layers},
        {"bytes", "byte", "message of each layer in that step on rank 0", LMN_COLUMN_U64,
         records->n_layers},
    };
    const lmn_column layer_columns[] = {
        {"step", "1", "number of the training step", LMN_COLUMN_U64, 1},
        {"bytes", "byte", "message of each layer of /layers on rank 0", LMN_COLUMN_U64,
         records->n_layers},
    };
    lmn_status status =
        lmn_results_add_table(records->results, "/steps", step_columns, N_STEP_COLUMNS,
                              LMN__TABLE_ROWS, &records->steps, err);
    if (status == LMN_OK) {
        status = lmn_results_add_table(records->results, "/evaluations", columns, n_columns,
                                       LMN__TABLE_ROWS, &records->evaluations, err);
    }
    if (status == LMN_OK) {
        status = lmn_results_add_table(records->results, "/levels", level_columns,
                                       sizeof level_columns / sizeof level_columns[0],
                                       LMN__TABLE_ROWS, &records->levels, err);
    }
    if (status == LMN_OK) {
        status = lmn_results_add_table(records->results, "/layer_bytes", layer_columns,
                                       sizeof layer_columns / sizeof layer_columns[0],
                                       LMN__TABLE_ROWS, &records->layer_bytes, err);
    }
    if (status == LMN_OK) {
        status = add_feedback_table(records, err);
    }
    return status;
}

/* Rows of steps that will be made again. An evaluation after the last step is made again, too. */
static lmn_status drop_rows(const lmn_trainer *trainer, lmn_error *err)
{
    const lmn__records *records = trainer->records;
    const uint64_t steps = trainer->progress.steps;
    const bool is_complete = lmn__trainer_is_complete(trainer);
    lmn_status status = lmn_table_truncate(records->steps, steps, err);
    if (status == LMN_OK) {
        status = lmn_table_truncate(records->levels, steps, err);
    }
    if (status == LMN_OK) {
        status = lmn_table_truncate(records->layer_bytes, steps, err);
    }
    if (status == LMN_OK) {
        status = lmn_table_truncate(records->feedback, steps, err);
    }
    if (status == LMN_OK && records->decisions != NULL) {
        status = lmn_table_truncate(records->decisions, steps, err);
    }
    if (status == LMN_OK && records->trials != NULL) {
        status = lmn_table_truncate(records->trials, steps, err);
    }
    if (status == LMN_OK) {
        status = lmn_table_truncate(records->evaluations, is_complete ? steps : steps + 1, err);
    }
    return status;
}

static lmn_status open_file(lmn_trainer *trainer, const lmn_placement *placements, lmn_error *err)
{
    lmn__records *records = trainer->records;
    const bool goes_on = trainer->progress.steps > 0;
    lmn_status status =
        lmn_results_open(trainer->settings.options.results_path, goes_on, &records->results, err);
    if (status == LMN_OK) {
        status = add_tables(records, &trainer->task, err);
    }
    if (status == LMN_OK) {
        status = lmn__decisions_open(trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn__waits_open_table(trainer, err);
    }
    if (status == LMN_OK) {
        status = drop_rows(trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn__shards_record(trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn__attributes_set_run(trainer, placements, err);
    }
    if (status == LMN_OK) {
        status = lmn__attributes_set_summary(trainer, err);
    }
    if (status == LMN_OK) {
        records->flushed_at = lmn_clock_seconds();
        status = lmn_results_flush(records->results, err);
    }
    return status;
}

/* Rank 0 only, and only with a results file; elsewhere it is NULL. */
static lmn_status take_placements(const lmn_trainer *trainer, lmn_placement **placements_out,
                                  lmn_error *err)
{
    const size_t size = (size_t)lmn_world_size(trainer->world);
    *placements_out = NULL;
    if (lmn_world_rank(trainer->world) != 0) {
        return LMN_OK;
    }
    *placements_out = lmn_alloc(size, sizeof **placements_out, err);
    return *placements_out == NULL ? LMN_ERR_MEMORY : LMN_OK;
}

lmn_status lmn__records_open(lmn_trainer *trainer, lmn_error *err)
{
    lmn_placement *placements = NULL;
    lmn_status status = take_placements(trainer, &placements, err);
    status = lmn_agree(trainer->world, status, err);
    if (status == LMN_OK) {
        status = lmn_world_gather_placements(trainer->world, placements, err);
    }
    if (status == LMN_OK) {
        lmn_status opened = LMN_OK;
        if (placements != NULL && trainer->settings.options.results_path != NULL) {
            opened = open_file(trainer, placements, err);
        }
        status = lmn_agree(trainer->world, opened, err);
    }
    if (status != LMN_OK) {
        lmn_free(placements);
        return status;
    }
    return lmn__waits_open(trainer, placements, err);
}

/* The first failure between two points of agreement is the one that is told. */
static void keep_failure(lmn__records *records, lmn_status status, const lmn_error *cause)
{
    if (status != LMN_OK && records->pending == LMN_OK) {
        records->pending = status;
        records->pending_error = *cause;
    }
}

void lmn__records_note_plan(lmn_trainer *trainer)
{
    lmn__records *records = trainer->records;
    for (size_t layer = 0; layer < records->n_layers; layer++) {
        const lmn_layer_feedback feedback = lmn_reducer_feedback(trainer->reducer, layer);
        records->levels_now[layer] = lmn_reducer_level(trainer->reducer, layer);
        records->feedback_now[layer] = feedback.eta;
        records->feedback_now[records->n_layers + layer] = feedback.eta > 0.0 ? feedback.kept : 0.0;
    }
}

/* A mechanism without eta never has a row. */
static void add_feedback(lmn_trainer *trainer, uint64_t step)
{
    lmn__records *records = trainer->records;
    const size_t n = 2 * records->n_layers;
    const size_t bytes = n * sizeof *records->feedback_now;
    if (memcmp(records->feedback_now, records->feedback_recorded, bytes) == 0) {
        return;
    }
    memcpy(records->feedback_recorded, records->feedback_now, bytes);
    if (records->feedback == NULL) {
        return;
    }
    records->cells[0].u64 = step;
    for (size_t i = 0; i < n; i++) {
        records->cells[1 + i].f64 = records->feedback_now[i];
    }
    lmn_error cause = lmn_error_none();
    keep_failure(records, lmn_table_append(records->feedback, records->cells, &cause), &cause);
}

static void add_levels(lmn_trainer *trainer, uint64_t step)
{
    lmn__records *records = trainer->records;
    const size_t bytes = records->n_layers * sizeof *records->levels_now;
    if (memcmp(records->levels_now, records->levels_recorded, bytes) == 0) {
        return;
    }
    memcpy(records->levels_recorded, records->levels_now, bytes);
    if (records->levels == NULL) {
        return;
    }
    lmn_cell *cells = records->cells;
    (cells++)->u64 = step;
    for (size_t layer = 0; layer < records->n_layers; layer++) {
        (cells++)->u64 = records->levels_now[layer];
    }
    for (size_t layer = 0; layer < records->n_layers; layer++) {
        (cells++)->u64 = lmn_reducer_layer_bytes(trainer->reducer, layer);
    }
    lmn_error cause = lmn_error_none();
    keep_failure(records, lmn_table_append(records->levels, records->cells, &cause), &cause);
}

static void add_layer_bytes(lmn_trainer *trainer, uint64_t step)
{
    lmn__records *records = trainer->records;
    if (records->layer_bytes == NULL) {
        return;
    }
    records->cells[0].u64 = step;
    for (size_t layer = 0; layer < records->n_layers; layer++) {
        records->cells[1 + layer].u64 = lmn_reducer_layer_bytes(trainer->reducer, layer);
    }
    lmn_error cause = lmn_error_none();
    keep_failure(records, lmn_table_append(records->layer_bytes, records->cells, &cause), &cause);
}

void lmn__records_add_step(lmn_trainer *trainer, const lmn__step_record *record)
{
    lmn__records *records = trainer->records;
    const size_t i = records->n_waiting++;
    records->waiting[i] = *record;
    records->bytes[2 * i] = trainer->report.bytes_sent;
    records->bytes[2 * i + 1] = trainer->report.bytes_dense;
    add_layer_bytes(trainer, record->step);
    if (record->applied) {
        add_levels(trainer, record->step);
        add_feedback(trainer, record->step);
    }
    lmn_error cause = lmn_error_none();
    keep_failure(records, lmn__decisions_add(trainer, record->step, &cause), &cause);
}

void lmn__records_add_evaluation(lmn_trainer *trainer)
{
    lmn__records *records = trainer->records;
    if (records->evaluations == NULL) {
        return;
    }
    lmn_cell cells[N_EVALUATION_COLUMNS + LMN_METRICS_MAX] = {{.u64 = trainer->progress.steps},
                                                              {.f64 = lmn__trainer_epochs(trainer)},
                                                              {.f64 = trainer->evaluation.loss},
                                                              {.f64 = trainer->evaluation.accuracy},
                                                              {.f64 = trainer->evaluation.seconds}};
    for (size_t i = 0; i < trainer->task.n_metrics; i++) {
        cells[N_EVALUATION_COLUMNS + i].f64 = trainer->evaluation.metrics[i];
    }
    lmn_error cause = lmn_error_none();
    keep_failure(records, lmn_table_append(records->evaluations, cells, &cause), &cause);
}

static lmn_status append_step(const lmn__records *records, size_t i, lmn_error *err)
{
    const lmn__step_record *record = &records->waiting[i];
    const lmn_cell cells[N_STEP_COLUMNS] = {{.u64 = record->step},
                                            {.f64 = record->loss},
                                            {.f64 = record->lr},
                                            {.u64 = record->applied ? 1 : 0},
                                            {.u64 = records->bytes[2 * i]},
                                            {.u64 = records->bytes[2 * i + 1]},
                                            {.f64 = record->seconds},
                                            {.f64 = record->seconds_read},
                                            {.f64 = record->seconds_compute},
                                            {.f64 = record->seconds_encode},
                                            {.f64 = record->seconds_wait},
                                            {.f64 = record->seconds_decode}};
    return lmn_table_append(records->steps, cells, err);
}

static bool is_nearly_full(const lmn_table *table)
{
    return lmn_table_room(table) < LMN__RECORD_STEPS;
}

static bool flush_due(const lmn_trainer *trainer)
{
    const lmn__records *records = trainer->records;
    return is_nearly_full(records->steps) || is_nearly_full(records->levels) ||
           lmn__waits_is_nearly_full(trainer) ||
           (records->decisions != NULL && is_nearly_full(records->decisions)) ||
           is_nearly_full(records->layer_bytes) || is_nearly_full(records->feedback) ||
           is_nearly_full(records->evaluations) ||
           lmn_clock_seconds() - records->flushed_at >= FLUSH_SECONDS;
}

/* Rank 0 only. */
static lmn_status write_rows(lmn_trainer *trainer, bool flush, lmn_error *err)
{
    lmn__records *records = trainer->records;
    if (records->pending != LMN_OK) {
        return lmn_error_set(err, records->pending, "%s", records->pending_error.message);
    }
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < records->n_waiting && status == LMN_OK; i++) {
        status = append_step(records, i, err);
        if (status == LMN_OK) {
            status = lmn__waits_write_row(trainer, i, records->waiting[i].step, err);
        }
    }
    if (status != LMN_OK || !(flush || flush_due(trainer))) {
        return status;
    }
    status = lmn__attributes_set_summary(trainer, err);
    if (status == LMN_OK) {
        status = lmn__waits_set_lists(trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn_results_flush(records->results, err);
    }
    records->flushed_at = lmn_clock_seconds();
    return status;
}

/* Times are those of rank 0 everywhere, so that a checkpoint holds one truth. */
static lmn_status share_times(lmn_trainer *trainer, lmn_error *err)
{
    double times[] = {trainer->progress.seconds, lmn__trainer_total_seconds(trainer),
                      trainer->progress.input_seconds, trainer->progress.adapt_seconds};
    const lmn_status status = lmn_world_broadcast(trainer->world, times, sizeof times, 0, err);
    if (status == LMN_OK) {
        trainer->progress.seconds = times[0];
        trainer->progress.total_seconds = times[1];
        trainer->progress.input_seconds = times[2];
        trainer->progress.adapt_seconds = times[3];
    }
    return status;
}

lmn_status lmn__records_gather(lmn_trainer *trainer, bool flush, lmn_error *err)
{
    lmn__records *records = trainer->records;
    lmn_status status =
        lmn_world_sum_u64(trainer->world, records->bytes, 2 * records->n_waiting, err);
    if (status == LMN_OK) {
        status = share_times(trainer, err);
    }
    if (status == LMN_OK) {
        status = lmn__waits_gather(trainer, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    for (size_t i = 0; i < records->n_waiting; i++) {
        trainer->progress.bytes_sent += records->bytes[2 * i];
        trainer->progress.bytes_dense += records->bytes[2 * i + 1];
    }
    const lmn_status written = records->results != NULL ? write_rows(trainer, flush, err) : LMN_OK;
    records->n_waiting = 0;
    return lmn_agree(trainer->world, written, err);
}

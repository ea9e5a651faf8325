/*
 * What run.h5 says of a run besides its rows: how it was asked for, where it ran, how it went.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/version.h"
#include "trainer_internal.h"

#include <stdio.h>

/* Of a level in words. */
#define LEVEL_BYTES 64

static const char configuration[] = "/configuration";
static const char machine[] = "/machine";
static const char summary[] = "/summary";

typedef struct named_text {
    const char *name;
    const char *value;
} named_text;

typedef struct named_u64 {
    const char *name;
    uint64_t value;
} named_u64;

typedef struct named_f64 {
    const char *name;
    double value;
} named_f64;

static lmn_status set_texts(lmn_results *results, const char *group, const named_text *items,
                            size_t n, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < n && status == LMN_OK; i++) {
        if (items[i].value != NULL) {
            status = lmn_results_set_text(results, group, items[i].name, items[i].value, err);
        }
    }
    return status;
}

static lmn_status set_u64s(lmn_results *results, const char *group, const named_u64 *items,
                           size_t n, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < n && status == LMN_OK; i++) {
        status = lmn_results_set_u64(results, group, items[i].name, items[i].value, err);
    }
    return status;
}

static lmn_status set_f64s(lmn_results *results, const char *group, const named_f64 *items,
                           size_t n, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < n && status == LMN_OK; i++) {
        status = lmn_results_set_f64(results, group, items[i].name, items[i].value, err);
    }
    return status;
}

static lmn_status set_descriptions(const lmn_trainer *trainer, lmn_error *err)
{
    lmn_status status = LMN_OK;
    const lmn__description *item = trainer->settings.descriptions;
    for (; item != NULL && status == LMN_OK; item = item->next) {
        status = lmn_results_set_text(trainer->records->results, configuration, item->name,
                                      item->value, err);
    }
    return status;
}

static lmn_status set_numbers(const lmn_trainer *trainer, lmn_error *err)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    const named_u64 numbers[] = {
        {"steps", options->steps},
        {"total_steps", trainer->settings.total_steps},
        {"global_batch", options->global_batch},
        {"seed", options->seed},
        {"evaluate_every", options->evaluate_every},
        {"checkpoint_every", options->checkpoint_every},
        {"checkpoint_keep", options->checkpoint_keep},
        {"checkpoint_async", options->checkpoint_async ? 1 : 0},
        {"resume", options->resume ? 1 : 0},
        {"verify_every", options->verify_every},
        {"skip_limit", options->skip_limit},
        {"memory_bytes", options->memory_bytes},
        {"bucket_bytes", options->reducer.bucket_bytes},
        {"dense_below", options->reducer.dense_below},
        {"dataset_fingerprint", lmn_dataset_fingerprint(trainer->dataset)}};
    const named_f64 measures[] = {{"lr", options->lr},
                                  {"epochs", options->epochs},
                                  {"checkpoint_seconds", options->checkpoint_seconds},
                                  {"failure_seconds", options->failure_seconds},
                                  {"max_seconds", options->max_seconds}};
    const lmn_status status = set_u64s(trainer->records->results, configuration, numbers,
                                       sizeof numbers / sizeof numbers[0], err);
    return status == LMN_OK ? set_f64s(trainer->records->results, configuration, measures,
                                       sizeof measures / sizeof measures[0], err)
                            : status;
}

static lmn_status set_configuration(const lmn_trainer *trainer, lmn_error *err)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    const named_text texts[] = {{"compress", options->reducer.compress},
                                {"feedback", options->reducer.feedback},
                                {"allocate", options->reducer.allocate},
                                {"collective", options->reducer.collective},
                                {"hierarchy", options->reducer.hierarchy},
                                {"optimizer", options->optimizer},
                                {"schedule", options->schedule},
                                {"augment", options->augment},
                                {"split", options->split},
                                {"results_path", options->results_path},
                                {"checkpoint_directory", options->checkpoint_directory}};
    lmn_status status = set_texts(trainer->records->results, configuration, texts,
                                  sizeof texts / sizeof texts[0], err);
    if (status == LMN_OK) {
        status = set_numbers(trainer, err);
    }
    return status == LMN_OK ? set_descriptions(trainer, err) : status;
}

/* "rank 1 on node7, cores 0-3 (4)" for every rank. */
static lmn_status set_placement(lmn_results *results, const lmn_placement *placements, size_t size,
                                lmn_error *err)
{
    enum { LINE_BYTES = LMN_HOST_BYTES + LMN_CPUS_BYTES + 64 };
    char *lines = lmn_alloc(size, LINE_BYTES, err);
    const char **texts = lmn_alloc(size, sizeof *texts, err);
    lmn_status status = lines == NULL || texts == NULL ? LMN_ERR_MEMORY : LMN_OK;
    for (size_t i = 0; i < size && status == LMN_OK; i++) {
        const lmn_placement *place = &placements[i];
        texts[i] = lines + i * LINE_BYTES;
        (void)snprintf(lines + i * LINE_BYTES, LINE_BYTES, "rank %d on %s (node %d of %d), cpus %s",
                       place->rank, place->host, place->node, place->node_count,
                       place->cpus[0] != '\0' ? place->cpus : "unknown");
    }
    if (status == LMN_OK) {
        status = lmn_results_set_texts(results, "/machine/placement", texts, size, err);
    }
    lmn_free((void *)texts);
    lmn_free(lines);
    return status;
}

static lmn_status set_machine(const lmn_trainer *trainer, const lmn_placement *placements,
                              lmn_error *err)
{
    lmn_results *results = trainer->records->results;
    const uint64_t ranks = (uint64_t)lmn_world_size(trainer->world);
    const named_text texts[] = {{"version", lmn_version()}, {"build", lmn_build_description()}};
    const named_u64 numbers[] = {{"ranks", ranks}, {"nodes", (uint64_t)placements[0].node_count}};
    lmn_status status = set_texts(results, machine, texts, 2, err);
    if (status == LMN_OK) {
        status = set_u64s(results, machine, numbers, 2, err);
    }
    return status == LMN_OK ? set_placement(results, placements, (size_t)ranks, err) : status;
}

static lmn_status set_layers(const lmn_trainer *trainer, lmn_error *err)
{
    const lmn_parameters *parameters = trainer->learner.parameters;
    const size_t n = trainer->learner.n_layers;
    const char **names = lmn_alloc(n, sizeof *names, err);
    uint64_t *counts = lmn_alloc(n, sizeof *counts, err);
    lmn_status status = names == NULL || counts == NULL ? LMN_ERR_MEMORY : LMN_OK;
    for (size_t layer = 0; layer < n && status == LMN_OK; layer++) {
        names[layer] = lmn_parameters_name(parameters, layer);
        counts[layer] = lmn_shape_count(lmn_parameters_shape(parameters, layer));
    }
    if (status == LMN_OK) {
        status = lmn_results_set_texts(trainer->records->results, "/layers/name", names, n, err);
    }
    if (status == LMN_OK) {
        status = lmn_results_set_u64s(trainer->records->results, "/layers/parameters", "1", counts,
                                      n, err);
    }
    lmn_free((void *)names);
    lmn_free(counts);
    return status;
}

/* What the numbers in /levels and /decisions stand for. */
static lmn_status set_level_names(const lmn_trainer *trainer, lmn_error *err)
{
    const size_t n = lmn_reducer_level_count(trainer->reducer);
    const char **names = lmn_alloc(n, sizeof *names, err);
    char *texts = lmn_alloc(n, LEVEL_BYTES, err);
    lmn_status status = names == NULL || texts == NULL ? LMN_ERR_MEMORY : LMN_OK;
    for (size_t level = 0; level < n && status == LMN_OK; level++) {
        char *const text = texts + level * LEVEL_BYTES;
        lmn_reducer_level_name(trainer->reducer, level, text, LEVEL_BYTES);
        names[level] = text;
    }
    if (status == LMN_OK) {
        status = lmn_results_set_texts(trainer->records->results, "/level_names", names, n, err);
    }
    lmn_free((void *)names);
    lmn_free(texts);
    return status;
}

lmn_status lmn__attributes_set_run(const lmn_trainer *trainer, const lmn_placement *placements,
                                   lmn_error *err)
{
    lmn_status status = set_configuration(trainer, err);
    if (status == LMN_OK) {
        status = set_machine(trainer, placements, err);
    }
    if (status == LMN_OK) {
        status = set_layers(trainer, err);
    }
    return status == LMN_OK ? set_level_names(trainer, err) : status;
}

/* What the task has to say of the last loss on the test split. */
static lmn_status set_metrics(const lmn_trainer *trainer, lmn_error *err)
{
    const lmn_task *task = &trainer->task;
    double values[LMN_METRICS_MAX];
    lmn_task_measure(task, LMN_SPLIT_TEST, trainer->progress.test_loss, values);
    lmn_status status = LMN_OK;
    const size_t n = trainer->progress.test_samples > 0 ? task->n_metrics : 0;
    for (size_t i = 0; i < n && status == LMN_OK; i++) {
        status = lmn_results_set_f64(trainer->records->results, summary, task->metrics[i].name,
                                     values[i], err);
    }
    return status;
}

static lmn_status set_waiting(const lmn_trainer *trainer, lmn_error *err)
{
    const lmn_waiting *waiting = lmn__waits_total(trainer);
    lmn_results *results = trainer->records->results;
    const named_u64 numbers[] = {{"wait_steps", waiting->steps},
                                 {"late_rank", waiting->rank > 0 ? (uint64_t)waiting->rank : 0},
                                 {"late_steps", waiting->rank_steps}};
    const named_f64 measures[] = {{"wait_step_seconds", waiting->step_seconds},
                                  {"wait_seconds", waiting->seconds},
                                  {"late_seconds", waiting->rank_seconds},
                                  {"clock_error", waiting->clock_error},
                                  {"link_bytes_per_s", waiting->delivered},
                                  {"link_measured_bytes_per_s", waiting->measured}};
    const size_t n_measures =
        sizeof measures / sizeof measures[0] - (waiting->measured > 0.0 ? 0 : 1);
    if (waiting->steps == 0) {
        return LMN_OK;
    }
    lmn_status status =
        set_u64s(results, summary, numbers, sizeof numbers / sizeof numbers[0], err);
    if (status == LMN_OK) {
        status = set_f64s(results, summary, measures, n_measures, err);
    }
    return status == LMN_OK
               ? lmn_results_set_text(results, summary, "late_host", waiting->host, err)
               : status;
}

lmn_status lmn__attributes_set_summary(const lmn_trainer *trainer, lmn_error *err)
{
    lmn_results *results = trainer->records->results;
    const lmn__progress *progress = &trainer->progress;
    const bool is_complete = lmn__trainer_is_complete(trainer);
    const named_u64 numbers[] = {{"steps", progress->steps},
                                 {"skipped", progress->skipped},
                                 {"stopped", trainer->stop_wanted && !is_complete ? 1 : 0},
                                 {"complete", is_complete ? 1 : 0},
                                 {"bytes_sent", progress->bytes_sent},
                                 {"bytes_dense", progress->bytes_dense},
                                 {"ranks", (uint64_t)lmn_world_size(trainer->world)},
                                 {"seed", trainer->settings.options.seed},
                                 {"parameters", lmn_parameters_total(trainer->learner.parameters)},
                                 {"param_hash", lmn_parameters_hash(trainer->learner.parameters)},
                                 {"test_samples", progress->test_samples}};
    const named_f64 measures[] = {{"epochs", lmn__trainer_epochs(trainer)},
                                  {"train_loss", progress->loss},
                                  {"seconds", progress->seconds},
                                  {"total_seconds", progress->total_seconds},
                                  {"input_seconds", progress->input_seconds},
                                  {"adapt_seconds", progress->adapt_seconds},
                                  {"test_loss", progress->test_loss},
                                  {"test_accuracy", progress->test_accuracy}};
    /* What was never measured has no attribute. */
    const size_t n_measures =
        sizeof measures / sizeof measures[0] - (progress->test_samples > 0 ? 0 : 2);
    lmn_status status =
        set_u64s(results, summary, numbers, sizeof numbers / sizeof numbers[0], err);
    if (status == LMN_OK) {
        status = set_f64s(results, summary, measures, n_measures, err);
    }
    if (status == LMN_OK) {
        status = set_waiting(trainer, err);
    }
    return status == LMN_OK ? set_metrics(trainer, err) : status;
}

/*
 * What a run must remember, and going on from there.
 *
 * One list names everything; a checkpoint is the list written, and resuming is the list read back
 * before the first step. Order matters in one place: a checkpoint is written after the rows up to
 * its step have reached run.h5, so that a run that resumes finds all rows it does not make again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "trainer_internal.h"

#include <inttypes.h>

static lmn_status add_specs(lmn_trainer *trainer, lmn_error *err)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    const struct {
        const char *name, *value;
    } specs[] = {
        {"compress", options->reducer.compress}, {"feedback", options->reducer.feedback},
        {"allocate", options->reducer.allocate}, {"collective", options->reducer.collective},
        {"optimizer", options->optimizer},       {"augment", options->augment},
        {"schedule", options->schedule},         {"split", options->split}};
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < sizeof specs / sizeof specs[0] && status == LMN_OK; i++) {
        status = lmn_state_add_text(trainer->state, specs[i].name, specs[i].value, true, err);
    }
    return status;
}

static lmn_status add_numbers(lmn_trainer *trainer, lmn_error *err)
{
    lmn__progress *progress = &trainer->progress;
    lmn__identity *identity = &trainer->identity;
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {{"updates", &progress->updates},
                   {"skipped", &progress->skipped},
                   {"skipped_in_a_row", &progress->skipped_in_a_row},
                   {"bytes_sent", &progress->bytes_sent},
                   {"bytes_dense", &progress->bytes_dense},
                   {"test_samples", &progress->test_samples},
                   {"param_hash", &progress->param_hash},
                   {"global_batch", &identity->global_batch},
                   {"seed", &identity->seed},
                   {"dataset_fingerprint", &identity->dataset_fingerprint},
                   {"total_steps", &identity->total_steps}};
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && status == LMN_OK; i++) {
        status = lmn_state_add_u64(trainer->state, numbers[i].name, numbers[i].value, err);
    }
    return status;
}

static lmn_status add_measures(lmn_trainer *trainer, lmn_error *err)
{
    lmn__progress *progress = &trainer->progress;
    const struct {
        const char *path, *unit;
        double *value;
    } measures[] = {{"/progress/loss", "nat", &progress->loss},
                    {"/progress/seconds", "s", &progress->seconds},
                    {"/progress/total_seconds", "s", &progress->total_seconds},
                    {"/progress/input_seconds", "s", &progress->input_seconds},
                    {"/progress/adapt_seconds", "s", &progress->adapt_seconds},
                    {"/progress/test_loss", "nat", &progress->test_loss},
                    {"/progress/test_accuracy", "1", &progress->test_accuracy}};
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < sizeof measures / sizeof measures[0] && status == LMN_OK; i++) {
        status = lmn_state_add_array(trainer->state, measures[i].path, measures[i].unit,
                                     LMN_STATE_REPLICATED, LMN_STATE_F64, 0, NULL,
                                     measures[i].value, err);
    }
    return status;
}

lmn_status lmn__trainer_make_state(lmn_trainer *trainer, lmn_error *err)
{
    lmn_status status = lmn_state_create(&trainer->state, err);
    if (status == LMN_OK) {
        status = lmn__learner_add_state(&trainer->learner, trainer->state, err);
    }
    if (status == LMN_OK) {
        status = lmn_reducer_add_state(trainer->reducer, trainer->state, err);
    }
    if (status == LMN_OK) {
        status = lmn_state_add_array(
            trainer->state, "/allocation/levels_recorded", "1", LMN_STATE_REPLICATED, LMN_STATE_U64,
            1, &trainer->records->n_layers, trainer->records->levels_recorded, err);
    }
    if (status == LMN_OK) {
        const size_t dims[2] = {2, trainer->records->n_layers};
        status =
            lmn_state_add_array(trainer->state, "/feedback/recorded", "1", LMN_STATE_REPLICATED,
                                LMN_STATE_F64, 2, dims, trainer->records->feedback_recorded, err);
    }
    if (status == LMN_OK) {
        status = lmn__shards_add_state(trainer, err);
    }
    if (status == LMN_OK) {
        status = add_specs(trainer, err);
    }
    if (status == LMN_OK) {
        status = add_numbers(trainer, err);
    }
    return status == LMN_OK ? add_measures(trainer, err) : status;
}

lmn__identity lmn__trainer_identity(const lmn_trainer *trainer)
{
    return (lmn__identity){.global_batch = trainer->settings.options.global_batch,
                           .seed = trainer->settings.options.seed,
                           .dataset_fingerprint = lmn_dataset_fingerprint(trainer->dataset),
                           .total_steps = trainer->settings.total_steps};
}

static lmn_status check_identity(const lmn_trainer *trainer, const char *path, lmn_error *err)
{
    const lmn__identity own = lmn__trainer_identity(trainer);
    const lmn__identity *saved = &trainer->identity;
    if (saved->global_batch != own.global_batch) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s' is of a run with batches of %" PRIu64 " samples, not %" PRIu64
                             ": resume it with the same batch",
                             path, saved->global_batch, own.global_batch);
    }
    if (saved->seed != own.seed) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s' is of a run with seed %" PRIu64 ", not %" PRIu64
                             ": resume it with the same seed",
                             path, saved->seed, own.seed);
    }
    if (saved->dataset_fingerprint != own.dataset_fingerprint) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s' is of a run on other data: its dataset has fingerprint "
                             "%016" PRIx64 ", this one %016" PRIx64,
                             path, saved->dataset_fingerprint, own.dataset_fingerprint);
    }
    return LMN_OK;
}

static lmn_status check_parameters(const lmn_trainer *trainer, const char *path, lmn_error *err)
{
    const uint64_t hash = lmn_parameters_hash(trainer->learner.parameters);
    if (hash != trainer->progress.param_hash) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "the parameters loaded from '%s' have hash %016" PRIx64
                             ", but %016" PRIx64 " was written: resume from another checkpoint",
                             path, hash, trainer->progress.param_hash);
    }
    return LMN_OK;
}

static void say_resumed(const lmn_trainer *trainer, const char *path)
{
    if (lmn_world_rank(trainer->world) != 0) {
        return;
    }
    const lmn_logger *log = lmn_world_log(trainer->world);
    const uint64_t total = trainer->settings.total_steps;
    lmn_log_write(log, LMN_LOG_INFO, "going on from %s after %" PRIu64 " of %" PRIu64 " steps",
                  path, trainer->progress.steps, total);
    const uint64_t ranks = lmn_state_ranks_read(trainer->state);
    if (lmn_state_was_cut_anew(trainer->state)) {
        lmn_log_write(log, LMN_LOG_INFO,
                      "it was written by %" PRIu64 " ranks%s, and %d go on: what error feedback "
                      "remembers is dealt out anew, with the same means; the global batch stays",
                      ranks, ranks == (uint64_t)lmn_world_size(trainer->world) ? " elsewhere" : "",
                      lmn_world_size(trainer->world));
    }
    if (trainer->identity.total_steps != total) {
        lmn_log_write(log, LMN_LOG_WARN,
                      "the run was to make %" PRIu64 " steps when %s was written, and now %" PRIu64
                      ": the schedule of learning rates changes with it",
                      trainer->identity.total_steps, path, total);
    }
}

static lmn_status load(lmn_trainer *trainer, const char *path, uint64_t step, lmn_error *err)
{
    lmn_status status = lmn_checkpoint_read(trainer->world, path, trainer->state, err);
    if (status != LMN_OK) {
        return status;
    }
    status = check_identity(trainer, path, err);
    if (status == LMN_OK) {
        status = check_parameters(trainer, path, err);
    }
    if (status == LMN_OK) {
        status = lmn__shards_go_on(trainer, step, err);
    }
    status = lmn_agree(trainer->world, status, err);
    if (status == LMN_OK) {
        status = lmn_reducer_restored(trainer->reducer, err);
    }
    if (status == LMN_OK && lmn_state_was_cut_anew(trainer->state)) {
        status = lmn_reducer_recut(trainer->reducer, err);
    }
    if (status == LMN_OK) {
        trainer->progress.steps = step;
        trainer->seconds_before = trainer->progress.total_seconds;
        say_resumed(trainer, path);
    }
    return status;
}

lmn_status lmn__trainer_restore(lmn_trainer *trainer, lmn_error *err)
{
    const lmn_trainer_options *options = &trainer->settings.options;
    if (options->checkpoint_directory == NULL) {
        return LMN_OK;
    }
    char path[LMN_PATH_BYTES];
    uint64_t step = 0;
    const lmn_status status =
        lmn_checkpoint_latest(trainer->world, options->checkpoint_directory, path, &step, err);
    if (status != LMN_OK || path[0] == '\0') {
        return status;
    }
    if (!options->resume) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s' holds checkpoints of another run: resume it, or choose another "
                             "directory",
                             options->checkpoint_directory);
    }
    if (step > trainer->settings.total_steps) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s' has made %" PRIu64 " steps, but the run is to make only %" PRIu64
                             ": ask for more steps or choose another directory",
                             path, step, trainer->settings.total_steps);
    }
    return load(trainer, path, step, err);
}

/*
 * What a run was asked to do: options checked, copied, and compared over ranks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/augment.h"
#include "lamina/hash.h"
#include "trainer_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

lmn_trainer_options lmn_trainer_options_default(void)
{
    return (lmn_trainer_options){.reducer = lmn_reducer_options_default(),
                                 .optimizer = "sgd:momentum=0.9",
                                 .schedule = "cosine",
                                 .augment = "none",
                                 .split = "iid",
                                 .lr = 0.05,
                                 .epochs = 1.0,
                                 .global_batch = 128,
                                 .seed = 1,
                                 .checkpoint_keep = 3,
                                 .verify_every = 100,
                                 .skip_limit = 50,
                                 .trace_step = 10};
}

/* The texts of options, NULL where there is none. */
enum { N_TEXTS = 12 };

static void list_texts(lmn_trainer_options *options, const char **texts[N_TEXTS])
{
    const char **const all[N_TEXTS] = {&options->reducer.compress, &options->reducer.feedback,
                                       &options->reducer.allocate, &options->reducer.collective,
                                       &options->optimizer,        &options->schedule,
                                       &options->augment,          &options->split,
                                       &options->results_path,     &options->checkpoint_directory,
                                       &options->trace_path,       &options->reducer.hierarchy};
    memcpy(texts, all, sizeof all);
}

static lmn_status copy_texts(lmn__settings *settings, lmn_error *err)
{
    const char **texts[N_TEXTS];
    list_texts(&settings->options, texts);
    size_t bytes = 0;
    for (size_t i = 0; i < N_TEXTS; i++) {
        bytes += *texts[i] != NULL ? lmn_align_up(strlen(*texts[i]) + 1) : 0;
    }
    const lmn_status status = lmn_arena_create(bytes, &settings->texts, err);
    for (size_t i = 0; i < N_TEXTS && status == LMN_OK; i++) {
        if (*texts[i] != NULL) {
            const size_t length = strlen(*texts[i]) + 1;
            char *copy = lmn_arena_take(settings->texts, length, 1);
            assert(copy != NULL);
            memcpy(copy, *texts[i], length);
            *texts[i] = copy;
        }
    }
    return status;
}

/* Beyond 2^53 steps or passes doubles no longer count one by one. */
static const double COUNT_MAX = 9007199254740992.0;

static bool is_above_zero(double value)
{
    return isfinite(value) && value > 0.0;
}

static double passes_to_steps(const lmn_trainer_options *options, uint64_t samples)
{
    return ceil(options->epochs * (double)samples / (double)options->global_batch);
}

static lmn_status check_amounts(const lmn_trainer_options *options, uint64_t samples,
                                lmn_error *err)
{
    if (!is_above_zero(options->lr)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the learning rate is %g, but must be above 0 and finite",
                             options->lr);
    }
    if (options->steps == 0 && !is_above_zero(options->epochs)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "nothing to train: neither steps nor a number of epochs above 0 is "
                             "given (epochs %g)",
                             options->epochs);
    }
    if (options->steps == 0 && passes_to_steps(options, samples) > COUNT_MAX) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "%g epochs are more than can be counted",
                             options->epochs);
    }
    if (options->skip_limit == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the limit of skipped steps in a row must be at least 1");
    }
    if (!(options->max_seconds >= 0.0)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the time to train is %g seconds, but must be 0 or more",
                             options->max_seconds);
    }
    if (!(options->checkpoint_seconds >= 0.0)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "seconds between checkpoints are %g, but must be 0 or more",
                             options->checkpoint_seconds);
    }
    if (!(options->failure_seconds >= 0.0)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the mean time between failures is %g seconds, but must be 0 or more",
                             options->failure_seconds);
    }
    return LMN_OK;
}

static lmn_status check_options(const lmn_trainer_options *options, const lmn_dataset_info *info,
                                int size, lmn_error *err)
{
    if (options->global_batch < (size_t)size) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "a global batch of %zu samples is smaller than the %d ranks that "
                             "share it: use at least one sample per rank",
                             options->global_batch, size);
    }
    if (info->sample_count[LMN_SPLIT_TRAIN] == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "the dataset's training split is empty");
    }
    const lmn_reducer_options *reducer = &options->reducer;
    if (options->optimizer == NULL || options->schedule == NULL || options->augment == NULL ||
        options->split == NULL || reducer->compress == NULL || reducer->feedback == NULL ||
        reducer->allocate == NULL || reducer->collective == NULL || reducer->hierarchy == NULL) {
        return lmn_error_set(
            err, LMN_ERR_ARGUMENT,
            "optimizer, schedule, augment, split, compress, feedback, allocate and "
            "hierarchy need a spec each, and collective a name; start from "
            "lmn_trainer_options_default");
    }
    lmn_augment augment = {0};
    const lmn_status status = lmn_augment_parse(options->augment, &augment, err);
    if (status != LMN_OK) {
        return status;
    }
    const bool wants_checkpoints = options->resume || options->checkpoint_every > 0 ||
                                   options->checkpoint_seconds > 0.0 ||
                                   options->failure_seconds > 0.0;
    if (wants_checkpoints && options->checkpoint_directory == NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "checkpoints are asked for, or to be resumed from, but no checkpoint "
                             "directory is given");
    }
    return check_amounts(options, info->sample_count[LMN_SPLIT_TRAIN], err);
}

static uint64_t count_steps(const lmn_trainer_options *options, uint64_t samples)
{
    if (options->steps > 0) {
        return options->steps;
    }
    const double steps = passes_to_steps(options, samples);
    return steps < 1.0 ? 1 : (uint64_t)steps;
}

lmn_status lmn__settings_create(lmn__settings *settings, const lmn_trainer_options *options,
                                const lmn_dataset_info *info, int size, lmn_error *err)
{
    const lmn_status status = check_options(options, info, size, err);
    if (status != LMN_OK) {
        return status;
    }
    settings->options = *options;
    settings->options.reducer.n_scalars = LMN__SCALAR_COUNT;
    settings->total_steps = count_steps(options, info->sample_count[LMN_SPLIT_TRAIN]);
    return copy_texts(settings, err);
}

static uint64_t hash_text(const char *text, uint64_t hash)
{
    return text != NULL ? lmn_hash64(text, strlen(text) + 1, hash) : lmn_hash64("", 0, hash);
}

/* Where results go matters to rank 0 alone; the reducer compares its own options. */
lmn_status lmn__settings_agree(const lmn__settings *settings, lmn_world *world, lmn_error *err)
{
    const lmn_trainer_options *options = &settings->options;
    const uint64_t numbers[] = {settings->total_steps,
                                options->global_batch,
                                options->seed,
                                options->evaluate_every,
                                options->checkpoint_every,
                                options->checkpoint_keep,
                                options->resume ? 1U : 0U,
                                options->verify_every,
                                options->skip_limit,
                                options->memory_bytes,
                                options->trace_step,
                                options->checkpoint_async ? 1U : 0U,
                                options->measure_link ? 1U : 0U};
    uint64_t hash = lmn_hash64(numbers, sizeof numbers, 0);
    hash = lmn_hash64(&options->lr, sizeof options->lr, hash);
    hash = lmn_hash64(&options->max_seconds, sizeof options->max_seconds, hash);
    hash = hash_text(options->optimizer, hash);
    hash = hash_text(options->schedule, hash);
    hash = hash_text(options->augment, hash);
    hash = hash_text(options->split, hash);
    hash = hash_text(options->checkpoint_directory, hash);
    hash = hash_text(options->trace_path, hash);
    return lmn_world_check_same(world, "the trainer's options", hash, err);
}

static char *copy_of(const char *text, lmn_error *err)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = lmn_alloc(bytes, 1, err);
    if (copy != NULL) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

static void destroy_description(lmn__description *description)
{
    if (description != NULL) {
        lmn_free(description->name);
        lmn_free(description->value);
        lmn_free(description);
    }
}

lmn_status lmn_trainer_describe(lmn_trainer *trainer, const char *name, const char *value,
                                bool must_match, lmn_error *err)
{
    lmn__description *description = lmn_alloc(1, sizeof *description, err);
    if (description == NULL) {
        return LMN_ERR_MEMORY;
    }
    description->must_match = must_match;
    description->name = copy_of(name, err);
    description->value = copy_of(value, err);
    if (description->name == NULL || description->value == NULL) {
        destroy_description(description);
        return LMN_ERR_MEMORY;
    }
    /* The checkpoint's list refuses a name that is taken or cannot be an attribute. */
    const lmn_status status = lmn_state_add_text(trainer->state, name, value, must_match, err);
    if (status != LMN_OK) {
        destroy_description(description);
        return status;
    }
    lmn__description **end = &trainer->settings.descriptions;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = description;
    return LMN_OK;
}

void lmn__settings_destroy(lmn__settings *settings)
{
    while (settings->descriptions != NULL) {
        lmn__description *next = settings->descriptions->next;
        destroy_description(settings->descriptions);
        settings->descriptions = next;
    }
    lmn_arena_destroy(settings->texts);
}

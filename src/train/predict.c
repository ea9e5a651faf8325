/*
 * Profiles: a few steps of a model, from which steps elsewhere are predicted.
 *
 * The steps are real ones, over the ranks at hand, with an allocator that weighs times
 * (predict_profile.c): what it gathers is what a prediction needs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "predict_internal.h"

#include <stdio.h>
#include <string.h>

enum { SPEC_BYTES = 128, STEPS_MIN = 3, STEPS_MAX = 1000 };

lmn_profile_options lmn_profile_options_default(void)
{
    return (lmn_profile_options){.compress = "topk:density=0.01",
                                 .feedback = "econtrol",
                                 .collective = "auto",
                                 .optimizer = "sgd:momentum=0.9",
                                 .lr = 0.05,
                                 .alpha = 1.0,
                                 .bucket_bytes = (size_t)4 << 20,
                                 .batch = 128,
                                 .steps = 12,
                                 .seed = 1};
}

static lmn_status check_options(const lmn_profile_options *options, lmn_error *err)
{
    if (options->steps < STEPS_MIN || options->steps > STEPS_MAX || options->batch == 0 ||
        !(options->alpha > 0.0) || !(options->compute_seconds >= 0.0)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot profile %zu steps of %zu samples, alpha %g and %g s: %d to %d "
                             "steps, a sample, and numbers that are positive are needed",
                             options->steps, options->batch, options->alpha,
                             options->compute_seconds, STEPS_MIN, STEPS_MAX);
    }
    return LMN_OK;
}

static lmn_status list_layers(lmn_profile *profile, lmn_error *err)
{
    const size_t n = profile->learner.n_layers;
    profile->layers = lmn_alloc(n, sizeof *profile->layers, err);
    if (profile->layers == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t layer = 0; layer < n; layer++) {
        const lmn_shape *shape = lmn_parameters_shape(profile->learner.parameters, layer);
        lmn_reducer_layer *to = &profile->layers[layer];
        to->name = lmn_parameters_name(profile->learner.parameters, layer);
        to->n_dims = shape->n_dims;
        to->dense = lmn__learner_is_statistic(&profile->learner, layer);
        memcpy(to->dims, shape->dims, shape->n_dims * sizeof *shape->dims);
    }
    return LMN_OK;
}

/* Local: graph, plan, layers. */
static lmn_status prepare(lmn_profile *profile, const lmn_task *task,
                          const lmn_profile_options *options, lmn_error *err)
{
    const int size = lmn_world_size(profile->world);
    lmn_status status = check_options(options, err);
    if (status != LMN_OK) {
        return status;
    }
    profile->options = lmn_trainer_options_default();
    profile->options.optimizer = options->optimizer;
    profile->options.schedule = "constant";
    profile->options.lr = options->lr;
    profile->options.global_batch = options->batch * (size_t)size;
    profile->options.seed = options->seed;
    profile->seed = options->seed;
    profile->batch = options->batch;
    status =
        lmn__learner_create(&profile->learner, task, &profile->info, &profile->options, size, err);
    return status == LMN_OK ? list_layers(profile, err) : status;
}

/* All levels are measured at the end of the steps; from then on nothing is decided any more. */
static lmn_status connect(lmn_profile *profile, const lmn_profile_options *options, lmn_error *err)
{
    char allocate[SPEC_BYTES];
    (void)snprintf(allocate, sizeof allocate, "time:warmup=%zu,window=%zu,every=1000000000",
                   options->steps, options->steps - 1);
    lmn_reducer_options reducer = lmn_reducer_options_default();
    reducer.compress = options->compress;
    reducer.feedback = options->feedback;
    reducer.collective = options->collective;
    reducer.allocate = allocate;
    reducer.bucket_bytes = options->bucket_bytes;
    reducer.hierarchy = "flat";
    reducer.seed = options->seed;
    return lmn_reducer_create(profile->world, profile->layers, profile->learner.n_layers, &reducer,
                              &profile->reducer, err);
}

static lmn_status open_reader(lmn_profile *profile, const lmn_dataset *dataset, lmn_error *err)
{
    if (dataset == NULL) {
        return lmn__profile_make_samples(profile, err);
    }
    const lmn_reader_options options = {.split = LMN_SPLIT_TRAIN,
                                        .shuffle = true,
                                        .seed = profile->seed,
                                        .global_batch = profile->options.global_batch,
                                        .rank = lmn_world_rank(profile->world),
                                        .size = lmn_world_size(profile->world),
                                        .read_ahead = 4};
    return lmn_reader_create(dataset, &options, &profile->reader, err);
}

static lmn_status take_tables(lmn_profile *profile, lmn_error *err)
{
    const size_t n = profile->learner.n_layers;
    const size_t cells = n * profile->reducer->timing->n_levels;
    profile->levels = lmn_alloc(3 * n, sizeof(size_t), err);
    profile->bucket = lmn_alloc(n, sizeof(size_t), err);
    profile->ready = lmn_alloc(n, sizeof(double), err);
    profile->quiet = lmn_alloc(n + 1, LMN__QUIET_STEPS * sizeof(double), err);
    profile->tables = lmn_alloc(4 * cells, sizeof(double), err);
    profile->bytes = lmn_alloc(2 * cells, sizeof(uint64_t), err);
    const bool is_complete = profile->levels != NULL && profile->bucket != NULL &&
                             profile->ready != NULL && profile->quiet != NULL &&
                             profile->tables != NULL && profile->bytes != NULL;
    return is_complete ? LMN_OK : LMN_ERR_MEMORY;
}

static lmn_status create_choosers(lmn_profile *profile, double alpha, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (lmn_chooser c = LMN_CHOOSER_LGRECO; c < LMN_CHOOSER_COUNT && status == LMN_OK; c++) {
        char spec[SPEC_BYTES];
        (void)snprintf(spec, sizeof spec, "%s:alpha=%.17g", lmn_chooser_name(c), alpha);
        status =
            lmn_allocator_create(spec, profile->learner.n_layers,
                                 profile->reducer->timing->n_levels, &profile->choosers[c], err);
    }
    return status;
}

/* Local, once there is a reducer. */
static lmn_status complete(lmn_profile *profile, const lmn_dataset *dataset,
                           const lmn_profile_options *options, lmn_error *err)
{
    profile->reducer->timing->is_silent = true;
    lmn_status status = lmn__learner_bind_gradients(&profile->learner, profile->reducer, err);
    if (status == LMN_OK) {
        status = open_reader(profile, dataset, err);
    }
    if (status == LMN_OK) {
        status = take_tables(profile, err);
    }
    return status == LMN_OK ? create_choosers(profile, options->alpha, err) : status;
}

lmn_status lmn_profile_create(lmn_world *world, const lmn_task *task, const lmn_dataset_info *info,
                              const lmn_dataset *dataset, const lmn_profile_options *options,
                              lmn_profile **profile_out, lmn_error *err)
{
    lmn_profile *profile = lmn_alloc(1, sizeof *profile, err);
    lmn_status status = profile == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (profile != NULL) {
        profile->world = world;
        profile->info = *info;
        status = prepare(profile, task, options, err);
    }
    status = lmn_agree(world, status, err);
    if (status != LMN_OK || profile == NULL) {
        lmn_profile_destroy(profile);
        return status;
    }
    status = connect(profile, options, err);
    if (status == LMN_OK) {
        status = lmn_agree(world, complete(profile, dataset, options, err), err);
    }
    if (status == LMN_OK) {
        status = lmn__profile_make_steps(profile, options, err);
    }
    if (status != LMN_OK) {
        lmn_profile_destroy(profile);
        return status;
    }
    *profile_out = profile;
    return LMN_OK;
}

void lmn_profile_destroy(lmn_profile *profile)
{
    if (profile == NULL) {
        return;
    }
    lmn_reader_destroy(profile->reader);
    for (size_t i = 0; i < LMN_FIELDS_MAX; i++) {
        lmn_free(profile->fields[i]);
    }
    for (size_t i = 0; i < LMN_CHOOSER_COUNT; i++) {
        lmn_allocator_destroy(profile->choosers[i]);
    }
    lmn_reducer_destroy(profile->reducer);
    lmn__learner_destroy(&profile->learner);
    lmn_free(profile->layers);
    lmn_free(profile->levels);
    lmn_free(profile->bucket);
    lmn_free(profile->ready);
    lmn_free(profile->quiet);
    lmn_free(profile->tables);
    lmn_free(profile->bytes);
    lmn_free(profile);
}

/*
 * The steps of a profile: dense ones, some that only compute, and some that compress.
 *
 * In dense steps the allocator notes what it needs for a decision. While messages travel, computing
 * takes longer than it does alone: the system moves bytes on the same cores. So a few steps only
 * compute, on all ranks at once, and what dense steps computed longer is charged to their messages,
 * by the byte. Encoders are tried one by one in a dense step; what encoding and decoding take in
 * the course of steps, with caches as these leave them, some compressed steps show.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "predict_internal.h"

#include <stdlib.h>
#include <string.h>

/* Steps of either kind beside the dense ones. */
enum { FURTHER_MIN = 6 };

/* ------------------------------------------------------------------ steps */

static lmn_status hand_over(void *user, size_t output, lmn_error *err)
{
    const lmn_profile *profile = user;
    if (output < LMN__OUTPUT_GRADIENTS) {
        return LMN_OK;
    }
    const size_t layer = profile->learner.layer_of[output - LMN__OUTPUT_GRADIENTS];
    return lmn_reducer_ready(profile->reducer, layer, lmn_reducer_gradient(profile->reducer, layer),
                             err);
}

static lmn_status move_messages(void *user, lmn_error *err)
{
    return lmn_reducer_progress(((lmn_profile *)user)->reducer, err);
}

static lmn_status sum_ranks(void *user, double *values, size_t n, lmn_error *err)
{
    return lmn_world_sum_f64(((lmn_profile *)user)->world, values, n, err);
}

static lmn_status next_batch(lmn_profile *profile, lmn_error *err)
{
    lmn__inputs *inputs = &profile->learner.inputs;
    const float weight = 1.0F / (float)profile->batch;
    lmn_batch batch = {.rows = inputs->rows, .valid = inputs->rows};
    if (profile->reader != NULL) {
        const lmn_status status = lmn_reader_next(profile->reader, &batch, err);
        if (status != LMN_OK) {
            return status;
        }
    } else {
        for (size_t i = 0; i < profile->info.n_fields; i++) {
            batch.fields[i] = profile->fields[i];
        }
    }
    lmn__inputs_fill(inputs, &batch, weight);
    return LMN_OK;
}

static lmn_status compute(lmn_profile *profile, uint64_t step, lmn_output_fn on_output,
                          lmn_progress_fn on_progress, lmn_error *err)
{
    lmn_status status = next_batch(profile, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_run run = {.seed = profile->seed,
                         .step = step,
                         .first_row = profile->batch * (size_t)lmn_world_rank(profile->world),
                         .training = true,
                         .on_output = on_output,
                         .on_progress = on_progress,
                         .sum_ranks = sum_ranks,
                         .user = profile};
    return lmn_plan_run(profile->learner.plan, &run, err);
}

static lmn_status make_step(lmn_profile *profile, uint64_t step, lmn_error *err)
{
    lmn_status status = lmn_reducer_begin(profile->reducer, step, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_error cause = lmn_error_none();
    status = compute(profile, step, hand_over, move_messages, &cause);
    if (status == LMN_ERR_COMM) {
        return lmn_error_set(err, status, "%s", cause.message);
    }
    if (status != LMN_OK) {
        status = lmn_reducer_fail(profile->reducer, status, &cause, err);
    }
    lmn_step_report report;
    if (status == LMN_OK) {
        status = lmn_reducer_finish(profile->reducer, &report, err);
    }
    if (status == LMN_OK && !report.applied) {
        status = lmn_error_set(err, LMN_ERR_NONFINITE, "%s", report.reason);
    }
    if (status == LMN_OK) {
        lmn__learner_update(&profile->learner, profile->reducer, profile->options.lr, step);
    }
    return status;
}

/* ------------------------------------------------------------------ compressed */

/* The levels of the spec for some steps, at which factors of encoding and decoding are found. */
static lmn_status make_compressed_steps(lmn_profile *profile, uint64_t first, size_t count,
                                        lmn_error *err)
{
    lmn_reducer *reducer = profile->reducer;
    lmn__timing *timing = reducer->timing;
    if (timing->n_levels < 2) {
        return LMN_OK;
    }
    const size_t uniform = lmn_compressor_static_level(reducer->compressor);
    timing->phase = LMN__TIME_SETTLED; /* nothing is judged */
    for (size_t i = 0; i < reducer->n_layers; i++) {
        reducer->levels[i] = reducer->layers[i].small ? 0 : uniform;
    }
    lmn_status status = LMN_OK;
    for (uint64_t step = first; step < first + count && status == LMN_OK; step++) {
        status = make_step(profile, step, err);
    }
    if (status == LMN_OK) {
        status = lmn__timing_gather(reducer, err);
    }
    /* Tables are for two ranks at least, and one rank alone has only its own entries to add up. */
    if (reducer->team.size == 1 &&
        lmn_compressor_combine(reducer->compressor, uniform) == LMN_COMBINE_SPARSE) {
        timing->decode_factor *= 2.0;
    }
    return status;
}

/* ------------------------------------------------------------------ computing alone */

static lmn_status note_ready(void *user, size_t output, lmn_error *err)
{
    (void)err;
    lmn_profile *profile = user;
    if (output >= LMN__OUTPUT_GRADIENTS) {
        const size_t layer = profile->learner.layer_of[output - LMN__OUTPUT_GRADIENTS];
        profile->quiet[layer * LMN__QUIET_STEPS + profile->quiet_step] =
            lmn_clock_seconds() - profile->quiet_began_at;
    }
    return LMN_OK;
}

/* All ranks begin together, since they share caches and memory as they do in training. */
static lmn_status make_quiet_step(lmn_profile *profile, uint64_t step, lmn_error *err)
{
    lmn_status status = lmn_agree(profile->world, LMN_OK, err);
    if (status != LMN_OK) {
        return status;
    }
    profile->quiet_began_at = lmn_clock_seconds();
    status = compute(profile, step, note_ready, NULL, err);
    profile->quiet[profile->learner.n_layers * LMN__QUIET_STEPS + profile->quiet_step++] =
        lmn_clock_seconds() - profile->quiet_began_at;
    return status == LMN_ERR_COMM ? status : lmn_agree(profile->world, status, err);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The slowest rank's medians, in nanoseconds, into profile->bytes: layers, then the whole. */
static lmn_status settle_quiet(lmn_profile *profile, lmn_error *err)
{
    const size_t n = profile->learner.n_layers + 1;
    for (size_t i = 0; i < n; i++) {
        double *seconds = profile->quiet + i * LMN__QUIET_STEPS;
        qsort(seconds, profile->quiet_step, sizeof *seconds, compare);
        profile->bytes[i] = (uint64_t)(1e9 * seconds[profile->quiet_step / 2]);
    }
    return lmn_world_max_u64(profile->world, profile->bytes, n, err);
}

/* dense_compute: seconds of computing in dense steps. */
static lmn_status make_quiet_steps(lmn_profile *profile, uint64_t first, size_t n_steps,
                                   double dense_compute, lmn_error *err)
{
    lmn__timing *timing = profile->reducer->timing;
    lmn_status status = LMN_OK;
    for (uint64_t step = first; step < first + n_steps && status == LMN_OK; step++) {
        status = make_quiet_step(profile, step, err);
    }
    if (status == LMN_OK) {
        status = settle_quiet(profile, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const size_t n = profile->learner.n_layers;
    const double alone = 1e-9 * (double)profile->bytes[n];
    for (size_t layer = 0; layer < n; layer++) {
        timing->ready[layer] = 1e-9 * (double)profile->bytes[layer];
    }
    timing->medians[LMN__TIME_COMPUTE] = alone;
    if (lmn_world_size(profile->world) > 1 && dense_compute > alone) {
        timing->dense_progress += dense_compute - alone;
    }
    return LMN_OK;
}

/* A step that computes for another time has its gradients ready at the same parts of it. */
static void set_compute(lmn_profile *profile, double seconds)
{
    lmn__timing *timing = profile->reducer->timing;
    const double factor = seconds / timing->medians[LMN__TIME_COMPUTE];
    for (size_t layer = 0; layer < timing->n_layers; layer++) {
        timing->ready[layer] *= factor;
    }
    timing->medians[LMN__TIME_COMPUTE] = seconds;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

lmn_status lmn__profile_make_steps(lmn_profile *profile, const lmn_profile_options *options,
                                   lmn_error *err)
{
    const lmn__timing *timing = profile->reducer->timing;
    const size_t half = options->steps / 2;
    const size_t n_further = least(half < FURTHER_MIN ? FURTHER_MIN : half, LMN__QUIET_STEPS);
    lmn_status status = LMN_OK;
    uint64_t step = 0;
    while (step < options->steps && status == LMN_OK) {
        status = make_step(profile, step++, err);
    }
    const double dense_compute = timing->medians[LMN__TIME_COMPUTE];
    if (status == LMN_OK) {
        status = make_compressed_steps(profile, step, n_further, err);
    }
    if (status == LMN_OK) {
        status = make_quiet_steps(profile, step + n_further, n_further, dense_compute, err);
    }
    if (status == LMN_OK && options->compute_seconds > 0.0) {
        set_compute(profile, options->compute_seconds);
    }
    return status;
}

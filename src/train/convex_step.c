/*
 * Steps of a convex run: error feedback around one message of every worker.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_internal.h"
#include "lamina/memory.h"
#include "lamina/spec.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ methods */

typedef enum start_choice { START_GRADIENT = 0, START_ZERO = 1 } start_choice;

typedef struct adef_config {
    uint64_t init;
} adef_config;

static const lmn_spec_field adef_fields[] = {
    {.key = "init",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(adef_config, init),
     .choices = "grad|zero",
     .help = "how tracking starts: grad sends the first step dense, zero does not (grad)"},
};

static const lmn_spec_entry own_methods[] = {
    {.name = "adef",
     .summary = "accelerated, with two messages a step; f64 only",
     .fields = adef_fields,
     .n_fields = sizeof adef_fields / sizeof adef_fields[0]},
    {.name = "ec-ideal",
     .summary = "ec about the gradients at the optimum, which no real run knows; needs --optimum"},
};

const lmn_spec_entry *lmn_convex_method_entry(size_t index)
{
    return index < sizeof own_methods / sizeof own_methods[0] ? &own_methods[index] : NULL;
}

static lmn_status choose_adef(lmn_convex_run *run, lmn_error *err)
{
    adef_config config = {.init = START_GRADIENT};
    const lmn_status status =
        lmn_spec_parse("feedback", run->options.feedback, adef_fields,
                       sizeof adef_fields / sizeof adef_fields[0], &config, err);
    if (status == LMN_OK && run->options.is_f32) {
        return lmn_error_set(err, LMN_ERR_USAGE, "feedback 'adef' needs f64 numbers");
    }
    run->method = LMN__CONVEX_ADEF;
    run->tracks_from_gradient = config.init == START_GRADIENT;
    return status;
}

static lmn_status choose_ideal(lmn_convex_run *run, lmn_error *err)
{
    lmn_status status = lmn_spec_parse("feedback", run->options.feedback, NULL, 0, NULL, err);
    if (status == LMN_OK && !run->options.with_optimum) {
        status = lmn_error_set(err, LMN_ERR_USAGE,
                               "feedback 'ec-ideal' works with gradients at the optimum: give "
                               "--optimum as well");
    }
    run->method = LMN__CONVEX_IDEAL;
    return status == LMN_OK ? lmn_feedback_create("ec", &run->feedback, err) : status;
}

lmn_status lmn__convex_choose_method(lmn_convex_run *run, lmn_error *err)
{
    char name[LMN_SPEC_NAME_BYTES];
    const lmn_status status = lmn_spec_name(run->options.feedback, name, err);
    if (status != LMN_OK) {
        return status;
    }
    if (strcmp(name, "adef") == 0) {
        return choose_adef(run, err);
    }
    if (strcmp(name, "ec-ideal") == 0) {
        return choose_ideal(run, err);
    }
    run->method = LMN__CONVEX_FEEDBACK;
    return lmn_feedback_create(run->options.feedback, &run->feedback, err);
}

/* ------------------------------------------------------------------ gradients */

bool lmn__convex_steps_on_full_gradients(const lmn_convex_run *run)
{
    return run->options.batch == 0 && run->method != LMN__CONVEX_ADEF;
}

static lmn__convex_draw draw_of(const lmn_convex_run *run)
{
    return (lmn__convex_draw){
        .batch = run->options.batch, .seed = run->options.seed, .step = (uint32_t)run->step};
}

void lmn__convex_draw_gradients(lmn_convex_run *run, const double *point)
{
    const lmn__convex_draw draw = draw_of(run);
    for (size_t part = 0; part < run->problem->own.count; part++) {
        run->values[part] = lmn__convex_gradient(run->problem, part, &draw, point,
                                                 run->gradients + part * run->problem->dimension);
    }
}

void lmn__convex_disturb_gradients(lmn_convex_run *run)
{
    const lmn__convex_draw draw = draw_of(run);
    for (size_t part = 0; part < run->problem->own.count; part++) {
        lmn__convex_add_noise(run->problem, part, &draw,
                              run->gradients + part * run->problem->dimension);
    }
}

/* ------------------------------------------------------------------ feedback */

/* What all workers do in a step. */
typedef struct step_plan {
    size_t level;
    bool first; /* of a run that starts dense */
    double eta;
} step_plan;

static step_plan plan_of(const lmn_convex_run *run)
{
    step_plan plan = {.level = lmn_compressor_static_level(run->compressor)};
    plan.first = run->step == 0 && lmn_feedback_starts_dense(run->feedback);
    if (plan.first) {
        plan.level = 0;
    }
    const lmn_eta_rule rule = lmn_compressor_eta(run->compressor, plan.level, run->channel.shape);
    plan.eta = lmn_feedback_eta(run->feedback, rule.suggested);
    return plan;
}

static lmn_feedback_tile_f64 tile_of(const lmn_convex_run *run, const step_plan *plan, size_t part)
{
    const size_t offset = part * run->problem->dimension;
    lmn_feedback_tile_f64 tile = {.count = run->problem->dimension,
                                  .eta = plan->eta,
                                  .first = plan->first,
                                  .whole = plan->level == 0,
                                  .gradient = run->gradients + offset};
    for (size_t i = 0; i < lmn_feedback_state_count(run->feedback); i++) {
        tile.state[i] = run->states[i] + offset;
        tile.next[i] = run->states[i] + offset;
    }
    return tile;
}

static lmn_feedback_tile tile_of_f32(const lmn_convex_run *run, const step_plan *plan, size_t part)
{
    const size_t offset = part * run->problem->dimension;
    lmn_feedback_tile tile = {.count = run->problem->dimension,
                              .eta = plan->eta,
                              .first = plan->first,
                              .whole = plan->level == 0,
                              .gradient = run->gradients_f32 + offset};
    for (size_t i = 0; i < lmn_feedback_state_count(run->feedback); i++) {
        tile.state[i] = run->states_f32[i] + offset;
        tile.next[i] = run->states_f32[i] + offset;
    }
    return tile;
}

static void to_f32(const double *from, size_t count, float *to)
{
    for (size_t i = 0; i < count; i++) {
        to[i] = (float)from[i];
    }
}

/* v of an own worker, in run->vectors. */
static bool form(lmn_convex_run *run, const step_plan *plan, size_t part)
{
    const size_t dimension = run->problem->dimension;
    const size_t offset = part * dimension;
    if (!run->options.is_f32) {
        const lmn_feedback_tile_f64 tile = tile_of(run, plan, part);
        return lmn_feedback_form_f64(run->feedback, &tile, run->vectors + offset);
    }
    to_f32(run->gradients + offset, dimension, run->gradients_f32 + offset);
    const lmn_feedback_tile tile = tile_of_f32(run, plan, part);
    if (!lmn_feedback_form(run->feedback, &tile, run->vectors_f32 + offset)) {
        return false;
    }
    for (size_t i = 0; i < dimension; i++) {
        run->vectors[offset + i] = (double)run->vectors_f32[offset + i];
    }
    return true;
}

static void advance(lmn_convex_run *run, const step_plan *plan, size_t part)
{
    const size_t dimension = run->problem->dimension;
    const size_t offset = part * dimension;
    if (!run->options.is_f32) {
        const lmn_feedback_tile_f64 tile = tile_of(run, plan, part);
        lmn_feedback_advance_f64(run->feedback, &tile, run->vectors + offset, run->sent + offset);
        return;
    }
    to_f32(run->sent + offset, dimension, run->sent_f32 + offset);
    const lmn_feedback_tile tile = tile_of_f32(run, plan, part);
    lmn_feedback_advance(run->feedback, &tile, run->vectors_f32 + offset, run->sent_f32 + offset);
}

/* What a run keeps has its numbers' precision. */
static double keep(const lmn_convex_run *run, double value)
{
    return run->options.is_f32 ? (double)(float)value : value;
}

/* x -= lr u, where u is the mean of what was sent, or of what is tracked. */
static void descend(lmn_convex_run *run)
{
    const double lr = keep(run, run->options.lr);
    for (size_t i = 0; i < run->problem->dimension; i++) {
        run->x[i] = keep(run, run->x[i] - lr * keep(run, run->mean[i]));
    }
}

/* Gradients relative to those at the optimum; their mean is 0, so nothing need be added back. */
static void centre_gradients(lmn_convex_run *run)
{
    const size_t count = run->problem->own.count * run->problem->dimension;
    for (size_t i = 0; i < count; i++) {
        run->gradients[i] -= run->ideal[i];
    }
}

lmn_status lmn__convex_step(lmn_convex_run *run, size_t *silent_out, lmn_error *err)
{
    const size_t dimension = run->problem->dimension;
    const step_plan plan = plan_of(run);
    if (run->method == LMN__CONVEX_IDEAL) {
        centre_gradients(run);
    }
    for (size_t part = 0; part < run->problem->own.count; part++) {
        if (!form(run, &plan, part)) {
            /* The message then says so to all ranks. */
            run->vectors[part * dimension] = (double)INFINITY;
        }
    }
    lmn__convex_sending sending = {.level = plan.level,
                                   .step = (uint32_t)run->step,
                                   .vectors = run->vectors,
                                   .sent = run->sent,
                                   .tracked = run->tracked,
                                   .renews = plan.level == 0,
                                   .mean = run->mean};
    const lmn_status status = lmn__convex_send(&run->channel, &sending, err);
    *silent_out = sending.silent;
    if (status != LMN_OK || sending.silent < run->problem->workers) {
        return status;
    }
    for (size_t part = 0; part < run->problem->own.count; part++) {
        advance(run, &plan, part);
    }
    descend(run);
    return LMN_OK;
}

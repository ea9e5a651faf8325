/*
 * Runs on convex problems: memory, the loop over steps, and its end.
 *
 * In front of each step the point is recorded, if its turn has come; that needs f and its gradient
 * over all data. Where steps use full gradients, the ones that are computed serve both.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_internal.h"
#include "lamina/memory.h"

#include <inttypes.h>
#include <string.h>

lmn_convex_run_options lmn_convex_run_options_default(void)
{
    return (lmn_convex_run_options){.compress = "dense",
                                    .feedback = "none",
                                    .lr = 0.01,
                                    .steps = 1000,
                                    .seed = 1,
                                    .record_every = 1};
}

/* ------------------------------------------------------------------ creation */

/* Number of states of a worker. */
static size_t state_count(const lmn_convex_run *run)
{
    return run->method == LMN__CONVEX_ADEF ? 2 : lmn_feedback_state_count(run->feedback);
}

static double *take(bool is_used, size_t count, bool *has_all, lmn_error *err)
{
    if (!is_used) {
        return NULL;
    }
    double *memory = lmn_alloc(count, sizeof *memory, err);
    *has_all = *has_all && memory != NULL;
    return memory;
}

static float *take_f32(bool is_used, size_t count, bool *has_all, lmn_error *err)
{
    if (!is_used) {
        return NULL;
    }
    float *memory = lmn_alloc(count, sizeof *memory, err);
    *has_all = *has_all && memory != NULL;
    return memory;
}

static lmn_status take_memory(lmn_convex_run *run, lmn_error *err)
{
    const size_t dimension = run->problem->dimension;
    const size_t own = run->problem->own.count * dimension;
    const bool is_f32 = run->options.is_f32;
    const bool is_adef = run->method == LMN__CONVEX_ADEF;
    bool has_all = true;
    run->x = take(true, dimension, &has_all, err);
    run->mean = take(true, dimension, &has_all, err);
    run->tracked = take(is_adef || lmn_feedback_tracks(run->feedback),
                        run->problem->workers * dimension, &has_all, err);
    run->estimate = take(is_adef, dimension, &has_all, err);
    run->gradients = take(true, own, &has_all, err);
    run->vectors = take(true, own, &has_all, err);
    run->sent = take(true, own, &has_all, err);
    run->values = take(true, run->problem->own.count, &has_all, err);
    run->ideal = take(run->method == LMN__CONVEX_IDEAL, own, &has_all, err);
    run->y = take(is_adef, dimension, &has_all, err);
    run->z = take(is_adef, dimension, &has_all, err);
    run->optimum = take(run->options.with_optimum, dimension, &has_all, err);
    run->full_gradient = take(true, dimension, &has_all, err);
    run->gradients_f32 = take_f32(is_f32, own, &has_all, err);
    run->vectors_f32 = take_f32(is_f32, own, &has_all, err);
    run->sent_f32 = take_f32(is_f32, own, &has_all, err);
    for (size_t i = 0; i < state_count(run); i++) {
        run->states[i] = take(!is_f32, own, &has_all, err);
        run->states_f32[i] = take_f32(is_f32, own, &has_all, err);
    }
    return has_all ? LMN_OK : LMN_ERR_MEMORY;
}

/* Local. */
static lmn_status prepare(lmn_convex_run *run, lmn_error *err)
{
    lmn_status status = lmn_compressor_create(run->options.compress, &run->compressor, err);
    if (status == LMN_OK) {
        status = lmn__convex_choose_method(run, err);
    }
    if (status == LMN_OK && run->options.steps > UINT32_MAX) {
        status = lmn_error_set(err, LMN_ERR_USAGE, "%" PRIu64 " steps are more than 2^32 - 1",
                               run->options.steps);
    }
    if (status == LMN_OK) {
        status = take_memory(run, err);
    }
    return status;
}

/* x* and what is measured from it. Collective. */
static lmn_status find_optimum(lmn_convex_run *run, lmn_error *err)
{
    if (run->optimum == NULL) {
        return LMN_OK;
    }
    lmn_status status = lmn_convex_optimum(run->problem, run->optimum, err);
    if (status == LMN_OK) {
        status =
            lmn_convex_evaluate(run->problem, run->optimum, &run->optimum_objective, NULL, err);
    }
    const lmn__convex_draw all_rows = {.batch = 0};
    for (size_t part = 0; run->ideal != NULL && status == LMN_OK && part < run->problem->own.count;
         part++) {
        (void)lmn__convex_gradient(run->problem, part, &all_rows, run->optimum,
                                   run->ideal + part * run->problem->dimension);
    }
    return status;
}

static void start(lmn_convex_run *run)
{
    for (size_t i = 0; i < run->problem->dimension; i++) {
        const double at = run->problem->start[i];
        run->x[i] = run->options.is_f32 ? (double)(float)at : at;
        if (run->z != NULL) {
            run->z[i] = run->x[i];
        }
    }
}

static lmn_status create(lmn_convex_run *run, lmn_error *err)
{
    lmn_convex_problem *problem = run->problem;
    lmn_status status = lmn_agree(problem->world, prepare(run, err), err);
    if (status == LMN_OK) {
        const size_t messages = run->method == LMN__CONVEX_ADEF ? 2 : 1;
        status = lmn__convex_channel_create(problem, run->compressor, run->options.is_f32,
                                            run->options.seed, messages, &run->channel, err);
    }
    if (status == LMN_OK) {
        status = find_optimum(run, err);
    }
    if (status == LMN_OK) {
        start(run);
        status = lmn_agree(problem->world, lmn__convex_results_open(run, err), err);
    }
    return status;
}

lmn_status lmn_convex_run_create(lmn_convex_problem *problem, const lmn_convex_run_options *options,
                                 lmn_convex_run **run_out, lmn_error *err)
{
    lmn_convex_run *run = lmn_alloc(1, sizeof *run, err);
    lmn_status status = lmn_agree(problem->world, run == NULL ? LMN_ERR_MEMORY : LMN_OK, err);
    if (status != LMN_OK || run == NULL) {
        lmn_free(run);
        return status;
    }
    run->problem = problem;
    run->options = *options;
    run->options.record_every = options->record_every == 0 ? 1 : options->record_every;
    status = create(run, err);
    if (status != LMN_OK) {
        lmn_convex_run_destroy(run);
        return status;
    }
    *run_out = run;
    return LMN_OK;
}

void lmn_convex_run_destroy(lmn_convex_run *run)
{
    if (run == NULL) {
        return;
    }
    lmn_results_close(run->results);
    lmn__convex_channel_destroy(&run->channel);
    lmn_compressor_destroy(run->compressor);
    lmn_feedback_destroy(run->feedback);
    double *const memory[] = {run->x,
                              run->mean,
                              run->tracked,
                              run->gradients,
                              run->vectors,
                              run->sent,
                              run->ideal,
                              run->y,
                              run->z,
                              run->optimum,
                              run->values,
                              run->estimate,
                              run->full_gradient};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        lmn_free(memory[i]);
    }
    for (size_t i = 0; i < LMN_FEEDBACK_STATES_MAX; i++) {
        lmn_free(run->states[i]);
        lmn_free(run->states_f32[i]);
    }
    lmn_free(run->gradients_f32);
    lmn_free(run->vectors_f32);
    lmn_free(run->sent_f32);
    lmn_free(run->cells);
    lmn_free(run);
}

lmn_status lmn_convex_run_describe(lmn_convex_run *run, const char *name, const char *value,
                                   lmn_error *err)
{
    return run->results == NULL
               ? LMN_OK
               : lmn_results_set_text(run->results, "/configuration", name, value, err);
}

/* ------------------------------------------------------------------ the loop */

static bool is_recorded(const lmn_convex_run *run)
{
    return run->step % run->options.record_every == 0 || run->step == run->options.steps;
}

/* The mean of the full gradients of own workers at x, which stay in run->gradients. Collective. */
static lmn_status evaluate_here(lmn_convex_run *run, double *objective_out, lmn_error *err)
{
    lmn_convex_problem *problem = run->problem;
    lmn__convex_exchange_begin(&problem->vectors);
    for (size_t part = 0; part < problem->own.count; part++) {
        lmn__convex_put_vector(problem, run->values[part],
                               run->gradients + part * problem->dimension);
    }
    return lmn__convex_mean(problem, objective_out, run->full_gradient, err);
}

/* Record the present point, when its turn has come, and leave the gradients that the step begins
   with in run->gradients. LMN_ERR_NONFINITE here is the same on all ranks. */
static lmn_status look(lmn_convex_run *run, lmn_error *err)
{
    const bool shares = lmn__convex_steps_on_full_gradients(run);
    double objective = 0.0;
    lmn_status status = LMN_OK;
    if (shares) {
        lmn__convex_draw_gradients(run, run->x);
    }
    if (is_recorded(run)) {
        status =
            shares ? evaluate_here(run, &objective, err)
                   : lmn_convex_evaluate(run->problem, run->x, &objective, run->full_gradient, err);
        if (status == LMN_OK) {
            /* The table has room for all rows, so this cannot fail on one rank alone. */
            status = lmn__convex_record(run, objective, err);
        }
    }
    return status;
}

static lmn_status make_step(lmn_convex_run *run, size_t *silent_out, lmn_error *err)
{
    if (run->method == LMN__CONVEX_ADEF) {
        return lmn__convex_adef_step(run, silent_out, err);
    }
    if (!lmn__convex_steps_on_full_gradients(run)) {
        lmn__convex_draw_gradients(run, run->x);
    }
    lmn__convex_disturb_gradients(run);
    return lmn__convex_step(run, silent_out, err);
}

static lmn_status make_steps(lmn_convex_run *run, lmn_error *err)
{
    lmn_status status = look(run, err);
    while (status == LMN_OK && run->step < run->options.steps) {
        size_t silent = 0;
        status = make_step(run, &silent, err);
        if (status == LMN_OK && silent < run->problem->workers) {
            status = lmn_error_set(err, LMN_ERR_NONFINITE,
                                   "what worker %zu would send is not finite", silent);
        }
        if (status == LMN_OK) {
            run->step++;
            status = look(run, err);
        }
    }
    return status;
}

lmn_status lmn_convex_run_all(lmn_convex_run *run, lmn_error *err)
{
    const lmn_status made = make_steps(run, err);
    if (made != LMN_OK && made != LMN_ERR_NONFINITE) {
        return made;
    }
    run->diverged = made == LMN_ERR_NONFINITE;
    lmn_error write_error = lmn_error_none();
    const lmn_status written =
        lmn_agree(run->problem->world, lmn__convex_results_finish(run, &write_error), &write_error);
    if (run->diverged) {
        lmn_error_add_context(err,
                              "the run diverges, at step %" PRIu64 " of %" PRIu64
                              " with objective %g (a smaller lr, or a smaller eta, may help)",
                              run->step, run->options.steps, run->last.objective);
        return made;
    }
    if (written != LMN_OK && err != NULL) {
        *err = write_error;
    }
    return written;
}

const double *lmn_convex_run_x(const lmn_convex_run *run)
{
    return run->x;
}

lmn_convex_record lmn_convex_run_last(const lmn_convex_run *run)
{
    return run->last;
}

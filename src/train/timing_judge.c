/*
 * Whether plans keep what they promise, and what of it outlasts the process.
 *
 * A plan that compresses is on trial for some steps. Their median, the slowest rank's, is compared
 * with that of dense steps. One that is slower goes at once: all layers travel dense, and the costs
 * of the levels that it used are raised by what was observed over what was predicted, so that the
 * next decision sees them as they are.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "timing_internal.h"

#include <math.h>
#include <string.h>

/* A plan that failed is raised by this at least, so that the same one does not come back. */
static const double LEAST_RAISE = 1.25;
static const double MOST_RAISE = 100.0;

static bool compresses(const lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        if (reducer->levels[i] != 0) {
            return true;
        }
    }
    return false;
}

static void say_decided(const lmn_reducer *reducer, const lmn_allocation_report *report)
{
    size_t n_compressed = 0;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        n_compressed += reducer->levels[i] != 0 ? 1 : 0;
    }
    if (reducer->rank == 0) {
        lmn_log_write(
            lmn_world_log(reducer->world), LMN_LOG_INFO,
            "allocate time: %zu of %zu layers compressed, %.3f ms a step predicted, %.3f "
            "dense; dense steps took %.3f",
            n_compressed, reducer->n_layers, 1e3 * report->seconds, 1e3 * report->dense_seconds,
            1e3 * (reducer->timing->dense_step + reducer->timing->medians[LMN__TIME_UPDATE]));
    }
}

void lmn__timing_decided(lmn_reducer *reducer, const lmn_allocation_report *report)
{
    lmn__timing *self = reducer->timing;
    self->has_curves = true;
    self->predicted = report->seconds;
    if (report->changed && !self->is_silent) {
        say_decided(reducer, report);
    }
    if (!compresses(reducer)) {
        self->phase = LMN__PLAN_DENSE;
    } else if (report->changed || self->phase == LMN__PLAN_DENSE) {
        self->phase = LMN__PLAN_ON_TRIAL;
        self->trial_steps = 0;
    }
}

bool lmn__timing_is_due(const lmn_reducer *reducer)
{
    const lmn__timing *self = reducer->timing;
    return self != NULL && self->phase == LMN__PLAN_ON_TRIAL &&
           self->trial_steps >= LMN__TIMING_STEPS;
}

/* The levels that failed cost so much more than was thought. */
static void raise_costs(lmn_reducer *reducer, double observed)
{
    lmn__timing *self = reducer->timing;
    bool is_used[256] = {false};
    for (size_t i = 0; i < reducer->n_layers; i++) {
        is_used[reducer->levels[i]] = true;
    }
    const double missed = self->predicted > 0.0 ? observed / self->predicted : LEAST_RAISE;
    for (size_t level = 1; level < self->n_levels; level++) {
        if (is_used[level]) {
            self->raised[level] *= fmin(MOST_RAISE, fmax(LEAST_RAISE, missed));
        }
    }
}

static void say_reverted(const lmn_reducer *reducer, double observed)
{
    const lmn__timing *self = reducer->timing;
    if (reducer->rank == 0) {
        lmn_log_write(lmn_world_log(reducer->world), LMN_LOG_INFO,
                      "allocate time: steps took %.3f ms compressed (%.3f predicted) and %.3f "
                      "dense: dense again",
                      1e3 * observed, 1e3 * self->predicted, 1e3 * self->dense_step);
    }
}

lmn_status lmn__timing_judge(lmn_reducer *reducer, bool *reverted_out, lmn_error *err)
{
    lmn__timing *self = reducer->timing;
    *reverted_out = false;
    const lmn_status status = lmn__timing_gather(reducer, err);
    if (status != LMN_OK) {
        return status;
    }
    const double observed = self->medians[LMN__TIME_STEP];
    self->phase = LMN__PLAN_KEPT;
    if (observed <= self->dense_step || self->dense_step == 0.0) {
        return LMN_OK;
    }
    say_reverted(reducer, observed);
    raise_costs(reducer, observed + self->medians[LMN__TIME_UPDATE]);
    memset(reducer->levels, 0, reducer->n_layers * sizeof *reducer->levels);
    self->phase = LMN__PLAN_DENSE;
    *reverted_out = true;
    return LMN_OK;
}

static lmn_status add_arrays(lmn__timing *self, lmn_state *state, lmn_error *err)
{
    const size_t table[2] = {self->n_layers, self->n_levels};
    const struct {
        const char *path, *unit;
        size_t n_dims;
        const size_t *dims;
        double *values;
    } arrays[] = {{"/allocation/time/ready", "s", 1, &self->n_layers, self->ready},
                  {"/allocation/time/encode", "s", 2, table, self->encode},
                  {"/allocation/time/decode", "s", 2, table, self->decode},
                  {"/allocation/time/message_share", "1", 2, table, self->share},
                  {"/allocation/time/raised", "1", 1, &self->n_levels, self->raised},
                  {"/allocation/time/dense_step", "s", 0, NULL, &self->dense_step},
                  {"/allocation/time/predicted_step", "s", 0, NULL, &self->predicted},
                  {"/allocation/time/encode_factor", "1", 0, NULL, &self->encode_factor},
                  {"/allocation/time/decode_factor", "1", 0, NULL, &self->decode_factor}};
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0] && status == LMN_OK; i++) {
        status = lmn_state_add_array(state, arrays[i].path, arrays[i].unit, LMN_STATE_REPLICATED,
                                     LMN_STATE_F64, arrays[i].n_dims, arrays[i].dims,
                                     arrays[i].values, err);
    }
    return status;
}

lmn_status lmn__timing_add_state(lmn_reducer *reducer, lmn_state *state, lmn_error *err)
{
    lmn__timing *self = reducer->timing;
    if (self == NULL) {
        return LMN_OK;
    }
    lmn_status status = lmn_state_add_u64(state, "time_phase", &self->phase, err);
    if (status == LMN_OK) {
        status = lmn_state_add_u64(state, "time_calibrated", &self->is_calibrated, err);
    }
    return status == LMN_OK ? add_arrays(self, state, err) : status;
}

/* Steps made before are of another process, maybe on other machines: a trial begins anew. */
lmn_status lmn__timing_restored(lmn_reducer *reducer, lmn_error *err)
{
    lmn__timing *self = reducer->timing;
    if (self == NULL) {
        return LMN_OK;
    }
    self->trial_steps = 0;
    self->n_steps = 0;
    bool is_good = self->phase <= LMN__PLAN_KEPT && self->is_calibrated <= 1 &&
                   self->dense_step >= 0.0 && self->encode_factor > 0.0 &&
                   self->decode_factor > 0.0;
    for (size_t i = 0; i < self->n_layers * self->n_levels && is_good; i++) {
        is_good = self->encode[i] >= 0.0 && self->decode[i] >= 0.0 && self->share[i] >= 0.0 &&
                  isfinite(self->encode[i] + self->decode[i] + self->share[i]);
    }
    for (size_t level = 0; level < self->n_levels && is_good; level++) {
        is_good = self->raised[level] >= 1.0 && isfinite(self->raised[level]);
    }
    return is_good ? LMN_OK
                   : lmn_error_set(err, LMN_ERR_FORMAT,
                                   "the checkpoint's /allocation/time holds times that cannot be: "
                                   "resume from another checkpoint");
}

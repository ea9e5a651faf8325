/*
 * What of times, plans and trials outlasts the process.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "timing_internal.h"

#include <math.h>

static lmn_status add_arrays(lmn__timing *self, lmn_state *state, lmn_error *err)
{
    const size_t table[2] = {self->n_layers, self->n_levels};
    const size_t plans = LMN_LEVELS_COUNT;
    const struct {
        const char *path, *unit;
        size_t n_dims;
        const size_t *dims;
        void *values;
    } arrays[] = {{"/allocation/time/ready", "s", 1, &self->n_layers, self->ready},
                  {"/allocation/time/encode", "s", 2, table, self->encode},
                  {"/allocation/time/decode", "s", 2, table, self->decode},
                  {"/allocation/time/message_share", "1", 2, table, self->share},
                  {"/allocation/time/dense_step", "s", 0, NULL, &self->dense_step},
                  {"/allocation/time/dense_progress", "s", 0, NULL, &self->dense_progress},
                  {"/allocation/time/dense_compute", "s", 0, NULL, &self->dense_compute},
                  {"/allocation/time/light_compute", "s", 0, NULL, &self->light_compute},
                  {"/allocation/time/predicted", "s", 1, &plans, self->predicted},
                  {"/allocation/time/measured", "s", 1, &plans, self->measured},
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
    const size_t plans[2] = {LMN_LEVELS_COUNT, self->n_layers};
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {{"time_phase", &self->phase},
                   {"time_kept", &self->kept},
                   {"time_settled_steps", &self->settled_steps},
                   {"time_calibrated", &self->is_calibrated}};
    lmn_status status = add_arrays(self, state, err);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && status == LMN_OK; i++) {
        status = lmn_state_add_u64(state, numbers[i].name, numbers[i].value, err);
    }
    if (status == LMN_OK) {
        status = lmn_state_add_array(state, "/allocation/time/plans", "1", LMN_STATE_REPLICATED,
                                     LMN_STATE_U64, 2, plans, self->plans, err);
    }
    if (status == LMN_OK) {
        status = lmn_state_add_array(state, "/allocation/time/parts", "1", LMN_STATE_REPLICATED,
                                     LMN_STATE_U64, 1, plans, self->parts, err);
    }
    return status;
}

static bool is_time(double seconds)
{
    return seconds >= 0.0 && isfinite(seconds);
}

static bool are_good_plans(const lmn_reducer *reducer)
{
    const lmn__timing *self = reducer->timing;
    bool is_good = true;
    for (size_t i = 0; i < LMN_LEVELS_COUNT * self->n_layers && is_good; i++) {
        const lmn__layer *layer = &reducer->layers[i % self->n_layers];
        const size_t level = (size_t)self->plans[i];
        is_good = level < self->n_levels &&
                  (layer->small ? level == 0 : lmn__may_have_level(reducer, layer, level));
    }
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT; plan++) {
        is_good = is_good && is_time(self->predicted[plan]) && is_time(self->measured[plan]) &&
                  self->parts[plan] <= LMN__TRIAL_KNOWN;
    }
    return is_good;
}

static bool is_good_state(const lmn_reducer *reducer)
{
    const lmn__timing *self = reducer->timing;
    bool is_good = self->phase <= LMN__TIME_SETTLED && self->kept < LMN_LEVELS_COUNT &&
                   self->is_calibrated <= 1 && is_time(self->dense_step) &&
                   is_time(self->dense_compute) && is_time(self->light_compute) &&
                   self->encode_factor > 0.0 && self->decode_factor > 0.0 &&
                   are_good_plans(reducer);
    for (size_t i = 0; i < self->n_layers * self->n_levels && is_good; i++) {
        is_good = is_time(self->encode[i]) && is_time(self->decode[i]) && is_time(self->share[i]);
    }
    return is_good;
}

/* Steps made before are of another process, maybe on other machines: a trial begins anew. */
lmn_status lmn__timing_restored(lmn_reducer *reducer, lmn_error *err)
{
    lmn__timing *self = reducer->timing;
    if (self == NULL) {
        return LMN_OK;
    }
    self->n_steps = 0;
    if (!is_good_state(reducer)) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "the checkpoint's /allocation/time holds times or plans that cannot "
                             "be: resume from another checkpoint");
    }
    if (self->phase == LMN__TIME_TRYING) {
        lmn__trial_restart(reducer);
    }
    return LMN_OK;
}

/*
 * Plans: what an allocator that weighs times proposes, and when it is asked.
 *
 * A decision proposes the plan that is predicted to be fastest, the uniform levels and the fewest
 * bytes. Predictions leave out what nobody can measure beforehand, such as processor time that the
 * system takes for messages, so the plans are tried (timing_trial.c). Adapting may take a hundredth
 * of the time of training: where the last decision took longer, the next one waits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "lamina/hash.h"
#include "timing_internal.h"

#include <string.h>

/* Of the time since the last decision, what that one may have taken. */
static const double ADAPT_PART = 0.01;

static const struct {
    lmn_level_plan plan;
    lmn_time_plan asked;
} proposals[] = {{LMN_LEVELS_SHORTEST, LMN_TIME_PLAN_SHORTEST},
                 {LMN_LEVELS_UNIFORM, LMN_TIME_PLAN_UNIFORM},
                 {LMN_LEVELS_SMALLEST, LMN_TIME_PLAN_SMALLEST}};

lmn_status lmn__timing_may_adapt(const lmn_reducer *reducer, bool *may_out, lmn_error *err)
{
    const lmn__timing *self = reducer->timing;
    *may_out = true;
    if (self->phase == LMN__TIME_UNDECIDED) {
        return LMN_OK;
    }
    const double passed = lmn_clock_seconds() - self->adapted_at;
    uint64_t was_dear = self->adapt_seconds > ADAPT_PART * passed ? 1 : 0;
    const lmn_status status = lmn_world_max_u64(reducer->world, &was_dear, 1, err);
    *may_out = was_dear == 0;
    return status;
}

/* Asks for all plans; decision is scratch for levels. */
static lmn_status propose(lmn_reducer *reducer, const lmn_cost_table *table, lmn_error *err)
{
    lmn__timing *self = reducer->timing;
    lmn_cost_timings timings = lmn__timing_tables(reducer, &self->link, reducer->team.size);
    lmn_cost_table timed = *table;
    timed.timings = &timings;
    for (size_t i = 0; i < sizeof proposals / sizeof proposals[0]; i++) {
        const lmn_level_plan plan = proposals[i].plan;
        lmn_allocation_report *report = &self->reports[plan];
        timings.plan = proposals[i].asked;
        memset(reducer->decision, 0, reducer->n_layers * sizeof *reducer->decision);
        const lmn_status status =
            lmn_allocator_decide(reducer->allocator, &timed, reducer->decision, report, err);
        if (status != LMN_OK) {
            return status;
        }
        for (size_t layer = 0; layer < reducer->n_layers; layer++) {
            self->plans[(size_t)plan * self->n_layers + layer] = reducer->decision[layer];
        }
        self->predicted[plan] = report->seconds;
    }
    return LMN_OK;
}

static void describe_dense(lmn_reducer *reducer, const lmn_cost_table *table)
{
    lmn__timing *self = reducer->timing;
    lmn_allocation_report dense = self->reports[LMN_LEVELS_UNIFORM];
    dense.seconds = dense.dense_seconds;
    dense.error = 0.0;
    dense.bytes = 0;
    for (size_t layer = 0; layer < reducer->n_layers; layer++) {
        dense.bytes += table->bytes[layer * table->n_levels];
    }
    memset(self->plans + (size_t)LMN_LEVELS_DENSE * self->n_layers, 0,
           self->n_layers * sizeof *self->plans);
    self->reports[LMN_LEVELS_DENSE] = dense;
    self->predicted[LMN_LEVELS_DENSE] = dense.seconds;
}

/* How long steps of the plan kept take is known best from those that were just made. */
static void refresh_measured(lmn__timing *self)
{
    const double step = self->medians[LMN__TIME_STEP] + self->medians[LMN__TIME_UPDATE];
    if (self->phase == LMN__TIME_SETTLED && self->n_steps >= LMN__TIMING_STEPS_MIN) {
        self->measured[self->kept] = step;
    }
    if (self->phase == LMN__TIME_UNDECIDED) {
        self->measured[LMN_LEVELS_DENSE] = self->dense_step + self->medians[LMN__TIME_UPDATE];
    }
}

lmn_status lmn__timing_decide(lmn_reducer *reducer, const lmn_cost_table *table,
                              lmn_allocation_report *report_out, lmn_error *err)
{
    lmn__timing *self = reducer->timing;
    const size_t count = self->n_layers;
    refresh_measured(self);
    lmn_status status = propose(reducer, table, err);
    if (status != LMN_OK) {
        return status;
    }
    describe_dense(reducer, table);
    const uint64_t hash =
        lmn_hash64(self->plans, LMN_LEVELS_COUNT * count * sizeof *self->plans, self->kept);
    status = lmn_world_check_same(reducer->world, "the plans for compression levels", hash, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn__trial_open(reducer);
    const size_t plan = self->phase == LMN__TIME_TRYING ? self->turn : self->kept;
    const uint64_t *levels = self->plans + plan * count;
    *report_out = self->reports[plan];
    report_out->changed = memcmp(reducer->levels, levels, count * sizeof *levels) != 0;
    memcpy(reducer->levels, levels, count * sizeof *levels);
    return LMN_OK;
}

double lmn__timing_adapted(lmn_reducer *reducer, const lmn_step_report *report, double begin,
                           double end)
{
    lmn__timing *self = reducer->timing;
    if (self == NULL) {
        return 0.0;
    }
    const double calibrating = self->calibrate_seconds;
    self->calibrate_seconds = 0.0;
    if (report->adjusted && !report->tried) {
        self->adapt_seconds = end - begin;
        self->adapted_at = end;
    }
    return calibrating;
}

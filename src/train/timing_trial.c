/*
 * Trials: plans take turns, and the one whose steps were the shortest is kept.
 *
 * A turn is a few steps of one plan; in a round every plan that is left has one, so that a machine
 * that gets slower for a while is slow for all. After a round the slowest rank's medians are those
 * of all ranks, and plans that are clearly slower than the best are out: a plan may cost a turn,
 * not more. The first trial comes after the dense steps at the beginning, and tries all plans;
 * dense steps were just measured, so they take part again only where it is close. Later trials are
 * opened with a new decision, of plans whose turns, by what was measured of them before, cost less
 * than a hundredth of the time since the trial before.
 *
 * Everything here is a function of numbers that all ranks have: they take the same turns without
 * talking.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "timing_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const names[LMN_LEVELS_COUNT] = {"dense", "shortest", "uniform", "smallest"};

/* Predictions are not that wrong. */
static const double HOPELESS = 1.5;
/* How much slower than the best a plan may be after a round and stay in. Dense steps that were
 * measured while caches and links were cold get the benefit of the doubt. */
static const double STAYS[LMN__TRIAL_ROUNDS] = {1.15, 1.05, 1.05};
static const double KNOWN_STAYS = 1.5;
/* Plans that differ by less are equally fast; the first of them is taken. */
static const double EQUAL = 1.01;
/* Of the time since the last trial, what a new one may cost. */
static const double TRIAL_PART = 0.01;

static const uint64_t *levels_of(const lmn__timing *self, size_t plan)
{
    return self->plans + plan * self->n_layers;
}

static bool are_same(const lmn__timing *self, size_t a, size_t b)
{
    return memcmp(levels_of(self, a), levels_of(self, b), self->n_layers * sizeof *self->plans) ==
           0;
}

/* Plans that are the same as an earlier one have no part; the one kept goes by that one's name. */
static void drop_doubles(lmn__timing *self)
{
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT; plan++) {
        self->parts[plan] = LMN__TRIAL_IN;
        for (size_t other = 0; other < plan; other++) {
            if (self->parts[plan] != LMN__TRIAL_OUT && are_same(self, plan, other)) {
                self->parts[plan] = LMN__TRIAL_OUT;
                self->kept = self->kept == plan ? other : self->kept;
            }
        }
    }
}

static void drop_hopeless(lmn__timing *self)
{
    for (size_t plan = LMN_LEVELS_DENSE + 1; plan < LMN_LEVELS_COUNT; plan++) {
        if (plan != self->kept &&
            self->predicted[plan] > HOPELESS * self->predicted[LMN_LEVELS_DENSE]) {
            self->parts[plan] = LMN__TRIAL_OUT;
        }
    }
}

/* What a trial of a plan costs more than going on. One that is far off has a single turn. */
static double cost_of(const lmn__timing *self, size_t plan)
{
    const double kept = self->measured[self->kept];
    const double expected =
        self->measured[plan] > 0.0 ? self->measured[plan] : self->predicted[plan];
    const size_t rounds = expected > STAYS[0] * kept ? 1 : LMN__TRIAL_ROUNDS;
    return fmax(0.0, expected - kept) * (double)(rounds * LMN__TURN_STEPS);
}

/* The plan kept and, the cheapest first, those that are affordable. */
static void drop_dear(lmn__timing *self)
{
    double budget = TRIAL_PART * (double)self->settled_steps * self->measured[self->kept];
    bool takes_part[LMN_LEVELS_COUNT] = {false};
    takes_part[self->kept] = true;
    for (;;) {
        size_t best = LMN_LEVELS_COUNT;
        for (size_t plan = 0; plan < LMN_LEVELS_COUNT; plan++) {
            const bool is_open = self->parts[plan] != LMN__TRIAL_OUT && !takes_part[plan];
            if (is_open &&
                (best == LMN_LEVELS_COUNT || cost_of(self, plan) < cost_of(self, best))) {
                best = plan;
            }
        }
        if (best == LMN_LEVELS_COUNT || cost_of(self, best) > budget) {
            break;
        }
        takes_part[best] = true;
        budget -= cost_of(self, best);
    }
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT; plan++) {
        self->parts[plan] = takes_part[plan] ? self->parts[plan] : LMN__TRIAL_OUT;
    }
}

static size_t count_in(const lmn__timing *self)
{
    size_t n = 0;
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT; plan++) {
        n += self->parts[plan] != LMN__TRIAL_OUT ? 1 : 0;
    }
    return n;
}

/* The first plan from `from` on that has a turn in this round; LMN_LEVELS_COUNT: none. Dense comes
 * last in its round. */
static size_t next_turn(const lmn__timing *self, size_t from)
{
    for (size_t place = from; place < LMN_LEVELS_COUNT; place++) {
        const uint64_t part = self->parts[(place + 1) % LMN_LEVELS_COUNT];
        if (part == LMN__TRIAL_IN || (part == LMN__TRIAL_KNOWN && self->round > 0)) {
            return place;
        }
    }
    return LMN_LEVELS_COUNT;
}

static size_t plan_at(size_t place)
{
    return (place + 1) % LMN_LEVELS_COUNT;
}

static size_t place_of(size_t plan)
{
    return (plan + LMN_LEVELS_COUNT - 1) % LMN_LEVELS_COUNT;
}

/* From the first turn of the first round. */
static void begin(lmn__timing *self)
{
    self->round = 0;
    self->turn_steps = 0;
    self->turn = plan_at(next_turn(self, 0) % LMN_LEVELS_COUNT);
    memset(self->samples, 0, sizeof self->samples);
}

void lmn__trial_open(lmn_reducer *reducer)
{
    lmn__timing *self = reducer->timing;
    const bool is_first = self->phase == LMN__TIME_UNDECIDED;
    drop_doubles(self);
    if (reducer->team.size > 1) {
        drop_hopeless(self);
    }
    if (is_first) {
        self->kept = LMN_LEVELS_DENSE;
        self->parts[LMN_LEVELS_DENSE] = LMN__TRIAL_KNOWN;
    } else {
        drop_dear(self);
    }
    self->phase = LMN__TIME_SETTLED;
    if (count_in(self) < 2 || reducer->team.size < 2) {
        return;
    }
    self->phase = LMN__TIME_TRYING;
    begin(self);
}

void lmn__trial_restart(lmn_reducer *reducer)
{
    lmn__timing *self = reducer->timing;
    begin(self);
    memcpy(reducer->levels, levels_of(self, self->turn), self->n_layers * sizeof *self->plans);
}

void lmn__trial_note(lmn__timing *self, bool applied, double seconds, double compute)
{
    self->settled_steps += self->phase == LMN__TIME_SETTLED ? 1 : 0;
    if (self->phase != LMN__TIME_TRYING) {
        return;
    }
    self->turn_steps++;
    lmn__samples *samples = &self->samples[self->turn];
    if (applied && self->turn_steps > LMN__TURN_SKIPS && samples->n < LMN__TRIAL_SAMPLES) {
        samples->seconds[samples->n] = seconds;
        samples->compute[samples->n] = compute;
        samples->n++;
    }
}

bool lmn__trial_is_due(const lmn_reducer *reducer)
{
    const lmn__timing *self = reducer->timing;
    return self != NULL && self->phase == LMN__TIME_TRYING && self->turn_steps >= LMN__TURN_STEPS;
}

/* ------------------------------------------------------------------ the end of a round */

/* The slowest rank's medians to all. */
static lmn_status gather(lmn_reducer *reducer, lmn_error *err)
{
    lmn__timing *self = reducer->timing;
    enum { NUMBERS = 2 * LMN_LEVELS_COUNT };
    uint64_t numbers[NUMBERS];
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT; plan++) {
        const lmn__samples *samples = &self->samples[plan];
        const double seconds = lmn__timing_median(samples->seconds, samples->n);
        const double compute = lmn__timing_median(samples->compute, samples->n);
        numbers[2 * plan] = lmn_clock_nanoseconds(seconds);
        numbers[2 * plan + 1] = lmn_clock_nanoseconds(compute);
    }
    const lmn_status status = lmn_world_max_u64(reducer->world, numbers, NUMBERS, err);
    double light = (double)INFINITY;
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT && status == LMN_OK; plan++) {
        const double compute = (double)numbers[2 * plan + 1] * 1e-9;
        if (numbers[2 * plan] > 0) {
            self->measured[plan] = (double)numbers[2 * plan] * 1e-9;
        }
        if (plan != LMN_LEVELS_DENSE && compute > 0.0) {
            light = fmin(light, compute);
        }
    }
    self->light_compute = isfinite(light) ? light : self->light_compute;
    return status;
}

static double shortest_in(const lmn__timing *self)
{
    double best = (double)INFINITY;
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT; plan++) {
        const bool counts = self->parts[plan] != LMN__TRIAL_OUT && self->measured[plan] > 0.0;
        best = counts ? fmin(best, self->measured[plan]) : best;
    }
    return best;
}

static void drop_slow(lmn__timing *self)
{
    const double best = shortest_in(self);
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT; plan++) {
        const bool is_known = self->parts[plan] == LMN__TRIAL_KNOWN && self->round == 0;
        const double stays = is_known ? KNOWN_STAYS : STAYS[self->round];
        if (self->measured[plan] > stays * best) {
            self->parts[plan] = LMN__TRIAL_OUT;
        }
    }
}

/* Dense where nothing is faster by the gain that is asked for; it loses nothing. Of plans that are
 * equally fast the one that was thought best. */
static size_t choose(const lmn__timing *self)
{
    const double best = shortest_in(self);
    const double gain = self->reports[LMN_LEVELS_UNIFORM].gain;
    const bool has_dense = self->parts[LMN_LEVELS_DENSE] != LMN__TRIAL_OUT;
    if (!isfinite(best) || (has_dense && best > (1.0 - gain) * self->measured[LMN_LEVELS_DENSE])) {
        return LMN_LEVELS_DENSE;
    }
    size_t plan = LMN_LEVELS_DENSE + 1;
    while (self->parts[plan] == LMN__TRIAL_OUT || self->measured[plan] <= 0.0 ||
           self->measured[plan] > EQUAL * best) {
        plan++;
    }
    return plan;
}

static size_t count_compressed(const lmn__timing *self, size_t plan)
{
    size_t n = 0;
    for (size_t layer = 0; layer < self->n_layers; layer++) {
        n += levels_of(self, plan)[layer] != 0 ? 1 : 0;
    }
    return n;
}

static void say_kept(const lmn_reducer *reducer)
{
    enum { TEXT_BYTES = 256 };
    const lmn__timing *self = reducer->timing;
    if (reducer->rank != 0 || self->is_silent) {
        return;
    }
    char text[TEXT_BYTES] = "";
    size_t used = 0;
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT && used < sizeof text; plan++) {
        const bool is_old = self->samples[plan].n == 0;
        if (self->measured[plan] > 0.0) {
            const int n = snprintf(text + used, sizeof text - used, "%s%s %.3f%s (%.3f predicted)",
                                   used > 0 ? ", " : "", names[plan], 1e3 * self->measured[plan],
                                   is_old ? " before" : "", 1e3 * self->predicted[plan]);
            used += n > 0 ? (size_t)n : 0;
        }
    }
    lmn_log_write(lmn_world_log(reducer->world), LMN_LOG_INFO,
                  "allocate time: ms a step: %s; kept: %s, %zu of %zu layers compressed", text,
                  names[self->kept], count_compressed(self, self->kept), self->n_layers);
}

static void settle(lmn_reducer *reducer, lmn_step_report *report)
{
    lmn__timing *self = reducer->timing;
    self->kept = choose(self);
    self->phase = LMN__TIME_SETTLED;
    self->settled_steps = 0;
    report->adjusted = true;
    report->tried = true;
    report->allocation = self->reports[self->kept];
    report->allocation.changed = self->kept != self->turn;
    say_kept(reducer);
}

static lmn_status end_round(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err)
{
    lmn__timing *self = reducer->timing;
    const lmn_status status = gather(reducer, err);
    if (status != LMN_OK) {
        return status;
    }
    drop_slow(self);
    self->round++;
    const size_t first = next_turn(self, 0);
    if (self->round == LMN__TRIAL_ROUNDS || count_in(self) < 2 || first == LMN_LEVELS_COUNT) {
        settle(reducer, report);
    } else {
        self->turn = plan_at(first);
    }
    return LMN_OK;
}

lmn_status lmn__trial_go_on(lmn_reducer *reducer, lmn_step_report *report, lmn_error *err)
{
    lmn__timing *self = reducer->timing;
    self->turn_steps = 0;
    const size_t next = next_turn(self, place_of(self->turn) + 1);
    lmn_status status = LMN_OK;
    if (next < LMN_LEVELS_COUNT) {
        self->turn = plan_at(next);
    } else {
        status = end_round(reducer, report, err);
    }
    const size_t plan = self->phase == LMN__TIME_TRYING ? self->turn : self->kept;
    memcpy(reducer->levels, levels_of(self, plan), self->n_layers * sizeof *reducer->levels);
    return status;
}

bool lmn_reducer_trials(const lmn_reducer *reducer, lmn_level_trial *trials_out)
{
    const lmn__timing *self = reducer->timing;
    for (size_t plan = 0; plan < LMN_LEVELS_COUNT && self != NULL; plan++) {
        trials_out[plan] = (lmn_level_trial){.n_compressed = count_compressed(self, plan),
                                             .predicted = self->predicted[plan],
                                             .measured = self->measured[plan],
                                             .steps = self->samples[plan].n,
                                             .is_kept = plan == self->kept};
    }
    return self != NULL;
}

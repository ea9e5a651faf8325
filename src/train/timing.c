/*
 * Times of steps: noting them, and making the slowest rank's those of all.
 *
 * Nothing here allocates after creation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "timing_internal.h"

#include <string.h>

/* Nanoseconds that are exchanged before the tables. */
#define HEAD_COUNT ((size_t)LMN__TIME_COUNT)

static lmn_status take_tables(lmn__timing *self, lmn_error *err)
{
    const size_t cells = self->n_layers * self->n_levels;
    self->maxima_count = HEAD_COUNT + self->n_layers + 3 * cells + 1;
    self->sweep = lmn_alloc(LMN__TIMING_SWEEP, sizeof(float), err);
    self->ready_steps = lmn_alloc(self->n_layers, LMN__TIMING_STEPS * sizeof(double), err);
    self->ready = lmn_alloc(self->n_layers, sizeof(double), err);
    self->encode = lmn_alloc(cells, sizeof(double), err);
    self->decode = lmn_alloc(cells, sizeof(double), err);
    self->share = lmn_alloc(cells, sizeof(double), err);
    self->plans = lmn_alloc(LMN_LEVELS_COUNT * self->n_layers, sizeof(uint64_t), err);
    self->costs = lmn_alloc(3 * cells, sizeof(double), err);
    self->bucket_of = lmn_alloc(self->n_layers, sizeof(size_t), err);
    self->kind = lmn_alloc(self->n_levels, sizeof *self->kind, err);
    self->maxima = lmn_alloc(self->maxima_count, sizeof(uint64_t), err);
    const bool is_complete = self->sweep != NULL && self->ready_steps != NULL &&
                             self->ready != NULL && self->encode != NULL && self->decode != NULL &&
                             self->share != NULL && self->plans != NULL && self->costs != NULL &&
                             self->bucket_of != NULL && self->kind != NULL && self->maxima != NULL;
    return is_complete ? LMN_OK : LMN_ERR_MEMORY;
}

lmn_status lmn__timing_create(lmn_reducer *reducer, lmn_error *err)
{
    if (!lmn_allocator_needs_times(reducer->allocator)) {
        return LMN_OK;
    }
    lmn__timing *self = lmn_alloc(1, sizeof *self, err);
    if (self == NULL) {
        return LMN_ERR_MEMORY;
    }
    reducer->timing = self;
    self->n_layers = reducer->n_layers;
    self->n_levels = lmn_compressor_level_count(reducer->compressor);
    self->encode_factor = 1.0;
    self->decode_factor = 1.0;
    return take_tables(self, err);
}

void lmn__timing_destroy(lmn_reducer *reducer)
{
    lmn__timing *self = reducer->timing;
    if (self == NULL) {
        return;
    }
    lmn_free(self->sweep);
    lmn_free(self->ready_steps);
    lmn_free(self->ready);
    lmn_free(self->encode);
    lmn_free(self->decode);
    lmn_free(self->share);
    lmn_free(self->plans);
    lmn_free(self->costs);
    lmn_free(self->bucket_of);
    lmn_free(self->kind);
    lmn_free(self->maxima);
    lmn_free(self);
}

lmn_status lmn__timing_connect(lmn_reducer *reducer, lmn_error *err)
{
    lmn__timing *self = reducer->timing;
    return self == NULL ? LMN_OK : lmn_reducer_measure_link(reducer, &self->link, err);
}

static bool is_all_dense(const lmn_reducer *reducer)
{
    for (size_t i = 0; i < reducer->n_layers; i++) {
        if (reducer->layers[i].travel_level != 0) {
            return false;
        }
    }
    return true;
}

void lmn__timing_begin(lmn_reducer *reducer)
{
    lmn__timing *self = reducer->timing;
    if (self == NULL) {
        return;
    }
    if (self->travel_hash != reducer->travel_hash) {
        self->travel_hash = reducer->travel_hash;
        self->n_steps = 0;
        self->place = 0;
    }
    self->calibrates = self->is_calibrated == 0 && reducer->applied_steps > 0 &&
                       lmn_allocator_adjusts(reducer->allocator, reducer->step) &&
                       is_all_dense(reducer);
    self->began_at = lmn_clock_seconds();
}

void lmn__timing_encode(lmn_reducer *reducer, lmn__bucket *bucket)
{
    if (reducer->timing != NULL && reducer->timing->calibrates && bucket->n_extra == 0) {
        const double begin = lmn_clock_seconds();
        lmn__timing_calibrate(reducer, bucket);
        reducer->timing->calibrate_seconds += lmn_clock_seconds() - begin;
    }
}

void lmn__timing_ready(lmn_reducer *reducer, size_t layer)
{
    lmn__timing *self = reducer->timing;
    if (self != NULL) {
        self->ready_steps[layer * LMN__TIMING_STEPS + self->place] =
            lmn_clock_seconds() - self->began_at - reducer->seconds_encode -
            reducer->seconds_progress;
    }
}

void lmn__timing_computed(lmn_reducer *reducer)
{
    lmn__timing *self = reducer->timing;
    if (self != NULL) {
        self->steps[LMN__TIME_COMPUTE][self->place] = lmn_clock_seconds() - self->began_at -
                                                      reducer->seconds_encode -
                                                      reducer->seconds_progress;
        self->steps[LMN__TIME_PROGRESS][self->place] = reducer->seconds_progress;
    }
}

void lmn__timing_finished(lmn_reducer *reducer, const lmn_step_report *report)
{
    lmn__timing *self = reducer->timing;
    if (self == NULL) {
        return;
    }
    const double now = lmn_clock_seconds();
    const double before = self->ended_at;
    self->ended_at = now;
    const double step = now - self->began_at - reducer->seconds_observe;
    const double update = before > 0.0 ? self->began_at - before : 0.0;
    lmn__trial_note(self, report->applied, step + update,
                    self->steps[LMN__TIME_COMPUTE][self->place]);
    if (self->calibrates) {
        /* Longer than others for reasons of its own. */
        self->is_calibrated = report->applied ? 1 : 0;
        self->ended_at = 0.0;
        return;
    }
    if (!report->applied) {
        return;
    }
    self->steps[LMN__TIME_STEP][self->place] = step;
    self->steps[LMN__TIME_ENCODE][self->place] = report->seconds_encode;
    self->steps[LMN__TIME_DECODE][self->place] = report->seconds_decode - reducer->seconds_observe;
    self->steps[LMN__TIME_UPDATE][self->place] = update;
    self->place = (self->place + 1) % LMN__TIMING_STEPS;
    self->n_steps += self->n_steps < LMN__TIMING_STEPS ? 1 : 0;
}

double lmn__timing_median(const double *values, size_t n)
{
    double sorted[LMN__TIMING_STEPS] = {0.0};
    for (size_t i = 0; i < n; i++) {
        size_t place = i;
        for (; place > 0 && sorted[place - 1] > values[i]; place--) {
            sorted[place] = sorted[place - 1];
        }
        sorted[place] = values[i];
    }
    return sorted[n / 2];
}

static uint64_t *put(uint64_t *to, const double *seconds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        *to++ = lmn_clock_nanoseconds(seconds[i]);
    }
    return to;
}

static const uint64_t *get(const uint64_t *from, double *seconds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        seconds[i] = (double)*from++ * 1e-9;
    }
    return from;
}

static void take_medians(lmn__timing *self)
{
    for (size_t i = 0; i < LMN__TIME_COUNT; i++) {
        self->medians[i] = lmn__timing_median(self->steps[i], self->n_steps);
    }
    for (size_t layer = 0; layer < self->n_layers; layer++) {
        self->ready[layer] =
            lmn__timing_median(self->ready_steps + layer * LMN__TIMING_STEPS, self->n_steps);
    }
}

/* Times that dense layers take, spread over them by their size. */
static void note_dense(lmn_reducer *reducer)
{
    lmn__timing *self = reducer->timing;
    size_t total = 0;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        total += reducer->layers[i].count;
    }
    self->dense_step = self->medians[LMN__TIME_STEP];
    self->dense_progress = self->medians[LMN__TIME_PROGRESS];
    self->dense_compute = self->medians[LMN__TIME_COMPUTE];
    for (size_t i = 0; i < reducer->n_layers && total > 0; i++) {
        const double part = (double)reducer->layers[i].count / (double)total;
        self->encode[i * self->n_levels] = part * self->medians[LMN__TIME_ENCODE];
        self->decode[i * self->n_levels] = part * self->medians[LMN__TIME_DECODE];
    }
}

/* What compressing really takes in a step, against what the tables say of the same levels. */
static double factor_of(const lmn_reducer *reducer, const double *table, double observed)
{
    const lmn__timing *self = reducer->timing;
    double dense = 0.0;
    double compressed = 0.0;
    for (size_t i = 0; i < reducer->n_layers; i++) {
        const size_t level = reducer->layers[i].travel_level;
        *(level == 0 ? &dense : &compressed) += table[i * self->n_levels + level];
    }
    const double factor = compressed > 0.0 ? (observed - dense) / compressed : 1.0;
    return factor < 0.1 ? 0.1 : factor > 10.0 ? 10.0 : factor;
}

/* What the system takes from computing in dense steps is charged to bytes (timing_tables.c), and
 * computing goes without. */
static void take_out_system(lmn__timing *self)
{
    const double compute = self->medians[LMN__TIME_COMPUTE];
    if (self->light_compute > 0.0 && compute > self->light_compute) {
        const double factor = self->light_compute / compute;
        self->medians[LMN__TIME_COMPUTE] = self->light_compute;
        for (size_t layer = 0; layer < self->n_layers; layer++) {
            self->ready[layer] *= factor;
        }
    }
}

lmn_status lmn__timing_gather(lmn_reducer *reducer, lmn_error *err)
{
    lmn__timing *self = reducer->timing;
    const size_t cells = self->n_layers * self->n_levels;
    take_medians(self);
    uint64_t *to = put(self->maxima, self->medians, LMN__TIME_COUNT);
    to = put(to, self->ready, self->n_layers);
    to = put(to, self->encode, cells);
    to = put(to, self->decode, cells);
    to = put(to, self->share, cells);
    *to = self->is_calibrated == 0 ? 1 : 0;
    const lmn_status status =
        lmn_world_max_u64(reducer->world, self->maxima, self->maxima_count, err);
    if (status != LMN_OK) {
        return status;
    }
    const uint64_t *from = get(self->maxima, self->medians, LMN__TIME_COUNT);
    from = get(from, self->ready, self->n_layers);
    from = get(from, self->encode, cells);
    from = get(from, self->decode, cells);
    from = get(from, self->share, cells);
    self->is_calibrated = *from == 0 ? 1 : 0;
    const bool says_much = self->n_steps >= LMN__TIMING_STEPS_MIN;
    if (self->n_steps == 0 || (!says_much && self->phase != LMN__TIME_UNDECIDED)) {
        return LMN_OK;
    }
    if (is_all_dense(reducer)) {
        note_dense(reducer);
        take_out_system(self);
    } else if (self->is_calibrated != 0) {
        self->encode_factor = factor_of(reducer, self->encode, self->medians[LMN__TIME_ENCODE]);
        self->decode_factor = factor_of(reducer, self->decode, self->medians[LMN__TIME_DECODE]);
    }
    return LMN_OK;
}

bool lmn__timing_is_complete(const lmn_reducer *reducer)
{
    const lmn__timing *self = reducer->timing;
    return self->is_calibrated != 0 && self->n_steps > 0 && self->dense_step > 0.0;
}

/*
 * Who waited for whom, and what the link delivered: see lmn_waiting in lamina/trainer.h.
 *
 * A step only notes this rank's own times. Where rows of run.h5 are due, after up to 256 steps, the
 * clocks are compared anew, and the moments of all these steps are settled in three reductions of a
 * few numbers a step, whatever the number of ranks; only what goes into the file is brought to rank
 * 0, 4 bytes a rank and step. Between two comparisons clocks are taken to drift evenly.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "trainer_internal.h"

#include <assert.h>
#include <string.h>

/* Clocks are not compared more often: in that time they drift by less than 50 microseconds. */
static const double COMPARE_SECONDS = 1.0;

/* A rank in the low bits of a number whose high bits are its wait: the least is the last rank's. */
#define RANK_BITS 20
static const uint64_t RANK_MASK = ((uint64_t)1 << RANK_BITS) - 1;
static const uint64_t WAIT_MAX = UINT64_MAX >> RANK_BITS;

/* Own times of one step. */
typedef struct step_times {
    double ready_at; /* by the own clock */
    double blocked;  /* in finish */
    double inside;   /* blocked in the passes */
    double flight;
    uint64_t bytes;
} step_times;

/* A comparison of clocks. */
typedef struct comparison {
    double at; /* by the own clock */
    lmn_clock_offset offset;
} comparison;

struct lmn__waits {
    int rank, size;
    bool has_table; /* rank 0 writes one; the same on all ranks */
    comparison before, now;
    double compared_at; /* by the time of the run, the same on all ranks */
    size_t n_steps;     /* that wait to be settled */
    step_times steps[LMN__RECORD_STEPS];
    uint64_t numbers[3 * LMN__RECORD_STEPS]; /* in a reduction */
    uint64_t waits[LMN__RECORD_STEPS];       /* of this rank, settled; nanoseconds */
    uint64_t last[LMN__RECORD_STEPS];        /* ranks */
    float seconds[LMN__RECORD_STEPS];        /* of this rank */
    /* Totals, the same on all ranks; [size] by the rank that was last. */
    uint64_t *last_steps;
    double *lost; /* seconds of another rank, in the mean over the others */
    lmn_waiting total;
    /* Rank 0 only, and but for the places only with a table. */
    lmn_placement *places; /* [size] owned */
    lmn_table *table;
    lmn_cell *cells; /* [2 + size] */
    float *all;      /* [size][steps of the last gathering] */
    double *waited;  /* [size] */
};

lmn_status lmn__waits_create(lmn_trainer *trainer, lmn_error *err)
{
    lmn__waits *self = lmn_alloc(1, sizeof *self, err);
    if (self == NULL) {
        return LMN_ERR_MEMORY;
    }
    trainer->waits = self;
    self->rank = lmn_world_rank(trainer->world);
    self->size = lmn_world_size(trainer->world);
    self->total.rank = -1;
    self->last_steps = lmn_alloc((size_t)self->size, sizeof *self->last_steps, err);
    self->lost = lmn_alloc((size_t)self->size, sizeof *self->lost, err);
    return self->last_steps == NULL || self->lost == NULL ? LMN_ERR_MEMORY : LMN_OK;
}

void lmn__waits_destroy(lmn__waits *self)
{
    if (self == NULL) {
        return;
    }
    lmn_free(self->last_steps);
    lmn_free(self->lost);
    lmn_free(self->places);
    lmn_free(self->cells);
    lmn_free(self->all);
    lmn_free(self->waited);
    lmn_free(self);
}

/* ------------------------------------------------------------------ rank 0's table */

lmn_status lmn__waits_open_table(lmn_trainer *trainer, lmn_error *err)
{
    lmn__waits *self = trainer->waits;
    const size_t size = (size_t)self->size;
    const lmn_column columns[] = {
        {"step", "1", "number of the training step", LMN_COLUMN_U64, 1},
        {"last", "1", "rank that was ready last, for which the others waited", LMN_COLUMN_U64, 1},
        {"seconds", "s", "that each rank waited for the last one", LMN_COLUMN_F32_EACH, size},
    };
    self->cells = lmn_alloc(2 + size, sizeof *self->cells, err);
    self->all = lmn_alloc(size * LMN__RECORD_STEPS, sizeof *self->all, err);
    self->waited = lmn_alloc(size, sizeof *self->waited, err);
    if (self->cells == NULL || self->all == NULL || self->waited == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = lmn_results_add_table(trainer->records->results, "/waits", columns,
                                              sizeof columns / sizeof columns[0], LMN__TABLE_ROWS,
                                              &self->table, err);
    return status == LMN_OK ? lmn_table_truncate(self->table, trainer->progress.steps, err)
                            : status;
}

lmn_status lmn__waits_open(lmn_trainer *trainer, lmn_placement *placements, lmn_error *err)
{
    lmn__waits *self = trainer->waits;
    self->places = placements;
    self->has_table = self->table != NULL;
    lmn_status status =
        lmn_world_broadcast(trainer->world, &self->has_table, sizeof self->has_table, 0, err);
    if (status == LMN_OK) {
        status = lmn_world_compare_clocks(trainer->world, &self->now.offset, err);
    }
    self->now.at = lmn_clock_seconds();
    self->before = self->now;
    self->compared_at = trainer->seconds_before;
    return status;
}

bool lmn__waits_is_nearly_full(const lmn_trainer *trainer)
{
    return lmn_table_room(trainer->waits->table) < LMN__RECORD_STEPS;
}

lmn_status lmn__waits_write_row(lmn_trainer *trainer, size_t i, uint64_t step, lmn_error *err)
{
    lmn__waits *self = trainer->waits;
    const size_t n = trainer->records->n_waiting;
    self->cells[0].u64 = step;
    self->cells[1].u64 = self->last[i];
    for (size_t rank = 0; rank < (size_t)self->size; rank++) {
        self->cells[2 + rank].f64 = (double)self->all[rank * n + i];
        self->waited[rank] += (double)self->all[rank * n + i];
    }
    return lmn_table_append(self->table, self->cells, err);
}

/* ------------------------------------------------------------------ settling */

void lmn__waits_add_step(lmn_trainer *trainer, double step_seconds)
{
    lmn__waits *self = trainer->waits;
    const lmn_step_times times = lmn_reducer_step_times(trainer->reducer);
    assert(self->n_steps < LMN__RECORD_STEPS);
    self->steps[self->n_steps++] = (step_times){.ready_at = times.ready_at,
                                                .blocked = trainer->report.seconds_wait,
                                                .inside = trainer->seconds_inside,
                                                .flight = times.seconds_flight,
                                                .bytes = trainer->report.bytes_sent};
    self->total.step_seconds += step_seconds;
}

/* An own moment on the clock of rank 0. */
static uint64_t common_time(const lmn__waits *self, double at)
{
    const comparison *a = &self->before;
    const comparison *b = &self->now;
    double share = b->at > a->at ? (at - a->at) / (b->at - a->at) : 1.0;
    share = share < 0.0 ? 0.0 : share > 1.0 ? 1.0 : share;
    const double offset = a->offset.seconds + share * (b->offset.seconds - a->offset.seconds);
    return lmn_clock_nanoseconds(at + offset);
}

static lmn_status compare_clocks(lmn_trainer *trainer, lmn_error *err)
{
    lmn__waits *self = trainer->waits;
    self->before = self->now;
    if (trainer->progress.total_seconds - self->compared_at < COMPARE_SECONDS) {
        return LMN_OK;
    }
    self->compared_at = trainer->progress.total_seconds;
    const lmn_status status = lmn_world_compare_clocks(trainer->world, &self->now.offset, err);
    self->now.at = lmn_clock_seconds();
    return status;
}

/* What this rank waited in each step, from the last moment and the least time inside. */
static lmn_status settle_waits(lmn_trainer *trainer, lmn_error *err)
{
    lmn__waits *self = trainer->waits;
    const size_t n = self->n_steps;
    for (size_t i = 0; i < n; i++) {
        self->numbers[i] = common_time(self, self->steps[i].ready_at);
        self->numbers[n + i] = ~lmn_clock_nanoseconds(self->steps[i].inside);
    }
    const lmn_status status = lmn_world_max_u64(trainer->world, self->numbers, 2 * n, err);
    for (size_t i = 0; i < n && status == LMN_OK; i++) {
        const step_times *step = &self->steps[i];
        const uint64_t late = self->numbers[i] - common_time(self, step->ready_at);
        const uint64_t most = lmn_clock_nanoseconds(step->blocked);
        const uint64_t inside = lmn_clock_nanoseconds(step->inside) - ~self->numbers[n + i];
        self->waits[i] = (late < most ? late : most) + inside;
        self->seconds[i] = (float)((double)self->waits[i] * 1e-9);
    }
    return status;
}

static lmn_status find_last(lmn_trainer *trainer, lmn_error *err)
{
    lmn__waits *self = trainer->waits;
    const size_t n = self->n_steps;
    for (size_t i = 0; i < n; i++) {
        const uint64_t wait = self->waits[i] < WAIT_MAX ? self->waits[i] : WAIT_MAX;
        self->numbers[i] = ~(wait << RANK_BITS | (uint64_t)self->rank);
    }
    const lmn_status status = lmn_world_max_u64(trainer->world, self->numbers, n, err);
    for (size_t i = 0; i < n && status == LMN_OK; i++) {
        self->last[i] = ~self->numbers[i] & RANK_MASK;
    }
    return status;
}

/* Of all ranks the waits, and of the last one what it sent and how long that took. */
static lmn_status add_up(lmn_trainer *trainer, lmn_error *err)
{
    lmn__waits *self = trainer->waits;
    const size_t n = self->n_steps;
    for (size_t i = 0; i < n; i++) {
        const bool is_last = self->last[i] == (uint64_t)self->rank;
        self->numbers[i] = self->waits[i];
        self->numbers[n + i] = is_last ? self->steps[i].bytes : 0;
        self->numbers[2 * n + i] = is_last ? lmn_clock_nanoseconds(self->steps[i].flight) : 0;
    }
    const lmn_status status = lmn_world_sum_u64(trainer->world, self->numbers, 3 * n, err);
    const double others = self->size > 1 ? self->size - 1 : 1;
    for (size_t i = 0; i < n && status == LMN_OK; i++) {
        const double lost = (double)self->numbers[i] * 1e-9 / others;
        self->last_steps[self->last[i]]++;
        self->lost[self->last[i]] += lost;
        self->total.steps++;
        self->total.seconds += lost;
        self->total.flight_bytes += (double)self->numbers[n + i];
        self->total.flight_seconds += (double)self->numbers[2 * n + i] * 1e-9;
    }
    return status;
}

/* The rank that cost the others most, of several the lowest. */
static void name_rank(lmn__waits *self)
{
    lmn_waiting *total = &self->total;
    if (self->size < 2) {
        return;
    }
    int worst = 0;
    for (int rank = 1; rank < self->size; rank++) {
        worst = self->lost[rank] > self->lost[worst] ? rank : worst;
    }
    total->rank = worst;
    total->rank_steps = self->last_steps[worst];
    total->rank_seconds = self->lost[worst];
    if (self->places != NULL) {
        memcpy(total->host, self->places[worst].host, sizeof total->host);
    }
    total->delivered =
        total->flight_seconds > 0.0 ? total->flight_bytes / total->flight_seconds : 0.0;
}

static lmn_status largest_error(lmn_trainer *trainer, lmn_error *err)
{
    lmn__waits *self = trainer->waits;
    uint64_t nanoseconds = lmn_clock_nanoseconds(self->now.offset.error);
    const lmn_status status = lmn_world_max_u64(trainer->world, &nanoseconds, 1, err);
    const double error = (double)nanoseconds * 1e-9;
    self->total.clock_error = error > self->total.clock_error ? error : self->total.clock_error;
    return status;
}

lmn_status lmn__waits_gather(lmn_trainer *trainer, lmn_error *err)
{
    lmn__waits *self = trainer->waits;
    if (self->n_steps == 0) {
        return LMN_OK;
    }
    lmn_status status = compare_clocks(trainer, err);
    if (status == LMN_OK) {
        status = largest_error(trainer, err);
    }
    if (status == LMN_OK) {
        status = settle_waits(trainer, err);
    }
    if (status == LMN_OK) {
        status = find_last(trainer, err);
    }
    if (status == LMN_OK) {
        status = add_up(trainer, err);
    }
    if (status == LMN_OK && self->has_table) {
        status = lmn_world_gather(trainer->world, self->seconds,
                                  self->n_steps * sizeof *self->seconds, self->all, err);
    }
    self->n_steps = 0;
    name_rank(self);
    return status;
}

/* ------------------------------------------------------------------ the end */

lmn_status lmn__waits_set_lists(const lmn_trainer *trainer, lmn_error *err)
{
    const lmn__waits *self = trainer->waits;
    lmn_results *results = trainer->records->results;
    const size_t size = (size_t)self->size;
    const char **hosts = lmn_alloc(size, sizeof *hosts, err);
    if (hosts == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t rank = 0; rank < size; rank++) {
        hosts[rank] = self->places[rank].host;
    }
    lmn_status status = lmn_results_set_texts(results, "/ranks/host", hosts, size, err);
    lmn_free((void *)hosts);
    if (status == LMN_OK) {
        status =
            lmn_results_set_u64s(results, "/ranks/last_steps", "1", self->last_steps, size, err);
    }
    if (status == LMN_OK) {
        status = lmn_results_set_f64s(results, "/ranks/cost_seconds", "s", self->lost, size, err);
    }
    if (status == LMN_OK) {
        status =
            lmn_results_set_f64s(results, "/ranks/waited_seconds", "s", self->waited, size, err);
    }
    return status;
}

lmn_status lmn__waits_measure_link(lmn_trainer *trainer, lmn_error *err)
{
    lmn_waiting *total = &trainer->waits->total;
    lmn_link link = {0};
    const bool is_wanted = trainer->settings.options.measure_link && !trainer->stop_wanted;
    if (!is_wanted && !lmn_reducer_knows_link(trainer->reducer)) {
        return LMN_OK;
    }
    const lmn_status status = lmn_reducer_measure_link(trainer->reducer, &link, err);
    const double sum = link.sum.per_byte;
    const double gather = link.gather.per_byte;
    const double fastest = sum > 0.0 && (sum < gather || gather <= 0.0) ? sum : gather;
    total->measured = fastest > 0.0 ? 1.0 / fastest : 0.0;
    return status;
}

lmn_status lmn__waits_share_host(lmn_trainer *trainer, lmn_error *err)
{
    lmn_waiting *total = &trainer->waits->total;
    return lmn_world_broadcast(trainer->world, total->host, sizeof total->host, 0, err);
}

const lmn_waiting *lmn__waits_total(const lmn_trainer *trainer)
{
    return &trainer->waits->total;
}

/*
 * Measuring the link between the ranks of a world.
 *
 * Every size is timed in rounds that follow each other without a pause, and of their second half
 * the slowest rank's median counts, so all ranks fit the same line. Without a pause, because links
 * that are shaped or buffered let the first megabytes pass faster than they can go on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allreduce_internal.h"
#include "comm_internal.h"
#include "lamina/clock.h"
#include "lamina/collective.h"
#include "lamina/link.h"
#include "lamina/memory.h"
#include "lamina/tuning.h"
#include "link_internal.h"
#include "mpi_error_internal.h"
#include "pattern_internal.h"

#include <string.h>

#define SUM_LOG2_FIRST    10
#define SUM_LOG2_LAST     20
#define GATHER_LOG2_FIRST 8
#define GATHER_LOG2_LAST  18
#define LOG2_STEP         2
#define SIZES_MAX         8
#define ROUNDS_MAX        ((size_t)32)
#define ROUNDS_MIN        ((size_t)4)
/* Seconds for the rounds of one size, unless the fewest take longer. */
#define SECONDS_EACH 0.2
/* Messages of the bursts that show the gap between them, and how often each is sent. */
#define BURST_SHORT 8
#define BURST_LONG  56
#define BURSTS      8

typedef struct probe {
    lmn_world *world;
    lmn_collective *sum, *gather; /* owned */
    float *send, *recv;           /* [2^SUM_LOG2_LAST bytes] owned */
    double gap;                   /* seconds */
    size_t n_samples;
    lmn_line_sample samples[SIZES_MAX];
    lmn__route routes[SIZES_MAX];
} probe;

static lmn_status start(const probe *self, bool sums, size_t bytes, lmn_error *err)
{
    return sums ? lmn_allreduce_start(self->sum, self->send, self->recv, bytes / sizeof(float),
                                      1.0F, err)
                : lmn_allgatherv_start(self->gather, self->send, bytes, err);
}

static lmn_status time_round(const probe *self, bool sums, size_t bytes, double *seconds_out,
                             lmn_error *err)
{
    const double begin = lmn_clock_seconds();
    lmn_status status = start(self, sums, bytes, err);
    if (status == LMN_OK) {
        status = lmn_collective_wait(sums ? self->sum : self->gather, err);
    }
    *seconds_out = lmn_clock_seconds() - begin;
    return status;
}

static void insert(double *sorted, size_t n, double value)
{
    size_t place = n;
    for (; place > 0 && sorted[place - 1] > value; place--) {
        sorted[place] = sorted[place - 1];
    }
    sorted[place] = value;
}

static size_t count_rounds(double seconds)
{
    const double fitting = SECONDS_EACH / seconds;
    if (fitting < (double)ROUNDS_MIN) {
        return ROUNDS_MIN;
    }
    return fitting < (double)ROUNDS_MAX ? (size_t)fitting : ROUNDS_MAX;
}

static lmn_allreduce_algorithm algorithm_of(const lmn_world *world, size_t bytes)
{
    const lmn__choices choices = lmn__choices_of(world, lmn__arithmetic_of(LMN_REDUCTION_SUM_F32));
    return lmn__choice(&choices, bytes / sizeof(float));
}

/* All ranks make as many rounds: the slowest rank's time of the first decides. */
static lmn_status time_size(probe *self, bool sums, size_t bytes, lmn_error *err)
{
    double first = 0.0;
    lmn_status status = time_round(self, sums, bytes, &first, err);
    uint64_t nanoseconds = lmn_clock_nanoseconds(first) + 1;
    if (status == LMN_OK) {
        status = lmn_world_max_u64(self->world, &nanoseconds, 1, err);
    }
    const size_t n_rounds = count_rounds((double)nanoseconds * 1e-9);
    double seconds[ROUNDS_MAX] = {0.0};
    size_t n_counted = 0;
    for (size_t i = 0; i < n_rounds && status == LMN_OK; i++) {
        double round = 0.0;
        status = time_round(self, sums, bytes, &round, err);
        if (i >= n_rounds / 2) {
            insert(seconds, n_counted++, round);
        }
    }
    nanoseconds = lmn_clock_nanoseconds(seconds[n_counted / 2]) + 1;
    if (status == LMN_OK) {
        status = lmn_world_max_u64(self->world, &nanoseconds, 1, err);
    }
    const int size = lmn_world_size(self->world);
    const lmn__route route =
        sums ? lmn__sum_route(algorithm_of(self->world, bytes), size, (double)bytes)
             : lmn__gather_route(size, (double)bytes);
    self->routes[self->n_samples] = route;
    self->samples[self->n_samples++] = (lmn_line_sample){
        .messages = route.hops, .bytes = route.bytes, .seconds = (double)nanoseconds * 1e-9};
    return status;
}

/* The shortest and the longest have the latency and the rate between them. Those between show
 * neither: what disturbs them would weigh more, and links that let some bytes pass faster would
 * hide their rate in them. */
static lmn_line line_of(const probe *self)
{
    const lmn_line_sample *shortest = &self->samples[0];
    const lmn_line_sample *longest = &self->samples[self->n_samples - 1];
    const lmn_line_sample ends[] = {*shortest, *longest};
    lmn_line line = lmn_line_fit(ends, 2);
    if (line.per_byte == 0.0) {
        line.per_byte = longest->seconds / longest->bytes;
    }
    line.latency = 0.0;
    const double rest = shortest->seconds - lmn__route_seconds(&line, self->gap, self->routes[0]);
    line.latency = rest > 0.0 ? rest / self->routes[0].hops : 0.0;
    return line;
}

static lmn_status fit(probe *self, bool sums, lmn_line *line_out, lmn_error *err)
{
    const int first = sums ? SUM_LOG2_FIRST : GATHER_LOG2_FIRST;
    const int last = sums ? SUM_LOG2_LAST : GATHER_LOG2_LAST;
    lmn_status status = LMN_OK;
    self->n_samples = 0;
    for (int log2 = first; log2 <= last && status == LMN_OK; log2 += LOG2_STEP) {
        status = time_size(self, sums, (size_t)1 << log2, err);
    }
    *line_out = line_of(self);
    return status;
}

/* ------------------------------------------------------------------ gap */

/* The requests are waited for at once, in a way that the checker does not follow. */
/* NOLINTBEGIN(clang-analyzer-optin.mpi.MPI-Checker) */

/* Seconds in which this rank sends `count` numbers to the next rank, each in a message of its own,
 * and has those of the rank before. */
static lmn_status time_burst(const probe *self, size_t count, double *seconds_out, lmn_error *err)
{
    const lmn_world *world = self->world;
    const int next = lmn__rotation_target(world->rank, world->size, 1);
    const int last = lmn__rotation_source(world->rank, world->size, 1);
    MPI_Request requests[2 * BURST_LONG];
    MPI_Status statuses[2 * BURST_LONG];
    lmn_status status = LMN_OK;
    const double begin = lmn_clock_seconds();
    for (size_t i = 0; i < count && status == LMN_OK; i++) {
        status = lmn__mpi_check(MPI_Irecv(self->recv + i, 1, MPI_FLOAT, last, LMN__TAG_WORLD,
                                          world->comm, &requests[2 * i]),
                                err, "receive a short message from rank %d", last);
        if (status == LMN_OK) {
            status = lmn__mpi_check(MPI_Isend(self->send + i, 1, MPI_FLOAT, next, LMN__TAG_WORLD,
                                              world->comm, &requests[2 * i + 1]),
                                    err, "send a short message to rank %d", next);
        }
    }
    if (status == LMN_OK) {
        status = lmn__mpi_check(MPI_Waitall((int)(2 * count), requests, statuses), err,
                                "exchange short messages with ranks %d and %d", last, next);
    }
    *seconds_out = lmn_clock_seconds() - begin;
    return status;
}

/* NOLINTEND(clang-analyzer-optin.mpi.MPI-Checker) */

/* The fastest of some bursts: what disturbs one only makes it longer. */
static lmn_status best_burst(const probe *self, size_t count, double *seconds_out, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (int i = 0; i < BURSTS && status == LMN_OK; i++) {
        double seconds = 0.0;
        status = time_burst(self, count, &seconds, err);
        *seconds_out = i == 0 || seconds < *seconds_out ? seconds : *seconds_out;
    }
    return status;
}

static lmn_status find_gap(probe *self, lmn_error *err)
{
    double few = 0.0;
    double many = 0.0;
    lmn_status status = best_burst(self, BURST_SHORT, &few, err);
    if (status == LMN_OK) {
        status = best_burst(self, BURST_LONG, &many, err);
    }
    const double gap = (many - few) / (BURST_LONG - BURST_SHORT);
    uint64_t picoseconds = gap > 0.0 ? (uint64_t)(gap * 1e12) : 0;
    if (status == LMN_OK) {
        status = lmn_world_max_u64(self->world, &picoseconds, 1, err);
    }
    self->gap = (double)picoseconds * 1e-12;
    return status;
}

static lmn_status tune(lmn_world *world, lmn_error *err)
{
    const lmn_allreduce_tuning tuning = {.largest_bytes = (size_t)1 << SUM_LOG2_LAST};
    return lmn_world_size(world) > 2 ? lmn_allreduce_tune(world, &tuning, NULL, err) : LMN_OK;
}

static lmn_status measure(probe *self, lmn_link *link_out, lmn_error *err)
{
    lmn_world *world = self->world;
    const size_t count = ((size_t)1 << SUM_LOG2_LAST) / sizeof(float);
    self->send = lmn_alloc(count, sizeof(float), err);
    self->recv = lmn_alloc(count, sizeof(float), err);
    const bool has_memory = self->send != NULL && self->recv != NULL;
    lmn_status status = lmn_agree(world, has_memory ? LMN_OK : LMN_ERR_MEMORY, err);
    if (status == LMN_OK) {
        status = tune(world, err);
    }
    if (status == LMN_OK) {
        status = lmn_allreduce_create(world, LMN_REDUCTION_SUM_F32, count, &self->sum, err);
    }
    if (status == LMN_OK) {
        status = lmn_allgatherv_create(world, (size_t)1 << GATHER_LOG2_LAST, &self->gather, err);
    }
    if (status == LMN_OK) {
        status = find_gap(self, err);
    }
    link_out->gap = self->gap;
    if (status == LMN_OK) {
        status = fit(self, true, &link_out->sum, err);
    }
    return status == LMN_OK ? fit(self, false, &link_out->gather, err) : status;
}

lmn_status lmn_link_measure(lmn_world *world, lmn_link *link_out, lmn_error *err)
{
    lmn_status status = LMN_OK;
    if (!world->has_link) {
        probe self = {.world = world};
        world->link = (lmn_link){0};
        status = lmn_world_size(world) < 2 ? LMN_OK : measure(&self, &world->link, err);
        world->has_link = status == LMN_OK;
        lmn_collective_destroy(self.sum);
        lmn_collective_destroy(self.gather);
        lmn_free(self.send);
        lmn_free(self.recv);
    }
    *link_out = world->link;
    return status;
}

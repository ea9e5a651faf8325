/*
 * Allreduce: starting the algorithm that the world's table, or the default, has for a size.
 *
 * By default, up to LMN__DOUBLING_BYTES the number of messages one after the other decides, and
 * recursive doubling has the fewest; above, the bytes decide, and direct exchange sends the fewest.
 * One rank alone multiplies and sends nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allreduce_internal.h"
#include "comm_internal.h"
#include "lamina/memory.h"

#include <string.h>

/* Numbers that one rank alone copies at a time. */
#define ALONE_COUNT 1024

typedef struct allreduce_state {
    lmn_collective head; /* first, so that a collective is an allreduce */
    lmn__job job;
    size_t capacity; /* numbers */
    lmn__choices choices;
    size_t needs[LMN_ALLREDUCE_ALGORITHM_COUNT]; /* largest count of each algorithm */
    lmn_allreduce_algorithm algorithm;           /* the running or last one */
    lmn__direct direct;                          /* these are zeroed when not needed, or alone */
    lmn__doubler doubler;
    lmn__relay relay;
    lmn__mpi_sum mpi_sum;
} allreduce_state;

static lmn_status progress(lmn_collective *collective, lmn_error *err)
{
    allreduce_state *self = (allreduce_state *)collective;
    if (self->head.world->size == 1 || self->job.count == 0) {
        return LMN_OK;
    }
    switch (self->algorithm) {
    case LMN_ALLREDUCE_DOUBLING:
        return lmn__doubler_progress(&self->doubler, err);
    case LMN_ALLREDUCE_RING:
    case LMN_ALLREDUCE_HALVING:
        return lmn__relay_progress(&self->relay, err);
    case LMN_ALLREDUCE_MPI:
        return lmn__mpi_sum_progress(&self->mpi_sum, err);
    default:
        return lmn__direct_progress(&self->direct, err);
    }
}

static void destroy(lmn_collective *collective)
{
    allreduce_state *self = (allreduce_state *)collective;
    lmn__direct_free(&self->direct);
    lmn__doubler_free(&self->doubler);
    lmn__relay_free(&self->relay);
    lmn__mpi_sum_free(&self->mpi_sum);
    lmn_free(self);
}

static const lmn__collective_kind allreduce_kind = {
    .name = "allreduce", .progress = progress, .destroy = destroy};

/* What each algorithm needs for the counts that it may get. Local. */
static lmn_status take_memory(allreduce_state *self, lmn_error *err)
{
    lmn_collective *head = &self->head;
    const size_t *needs = self->needs;
    const size_t ring = needs[LMN_ALLREDUCE_RING];
    const size_t halving = needs[LMN_ALLREDUCE_HALVING];
    const size_t relay = ring < halving ? halving : ring;
    lmn_status status = LMN_OK;
    if (needs[LMN_ALLREDUCE_DOUBLING] > 0) {
        status =
            lmn__doubler_init(&self->doubler, head, &self->job, needs[LMN_ALLREDUCE_DOUBLING], err);
    }
    if (status == LMN_OK && needs[LMN_ALLREDUCE_DIRECT] > 0) {
        status =
            lmn__direct_init(&self->direct, head, &self->job, needs[LMN_ALLREDUCE_DIRECT], err);
    }
    if (status == LMN_OK && relay > 0) {
        status = lmn__relay_init(&self->relay, head, &self->job, relay, err);
    }
    return status;
}

static lmn_status allreduce_alloc(lmn_world *world, lmn_reduction reduction, size_t capacity,
                                  allreduce_state **self_out, lmn_error *err)
{
    const lmn__arithmetic *arithmetic = lmn__arithmetic_of(reduction);
    if (arithmetic == NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot create an allreduce: there is no reduction %d",
                             (int)reduction);
    }
    allreduce_state *self = lmn_alloc(1, sizeof *self, err);
    if (self == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn__collective_init(&self->head, &allreduce_kind, world);
    self->capacity = capacity;
    self->job.arithmetic = arithmetic;
    self->choices = lmn__choices_of(world, arithmetic);
    if (world->size > 1) {
        lmn__choice_needs(&self->choices, capacity, self->needs);
    }
    const lmn_status status = take_memory(self, err);
    if (status != LMN_OK) {
        destroy(&self->head);
        return status;
    }
    *self_out = self;
    return LMN_OK;
}

lmn_status lmn_allreduce_create(lmn_world *world, lmn_reduction reduction, size_t capacity,
                                lmn_collective **allreduce_out, lmn_error *err)
{
    allreduce_state *self = NULL;
    lmn_status status = allreduce_alloc(world, reduction, capacity, &self, err); /* local */
    lmn_collective *collective = self != NULL ? &self->head : NULL;
    status =
        lmn__collective_join(world, collective, "the allreduce capacity", capacity, status, err);
    if (status == LMN_OK) {
        status = lmn_world_check_same(world, "the reduction", (uint64_t)reduction, err);
    }
    if (status == LMN_OK && self != NULL && self->needs[LMN_ALLREDUCE_MPI] > 0) {
        status = lmn__mpi_sum_init(&self->mpi_sum, &self->head, &self->job, err);
    }
    if (status != LMN_OK) {
        lmn_collective_destroy(collective);
        return status;
    }
    *allreduce_out = collective;
    return LMN_OK;
}

static bool overlaps(const void *send, const void *recv, size_t bytes)
{
    const uintptr_t a = (uintptr_t)send;
    const uintptr_t b = (uintptr_t)recv;
    return a < b ? b - a < bytes : a - b < bytes;
}

static lmn_status check_arguments(const allreduce_state *self, const lmn__job *job, lmn_error *err)
{
    const lmn__arithmetic *arithmetic = job->arithmetic;
    const size_t count = job->count;
    if (count > self->capacity) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot allreduce %zu values: this allreduce was created for %zu at "
                             "most",
                             count, self->capacity);
    }
    if (count > 0 && (job->send == NULL || job->recv == NULL ||
                      overlaps(job->send, job->recv, count * arithmetic->bytes))) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot allreduce %zu values: send and recv must be two vectors that "
                             "do not overlap",
                             count);
    }
    if (!arithmetic->has_factor && job->factor != 1.0F) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot multiply %s by %g in an allreduce: the factor must be 1",
                             arithmetic->name, (double)job->factor);
    }
    return LMN_OK;
}

/* One rank alone gets the bits that many would: rounded where the wire rounds. */
static void copy_alone(const lmn__job *job)
{
    const lmn__arithmetic *arithmetic = job->arithmetic;
    const bool is_rounded = lmn__arithmetic_is_rounded(arithmetic);
    uint16_t wire[ALONE_COUNT];
    for (size_t first = 0; first < job->count; first += ALONE_COUNT) {
        const size_t left = job->count - first;
        const size_t count = left < ALONE_COUNT ? left : ALONE_COUNT;
        void *recv = lmn__number_of(job, job->recv, first);
        memcpy(recv, lmn__number(job, job->send, first), count * arithmetic->bytes);
        if (is_rounded) {
            lmn__bf16_encode(wire, recv, count);
            lmn__bf16_decode(recv, wire, count);
        }
        lmn__arithmetic_scale(arithmetic, recv, count, job->factor);
        if (is_rounded) {
            lmn__bf16_encode(wire, recv, count);
            lmn__bf16_decode(recv, wire, count);
        }
    }
}

/* No message leaves before the first progress. */
static void start(allreduce_state *self)
{
    self->algorithm = lmn__choice(&self->choices, self->job.count);
    if (self->head.world->size == 1) {
        copy_alone(&self->job);
        return;
    }
    switch (self->algorithm) {
    case LMN_ALLREDUCE_DOUBLING:
        lmn__doubler_start(&self->doubler);
        break;
    case LMN_ALLREDUCE_RING:
    case LMN_ALLREDUCE_HALVING:
        lmn__relay_start(&self->relay, self->algorithm == LMN_ALLREDUCE_RING);
        break;
    case LMN_ALLREDUCE_MPI:
        lmn__mpi_sum_start(&self->mpi_sum);
        break;
    default:
        lmn__direct_start(&self->direct);
        break;
    }
}

lmn_status lmn_allreduce_start(lmn_collective *allreduce, const void *send, void *recv,
                               size_t count, float factor, lmn_error *err)
{
    lmn_status status = lmn__collective_check_idle(allreduce, &allreduce_kind, err);
    if (status != LMN_OK) {
        return status;
    }
    allreduce_state *self = (allreduce_state *)allreduce;
    const lmn__job job = {.arithmetic = self->job.arithmetic,
                          .send = send,
                          .recv = recv,
                          .count = count,
                          .factor = factor};
    status = check_arguments(self, &job, err);
    if (status != LMN_OK) {
        return status;
    }
    self->job = job;
    start(self);
    return lmn__collective_launch(allreduce, err);
}

uint64_t lmn_allreduce_bytes(lmn_reduction reduction, int size, size_t count)
{
    const lmn__arithmetic *arithmetic = lmn__arithmetic_of(reduction);
    if (size < 2 || arithmetic == NULL) {
        return 0;
    }
    const lmn__choices choices = {
        .arithmetic = arithmetic, .doubling_bytes = LMN__DOUBLING_BYTES, .part = LMN__PART_LIMIT};
    return lmn__choice_bytes(lmn__choice(&choices, count), arithmetic, size, count);
}

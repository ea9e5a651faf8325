/*
 * Allreduce: which algorithm sums a vector, and starting it.
 *
 * Up to LMN__DOUBLING_BYTES the number of messages one after the other decides, and recursive
 * doubling has the fewest; above, the bytes decide, and direct exchange sends the fewest. One rank
 * alone multiplies and sends nothing.
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
    size_t capacity;       /* numbers */
    size_t doubling_count; /* numbers up to which recursive doubling is used */
    bool is_direct;        /* the running or last one */
    lmn__direct direct;    /* zeroed when capacity <= doubling_count or alone */
    lmn__doubler doubler;  /* zeroed when alone */
} allreduce_state;

static lmn_status progress(lmn_collective *collective, lmn_error *err)
{
    allreduce_state *self = (allreduce_state *)collective;
    if (self->head.world->size == 1 || self->job.count == 0) {
        return LMN_OK;
    }
    return self->is_direct ? lmn__direct_progress(&self->direct, err)
                           : lmn__doubler_progress(&self->doubler, err);
}

static void destroy(lmn_collective *collective)
{
    allreduce_state *self = (allreduce_state *)collective;
    lmn__direct_free(&self->direct);
    lmn__doubler_free(&self->doubler);
    lmn_free(self);
}

static const lmn__collective_kind allreduce_kind = {
    .name = "allreduce", .progress = progress, .destroy = destroy};

/* Sums that are rounded on the wire are rounded once there and once back, so by direct exchange. */
static size_t doubling_count(const lmn__arithmetic *arithmetic, size_t doubling_bytes)
{
    return lmn__arithmetic_is_rounded(arithmetic) ? 0 : doubling_bytes / arithmetic->bytes;
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
    self->doubling_count = doubling_count(arithmetic, world->limits.doubling_bytes);
    lmn_status status = LMN_OK;
    if (world->size > 1 && self->doubling_count > 0) {
        const size_t small = capacity < self->doubling_count ? capacity : self->doubling_count;
        status = lmn__doubler_init(&self->doubler, &self->head, &self->job, small, err);
    }
    if (status == LMN_OK && world->size > 1 && capacity > self->doubling_count) {
        status = lmn__direct_init(&self->direct, &self->head, &self->job, capacity, err);
    }
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
    self->is_direct = count > self->doubling_count;
    if (allreduce->world->size == 1) {
        copy_alone(&self->job);
    } else if (self->is_direct) {
        lmn__direct_start(&self->direct);
    } else if (count > 0) {
        lmn__doubler_start(&self->doubler);
    }
    return lmn__collective_launch(allreduce, err);
}

uint64_t lmn_allreduce_bytes(lmn_reduction reduction, int size, size_t count)
{
    const lmn__arithmetic *arithmetic = lmn__arithmetic_of(reduction);
    if (size < 2 || arithmetic == NULL) {
        return 0;
    }
    return count > doubling_count(arithmetic, LMN__DOUBLING_BYTES)
               ? lmn__direct_bytes(arithmetic, size, count)
               : lmn__doubler_bytes(arithmetic, size, count);
}

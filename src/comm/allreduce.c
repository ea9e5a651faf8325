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

typedef struct allreduce_state {
    lmn_collective head; /* first, so that a collective is an allreduce */
    lmn__job job;
    size_t capacity;       /* f32 */
    size_t doubling_count; /* f32 up to which recursive doubling is used */
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

static lmn_status allreduce_alloc(lmn_world *world, size_t capacity, allreduce_state **self_out,
                                  lmn_error *err)
{
    allreduce_state *self = lmn_alloc(1, sizeof *self, err);
    if (self == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn__collective_init(&self->head, &allreduce_kind, world);
    self->capacity = capacity;
    self->doubling_count = world->limits.doubling_bytes / sizeof(float);
    lmn_status status = LMN_OK;
    if (world->size > 1) {
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

lmn_status lmn_allreduce_create(lmn_world *world, size_t capacity, lmn_collective **allreduce_out,
                                lmn_error *err)
{
    allreduce_state *self = NULL;
    lmn_status status = allreduce_alloc(world, capacity, &self, err); /* local */
    lmn_collective *collective = self != NULL ? &self->head : NULL;
    status =
        lmn__collective_join(world, collective, "the allreduce capacity", capacity, status, err);
    if (status != LMN_OK) {
        lmn_collective_destroy(collective);
        return status;
    }
    *allreduce_out = collective;
    return LMN_OK;
}

static bool overlaps(const float *send, const float *recv, size_t count)
{
    const uintptr_t a = (uintptr_t)send;
    const uintptr_t b = (uintptr_t)recv;
    const uintptr_t bytes = count * sizeof *send;
    return a < b ? b - a < bytes : a - b < bytes;
}

static lmn_status check_arguments(const allreduce_state *self, const float *send, const float *recv,
                                  size_t count, lmn_error *err)
{
    if (count > self->capacity) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot allreduce %zu values: this allreduce was created for %zu at "
                             "most",
                             count, self->capacity);
    }
    if (count > 0 && (send == NULL || recv == NULL || overlaps(send, recv, count))) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot allreduce %zu values: send and recv must be two vectors that "
                             "do not overlap",
                             count);
    }
    return LMN_OK;
}

lmn_status lmn_allreduce_start(lmn_collective *allreduce, const float *send, float *recv,
                               size_t count, float factor, lmn_error *err)
{
    lmn_status status = lmn__collective_check_idle(allreduce, &allreduce_kind, err);
    if (status != LMN_OK) {
        return status;
    }
    allreduce_state *self = (allreduce_state *)allreduce;
    status = check_arguments(self, send, recv, count, err);
    if (status != LMN_OK) {
        return status;
    }
    self->job = (lmn__job){.send = send, .recv = recv, .count = count, .factor = factor};
    self->is_direct = count > self->doubling_count;
    if (allreduce->world->size == 1) {
        for (size_t i = 0; i < count; ++i) {
            recv[i] = factor * send[i];
        }
    } else if (self->is_direct) {
        lmn__direct_start(&self->direct);
    } else {
        lmn__doubler_start(&self->doubler);
    }
    return lmn__collective_launch(allreduce, err);
}

uint64_t lmn_allreduce_bytes(int size, size_t count)
{
    if (size < 2) {
        return 0;
    }
    return count > LMN__DOUBLING_BYTES / sizeof(float) ? lmn__direct_bytes(size, count)
                                                       : lmn__doubler_bytes(size, count);
}

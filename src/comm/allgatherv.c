/*
 * Allgatherv: every rank's message, of a length that only its sender knows, to every rank.
 *
 * Messages go directly from each rank to each other, in segments as streams have them; a receiver
 * has room for the capacity and learns the length when the message ends. Own and received messages
 * live in one row of slots, in rank order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collective_internal.h"
#include "comm_internal.h"
#include "lamina/memory.h"
#include "stream_internal.h"

#include <limits.h>
#include <string.h>

typedef struct allgatherv_state {
    lmn_collective head;  /* first, so that a collective is an allgatherv */
    size_t capacity;      /* bytes of one message */
    size_t stride;        /* bytes from slot to slot, a multiple of LMN_ALIGNMENT */
    unsigned char *slots; /* [world size][stride] owned */
    size_t *lengths;      /* [world size] owned; bytes of each message */
    bool is_filled;       /* started at least once */
    lmn__stream send;
    lmn__stream receive;
} allgatherv_state;

static unsigned char *slot_of(const allgatherv_state *self, int rank)
{
    return self->slots + (size_t)rank * self->stride;
}

static lmn__message own_message(const void *user, int peer)
{
    const allgatherv_state *self = user;
    const int rank = self->head.world->rank;
    (void)peer;
    return (lmn__message){
        .source = slot_of(self, rank), .bytes = self->lengths[rank], .capacity = self->capacity};
}

static lmn__message room_for(const void *user, int peer)
{
    const allgatherv_state *self = user;
    return (lmn__message){.target = slot_of(self, peer), .capacity = self->capacity};
}

static void note_length(void *user, int peer, size_t bytes)
{
    allgatherv_state *self = user;
    self->lengths[peer] = bytes;
}

static const lmn__stream_kind send_kind = {
    .sending = true, .phase = 0, .message = own_message, .received = note_length};
static const lmn__stream_kind receive_kind = {
    .sending = false, .phase = 0, .message = room_for, .received = note_length};

static lmn_status progress(lmn_collective *collective, lmn_error *err)
{
    allgatherv_state *self = (allgatherv_state *)collective;
    const lmn_status received = lmn__stream_progress(&self->receive, err);
    if (received < 0) {
        return received;
    }
    const lmn_status sent = lmn__stream_progress(&self->send, err);
    return sent == LMN_OK ? received : sent;
}

static void destroy(lmn_collective *collective)
{
    allgatherv_state *self = (allgatherv_state *)collective;
    const bool is_read = lmn__stream_free(&self->send);
    const bool is_written = lmn__stream_free(&self->receive);
    /* Memory that MPI may still touch is left behind rather than handed to someone else. */
    if (!is_read && !is_written) {
        lmn_free(self->slots);
    }
    lmn_free(self->lengths);
    lmn_free(self);
}

static const lmn__collective_kind allgatherv_kind = {
    .name = "allgatherv", .progress = progress, .destroy = destroy};

static lmn_status take_memory(allgatherv_state *self, lmn_error *err)
{
    const size_t size = (size_t)self->head.world->size;
    self->slots = lmn_alloc(size, self->stride, err);
    if (self->slots == NULL) {
        return LMN_ERR_MEMORY;
    }
    self->lengths = lmn_alloc(size, sizeof *self->lengths, err);
    if (self->lengths == NULL) {
        return LMN_ERR_MEMORY;
    }
    const lmn_status status = lmn__stream_init(&self->send, &send_kind, &self->head, self, err);
    if (status != LMN_OK) {
        return status;
    }
    return lmn__stream_init(&self->receive, &receive_kind, &self->head, self, err);
}

static lmn_status allgatherv_alloc(lmn_world *world, size_t capacity, allgatherv_state **self_out,
                                   lmn_error *err)
{
    if (capacity > (size_t)INT_MAX) {
        return lmn_error_set(
            err, LMN_ERR_ARGUMENT,
            "cannot create an allgatherv for messages of %zu bytes: they may have %d "
            "at most; use smaller buckets",
            capacity, INT_MAX);
    }
    allgatherv_state *self = lmn_alloc(1, sizeof *self, err);
    if (self == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn__collective_init(&self->head, &allgatherv_kind, world);
    self->capacity = capacity;
    self->stride = lmn_align_up(capacity);
    const lmn_status status = take_memory(self, err);
    if (status != LMN_OK) {
        destroy(&self->head);
        return status;
    }
    *self_out = self;
    return LMN_OK;
}

lmn_status lmn_allgatherv_create(lmn_world *world, size_t capacity_bytes,
                                 lmn_collective **allgatherv_out, lmn_error *err)
{
    allgatherv_state *self = NULL;
    lmn_status status = allgatherv_alloc(world, capacity_bytes, &self, err); /* local */
    lmn_collective *collective = self != NULL ? &self->head : NULL;
    status = lmn__collective_join(world, collective, "the allgatherv capacity", capacity_bytes,
                                  status, err);
    if (status != LMN_OK) {
        lmn_collective_destroy(collective);
        return status;
    }
    *allgatherv_out = collective;
    return LMN_OK;
}

lmn_status lmn_allgatherv_start(lmn_collective *allgatherv, const void *message, size_t bytes,
                                lmn_error *err)
{
    const lmn_status status = lmn__collective_check_idle(allgatherv, &allgatherv_kind, err);
    if (status != LMN_OK) {
        return status;
    }
    allgatherv_state *self = (allgatherv_state *)allgatherv;
    const int rank = allgatherv->world->rank;
    if (bytes > self->capacity) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot gather a message of %zu bytes: this allgatherv was created "
                             "for %zu at most",
                             bytes, self->capacity);
    }
    if (bytes > 0 && message == NULL) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot gather %zu bytes from nowhere: the "
                             "message is NULL",
                             bytes);
    }
    self->lengths[rank] = bytes;
    if (bytes > 0) {
        memcpy(slot_of(self, rank), message, bytes);
    }
    self->is_filled = true;
    lmn__stream_start(&self->receive);
    lmn__stream_start(&self->send);
    return lmn__collective_launch(allgatherv, err);
}

const void *lmn_allgatherv_message(const lmn_collective *allgatherv, int rank, size_t *bytes_out)
{
    const allgatherv_state *self = (const allgatherv_state *)allgatherv;
    const bool is_there = self->is_filled && !allgatherv->is_running &&
                          allgatherv->failure.status == LMN_OK && rank >= 0 &&
                          rank < allgatherv->world->size;
    *bytes_out = is_there ? self->lengths[rank] : 0;
    return is_there ? slot_of(self, rank) : NULL;
}

uint64_t lmn_allgatherv_bytes(int size, uint64_t total_bytes)
{
    return size < 2 ? 0 : (uint64_t)(size - 1) * total_bytes;
}

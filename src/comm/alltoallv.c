/*
 * Alltoallv: from every rank a message of its own to every other, of a length that only its sender
 * knows.
 *
 * Messages go directly from each rank to each other, in segments as streams have them; a receiver
 * has room for the capacity and learns the length when the message ends. Messages leave from the
 * caller's memory; only received ones are kept here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "collective_internal.h"
#include "comm_internal.h"
#include "lamina/memory.h"
#include "stream_internal.h"

#include <limits.h>
#include <string.h>

typedef struct alltoallv_state {
    lmn_collective head;       /* first, so that a collective is an alltoallv */
    size_t capacity;           /* bytes of one message */
    size_t stride;             /* bytes from slot to slot, a multiple of LMN_ALIGNMENT */
    unsigned char *slots;      /* [world size - 1][stride] owned; the others' messages */
    size_t *lengths;           /* [world size] owned; bytes of each received message */
    const unsigned char *sent; /* borrowed; where this rank's messages begin */
    size_t *offsets;           /* [world size + 1] owned; of this rank's messages */
    bool is_filled;            /* started at least once */
    lmn__stream send;
    lmn__stream receive;
} alltoallv_state;

static unsigned char *slot_of(const alltoallv_state *self, int rank)
{
    const int row = rank < self->head.world->rank ? rank : rank - 1;
    return self->slots + (size_t)row * self->stride;
}

/* No arithmetic on NULL, which stands for no messages at all. */
static const unsigned char *message_for(const alltoallv_state *self, int rank)
{
    return self->sent == NULL ? NULL : self->sent + self->offsets[rank];
}

static lmn__message own_message(const void *user, int peer)
{
    const alltoallv_state *self = user;
    return (lmn__message){.source = message_for(self, peer),
                          .bytes = self->offsets[peer + 1] - self->offsets[peer],
                          .capacity = self->capacity};
}

static lmn__message room_for(const void *user, int peer)
{
    const alltoallv_state *self = user;
    return (lmn__message){.target = slot_of(self, peer), .capacity = self->capacity};
}

static void note_length(void *user, int peer, size_t bytes)
{
    alltoallv_state *self = user;
    self->lengths[peer] = bytes;
}

static const lmn__stream_kind send_kind = {
    .sending = true, .phase = 0, .message = own_message, .received = note_length};
static const lmn__stream_kind receive_kind = {
    .sending = false, .phase = 0, .message = room_for, .received = note_length};

static lmn_status progress(lmn_collective *collective, lmn_error *err)
{
    alltoallv_state *self = (alltoallv_state *)collective;
    const lmn_status received = lmn__stream_progress(&self->receive, err);
    if (received < 0) {
        return received;
    }
    const lmn_status sent = lmn__stream_progress(&self->send, err);
    return sent == LMN_OK ? received : sent;
}

static void destroy(lmn_collective *collective)
{
    alltoallv_state *self = (alltoallv_state *)collective;
    (void)lmn__stream_free(&self->send);
    /* Memory that MPI may still write to is left behind rather than handed to someone else. */
    if (!lmn__stream_free(&self->receive)) {
        lmn_free(self->slots);
    }
    lmn_free(self->lengths);
    lmn_free(self->offsets);
    lmn_free(self);
}

static const lmn__collective_kind alltoallv_kind = {
    .name = "alltoallv", .progress = progress, .destroy = destroy};

static lmn_status take_memory(alltoallv_state *self, lmn_error *err)
{
    const size_t size = (size_t)self->head.world->size;
    self->slots = lmn_alloc(size - 1, self->stride, err);
    if (self->slots == NULL) {
        return LMN_ERR_MEMORY;
    }
    self->lengths = lmn_alloc(size, sizeof *self->lengths, err);
    if (self->lengths == NULL) {
        return LMN_ERR_MEMORY;
    }
    self->offsets = lmn_alloc(size + 1, sizeof *self->offsets, err);
    if (self->offsets == NULL) {
        return LMN_ERR_MEMORY;
    }
    const lmn_status status = lmn__stream_init(&self->send, &send_kind, &self->head, self, err);
    if (status != LMN_OK) {
        return status;
    }
    return lmn__stream_init(&self->receive, &receive_kind, &self->head, self, err);
}

static lmn_status alltoallv_alloc(lmn_world *world, size_t capacity, alltoallv_state **self_out,
                                  lmn_error *err)
{
    if (capacity > (size_t)INT_MAX) {
        return lmn_error_set(
            err, LMN_ERR_ARGUMENT,
            "cannot create an alltoallv for messages of %zu bytes: they may have %d "
            "at most; use smaller buckets",
            capacity, INT_MAX);
    }
    alltoallv_state *self = lmn_alloc(1, sizeof *self, err);
    if (self == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn__collective_init(&self->head, &alltoallv_kind, world);
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

lmn_status lmn_alltoallv_create(lmn_world *world, size_t capacity_bytes,
                                lmn_collective **alltoallv_out, lmn_error *err)
{
    alltoallv_state *self = NULL;
    lmn_status status = alltoallv_alloc(world, capacity_bytes, &self, err); /* local */
    lmn_collective *collective = self != NULL ? &self->head : NULL;
    status = lmn__collective_join(world, collective, "the alltoallv capacity", capacity_bytes,
                                  status, err);
    if (status != LMN_OK) {
        lmn_collective_destroy(collective);
        return status;
    }
    *alltoallv_out = collective;
    return LMN_OK;
}

static lmn_status check_messages(const alltoallv_state *self, const void *send,
                                 const size_t *offsets, lmn_error *err)
{
    const int size = self->head.world->size;
    for (int peer = 0; peer < size; ++peer) {
        if (offsets[peer + 1] < offsets[peer]) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "cannot exchange messages: the one for rank %d ends at %zu, "
                                 "before its begin at %zu",
                                 peer, offsets[peer + 1], offsets[peer]);
        }
        if (offsets[peer + 1] - offsets[peer] > self->capacity) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "cannot send rank %d a message of %zu bytes: this alltoallv was "
                                 "created for %zu at most",
                                 peer, offsets[peer + 1] - offsets[peer], self->capacity);
        }
    }
    if (send == NULL && offsets[size] > offsets[0]) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot exchange %zu bytes from nowhere: the messages are NULL",
                             offsets[size] - offsets[0]);
    }
    return LMN_OK;
}

lmn_status lmn_alltoallv_start(lmn_collective *alltoallv, const void *send, const size_t *offsets,
                               lmn_error *err)
{
    lmn_status status = lmn__collective_check_idle(alltoallv, &alltoallv_kind, err);
    if (status != LMN_OK) {
        return status;
    }
    alltoallv_state *self = (alltoallv_state *)alltoallv;
    status = check_messages(self, send, offsets, err);
    if (status != LMN_OK) {
        return status;
    }
    const int rank = alltoallv->world->rank;
    memcpy(self->offsets, offsets, ((size_t)alltoallv->world->size + 1) * sizeof *offsets);
    self->sent = send;
    self->lengths[rank] = offsets[rank + 1] - offsets[rank];
    self->is_filled = true;
    lmn__stream_start(&self->receive);
    lmn__stream_start(&self->send);
    return lmn__collective_launch(alltoallv, err);
}

const void *lmn_alltoallv_message(const lmn_collective *alltoallv, int rank, size_t *bytes_out)
{
    const alltoallv_state *self = (const alltoallv_state *)alltoallv;
    const bool is_there = self->is_filled && !alltoallv->is_running &&
                          alltoallv->failure.status == LMN_OK && rank >= 0 &&
                          rank < alltoallv->world->size;
    *bytes_out = is_there ? self->lengths[rank] : 0;
    if (!is_there) {
        return NULL;
    }
    return rank == alltoallv->world->rank ? message_for(self, rank) : slot_of(self, rank);
}

/*
 * Alltoallv: from every rank a message of its own to every other, of a length that only its sender
 * knows.
 *
 * Messages leave from the caller's memory; only received ones are kept (mailbox_internal.h).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_internal.h"
#include "mailbox_internal.h"

#include <string.h>

/* No arithmetic on NULL, which stands for no messages at all. */
static const unsigned char *message_for(const lmn__mailbox *self, int rank)
{
    return self->sent == NULL ? NULL : self->sent + self->offsets[rank];
}

static lmn__message own_message(const void *user, int peer)
{
    const lmn__mailbox *self = user;
    return (lmn__message){.source = message_for(self, peer),
                          .bytes = self->offsets[peer + 1] - self->offsets[peer],
                          .capacity = self->capacity};
}

static const lmn__mailbox_kind alltoallv_kind = {
    .head = {.name = "alltoallv",
             .progress = lmn__mailbox_progress,
             .destroy = lmn__mailbox_destroy},
    .borrows = true,
    .send = {.sending = true, .phase = 0, .message = own_message, .received = lmn__mailbox_note}};

lmn_status lmn_alltoallv_create(lmn_world *world, size_t capacity_bytes,
                                lmn_collective **alltoallv_out, lmn_error *err)
{
    return lmn__mailbox_create(world, &alltoallv_kind, capacity_bytes, alltoallv_out, err);
}

static lmn_status check_messages(const lmn__mailbox *self, const void *send, const size_t *offsets,
                                 lmn_error *err)
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
    lmn_status status = lmn__collective_check_idle(alltoallv, &alltoallv_kind.head, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn__mailbox *self = (lmn__mailbox *)alltoallv;
    status = check_messages(self, send, offsets, err);
    if (status != LMN_OK) {
        return status;
    }
    const int rank = alltoallv->world->rank;
    memcpy(self->offsets, offsets, ((size_t)alltoallv->world->size + 1) * sizeof *offsets);
    self->sent = send;
    return lmn__mailbox_launch(self, offsets[rank + 1] - offsets[rank], err);
}

const void *lmn_alltoallv_message(const lmn_collective *alltoallv, int rank, size_t *bytes_out)
{
    const lmn__mailbox *self = (const lmn__mailbox *)alltoallv;
    if (!lmn__mailbox_has(self, rank, bytes_out)) {
        return NULL;
    }
    return rank == alltoallv->world->rank ? message_for(self, rank) : lmn__mailbox_slot(self, rank);
}

/*
 * Allgatherv: every rank's message, of a length that only its sender knows, to every rank.
 *
 * Own and received messages live in one row of slots, in rank order (mailbox_internal.h).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_internal.h"
#include "mailbox_internal.h"

#include <string.h>

static lmn__message own_message(const void *user, int peer)
{
    const lmn__mailbox *self = user;
    const int rank = self->head.world->rank;
    (void)peer;
    return (lmn__message){.source = lmn__mailbox_slot(self, rank),
                          .bytes = self->lengths[rank],
                          .capacity = self->capacity};
}

static const lmn__mailbox_kind allgatherv_kind = {
    .head = {.name = "allgatherv",
             .progress = lmn__mailbox_progress,
             .destroy = lmn__mailbox_destroy},
    .send = {.sending = true, .phase = 0, .message = own_message, .received = lmn__mailbox_note}};

lmn_status lmn_allgatherv_create(lmn_world *world, size_t capacity_bytes,
                                 lmn_collective **allgatherv_out, lmn_error *err)
{
    return lmn__mailbox_create(world, &allgatherv_kind, capacity_bytes, allgatherv_out, err);
}

lmn_status lmn_allgatherv_start(lmn_collective *allgatherv, const void *message, size_t bytes,
                                lmn_error *err)
{
    const lmn_status status = lmn__collective_check_idle(allgatherv, &allgatherv_kind.head, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn__mailbox *self = (lmn__mailbox *)allgatherv;
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
    if (bytes > 0) {
        memcpy(lmn__mailbox_slot(self, allgatherv->world->rank), message, bytes);
    }
    return lmn__mailbox_launch(self, bytes, err);
}

const void *lmn_allgatherv_message(const lmn_collective *allgatherv, int rank, size_t *bytes_out)
{
    const lmn__mailbox *self = (const lmn__mailbox *)allgatherv;
    return lmn__mailbox_has(self, rank, bytes_out) ? lmn__mailbox_slot(self, rank) : NULL;
}

uint64_t lmn_allgatherv_bytes(int size, uint64_t total_bytes)
{
    return size < 2 ? 0 : (uint64_t)(size - 1) * total_bytes;
}

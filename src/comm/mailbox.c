/*
 * Mailboxes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_internal.h"
#include "lamina/memory.h"
#include "mailbox_internal.h"

#include <limits.h>
#include <stdio.h>

unsigned char *lmn__mailbox_slot(const lmn__mailbox *mailbox, int rank)
{
    const int own = mailbox->head.world->rank;
    const int row = mailbox->offsets == NULL || rank < own ? rank : rank - 1;
    return mailbox->slots + (size_t)row * mailbox->stride;
}

static lmn__message room_for(const void *user, int peer)
{
    const lmn__mailbox *mailbox = user;
    return (lmn__message){.target = lmn__mailbox_slot(mailbox, peer),
                          .capacity = mailbox->capacity};
}

void lmn__mailbox_note(void *user, int peer, size_t bytes)
{
    lmn__mailbox *mailbox = user;
    mailbox->lengths[peer] = bytes;
}

static const lmn__stream_kind receive_kind = {
    .sending = false, .phase = 0, .message = room_for, .received = lmn__mailbox_note};

lmn_status lmn__mailbox_progress(lmn_collective *collective, lmn_error *err)
{
    lmn__mailbox *mailbox = (lmn__mailbox *)collective;
    const lmn_status received = lmn__stream_progress(&mailbox->receive, err);
    if (received < 0) {
        return received;
    }
    const lmn_status sent = lmn__stream_progress(&mailbox->send, err);
    return sent == LMN_OK ? received : sent;
}

void lmn__mailbox_destroy(lmn_collective *collective)
{
    lmn__mailbox *mailbox = (lmn__mailbox *)collective;
    const bool is_read = lmn__stream_free(&mailbox->send) && mailbox->offsets == NULL;
    const bool is_written = lmn__stream_free(&mailbox->receive);
    /* Memory that MPI may still touch is left behind rather than handed to someone else. */
    if (!is_read && !is_written) {
        lmn_free(mailbox->slots);
    }
    lmn_free(mailbox->lengths);
    lmn_free(mailbox->offsets);
    lmn_free(mailbox);
}

static lmn_status take_memory(lmn__mailbox *mailbox, const lmn__mailbox_kind *kind, lmn_error *err)
{
    const size_t size = (size_t)mailbox->head.world->size;
    mailbox->slots = lmn_alloc(kind->borrows ? size - 1 : size, mailbox->stride, err);
    if (mailbox->slots == NULL) {
        return LMN_ERR_MEMORY;
    }
    mailbox->lengths = lmn_alloc(size, sizeof *mailbox->lengths, err);
    if (mailbox->lengths == NULL) {
        return LMN_ERR_MEMORY;
    }
    if (kind->borrows) {
        mailbox->offsets = lmn_alloc(size + 1, sizeof *mailbox->offsets, err);
        if (mailbox->offsets == NULL) {
            return LMN_ERR_MEMORY;
        }
    }
    const lmn_status status =
        lmn__stream_init(&mailbox->send, &kind->send, &mailbox->head, mailbox, err);
    if (status != LMN_OK) {
        return status;
    }
    return lmn__stream_init(&mailbox->receive, &receive_kind, &mailbox->head, mailbox, err);
}

static lmn_status mailbox_alloc(lmn_world *world, const lmn__mailbox_kind *kind, size_t capacity,
                                lmn__mailbox **mailbox_out, lmn_error *err)
{
    if (capacity > (size_t)INT_MAX) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot create an %s for messages of %zu bytes: they may have %d "
                             "at most; use smaller buckets",
                             kind->head.name, capacity, INT_MAX);
    }
    lmn__mailbox *mailbox = lmn_alloc(1, sizeof *mailbox, err);
    if (mailbox == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn__collective_init(&mailbox->head, &kind->head, world);
    mailbox->capacity = capacity;
    mailbox->stride = lmn_align_up(capacity);
    const lmn_status status = take_memory(mailbox, kind, err);
    if (status != LMN_OK) {
        lmn__mailbox_destroy(&mailbox->head);
        return status;
    }
    *mailbox_out = mailbox;
    return LMN_OK;
}

lmn_status lmn__mailbox_create(lmn_world *world, const lmn__mailbox_kind *kind, size_t capacity,
                               lmn_collective **collective_out, lmn_error *err)
{
    lmn__mailbox *mailbox = NULL;
    lmn_status status = mailbox_alloc(world, kind, capacity, &mailbox, err);
    lmn_collective *collective = mailbox != NULL ? &mailbox->head : NULL;
    char what[64];
    (void)snprintf(what, sizeof what, "the %s capacity", kind->head.name);
    status = lmn__collective_join(world, collective, what, capacity, status, err);
    if (status != LMN_OK) {
        lmn_collective_destroy(collective);
        return status;
    }
    *collective_out = collective;
    return LMN_OK;
}

lmn_status lmn__mailbox_launch(lmn__mailbox *mailbox, size_t own_bytes, lmn_error *err)
{
    mailbox->lengths[mailbox->head.world->rank] = own_bytes;
    mailbox->is_filled = true;
    lmn__stream_start(&mailbox->receive);
    lmn__stream_start(&mailbox->send);
    return lmn__collective_launch(&mailbox->head, err);
}

bool lmn__mailbox_has(const lmn__mailbox *mailbox, int rank, size_t *bytes_out)
{
    const lmn_collective *head = &mailbox->head;
    const bool is_there = mailbox->is_filled && !head->is_running &&
                          head->failure.status == LMN_OK && rank >= 0 && rank < head->world->size;
    *bytes_out = is_there ? mailbox->lengths[rank] : 0;
    return is_there;
}

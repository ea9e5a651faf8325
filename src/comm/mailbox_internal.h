/*
 * Mailboxes: what collectives share in which every rank has a message, of a length that only its
 * sender knows, from every other.
 *
 * Messages go directly from each rank to each other, in segments as streams have them; a receiver
 * has room for the capacity and learns the length when the message ends. What arrives is kept here;
 * where a rank's own messages lie is the collective's affair, which gives its sending stream.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_MAILBOX_INTERNAL_H
#define LAMINA_MAILBOX_INTERNAL_H

#include "collective_internal.h"
#include "stream_internal.h"

/** The state of such a collective. */
typedef struct lmn__mailbox {
    lmn_collective head;  /* first, so that a mailbox is a collective */
    size_t capacity;      /* bytes of one message */
    size_t stride;        /* bytes from slot to slot, a multiple of LMN_ALIGNMENT */
    unsigned char *slots; /* [world size][stride] owned; where messages are received; without the
                             own rank's where `offsets` is there */
    size_t *lengths;      /* [world size] owned; bytes of each message, the own one included */
    const unsigned char *sent; /* borrowed; where this rank's messages begin */
    size_t *offsets; /* [world size + 1] owned; of this rank's messages there. NULL: it has one
                        message for all, in its slot */
    bool is_filled;  /* started at least once */
    lmn__stream send;
    lmn__stream receive;
} lmn__mailbox;

/** One kind of such a collective; constant. */
typedef struct lmn__mailbox_kind {
    lmn__collective_kind head; /* first; with lmn__mailbox_progress and lmn__mailbox_destroy */
    bool borrows;              /* this rank's messages are the caller's: there are offsets */
    lmn__stream_kind send;     /* of the state; received must be lmn__mailbox_note */
} lmn__mailbox_kind;

/** The functions of lmn__collective_kind. */
lmn_status lmn__mailbox_progress(lmn_collective *collective, lmn_error *err);
void lmn__mailbox_destroy(lmn_collective *collective);

/** The stream's note of a length; `user` is the mailbox. */
void lmn__mailbox_note(void *user, int peer, size_t bytes);

/**
 * A mailbox with all memory. Collective; see lmn_allgatherv_create for errors.
 */
lmn_status lmn__mailbox_create(lmn_world *world, const lmn__mailbox_kind *kind, size_t capacity,
                               lmn_collective **collective_out, lmn_error *err) LMN_NODISCARD;

/** Where the message of a rank is received; of the own rank, where its one
 *  message for all is kept. */
unsigned char *lmn__mailbox_slot(const lmn__mailbox *mailbox, int rank);

/** Begin: this rank's message to itself has `own_bytes`. */
lmn_status lmn__mailbox_launch(lmn__mailbox *mailbox, size_t own_bytes,
                               lmn_error *err) LMN_NODISCARD;

/** Whether the message of `rank` is there; sets its bytes, 0 when it is not. */
bool lmn__mailbox_has(const lmn__mailbox *mailbox, int rank, size_t *bytes_out);

#endif

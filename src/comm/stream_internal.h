/*
 * Streams: one message to every other rank, or from every other rank, a bounded number at a time.
 *
 * A stream walks the rotation of pattern_internal.h and keeps at most `window` messages open, so
 * that a thousand ranks do not post a thousand requests at once. Long messages are sent in parts,
 * which MPI delivers in order. Where both ends know the length, parts are as long as an MPI call
 * allows. Otherwise they are segments, and the first one that is shorter than a segment, perhaps
 * empty, ends the message; so does the last one for which there is room. Since every stream opens
 * its steps in order, the earliest step that is unfinished anywhere is open on both of its ends:
 * streams cannot block each other, whatever the windows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_STREAM_INTERNAL_H
#define LAMINA_STREAM_INTERNAL_H

#include "collective_internal.h"

#include <stdbool.h>
#include <stddef.h>

#include <mpi.h>

/** The memory of one message: `source` in a stream that sends, `target` in one that receives. */
typedef struct lmn__message {
    const void *source;
    void *target;
    size_t bytes;    /* to send, or to receive when both ends know the length */
    size_t capacity; /* where only the sender knows the length: the largest that all agreed on */
} lmn__message;

/** What a stream carries. Constant; `user` is the collective's or its part's own struct. */
typedef struct lmn__stream_kind {
    bool sending;
    int phase; /* added to the collective's tag */
    /** The message to or from `peer`; must not change while the stream is open. */
    lmn__message (*message)(const void *user, int peer);
    /**
     * NULL when both ends know each length: empty messages are not sent at all. Otherwise they are
     * sent in segments of up to `capacity` bytes in all, and a receiver is told the length.
     */
    void (*received)(void *user, int peer, size_t bytes);
} lmn__stream_kind;

/** What an open request moves. */
typedef struct lmn__part_place {
    int peer;
    size_t offset; /* bytes of the message before it */
} lmn__part_place;

typedef struct lmn__stream {
    const lmn__stream_kind *kind;
    lmn_collective *owner; /* borrowed */
    void *user;            /* borrowed */
    int step;              /* next step to open; world size when all are */
    size_t offset;         /* bytes of that step's message that are opened already */
    int n_open;
    int window;
    MPI_Request *requests;   /* [window] owned */
    lmn__part_place *places; /* [window] owned; of each request */
    int *indices;            /* [window] owned; of requests that completed */
    MPI_Status *statuses;    /* [window] owned; of requests that completed */
} lmn__stream;

/** Take the stream's memory. Local. Errors: LMN_ERR_MEMORY. */
lmn_status lmn__stream_init(lmn__stream *stream, const lmn__stream_kind *kind,
                            lmn_collective *owner, void *user, lmn_error *err) LMN_NODISCARD;

/** Begin at the first step. No message leaves before the next progress. */
void lmn__stream_start(lmn__stream *stream);

/** Open what fits the window and collect what is complete; never blocks. LMN_OK when idle. */
lmn_status lmn__stream_progress(lmn__stream *stream, lmn_error *err) LMN_NODISCARD;

/** Whether all messages are open or finished, so that another stream may follow on the same tag. */
bool lmn__stream_is_opened(const lmn__stream *stream);

/** Whether all messages are finished, or none was ever started. */
bool lmn__stream_is_idle(const lmn__stream *stream);

/** Free a stream, zeroed or half-built too. Returns whether MPI may still touch its messages. */
bool lmn__stream_free(lmn__stream *stream);

#endif

/*
 * Streams: one message to every other rank, or from every other rank, a bounded number at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_internal.h"
#include "lamina/memory.h"
#include "mpi_error_internal.h"
#include "pattern_internal.h"
#include "stream_internal.h"

lmn_status lmn__stream_init(lmn__stream *stream, const lmn__stream_kind *kind,
                            lmn_collective *owner, void *user, lmn_error *err)
{
    const lmn_world *world = owner->world;
    const int n_peers = world->size - 1;
    const int window = n_peers < world->limits.window ? n_peers : world->limits.window;
    const size_t n = (size_t)window;
    *stream = (lmn__stream){
        .kind = kind, .owner = owner, .user = user, .step = world->size, .window = window};
    stream->requests = lmn_alloc(n, sizeof(MPI_Request), err);
    for (size_t i = 0; stream->requests != NULL && i < n; ++i) {
        stream->requests[i] = MPI_REQUEST_NULL;
    }
    stream->peers = lmn_alloc(n, sizeof *stream->peers, err);
    stream->indices = lmn_alloc(n, sizeof *stream->indices, err);
    stream->statuses = lmn_alloc(n, sizeof *stream->statuses, err);
    if (stream->requests == NULL || stream->peers == NULL || stream->indices == NULL ||
        stream->statuses == NULL) {
        return LMN_ERR_MEMORY;
    }
    return LMN_OK;
}

void lmn__stream_start(lmn__stream *stream)
{
    stream->step = 1;
    stream->offset = 0;
}

static int current_peer(const lmn__stream *stream)
{
    const lmn_world *world = stream->owner->world;
    return stream->kind->sending ? lmn__rotation_target(world->rank, world->size, stream->step)
                                 : lmn__rotation_source(world->rank, world->size, stream->step);
}

static void next_step(lmn__stream *stream)
{
    ++stream->step;
    stream->offset = 0;
}

/* The next part to open, with its peer; false when all messages are opened. */
static bool next_part(lmn__stream *stream, lmn__message *part_out, int *peer_out)
{
    const lmn_world *world = stream->owner->world;
    while (stream->step < world->size) {
        const int peer = current_peer(stream);
        lmn__message part = stream->kind->message(stream->user, peer);
        if (stream->kind->received != NULL) {
            next_step(stream);
        } else if (stream->offset < part.bytes) {
            const size_t offset = stream->offset;
            const size_t total = part.bytes;
            part.bytes = lmn__part(world, total - offset);
            if (stream->kind->sending) {
                part.source = (const unsigned char *)part.source + offset;
            } else {
                part.target = (unsigned char *)part.target + offset;
            }
            stream->offset += part.bytes;
            if (stream->offset == total) {
                next_step(stream);
            }
        } else {
            next_step(stream);
            continue;
        }
        *part_out = part;
        *peer_out = peer;
        return true;
    }
    return false;
}

static lmn_status open_part(lmn__stream *stream, int slot, lmn__message part, int peer,
                            lmn_error *err)
{
    MPI_Request *request = &stream->requests[slot];
    const int phase = stream->kind->phase;
    const lmn_status status =
        stream->kind->sending
            ? lmn__send(stream->owner, part.source, part.bytes, peer, phase, request, err)
            : lmn__receive(stream->owner, part.target, part.bytes, peer, phase, request, err);
    if (status == LMN_OK) {
        stream->peers[slot] = peer;
        ++stream->n_open;
    }
    return status;
}

static lmn_status fill_window(lmn__stream *stream, lmn_error *err)
{
    for (int slot = 0; slot < stream->window && stream->n_open < stream->window; ++slot) {
        lmn__message part = {0};
        int peer = -1;
        if (stream->requests[slot] != MPI_REQUEST_NULL) {
            continue;
        }
        if (!next_part(stream, &part, &peer)) {
            return LMN_OK;
        }
        const lmn_status status = open_part(stream, slot, part, peer, err);
        if (status != LMN_OK) {
            return status;
        }
    }
    return LMN_OK;
}

static lmn_status note_received(lmn__stream *stream, int peer, const MPI_Status *message,
                                lmn_error *err)
{
    int bytes = 0;
    const lmn_status status = lmn__mpi_check(MPI_Get_count(message, MPI_BYTE, &bytes), err,
                                             "measure the message of rank %d", peer);
    if (status == LMN_OK) {
        stream->kind->received(stream->user, peer, (size_t)bytes);
    }
    return status;
}

/* `code` tells whether the statuses carry error codes of their own. */
static lmn_status close_parts(lmn__stream *stream, int n_closed, int code, lmn_error *err)
{
    const bool is_measured = stream->kind->received != NULL && !stream->kind->sending;
    stream->n_open -= n_closed;
    for (int i = 0; i < n_closed; ++i) {
        const int peer = stream->peers[stream->indices[i]];
        const MPI_Status *message = &stream->statuses[i];
        lmn_status status = LMN_OK;
        if (code == MPI_ERR_IN_STATUS) {
            status = lmn__mpi_check(message->MPI_ERROR, err, "finish an %s with rank %d",
                                    stream->owner->kind->name, peer);
        }
        if (status == LMN_OK && is_measured) {
            status = note_received(stream, peer, message, err);
        }
        if (status != LMN_OK) {
            return status;
        }
    }
    return LMN_OK;
}

static lmn_status collect(lmn__stream *stream, int *n_closed_out, lmn_error *err)
{
    int n_closed = 0;
    const int code = MPI_Testsome(stream->window, stream->requests, &n_closed, stream->indices,
                                  stream->statuses);
    if (code != MPI_ERR_IN_STATUS) {
        const lmn_status status =
            lmn__mpi_check(code, err, "advance an %s", stream->owner->kind->name);
        if (status != LMN_OK) {
            return status;
        }
    }
    *n_closed_out = n_closed == MPI_UNDEFINED ? 0 : n_closed;
    return close_parts(stream, *n_closed_out, code, err);
}

lmn_status lmn__stream_progress(lmn__stream *stream, lmn_error *err)
{
    for (;;) {
        lmn_status status = fill_window(stream, err);
        if (status != LMN_OK || stream->n_open == 0) {
            return status;
        }
        int n_closed = 0;
        status = collect(stream, &n_closed, err);
        if (status != LMN_OK) {
            return status;
        }
        if (n_closed == 0) {
            return LMN_IN_PROGRESS;
        }
    }
}

bool lmn__stream_is_opened(const lmn__stream *stream)
{
    return stream->step == stream->owner->world->size;
}

bool lmn__stream_free(lmn__stream *stream)
{
    const bool is_touched =
        stream->requests != NULL &&
        lmn__requests_abandon(stream->requests, (size_t)stream->window, stream->kind->sending);
    lmn_free(stream->requests);
    lmn_free(stream->peers);
    lmn_free(stream->indices);
    lmn_free(stream->statuses);
    *stream = (lmn__stream){0};
    return is_touched;
}

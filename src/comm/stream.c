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

/* Parts to each peer that may be open in a stream of segments. */
#define SEGMENTS_OPEN 8

/* Segments go out several at a time; each peer's come in one after the other, as they end. */
static int window_of(const lmn_world *world, const lmn__stream_kind *kind)
{
    const int n_peers = world->size - 1;
    const bool is_long = kind->sending && kind->received != NULL;
    const int limit = world->limits.window;
    const int factor = is_long ? SEGMENTS_OPEN : 1;
    return n_peers < limit / factor ? n_peers * factor : limit;
}

lmn_status lmn__stream_init(lmn__stream *stream, const lmn__stream_kind *kind,
                            lmn_collective *owner, void *user, lmn_error *err)
{
    const lmn_world *world = owner->world;
    const int window = world->size > 1 ? window_of(world, kind) : 0;
    const size_t n = (size_t)window;
    *stream = (lmn__stream){
        .kind = kind, .owner = owner, .user = user, .step = world->size, .window = window};
    stream->requests = lmn_alloc(n, sizeof(MPI_Request), err);
    for (size_t i = 0; stream->requests != NULL && i < n; ++i) {
        stream->requests[i] = MPI_REQUEST_NULL;
    }
    stream->places = lmn_alloc(n, sizeof *stream->places, err);
    stream->indices = lmn_alloc(n, sizeof *stream->indices, err);
    stream->statuses = lmn_alloc(n, sizeof *stream->statuses, err);
    if (stream->requests == NULL || stream->places == NULL || stream->indices == NULL ||
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

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t segment_of(const lmn_world *world)
{
    return lmn__part(world, world->limits.segment);
}

/* The bytes of the next part of `message`, and whether another one follows it. */
static size_t next_bytes(const lmn__stream *stream, const lmn__message *message, bool *is_last_out)
{
    const lmn_world *world = stream->owner->world;
    const size_t offset = stream->offset;
    if (stream->kind->received == NULL) {
        const size_t bytes = lmn__part(world, message->bytes - offset);
        *is_last_out = offset + bytes == message->bytes;
        return bytes;
    }
    const size_t segment = segment_of(world);
    if (!stream->kind->sending) {
        *is_last_out = true; /* the following ones are opened when this one has come */
        return least(segment, message->capacity);
    }
    const size_t bytes = least(segment, message->bytes - offset);
    *is_last_out = bytes < segment || offset + bytes == message->capacity;
    return bytes;
}

/* The next part to open, with its place; false when all messages are opened. */
static bool next_part(lmn__stream *stream, size_t *bytes_out, lmn__part_place *place_out)
{
    const lmn_world *world = stream->owner->world;
    while (stream->step < world->size) {
        const int peer = current_peer(stream);
        const lmn__message message = stream->kind->message(stream->user, peer);
        bool is_last = false;
        const size_t bytes = next_bytes(stream, &message, &is_last);
        *bytes_out = bytes;
        *place_out = (lmn__part_place){.peer = peer, .offset = stream->offset};
        stream->offset += bytes;
        if (is_last) {
            next_step(stream);
        }
        if (bytes > 0 || stream->kind->received != NULL) {
            return true;
        }
    }
    return false;
}

static lmn_status open_part(lmn__stream *stream, int slot, size_t bytes, lmn__part_place place,
                            lmn_error *err)
{
    MPI_Request *request = &stream->requests[slot];
    const int phase = stream->kind->phase;
    const lmn__message message = stream->kind->message(stream->user, place.peer);
    const unsigned char *source = message.source;
    unsigned char *target = message.target;
    lmn_status status = LMN_OK;
    if (stream->kind->sending) {
        /* No arithmetic on NULL, which stands for an empty message. */
        const void *part = source != NULL ? source + place.offset : NULL;
        status = lmn__send(stream->owner, part, bytes, place.peer, phase, request, err);
    } else {
        status = lmn__receive(stream->owner, target + place.offset, bytes, place.peer, phase,
                              request, err);
    }
    if (status == LMN_OK) {
        stream->places[slot] = place;
        ++stream->n_open;
    }
    return status;
}

static lmn_status fill_window(lmn__stream *stream, lmn_error *err)
{
    for (int slot = 0; slot < stream->window && stream->n_open < stream->window; ++slot) {
        size_t bytes = 0;
        lmn__part_place place = {0};
        if (stream->requests[slot] != MPI_REQUEST_NULL) {
            continue;
        }
        if (!next_part(stream, &bytes, &place)) {
            return LMN_OK;
        }
        const lmn_status status = open_part(stream, slot, bytes, place, err);
        if (status != LMN_OK) {
            return status;
        }
    }
    return LMN_OK;
}

/* A segment has come: open the next one of its message, or tell the length. */
static lmn_status note_received(lmn__stream *stream, int slot, const MPI_Status *message,
                                lmn_error *err)
{
    lmn__part_place place = stream->places[slot];
    int bytes = 0;
    const lmn_status status = lmn__mpi_check(MPI_Get_count(message, MPI_BYTE, &bytes), err,
                                             "measure the message of rank %d", place.peer);
    if (status != LMN_OK) {
        return status;
    }
    const size_t segment = segment_of(stream->owner->world);
    const size_t capacity = stream->kind->message(stream->user, place.peer).capacity;
    place.offset += (size_t)bytes;
    if ((size_t)bytes == segment && place.offset < capacity) {
        return open_part(stream, slot, least(segment, capacity - place.offset), place, err);
    }
    stream->kind->received(stream->user, place.peer, place.offset);
    return LMN_OK;
}

/* `code` tells whether the statuses carry error codes of their own. */
static lmn_status close_parts(lmn__stream *stream, int n_closed, int code, lmn_error *err)
{
    const bool is_measured = stream->kind->received != NULL && !stream->kind->sending;
    stream->n_open -= n_closed;
    for (int i = 0; i < n_closed; ++i) {
        const int slot = stream->indices[i];
        const MPI_Status *message = &stream->statuses[i];
        lmn_status status = LMN_OK;
        if (code == MPI_ERR_IN_STATUS) {
            status = lmn__mpi_check(message->MPI_ERROR, err, "finish an %s with rank %d",
                                    stream->owner->kind->name, stream->places[slot].peer);
        }
        if (status == LMN_OK && is_measured) {
            status = note_received(stream, slot, message, err);
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

bool lmn__stream_is_idle(const lmn__stream *stream)
{
    return stream->n_open == 0 && lmn__stream_is_opened(stream);
}

bool lmn__stream_free(lmn__stream *stream)
{
    const bool is_touched =
        stream->requests != NULL &&
        lmn__requests_abandon(stream->requests, (size_t)stream->window, stream->kind->sending);
    lmn_free(stream->requests);
    lmn_free(stream->places);
    lmn_free(stream->indices);
    lmn_free(stream->statuses);
    *stream = (lmn__stream){0};
    return is_touched;
}

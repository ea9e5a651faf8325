/*
 * Allreduce for large vectors: direct reduce-scatter, then direct allgather.
 *
 * Rank j owns slice j. Everyone sends slice j of its vector to rank j, which keeps the parts apart
 * until all are there, adds them in rank order whatever the order of arrival, multiplies by the
 * factor once, and sends the finished slice to everyone. Each element is computed by one rank and
 * copied by the others. Receives of both phases are open from the start, so that finished slices of
 * faster ranks land while this one still computes gradients.
 *
 * Each rank sends 2 (size - 1) / size of the vector, as a ring does, in 2 (size - 1) messages.
 *
 * Method: R. Thakur, R. Rabenseifner, W. Gropp, IJHPCA 19 (2005) 49-66 (pairwise exchange).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allreduce_internal.h"
#include "comm_internal.h"
#include "lamina/memory.h"
#include "lamina/partition.h"

#include <string.h>

/* Numbers of a slice that are summed over all ranks before the next: stays in the L1 cache. */
#define BLOCK_COUNT 2048

enum { PHASE_SCATTER = 0, PHASE_GATHER = 1 };

static lmn_range slice_of(const lmn__direct *direct, int rank)
{
    return lmn_partition(direct->job->count, (size_t)direct->owner->world->size, (size_t)rank);
}

/* Where the others' parts of our slice are kept; there is no place for our own. */
static unsigned char *term_of(const lmn__direct *direct, int rank)
{
    const int row = rank < direct->owner->world->rank ? rank : rank - 1;
    return direct->terms + (size_t)row * direct->stride;
}

static size_t wire_bytes(const lmn__direct *direct, size_t count)
{
    return count * direct->job->arithmetic->wire_bytes;
}

/* This rank's own numbers, or its finished ones, as they go out from number `first` on. */
static const void *outgoing(const lmn__direct *direct, const void *vector, size_t first)
{
    if (lmn__arithmetic_is_rounded(direct->job->arithmetic)) {
        return direct->rounded + first;
    }
    return lmn__number(direct->job, vector, first);
}

/* Where a finished slice arrives: in place, rounded ones in the upper half of their memory. */
static void *incoming(const lmn__direct *direct, lmn_range slice)
{
    unsigned char *place = lmn__number_of(direct->job, direct->job->recv, slice.first);
    return place + slice.count * direct->job->arithmetic->bytes - wire_bytes(direct, slice.count);
}

static lmn__message scatter_send_message(const void *user, int peer)
{
    const lmn__direct *direct = user;
    const lmn_range slice = slice_of(direct, peer);
    return (lmn__message){.source = outgoing(direct, direct->job->send, slice.first),
                          .bytes = wire_bytes(direct, slice.count)};
}

static lmn__message scatter_receive_message(const void *user, int peer)
{
    const lmn__direct *direct = user;
    const lmn_range slice = slice_of(direct, direct->owner->world->rank);
    return (lmn__message){.target = term_of(direct, peer),
                          .bytes = wire_bytes(direct, slice.count)};
}

static lmn__message gather_send_message(const void *user, int peer)
{
    const lmn__direct *direct = user;
    const lmn_range slice = slice_of(direct, direct->owner->world->rank);
    (void)peer;
    return (lmn__message){.source = outgoing(direct, direct->job->recv, slice.first),
                          .bytes = wire_bytes(direct, slice.count)};
}

static lmn__message gather_receive_message(const void *user, int peer)
{
    const lmn__direct *direct = user;
    const lmn_range slice = slice_of(direct, peer);
    return (lmn__message){.target = incoming(direct, slice),
                          .bytes = wire_bytes(direct, slice.count)};
}

static const lmn__stream_kind scatter_send_kind = {
    .sending = true, .phase = PHASE_SCATTER, .message = scatter_send_message};
static const lmn__stream_kind scatter_receive_kind = {
    .sending = false, .phase = PHASE_SCATTER, .message = scatter_receive_message};
static const lmn__stream_kind gather_send_kind = {
    .sending = true, .phase = PHASE_GATHER, .message = gather_send_message};
static const lmn__stream_kind gather_receive_kind = {
    .sending = false, .phase = PHASE_GATHER, .message = gather_receive_message};

lmn_status lmn__direct_init(lmn__direct *direct, lmn_collective *owner, const lmn__job *job,
                            size_t capacity, lmn_error *err)
{
    const size_t size = (size_t)owner->world->size;
    direct->owner = owner;
    direct->job = job;
    const size_t largest = lmn_align_up(capacity / size + 1); /* numbers of a slice */
    direct->stride = largest * job->arithmetic->wire_bytes;
    /* As columns, so that lmn_alloc sees the product that may overflow. */
    direct->terms = lmn_alloc(largest, (size - 1) * job->arithmetic->wire_bytes, err);
    lmn_status status = direct->terms != NULL ? LMN_OK : LMN_ERR_MEMORY;
    if (status == LMN_OK && lmn__arithmetic_is_rounded(job->arithmetic)) {
        direct->rounded = lmn_alloc(capacity, sizeof *direct->rounded, err);
        status = direct->rounded != NULL ? LMN_OK : LMN_ERR_MEMORY;
    }
    if (status == LMN_OK) {
        status =
            lmn__stream_init(&direct->scatter_receive, &scatter_receive_kind, owner, direct, err);
    }
    if (status == LMN_OK) {
        status =
            lmn__stream_init(&direct->gather_receive, &gather_receive_kind, owner, direct, err);
    }
    if (status == LMN_OK) {
        status = lmn__stream_init(&direct->scatter_send, &scatter_send_kind, owner, direct, err);
    }
    if (status == LMN_OK) {
        status = lmn__stream_init(&direct->gather_send, &gather_send_kind, owner, direct, err);
    }
    return status;
}

void lmn__direct_start(lmn__direct *direct)
{
    const lmn__job *job = direct->job;
    direct->is_reduced = false;
    if (lmn__arithmetic_is_rounded(job->arithmetic)) {
        lmn__bf16_encode(direct->rounded, job->send, job->count);
    }
    lmn__stream_start(&direct->scatter_receive);
    lmn__stream_start(&direct->gather_receive);
    lmn__stream_start(&direct->scatter_send);
}

/* Numbers first .. first + count - 1 of the vector, which are ours: all ranks in order. */
static void reduce_block(const lmn__direct *direct, lmn_range slice, size_t first, size_t count)
{
    const lmn__job *job = direct->job;
    const lmn__arithmetic *arithmetic = job->arithmetic;
    const lmn_world *world = direct->owner->world;
    const size_t offset = wire_bytes(direct, first - slice.first);
    void *sum = lmn__number_of(job, job->recv, first);
    for (int rank = 0; rank < world->size; ++rank) {
        const void *term = rank == world->rank ? outgoing(direct, job->send, first)
                                               : term_of(direct, rank) + offset;
        if (rank == 0) {
            arithmetic->take(sum, term, count);
        } else {
            arithmetic->add(sum, term, count);
        }
    }
    lmn__arithmetic_scale(arithmetic, sum, count, job->factor);
    if (lmn__arithmetic_is_rounded(arithmetic)) {
        /* The owner keeps what the others get. */
        lmn__bf16_encode(direct->rounded + first, sum, count);
        lmn__bf16_decode(sum, direct->rounded + first, count);
    }
}

static void reduce_slice(const lmn__direct *direct)
{
    const lmn_range slice = slice_of(direct, direct->owner->world->rank);
    for (size_t first = 0; first < slice.count; first += BLOCK_COUNT) {
        const size_t left = slice.count - first;
        reduce_block(direct, slice, slice.first + first, left < BLOCK_COUNT ? left : BLOCK_COUNT);
    }
}

/* Advance one stream; LMN_OK stays only when it is idle, and an error stays once met. */
static lmn_status join(lmn_status status, lmn__stream *stream, lmn_error *err)
{
    if (status < 0) {
        return status;
    }
    const lmn_status own = lmn__stream_progress(stream, err);
    return own == LMN_OK ? status : own;
}

/* The others' finished slices, from the form in which they came. */
static void expand(const lmn__direct *direct)
{
    const lmn_world *world = direct->owner->world;
    if (!lmn__arithmetic_is_rounded(direct->job->arithmetic)) {
        return;
    }
    for (int rank = 0; rank < world->size; ++rank) {
        const lmn_range slice = slice_of(direct, rank);
        if (rank != world->rank) {
            lmn__bf16_decode(lmn__number_of(direct->job, direct->job->recv, slice.first),
                             incoming(direct, slice), slice.count);
        }
    }
}

lmn_status lmn__direct_progress(lmn__direct *direct, lmn_error *err)
{
    lmn_status status = join(LMN_OK, &direct->gather_receive, err);
    status = join(status, &direct->scatter_send, err);
    if (status < 0) {
        return status;
    }
    if (!direct->is_reduced) {
        const lmn_status parts = lmn__stream_progress(&direct->scatter_receive, err);
        if (parts != LMN_OK) {
            return parts;
        }
        reduce_slice(direct);
        direct->is_reduced = true;
        lmn__stream_start(&direct->gather_send);
    }
    status = join(status, &direct->gather_send, err);
    if (status == LMN_OK) {
        expand(direct);
    }
    return status;
}

void lmn__direct_free(lmn__direct *direct)
{
    bool is_read = lmn__stream_free(&direct->scatter_send);
    is_read = lmn__stream_free(&direct->gather_send) || is_read;
    (void)lmn__stream_free(&direct->gather_receive);
    /* Memory that MPI may still write to is left behind rather than handed to someone else. */
    if (!lmn__stream_free(&direct->scatter_receive)) {
        lmn_free(direct->terms);
    }
    if (!is_read) {
        lmn_free(direct->rounded);
    }
    direct->terms = NULL;
    direct->rounded = NULL;
}

uint64_t lmn__direct_bytes(const lmn__arithmetic *arithmetic, int size, size_t count)
{
    return 2 * (uint64_t)(size - 1) * count * arithmetic->wire_bytes;
}

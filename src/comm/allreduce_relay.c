/*
 * Allreduce along a route: a ring, or recursive halving and doubling.
 *
 * A route (pattern_internal.h) is a row of hops. Each hop's part of the vector travels in segments,
 * and a segment goes out as soon as the segments that it depends on have come in and been added:
 * the next hop overlaps with the present one, and both directions of a link are busy. Sends and
 * receives are opened in the order of the route on all ranks, which is what matches them, and a
 * bounded number is open at a time. Received segments are added in the same order.
 *
 * Every rank that adds numbers is the only one to do so for that part of the sum, and finished
 * numbers are copied, so all ranks hold the same bits.
 *
 * Methods: ring: P. Patarasuk, X. Yuan, J. Parallel Distrib. Comput. 69 (2009) 117-124; halving and
 * doubling: R. Thakur, R. Rabenseifner, W. Gropp, IJHPCA 19 (2005) 49-66.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allreduce_internal.h"
#include "comm_internal.h"
#include "lamina/memory.h"
#include "mpi_error_internal.h"

#include <string.h>

enum { PHASE = 0 };

static lmn__hop hop_of(const lmn__relay *relay, int index)
{
    const lmn_world *world = relay->owner->world;
    return relay->is_ring ? lmn__ring_hop(world->rank, world->size, relay->job->count, index)
                          : lmn__halving_hop(world->rank, world->size, relay->job->count, index);
}

static void clear_queue(lmn__queue *queue)
{
    for (int i = 0; i < LMN__RELAY_WINDOW; ++i) {
        queue->requests[i] = MPI_REQUEST_NULL;
    }
}

lmn_status lmn__relay_init(lmn__relay *relay, lmn_collective *owner, const lmn__job *job,
                           size_t capacity, lmn_error *err)
{
    const lmn_world *world = owner->world;
    const size_t segment = lmn__part(world, world->limits.segment) / job->arithmetic->bytes;
    relay->owner = owner;
    relay->job = job;
    relay->segment = segment > 0 ? segment : 1;
    relay->stride = lmn_align_up((capacity < relay->segment ? capacity : relay->segment) *
                                 job->arithmetic->bytes);
    relay->sends.is_sending = true;
    clear_queue(&relay->sends);
    clear_queue(&relay->receives);
    relay->terms = lmn_alloc(LMN__RELAY_WINDOW, relay->stride, err);
    return relay->terms != NULL ? LMN_OK : LMN_ERR_MEMORY;
}

static lmn_range range_of(const lmn__queue *queue, const lmn__hop *hop)
{
    return queue->is_sending ? hop->out : hop->in;
}

static int peer_of(const lmn__queue *queue, const lmn__hop *hop)
{
    return queue->is_sending ? hop->to : hop->from;
}

/* On to the next hop that still has something to open. */
static void skip_finished_hops(const lmn__relay *relay, lmn__queue *queue)
{
    while (queue->next.hop < relay->n_hops) {
        const lmn__hop hop = hop_of(relay, queue->next.hop);
        if (peer_of(queue, &hop) >= 0 && queue->next.offset < range_of(queue, &hop).count) {
            return;
        }
        ++queue->next.hop;
        queue->next.offset = 0;
    }
}

void lmn__relay_start(lmn__relay *relay, bool is_ring)
{
    const int size = relay->owner->world->size;
    relay->is_ring = is_ring;
    relay->n_hops = is_ring ? lmn__ring_hop_count(size) : lmn__halving_hop_count(size);
    relay->sends.next = (lmn__place){0};
    relay->receives.next = (lmn__place){0};
    skip_finished_hops(relay, &relay->sends);
    skip_finished_hops(relay, &relay->receives);
}

/* Everything before this place of the route is finished. */
static lmn__place pending(const lmn__queue *queue)
{
    return queue->n_open > 0 ? queue->places[queue->head] : queue->next;
}

static lmn_range next_segment(const lmn__relay *relay, const lmn__queue *queue, const lmn__hop *hop)
{
    const lmn_range range = range_of(queue, hop);
    const size_t left = range.count - queue->next.offset;
    return (lmn_range){.first = range.first + queue->next.offset,
                       .count = left < relay->segment ? left : relay->segment};
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Whether these numbers have come in on all hops before the one that sends them. */
static bool is_ready(const lmn__relay *relay, int hop, lmn_range segment)
{
    const lmn__place arrived = pending(&relay->receives);
    if (arrived.hop != hop - 1) {
        return arrived.hop >= hop;
    }
    const lmn_range in = hop_of(relay, arrived.hop).in;
    const size_t end = segment.first + segment.count;
    const bool is_apart = end <= in.first || in.first + in.count <= segment.first;
    return is_apart || in.first + arrived.offset >= least(end, in.first + in.count);
}

/* Whether nothing is going out any more of the place where these numbers shall come in. */
static bool is_vacant(const lmn__relay *relay, const lmn__hop *hop, lmn_range segment)
{
    const lmn__place left = pending(&relay->sends);
    const size_t end = segment.first + segment.count - hop->in.first;
    return left.hop > hop->after || (left.hop == hop->after && left.offset >= end);
}

static unsigned char *term_at(const lmn__relay *relay, int slot)
{
    return relay->terms + (size_t)slot * relay->stride;
}

static lmn_status open_segment(lmn__relay *relay, lmn__queue *queue, const lmn__hop *hop,
                               lmn_range segment, lmn_error *err)
{
    const lmn__job *job = relay->job;
    const int slot = (queue->head + queue->n_open) % LMN__RELAY_WINDOW;
    const size_t bytes = segment.count * job->arithmetic->bytes;
    lmn_status status = LMN_OK;
    if (queue->is_sending) {
        status = lmn__send(relay->owner,
                           lmn__number(job, hop->is_own ? job->send : job->recv, segment.first),
                           bytes, hop->to, PHASE, &queue->requests[slot], err);
    } else {
        void *target = hop->is_sum ? (void *)term_at(relay, slot)
                                   : lmn__number_of(job, job->recv, segment.first);
        status = lmn__receive(relay->owner, target, bytes, hop->from, PHASE, &queue->requests[slot],
                              err);
    }
    if (status == LMN_OK) {
        queue->places[slot] = queue->next;
        queue->segments[slot] = segment;
        ++queue->n_open;
        queue->next.offset += segment.count;
        skip_finished_hops(relay, queue);
    }
    return status;
}

/* Open what may be opened; counts what moves. */
static lmn_status open_queue(lmn__relay *relay, lmn__queue *queue, size_t *moves, lmn_error *err)
{
    while (queue->n_open < LMN__RELAY_WINDOW && queue->next.hop < relay->n_hops) {
        const lmn__hop hop = hop_of(relay, queue->next.hop);
        const lmn_range segment = next_segment(relay, queue, &hop);
        const bool may_open = queue->is_sending ? is_ready(relay, queue->next.hop, segment)
                                                : is_vacant(relay, &hop, segment);
        if (!may_open) {
            return LMN_OK;
        }
        const lmn_status status = open_segment(relay, queue, &hop, segment, err);
        if (status != LMN_OK) {
            return status;
        }
        ++*moves;
    }
    return LMN_OK;
}

/* The numbers that came in on the oldest open receive become part of the sum. */
static void absorb(const lmn__relay *relay, int slot)
{
    const lmn__job *job = relay->job;
    const lmn__hop hop = hop_of(relay, relay->receives.places[slot].hop);
    const lmn_range segment = relay->receives.segments[slot];
    if (!hop.is_sum) {
        return;
    }
    void *sum = lmn__number_of(job, job->recv, segment.first);
    const void *own = hop.is_first ? lmn__number(job, job->send, segment.first) : sum;
    const void *term = term_at(relay, slot);
    job->arithmetic->combine(sum, hop.is_lower ? term : own, hop.is_lower ? own : term,
                             segment.count);
    if (hop.is_last) {
        lmn__arithmetic_scale(job->arithmetic, sum, segment.count, job->factor);
    }
}

/* Close what is finished, oldest first; counts what moves. */
static lmn_status close_queue(lmn__relay *relay, lmn__queue *queue, size_t *moves, lmn_error *err)
{
    while (queue->n_open > 0) {
        int is_done = 0;
        const lmn_status status =
            lmn__mpi_check(MPI_Test(&queue->requests[queue->head], &is_done, MPI_STATUS_IGNORE),
                           err, "advance an allreduce along its route");
        if (status != LMN_OK || is_done == 0) {
            return status;
        }
        if (!queue->is_sending) {
            absorb(relay, queue->head);
        }
        queue->head = (queue->head + 1) % LMN__RELAY_WINDOW;
        --queue->n_open;
        ++*moves;
    }
    return LMN_OK;
}

static bool is_finished(const lmn__relay *relay, const lmn__queue *queue)
{
    return queue->n_open == 0 && queue->next.hop == relay->n_hops;
}

lmn_status lmn__relay_progress(lmn__relay *relay, lmn_error *err)
{
    size_t moves = 1;
    while (moves > 0) {
        moves = 0;
        lmn_status status = open_queue(relay, &relay->receives, &moves, err);
        if (status == LMN_OK) {
            status = close_queue(relay, &relay->receives, &moves, err);
        }
        if (status == LMN_OK) {
            status = open_queue(relay, &relay->sends, &moves, err);
        }
        if (status == LMN_OK) {
            status = close_queue(relay, &relay->sends, &moves, err);
        }
        if (status != LMN_OK) {
            return status;
        }
    }
    return is_finished(relay, &relay->sends) && is_finished(relay, &relay->receives)
               ? LMN_OK
               : LMN_IN_PROGRESS;
}

void lmn__relay_free(lmn__relay *relay)
{
    if (relay->terms == NULL) {
        return;
    }
    (void)lmn__requests_abandon(relay->sends.requests, LMN__RELAY_WINDOW, true);
    /* Memory that MPI may still write to is left behind rather than handed to someone else. */
    if (!lmn__requests_abandon(relay->receives.requests, LMN__RELAY_WINDOW, false)) {
        lmn_free(relay->terms);
    }
    relay->terms = NULL;
}

uint64_t lmn__relay_bytes(const lmn__arithmetic *arithmetic, int size, size_t count, bool is_ring)
{
    const uint64_t numbers =
        is_ring ? 2 * (uint64_t)(size - 1) * count : lmn__halving_number_count(size, count);
    return numbers * arithmetic->bytes;
}

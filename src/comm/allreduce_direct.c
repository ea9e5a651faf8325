/*
 * Allreduce for large vectors: direct reduce-scatter, then direct allgather, piece by piece.
 *
 * The vector is cut into pieces, of which a few are under way at a time, so that one piece is added
 * up while others are on the wire. Of each piece rank j owns slice j. Everyone sends slice j to
 * rank j, which keeps the parts apart until all are there, adds them in rank order whatever the
 * order of arrival, multiplies by the factor once, and sends the finished slice to everyone. Each
 * element is computed by one rank and copied by the others, and how a vector is cut does not change
 * its bits. Receives of both phases are open from the start of a piece, so that finished slices of
 * faster ranks land while this one still computes gradients.
 *
 * Each rank sends 2 (size - 1) / size of the vector, as a ring does. Pieces share two tags: every
 * stream of a piece begins when the same stream of the piece before has opened all its messages.
 *
 * Method: R. Thakur, R. Rabenseifner, W. Gropp, IJHPCA 19 (2005) 49-66 (pairwise exchange).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allreduce_internal.h"
#include "comm_internal.h"
#include "lamina/memory.h"
#include "lamina/partition.h"

/* Numbers of a slice that are summed over all ranks before the next: stays in the L1 cache. */
#define BLOCK_COUNT 2048

enum { PHASE_SCATTER = 0, PHASE_GATHER = 1 };

static const lmn_world *world_of(const lmn__lane *lane)
{
    return lane->direct->owner->world;
}

static const lmn__job *job_of(const lmn__lane *lane)
{
    return lane->direct->job;
}

/* Numbers of the vector that `rank` owns. */
static lmn_range slice_of(const lmn__lane *lane, int rank)
{
    const size_t size = (size_t)world_of(lane)->size;
    const lmn_range part = lmn_partition(lane->piece.count, size, (size_t)rank);
    return (lmn_range){.first = lane->piece.first + part.first, .count = part.count};
}

static bool is_rounded(const lmn__lane *lane)
{
    return lmn__arithmetic_is_rounded(job_of(lane)->arithmetic);
}

/* Where the others' parts of our slice are kept; there is no place for our own. */
static unsigned char *term_of(const lmn__lane *lane, int rank)
{
    const int row = rank < world_of(lane)->rank ? rank : rank - 1;
    return lane->terms + (size_t)row * lane->direct->stride;
}

static size_t wire_bytes(const lmn__lane *lane, size_t count)
{
    return count * job_of(lane)->arithmetic->wire_bytes;
}

static uint16_t *rounded_from(const lmn__lane *lane, size_t first)
{
    return lane->rounded + (first - lane->piece.first);
}

/* This rank's own numbers, or its finished ones, as they go out from number `first` on. */
static const void *outgoing(const lmn__lane *lane, const void *vector, size_t first)
{
    return is_rounded(lane) ? rounded_from(lane, first) : lmn__number(job_of(lane), vector, first);
}

/* Where a finished slice arrives: in place, rounded ones in the upper half of their memory. */
static void *incoming(const lmn__lane *lane, lmn_range slice)
{
    const lmn__job *job = job_of(lane);
    unsigned char *place = lmn__number_of(job, job->recv, slice.first);
    return place + slice.count * job->arithmetic->bytes - wire_bytes(lane, slice.count);
}

static lmn__message scatter_send_message(const void *user, int peer)
{
    const lmn__lane *lane = user;
    const lmn_range slice = slice_of(lane, peer);
    return (lmn__message){.source = outgoing(lane, job_of(lane)->send, slice.first),
                          .bytes = wire_bytes(lane, slice.count)};
}

static lmn__message scatter_receive_message(const void *user, int peer)
{
    const lmn__lane *lane = user;
    const lmn_range slice = slice_of(lane, world_of(lane)->rank);
    return (lmn__message){.target = term_of(lane, peer), .bytes = wire_bytes(lane, slice.count)};
}

static lmn__message gather_send_message(const void *user, int peer)
{
    const lmn__lane *lane = user;
    const lmn_range slice = slice_of(lane, world_of(lane)->rank);
    (void)peer;
    return (lmn__message){.source = outgoing(lane, job_of(lane)->recv, slice.first),
                          .bytes = wire_bytes(lane, slice.count)};
}

static lmn__message gather_receive_message(const void *user, int peer)
{
    const lmn__lane *lane = user;
    const lmn_range slice = slice_of(lane, peer);
    return (lmn__message){.target = incoming(lane, slice), .bytes = wire_bytes(lane, slice.count)};
}

static const lmn__stream_kind scatter_send_kind = {
    .sending = true, .phase = PHASE_SCATTER, .message = scatter_send_message};
static const lmn__stream_kind scatter_receive_kind = {
    .sending = false, .phase = PHASE_SCATTER, .message = scatter_receive_message};
static const lmn__stream_kind gather_send_kind = {
    .sending = true, .phase = PHASE_GATHER, .message = gather_send_message};
static const lmn__stream_kind gather_receive_kind = {
    .sending = false, .phase = PHASE_GATHER, .message = gather_receive_message};

static lmn_status lane_init(lmn__lane *lane, lmn__direct *direct, lmn_error *err)
{
    lmn_collective *owner = direct->owner;
    lane->direct = direct;
    lane->terms = lmn_alloc((size_t)owner->world->size - 1, direct->stride, err);
    lmn_status status = lane->terms != NULL ? LMN_OK : LMN_ERR_MEMORY;
    if (status == LMN_OK && is_rounded(lane)) {
        lane->rounded = lmn_alloc(direct->largest, sizeof *lane->rounded, err);
        status = lane->rounded != NULL ? LMN_OK : LMN_ERR_MEMORY;
    }
    if (status == LMN_OK) {
        status = lmn__stream_init(&lane->scatter_receive, &scatter_receive_kind, owner, lane, err);
    }
    if (status == LMN_OK) {
        status = lmn__stream_init(&lane->gather_receive, &gather_receive_kind, owner, lane, err);
    }
    if (status == LMN_OK) {
        status = lmn__stream_init(&lane->scatter_send, &scatter_send_kind, owner, lane, err);
    }
    if (status == LMN_OK) {
        status = lmn__stream_init(&lane->gather_send, &gather_send_kind, owner, lane, err);
    }
    return status;
}

/* Numbers of a piece at most: a segment for every rank's slice. */
static size_t piece_limit(const lmn_world *world, const lmn__arithmetic *arithmetic)
{
    const size_t segment = world->limits.segment / arithmetic->wire_bytes;
    return (segment > 0 ? segment : 1) * (size_t)world->size;
}

static size_t count_pieces(size_t count, size_t largest)
{
    return count / largest + (count % largest != 0 ? 1 : 0);
}

lmn_status lmn__direct_init(lmn__direct *direct, lmn_collective *owner, const lmn__job *job,
                            size_t capacity, lmn_error *err)
{
    const lmn_world *world = owner->world;
    const size_t limit = piece_limit(world, job->arithmetic);
    const size_t n_pieces = count_pieces(capacity, limit);
    direct->owner = owner;
    direct->job = job;
    direct->largest = capacity < limit ? capacity : limit;
    direct->stride =
        lmn_align_up((direct->largest / (size_t)world->size + 1) * job->arithmetic->wire_bytes);
    direct->n_lanes = n_pieces < LMN__LANES ? (int)n_pieces : LMN__LANES;
    lmn_status status = LMN_OK;
    for (int i = 0; i < direct->n_lanes && status == LMN_OK; ++i) {
        status = lane_init(&direct->lanes[i], direct, err);
    }
    return status;
}

void lmn__direct_start(lmn__direct *direct)
{
    const size_t count = direct->job->count;
    direct->n_pieces = count > 0 ? count_pieces(count, direct->largest) : 0;
    direct->begun = 0;
    direct->finished = 0;
    direct->gather_due = 0;
}

static lmn__lane *lane_of(lmn__direct *direct, size_t piece)
{
    return &direct->lanes[piece % (size_t)direct->n_lanes];
}

/* Whether the next piece has a lane, and its messages would come after those of the one before. */
static bool may_begin(lmn__direct *direct)
{
    if (direct->begun == direct->n_pieces ||
        direct->begun - direct->finished == (size_t)direct->n_lanes) {
        return false;
    }
    if (direct->begun == direct->finished) {
        return true;
    }
    const lmn__lane *last = lane_of(direct, direct->begun - 1);
    return lmn__stream_is_opened(&last->scatter_receive) &&
           lmn__stream_is_opened(&last->gather_receive) &&
           lmn__stream_is_opened(&last->scatter_send);
}

static void begin_piece(lmn__direct *direct)
{
    const lmn__job *job = direct->job;
    lmn__lane *lane = lane_of(direct, direct->begun);
    lane->index = direct->begun++;
    lane->piece = lmn_partition(job->count, direct->n_pieces, lane->index);
    lane->is_reduced = false;
    lane->is_gathering = false;
    if (is_rounded(lane)) {
        lmn__bf16_encode(lane->rounded, lmn__number(job, job->send, lane->piece.first),
                         lane->piece.count);
    }
    lmn__stream_start(&lane->scatter_receive);
    lmn__stream_start(&lane->gather_receive);
    lmn__stream_start(&lane->scatter_send);
}

/* Numbers first .. first + count - 1 of the vector, which are ours: all ranks in order. */
static void reduce_block(const lmn__lane *lane, lmn_range slice, size_t first, size_t count)
{
    const lmn__job *job = job_of(lane);
    const lmn__arithmetic *arithmetic = job->arithmetic;
    const lmn_world *world = world_of(lane);
    const size_t offset = wire_bytes(lane, first - slice.first);
    void *sum = lmn__number_of(job, job->recv, first);
    for (int rank = 0; rank < world->size; ++rank) {
        const void *term =
            rank == world->rank ? outgoing(lane, job->send, first) : term_of(lane, rank) + offset;
        if (rank == 0) {
            arithmetic->take(sum, term, count);
        } else {
            arithmetic->add(sum, term, count);
        }
    }
    lmn__arithmetic_scale(arithmetic, sum, count, job->factor);
    if (is_rounded(lane)) {
        /* The owner keeps what the others get. */
        lmn__bf16_encode(rounded_from(lane, first), sum, count);
        lmn__bf16_decode(sum, rounded_from(lane, first), count);
    }
}

static void reduce_slice(const lmn__lane *lane)
{
    const lmn_range slice = slice_of(lane, world_of(lane)->rank);
    for (size_t first = 0; first < slice.count; first += BLOCK_COUNT) {
        const size_t left = slice.count - first;
        reduce_block(lane, slice, slice.first + first, left < BLOCK_COUNT ? left : BLOCK_COUNT);
    }
}

/* Which streams still stand for the oldest piece that is not through with them. */
typedef struct heads {
    bool scatter_send;
    bool scatter_receive;
    bool gather_send;
    bool gather_receive;
} heads;

/* Messages of a piece come behind those of the piece before, so of all lanes only the first busy
 * one is asked, which spares most calls of MPI, and those that have messages left to open. */
static lmn_status advance(lmn__stream *stream, bool *is_head, lmn_error *err)
{
    if (lmn__stream_is_idle(stream)) {
        return LMN_OK;
    }
    if (!*is_head && lmn__stream_is_opened(stream)) {
        return LMN_IN_PROGRESS;
    }
    const lmn_status status = lmn__stream_progress(stream, err);
    if (status == LMN_IN_PROGRESS) {
        *is_head = false;
    }
    return status;
}

/* Finished slices go out in the order of their pieces, since they share a tag. */
static lmn_status send_finished(lmn__lane *lane, heads *first, lmn_error *err)
{
    lmn__direct *direct = lane->direct;
    if (!lane->is_gathering) {
        if (direct->gather_due != lane->index) {
            return LMN_IN_PROGRESS;
        }
        lane->is_gathering = true;
        lmn__stream_start(&lane->gather_send);
    }
    const lmn_status status = advance(&lane->gather_send, &first->gather_send, err);
    if (direct->gather_due == lane->index && lmn__stream_is_opened(&lane->gather_send)) {
        ++direct->gather_due;
    }
    return status;
}

static lmn_status lane_progress(lmn__lane *lane, heads *first, lmn_error *err)
{
    const lmn_status received = advance(&lane->gather_receive, &first->gather_receive, err);
    if (received < 0) {
        return received;
    }
    const lmn_status scattered = advance(&lane->scatter_send, &first->scatter_send, err);
    if (scattered < 0) {
        return scattered;
    }
    if (!lane->is_reduced) {
        const lmn_status parts = advance(&lane->scatter_receive, &first->scatter_receive, err);
        if (parts != LMN_OK) {
            return parts;
        }
        reduce_slice(lane);
        lane->is_reduced = true;
    }
    const lmn_status sent = send_finished(lane, first, err);
    if (sent != LMN_OK) {
        return sent;
    }
    return received == LMN_OK ? scattered : received;
}

/* The others' finished slices, from the form in which they came. */
static void expand(const lmn__lane *lane)
{
    const lmn__job *job = job_of(lane);
    const lmn_world *world = world_of(lane);
    for (int rank = 0; rank < world->size && is_rounded(lane); ++rank) {
        const lmn_range slice = slice_of(lane, rank);
        if (rank != world->rank) {
            lmn__bf16_decode(lmn__number_of(job, job->recv, slice.first), incoming(lane, slice),
                             slice.count);
        }
    }
}

/* The pieces under way, oldest first; counts the finished ones. */
static lmn_status progress_pieces(lmn__direct *direct, lmn_error *err)
{
    heads first = {true, true, true, true};
    for (size_t piece = direct->finished; piece < direct->begun; ++piece) {
        lmn__lane *lane = lane_of(direct, piece);
        const lmn_status status = lane_progress(lane, &first, err);
        if (status < 0) {
            return status;
        }
        if (status == LMN_OK && piece == direct->finished) {
            expand(lane);
            ++direct->finished;
        }
    }
    return LMN_OK;
}

lmn_status lmn__direct_progress(lmn__direct *direct, lmn_error *err)
{
    bool has_moved = true;
    while (has_moved && direct->finished < direct->n_pieces) {
        const size_t before = direct->begun + direct->finished;
        if (may_begin(direct)) {
            begin_piece(direct);
        }
        const lmn_status status = progress_pieces(direct, err);
        if (status < 0) {
            return status;
        }
        has_moved = direct->begun + direct->finished != before;
    }
    return direct->finished == direct->n_pieces ? LMN_OK : LMN_IN_PROGRESS;
}

static void lane_free(lmn__lane *lane)
{
    bool is_read = lmn__stream_free(&lane->scatter_send);
    is_read = lmn__stream_free(&lane->gather_send) || is_read;
    (void)lmn__stream_free(&lane->gather_receive);
    /* Memory that MPI may still touch is left behind rather than handed to someone else. */
    if (!lmn__stream_free(&lane->scatter_receive)) {
        lmn_free(lane->terms);
    }
    if (!is_read) {
        lmn_free(lane->rounded);
    }
    lane->terms = NULL;
    lane->rounded = NULL;
}

void lmn__direct_free(lmn__direct *direct)
{
    for (int i = 0; i < direct->n_lanes; ++i) {
        lane_free(&direct->lanes[i]);
    }
    direct->n_lanes = 0;
}

uint64_t lmn__direct_bytes(const lmn__arithmetic *arithmetic, int size, size_t count)
{
    return 2 * (uint64_t)(size - 1) * count * arithmetic->wire_bytes;
}

/*
 * Allreduce for small vectors: recursive doubling.
 *
 * In round k neighbouring groups of 2^k ranks exchange their sums, so after log2(size) rounds every
 * rank has the whole sum. Both sides of an exchange add the same two operands, the lower ranks'
 * first, so all ranks compute the same bits. When the number of ranks is no power of two, some
 * first hand their values to the rank below and are handed the sum at the end.
 *
 * Method: R. Thakur, R. Rabenseifner, W. Gropp, IJHPCA 19 (2005) 49-66.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "allreduce_internal.h"
#include "comm_internal.h"
#include "lamina/memory.h"
#include "mpi_error_internal.h"

#include <string.h>

enum { PHASE = 0, SLOT_RECEIVE = 0, SLOT_SEND = 1 };

lmn_status lmn__doubler_init(lmn__doubler *doubler, lmn_collective *owner, const lmn__job *job,
                             size_t capacity, lmn_error *err)
{
    const lmn_world *world = owner->world;
    doubler->owner = owner;
    doubler->job = job;
    doubler->plan = lmn__doubling_plan(world->rank, world->size);
    doubler->stage = LMN__DOUBLING_DONE;
    doubler->requests[SLOT_RECEIVE] = MPI_REQUEST_NULL;
    doubler->requests[SLOT_SEND] = MPI_REQUEST_NULL;
    doubler->term = lmn_alloc(capacity, job->arithmetic->bytes, err);
    return doubler->term != NULL ? LMN_OK : LMN_ERR_MEMORY;
}

void lmn__doubler_start(lmn__doubler *doubler)
{
    doubler->stage = LMN__DOUBLING_BEGIN;
    doubler->round = 0;
}

static size_t bytes_of(const lmn__job *job)
{
    return job->count * job->arithmetic->bytes;
}

static lmn_status send_to(lmn__doubler *doubler, const void *values, int peer, lmn_error *err)
{
    return lmn__send(doubler->owner, values, bytes_of(doubler->job), peer, PHASE,
                     &doubler->requests[SLOT_SEND], err);
}

static lmn_status receive_from(lmn__doubler *doubler, void *values, int peer, lmn_error *err)
{
    return lmn__receive(doubler->owner, values, bytes_of(doubler->job), peer, PHASE,
                        &doubler->requests[SLOT_RECEIVE], err);
}

static int current_peer(const lmn__doubler *doubler)
{
    const lmn_world *world = doubler->owner->world;
    return lmn__doubling_peer(world->rank, world->size, doubler->round);
}

static void absorb(const lmn__doubler *doubler, int peer)
{
    const lmn__job *job = doubler->job;
    if (peer < doubler->owner->world->rank) {
        job->arithmetic->combine(job->recv, doubler->term, job->recv, job->count);
    } else {
        job->arithmetic->combine(job->recv, job->recv, doubler->term, job->count);
    }
}

/* All rounds are over: every rank that took part scales its own, equal copy of the sum. */
static lmn_status finish_sum(lmn__doubler *doubler, lmn_error *err)
{
    const lmn__job *job = doubler->job;
    lmn__arithmetic_scale(job->arithmetic, job->recv, job->count, job->factor);
    if (doubler->plan.partner < 0) {
        doubler->stage = LMN__DOUBLING_DONE;
        return LMN_OK;
    }
    doubler->stage = LMN__DOUBLING_RETURN;
    return send_to(doubler, job->recv, doubler->plan.partner, err);
}

static lmn_status enter_round(lmn__doubler *doubler, lmn_error *err)
{
    if (doubler->round == doubler->plan.n_rounds) {
        return finish_sum(doubler, err);
    }
    const int peer = current_peer(doubler);
    doubler->stage = LMN__DOUBLING_ROUND;
    const lmn_status status = receive_from(doubler, doubler->term, peer, err);
    if (status != LMN_OK) {
        return status;
    }
    return send_to(doubler, doubler->job->recv, peer, err);
}

static lmn_status begin(lmn__doubler *doubler, lmn_error *err)
{
    const lmn__job *job = doubler->job;
    const int partner = doubler->plan.partner;
    if (doubler->plan.is_folded) {
        doubler->stage = LMN__DOUBLING_HANDED;
        const lmn_status status = receive_from(doubler, job->recv, partner, err);
        if (status != LMN_OK) {
            return status;
        }
        return send_to(doubler, job->send, partner, err);
    }
    memcpy(job->recv, job->send, bytes_of(job));
    if (partner >= 0) {
        doubler->stage = LMN__DOUBLING_FOLD;
        return receive_from(doubler, doubler->term, partner, err);
    }
    return enter_round(doubler, err);
}

/* What the present stage waited for is there: go on to the next. */
static lmn_status next_stage(lmn__doubler *doubler, lmn_error *err)
{
    switch (doubler->stage) {
    case LMN__DOUBLING_BEGIN:
        return begin(doubler, err);
    case LMN__DOUBLING_FOLD:
        absorb(doubler, doubler->plan.partner);
        return enter_round(doubler, err);
    case LMN__DOUBLING_ROUND:
        absorb(doubler, current_peer(doubler));
        ++doubler->round;
        return enter_round(doubler, err);
    case LMN__DOUBLING_HANDED:
    case LMN__DOUBLING_RETURN:
    case LMN__DOUBLING_DONE:
        break;
    }
    doubler->stage = LMN__DOUBLING_DONE;
    return LMN_OK;
}

lmn_status lmn__doubler_progress(lmn__doubler *doubler, lmn_error *err)
{
    while (doubler->stage != LMN__DOUBLING_DONE) {
        int is_complete = 0;
        /* Nobody reads these, but with some MPIs gcc takes MPI_STATUSES_IGNORE for an array of
         * none. */
        MPI_Status statuses[2];
        lmn_status status =
            lmn__mpi_check(MPI_Testall(2, doubler->requests, &is_complete, statuses), err,
                           "advance a small allreduce");
        if (status != LMN_OK) {
            return status;
        }
        if (is_complete == 0) {
            return LMN_IN_PROGRESS;
        }
        status = next_stage(doubler, err);
        if (status != LMN_OK) {
            return status;
        }
    }
    return LMN_OK;
}

void lmn__doubler_free(lmn__doubler *doubler)
{
    if (doubler->term == NULL) {
        return;
    }
    (void)lmn__requests_abandon(&doubler->requests[SLOT_SEND], 1, true);
    /* Memory that MPI may still write to is left behind rather than handed to someone else. */
    if (!lmn__requests_abandon(&doubler->requests[SLOT_RECEIVE], 1, false)) {
        lmn_free(doubler->term);
    }
    doubler->term = NULL;
}

uint64_t lmn__doubler_bytes(const lmn__arithmetic *arithmetic, int size, size_t count)
{
    return lmn__doubling_message_count(size) * count * arithmetic->wire_bytes;
}

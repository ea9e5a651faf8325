/*
 * The common head of all collectives: the world's list of those in flight, waiting, sending.
 *
 * Ranks may wait for their collectives in different orders. So that none of them waits for a peer
 * that attends to another collective, waiting for one advances all that are in flight; an error
 * met on the way stays with the collective that it ended.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/collective.h"

#include "collective_internal.h"
#include "comm_internal.h"
#include "mpi_error_internal.h"

#include <sched.h>

/* After so many looks in vain, some 10 us, a wait offers its core to others: the rank that it waits
 * for may need it. Few MPIs do that by themselves. On a core of its own this costs less than a
 * look. */
enum { VAIN_BEFORE_YIELD = 64 };

static void list_add(lmn_collective *collective)
{
    collective->next_running = collective->world->running;
    collective->world->running = collective;
    collective->is_running = true;
}

static void list_remove(lmn_collective *collective)
{
    lmn_collective **link = &collective->world->running;
    while (*link != NULL && *link != collective) {
        link = &(*link)->next_running;
    }
    if (*link != NULL) {
        *link = collective->next_running;
    }
    collective->next_running = NULL;
    collective->is_running = false;
}

void lmn__collective_init(lmn_collective *collective, const lmn__collective_kind *kind,
                          lmn_world *world)
{
    collective->kind = kind;
    collective->world = world;
    collective->failure = lmn_error_none();
}

static lmn_status take_tags(lmn_world *world, int *tag_out, lmn_error *err)
{
    if (world->next_tag > world->tag_max - LMN__TAGS_PER_COLLECTIVE) {
        return lmn_error_set(err, LMN_ERR_UNSUPPORTED,
                             "no message tag is left for another collective: MPI allows tags up to "
                             "%d; keep and restart collectives instead of creating new ones",
                             world->tag_max);
    }
    *tag_out = world->next_tag;
    world->next_tag += LMN__TAGS_PER_COLLECTIVE;
    return LMN_OK;
}

lmn_status lmn__collective_join(lmn_world *world, lmn_collective *collective, const char *what,
                                size_t capacity, lmn_status status, lmn_error *err)
{
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        status = lmn_world_check_same(world, what, (uint64_t)capacity, err);
    }
    if (status == LMN_OK) {
        /* Created in the same order everywhere, so all ranks take the same tags or fail alike. */
        status = take_tags(world, &collective->tag, err);
    }
    return status;
}

lmn_status lmn__collective_check_idle(const lmn_collective *collective,
                                      const lmn__collective_kind *kind, lmn_error *err)
{
    if (collective->kind != kind) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "cannot start this %s as %s",
                             collective->kind->name, kind->name);
    }
    if (collective->failure.status != LMN_OK) {
        if (err != NULL) {
            *err = collective->failure;
        }
        return collective->failure.status;
    }
    if (collective->is_running) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "cannot start this %s: it is still running; wait for it first",
                             kind->name);
    }
    return LMN_OK;
}

lmn_status lmn__collective_launch(lmn_collective *collective, lmn_error *err)
{
    list_add(collective);
    const lmn_status status = lmn_collective_progress(collective, err);
    return status == LMN_IN_PROGRESS ? LMN_OK : status;
}

/* Advance; an error stays with the collective. */
static lmn_status advance(lmn_collective *collective)
{
    if (!collective->is_running) {
        return collective->failure.status;
    }
    lmn_error failure = lmn_error_none();
    const lmn_status status = collective->kind->progress(collective, &failure);
    if (status != LMN_IN_PROGRESS) {
        list_remove(collective);
        collective->failure = failure;
    }
    return status;
}

lmn_status lmn_collective_progress(lmn_collective *collective, lmn_error *err)
{
    const lmn_status status = advance(collective);
    if (status < 0 && err != NULL) {
        *err = collective->failure;
    }
    return status;
}

static void advance_others(const lmn_collective *awaited)
{
    lmn_collective *other = awaited->world->running;
    while (other != NULL) {
        lmn_collective *next = other->next_running; /* a finished one leaves the list */
        if (other != awaited) {
            (void)advance(other);
        }
        other = next;
    }
}

lmn_status lmn_collective_wait(lmn_collective *collective, lmn_error *err)
{
    int n_vain = 0;
    lmn_status status = lmn_collective_progress(collective, err);
    while (status == LMN_IN_PROGRESS) {
        if (++n_vain >= VAIN_BEFORE_YIELD) {
            (void)sched_yield();
            n_vain = 0;
        }
        advance_others(collective);
        status = lmn_collective_progress(collective, err);
    }
    return status;
}

uint64_t lmn_collective_bytes_sent(const lmn_collective *collective)
{
    return collective->bytes_sent;
}

void lmn_collective_destroy(lmn_collective *collective)
{
    if (collective == NULL) {
        return;
    }
    if (collective->is_running) {
        list_remove(collective);
    }
    collective->kind->destroy(collective);
}

lmn_status lmn__send(lmn_collective *collective, const void *data, size_t bytes, int peer,
                     int phase, MPI_Request *request_out, lmn_error *err)
{
    const lmn_status status = lmn__mpi_check(
        MPI_Isend(data, lmn__to_int(bytes), MPI_BYTE, peer, collective->tag + phase,
                  collective->world->comm, request_out),
        err, "send %zu bytes to rank %d for an %s", bytes, peer, collective->kind->name);
    if (status == LMN_OK) {
        collective->bytes_sent += bytes;
    }
    return status;
}

lmn_status lmn__receive(lmn_collective *collective, void *data, size_t bytes, int peer, int phase,
                        MPI_Request *request_out, lmn_error *err)
{
    return lmn__mpi_check(MPI_Irecv(data, lmn__to_int(bytes), MPI_BYTE, peer,
                                    collective->tag + phase, collective->world->comm, request_out),
                          err, "receive %zu bytes from rank %d for an %s", bytes, peer,
                          collective->kind->name);
}

/* Whether MPI may go on touching the request's memory. */
static bool abandon(MPI_Request *request, bool sending)
{
    int is_done = 0;
    if (!sending) {
        (void)MPI_Cancel(request);
    }
    if (MPI_Test(request, &is_done, MPI_STATUS_IGNORE) == MPI_SUCCESS && is_done != 0) {
        return false;
    }
    if (*request != MPI_REQUEST_NULL) {
        (void)MPI_Request_free(request);
    }
    return true;
}

bool lmn__requests_abandon(MPI_Request *requests, size_t count, bool sending)
{
    bool is_touched = false;
    for (size_t i = 0; i < count; ++i) {
        if (requests[i] != MPI_REQUEST_NULL && abandon(&requests[i], sending)) {
            is_touched = true;
        }
    }
    return is_touched;
}

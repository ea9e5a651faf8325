/*
 * The common head of all collectives.
 *
 * A collective is a struct whose first member is an lmn_collective, with a table of two functions.
 * Its file offers create (memory, then lmn__collective_join), start (lmn__collective_check_idle,
 * set up, then lmn__collective_launch) and nothing else; progress, wait and destroy are shared.
 * Whatever leaves for another rank goes through lmn__send.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_COLLECTIVE_INTERNAL_H
#define LAMINA_COLLECTIVE_INTERNAL_H

#include "lamina/collective.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mpi.h>

/* Tags of one collective: the two phases of an allreduce have one each. */
#define LMN__TAGS_PER_COLLECTIVE 2

/** One kind of collective. */
typedef struct lmn__collective_kind {
    const char *name;
    /** Advance without blocking: LMN_OK when finished, LMN_IN_PROGRESS, or LMN_ERR_COMM. */
    lmn_status (*progress)(lmn_collective *collective, lmn_error *err);
    /** Free the collective and its memory, also half-built or with open messages. */
    void (*destroy)(lmn_collective *collective);
} lmn__collective_kind;

struct lmn_collective {
    const lmn__collective_kind *kind;
    lmn_world *world; /* borrowed until destroy */
    int tag;          /* first of LMN__TAGS_PER_COLLECTIVE */
    uint64_t bytes_sent;
    bool is_running;              /* and so in the world's list */
    lmn_collective *next_running; /* in the world's list */
    lmn_error failure;            /* status LMN_OK until an error ended the collective */
};

/** Set the head of a zeroed collective. Local. */
void lmn__collective_init(lmn_collective *collective, const lmn__collective_kind *kind,
                          lmn_world *world);

/**
 * Agree that all ranks have memory (`status` is this rank's outcome) and the same capacity, and
 * take tags. Collective. Errors, the same on all ranks: status, LMN_ERR_DIVERGED,
 * LMN_ERR_UNSUPPORTED when MPI has no more tags, LMN_ERR_COMM.
 */
lmn_status lmn__collective_join(lmn_world *world, lmn_collective *collective, const char *what,
                                size_t capacity, lmn_status status, lmn_error *err) LMN_NODISCARD;

/** LMN_ERR_ARGUMENT when it is of another kind or running; LMN_ERR_COMM when an error ended it. */
lmn_status lmn__collective_check_idle(const lmn_collective *collective,
                                      const lmn__collective_kind *kind,
                                      lmn_error *err) LMN_NODISCARD;

/** Enter the collective, set up by its start function, in the world's list and advance it once. */
lmn_status lmn__collective_launch(lmn_collective *collective, lmn_error *err) LMN_NODISCARD;

/** Send `bytes` <= INT_MAX bytes to `peer` with the collective's tag + phase, and count them. */
lmn_status lmn__send(lmn_collective *collective, const void *data, size_t bytes, int peer,
                     int phase, MPI_Request *request_out, lmn_error *err) LMN_NODISCARD;

/** Receive up to `bytes` <= INT_MAX bytes from `peer`. */
lmn_status lmn__receive(lmn_collective *collective, void *data, size_t bytes, int peer, int phase,
                        MPI_Request *request_out, lmn_error *err) LMN_NODISCARD;

/**
 * Let go of requests that an error left open, without waiting. Returns whether MPI may still touch
 * the memory of one of them, which then must not be freed.
 */
bool lmn__requests_abandon(MPI_Request *requests, size_t count, bool sending);

#endif

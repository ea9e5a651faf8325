/*
 * The world: the ranks that train together, and what they must agree on.
 *
 * A world is made from any MPI communicator, which it duplicates; there is no global one, so a
 * program may hold several worlds. On the duplicate MPI returns its errors, and every function here
 * turns them into a status. Between two calls of lmn_agree, code is either all local, and may fail
 * on one rank, or all collective, and may not return early.
 *
 * LMN_ERR_COMM is the exception to agreement: MPI failed, so the ranks cannot be brought together
 * any more. It may come on one rank alone; after it objects of the world may be destroyed on that
 * rank, no other call is safe, and a program ends with MPI_Abort, which the library never calls.
 *
 * All calls on one world come from one thread at a time; MPI_THREAD_FUNNELED suffices. Blocking
 * calls on one world come in the same order on all ranks, also relative to lmn_collective_wait.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_WORLD_H
#define LAMINA_WORLD_H

#include "lamina/log.h"
#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mpi.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_world lmn_world;

/**
 * A world over the ranks of `comm`.
 * Collective over `comm`. comm stays the caller's; log (may be NULL) is borrowed until destroy.
 * Errors, the same on all ranks: LMN_ERR_ARGUMENT (MPI is not running, MPI_COMM_NULL, an
 * intercommunicator), LMN_ERR_COMM, LMN_ERR_MEMORY.
 */
lmn_status lmn_world_create(MPI_Comm comm, const lmn_logger *log, lmn_world **world_out,
                            lmn_error *err) LMN_NODISCARD;

/**
 * The same from a communicator's Fortran handle: for languages without the C type MPI_Comm, such as
 * Fortran (comm%MPI_VAL of mpi_f08) and Python (comm.py2f() of mpi4py). An invalid handle is MPI's
 * to find, which may abort.
 */
lmn_status lmn_world_create_fortran(MPI_Fint comm, const lmn_logger *log, lmn_world **world_out,
                                    lmn_error *err) LMN_NODISCARD;

/**
 * The world of one rank of every node: of the ranks with node rank `node_rank`, numbered as their
 * nodes are. Each of them is a node of its own there. On all other ranks *leaders_out becomes NULL.
 * Collective over world; node_rank must agree and exist on every node. The caller destroys it.
 * Several such worlds, one for each node rank, let all ranks of a node talk to other nodes.
 * Errors, the same on all ranks: LMN_ERR_ARGUMENT (some node has no such rank), LMN_ERR_DIVERGED,
 * LMN_ERR_COMM, LMN_ERR_MEMORY.
 */
lmn_status lmn_world_create_leaders(lmn_world *world, int node_rank, lmn_world **leaders_out,
                                    lmn_error *err) LMN_NODISCARD;

/** Collective. Frees the duplicated communicators; its collectives must be gone. NULL is allowed.
 */
void lmn_world_destroy(lmn_world *world);

int lmn_world_rank(const lmn_world *world);
int lmn_world_size(const lmn_world *world);
const lmn_logger *lmn_world_log(const lmn_world *world);

/** The world's own communicators, for collective I/O and measurements; never freed by the caller.
 *  The leader communicator joins node rank 0 of every node; MPI_COMM_NULL on the other ranks. */
MPI_Comm lmn_world_comm(const lmn_world *world);
MPI_Comm lmn_world_node_comm(const lmn_world *world);
MPI_Comm lmn_world_leader_comm(const lmn_world *world);

#define LMN_HOST_BYTES 64
#define LMN_CPUS_BYTES 128

/** Where a rank runs, as the system and hwloc report it. Plain data without pointers: may be sent.
 */
typedef struct lmn_placement {
    int rank;
    int node; /* 0 .. node_count - 1, in order of each node's lowest rank */
    int node_count;
    int node_rank;  /* rank inside the node */
    int node_size;  /* ranks on the node */
    int core_count; /* cores this process may run on */
    char host[LMN_HOST_BYTES];
    char cpus[LMN_CPUS_BYTES]; /* "0-3,8"; ends in "..." when cut; empty when hwloc cannot say */
} lmn_placement;

/** This rank's placement, taken at creation. Not collective. */
const lmn_placement *lmn_world_placement(const lmn_world *world);

/**
 * Gather all placements on rank 0. Collective.
 * placements_out  [size] on rank 0, ignored elsewhere
 */
lmn_status lmn_world_gather_placements(lmn_world *world, lmn_placement *placements_out,
                                       lmn_error *err) LMN_NODISCARD;

/**
 * Make one outcome of the ranks' own: LMN_OK when every rank passes LMN_OK, else the status and
 * message of the lowest failing rank, on all ranks, with err->rank set (it stays as it is when that
 * error was agreed on before). err is left alone when all is well. When only some ranks fail and
 * there are several nodes, the message begins with the host of that rank.
 * Collective: one small reduction, and a broadcast only on failure.
 */
lmn_status lmn_agree(lmn_world *world, lmn_status status, lmn_error *err) LMN_NODISCARD;

/**
 * LMN_OK when `value` is the same on all ranks, else LMN_ERR_DIVERGED naming `what`, everywhere.
 * Collective.
 */
lmn_status lmn_world_check_same(lmn_world *world, const char *what, uint64_t value,
                                lmn_error *err) LMN_NODISCARD;

/** Copy `bytes` bytes from `root` to all ranks. Collective; bytes and root must agree. */
lmn_status lmn_world_broadcast(lmn_world *world, void *data, size_t bytes, int root,
                               lmn_error *err) LMN_NODISCARD;

/**
 * Bring `bytes` bytes of every rank to rank 0, in the order of ranks. Collective; bytes must agree.
 * all_out  [size * bytes] on rank 0, ignored elsewhere
 */
lmn_status lmn_world_gather(lmn_world *world, const void *data, size_t bytes, void *all_out,
                            lmn_error *err) LMN_NODISCARD;

/**
 * Replace values by their sum over ranks, added along a fixed binomial tree, lower ranks first: for
 * 4 ranks (v0 + v1) + (v2 + v3). One rank produces each sum, so it is bit-identical everywhere and
 * from run to run. Collective, blocking, uncompressed; for small vectors such as losses and cost
 * tables. No heap allocation of its own.
 * values  [count] undefined after an error
 */
lmn_status lmn_world_sum_f64(lmn_world *world, double *values, size_t count,
                             lmn_error *err) LMN_NODISCARD;

/** The same for integers, exact. */
lmn_status lmn_world_sum_u64(lmn_world *world, uint64_t *values, size_t count,
                             lmn_error *err) LMN_NODISCARD;

/** What a rank is at, as a message would say it: "rank 2 is at `text` in step 7". Of static
 * storage. */
typedef struct lmn_activity {
    const char *text; /* "the evaluation" */
    bool waits;       /* for other ranks */
} lmn_activity;

/**
 * Note what this rank is at from now on, for a watch to read (lamina/watch.h); returns what it was
 * at before. The functions here that block do so themselves while they wait. Local; a few stores.
 */
const lmn_activity *lmn_world_note(lmn_world *world, const lmn_activity *activity);
void lmn_world_note_step(lmn_world *world, uint64_t step);

/** Let MPI move messages on, where a rank waits for something else than MPI. Local, never blocks.
 *  Errors: LMN_ERR_COMM. */
lmn_status lmn_world_poll(lmn_world *world, lmn_error *err) LMN_NODISCARD;

/** How the clock of a rank stands to that of rank 0. */
typedef struct lmn_clock_offset {
    double seconds; /* to add to lmn_clock_seconds here to have that of rank 0; 0 on rank 0 */
    double error;   /* seconds by which that may be wrong, at most: half of the fastest round trips
                       on the way to rank 0; 0 where both run on one node, whose clock is shared */
} lmn_clock_offset;

/**
 * Measure how far the clocks of the ranks are from that of rank 0, at this moment: clocks drift, by
 * up to some 50 microseconds a second. Takes log2(size) times 16 round trips, or 4 where these take
 * long. Collective, blocking. Errors: LMN_ERR_COMM.
 * Method: round trips (RFC 5905) along a binomial tree.
 */
lmn_status lmn_world_compare_clocks(lmn_world *world, lmn_clock_offset *offset_out,
                                    lmn_error *err) LMN_NODISCARD;

/** Replace values by their maximum over ranks. Collective. */
lmn_status lmn_world_max_u64(lmn_world *world, uint64_t *values, size_t count,
                             lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif

/*
 * Non-blocking collectives as resumable state machines.
 *
 * A collective is created once with its largest size, started any number of times, and advanced by
 * lmn_collective_progress, which never blocks: training calls it between the nodes of the graph, so
 * messages move while gradients are still being computed, without a thread. All memory is taken at
 * creation. Collectives are built on point-to-point messages, so that the order of every addition
 * is fixed by the number of ranks and never by the order of arrival.
 *
 * Collectives of one world are created and started in the same order on all ranks. Several may be
 * in flight at a time; each has a message tag of its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_COLLECTIVE_H
#define LAMINA_COLLECTIVE_H

#include "lamina/reduction.h"
#include "lamina/status.h"
#include "lamina/world.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_collective lmn_collective;

/**
 * Advance as far as possible without blocking.
 * Returns LMN_OK when finished or never started, LMN_IN_PROGRESS, or LMN_ERR_COMM; after an error
 * the collective can only be destroyed.
 */
lmn_status lmn_collective_progress(lmn_collective *collective, lmn_error *err) LMN_NODISCARD;

/**
 * Advance until finished. All other started collectives of the world advance too, so ranks may wait
 * for them in different orders; their errors show when they are asked themselves.
 */
lmn_status lmn_collective_wait(lmn_collective *collective, lmn_error *err) LMN_NODISCARD;

/** Payload bytes this rank has handed to MPI for other ranks through this collective, ever. */
uint64_t lmn_collective_bytes_sent(const lmn_collective *collective);

/**
 * Not collective. Wait first, unless an error ended it: memory that MPI may still write to is then
 * kept. NULL is allowed.
 */
void lmn_collective_destroy(lmn_collective *collective);

/**
 * Sum (times a factor) or maximum of vectors over ranks, see lamina/reduction.h.
 * Collective over world (borrowed until destroy); reduction and `capacity` (largest count of
 * numbers) must agree.
 * Large vectors: direct reduce-scatter (rank j owns slice j of lmn_partition and adds all
 * contributions in rank order), then allgather. Small vectors: recursive doubling, lower ranks'
 * operand first. Both give the same bits on all ranks and from run to run. A world can have other
 * algorithms for other sizes, see lamina/tuning.h; what it has at creation holds.
 * LMN_REDUCTION_SUM_BF16 is always direct: every contribution is rounded to bf16 once, they are
 * added in f32 in rank order, and the owner rounds the (multiplied) sum to bf16 once, so that
 * every f32 in recv is a bf16 number. A NaN on any rank is the maximum.
 * Takes memory for about `capacity` numbers of other ranks.
 * Errors, the same on all ranks: LMN_ERR_MEMORY, LMN_ERR_DIVERGED (capacities or reductions
 * differ), LMN_ERR_ARGUMENT (no such reduction), LMN_ERR_UNSUPPORTED (MPI has no more tags),
 * LMN_ERR_COMM.
 * Method: R. Thakur, R. Rabenseifner, W. Gropp, IJHPCA 19 (2005) 49-66.
 */
lmn_status lmn_allreduce_create(lmn_world *world, lmn_reduction reduction, size_t capacity,
                                lmn_collective **allreduce_out, lmn_error *err) LMN_NODISCARD;

/**
 * Start recv = factor * sum over ranks of send, or the maximum. Collective; count and factor must
 * agree. Vectors hold the reduction's numbers in memory: f32 (also for bf16), int8_t, int16_t.
 * send    [count] borrowed and unchanged until finished; recv [count] must not overlap send
 * factor  1 except for sums of f32 and bf16
 * No heap allocation.
 * Errors: LMN_ERR_ARGUMENT (count above capacity, already running, vectors missing or overlapping,
 * a factor that is not allowed), LMN_ERR_COMM.
 */
lmn_status lmn_allreduce_start(lmn_collective *allreduce, const void *send, void *recv,
                               size_t count, float factor, lmn_error *err) LMN_NODISCARD;

/** Payload bytes that all ranks together send for one allreduce of `count` numbers, by the default
 *  choice of algorithm. */
uint64_t lmn_allreduce_bytes(lmn_reduction reduction, int size, size_t count);

/**
 * Every rank's message, of any length up to `capacity_bytes`, to every rank.
 * Collective over world (borrowed until destroy); capacity_bytes must agree. Holds world-size *
 * capacity_bytes of memory.
 * Errors, the same on all ranks: as lmn_allreduce_create, and LMN_ERR_ARGUMENT (capacity above
 * INT_MAX bytes).
 */
lmn_status lmn_allgatherv_create(lmn_world *world, size_t capacity_bytes,
                                 lmn_collective **allgatherv_out, lmn_error *err) LMN_NODISCARD;

/** Payload bytes that all ranks together send when their messages add up to `total_bytes`. */
uint64_t lmn_allgatherv_bytes(int size, uint64_t total_bytes);

/**
 * Start sending this rank's message. Collective; lengths may differ and may be 0.
 * message  [bytes] borrowed and unchanged until finished
 * No heap allocation. Errors: LMN_ERR_ARGUMENT (above the capacity, already running), on this rank
 * alone, which must then start again with a message that fits; LMN_ERR_COMM.
 */
lmn_status lmn_allgatherv_start(lmn_collective *allgatherv, const void *message, size_t bytes,
                                lmn_error *err) LMN_NODISCARD;

/**
 * The finished message of `rank` (this rank's own included), [*bytes_out] bytes, 8-byte aligned;
 * owned by the collective, valid until the next start. NULL and 0 bytes while it is not finished
 * and for a rank that does not exist.
 */
const void *lmn_allgatherv_message(const lmn_collective *allgatherv, int rank, size_t *bytes_out);

/**
 * From every rank a message of its own, of any length up to `capacity_bytes`, to every rank.
 * Collective over world (borrowed until destroy); capacity_bytes must agree. Holds (world size - 1)
 * * capacity_bytes of memory.
 * Errors, the same on all ranks: as lmn_allgatherv_create.
 */
lmn_status lmn_alltoallv_create(lmn_world *world, size_t capacity_bytes,
                                lmn_collective **alltoallv_out, lmn_error *err) LMN_NODISCARD;

/**
 * Start sending this rank's messages. Collective; lengths may differ and may be 0.
 * send     [offsets[size]] bytes, borrowed and unchanged until the next start; may be NULL when all
 *          messages are empty
 * offsets  [size + 1] bytes; rank j's message is send[offsets[j] .. offsets[j + 1]); copied
 * No heap allocation. Errors: LMN_ERR_ARGUMENT (a message above the capacity or of negative length,
 * already running), on this rank alone, which must then start again with messages that fit;
 * LMN_ERR_COMM.
 */
lmn_status lmn_alltoallv_start(lmn_collective *alltoallv, const void *send, const size_t *offsets,
                               lmn_error *err) LMN_NODISCARD;

/**
 * What `rank` sent to this one, [*bytes_out] bytes, 8-byte aligned; owned by the collective, valid
 * until the next start. This rank's own message is where the caller has it, inside send. NULL and 0
 * bytes while it is not finished and for a rank that does not exist; NULL, too, for the own message
 * of a send that is NULL.
 */
const void *lmn_alltoallv_message(const lmn_collective *alltoallv, int rank, size_t *bytes_out);

#ifdef __cplusplus
}
#endif

#endif

/*
 * Memory that the ranks of one node share, for reductions that stay inside it.
 *
 * Every rank has a segment, which all ranks of its node can read and write, and flags, which only
 * the rank itself raises and all others can look at without waiting. A flag holds the number of an
 * epoch, such as a step: raising it says that what this rank has written until then may be read.
 * Who sees the flag raised sees these writes. What a rank writes for the next epoch must not
 * overwrite what others still read, so readers raise flags as well when they are done.
 *
 * Between nodes, lmn_world_create_leaders (lamina/world.h) makes worlds of one rank of every node.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_NODE_H
#define LAMINA_NODE_H

#include "lamina/status.h"
#include "lamina/world.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_node_memory lmn_node_memory;

/**
 * A segment of `bytes` zeroed bytes and `n_flags` flags at epoch 0 for this rank. Segments may
 * differ in size, the number of flags must agree in the whole world.
 * Collective over the world, which is borrowed until destroy.
 * Errors, the same on all ranks: LMN_ERR_MEMORY, LMN_ERR_DIVERGED, LMN_ERR_UNSUPPORTED (the
 * processor or MPI cannot share memory coherently), LMN_ERR_COMM.
 * Method: shared windows of MPI-3; T. Hoefler et al., Computing 95 (2013) 1121-1136.
 */
lmn_status lmn_node_memory_create(lmn_world *world, size_t bytes, size_t n_flags,
                                  lmn_node_memory **memory_out, lmn_error *err) LMN_NODISCARD;

/** Collective over the ranks of the node. NULL is allowed. */
void lmn_node_memory_destroy(lmn_node_memory *memory);

/** The segment of a rank of this node, aligned to LMN_ALIGNMENT; owned by the memory. */
void *lmn_node_memory_segment(const lmn_node_memory *memory, int node_rank);

/** Bytes of that segment. */
size_t lmn_node_memory_bytes(const lmn_node_memory *memory, int node_rank);

/**
 * Raise this rank's flag to `epoch`, which must not be below what it is: all writes of this rank
 * before the call are there for who sees it. Never blocks.
 */
void lmn_node_memory_announce(lmn_node_memory *memory, size_t flag, uint64_t epoch);

/** Whether the rank's flag has reached `epoch`. Never blocks. */
bool lmn_node_memory_is_announced(const lmn_node_memory *memory, int node_rank, size_t flag,
                                  uint64_t epoch);

/** Whether all ranks of the node have. Never blocks. */
bool lmn_node_memory_all_announced(const lmn_node_memory *memory, size_t flag, uint64_t epoch);

/**
 * sum = the ranks' f32 first .. first + count - 1 of their segments, added in the order of node
 * ranks. All segments must hold them and be announced. Local.
 * sum  [count] must not overlap any segment, except that it may be these numbers of node rank 0's
 */
void lmn_node_memory_sum_f32(const lmn_node_memory *memory, size_t first, size_t count, float *sum);

#ifdef __cplusplus
}
#endif

#endif

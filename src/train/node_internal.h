/*
 * Two levels: dense sums inside a node, exchanges between one rank of every node.
 *
 * Bucket b is led by node rank b mod n_leaders on every node, where n_leaders is the number of
 * ranks of the smallest node, so that compressing and sending is shared by a node's cores. All
 * ranks of a node put their gradients into shared memory and raise the bucket's flag; the leader
 * adds them up in the order of node ranks, and their sum, scaled so that the mean over nodes is the
 * mean over all ranks, is the gradient that error feedback and compression see. Estimates lie in
 * the leader's shared memory, where the other ranks of the node read them in place. The last bucket
 * stays of one level: its verdict is that of every rank.
 *
 * What is written when, so that nobody reads what is being overwritten; an epoch is a step:
 *
 * - gradients: by their rank until it raises the bucket's flag. The leader reads them after the
 *   flags of all, and before it starts the last bucket. A rank writes the next ones after finish,
 *   which ends after the last bucket of all ranks.
 * - estimates: by the leader, after the bucket's flags of all, which are raised after begin. A rank
 *   reads them between finish and its next begin. That holds for a leader with nothing to say, too:
 *   it waits for the flags before it takes part.
 * - notes: by their rank before the flags `checked` and `settled`, and read after these flags and
 *   before finish ends. The next note is written after the last bucket of the next epoch.
 *
 * Method of shared memory: lamina/node.h. That the node is the worker of error feedback, with its
 * states spread over the leaders, is ours.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_NODE_INTERNAL_H
#define LAMINA_NODE_INTERNAL_H

#include "exchange_internal.h"
#include "lamina/node.h"

/* What a rank tells the others of its node, at the front of its segment. */
typedef struct lmn__note {
    uint64_t world_rank;
    uint64_t bucket; /* where `outcome` was found */
    lmn_error outcome;
    uint64_t message_bytes[]; /* [n_layers] of layers that this rank leads */
} lmn__note;

/* Flags behind those of the buckets. */
typedef enum lmn__node_flag {
    LMN__NODE_CHECKED,
    LMN__NODE_SETTLED,
    LMN__NODE_FLAGS
} lmn__node_flag;

struct lmn__node {
    lmn_world *leaders;      /* owned; NULL when this rank leads no bucket */
    lmn_node_memory *memory; /* owned */
    lmn__note **notes;       /* [node_size] owned; the memory is shared */
    uint64_t *world_ranks;   /* [node_count] owned; of the team */
    int rank, size;          /* inside the node */
    int n_leaders;           /* on every node */
    float share;             /* factor of the sum over a node's gradients */
    uint64_t epoch;          /* of the open or last step */
    uint64_t placement;      /* the same on all ranks: a hash of who is where */
};

/**
 * Whether there are two levels, and who leads. After it reducer->team is known but for its world.
 * lowest_size  ranks of the smallest node
 * Local. Errors: LMN_ERR_USAGE, LMN_ERR_MEMORY.
 */
lmn_status lmn__node_choose(lmn_reducer *reducer, const char *hierarchy, int lowest_size,
                            lmn_error *err) LMN_NODISCARD;

/** Ranks of the smallest node. Collective. */
lmn_status lmn__node_lowest_size(lmn_world *world, int *size_out, lmn_error *err) LMN_NODISCARD;

/** Worlds and shared memory, and where in it everything lies. Collective. */
lmn_status lmn__node_connect(lmn_reducer *reducer, lmn_error *err) LMN_NODISCARD;

/** Collective over the node, but after a failure of MPI. */
void lmn__node_destroy(lmn_reducer *reducer);

/** The levels and which rank is where, as text [capacity]. The same on all ranks. */
void lmn__node_describe(const lmn_reducer *reducer, char *text, size_t capacity);

/* The functions of a step may be called with one level, too, where they have nothing to do. */

void lmn__node_begin(lmn_reducer *reducer);

/** This rank's gradients of a bucket are final, or will never be. */
void lmn__node_announce(lmn_reducer *reducer, const lmn__bucket *bucket);

/** Whether those of all ranks of the node are. Never blocks. */
bool lmn__node_is_complete(const lmn_reducer *reducer, const lmn__bucket *bucket);

/** The gradients of a bucket that this rank leads and that is complete, added up. */
void lmn__node_sum(lmn_reducer *reducer, const lmn__bucket *bucket);

/** The rank of this node whose gradient of a layer holds NaN or infinity; -1 when none does, and
 *  their sum is too large. */
int lmn__node_find_nonfinite(const lmn_reducer *reducer, const lmn__layer *layer);

/**
 * Make what the leaders of this node found in their messages one outcome: that of the lowest
 * bucket. Waits for the node.
 * bucket, outcome  what this rank found, and where; replaced by the node's outcome
 * Errors: LMN_ERR_COMM.
 */
lmn_status lmn__node_agree(lmn_reducer *reducer, size_t bucket, lmn_error *outcome,
                           lmn_error *err) LMN_NODISCARD;

/** Wait until all estimates of this node are final. Errors: LMN_ERR_COMM. */
lmn_status lmn__node_settle(lmn_reducer *reducer, lmn_error *err) LMN_NODISCARD;

#endif

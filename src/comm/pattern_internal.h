/*
 * Who talks to whom: the arithmetic of the collectives, without MPI.
 *
 * Three patterns. Rotation: in step s every rank sends to the rank s above it, so no rank is the
 * target of two others in the same step. Recursive doubling: in round k, groups of 2^k ranks
 * exchange their sums with the neighbouring group; ranks beyond a power of two first fold into a
 * neighbour. Binomial tree: rank 0 is the root and each subtree is a row of neighbouring ranks.
 *
 * Method: R. Thakur, R. Rabenseifner, W. Gropp, IJHPCA 19 (2005) 49-66.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PATTERN_INTERNAL_H
#define LAMINA_PATTERN_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

/** The rank that `rank` sends to, or receives from, in step 1 .. size - 1 of a rotation. */
int lmn__rotation_target(int rank, int size, int step);
int lmn__rotation_source(int rank, int size, int step);

/**
 * The part of one rank in recursive doubling.
 * With size = 2^rounds + r, the ranks below 2 r pair up: the odd one hands its values to the even
 * one before the rounds and is handed the sum after them.
 */
typedef struct lmn__doubling {
    int n_rounds;
    int partner;    /* the other rank of the pair, -1 without one */
    bool is_folded; /* takes no part in the rounds; implies a partner */
} lmn__doubling;

lmn__doubling lmn__doubling_plan(int rank, int size);

/** The rank with which `rank`, which is not folded, exchanges in `round` 0 .. n_rounds - 1. */
int lmn__doubling_peer(int rank, int size, int round);

/** Messages that all ranks together send, each with the whole vector. */
uint64_t lmn__doubling_message_count(int size);

/** Children of `rank`, in the order of their ranks: index 0 .. lmn__tree_child_count - 1. */
int lmn__tree_child_count(int rank, int size);
int lmn__tree_child(int rank, int index);

/** The parent of `rank` >= 1. */
int lmn__tree_parent(int rank);

#endif

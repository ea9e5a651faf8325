/*
 * Who talks to whom: the arithmetic of the collectives, without MPI.
 *
 * Four patterns. Rotation: in step s every rank sends to the rank s above it, so no rank is the
 * target of two others in the same step. Recursive doubling: in round k, groups of 2^k ranks
 * exchange their sums with the neighbouring group; ranks beyond a power of two first fold into a
 * neighbour. Routes: hops that each rank makes one after the other, for a ring and for recursive
 * halving and doubling. Binomial tree: rank 0 is the root and each subtree is a row of neighbouring
 * ranks.
 *
 * Method: R. Thakur, R. Rabenseifner, W. Gropp, IJHPCA 19 (2005) 49-66.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PATTERN_INTERNAL_H
#define LAMINA_PATTERN_INTERNAL_H

#include "lamina/partition.h"

#include <stdbool.h>
#include <stddef.h>
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

/** Messages one after the other until every rank has the sum. */
int lmn__doubling_round_count(int size);

/** The rank with which `rank`, which is not folded, exchanges in `round` 0 .. n_rounds - 1. */
int lmn__doubling_peer(int rank, int size, int round);

/** Messages that all ranks together send, each with the whole vector. */
uint64_t lmn__doubling_message_count(int size);

/**
 * One hop of a rank on a route: a part of the vector goes out and another comes in. All hops of a
 * route send what earlier ones received; numbers that this rank has not touched leave from, or are
 * added to, its own contribution.
 */
typedef struct lmn__hop {
    int to;        /* rank that `out` goes to, -1 for none */
    int from;      /* rank that `in` comes from, -1 for none */
    lmn_range out; /* numbers of the vector */
    lmn_range in;  /* numbers of the vector */
    bool is_own;   /* out: still the own contribution */
    bool is_sum;   /* in: is added; otherwise it is finished and copied */
    bool is_first; /* in: is added to the own contribution */
    bool is_last;  /* in: with it the sum is complete */
    bool is_lower; /* in: the left operand, from lower ranks (on the ring: from earlier ones) */
    int after;     /* in: the earlier hop that sends these numbers out of the same place, or -1 */
} lmn__hop;

/**
 * Ring: each slice of lmn_partition goes round from rank to rank + 1 and is added up on the way,
 * slice j from rank j + 1 to rank j; then the finished slices go round. Index 0 .. 2 (size - 1)
 * - 1.
 */
int lmn__ring_hop_count(int size);
lmn__hop lmn__ring_hop(int rank, int size, size_t count, int index);

/**
 * Recursive halving and doubling: the rounds of recursive doubling, in which neighbouring groups
 * exchange halves of what they still have; then the same back. Ranks beyond a power of two hand
 * over the whole vector first. Adds in the same order as recursive doubling.
 */
int lmn__halving_hop_count(int size);
lmn__hop lmn__halving_hop(int rank, int size, size_t count, int index);

/** Numbers that all ranks together send by recursive halving and doubling. */
uint64_t lmn__halving_number_count(int size, size_t count);

/** Children of `rank`, in the order of their ranks: index 0 .. lmn__tree_child_count - 1. */
int lmn__tree_child_count(int rank, int size);
int lmn__tree_child(int rank, int index);

/** The parent of `rank` >= 1. */
int lmn__tree_parent(int rank);

#endif

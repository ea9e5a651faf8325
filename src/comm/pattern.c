/*
 * Who talks to whom: the arithmetic of the collectives, without MPI.
 *
 * In recursive doubling the ranks that take part are renumbered without gaps, in the order of their
 * ranks; peers differ in one bit of that number, and the lower number stands for lower ranks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "pattern_internal.h"

#include <assert.h>

int lmn__rotation_target(int rank, int size, int step)
{
    assert(step >= 1 && step < size);
    return rank < size - step ? rank + step : rank - (size - step);
}

int lmn__rotation_source(int rank, int size, int step)
{
    assert(step >= 1 && step < size);
    return rank >= step ? rank - step : rank + (size - step);
}

/* Rounds that the largest power of two <= size takes. */
static int round_count(int size)
{
    int n_rounds = 0;
    while (size >> (n_rounds + 1) > 0) {
        ++n_rounds;
    }
    return n_rounds;
}

static int folded_count(int size)
{
    return size - (1 << round_count(size));
}

lmn__doubling lmn__doubling_plan(int rank, int size)
{
    lmn__doubling plan = {.n_rounds = round_count(size), .partner = -1, .is_folded = false};
    if (rank < 2 * folded_count(size)) {
        plan.is_folded = rank % 2 == 1;
        plan.partner = plan.is_folded ? rank - 1 : rank + 1;
    }
    return plan;
}

int lmn__doubling_peer(int rank, int size, int round)
{
    const int n_folded = folded_count(size);
    const int number = rank < 2 * n_folded ? rank / 2 : rank - n_folded;
    const int peer = number ^ (1 << round);
    return peer < n_folded ? 2 * peer : peer + n_folded;
}

uint64_t lmn__doubling_message_count(int size)
{
    const uint64_t n_rounds = (uint64_t)round_count(size);
    const uint64_t n_folded = (uint64_t)folded_count(size);
    return (n_rounds << n_rounds) + 2 * n_folded;
}

int lmn__tree_child_count(int rank, int size)
{
    int count = 0;
    /* Bits below the lowest set bit of rank are free to number descendants. */
    while ((rank & (1 << count)) == 0 && 1 << count < size - rank) {
        ++count;
    }
    return count;
}

int lmn__tree_child(int rank, int index)
{
    return rank + (1 << index);
}

int lmn__tree_parent(int rank)
{
    assert(rank >= 1);
    return rank & (rank - 1);
}

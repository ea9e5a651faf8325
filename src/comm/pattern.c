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

int lmn__doubling_round_count(int size)
{
    return round_count(size) + (folded_count(size) > 0 ? 2 : 0);
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

static int wrapped(int rank, int size)
{
    return rank < 0 ? rank + size : rank;
}

int lmn__ring_hop_count(int size)
{
    return 2 * (size - 1);
}

lmn__hop lmn__ring_hop(int rank, int size, size_t count, int index)
{
    const bool is_sum = index < size - 1;
    /* How many ranks back the slice that goes out would be at home. */
    const int back = is_sum ? index + 1 : index - (size - 1);
    const int out = wrapped(rank - back, size);
    const int in = wrapped(out - 1, size);
    return (lmn__hop){.to = wrapped(rank + 1 - size, size),
                      .from = wrapped(rank - 1, size),
                      .out = lmn_partition(count, (size_t)size, (size_t)out),
                      .in = lmn_partition(count, (size_t)size, (size_t)in),
                      .is_own = index == 0,
                      .is_sum = is_sum,
                      .is_first = is_sum,
                      .is_last = index == size - 2,
                      .is_lower = true,
                      .after = is_sum || index == size - 1 ? -1 : index - (size - 1)};
}

int lmn__halving_hop_count(int size)
{
    return 2 * round_count(size) + (folded_count(size) > 0 ? 2 : 0);
}

/* What `number` is left with after `depth` halvings. */
static lmn_range halved(int number, size_t count, int depth)
{
    lmn_range range = {.first = 0, .count = count};
    for (int round = 0; round < depth; ++round) {
        const lmn_range half = lmn_partition(range.count, 2, (size_t)(number >> round & 1));
        range = (lmn_range){.first = range.first + half.first, .count = half.count};
    }
    return range;
}

/* Before the rounds the folded rank hands over the vector, after them it is handed the sum. */
static lmn__hop fold(const lmn__doubling *plan, size_t count, bool is_before)
{
    const lmn_range all = {.first = 0, .count = count};
    lmn__hop hop = {.to = -1, .from = -1, .after = -1, .out = all, .in = all};
    if (plan->is_folded == is_before) {
        hop.to = plan->partner;
        hop.is_own = is_before;
    } else {
        hop.from = plan->partner;
        hop.is_sum = is_before;
        hop.is_first = is_before;
    }
    return hop;
}

lmn__hop lmn__halving_hop(int rank, int size, size_t count, int index)
{
    const lmn__doubling plan = lmn__doubling_plan(rank, size);
    const int n_folded = folded_count(size);
    const int n_before = n_folded > 0 ? 1 : 0;
    const int step = index - n_before;
    if (step < 0 || step >= 2 * plan.n_rounds) {
        return fold(&plan, count, step < 0);
    }
    if (plan.is_folded) {
        return (lmn__hop){.to = -1, .from = -1, .after = -1};
    }
    const bool is_sum = step < plan.n_rounds;
    const int round = is_sum ? step : 2 * plan.n_rounds - 1 - step;
    const int number = rank < 2 * n_folded ? rank / 2 : rank - n_folded;
    const lmn_range own = halved(number, count, round + 1);
    const lmn_range other = halved(number ^ (1 << round), count, round + 1);
    const int peer = lmn__doubling_peer(rank, size, round);
    const bool is_own = round == 0 && plan.partner < 0;
    return (lmn__hop){.to = peer,
                      .from = peer,
                      .out = is_sum ? other : own,
                      .in = is_sum ? own : other,
                      .is_own = is_sum && is_own,
                      .is_sum = is_sum,
                      .is_first = is_sum && is_own,
                      .is_last = step == plan.n_rounds - 1,
                      .is_lower = peer < rank,
                      .after = is_sum || is_own ? -1 : n_before + round};
}

uint64_t lmn__halving_number_count(int size, size_t count)
{
    const uint64_t power = (uint64_t)1 << round_count(size);
    const uint64_t n_folded = (uint64_t)folded_count(size);
    return 2 * (power - 1 + n_folded) * count;
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

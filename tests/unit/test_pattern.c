/*
 * Patterns: for every number of ranks up to 64, each pattern is played with sets of ranks instead
 * of vectors, so that a value that is missing, counted twice or added out of order shows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm/pattern_internal.h"
#include "lamina/collective.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MAX_SIZE 64

/* The ranks whose values a partial sum holds, one bit each. */
typedef uint64_t rank_set;

static rank_set single(int rank)
{
    return (rank_set)1 << rank;
}

static rank_set all_ranks(int size)
{
    return size == MAX_SIZE ? ~(rank_set)0 : single(size) - 1;
}

static int lowest(rank_set set)
{
    int rank = 0;
    while ((set >> rank & 1) == 0) {
        ++rank;
    }
    return rank;
}

/* low + high: no rank twice, and together a row of neighbours with `low` first. */
static rank_set sum_in_order(rank_set low, rank_set high)
{
    assert_true((low & high) == 0);
    const rank_set sum = low | high;
    const rank_set row = sum >> lowest(sum);
    assert_true((row & (row + 1)) == 0);
    assert_true(lowest(low) < lowest(high));
    return sum;
}

static void rotation_every_size_meets_each_pair_once(void **state)
{
    (void)state;
    for (int size = 1; size <= MAX_SIZE; ++size) {
        for (int rank = 0; rank < size; ++rank) {
            rank_set met = single(rank);
            for (int step = 1; step < size; ++step) {
                const int target = lmn__rotation_target(rank, size, step);
                assert_in_range(target, 0, size - 1);
                assert_int_equal(lmn__rotation_source(target, size, step), rank);
                assert_true((met & single(target)) == 0);
                met |= single(target);
            }
            assert_true(met == all_ranks(size));
        }
    }
}

static void rotation_every_step_has_one_source_per_target(void **state)
{
    (void)state;
    for (int size = 2; size <= MAX_SIZE; ++size) {
        for (int step = 1; step < size; ++step) {
            rank_set targets = 0;
            for (int rank = 0; rank < size; ++rank) {
                targets |= single(lmn__rotation_target(rank, size, step));
            }
            assert_true(targets == all_ranks(size));
        }
    }
}

/* Folded ranks hand over; returns the number of messages. */
static uint64_t play_folding(int size, rank_set sums[])
{
    uint64_t n_messages = 0;
    for (int rank = 0; rank < size; ++rank) {
        const lmn__doubling plan = lmn__doubling_plan(rank, size);
        if (plan.is_folded) {
            assert_in_range(plan.partner, 0, size - 1);
            assert_int_equal(lmn__doubling_plan(plan.partner, size).partner, rank);
            assert_false(lmn__doubling_plan(plan.partner, size).is_folded);
            sums[plan.partner] = sum_in_order(sums[plan.partner], sums[rank]);
            sums[rank] = 0;
            ++n_messages;
        }
    }
    return n_messages;
}

static uint64_t play_round(int size, int round, const rank_set before[], rank_set after[])
{
    uint64_t n_messages = 0;
    for (int rank = 0; rank < size; ++rank) {
        if (lmn__doubling_plan(rank, size).is_folded) {
            continue;
        }
        const int peer = lmn__doubling_peer(rank, size, round);
        assert_in_range(peer, 0, size - 1);
        assert_false(lmn__doubling_plan(peer, size).is_folded);
        assert_int_equal(lmn__doubling_peer(peer, size, round), rank);
        after[rank] = peer < rank ? sum_in_order(before[peer], before[rank])
                                  : sum_in_order(before[rank], before[peer]);
        ++n_messages;
    }
    return n_messages;
}

static void doubling_every_size_gives_all_ranks_the_whole_sum(void **state)
{
    (void)state;
    for (int size = 1; size <= MAX_SIZE; ++size) {
        rank_set sums[MAX_SIZE];
        for (int rank = 0; rank < size; ++rank) {
            sums[rank] = single(rank);
        }
        const uint64_t n_folded = play_folding(size, sums);
        uint64_t n_messages = n_folded;
        for (int round = 0; round < lmn__doubling_plan(0, size).n_rounds; ++round) {
            rank_set next[MAX_SIZE] = {0};
            n_messages += play_round(size, round, sums, next);
            for (int rank = 0; rank < size; ++rank) {
                sums[rank] = next[rank];
            }
        }
        n_messages += n_folded; /* handing the sum back */
        for (int rank = 0; rank < size; ++rank) {
            const bool is_folded = lmn__doubling_plan(rank, size).is_folded;
            assert_true(sums[rank] == (is_folded ? 0 : all_ranks(size)));
        }
        assert_true(n_messages == lmn__doubling_message_count(size));
    }
}

/* The sum of the subtree of `rank`, children added in order. */
static rank_set play_tree(int rank, int size) /* NOLINT(misc-no-recursion): 6 levels */
{
    rank_set sum = single(rank);
    for (int i = 0; i < lmn__tree_child_count(rank, size); ++i) {
        const int child = lmn__tree_child(rank, i);
        assert_in_range(child, rank + 1, size - 1);
        assert_int_equal(lmn__tree_parent(child), rank);
        sum = sum_in_order(sum, play_tree(child, size));
    }
    return sum;
}

static void tree_every_size_sums_neighbours_to_rank_0(void **state)
{
    (void)state;
    for (int size = 1; size <= MAX_SIZE; ++size) {
        assert_true(play_tree(0, size) == all_ranks(size));
    }
}

static void tree_many_ranks_stays_shallow(void **state)
{
    (void)state;
    const int size = 100000;
    int depth = 0;
    for (int rank = size - 1; rank > 0; rank = lmn__tree_parent(rank)) {
        ++depth;
    }
    assert_in_range(depth, 1, 17);
    assert_int_equal(lmn__tree_child_count(0, size), 17);
}

/* One number for each rank's slice and a few more, so that slices differ in size. */
#define MAX_NUMBERS (MAX_SIZE + 3)

typedef lmn__hop (*route)(int rank, int size, size_t count, int index);

/* What every rank holds of every number, and what it would send. */
typedef struct routed {
    rank_set sums[MAX_SIZE][MAX_NUMBERS];
    rank_set before[MAX_SIZE][MAX_NUMBERS];
} routed;

/* Rank's hop brings the numbers that `from` holds before this hop. */
static void play_hop(routed *all, route hop_of, int rank, int size, size_t count, int index)
{
    const lmn__hop hop = hop_of(rank, size, count, index);
    if (hop.from < 0) {
        return;
    }
    const lmn__hop sent = hop_of(hop.from, size, count, index);
    assert_int_equal(sent.to, rank);
    assert_int_equal(sent.out.first, hop.in.first);
    assert_int_equal(sent.out.count, hop.in.count);
    for (size_t i = hop.in.first; i < hop.in.first + hop.in.count; ++i) {
        const rank_set came = all->before[hop.from][i];
        const rank_set own = all->before[rank][i];
        assert_true(sent.is_own == (came == single(hop.from)));
        if (!hop.is_sum) {
            assert_true(came == all_ranks(size));
            all->sums[rank][i] = came;
            continue;
        }
        assert_true((came & own) == 0);
        assert_true(!hop.is_first || own == single(rank));
        all->sums[rank][i] = came | own;
        assert_true(hop.is_last == (all->sums[rank][i] == all_ranks(size)));
        if (hop_of == lmn__halving_hop) {
            (void)sum_in_order(hop.is_lower ? came : own, hop.is_lower ? own : came);
        }
    }
}

static void play_route(route hop_of, int n_hops, int size, size_t count)
{
    static routed all;
    for (int rank = 0; rank < size; ++rank) {
        for (size_t i = 0; i < count; ++i) {
            all.sums[rank][i] = single(rank);
        }
    }
    for (int index = 0; index < n_hops; ++index) {
        memcpy(all.before, all.sums, sizeof all.before);
        for (int rank = 0; rank < size; ++rank) {
            play_hop(&all, hop_of, rank, size, count, index);
        }
    }
    for (int rank = 0; rank < size; ++rank) {
        for (size_t i = 0; i < count; ++i) {
            assert_true(all.sums[rank][i] == all_ranks(size));
        }
    }
}

/* What a hop overwrites in place has gone out on the hop that it names. */
static void check_overwriting(route hop_of, int n_hops, int size, size_t count)
{
    for (int rank = 0; rank < size; ++rank) {
        for (int index = 0; index < n_hops; ++index) {
            const lmn__hop hop = hop_of(rank, size, count, index);
            if (hop.from < 0 || hop.after < 0) {
                continue;
            }
            const lmn__hop earlier = hop_of(rank, size, count, hop.after);
            assert_true(!hop.is_sum && hop.after < index);
            assert_int_equal(earlier.out.first, hop.in.first);
            assert_int_equal(earlier.out.count, hop.in.count);
        }
    }
}

static void ring_every_size_sums_each_number_once_everywhere(void **state)
{
    (void)state;
    for (int size = 2; size <= MAX_SIZE; ++size) {
        const int n_hops = lmn__ring_hop_count(size);
        play_route(lmn__ring_hop, n_hops, size, (size_t)size + 3);
        check_overwriting(lmn__ring_hop, n_hops, size, (size_t)size + 3);
        play_route(lmn__ring_hop, n_hops, size, 1);
    }
}

static void halving_every_size_sums_each_number_once_everywhere(void **state)
{
    (void)state;
    for (int size = 2; size <= MAX_SIZE; ++size) {
        const int n_hops = lmn__halving_hop_count(size);
        play_route(lmn__halving_hop, n_hops, size, (size_t)size + 3);
        check_overwriting(lmn__halving_hop, n_hops, size, (size_t)size + 3);
        play_route(lmn__halving_hop, n_hops, size, 1);
    }
}

static void halving_number_count_equals_what_all_hops_send(void **state)
{
    (void)state;
    for (int size = 2; size <= MAX_SIZE; ++size) {
        uint64_t sent = 0;
        for (int rank = 0; rank < size; ++rank) {
            for (int index = 0; index < lmn__halving_hop_count(size); ++index) {
                const lmn__hop hop = lmn__halving_hop(rank, size, 1000, index);
                sent += hop.to >= 0 ? hop.out.count : 0;
            }
        }
        assert_true(sent == lmn__halving_number_count(size, 1000));
    }
}

static void allreduce_bytes_equals_hand_counts(void **state)
{
    (void)state;
    assert_true(lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, 1, 1000000) == 0);
    assert_true(lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, 4, 0) == 0);
    assert_true(lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, 2, 10) == 80); /* one exchange */
    assert_true(lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, 3, 10) ==
                160); /* in, one exchange, out */
    assert_true(lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, 4, 10) ==
                320); /* two rounds of two exchanges */
    assert_true(lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, 4, 4096) == 8 * (uint64_t)16384);
    /* Above 16 KiB: every element goes to its owner from 3 ranks and back to them. */
    assert_true(lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, 4, 4097) == 6 * (uint64_t)16388);
    assert_true(lmn_allreduce_bytes(LMN_REDUCTION_SUM_F32, 1000, (size_t)1 << 31) ==
                1998 * ((uint64_t)1 << 33));
}

static void allgatherv_bytes_equals_hand_counts(void **state)
{
    (void)state;
    assert_true(lmn_allgatherv_bytes(1, 100) == 0);
    assert_true(lmn_allgatherv_bytes(4, 100) == 300);
    assert_true(lmn_allgatherv_bytes(1000, (uint64_t)1 << 40) == (uint64_t)999 << 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotation_every_size_meets_each_pair_once),
        cmocka_unit_test(rotation_every_step_has_one_source_per_target),
        cmocka_unit_test(doubling_every_size_gives_all_ranks_the_whole_sum),
        cmocka_unit_test(tree_every_size_sums_neighbours_to_rank_0),
        cmocka_unit_test(tree_many_ranks_stays_shallow),
        cmocka_unit_test(ring_every_size_sums_each_number_once_everywhere),
        cmocka_unit_test(halving_every_size_sums_each_number_once_everywhere),
        cmocka_unit_test(halving_number_count_equals_what_all_hops_send),
        cmocka_unit_test(allreduce_bytes_equals_hand_counts),
        cmocka_unit_test(allgatherv_bytes_equals_hand_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

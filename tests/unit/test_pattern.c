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
        cmocka_unit_test(allreduce_bytes_equals_hand_counts),
        cmocka_unit_test(allgatherv_bytes_equals_hand_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

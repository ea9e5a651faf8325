/*
 * Memory shared inside a node, and worlds of one rank of every node.
 *
 * The ranks of this host are divided into nodes in every way that a test needs: all in one, in
 * twos, in alternation, and so that the last node is smaller.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_check.h"
#include "lamina/collective.h"
#include "lamina/memory.h"
#include "lamina/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

#define COUNT    5003
#define N_FLAGS  3
#define N_EPOCHS 300

static int first_rank(void)
{
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

static lmn_world *new_world(int node_color)
{
    lmn_world *world = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn__world_create_split(MPI_COMM_WORLD, NULL, node_color, &world, &err),
                     LMN_OK);
    return world;
}

static lmn_node_memory *new_memory(lmn_world *world, size_t bytes, size_t n_flags)
{
    lmn_node_memory *memory = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_node_memory_create(world, bytes, n_flags, &memory, &err), LMN_OK);
    return memory;
}

/* Polls; other processes may need this core. */
static void await_all(lmn_world *world, const lmn_node_memory *memory, size_t flag, uint64_t epoch)
{
    while (!lmn_node_memory_all_announced(memory, flag, epoch)) {
        int is_there = 0;
        MPI_Iprobe(MPI_ANY_SOURCE, 0, lmn_world_comm(world), &is_there, MPI_STATUS_IGNORE);
    }
}

static void split_world_numbers_nodes_by_their_lowest_rank(void **state)
{
    (void)state;
    const int rank = first_rank();
    lmn_world *world = new_world(rank % 2); /* nodes in alternation */
    const lmn_placement *place = lmn_world_placement(world);
    const int size = lmn_world_size(world);
    assert_int_equal(place->node, rank % 2);
    assert_int_equal(place->node_rank, rank / 2);
    assert_int_equal(place->node_size, (size + 1 - rank % 2) / 2);
    assert_int_equal(place->node_count, size > 1 ? 2 : 1);
    lmn_world_destroy(world);
}

static void segments_are_zeroed_aligned_and_as_large_as_their_rank_asked(void **state)
{
    (void)state;
    lmn_world *world = new_world(LMN__REAL_NODES);
    const int rank = lmn_world_rank(world);
    lmn_node_memory *memory = new_memory(world, (size_t)rank * 1000 + (size_t)rank % 2, N_FLAGS);
    for (int peer = 0; peer < lmn_world_size(world); ++peer) {
        const size_t bytes = lmn_node_memory_bytes(memory, peer);
        const unsigned char *data = lmn_node_memory_segment(memory, peer);
        assert_int_equal(bytes, (size_t)peer * 1000 + (size_t)peer % 2);
        assert_true((uintptr_t)data % LMN_ALIGNMENT == 0);
        for (size_t i = 0; i < bytes; ++i) {
            assert_int_equal(data[i], 0);
        }
        assert_true(lmn_node_memory_is_announced(memory, peer, 1, 0));
        assert_false(lmn_node_memory_is_announced(memory, peer, 1, 1));
    }
    lmn_node_memory_destroy(memory);
    lmn_world_destroy(world);
}

/* Numbers of a rank in an epoch: small enough that sums of all ranks are exact. */
static float number_of(int rank, uint64_t epoch, size_t i)
{
    return (float)((epoch * 7 + i * 3 + (uint64_t)rank * 11) % 1000);
}

static void check_epoch(const lmn_node_memory *memory, int n_ranks, uint64_t epoch)
{
    for (int rank = 0; rank < n_ranks; ++rank) {
        const float *numbers = lmn_node_memory_segment(memory, rank);
        for (size_t i = 0; i < COUNT; ++i) {
            assert_true(numbers[i] == number_of(rank, epoch, i));
        }
    }
}

/* Flag 0: written. Flag 1: read by this rank, so that others may write again. */
static void announced_writes_are_seen_epoch_after_epoch(void **state)
{
    (void)state;
    lmn_world *world = new_world(LMN__REAL_NODES);
    const int size = lmn_world_size(world);
    lmn_node_memory *memory = new_memory(world, COUNT * sizeof(float), N_FLAGS);
    float *mine = lmn_node_memory_segment(memory, lmn_world_placement(world)->node_rank);
    for (uint64_t epoch = 1; epoch <= N_EPOCHS; ++epoch) {
        await_all(world, memory, 1, epoch - 1);
        for (size_t i = 0; i < COUNT; ++i) {
            mine[i] = number_of(lmn_world_rank(world), epoch, i);
        }
        lmn_node_memory_announce(memory, 0, epoch);
        await_all(world, memory, 0, epoch);
        check_epoch(memory, size, epoch);
        lmn_node_memory_announce(memory, 1, epoch);
    }
    assert_false(lmn_node_memory_is_announced(memory, 0, 2, 1)); /* flags are apart */
    lmn_node_memory_destroy(memory);
    lmn_world_destroy(world);
}

static void sum_adds_in_the_order_of_node_ranks(void **state)
{
    (void)state;
    lmn_world *world = new_world(LMN__REAL_NODES);
    const int size = lmn_world_size(world);
    const int rank = lmn_world_rank(world);
    static float sum[COUNT];
    lmn_node_memory *memory = new_memory(world, COUNT * sizeof(float), N_FLAGS);
    float *mine = lmn_node_memory_segment(memory, rank);
    for (size_t i = 0; i < COUNT; ++i) {
        mine[i] = check_value(rank, i, 3);
    }
    lmn_node_memory_announce(memory, 0, 1);
    await_all(world, memory, 0, 1);
    lmn_node_memory_sum_f32(memory, 5, COUNT - 5, sum);
    for (size_t i = 5; i < COUNT; ++i) {
        float expected = check_value(0, i, 3);
        for (int peer = 1; peer < size; ++peer) {
            expected += check_value(peer, i, 3);
        }
        assert_memory_equal(&sum[i - 5], &expected, sizeof expected);
    }
    assert_int_equal(lmn_agree(world, LMN_OK, NULL), LMN_OK);
    if (rank == 0) {
        lmn_node_memory_sum_f32(memory, 0, COUNT, mine); /* in place */
        assert_memory_equal(mine + 5, sum, (COUNT - 5) * sizeof *sum);
    }
    lmn_node_memory_destroy(memory);
    lmn_world_destroy(world);
}

static void create_memory_different_flags_or_impossible_sizes_are_refused(void **state)
{
    (void)state;
    lmn_world *world = new_world(LMN__REAL_NODES);
    const int last = lmn_world_size(world) - 1;
    const bool is_last = lmn_world_rank(world) == last;
    lmn_node_memory *memory = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_node_memory_create(world, is_last ? SIZE_MAX / 2 : 64, 1, &memory, &err),
                     LMN_ERR_MEMORY);
    assert_int_equal(err.rank, last);
    if (last > 0) {
        assert_int_equal(lmn_node_memory_create(world, 64, is_last ? 2 : 1, &memory, &err),
                         LMN_ERR_DIVERGED);
        assert_non_null(strstr(err.message, "flags"));
    }
    assert_null(memory);
    lmn_world_destroy(world);
}

static void leaders_are_one_rank_of_every_node_numbered_like_the_nodes(void **state)
{
    (void)state;
    const int rank = first_rank();
    lmn_world *world = new_world(rank % 2);
    const lmn_placement *place = lmn_world_placement(world);
    const int size = lmn_world_size(world);
    for (int node_rank = 0; node_rank < size / 2; ++node_rank) { /* the smaller node's size */
        lmn_world *leaders = NULL;
        assert_int_equal(lmn_world_create_leaders(world, node_rank, &leaders, NULL), LMN_OK);
        assert_true((leaders != NULL) == (place->node_rank == node_rank));
        if (leaders != NULL) {
            assert_int_equal(lmn_world_size(leaders), place->node_count);
            assert_int_equal(lmn_world_rank(leaders), place->node);
            assert_int_equal(lmn_world_placement(leaders)->node_size, 1);
            assert_int_equal(lmn_world_placement(leaders)->node_count, place->node_count);
        }
        lmn_world_destroy(leaders);
    }
    lmn_world_destroy(world);
}

static void leaders_that_not_every_node_has_are_refused_everywhere(void **state)
{
    (void)state;
    const int rank = first_rank();
    lmn_world *world = new_world(rank == 0 ? 0 : 1); /* the first node has one rank */
    lmn_world *leaders = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_create_leaders(world, 1, &leaders, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(err.rank, 0);
    assert_non_null(strstr(err.message, "node 0"));
    assert_int_equal(lmn_world_create_leaders(world, -1, &leaders, &err), LMN_ERR_ARGUMENT);
    if (lmn_world_size(world) > 1) {
        assert_int_equal(lmn_world_create_leaders(world, rank == 0 ? 0 : 1, &leaders, &err),
                         LMN_ERR_DIVERGED);
    }
    assert_null(leaders);
    lmn_world_destroy(world);
}

/* The sum over all ranks by two levels: inside the node by its leader, between leaders, and back.
 */
static void check_two_levels(lmn_world *world)
{
    const lmn_placement *place = lmn_world_placement(world);
    const int size = lmn_world_size(world);
    lmn_world *leaders = NULL;
    lmn_collective *allreduce = NULL;
    assert_int_equal(lmn_world_create_leaders(world, 0, &leaders, NULL), LMN_OK);
    lmn_node_memory *memory = new_memory(world, sizeof(float[2 * COUNT]), N_FLAGS);
    float *mine = lmn_node_memory_segment(memory, place->node_rank);
    const float *result = (const float *)lmn_node_memory_segment(memory, 0) + COUNT;
    static float sum[COUNT];
    if (leaders != NULL) {
        assert_int_equal(
            lmn_allreduce_create(leaders, LMN_REDUCTION_SUM_F32, COUNT, &allreduce, NULL), LMN_OK);
    }
    for (uint64_t epoch = 1; epoch <= 20; ++epoch) {
        await_all(world, memory, 2, epoch - 1);
        for (size_t i = 0; i < COUNT; ++i) {
            mine[i] = number_of(lmn_world_rank(world), epoch, i);
        }
        lmn_node_memory_announce(memory, 0, epoch);
        if (leaders != NULL) {
            await_all(world, memory, 0, epoch);
            lmn_node_memory_sum_f32(memory, 0, COUNT, sum);
            assert_int_equal(lmn_allreduce_start(allreduce, sum, mine + COUNT, COUNT, 1.0F, NULL),
                             LMN_OK);
            assert_int_equal(lmn_collective_wait(allreduce, NULL), LMN_OK);
            lmn_node_memory_announce(memory, 1, epoch);
        }
        while (!lmn_node_memory_is_announced(memory, 0, 1, epoch)) {
        }
        for (size_t i = 0; i < COUNT; ++i) {
            float expected = 0.0F;
            for (int rank = 0; rank < size; ++rank) {
                expected += number_of(rank, epoch, i);
            }
            assert_true(result[i] == expected);
        }
        lmn_node_memory_announce(memory, 2, epoch);
    }
    lmn_collective_destroy(allreduce);
    lmn_node_memory_destroy(memory);
    lmn_world_destroy(leaders);
}

static void two_levels_equal_the_sum_over_all_ranks(void **state)
{
    (void)state;
    const int rank = first_rank();
    const int colors[] = {LMN__REAL_NODES, rank / 2, rank % 2, rank == 0 ? 0 : 1, rank};
    for (size_t i = 0; i < sizeof colors / sizeof colors[0]; ++i) {
        lmn_world *world = new_world(colors[i]);
        check_two_levels(world);
        lmn_world_destroy(world);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_world_numbers_nodes_by_their_lowest_rank),
        cmocka_unit_test(segments_are_zeroed_aligned_and_as_large_as_their_rank_asked),
        cmocka_unit_test(announced_writes_are_seen_epoch_after_epoch),
        cmocka_unit_test(sum_adds_in_the_order_of_node_ranks),
        cmocka_unit_test(create_memory_different_flags_or_impossible_sizes_are_refused),
        cmocka_unit_test(leaders_are_one_rank_of_every_node_numbered_like_the_nodes),
        cmocka_unit_test(leaders_that_not_every_node_has_are_refused_everywhere),
        cmocka_unit_test(two_levels_equal_the_sum_over_all_ranks),
    };
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return n_failed;
}

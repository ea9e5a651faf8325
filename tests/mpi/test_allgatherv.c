/*
 * Allgatherv on 1 to 4 ranks: every byte of every message is a function of its rank, round and
 * place, and so are the lengths, which are often 0 and sometimes all of the capacity.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm_check.h"
#include "lamina/collective.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

/* Byte i of what `rank` sends in `round`. */
static unsigned char byte_of(int rank, unsigned round, size_t i)
{
    return (unsigned char)(i * 3 + (size_t)rank * 101 + (size_t)round * 7);
}

/* Different on every rank and in every round; often 0, sometimes all of the capacity. */
static size_t length_of(int rank, unsigned round, size_t capacity)
{
    const size_t draw = ((size_t)rank + 1) * 2654435761U + (size_t)round * 40503U;
    switch (draw / 16 % 4) {
    case 0:
        return 0;
    case 1:
        return capacity;
    default:
        return draw % (capacity + 1);
    }
}

static void check_gathered(const lmn_collective *allgatherv, int rank, unsigned round,
                           size_t capacity)
{
    size_t bytes = SIZE_MAX;
    const unsigned char *message = lmn_allgatherv_message(allgatherv, rank, &bytes);
    assert_non_null(message);
    assert_true((uintptr_t)message % 8 == 0);
    assert_int_equal(bytes, length_of(rank, round, capacity));
    for (size_t i = 0; i < bytes; ++i) {
        assert_int_equal(message[i], byte_of(rank, round, i));
    }
}

/* One round without any barrier; returns the bytes of all ranks' messages. */
static uint64_t gather_round(const lmn_world *world, lmn_collective *allgatherv, unsigned round,
                             size_t capacity)
{
    static unsigned char message[65536];
    const int rank = lmn_world_rank(world);
    const size_t bytes = length_of(rank, round, capacity);
    for (size_t i = 0; i < bytes; ++i) {
        message[i] = byte_of(rank, round, i);
    }
    assert_int_equal(lmn_allgatherv_start(allgatherv, bytes > 0 ? message : NULL, bytes, NULL),
                     LMN_OK);
    assert_int_equal(lmn_collective_wait(allgatherv, NULL), LMN_OK);
    uint64_t total = 0;
    for (int peer = 0; peer < lmn_world_size(world); ++peer) {
        check_gathered(allgatherv, peer, round, capacity);
        total += length_of(peer, round, capacity);
    }
    return total;
}

static void check_gathering(lmn_world *world, size_t capacity, unsigned n_rounds)
{
    lmn_collective *allgatherv = check_new_allgatherv(world, capacity);
    uint64_t total = 0;
    for (unsigned round = 0; round < n_rounds; ++round) {
        total += gather_round(world, allgatherv, round, capacity);
    }
    const uint64_t sent = check_sum_of_bytes(world, lmn_collective_bytes_sent(allgatherv));
    assert_true(sent == lmn_allgatherv_bytes(lmn_world_size(world), total));
    lmn_collective_destroy(allgatherv);
}

static void allgatherv_any_lengths_arrive_everywhere(void **state)
{
    check_gathering(*state, 0, 3);
    check_gathering(*state, 1, 10);
    check_gathering(*state, 13, 60);
    check_gathering(*state, 65536, 30);
}

static void allgatherv_narrow_window_arrives_everywhere(void **state)
{
    lmn_world *world = *state;
    world->limits.window = 1;
    world->limits.part = 5; /* segments of 5 bytes */
    check_gathering(world, 13, 60);
    check_gathering(world, 65536, 20);
    world->limits = check_usual_limits();
}

/* Lengths of 0, 1, 2, ... segments and around, up to a capacity that is a multiple or is not. */
static void allgatherv_messages_of_whole_segments_arrive_everywhere(void **state)
{
    lmn_world *world = *state;
    for (int window = 1; window <= 64; window += 63) {
        world->limits.window = window;
        world->limits.segment = 1;
        check_gathering(world, 4, 60);
        world->limits.segment = 4;
        check_gathering(world, 12, 60);
        check_gathering(world, 13, 60);
        check_gathering(world, 4, 60);
        check_gathering(world, 3, 20);
    }
    world->limits = check_usual_limits();
}

static void allgatherv_unfinished_or_unknown_message_is_none(void **state)
{
    lmn_world *world = *state;
    size_t bytes = 5;
    lmn_collective *allgatherv = check_new_allgatherv(world, 8);
    assert_null(lmn_allgatherv_message(allgatherv, 0, &bytes));
    assert_int_equal(bytes, 0);
    assert_int_equal(lmn_allgatherv_start(allgatherv, "abc", 3, NULL), LMN_OK);
    assert_int_equal(lmn_collective_wait(allgatherv, NULL), LMN_OK);
    assert_non_null(lmn_allgatherv_message(allgatherv, 0, &bytes));
    assert_int_equal(bytes, 3);
    assert_null(lmn_allgatherv_message(allgatherv, -1, &bytes));
    assert_null(lmn_allgatherv_message(allgatherv, lmn_world_size(world), &bytes));
    assert_int_equal(bytes, 0);
    lmn_collective_destroy(allgatherv);
}

static void allgatherv_start_bad_message_is_refused(void **state)
{
    lmn_collective *allgatherv = check_new_allgatherv(*state, 8);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allgatherv_start(allgatherv, "123456789", 9, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "9 bytes"));
    assert_int_equal(lmn_allgatherv_start(allgatherv, NULL, 1, &err), LMN_ERR_ARGUMENT);
    float value = 1.0F;
    assert_int_equal(lmn_allreduce_start(allgatherv, &value, &value + 1, 1, 1.0F, &err),
                     LMN_ERR_ARGUMENT);
    lmn_collective_destroy(allgatherv);
}

static void allgatherv_create_above_an_mpi_message_is_refused_everywhere(void **state)
{
    lmn_world *world = *state;
    const int last = lmn_world_size(world) - 1;
    const size_t capacity = lmn_world_rank(world) == last ? (size_t)INT_MAX + 1 : 10;
    lmn_collective *made = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allgatherv_create(world, capacity, &made, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(err.rank, last);
    assert_non_null(strstr(err.message, "2147483648 bytes"));
    assert_null(made);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allgatherv_any_lengths_arrive_everywhere),
        cmocka_unit_test(allgatherv_narrow_window_arrives_everywhere),
        cmocka_unit_test(allgatherv_messages_of_whole_segments_arrive_everywhere),
        cmocka_unit_test(allgatherv_unfinished_or_unknown_message_is_none),
        cmocka_unit_test(allgatherv_start_bad_message_is_refused),
        cmocka_unit_test(allgatherv_create_above_an_mpi_message_is_refused_everywhere),
    };
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, check_world_create, check_world_destroy);
    MPI_Finalize();
    return n_failed;
}

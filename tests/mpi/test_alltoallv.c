/*
 * Alltoallv: every byte of every message is a function of its two ranks, round and place, and so
 * are the lengths, which are often 0 and sometimes all of the capacity.
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

#define MAX_CAPACITY 65536
/* Bytes before the first message: offsets need not begin at 0. */
#define LEAD 3

static unsigned char byte_of(int from, int to, unsigned round, size_t i)
{
    return (unsigned char)(i * 3 + (size_t)from * 101 + (size_t)to * 29 + (size_t)round * 7);
}

/* Different for every pair of ranks and in every round; often 0, sometimes all of the capacity. */
static size_t length_of(int from, int to, unsigned round, size_t capacity)
{
    const size_t pair = (size_t)from * CHECK_SIZE_MAX + (size_t)to + 1;
    const size_t draw = pair * 2654435761U + (size_t)round * 40503U;
    switch (draw / 16 % 4) {
    case 0:
        return 0;
    case 1:
        return capacity;
    default:
        return draw % (capacity + 1);
    }
}

static void check_received(const lmn_collective *alltoallv, int from, int to, unsigned round,
                           size_t capacity)
{
    size_t bytes = SIZE_MAX;
    const unsigned char *message = lmn_alltoallv_message(alltoallv, from, &bytes);
    assert_non_null(message);
    assert_true(from == to || (uintptr_t)message % 8 == 0);
    assert_int_equal(bytes, length_of(from, to, round, capacity));
    for (size_t i = 0; i < bytes; ++i) {
        assert_int_equal(message[i], byte_of(from, to, round, i));
    }
}

/* One round without any barrier; returns the bytes that this rank sends to others. */
static uint64_t exchange_round(const lmn_world *world, lmn_collective *alltoallv, unsigned round,
                               size_t capacity)
{
    static unsigned char send[LEAD + CHECK_SIZE_MAX * MAX_CAPACITY];
    size_t offsets[CHECK_SIZE_MAX + 1] = {LEAD};
    const int rank = lmn_world_rank(world);
    const int size = lmn_world_size(world);
    uint64_t sent = 0;
    for (int peer = 0; peer < size; ++peer) {
        const size_t bytes = length_of(rank, peer, round, capacity);
        for (size_t i = 0; i < bytes; ++i) {
            send[offsets[peer] + i] = byte_of(rank, peer, round, i);
        }
        offsets[peer + 1] = offsets[peer] + bytes;
        sent += peer != rank ? bytes : 0;
    }
    assert_int_equal(lmn_alltoallv_start(alltoallv, send, offsets, NULL), LMN_OK);
    memset(offsets, 0xFF, sizeof offsets); /* were copied */
    assert_int_equal(lmn_collective_wait(alltoallv, NULL), LMN_OK);
    for (int peer = 0; peer < size; ++peer) {
        check_received(alltoallv, peer, rank, round, capacity);
    }
    size_t bytes = 0;
    const unsigned char *own = lmn_alltoallv_message(alltoallv, rank, &bytes);
    assert_true(own >= send && own + bytes <= send + sizeof send);
    return sent;
}

static void check_exchange(lmn_world *world, size_t capacity, unsigned n_rounds)
{
    lmn_collective *alltoallv = check_new_alltoallv(world, capacity);
    uint64_t sent = 0;
    for (unsigned round = 0; round < n_rounds; ++round) {
        sent += exchange_round(world, alltoallv, round, capacity);
    }
    assert_true(lmn_collective_bytes_sent(alltoallv) == sent);
    lmn_collective_destroy(alltoallv);
}

static void alltoallv_any_lengths_arrive_where_they_should(void **state)
{
    check_exchange(*state, 0, 3);
    check_exchange(*state, 1, 10);
    check_exchange(*state, 13, 60);
    check_exchange(*state, MAX_CAPACITY, 10);
}

static void alltoallv_narrow_window_arrives_where_it_should(void **state)
{
    lmn_world *world = *state;
    world->limits.window = 1;
    world->limits.part = 5; /* segments of 5 bytes */
    check_exchange(world, 13, 60);
    check_exchange(world, MAX_CAPACITY, 10);
    world->limits = check_usual_limits();
}

static void alltoallv_nothing_from_nowhere_is_an_exchange_too(void **state)
{
    lmn_world *world = *state;
    const size_t offsets[CHECK_SIZE_MAX + 1] = {0};
    lmn_collective *alltoallv = check_new_alltoallv(world, 8);
    assert_int_equal(lmn_alltoallv_start(alltoallv, NULL, offsets, NULL), LMN_OK);
    assert_int_equal(lmn_collective_wait(alltoallv, NULL), LMN_OK);
    for (int peer = 0; peer < lmn_world_size(world); ++peer) {
        size_t bytes = 5;
        const void *message = lmn_alltoallv_message(alltoallv, peer, &bytes);
        assert_int_equal(bytes, 0);
        assert_true((message == NULL) == (peer == lmn_world_rank(world)));
    }
    assert_true(lmn_collective_bytes_sent(alltoallv) == 0);
    lmn_collective_destroy(alltoallv);
}

/* Lengths of 0, 1, 2, ... segments and around, up to a capacity that is a multiple or is not. */
static void alltoallv_messages_of_whole_segments_arrive_where_they_should(void **state)
{
    lmn_world *world = *state;
    for (int window = 1; window <= 64; window += 63) {
        world->limits.window = window;
        world->limits.segment = 1;
        check_exchange(world, 4, 60);
        world->limits.segment = 4;
        check_exchange(world, 12, 60);
        check_exchange(world, 13, 60);
        check_exchange(world, 4, 60);
        check_exchange(world, 3, 20);
    }
    world->limits = check_usual_limits();
}

static void alltoallv_unfinished_or_unknown_message_is_none(void **state)
{
    lmn_world *world = *state;
    const size_t offsets[CHECK_SIZE_MAX + 1] = {0};
    size_t bytes = 5;
    lmn_collective *alltoallv = check_new_alltoallv(world, 8);
    assert_null(lmn_alltoallv_message(alltoallv, 0, &bytes));
    assert_int_equal(bytes, 0);
    assert_int_equal(lmn_alltoallv_start(alltoallv, "abc", offsets, NULL), LMN_OK);
    assert_int_equal(lmn_collective_wait(alltoallv, NULL), LMN_OK);
    assert_non_null(lmn_alltoallv_message(alltoallv, 0, &bytes));
    assert_null(lmn_alltoallv_message(alltoallv, -1, &bytes));
    assert_null(lmn_alltoallv_message(alltoallv, lmn_world_size(world), &bytes));
    lmn_collective_destroy(alltoallv);
}

static void alltoallv_start_bad_messages_are_refused(void **state)
{
    lmn_world *world = *state;
    const int size = lmn_world_size(world);
    size_t offsets[CHECK_SIZE_MAX + 1] = {0};
    lmn_collective *alltoallv = check_new_alltoallv(world, 8);
    lmn_error err = lmn_error_none();
    offsets[size] = 9;
    assert_int_equal(lmn_alltoallv_start(alltoallv, "123456789", offsets, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "9 bytes"));
    offsets[size] = 1;
    assert_int_equal(lmn_alltoallv_start(alltoallv, NULL, offsets, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "NULL"));
    offsets[0] = 2;
    assert_int_equal(lmn_alltoallv_start(alltoallv, "123", offsets, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "before its begin"));
    assert_int_equal(lmn_allgatherv_start(alltoallv, "x", 1, &err), LMN_ERR_ARGUMENT);
    lmn_collective_destroy(alltoallv);
}

static void alltoallv_create_above_an_mpi_message_is_refused_everywhere(void **state)
{
    lmn_world *world = *state;
    const int last = lmn_world_size(world) - 1;
    const size_t capacity = lmn_world_rank(world) == last ? (size_t)INT_MAX + 1 : 10;
    lmn_collective *made = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_alltoallv_create(world, capacity, &made, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(err.rank, last);
    assert_non_null(strstr(err.message, "2147483648 bytes"));
    assert_null(made);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alltoallv_any_lengths_arrive_where_they_should),
        cmocka_unit_test(alltoallv_narrow_window_arrives_where_it_should),
        cmocka_unit_test(alltoallv_nothing_from_nowhere_is_an_exchange_too),
        cmocka_unit_test(alltoallv_messages_of_whole_segments_arrive_where_they_should),
        cmocka_unit_test(alltoallv_unfinished_or_unknown_message_is_none),
        cmocka_unit_test(alltoallv_start_bad_messages_are_refused),
        cmocka_unit_test(alltoallv_create_above_an_mpi_message_is_refused_everywhere),
    };
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, check_world_create, check_world_destroy);
    MPI_Finalize();
    return n_failed;
}

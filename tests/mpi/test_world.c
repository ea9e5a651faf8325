/*
 * The world on 1 to 4 ranks: communicators, placement, agreement, and the small blocking reductions
 * against sums formed on one rank alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm/comm_internal.h"
#include "comm_check.h"
#include "lamina/world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

#define MAX_COUNT 10000

static int create_world(void **state)
{
    lmn_world *world = NULL;
    if (lmn_world_create(MPI_COMM_WORLD, NULL, &world, NULL) != LMN_OK) {
        return -1;
    }
    *state = world;
    return 0;
}

static int destroy_world(void **state)
{
    lmn_world_destroy(*state);
    return 0;
}

/* f64 of mixed sign and size, so that another order of addition gives other bits. */
static double value_of(int rank, size_t i)
{
    const uint64_t mixed = (i * 31 + (uint64_t)rank + 1) * UINT64_C(0x9E3779B97F4A7C15);
    const double unit = (double)(mixed >> 11) / 9007199254740992.0 - 0.5;
    return (mixed & 3) == 0 ? unit * 1e9 : unit;
}

static void create_world_numbers_ranks_as_the_communicator(void **state)
{
    const lmn_world *world = *state;
    int rank = -1;
    int size = -1;
    int result = MPI_UNEQUAL;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_compare(MPI_COMM_WORLD, lmn_world_comm(world), &result);
    assert_int_equal(lmn_world_rank(world), rank);
    assert_int_equal(lmn_world_size(world), size);
    assert_int_equal(result, MPI_CONGRUENT); /* same ranks, another context */
    assert_null(lmn_world_log(world));
}

static void create_world_leaves_the_callers_error_handler(void **state)
{
    (void)state;
    MPI_Errhandler handler = MPI_ERRHANDLER_NULL;
    MPI_Comm_get_errhandler(MPI_COMM_WORLD, &handler);
    assert_true(handler == MPI_ERRORS_ARE_FATAL);
}

static void own_communicators_return_their_errors(void **state)
{
    const lmn_world *world = *state;
    const MPI_Comm comms[] = {lmn_world_comm(world), lmn_world_node_comm(world),
                              lmn_world_leader_comm(world)};
    for (size_t i = 0; i < sizeof comms / sizeof comms[0]; ++i) {
        if (comms[i] != MPI_COMM_NULL) {
            MPI_Errhandler handler = MPI_ERRHANDLER_NULL;
            MPI_Comm_get_errhandler(comms[i], &handler);
            assert_true(handler == MPI_ERRORS_RETURN);
        }
    }
}

static void create_world_null_communicator_is_refused(void **state)
{
    (void)state;
    lmn_world *world = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_create(MPI_COMM_NULL, NULL, &world, &err), LMN_ERR_ARGUMENT);
    assert_null(world);
    assert_non_null(strstr(err.message, "MPI_COMM_NULL"));
}

static void create_world_intercommunicator_is_refused(void **state)
{
    const lmn_world *parent = *state;
    if (lmn_world_size(parent) < 2) {
        return;
    }
    MPI_Comm half = MPI_COMM_NULL;
    MPI_Comm inter = MPI_COMM_NULL;
    const int is_upper = lmn_world_rank(parent) > 0;
    MPI_Comm_split(MPI_COMM_WORLD, is_upper, 0, &half);
    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, is_upper ? 0 : 1, 7, &inter);
    lmn_world *world = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_create(inter, NULL, &world, &err), LMN_ERR_ARGUMENT);
    assert_null(world);
    assert_non_null(strstr(err.message, "intercommunicator"));
    MPI_Comm_free(&inter);
    MPI_Comm_free(&half);
}

static void count_lines(void *user, lmn_log_level level, const char *line)
{
    int *count = user;
    assert_int_equal(level, LMN_LOG_DEBUG);
    assert_non_null(strstr(line, "ranks"));
    ++*count;
}

static void create_world_logs_one_line_on_rank_0(void **state)
{
    (void)state;
    int n_lines = 0;
    const lmn_logger log = {.level = LMN_LOG_DEBUG, .write = count_lines, .user = &n_lines};
    lmn_world *world = NULL;
    assert_int_equal(lmn_world_create(MPI_COMM_WORLD, &log, &world, NULL), LMN_OK);
    assert_ptr_equal(lmn_world_log(world), &log);
    assert_int_equal(n_lines, lmn_world_rank(world) == 0 ? 1 : 0);
    lmn_world_destroy(world);
}

/* Tests run on one host; several are the business of tests/cluster. */
static void placement_one_host_is_one_node_led_by_rank_0(void **state)
{
    const lmn_world *world = *state;
    const lmn_placement *place = lmn_world_placement(world);
    int node_size = -1;
    MPI_Comm_size(lmn_world_node_comm(world), &node_size);
    assert_int_equal(place->rank, lmn_world_rank(world));
    assert_int_equal(place->node, 0);
    assert_int_equal(place->node_count, 1);
    assert_int_equal(place->node_rank, lmn_world_rank(world));
    assert_int_equal(place->node_size, lmn_world_size(world));
    assert_int_equal(node_size, lmn_world_size(world));
    assert_true((lmn_world_leader_comm(world) != MPI_COMM_NULL) == (lmn_world_rank(world) == 0));
}

static void gather_placements_rank_0_has_them_in_order(void **state)
{
    lmn_world *world = *state;
    lmn_placement places[8] = {0};
    assert_in_range(lmn_world_size(world), 1, 8);
    lmn_placement *out = lmn_world_rank(world) == 0 ? places : NULL;
    assert_int_equal(lmn_world_gather_placements(world, out, NULL), LMN_OK);
    for (int rank = 0; out != NULL && rank < lmn_world_size(world); ++rank) {
        assert_int_equal(out[rank].rank, rank);
        assert_int_equal(out[rank].node_rank, rank);
        assert_string_equal(out[rank].host, lmn_world_placement(world)->host);
    }
}

static void agree_all_well_leaves_the_error_alone(void **state)
{
    lmn_error err = lmn_error_none();
    (void)snprintf(err.message, sizeof err.message, "mine");
    assert_int_equal(lmn_agree(*state, LMN_OK, &err), LMN_OK);
    assert_string_equal(err.message, "mine");
    assert_int_equal(lmn_agree(*state, LMN_OK, NULL), LMN_OK);
}

/* The ranks of `failing` fail, each with words and a status of its own. */
static void check_agreement(lmn_world *world, unsigned failing, int lowest)
{
    static const lmn_status own_status[] = {LMN_ERR_IO, LMN_ERR_MEMORY, LMN_ERR_FORMAT,
                                            LMN_ERR_SHAPE};
    const int rank = lmn_world_rank(world);
    lmn_error err = lmn_error_none();
    lmn_status status = LMN_OK;
    if ((failing >> rank & 1U) != 0) {
        status = lmn_error_set(&err, own_status[rank % 4], "rank %d stumbled", rank);
    }
    char expected[32];
    (void)snprintf(expected, sizeof expected, "rank %d stumbled", lowest);
    assert_int_equal(lmn_agree(world, status, &err), own_status[lowest % 4]);
    assert_int_equal(err.status, own_status[lowest % 4]);
    assert_int_equal(err.rank, lowest);
    assert_string_equal(err.message, expected);
}

static void agree_any_set_of_failing_ranks_reports_the_lowest(void **state)
{
    lmn_world *world = *state;
    for (unsigned failing = 1; failing < 1U << lmn_world_size(world); ++failing) {
        int lowest = 0;
        while ((failing >> lowest & 1U) == 0) {
            ++lowest;
        }
        check_agreement(world, failing, lowest);
    }
}

static void agree_failure_without_a_message_sends_the_statuss_text(void **state)
{
    lmn_world *world = *state;
    const int last = lmn_world_size(world) - 1;
    const int is_failing = lmn_world_rank(world) == last;
    lmn_error err = lmn_error_none();
    const lmn_status agreed =
        lmn_agree(world, is_failing ? LMN_ERR_IO : LMN_OK, is_failing ? NULL : &err);
    assert_int_equal(agreed, LMN_ERR_IO);
    if (!is_failing) {
        assert_string_equal(err.message, lmn_status_text(LMN_ERR_IO));
        assert_int_equal(err.rank, last);
    }
}

static void agree_stale_message_of_another_status_is_not_sent(void **state)
{
    lmn_error err = lmn_error_none();
    (void)lmn_error_set(&err, LMN_ERR_USAGE, "old news");
    assert_int_equal(lmn_agree(*state, LMN_ERR_IO, &err), LMN_ERR_IO);
    assert_string_equal(err.message, lmn_status_text(LMN_ERR_IO));
}

static void agree_twice_keeps_the_first_failing_rank(void **state)
{
    lmn_world *world = *state;
    const int last = lmn_world_size(world) - 1;
    lmn_error err = lmn_error_none();
    lmn_status status = LMN_OK;
    if (lmn_world_rank(world) == last) {
        status = lmn_error_set(&err, LMN_ERR_IO, "disk of the last rank");
    }
    status = lmn_agree(world, status, &err);
    assert_int_equal(lmn_agree(world, status, &err), LMN_ERR_IO);
    assert_int_equal(err.rank, last);
    assert_string_equal(err.message, "disk of the last rank");
}

static void check_same_equal_values_pass(void **state)
{
    const uint64_t values[] = {0, 1, UINT64_MAX, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; ++i) {
        assert_int_equal(lmn_world_check_same(*state, "the value", values[i], NULL), LMN_OK);
    }
}

static void check_same_one_rank_differs_is_reported_everywhere(void **state)
{
    lmn_world *world = *state;
    const int size = lmn_world_size(world);
    for (int odd = 0; odd < size && size > 1; ++odd) {
        lmn_error err = lmn_error_none();
        const uint64_t value = lmn_world_rank(world) == odd ? UINT64_MAX : 41;
        assert_int_equal(lmn_world_check_same(world, "the seed", value, &err), LMN_ERR_DIVERGED);
        /* Compared with rank 0: when that is the odd one, rank 1 speaks. */
        assert_int_equal(err.rank, odd == 0 ? 1 : odd);
        assert_non_null(strstr(err.message, "the seed"));
        assert_non_null(strstr(err.message, "41"));
        assert_non_null(strstr(err.message, "18446744073709551615"));
    }
}

static void check_broadcast(lmn_world *world, size_t bytes, int root)
{
    unsigned char data[1001];
    const int is_root = lmn_world_rank(world) == root;
    for (size_t i = 0; i < sizeof data; ++i) {
        data[i] = (unsigned char)(is_root ? i * 7 + (size_t)root : 255);
    }
    assert_int_equal(lmn_world_broadcast(world, data, bytes, root, NULL), LMN_OK);
    for (size_t i = 0; i < sizeof data; ++i) {
        const size_t sent = i < bytes || is_root ? i * 7 + (size_t)root : 255;
        assert_int_equal(data[i], sent & 255);
    }
}

static void broadcast_any_root_and_length_copies_exactly(void **state)
{
    lmn_world *world = *state;
    const size_t lengths[] = {0, 1, 7, 1000};
    for (int root = 0; root < lmn_world_size(world); ++root) {
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; ++i) {
            check_broadcast(world, lengths[i], root);
        }
    }
}

static void broadcast_above_the_limit_of_a_message_goes_in_parts(void **state)
{
    lmn_world *world = *state;
    const size_t before = world->limits.part;
    world->limits.part = 7;
    check_broadcast(world, 6, 0);
    check_broadcast(world, 7, 0);
    check_broadcast(world, 1000, lmn_world_size(world) - 1);
    world->limits.part = before;
}

static void broadcast_root_out_of_range_is_a_status(void **state)
{
    int data = 5;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_broadcast(*state, &data, sizeof data, 99, &err), LMN_ERR_COMM);
    assert_int_equal(err.status, LMN_ERR_COMM);
    assert_non_null(strstr(err.message, "rank 99"));
    check_tells_of(&err, MPI_ERR_ROOT);
    assert_int_equal(lmn_world_broadcast(*state, &data, 0, -1, NULL), LMN_ERR_COMM);
}

/* The sum as the header promises it: halves of the ranks, lower ranks first. */
static double sum_of_ranks(int first, int count, int span, size_t i) /* NOLINT(misc-no-recursion) */
{
    if (count == 1) {
        return value_of(first, i);
    }
    const int half = span / 2;
    if (count <= half) {
        return sum_of_ranks(first, count, half, i);
    }
    return sum_of_ranks(first, half, half, i) + sum_of_ranks(first + half, count - half, half, i);
}

static void sum_f64_any_count_equals_the_tree_to_the_bit(void **state)
{
    lmn_world *world = *state;
    static double values[MAX_COUNT];
    const size_t counts[] = {0, 1, 2, 4095, 4096, 4097, MAX_COUNT};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; ++c) {
        for (size_t i = 0; i < MAX_COUNT; ++i) {
            values[i] = value_of(lmn_world_rank(world), i);
        }
        assert_int_equal(lmn_world_sum_f64(world, values, counts[c], NULL), LMN_OK);
        for (size_t i = 0; i < MAX_COUNT; ++i) {
            const double expected = i < counts[c] ? sum_of_ranks(0, lmn_world_size(world), 64, i)
                                                  : value_of(lmn_world_rank(world), i);
            assert_memory_equal(&values[i], &expected, sizeof expected);
        }
    }
}

static void sum_u64_is_exact_and_wraps(void **state)
{
    lmn_world *world = *state;
    const uint64_t size = (uint64_t)lmn_world_size(world);
    const uint64_t rank = (uint64_t)lmn_world_rank(world);
    world->limits.part = 2; /* several reductions */
    uint64_t values[] = {1, rank, (UINT64_C(1) << 53) + 1, UINT64_MAX, 0};
    assert_int_equal(lmn_world_sum_u64(world, values, 5, NULL), LMN_OK);
    world->limits.part = LMN__PART_LIMIT;
    assert_true(values[0] == size);
    assert_true(values[1] == size * (size - 1) / 2);
    assert_true(values[2] == size * ((UINT64_C(1) << 53) + 1));
    assert_true(values[3] == 0 - size);
    assert_true(values[4] == 0);
}

static void max_u64_finds_the_largest_of_each(void **state)
{
    lmn_world *world = *state;
    const uint64_t size = (uint64_t)lmn_world_size(world);
    const uint64_t rank = (uint64_t)lmn_world_rank(world);
    uint64_t values[] = {rank, size - rank, rank == 0 ? UINT64_MAX : 0};
    assert_int_equal(lmn_world_max_u64(world, values, 3, NULL), LMN_OK);
    assert_true(values[0] == size - 1);
    assert_true(values[1] == size);
    assert_true(values[2] == UINT64_MAX);
    assert_int_equal(lmn_world_max_u64(world, NULL, 0, NULL), LMN_OK);
}

static void two_worlds_of_split_ranks_do_not_meet(void **state)
{
    lmn_world *whole = *state;
    const int rank = lmn_world_rank(whole);
    MPI_Comm half = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half); /* in descending order */
    lmn_world *part = NULL;
    assert_int_equal(lmn_world_create(half, NULL, &part, NULL), LMN_OK);
    MPI_Comm_free(&half); /* the world has its own */
    uint64_t ranks = (uint64_t)rank;
    uint64_t n_odd = (uint64_t)(rank % 2);
    assert_int_equal(lmn_world_sum_u64(part, &n_odd, 1, NULL), LMN_OK);
    assert_int_equal(lmn_world_sum_u64(whole, &ranks, 1, NULL), LMN_OK);
    assert_true(n_odd == (uint64_t)(rank % 2 == 1 ? lmn_world_size(part) : 0));
    assert_true(ranks == (uint64_t)(lmn_world_size(whole) * (lmn_world_size(whole) - 1) / 2));
    assert_int_equal(lmn_world_placement(part)->node_rank, lmn_world_rank(part));
    lmn_world_destroy(part);
}

/* All ranks of this test have one clock: its host's. */
static void compare_clocks_ranks_of_a_node_share_theirs(void **state)
{
    lmn_clock_offset offset = {.seconds = 1.0, .error = 1.0};
    assert_int_equal(lmn_world_compare_clocks(*state, &offset, NULL), LMN_OK);
    assert_true(offset.seconds >= 0.0 && offset.seconds <= 0.0);
    assert_true(offset.error >= 0.0 && offset.error <= 0.0);
}

/* Where each rank is a node of its own, the distance is measured; the true one is 0. */
static void compare_clocks_of_nodes_is_off_by_no_more_than_it_says(void **state)
{
    (void)state;
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    lmn_world *apart = NULL;
    assert_int_equal(lmn__world_create_split(MPI_COMM_WORLD, NULL, rank, &apart, NULL), LMN_OK);
    for (int i = 0; i < 3; i++) {
        lmn_clock_offset offset = {0};
        assert_int_equal(lmn_world_compare_clocks(apart, &offset, NULL), LMN_OK);
        assert_true(fabs(offset.seconds) <= offset.error);
        assert_true(rank == 0 ? offset.error <= 0.0 : offset.error > 0.0);
    }
    lmn_world_destroy(apart);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_world_numbers_ranks_as_the_communicator),
        cmocka_unit_test(create_world_leaves_the_callers_error_handler),
        cmocka_unit_test(own_communicators_return_their_errors),
        cmocka_unit_test(create_world_null_communicator_is_refused),
        cmocka_unit_test(create_world_intercommunicator_is_refused),
        cmocka_unit_test(create_world_logs_one_line_on_rank_0),
        cmocka_unit_test(placement_one_host_is_one_node_led_by_rank_0),
        cmocka_unit_test(gather_placements_rank_0_has_them_in_order),
        cmocka_unit_test(agree_all_well_leaves_the_error_alone),
        cmocka_unit_test(agree_any_set_of_failing_ranks_reports_the_lowest),
        cmocka_unit_test(agree_failure_without_a_message_sends_the_statuss_text),
        cmocka_unit_test(agree_stale_message_of_another_status_is_not_sent),
        cmocka_unit_test(agree_twice_keeps_the_first_failing_rank),
        cmocka_unit_test(check_same_equal_values_pass),
        cmocka_unit_test(check_same_one_rank_differs_is_reported_everywhere),
        cmocka_unit_test(broadcast_any_root_and_length_copies_exactly),
        cmocka_unit_test(broadcast_above_the_limit_of_a_message_goes_in_parts),
        cmocka_unit_test(broadcast_root_out_of_range_is_a_status),
        cmocka_unit_test(sum_f64_any_count_equals_the_tree_to_the_bit),
        cmocka_unit_test(sum_u64_is_exact_and_wraps),
        cmocka_unit_test(max_u64_finds_the_largest_of_each),
        cmocka_unit_test(two_worlds_of_split_ranks_do_not_meet),
        cmocka_unit_test(compare_clocks_ranks_of_a_node_share_theirs),
        cmocka_unit_test(compare_clocks_of_nodes_is_off_by_no_more_than_it_says),
    };
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, create_world, destroy_world);
    MPI_Finalize();
    return n_failed;
}

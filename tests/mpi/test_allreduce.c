/*
 * Allreduce on 1 to 4 ranks.
 *
 * Every rank can compute every other rank's input, so the expected sum is formed without any
 * message and compared to the bit. Lowered limits (see comm_internal.h) drive each algorithm
 * through each length, messages through many parts and streams through a window of one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm/allreduce_internal.h"
#include "comm_check.h"
#include "lamina/collective.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

#define MAX_COUNT 100003

static uint64_t expected_bytes(const lmn_world *world, size_t count)
{
    return lmn_world_size(world) == 1 ? 0
                                      : lmn__choice_bytes(check_algorithm(world, count),
                                                          lmn__arithmetic_of(LMN_REDUCTION_SUM_F32),
                                                          lmn_world_size(world), count);
}

static void check_count(lmn_world *world, lmn_collective *allreduce, size_t count, unsigned seed)
{
    check_vectors made = check_new_vectors(world, count, seed);
    const uint64_t before = lmn_collective_bytes_sent(allreduce);
    check_start(allreduce, &made);
    assert_int_equal(lmn_collective_wait(allreduce, NULL), LMN_OK);
    assert_int_equal(lmn_collective_progress(allreduce, NULL), LMN_OK);
    const uint64_t sent = lmn_collective_bytes_sent(allreduce) - before;
    assert_true(check_sum_of_bytes(world, sent) == expected_bytes(world, count));
    check_vectors_summed(world, &made);
}

/* Every interesting count up to max_count with these limits, through one allreduce. */
static void check_counts(lmn_world *world, lmn__limits limits, size_t max_count)
{
    const size_t size = (size_t)lmn_world_size(world);
    const size_t counts[] = {0,    1,    2,    3,    size - 1,         size, size + 1, 101,
                             4095, 4096, 4097, 4099, (size_t)MAX_COUNT};
    world->limits = limits;
    lmn_collective *allreduce = check_new_allreduce(world, max_count);
    for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; ++i) {
        if (counts[i] <= max_count) {
            check_count(world, allreduce, counts[i], i);
        }
    }
    lmn_collective_destroy(allreduce);
    world->limits = check_usual_limits();
}

static void allreduce_any_count_equals_the_serial_sum(void **state)
{
    check_counts(*state, check_usual_limits(), MAX_COUNT);
}

static void allreduce_small_capacity_equals_the_serial_sum(void **state)
{
    check_counts(*state, check_usual_limits(), 101);
}

static void allreduce_always_direct_equals_the_serial_sum(void **state)
{
    lmn__limits limits = check_usual_limits();
    limits.doubling_bytes = 0;
    check_counts(*state, limits, MAX_COUNT);
}

static void allreduce_always_doubling_equals_the_serial_sum(void **state)
{
    lmn__limits limits = check_usual_limits();
    limits.doubling_bytes = (size_t)1 << 24;
    check_counts(*state, limits, MAX_COUNT);
}

static void allreduce_in_parts_through_a_narrow_window_equals_the_serial_sum(void **state)
{
    const lmn__limits limits = {.part = 7, .doubling_bytes = 0, .segment = 500, .window = 1};
    check_counts(*state, limits, 4099);
}

/* Pieces of a few numbers each, several under way, and each stream waits for the one before. */
static void allreduce_in_many_pieces_equals_the_serial_sum(void **state)
{
    lmn__limits limits = check_usual_limits();
    limits.doubling_bytes = 0;
    limits.segment = 64;
    check_counts(*state, limits, 4099);
    limits.window = 1;
    check_counts(*state, limits, 4099);
    limits.segment = 1;
    check_counts(*state, limits, 101);
    limits.segment = 100000;
    check_counts(*state, limits, MAX_COUNT);
}

/* Every algorithm at every size, whole and in segments of a few numbers. */
static void check_algorithm_at_counts(lmn_world *world, lmn_allreduce_algorithm algorithm)
{
    lmn_allreduce_table table;
    lmn_allreduce_table_fill(&table, algorithm);
    assert_int_equal(lmn_allreduce_set_table(world, &table, NULL), LMN_OK);
    lmn__limits limits = check_usual_limits();
    check_counts(world, limits, MAX_COUNT);
    limits.segment = 4096;
    check_counts(world, limits, MAX_COUNT);
    limits.segment = 24;
    check_counts(world, limits, 4099);
    limits.segment = 1;
    check_counts(world, limits, 101);
    assert_int_equal(lmn_allreduce_set_table(world, NULL, NULL), LMN_OK);
}

static void allreduce_by_ring_equals_the_serial_sum(void **state)
{
    check_algorithm_at_counts(*state, LMN_ALLREDUCE_RING);
}

static void allreduce_by_halving_equals_the_serial_sum(void **state)
{
    check_algorithm_at_counts(*state, LMN_ALLREDUCE_HALVING);
}

static void allreduce_repeated_gives_the_same_bits(void **state)
{
    lmn_world *world = *state;
    static float first[MAX_COUNT];
    lmn_collective *allreduce = check_new_allreduce(world, MAX_COUNT);
    for (int run = 0; run < 5; ++run) {
        check_vectors made = check_new_vectors(world, MAX_COUNT, 9);
        check_start(allreduce, &made);
        assert_int_equal(lmn_collective_wait(allreduce, NULL), LMN_OK);
        if (run == 0) {
            memcpy(first, made.recv, sizeof first);
        }
        assert_memory_equal(made.recv, first, sizeof first);
        check_vectors_summed(world, &made);
    }
    lmn_collective_destroy(allreduce);
}

/* No barrier between the starts: messages of the next one arrive while this one still runs. */
static void allreduce_restarted_at_once_keeps_rounds_apart(void **state)
{
    lmn_world *world = *state;
    const size_t counts[] = {5000, 17, 4097, 1, 0, 9001};
    lmn_collective *allreduce = check_new_allreduce(world, 9001);
    for (unsigned round = 0; round < 60; ++round) {
        const size_t count = counts[round % 6];
        check_vectors made = check_new_vectors(world, count, round);
        check_start(allreduce, &made);
        assert_int_equal(lmn_collective_wait(allreduce, NULL), LMN_OK);
        check_vectors_summed(world, &made);
    }
    lmn_collective_destroy(allreduce);
}

static void allreduce_start_bad_vectors_are_refused(void **state)
{
    lmn_collective *allreduce = check_new_allreduce(*state, 10);
    float values[20] = {0};
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allreduce_start(allreduce, values, values + 11, 11, 1.0F, &err),
                     LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "11"));
    assert_non_null(strstr(err.message, "10"));
    assert_int_equal(lmn_allreduce_start(allreduce, values, values + 9, 10, 1.0F, &err),
                     LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_allreduce_start(allreduce, values + 9, values, 10, 1.0F, &err),
                     LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_allreduce_start(allreduce, values, values, 10, 1.0F, &err),
                     LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "overlap"));
    assert_int_equal(lmn_allreduce_start(allreduce, NULL, values, 1, 1.0F, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_allreduce_start(allreduce, values, NULL, 1, 1.0F, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_allgatherv_start((lmn_collective *)allreduce, values, 1, &err),
                     LMN_ERR_ARGUMENT);
    /* Refusals leave it usable. */
    assert_int_equal(lmn_allreduce_start(allreduce, values, values + 10, 10, 1.0F, &err), LMN_OK);
    assert_int_equal(lmn_collective_wait(allreduce, &err), LMN_OK);
    lmn_collective_destroy(allreduce);
}

/* Odd ranks begin only when the even ones have been refused. */
static void start_twice_is_refused_while_running(void **state)
{
    lmn_world *world = *state;
    if (lmn_world_size(world) < 2) {
        return;
    }
    lmn_collective *allreduce = check_new_allreduce(world, 6000);
    check_vectors made = check_new_vectors(world, 6000, 4);
    const bool is_early = lmn_world_rank(world) % 2 == 0;
    lmn_error err = lmn_error_none();
    if (is_early) {
        check_start(allreduce, &made);
        assert_int_equal(lmn_collective_progress(allreduce, &err), LMN_IN_PROGRESS);
        assert_int_equal(
            lmn_allreduce_start(allreduce, made.send, made.recv, 6000, CHECK_FACTOR, &err),
            LMN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "still running"));
    }
    assert_int_equal(lmn_agree(world, LMN_OK, NULL), LMN_OK);
    if (!is_early) {
        check_start(allreduce, &made);
    }
    assert_int_equal(lmn_collective_wait(allreduce, &err), LMN_OK);
    check_vectors_summed(world, &made);
    lmn_collective_destroy(allreduce);
}

static void allreduce_create_impossible_capacity_is_out_of_memory_everywhere(void **state)
{
    lmn_world *world = *state;
    if (lmn_world_size(world) < 2) {
        return; /* one rank alone takes no memory */
    }
    lmn_collective *made = NULL;
    lmn_error err = lmn_error_none();
    const size_t capacity = lmn_world_rank(world) == 1 ? SIZE_MAX : 10;
    world->limits.segment = SIZE_MAX / 16; /* or memory would be for a few segments only */
    assert_int_equal(lmn_allreduce_create(world, LMN_REDUCTION_SUM_F32, capacity, &made, &err),
                     LMN_ERR_MEMORY);
    assert_int_equal(err.rank, 1);
    assert_null(made);
    world->limits = check_usual_limits();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allreduce_any_count_equals_the_serial_sum),
        cmocka_unit_test(allreduce_small_capacity_equals_the_serial_sum),
        cmocka_unit_test(allreduce_always_direct_equals_the_serial_sum),
        cmocka_unit_test(allreduce_always_doubling_equals_the_serial_sum),
        cmocka_unit_test(allreduce_in_parts_through_a_narrow_window_equals_the_serial_sum),
        cmocka_unit_test(allreduce_in_many_pieces_equals_the_serial_sum),
        cmocka_unit_test(allreduce_by_ring_equals_the_serial_sum),
        cmocka_unit_test(allreduce_by_halving_equals_the_serial_sum),
        cmocka_unit_test(allreduce_repeated_gives_the_same_bits),
        cmocka_unit_test(allreduce_restarted_at_once_keeps_rounds_apart),
        cmocka_unit_test(allreduce_start_bad_vectors_are_refused),
        cmocka_unit_test(start_twice_is_refused_while_running),
        cmocka_unit_test(allreduce_create_impossible_capacity_is_out_of_memory_everywhere),
    };
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, check_world_create, check_world_destroy);
    MPI_Finalize();
    return n_failed;
}

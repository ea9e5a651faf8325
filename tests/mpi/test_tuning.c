/*
 * Choosing the algorithm of an allreduce: tables, measuring, and MPI's own allreduce.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm/allreduce_internal.h"
#include "comm_check.h"
#include "lamina/collective.h"
#include "lamina/hash.h"
#include "lamina/tuning.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

#define COUNT 20000

static lmn__choices choices_of(lmn_reduction reduction, lmn_allreduce_algorithm algorithm)
{
    lmn__choices choices = {
        .arithmetic = lmn__arithmetic_of(reduction), .has_row = true, .part = 1 << 20};
    for (int i = 0; i < LMN_ALLREDUCE_SIZES; ++i) {
        choices.row[i] = algorithm;
    }
    return choices;
}

static void choice_entry_holds_from_behind_the_smaller_size_to_its_own(void **state)
{
    (void)state;
    lmn__choices choices = choices_of(LMN_REDUCTION_SUM_F32, LMN_ALLREDUCE_DIRECT);
    choices.row[0] = LMN_ALLREDUCE_DOUBLING;
    choices.row[3] = LMN_ALLREDUCE_RING; /* 4097 .. 8192 bytes */
    choices.row[LMN_ALLREDUCE_SIZES - 1] = LMN_ALLREDUCE_HALVING;
    assert_int_equal(lmn__choice(&choices, 0), LMN_ALLREDUCE_DOUBLING);
    assert_int_equal(lmn__choice(&choices, 256), LMN_ALLREDUCE_DOUBLING);
    assert_int_equal(lmn__choice(&choices, 257), LMN_ALLREDUCE_DIRECT);
    assert_int_equal(lmn__choice(&choices, 1024), LMN_ALLREDUCE_DIRECT);
    assert_int_equal(lmn__choice(&choices, 1025), LMN_ALLREDUCE_RING);
    assert_int_equal(lmn__choice(&choices, 2048), LMN_ALLREDUCE_RING);
    assert_int_equal(lmn__choice(&choices, 2049), LMN_ALLREDUCE_DIRECT);
    assert_int_equal(lmn__choice(&choices, (size_t)1 << 30), LMN_ALLREDUCE_HALVING);
}

static void choice_what_an_algorithm_cannot_do_is_direct(void **state)
{
    (void)state;
    const lmn__choices maxima = choices_of(LMN_REDUCTION_MAX_F32, LMN_ALLREDUCE_MPI);
    assert_int_equal(lmn__choice(&maxima, 100), LMN_ALLREDUCE_DIRECT);
    const lmn__choices integers = choices_of(LMN_REDUCTION_SUM_I8, LMN_ALLREDUCE_MPI);
    assert_int_equal(lmn__choice(&integers, 1 << 20), LMN_ALLREDUCE_MPI);
    assert_int_equal(lmn__choice(&integers, (1 << 20) + 1), LMN_ALLREDUCE_DIRECT);
    const lmn__choices rounded = choices_of(LMN_REDUCTION_SUM_BF16, LMN_ALLREDUCE_RING);
    assert_int_equal(lmn__choice(&rounded, 100), LMN_ALLREDUCE_DIRECT);
}

static void choice_needs_cover_every_count(void **state)
{
    (void)state;
    lmn__choices choices = choices_of(LMN_REDUCTION_SUM_F32, LMN_ALLREDUCE_DIRECT);
    for (int i = 0; i < LMN_ALLREDUCE_SIZES; ++i) {
        choices.row[i] = (lmn_allreduce_algorithm)(i * 7 % LMN_ALLREDUCE_ALGORITHM_COUNT);
    }
    choices.part = 100000;
    for (size_t capacity = 0; capacity < 40000; capacity += 999) {
        size_t needs[LMN_ALLREDUCE_ALGORITHM_COUNT];
        size_t expected[LMN_ALLREDUCE_ALGORITHM_COUNT] = {0};
        lmn__choice_needs(&choices, capacity, needs);
        for (size_t count = 0; count <= capacity; ++count) {
            expected[lmn__choice(&choices, count)] = count;
        }
        assert_memory_equal(needs, expected, sizeof needs);
    }
}

static void check_table(const lmn_allreduce_table *table, int n_measured)
{
    for (int i = 0; i < LMN_ALLREDUCE_SIZES; ++i) {
        assert_true(table->sums[i] != LMN_ALLREDUCE_MPI); /* was not allowed */
        if (i < n_measured) {
            assert_true(table->seconds[i][table->sums[i]] > 0.0);
            assert_true(table->seconds[i][table->exact[i]] > 0.0);
        } else {
            assert_int_equal(table->sums[i], table->sums[n_measured - 1]);
            assert_int_equal(table->exact[i], table->exact[n_measured - 1]);
            assert_true(table->seconds[i][LMN_ALLREDUCE_DIRECT] == 0.0);
        }
    }
}

static void tune_sets_the_same_table_on_all_ranks(void **state)
{
    lmn_world *world = *state;
    const lmn_allreduce_tuning tuning = {.largest_bytes = 40000, .allow_mpi = false};
    lmn_allreduce_table table;
    memset(&table, 0, sizeof table);
    assert_int_equal(lmn_allreduce_tune(world, &tuning, &table, NULL), LMN_OK);
    check_table(&table, 6); /* 1 .. 32 KiB */
    assert_int_equal(
        lmn_world_check_same(world, "the table", lmn_hash64(&table, sizeof table, 0), NULL),
        LMN_OK);
    lmn_collective *allreduce = check_new_allreduce(world, COUNT);
    for (size_t count = 1; count < COUNT; count = 3 * count + 1) {
        check_vectors made = check_new_vectors(world, count, 3);
        check_start(allreduce, &made);
        assert_int_equal(lmn_collective_wait(allreduce, NULL), LMN_OK);
        check_vectors_summed(world, &made);
    }
    lmn_collective_destroy(allreduce);
    assert_int_equal(lmn_allreduce_set_table(world, NULL, NULL), LMN_OK);
    assert_false(world->has_table);
}

static void tune_bad_tunings_are_refused_everywhere(void **state)
{
    lmn_world *world = *state;
    const int rank = lmn_world_rank(world);
    lmn_allreduce_tuning tuning = {.largest_bytes = rank == 0 ? 1023 : 4096};
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allreduce_tune(world, &tuning, NULL, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "1023"));
    if (lmn_world_size(world) > 1) {
        tuning.largest_bytes = rank == 0 ? 2048 : 4096;
        assert_int_equal(lmn_allreduce_tune(world, &tuning, NULL, &err), LMN_ERR_DIVERGED);
    }
    assert_false(world->has_table);
}

static void set_table_bad_tables_are_refused_everywhere(void **state)
{
    lmn_world *world = *state;
    const int rank = lmn_world_rank(world);
    lmn_allreduce_table table;
    lmn_error err = lmn_error_none();
    lmn_allreduce_table_fill(&table, LMN_ALLREDUCE_RING);
    if (rank == 0) {
        table.sums[4] = LMN_ALLREDUCE_ALGORITHM_COUNT;
    }
    assert_int_equal(lmn_allreduce_set_table(world, &table, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "entry 4"));
    if (lmn_world_size(world) > 1) {
        table.sums[4] = rank == 0 ? LMN_ALLREDUCE_DIRECT : LMN_ALLREDUCE_RING;
        assert_int_equal(lmn_allreduce_set_table(world, &table, &err), LMN_ERR_DIVERGED);
        assert_non_null(strstr(err.message, "table"));
    }
    assert_false(world->has_table);
}

/* Whole numbers, of which every order of additions makes the same sum. */
static void allreduce_by_mpi_sums_and_counts_what_it_must_send(void **state)
{
    lmn_world *world = *state;
    const int size = lmn_world_size(world);
    static float send[COUNT];
    static float recv[COUNT];
    lmn_allreduce_table table;
    lmn_allreduce_table_fill(&table, LMN_ALLREDUCE_MPI);
    assert_int_equal(lmn_allreduce_set_table(world, &table, NULL), LMN_OK);
    lmn_collective *allreduce = check_new_allreduce(world, COUNT);
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < COUNT; ++i) {
            send[i] = (float)((i + round) % 100 + lmn_world_rank(world));
        }
        assert_int_equal(lmn_allreduce_start(allreduce, send, recv, COUNT, 2.0F, NULL), LMN_OK);
        assert_int_equal(lmn_collective_wait(allreduce, NULL), LMN_OK);
        for (int i = 0; i < COUNT; ++i) {
            const int sum = size * ((i + round) % 100) + size * (size - 1) / 2;
            assert_true(recv[i] == (float)(2 * sum));
        }
    }
    const uint64_t sent = check_sum_of_bytes(world, lmn_collective_bytes_sent(allreduce));
    assert_true(sent == (uint64_t)(size - 1) * COUNT * sizeof(float) * 6);
    lmn_collective_destroy(allreduce);
    assert_int_equal(lmn_allreduce_set_table(world, NULL, NULL), LMN_OK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choice_entry_holds_from_behind_the_smaller_size_to_its_own),
        cmocka_unit_test(choice_what_an_algorithm_cannot_do_is_direct),
        cmocka_unit_test(choice_needs_cover_every_count),
        cmocka_unit_test(tune_sets_the_same_table_on_all_ranks),
        cmocka_unit_test(tune_bad_tunings_are_refused_everywhere),
        cmocka_unit_test(set_table_bad_tables_are_refused_everywhere),
        cmocka_unit_test(allreduce_by_mpi_sums_and_counts_what_it_must_send),
    };
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, check_world_create, check_world_destroy);
    MPI_Finalize();
    return n_failed;
}

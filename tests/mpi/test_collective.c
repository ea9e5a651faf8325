/*
 * What all collectives have in common, on 1 to 4 ranks: several in flight in any order, creation
 * that is the same everywhere, tags.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
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

#define N_ALLREDUCES 5

typedef struct flight {
    lmn_collective *allreduces[N_ALLREDUCES];
    check_vectors vectors[N_ALLREDUCES];
    lmn_collective *allgatherv;
    unsigned char message[2000];
} flight;

static size_t message_bytes(int rank)
{
    return (size_t)rank * 200 + 3;
}

static void take_off(lmn_world *world, flight *all)
{
    const size_t counts[N_ALLREDUCES] = {40000, 100, 4097, 1, 20001};
    for (unsigned i = 0; i < N_ALLREDUCES; ++i) {
        all->allreduces[i] = check_new_allreduce(world, counts[i]);
        all->vectors[i] = check_new_vectors(world, counts[i], i + 20);
    }
    all->allgatherv = check_new_allgatherv(world, sizeof all->message);
    memset(all->message, lmn_world_rank(world) + 1, sizeof all->message);
    for (unsigned i = 0; i < N_ALLREDUCES; ++i) {
        check_start(all->allreduces[i], &all->vectors[i]);
    }
    assert_int_equal(lmn_allgatherv_start(all->allgatherv, all->message,
                                          message_bytes(lmn_world_rank(world)), NULL),
                     LMN_OK);
}

static void check_message(const lmn_collective *allgatherv, int rank)
{
    size_t bytes = 0;
    const unsigned char *message = lmn_allgatherv_message(allgatherv, rank, &bytes);
    assert_int_equal(bytes, message_bytes(rank));
    for (size_t i = 0; i < bytes; ++i) {
        assert_int_equal(message[i], rank + 1);
    }
}

static void land(lmn_world *world, flight *all)
{
    for (int i = 0; i < N_ALLREDUCES; ++i) {
        check_vectors_summed(world, &all->vectors[i]);
        lmn_collective_destroy(all->allreduces[i]);
    }
    for (int rank = 0; rank < lmn_world_size(world); ++rank) {
        check_message(all->allgatherv, rank);
    }
    lmn_collective_destroy(all->allgatherv);
}

static void several_in_flight_progressed_in_different_orders_all_finish(void **state)
{
    lmn_world *world = *state;
    static flight all;
    take_off(world, &all);
    const int offset = lmn_world_rank(world) * 2;
    bool is_running = true;
    while (is_running) {
        is_running = lmn_collective_progress(all.allgatherv, NULL) == LMN_IN_PROGRESS;
        for (int i = 0; i < N_ALLREDUCES; ++i) {
            lmn_collective *next = all.allreduces[(i + offset) % N_ALLREDUCES];
            const lmn_status status = lmn_collective_progress(next, NULL);
            assert_true(status == LMN_OK || status == LMN_IN_PROGRESS);
            is_running = is_running || status == LMN_IN_PROGRESS;
        }
    }
    land(world, &all);
}

static void several_in_flight_waited_for_in_different_orders_all_finish(void **state)
{
    lmn_world *world = *state;
    static flight all;
    take_off(world, &all);
    const int rank = lmn_world_rank(world);
    if (rank % 2 == 1) {
        assert_int_equal(lmn_collective_wait(all.allgatherv, NULL), LMN_OK);
    }
    for (int i = 0; i < N_ALLREDUCES; ++i) {
        const int index = rank % 2 == 0 ? i : N_ALLREDUCES - 1 - i;
        assert_int_equal(lmn_collective_wait(all.allreduces[index], NULL), LMN_OK);
    }
    assert_int_equal(lmn_collective_wait(all.allgatherv, NULL), LMN_OK);
    assert_null(world->running);
    land(world, &all);
}

static void several_in_flight_destroyed_in_any_order_leave_the_list_whole(void **state)
{
    lmn_world *world = *state;
    lmn_collective *members[3];
    for (int i = 0; i < 3; ++i) {
        members[i] = check_new_allgatherv(world, 8);
        assert_int_equal(lmn_allgatherv_start(members[i], "x", 1, NULL), LMN_OK);
    }
    assert_int_equal(lmn_collective_wait(members[1], NULL), LMN_OK);
    lmn_collective_destroy(members[1]);
    assert_int_equal(lmn_collective_wait(members[2], NULL), LMN_OK);
    assert_int_equal(lmn_collective_wait(members[0], NULL), LMN_OK);
    assert_null(world->running);
    lmn_collective_destroy(members[2]);
    lmn_collective_destroy(members[0]);
}

static void worlds_of_split_ranks_work_while_the_whole_is_in_use(void **state)
{
    lmn_world *whole = *state;
    MPI_Comm half = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, lmn_world_rank(whole) % 2, 0, &half);
    lmn_world *part = NULL;
    assert_int_equal(lmn_world_create(half, NULL, &part, NULL), LMN_OK);
    lmn_collective *outer = check_new_allreduce(whole, 30000);
    lmn_collective *inner = check_new_allreduce(part, 20000);
    check_vectors of_whole = check_new_vectors(whole, 30000, 1);
    check_vectors of_part = check_new_vectors(part, 20000, 2);
    check_start(outer, &of_whole);
    check_start(inner, &of_part);
    assert_int_equal(lmn_collective_wait(inner, NULL), LMN_OK);
    assert_int_equal(lmn_collective_wait(outer, NULL), LMN_OK);
    check_vectors_summed(whole, &of_whole);
    check_vectors_summed(part, &of_part);
    lmn_collective_destroy(inner);
    lmn_collective_destroy(outer);
    lmn_world_destroy(part);
    MPI_Comm_free(&half);
}

static void never_started_is_finished_and_sent_nothing(void **state)
{
    lmn_collective *allreduce = check_new_allreduce(*state, 10);
    assert_int_equal(lmn_collective_progress(allreduce, NULL), LMN_OK);
    assert_int_equal(lmn_collective_wait(allreduce, NULL), LMN_OK);
    assert_true(lmn_collective_bytes_sent(allreduce) == 0);
    lmn_collective_destroy(allreduce);
}

static void create_different_capacities_are_refused_everywhere(void **state)
{
    lmn_world *world = *state;
    if (lmn_world_size(world) < 2) {
        return;
    }
    const size_t capacity = lmn_world_rank(world) == 1 ? 11 : 10;
    const int next_tag = world->next_tag;
    lmn_collective *made = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allreduce_create(world, LMN_REDUCTION_SUM_F32, capacity, &made, &err),
                     LMN_ERR_DIVERGED);
    assert_non_null(strstr(err.message, "capacity"));
    assert_int_equal(lmn_allgatherv_create(world, capacity, &made, &err), LMN_ERR_DIVERGED);
    assert_null(made);
    assert_int_equal(world->next_tag, next_tag);
}

static void create_tags_used_up_is_refused(void **state)
{
    lmn_world *world = *state;
    const int next_tag = world->next_tag;
    lmn_collective *last = NULL;
    lmn_collective *made = NULL;
    lmn_error err = lmn_error_none();
    world->next_tag = world->tag_max - 2; /* enough for one more */
    assert_int_equal(lmn_allgatherv_create(world, 8, &last, &err), LMN_OK);
    assert_int_equal(lmn_allgatherv_start(last, "x", 1, &err), LMN_OK);
    assert_int_equal(lmn_collective_wait(last, &err), LMN_OK);
    assert_int_equal(lmn_allgatherv_create(world, 8, &made, &err), LMN_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "tag"));
    assert_null(made);
    lmn_collective_destroy(last);
    world->next_tag = next_tag;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_in_flight_progressed_in_different_orders_all_finish),
        cmocka_unit_test(several_in_flight_waited_for_in_different_orders_all_finish),
        cmocka_unit_test(several_in_flight_destroyed_in_any_order_leave_the_list_whole),
        cmocka_unit_test(worlds_of_split_ranks_work_while_the_whole_is_in_use),
        cmocka_unit_test(never_started_is_finished_and_sent_nothing),
        cmocka_unit_test(create_different_capacities_are_refused_everywhere),
        cmocka_unit_test(create_tags_used_up_is_refused),
    };
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, check_world_create, check_world_destroy);
    MPI_Finalize();
    return n_failed;
}

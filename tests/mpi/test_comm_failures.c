/*
 * What the comm room does when something fails: MPI errors in each collective, collectives that are
 * destroyed with messages open, and every allocation failing in turn on every rank.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "comm/collective_internal.h"
#include "comm_check.h"
#include "lamina/collective.h"
#include "lamina/memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

/* Calls of posix_memalign until one fails; 0 while none shall. */
static int *calls_until_failure(void)
{
    static int calls = 0;
    return &calls;
}

/* In the place of the C library's: lmn_alloc takes all memory through it. */
int posix_memalign(void **memory_out, size_t alignment, size_t bytes) /* NOLINT(*-parameter-name) */
{
    int *calls = calls_until_failure();
    if (*calls > 0 && --*calls == 0) {
        return ENOMEM;
    }
    void *memory = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (memory == NULL) {
        return ENOMEM;
    }
    *memory_out = memory;
    return 0;
}

/* No tag of MPI: every message is refused. */
#define BAD_TAG (-5)

static lmn_status start_any(lmn_collective *collective, const check_vectors *vectors,
                            lmn_error *err)
{
    return strcmp(collective->kind->name, "allreduce") == 0
               ? lmn_allreduce_start(collective, vectors->send, vectors->recv, vectors->count,
                                     CHECK_FACTOR, err)
               : lmn_allgatherv_start(collective, "message", 8, err);
}

/* The error comes back from every later call, and the world goes on. */
static void check_refused_by_mpi(lmn_world *world, lmn_collective *collective, size_t count)
{
    check_vectors vectors = check_new_vectors(world, count, 3);
    lmn_error err = lmn_error_none();
    collective->tag = BAD_TAG;
    assert_int_equal(start_any(collective, &vectors, &err), LMN_ERR_COMM);
    check_tells_of(&err, MPI_ERR_TAG);
    assert_non_null(strstr(err.message, collective->kind->name));
    lmn_error again = lmn_error_none();
    assert_int_equal(lmn_collective_progress(collective, &again), LMN_ERR_COMM);
    assert_string_equal(again.message, err.message);
    assert_int_equal(lmn_collective_wait(collective, NULL), LMN_ERR_COMM);
    assert_int_equal(start_any(collective, &vectors, &again), LMN_ERR_COMM);
    assert_string_equal(again.message, err.message);
    assert_null(world->running);
    lmn_collective_destroy(collective);
    assert_int_equal(lmn_agree(world, LMN_OK, NULL), LMN_OK);
    lmn_free(vectors.send);
    lmn_free(vectors.recv);
}

static lmn_collective *new_ring_allreduce(lmn_world *world, size_t count)
{
    lmn_allreduce_table table;
    lmn_allreduce_table_fill(&table, LMN_ALLREDUCE_RING);
    assert_int_equal(lmn_allreduce_set_table(world, &table, NULL), LMN_OK);
    lmn_collective *made = check_new_allreduce(world, count);
    assert_int_equal(lmn_allreduce_set_table(world, NULL, NULL), LMN_OK);
    return made;
}

static void mpi_error_in_any_collective_is_a_status_that_stays(void **state)
{
    lmn_world *world = *state;
    if (lmn_world_size(world) < 2) {
        return; /* no messages */
    }
    check_refused_by_mpi(world, check_new_allgatherv(world, 8), 1);
    check_refused_by_mpi(world, check_new_allreduce(world, 10), 10);
    check_refused_by_mpi(world, check_new_allreduce(world, 10000), 10000);
    check_refused_by_mpi(world, new_ring_allreduce(world, 10000), 10000);
}

static void mpi_error_met_while_waiting_for_another_stays_with_its_own(void **state)
{
    lmn_world *world = *state;
    if (lmn_world_size(world) < 2) {
        return;
    }
    lmn_collective *good = check_new_allreduce(world, 10000);
    lmn_collective *bad = check_new_allgatherv(world, 8);
    check_vectors vectors = check_new_vectors(world, 10000, 3);
    /* As if started well: its messages begin to fail during the wait. */
    bad->tag = BAD_TAG;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_allgatherv_start(bad, "x", 1, &err), LMN_ERR_COMM);
    bad->failure = lmn_error_none();
    bad->is_running = true;
    bad->next_running = world->running;
    world->running = bad;
    check_start(good, &vectors);
    assert_int_equal(lmn_collective_wait(good, &err), LMN_OK);
    check_vectors_summed(world, &vectors);
    lmn_status status = LMN_IN_PROGRESS;
    while (status == LMN_IN_PROGRESS) {
        status = lmn_collective_progress(bad, &err);
    }
    assert_int_equal(status, LMN_ERR_COMM);
    lmn_collective_destroy(bad);
    lmn_collective_destroy(good);
}

/* Rank 1 sends more than an allgatherv can hold: rank 0 reports it, the others give up. */
static void message_longer_than_the_capacity_is_a_status(void **state)
{
    lmn_world *world = *state;
    if (lmn_world_size(world) < 2) {
        return;
    }
    const char too_long[100] = "too long";
    lmn_collective *allgatherv = check_new_allgatherv(world, 8);
    lmn_error err = lmn_error_none();
    if (lmn_world_rank(world) == 1) {
        MPI_Send(too_long, (int)sizeof too_long, MPI_BYTE, 0, allgatherv->tag,
                 lmn_world_comm(world));
    }
    lmn_status status = lmn_allgatherv_start(allgatherv, "message", 8, &err);
    if (lmn_world_rank(world) == 0) {
        if (status == LMN_OK) {
            status = lmn_collective_wait(allgatherv, &err);
        }
        assert_int_equal(status, LMN_ERR_COMM);
        check_tells_of(&err, MPI_ERR_TRUNCATE);
        assert_non_null(strstr(err.message, "rank 1"));
    }
    assert_int_equal(lmn_agree(world, LMN_OK, NULL), LMN_OK);
    lmn_collective_destroy(allgatherv);
    assert_int_equal(lmn_agree(world, LMN_OK, NULL), LMN_OK);
}

/* Only rank 0 starts, so its receives stay open; a later collective must not see them. */
static void destroy_running_gives_up_open_messages(void **state)
{
    lmn_world *world = *state;
    lmn_collective *given_up[] = {check_new_allgatherv(world, 64), check_new_allreduce(world, 64),
                                  check_new_allreduce(world, 6000),
                                  new_ring_allreduce(world, 6000)};
    check_vectors small = check_new_vectors(world, 64, 5);
    check_vectors large = check_new_vectors(world, 6000, 6);
    if (lmn_world_rank(world) == 0) {
        assert_int_equal(start_any(given_up[0], &small, NULL), LMN_OK);
        assert_int_equal(start_any(given_up[1], &small, NULL), LMN_OK);
        assert_int_equal(start_any(given_up[2], &large, NULL), LMN_OK);
        assert_int_equal(start_any(given_up[3], &large, NULL), LMN_OK);
    }
    for (int i = 0; i < 4; ++i) {
        lmn_collective_destroy(given_up[i]);
    }
    assert_null(world->running);
    lmn_free(small.send);
    lmn_free(small.recv);
    lmn_free(large.send);
    lmn_free(large.recv);
    lmn_collective *next = check_new_allreduce(world, 6000);
    check_vectors vectors = check_new_vectors(world, 6000, 7);
    check_start(next, &vectors);
    assert_int_equal(lmn_collective_wait(next, NULL), LMN_OK);
    check_vectors_summed(world, &vectors);
    lmn_collective_destroy(next);
}

/* One thing to create and destroy again; LMN_OK when it worked. */
typedef lmn_status (*trial)(lmn_world *world, lmn_error *err);

static lmn_status try_world(lmn_world *world, lmn_error *err)
{
    lmn_world *made = NULL;
    const lmn_status status = lmn_world_create(lmn_world_comm(world), NULL, &made, err);
    assert_true((made != NULL) == (status == LMN_OK));
    lmn_world_destroy(made);
    return status;
}

static lmn_status try_allreduce(lmn_world *world, lmn_error *err)
{
    lmn_collective *made = NULL;
    const lmn_status status = lmn_allreduce_create(world, LMN_REDUCTION_SUM_F32, 10000, &made, err);
    assert_true((made != NULL) == (status == LMN_OK));
    lmn_collective_destroy(made);
    return status;
}

static lmn_status try_alltoallv(lmn_world *world, lmn_error *err)
{
    lmn_collective *made = NULL;
    const lmn_status status = lmn_alltoallv_create(world, 1000, &made, err);
    assert_true((made != NULL) == (status == LMN_OK));
    lmn_collective_destroy(made);
    return status;
}

static lmn_status try_allgatherv(lmn_world *world, lmn_error *err)
{
    lmn_collective *made = NULL;
    const lmn_status status = lmn_allgatherv_create(world, 1000, &made, err);
    assert_true((made != NULL) == (status == LMN_OK));
    lmn_collective_destroy(made);
    return status;
}

/* Allocation `nth` of `failing` fails; returns the status, which is the same everywhere. */
static lmn_status fail_once(lmn_world *world, trial attempt, int failing, int nth)
{
    lmn_error err = lmn_error_none();
    *calls_until_failure() = lmn_world_rank(world) == failing ? nth : 0;
    const lmn_status status = attempt(world, &err);
    *calls_until_failure() = 0;
    if (status != LMN_OK) {
        assert_int_equal(status, LMN_ERR_MEMORY);
        assert_int_equal(err.rank, failing);
    }
    assert_int_equal(lmn_world_check_same(world, "the outcome", (uint64_t)-status, NULL), LMN_OK);
    return status;
}

/* Returns how many allocations there were to fail. */
static int fail_each(lmn_world *world, trial attempt, int failing)
{
    int n_failed = 0;
    while (fail_once(world, attempt, failing, n_failed + 1) != LMN_OK) {
        ++n_failed;
    }
    return n_failed;
}

static void create_any_allocation_failing_on_any_rank_fails_everywhere(void **state)
{
    lmn_world *world = *state;
    for (int failing = 0; failing < lmn_world_size(world); ++failing) {
        assert_int_equal(fail_each(world, try_world, failing), 2);
        /* Alone, an allreduce takes only itself; else 4 streams of 4 arrays and two buffers. */
        assert_int_equal(fail_each(world, try_allreduce, failing),
                         lmn_world_size(world) > 1 ? 19 : 1);
        assert_int_equal(fail_each(world, try_allgatherv, failing), 11);
        assert_int_equal(fail_each(world, try_alltoallv, failing), 12);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mpi_error_in_any_collective_is_a_status_that_stays),
        cmocka_unit_test(mpi_error_met_while_waiting_for_another_stays_with_its_own),
        cmocka_unit_test(message_longer_than_the_capacity_is_a_status),
        cmocka_unit_test(destroy_running_gives_up_open_messages),
        cmocka_unit_test(create_any_allocation_failing_on_any_rank_fails_everywhere),
    };
    MPI_Init(&argc, &argv);
    /* Some MPIs ask these, and not the world's own, when messages of several calls are completed.
     */
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    const int n_failed = cmocka_run_group_tests(tests, check_world_create, check_world_destroy);
    MPI_Finalize();
    return n_failed;
}

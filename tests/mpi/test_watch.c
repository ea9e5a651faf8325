/*
 * The watch on 1 to 4 ranks: who stands still is named on all of them, with what it was at; who
 * goes on, or leaves in order, is not.
 *
 * What needs processes that stop and end is in tests/cluster/test_stall.sh.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "lamina/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <mpi.h>

#include <cmocka.h>

#define LIMIT_S 0.5

/* What the watch has said to this rank. */
typedef struct verdict {
    char message[1024];
    bool is_finder;
    atomic_bool is_given;
} verdict;

static void take_verdict(void *user, const char *message, bool is_finder)
{
    verdict *v = user;
    (void)snprintf(v->message, sizeof v->message, "%s", message);
    v->is_finder = is_finder;
    atomic_store(&v->is_given, true);
}

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

static void pause_s(double seconds)
{
    const struct timespec time = {.tv_sec = (time_t)seconds,
                                  .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    (void)nanosleep(&time, NULL);
}

static lmn_watch *start_watch(lmn_world *world, verdict *v)
{
    const lmn_watch_options options = {.seconds = LIMIT_S, .on_stall = take_verdict, .user = v};
    lmn_watch *watch = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_watch_create(world, &options, &watch, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return watch;
}

static void one_rank_needs_no_watch(void **state)
{
    verdict v = {.is_given = false};
    lmn_watch *watch = start_watch(*state, &v);
    assert_true((watch == NULL) == (lmn_world_size(*state) == 1));
    lmn_watch_destroy(watch);
    assert_false(atomic_load(&v.is_given));
}

static void ranks_that_go_on_together_are_left_alone(void **state)
{
    lmn_world *world = *state;
    verdict v = {.is_given = false};
    lmn_watch *watch = start_watch(world, &v);
    const double until = lmn_clock_seconds() + 2.0 * LIMIT_S;
    for (uint64_t left = 1; left != 0;) {
        pause_s(0.1 * LIMIT_S);
        left = lmn_clock_seconds() < until ? 1 : 0;
        assert_int_equal(lmn_world_max_u64(world, &left, 1, NULL), LMN_OK);
    }
    lmn_watch_destroy(watch);
    assert_int_equal(lmn_agree(world, LMN_OK, NULL), LMN_OK);
    assert_false(atomic_load(&v.is_given));
}

static void who_leaves_in_order_is_not_missed(void **state)
{
    lmn_world *world = *state;
    verdict v = {.is_given = false};
    lmn_watch *watch = start_watch(world, &v);
    /* Rank 0 last, so that it sees the others leave; it makes notes of its own meanwhile. */
    if (lmn_world_rank(world) != 0) {
        lmn_watch_destroy(watch);
    }
    static const lmn_activity busy = {.text = "being busy", .waits = false};
    for (int i = 0; i < 20; i++) {
        pause_s(0.1 * LIMIT_S);
        (void)lmn_world_note(world, &busy);
    }
    if (lmn_world_rank(world) == 0) {
        lmn_watch_destroy(watch);
    }
    assert_int_equal(lmn_agree(world, LMN_OK, NULL), LMN_OK);
    assert_false(atomic_load(&v.is_given));
}

static void who_does_not_come_is_named_on_all_ranks(void **state)
{
    lmn_world *world = *state;
    const int late = lmn_world_size(world) - 1;
    if (late == 0) {
        skip();
    }
    static const lmn_activity asleep = {.text = "its sleep", .waits = false};
    verdict v = {.is_given = false};
    lmn_watch *watch = start_watch(world, &v);
    lmn_world_note_step(world, 7);
    const double start = lmn_clock_seconds();
    if (lmn_world_rank(world) == late) {
        (void)lmn_world_note(world, &asleep);
        while (!atomic_load(&v.is_given) && lmn_clock_seconds() < start + 20.0) {
            pause_s(0.01);
        }
    }
    /* The others wait here; a real run would not come back. */
    assert_int_equal(lmn_agree(world, LMN_OK, NULL), LMN_OK);
    for (int i = 0; i < 500 && !atomic_load(&v.is_given); i++) {
        pause_s(0.01);
    }
    assert_true(atomic_load(&v.is_given));
    assert_true(lmn_clock_seconds() - start > LIMIT_S);
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "; rank %d on ", late);
    if (strstr(v.message, wanted) == NULL ||
        strstr(v.message, " is at its sleep in step 7") == NULL ||
        strstr(v.message, "no rank has got on for ") == NULL) {
        fail_msg("%s", v.message);
    }
    assert_true(strstr(strstr(v.message, "; rank ") + 1, "; rank ") == NULL); /* nobody else */
    assert_int_equal(v.is_finder, lmn_world_rank(world) == 0);
    lmn_watch_destroy(watch);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_rank_needs_no_watch, create_world, destroy_world),
        cmocka_unit_test_setup_teardown(ranks_that_go_on_together_are_left_alone, create_world,
                                        destroy_world),
        cmocka_unit_test_setup_teardown(who_leaves_in_order_is_not_missed, create_world,
                                        destroy_world),
        cmocka_unit_test_setup_teardown(who_does_not_come_is_named_on_all_ranks, create_world,
                                        destroy_world),
    };
    const int failures = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failures == 0 ? 0 : 1;
}

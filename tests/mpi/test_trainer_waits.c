/*
 * Who waited for whom: a rank that is made late is named, by the summary and in the table.
 *
 * Where a test needs a rank to be the last one, it does not rely on time: that rank goes on only
 * when all others have told it that they are about to finish their step.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "lamina/memory.h"
#include "training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <mpi.h>

#include <cmocka.h>

enum { STEPS = 10, TAG = 7 };

static const long LATE_NS = 10000000;

static void sleep_for(long nanoseconds)
{
    const struct timespec time = {.tv_nsec = nanoseconds};
    (void)nanosleep(&time, NULL);
}

/* A rank of a run that holds the others up; asked between its gradients and the end of the step. */
typedef struct lateness {
    MPI_Comm comm;
    int rank, size;
    int late;
    uint64_t steps;
    uint64_t stop_after; /* 0: never */
} lateness;

static bool be_late(void *user)
{
    lateness *self = user;
    char word = 0;
    if (self->rank != self->late) {
        MPI_Send(&word, 1, MPI_CHAR, self->late, TAG, self->comm);
    } else {
        for (int i = 1; i < self->size; i++) {
            MPI_Recv(&word, 1, MPI_CHAR, MPI_ANY_SOURCE, TAG, self->comm, MPI_STATUS_IGNORE);
        }
        sleep_for(LATE_NS);
    }
    self->steps++;
    return self->stop_after > 0 && self->steps >= self->stop_after;
}

/* Column `name` of a results file; free with lmn_free. */
static double *read_column(const char *path, const char *name, size_t expected)
{
    lmn_file *file = NULL;
    double *values = NULL;
    size_t count = 0;
    lmn_error err = lmn_error_none();
    if (lmn_file_open(path, &file, &err) != LMN_OK ||
        lmn_file_read_f64(file, name, &values, &count, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_file_close(file);
    assert_int_equal(count, expected);
    return values;
}

/* The waits of a step are told twice: by rank, and by who was last. Returns the mean of the others.
 */
static double check_step(const double *seconds, int size, int last)
{
    double sum = 0.0;
    for (int rank = 0; rank < size; rank++) {
        assert_true(seconds[rank] >= 0.0);
        assert_true(seconds[rank] >= seconds[last]);
        sum += seconds[rank];
    }
    return size > 1 ? sum / (size - 1) : 0.0;
}

static void check_lists(const char *path, const training *t, const lmn_waiting *waiting)
{
    double *last_steps = read_column(path, "/ranks/last_steps", (size_t)t->size);
    double *costs = read_column(path, "/ranks/cost_seconds", (size_t)t->size);
    double *waited = read_column(path, "/ranks/waited_seconds", (size_t)t->size);
    double steps = 0.0;
    double cost = 0.0;
    double all_waited = 0.0;
    for (int rank = 0; rank < t->size; rank++) {
        steps += last_steps[rank];
        cost += costs[rank];
        all_waited += waited[rank];
    }
    assert_true(steps == (double)waiting->steps);
    assert_true(fabs(cost - waiting->seconds) < 1e-6);
    assert_true(fabs(all_waited - waiting->seconds * (t->size - 1)) < 1e-5);
    if (t->size > 1) {
        assert_true(costs[waiting->rank] == waiting->rank_seconds);
        assert_true(last_steps[waiting->rank] == (double)waiting->rank_steps);
    }
    lmn_free(last_steps);
    lmn_free(costs);
    lmn_free(waited);
}

static void check_table(const char *path, const training *t, const lmn_waiting *waiting)
{
    const size_t size = (size_t)t->size;
    double *last = read_column(path, "/waits/last", STEPS);
    double *seconds = read_column(path, "/waits/seconds", STEPS * size);
    double *blocked = read_column(path, "/steps/seconds_wait", STEPS);
    double sum = 0.0;
    for (size_t i = 0; i < STEPS; i++) {
        sum += check_step(seconds + i * size, t->size, (int)last[i]);
        assert_true(seconds[i * size] <= blocked[i] + 1e-6);
    }
    assert_true(fabs(sum - waiting->seconds) < 1e-5);
    check_lists(path, t, waiting);
    lmn_free(last);
    lmn_free(seconds);
    lmn_free(blocked);
}

/* What all ranks are told alike. */
static void check_same_summary(const training *t, const lmn_waiting *waiting)
{
    char text[256];
    (void)snprintf(text, sizeof text, "%d %s %llu %llu %.17g %.17g", waiting->rank, waiting->host,
                   (unsigned long long)waiting->steps, (unsigned long long)waiting->rank_steps,
                   waiting->rank_seconds, waiting->delivered);
    uint64_t sum = 0;
    for (const char *c = text; *c != '\0'; c++) {
        sum = sum * 31 + (uint64_t)*c;
    }
    assert_same_on_all_ranks(t, sum);
}

static void a_late_rank_is_named_by_summary_and_table(void **state)
{
    const training *t = *state;
    for (int late = 0; late<t->size; late += t->size> 1 ? t->size - 1 : 1) {
        char results[TEST_PATH_BYTES];
        training_path(t, late == 0 ? "late-0.h5" : "late.h5", results);
        lateness own = {MPI_COMM_WORLD, t->rank, t->size, late, 0, 0};
        lmn_trainer_options options = training_options(STEPS);
        options.results_path = results;
        options.should_stop = be_late;
        options.user = &own;
        const lmn_training_summary summary = training_run(t, &options);
        const lmn_waiting *waiting = &summary.waiting;
        assert_int_equal(waiting->steps, STEPS);
        assert_int_equal(waiting->rank, t->size > 1 ? late : -1);
        if (t->size > 1) {
            assert_true(waiting->rank_steps > STEPS / 2);
            assert_true(waiting->rank_seconds >= (double)(STEPS / 2) * 1e-9 * (double)LATE_NS);
            assert_true(waiting->rank_seconds <= waiting->seconds);
            assert_string_equal(waiting->host, lmn_world_placement(t->world)->host);
            assert_true(waiting->flight_bytes > 0.0 && waiting->delivered > 0.0);
        }
        check_same_summary(t, waiting);
        if (t->rank == 0) {
            check_table(results, t, waiting);
        }
    }
}

/* Before its next step rank 0 sleeps twice as long as its last one took, at least LATE_NS: more
   than others can lose to anything else. */
static void late_after_step(void *user, const lmn_training_progress *progress)
{
    double *woke_at = user;
    (void)progress;
    const double step = *woke_at > 0.0 ? lmn_clock_seconds() - *woke_at : 0.0;
    const double pause = fmin(0.9, fmax(1e-9 * (double)LATE_NS, 2.0 * step));
    sleep_for((long)(1e9 * pause));
    *woke_at = lmn_clock_seconds();
}

/* Where ranks meet inside the passes, all of them are ready at nearly the same moment. */
static void a_rank_that_is_late_inside_the_passes_is_named(void **state)
{
    const training *t = *state;
    lmn_vision_task vision = t->vision;
    vision.model = "resnet20:width=4,blocks=1,sync=1";
    const lmn_task task = lmn_vision_task_get(&vision);
    lmn_trainer_options options = training_options(6);
    double woke_at = 0.0;
    options.on_progress = late_after_step;
    options.user = &woke_at;
    const lmn_training_summary summary = training_run_task(t, &task, &options);
    assert_int_equal(summary.waiting.rank, t->size > 1 ? 0 : -1);
    assert_true(t->size == 1 || summary.waiting.rank_seconds > 1e-9 * (double)LATE_NS);
}

static lmn_training_summary run_part(const training *t, MPI_Comm comm, uint64_t stop_after,
                                     const char *results)
{
    char checkpoints[TEST_PATH_BYTES];
    training_path(t, "waits", checkpoints);
    lateness own = {comm, t->rank, t->size, t->size - 1, 0, stop_after};
    lmn_trainer_options options = training_options(STEPS);
    options.results_path = results;
    options.checkpoint_directory = checkpoints;
    options.resume = true;
    options.should_stop = be_late;
    options.user = &own;
    return training_run(t, &options);
}

/* The same on the first `n` ranks; the others wait. */
static void run_on(const training *t, int n, uint64_t stop_after, const char *results)
{
    MPI_Comm comm = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, t->rank < n ? 0 : MPI_UNDEFINED, t->rank, &comm);
    if (comm != MPI_COMM_NULL) {
        training part = *t;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_world_create(comm, NULL, &part.world, &err), LMN_OK);
        part.size = n;
        assert_int_equal(lmn_dataset_open(part.world, t->dataset_path, &part.dataset, &err),
                         LMN_OK);
        const lmn_training_summary summary = run_part(&part, comm, stop_after, results);
        assert_int_equal(summary.waiting.rank, n > 1 ? n - 1 : -1);
        assert_true(summary.waiting.steps == stop_after ||
                    summary.waiting.steps < STEPS - stop_after);
        lmn_dataset_close(part.dataset);
        lmn_world_destroy(part.world);
        MPI_Comm_free(&comm);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Steps 0 .. 3 on all ranks, 4 .. 6 on one less, the rest on all again. */
static void resumed_runs_go_on_with_the_table_on_other_ranks_too(void **state)
{
    const training *t = *state;
    const int fewer = t->size > 1 ? t->size - 1 : 1;
    const size_t size = (size_t)t->size;
    char results[TEST_PATH_BYTES];
    training_path(t, "resumed.h5", results);
    run_on(t, t->size, 4, results);
    run_on(t, fewer, 3, results);
    run_on(t, t->size, 0, results);
    if (t->rank != 0) {
        return;
    }
    double *step = read_column(results, "/waits/step", STEPS);
    double *last = read_column(results, "/waits/last", STEPS);
    double *seconds = read_column(results, "/waits/seconds", STEPS * size);
    for (size_t i = 0; i < STEPS; i++) {
        const bool is_less = i >= 4 && i < 7 && fewer < t->size;
        const int ranks = is_less ? fewer : t->size;
        assert_true(step[i] == (double)i);
        (void)check_step(seconds + i * size, ranks, (int)last[i]);
        for (size_t rank = (size_t)ranks; rank < size; rank++) {
            assert_true(isnan(seconds[i * size + rank]));
        }
    }
    lmn_free(step);
    lmn_free(last);
    lmn_free(seconds);
}

static void measure_link_tells_what_the_link_can_do(void **state)
{
    const training *t = *state;
    if (t->size > 2) {
        return; /* the same, but first many algorithms are timed */
    }
    lmn_trainer_options options = training_options(3);
    const lmn_training_summary plain = training_run(t, &options);
    assert_true(plain.waiting.measured <= 0.0);
    options.measure_link = true;
    const lmn_training_summary measured = training_run(t, &options);
    assert_true(t->size == 1 ? measured.waiting.measured <= 0.0 : measured.waiting.measured > 0.0);
    assert_true(measured.param_hash == plain.param_hash);
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_late_rank_is_named_by_summary_and_table),
        cmocka_unit_test(a_rank_that_is_late_inside_the_passes_is_named),
        cmocka_unit_test(resumed_runs_go_on_with_the_table_on_other_ranks_too),
        cmocka_unit_test(measure_link_tells_what_the_link_can_do),
    };
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    return MPI_Finalize() == MPI_SUCCESS ? failed : 1;
}

/*
 * Runs that end when their time is over: complete all the same.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "training.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <mpi.h>

#include <cmocka.h>

#define STEPS 6

/* Rows of the evaluations in a results file; on rank 0. */
static size_t count_evaluations(const char *path)
{
    lmn_file *file = NULL;
    double *values = NULL;
    size_t count = 0;
    lmn_error err = lmn_error_none();
    if (lmn_file_open(path, &file, &err) != LMN_OK ||
        lmn_file_read_f64(file, "/evaluations/step", &values, &count, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_free(values);
    lmn_file_close(file);
    return count;
}

static void trainer_run_time_over_counts_as_complete_and_goes_on_when_resumed(void **state)
{
    const training *t = *state;
    char results[TEST_PATH_BYTES];
    char checkpoints[TEST_PATH_BYTES];
    training_path(t, "time.h5", results);
    training_path(t, "time", checkpoints);
    lmn_trainer_options options = training_options(STEPS);
    options.results_path = results;
    options.checkpoint_directory = checkpoints;
    options.resume = true;
    options.max_seconds = 1e-9;
    const lmn_training_summary first = training_run(t, &options);
    assert_int_equal(first.steps, 1);
    assert_false(first.stopped);
    assert_int_equal(first.test.samples, TRAINING_TESTS);
    /* No time is left for another step; the test is made again, in the row of the first. */
    const lmn_training_summary again = training_run(t, &options);
    assert_int_equal(again.steps, 1);
    assert_true(again.param_hash == first.param_hash);
    assert_true(again.test.loss == first.test.loss);
    if (t->rank == 0) {
        assert_int_equal(count_evaluations(results), 1);
    }
    options.max_seconds = 0.0;
    const lmn_training_summary rest = training_run(t, &options);
    assert_int_equal(rest.steps, STEPS);
    const lmn_trainer_options straight = training_options(STEPS);
    assert_true(training_run(t, &straight).param_hash == rest.param_hash);
}

static void trainer_run_ample_time_changes_nothing(void **state)
{
    const training *t = *state;
    lmn_trainer_options options = training_options(STEPS);
    const uint64_t hash = training_run(t, &options).param_hash;
    options.max_seconds = 1e6;
    const lmn_training_summary timed = training_run(t, &options);
    assert_int_equal(timed.steps, STEPS);
    assert_true(timed.param_hash == hash);
}

static void trainer_create_negative_time_is_refused(void **state)
{
    const training *t = *state;
    lmn_trainer_options options = training_options(STEPS);
    options.max_seconds = -1.0;
    lmn_training_summary summary;
    lmn_error err = lmn_error_none();
    assert_int_equal(training_try(t, t->dataset, &t->task, &options, &summary, &err),
                     LMN_ERR_ARGUMENT);
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainer_run_time_over_counts_as_complete_and_goes_on_when_resumed),
        cmocka_unit_test(trainer_run_ample_time_changes_nothing),
        cmocka_unit_test(trainer_create_negative_time_is_refused),
    };
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    return MPI_Finalize() == MPI_SUCCESS ? failed : 1;
}

/*
 * Training on shards: stopped and resumed to the bit, told in run.h5, and not resumed with another
 * split.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/hash.h"
#include "lamina/memory.h"
#include "lamina/partition.h"
#include "training.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

static const char *const splits[] = {"label", "contiguous", "dirichlet:alpha=0.1"};
enum { N_SPLITS = sizeof splits / sizeof splits[0] };

static lmn_trainer_options options_of(const char *split, uint64_t steps)
{
    lmn_trainer_options options = training_options(steps);
    options.split = split;
    options.reducer.compress = "topk:density=0.05";
    options.reducer.feedback = "econtrol";
    return options;
}

static size_t read_column(const char *path, const char *array, double **values_out)
{
    lmn_file *file = NULL;
    size_t count = 0;
    lmn_error err = lmn_error_none();
    lmn_status status = lmn_file_open(path, &file, &err);
    if (status == LMN_OK) {
        status = lmn_file_read_f64(file, array, values_out, &count, &err);
    }
    if (status != LMN_OK) {
        fail_msg("%s", err.message);
    }
    assert_non_null(*values_out);
    lmn_file_close(file);
    return count;
}

/* /shards of a dataset with as many samples of each class, which are in turn. */
static void check_shards(const training *t, const char *path, const char *split)
{
    double *samples = NULL;
    double *labels = NULL;
    const size_t size = (size_t)t->size;
    assert_int_equal(read_column(path, "/shards/samples", &samples), size);
    assert_int_equal(read_column(path, "/shards/labels", &labels), size * TRAINING_CLASSES);
    if (samples == NULL || labels == NULL) {
        return;
    }
    for (size_t rank = 0; rank < size; rank++) {
        double sum = 0.0;
        for (size_t c = 0; c < TRAINING_CLASSES; c++) {
            sum += labels[rank * TRAINING_CLASSES + c];
        }
        assert_true(samples[rank] == sum);
        assert_int_equal(sum, lmn_partition(TRAINING_SAMPLES, size, rank).count);
    }
    for (size_t c = 0; c < TRAINING_CLASSES; c++) {
        double sum = 0.0;
        for (size_t rank = 0; rank < size; rank++) {
            sum += labels[rank * TRAINING_CLASSES + c];
        }
        assert_int_equal(sum, TRAINING_SAMPLES / TRAINING_CLASSES);
    }
    if (strcmp(split, "label") == 0 && size == TRAINING_CLASSES) {
        assert_int_equal(labels[0], TRAINING_SAMPLES / TRAINING_CLASSES);
    }
    lmn_free(samples);
    lmn_free(labels);
}

static void check_resumed(const training *t, size_t which)
{
    char path[TEST_PATH_BYTES];
    char directory[TEST_PATH_BYTES];
    char name[64];
    (void)snprintf(name, sizeof name, "split-%zu.h5", which);
    training_path(t, name, path);
    (void)snprintf(name, sizeof name, "split-%zu", which);
    training_path(t, name, directory);
    lmn_trainer_options options = options_of(splits[which], 22);
    const lmn_training_summary straight = training_run(t, &options);

    training_stop stop = training_stop_make(t, 9);
    options.results_path = path;
    options.checkpoint_directory = directory;
    options.should_stop = training_should_stop;
    options.user = &stop;
    assert_true(training_run(t, &options).stopped);
    stop = training_stop_make(t, UINT64_MAX);
    options.resume = true;
    const lmn_training_summary resumed = training_run(t, &options);
    assert_true(resumed.param_hash == straight.param_hash);
    assert_true(resumed.bytes_sent == straight.bytes_sent);
    assert_same_on_all_ranks(t, resumed.param_hash);
    if (t->rank == 0) {
        check_shards(t, path, splits[which]);
    }
}

static void trainer_run_on_shards_stopped_and_resumed_equals_straight_run(void **state)
{
    for (size_t which = 0; which < N_SPLITS; which++) {
        check_resumed(*state, which);
    }
}

static void trainer_run_resumed_with_another_split_is_refused(void **state)
{
    const training *t = *state;
    char directory[TEST_PATH_BYTES];
    training_path(t, "another", directory);
    lmn_trainer_options options = options_of("label", 4);
    options.checkpoint_directory = directory;
    (void)training_run(t, &options);
    options.split = "iid";
    options.steps = 6;
    options.resume = true;
    lmn_training_summary summary;
    lmn_error err = lmn_error_none();
    assert_int_equal(training_try(t, t->dataset, &t->task, &options, &summary, &err),
                     LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "split 'label', and this run has 'iid'"));
    assert_same_on_all_ranks(t, lmn_hash64(err.message, strlen(err.message), 0));
}

/* Alone, a rank has all samples, and each epoch of 8 batches uses each of them once. */
static void trainer_run_on_shards_trains_on_other_batches_than_iid(void **state)
{
    const training *t = *state;
    lmn_trainer_options options = training_options(8);
    const lmn_training_summary iid = training_run(t, &options);
    for (size_t which = 0; which < N_SPLITS; which++) {
        options.split = splits[which];
        const lmn_training_summary split = training_run(t, &options);
        assert_true(split.param_hash != iid.param_hash);
        assert_int_equal(split.epochs, 1);
        assert_same_on_all_ranks(t, split.param_hash);
    }
}

/* With as many classes as ranks, each rank has one class, and together they still learn all. */
static void trainer_run_on_shards_by_label_learns_all_classes(void **state)
{
    lmn_trainer_options options = options_of("label", 80);
    options.lr = 0.1;
    const lmn_training_summary summary = training_run(*state, &options);
    assert_true(summary.test.accuracy > 0.8);
}

static void trainer_create_unknown_split_is_refused(void **state)
{
    const training *t = *state;
    lmn_trainer_options options = options_of("dirichlet:alpha=-1", 4);
    lmn_training_summary summary;
    lmn_error err = lmn_error_none();
    assert_int_equal(training_try(t, t->dataset, &t->task, &options, &summary, &err),
                     LMN_ERR_USAGE);
    assert_non_null(strstr(err.message, "alpha"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainer_run_on_shards_stopped_and_resumed_equals_straight_run),
        cmocka_unit_test(trainer_run_resumed_with_another_split_is_refused),
        cmocka_unit_test(trainer_run_on_shards_trains_on_other_batches_than_iid),
        cmocka_unit_test(trainer_run_on_shards_by_label_learns_all_classes),
        cmocka_unit_test(trainer_create_unknown_split_is_refused),
    };
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    (void)MPI_Finalize();
    return failed;
}

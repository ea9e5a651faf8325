/*
 * Runs of the trainer: the same bits again, the same bits after a stop, the same training on any
 * number of ranks, and records that tell what happened.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

/* ---- reading run.h5 ---- */

typedef struct column {
    double *values;
    size_t count;
} column;

static column read_column(const char *path, const char *array)
{
    lmn_file *file = NULL;
    column found = {NULL, 0};
    lmn_error err = lmn_error_none();
    lmn_status status = lmn_file_open(path, &file, &err);
    if (status == LMN_OK) {
        status = lmn_file_read_f64(file, array, &found.values, &found.count, &err);
    }
    if (status != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_file_close(file);
    return found;
}

static double sum_of(const char *path, const char *array)
{
    const column found = read_column(path, array);
    double sum = 0.0;
    for (size_t i = 0; i < found.count; i++) {
        sum += found.values[i];
    }
    lmn_free(found.values);
    return sum;
}

static void assert_same_column(const char *path_a, const char *path_b, const char *array)
{
    const column a = read_column(path_a, array);
    const column b = read_column(path_b, array);
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.values, b.values, a.count * sizeof *a.values);
    lmn_free(a.values);
    lmn_free(b.values);
}

typedef struct wanted_number {
    const char *name;
    double value;
    bool found;
} wanted_number;

static lmn_status take_number(void *user, const lmn_value *value, lmn_error *err)
{
    (void)err;
    wanted_number *wanted = user;
    if (strcmp(value->name, wanted->name) == 0) {
        wanted->found = true;
        wanted->value = value->type == LMN_VALUE_U64 ? (double)value->u64 : value->f64;
    }
    return LMN_OK;
}

static double read_number(const char *path, const char *group, const char *name)
{
    wanted_number wanted = {.name = name};
    lmn_file *file = NULL;
    lmn_error err = lmn_error_none();
    lmn_status status = lmn_file_open(path, &file, &err);
    if (status == LMN_OK) {
        status = lmn_file_visit_attributes(file, group, take_number, &wanted, &err);
    }
    if (status != LMN_OK || !wanted.found) {
        fail_msg("%s of %s: %s", name, path, err.message);
    }
    lmn_file_close(file);
    return wanted.value;
}

/* ---- a run that was stopped and one that was not ---- */

typedef struct method {
    const char *compress, *feedback, *allocate, *optimizer;
    const char *augment; /* NULL: none */
} method;

static const method methods[] = {
    {"topk:density=0.05", "none", "lgreco:every=4,window=2", "sgd:momentum=0.9", NULL},
    {"topk:density=0.05", "ec", "lgreco:every=4,window=2", "sgd:momentum=0.9,nesterov=1", NULL},
    {"topk:density=0.05", "ef21", "lgreco:every=4,window=3", "adamw", NULL},
    {"topk:density=0.05", "econtrol", "lgreco:every=6,window=4", "sgd:momentum=0.9", NULL},
    {"topk:density=0.05", "econtrol:init=zero", "lgreco:every=7,warmup=3,window=4", "adamw", NULL},
    {"dense", "none", "uniform", "sgd", NULL},
    {"topk:density=0.05", "econtrol", "lgreco:every=6,window=4", "sgd", "crop:pad=2,cutout=0.3"},
};

static lmn_trainer_options options_of(const method *m, uint64_t steps)
{
    lmn_trainer_options options = training_options(steps);
    options.reducer.compress = m->compress;
    options.reducer.feedback = m->feedback;
    options.reducer.allocate = m->allocate;
    options.optimizer = m->optimizer;
    options.augment = m->augment != NULL ? m->augment : "none";
    options.schedule = "cosine:warmup=4";
    return options;
}

static const char *const repeated_columns[] = {"/steps/step",
                                               "/steps/loss",
                                               "/steps/learning_rate",
                                               "/steps/bytes_sent",
                                               "/steps/bytes_dense",
                                               "/steps/applied",
                                               "/levels/step",
                                               "/levels/level",
                                               "/levels/bytes",
                                               "/evaluations/step",
                                               "/evaluations/test_loss",
                                               "/evaluations/epoch",
                                               "/layers/parameters",
                                               "/evaluations/test_accuracy"};

static void assert_same_records(const training *t, const char *path_a, const char *path_b)
{
    for (size_t i = 0; t->rank == 0 && i < sizeof repeated_columns / sizeof repeated_columns[0];
         i++) {
        assert_same_column(path_a, path_b, repeated_columns[i]);
    }
}

static void assert_same_training(const lmn_training_summary *a, const lmn_training_summary *b)
{
    assert_true(a->param_hash == b->param_hash);
    assert_true(a->bytes_sent == b->bytes_sent);
    assert_true(a->bytes_dense == b->bytes_dense);
    assert_true(a->steps == b->steps);
    assert_true(a->loss == b->loss);
    assert_true(a->test.samples == b->test.samples);
    assert_true(a->test.loss == b->test.loss);
}

static void check_resumed(const training *t, size_t which)
{
    char straight_path[TEST_PATH_BYTES];
    char stopped_path[TEST_PATH_BYTES];
    char directory[TEST_PATH_BYTES];
    char name[64];
    (void)snprintf(name, sizeof name, "straight-%zu.h5", which);
    training_path(t, name, straight_path);
    (void)snprintf(name, sizeof name, "stopped-%zu.h5", which);
    training_path(t, name, stopped_path);
    (void)snprintf(name, sizeof name, "checkpoints-%zu", which);
    training_path(t, name, directory);

    lmn_trainer_options options = options_of(&methods[which], 20);
    options.results_path = straight_path;
    const lmn_training_summary straight = training_run(t, &options);
    assert_int_equal(straight.steps, 20);
    assert_false(straight.stopped);

    training_stop stop = training_stop_make(t, 10);
    options.results_path = stopped_path;
    options.checkpoint_directory = directory;
    options.should_stop = training_should_stop;
    options.user = &stop;
    const lmn_training_summary stopped = training_run(t, &options);
    assert_true(stopped.stopped);
    assert_int_equal(stopped.steps, 10);
    assert_true(stopped.param_hash != straight.param_hash);

    stop = training_stop_make(t, UINT64_MAX);
    options.resume = true;
    const lmn_training_summary resumed = training_run(t, &options);
    assert_int_equal(stop.asked, 10); /* the first ten steps were not made again */
    assert_false(resumed.stopped);
    assert_same_training(&resumed, &straight);
    assert_same_on_all_ranks(t, resumed.param_hash);
    assert_same_records(t, straight_path, stopped_path);
}

static void trainer_run_stopped_and_resumed_equals_straight_run(void **state)
{
    for (size_t which = 0; which < sizeof methods / sizeof methods[0]; which++) {
        check_resumed(*state, which);
    }
}

/* A checkpoint every 6 steps, a kill between two of them: the rows after it are made again. */
static void trainer_run_resumed_from_an_earlier_checkpoint_rewrites_its_rows(void **state)
{
    const training *t = *state;
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
    char newest[TEST_PATH_BYTES];
    training_path(t, "earlier", directory);
    training_path(t, "earlier.h5", path);
    lmn_trainer_options options = options_of(&methods[3], 20);
    options.results_path = path;
    options.checkpoint_directory = directory;
    options.checkpoint_every = 6;
    options.checkpoint_keep = 2;
    options.evaluate_every = 3;
    const lmn_training_summary straight = training_run(t, &options);
    path_join(newest, directory, "checkpoint-20.h5");
    if (t->rank == 0) {
        assert_int_equal(directory_count(directory), 2);
        assert_true(file_exists(newest));
        assert_int_equal(remove(newest), 0);
    }
    assert_int_equal(MPI_Barrier(MPI_COMM_WORLD), MPI_SUCCESS);
    options.resume = true;
    const lmn_training_summary resumed = training_run(t, &options);
    assert_same_training(&resumed, &straight);
    if (t->rank == 0) {
        const column steps = read_column(path, "/steps/step");
        assert_int_equal(steps.count, 20);
        lmn_free(steps.values);
        const column evaluations = read_column(path, "/evaluations/step");
        assert_int_equal(evaluations.count, 7); /* after 3, 6, ..., 18 and 20 */
        lmn_free(evaluations.values);
    }
}

static void trainer_run_checkpoints_by_the_clock_are_written(void **state)
{
    const training *t = *state;
    char directory[TEST_PATH_BYTES];
    training_path(t, "by-the-clock", directory);
    lmn_trainer_options options = training_options(5);
    options.checkpoint_directory = directory;
    options.checkpoint_seconds = 1e-9;
    options.checkpoint_keep = 0;
    (void)training_run(t, &options);
    if (t->rank == 0) {
        assert_int_equal(directory_count(directory), 5);
    }
}

/* Parameters and rows are those of checkpoints at once; what a crash leaves is resumed from. */
static void trainer_run_with_checkpoints_in_the_background_equals_one_without(void **state)
{
    const training *t = *state;
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
    char newest[TEST_PATH_BYTES];
    training_path(t, "background", directory);
    training_path(t, "background.h5", path);
    lmn_trainer_options options = options_of(&methods[3], 20);
    const lmn_training_summary straight = training_run(t, &options);
    options.results_path = path;
    options.checkpoint_directory = directory;
    options.checkpoint_every = 3;
    options.checkpoint_keep = 0;
    options.checkpoint_async = true;
    const lmn_training_summary saved = training_run(t, &options);
    assert_same_training(&saved, &straight);
    if (t->rank == 0) {
        assert_int_equal(directory_count(directory), 7); /* 3, 6, ..., 18 and 20 */
        path_join(newest, directory, "checkpoint-20.h5");
        assert_int_equal(remove(newest), 0);
    }
    assert_int_equal(MPI_Barrier(MPI_COMM_WORLD), MPI_SUCCESS);
    options.resume = true;
    const lmn_training_summary resumed = training_run(t, &options);
    assert_same_training(&resumed, &straight);
}

static void trainer_run_resumed_when_complete_only_evaluates(void **state)
{
    const training *t = *state;
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
    training_path(t, "complete", directory);
    training_path(t, "complete.h5", path);
    training_stop count = training_stop_make(t, UINT64_MAX);
    lmn_trainer_options options = training_options(8);
    options.checkpoint_directory = directory;
    options.results_path = path;
    const lmn_training_summary first = training_run(t, &options);
    options.resume = true;
    options.should_stop = training_should_stop;
    options.user = &count;
    const lmn_training_summary second = training_run(t, &options);
    assert_int_equal(count.asked, 0);
    assert_same_training(&first, &second);
    assert_true(second.seconds == first.seconds);
    if (t->rank == 0) {
        const column evaluations = read_column(path, "/evaluations/step");
        assert_int_equal(evaluations.count, 1);
        lmn_free(evaluations.values);
    }
}

/* ---- the same training again, and on other numbers of ranks ---- */

static void trainer_run_repeated_gives_the_same_bits(void **state)
{
    const lmn_trainer_options options = options_of(&methods[3], 20);
    const lmn_training_summary first = training_run(*state, &options);
    const lmn_training_summary second = training_run(*state, &options);
    assert_same_training(&first, &second);
    assert_same_on_all_ranks(*state, first.param_hash);
}

static void trainer_run_other_seed_gives_other_parameters(void **state)
{
    lmn_trainer_options options = training_options(2);
    const lmn_training_summary first = training_run(*state, &options);
    options.seed++;
    const lmn_training_summary second = training_run(*state, &options);
    assert_true(first.param_hash != second.param_hash);
}

static void trainer_run_augmented_trains_on_other_images(void **state)
{
    lmn_trainer_options options = training_options(2);
    const lmn_training_summary plain = training_run(*state, &options);
    options.augment = "crop:pad=0,flip=0";
    const lmn_training_summary same = training_run(*state, &options);
    options.augment = "crop:pad=2";
    const lmn_training_summary changed = training_run(*state, &options);
    assert_true(plain.param_hash == same.param_hash);
    assert_true(plain.param_hash != changed.param_hash);
    assert_same_on_all_ranks(*state, changed.param_hash);
}

/* What happens to an image belongs to the sample, not to the rank that reads it. */
static void trainer_run_augmented_trains_like_one_rank(void **state)
{
    const training *t = *state;
    lmn_trainer_options options = training_options(12);
    options.augment = "crop:pad=2,cutout=0.3";
    const lmn_training_summary together = training_run(t, &options);
    const lmn_training_summary alone = training_run_alone(t, &options);
    assert_true(fabs(together.loss - alone.loss) <= 1e-4 * fabs(alone.loss));
}

static void check_like_alone(const training *t, size_t global_batch)
{
    lmn_trainer_options options = training_options(20);
    options.global_batch = global_batch;
    const lmn_training_summary together = training_run(t, &options);
    const lmn_training_summary alone = training_run_alone(t, &options);
    assert_true(fabs(together.loss - alone.loss) <= 1e-4 * fabs(alone.loss));
    assert_true(fabs(together.test.loss - alone.test.loss) <= 1e-4 * fabs(alone.test.loss));
    assert_int_equal(together.test.samples, TRAINING_TESTS);
    assert_int_equal(alone.test.samples, TRAINING_TESTS);
}

static void trainer_run_dense_trains_like_one_rank(void **state)
{
    check_like_alone(*state, TRAINING_BATCH);
}

static void trainer_run_batch_not_divisible_by_ranks_trains_like_one_rank(void **state)
{
    check_like_alone(*state, 31);
    check_like_alone(*state, 5);
}

/* Masks belong to rows of the global batch, not to ranks. */
static void trainer_run_with_dropout_trains_like_one_rank(void **state)
{
    training t = *(const training *)*state;
    t.vision.model = "mlp:hidden=16,dropout=0.25";
    t.task = lmn_vision_task_get(&t.vision);
    check_like_alone(&t, 31);
}

static void trainer_run_compressed_learns(void **state)
{
    lmn_trainer_options options = options_of(&methods[3], 60);
    options.lr = 0.1;
    const lmn_training_summary summary = training_run(*state, &options);
    assert_true(summary.test.accuracy > 0.8);
}

/* ---- what is reported ---- */

typedef struct progress_seen {
    uint64_t calls;
    uint64_t evaluations;
    lmn_training_progress last;
} progress_seen;

static void see_progress(void *user, const lmn_training_progress *progress)
{
    progress_seen *seen = user;
    seen->calls++;
    seen->evaluations += progress->evaluation != NULL ? 1 : 0;
    assert_int_equal(progress->step, seen->calls);
    seen->last = *progress;
}

static void trainer_run_reports_progress_on_rank_0(void **state)
{
    const training *t = *state;
    progress_seen seen = {0};
    lmn_trainer_options options = training_options(20);
    options.on_progress = see_progress;
    options.user = &seen;
    const lmn_training_summary summary = training_run(t, &options);
    assert_int_equal(seen.calls, t->rank == 0 ? 20 : 0);
    if (t->rank == 0) {
        assert_int_equal(seen.evaluations, 3); /* two epochs of 8 steps, and the end */
        assert_int_equal(seen.last.total_steps, 20);
        assert_true(seen.last.epoch == 2.5);
        assert_true(seen.last.loss == summary.loss);
        /* Its own part of the sum: all of it for one rank, which sends nothing. */
        assert_true((seen.last.bytes_sent == 0) == (t->size == 1));
        assert_true(t->size == 1 || seen.last.bytes_sent < summary.bytes_sent);
        assert_true(seen.last.bytes_dense * (uint64_t)t->size >= summary.bytes_dense);
        assert_true(seen.last.samples_per_s > 0.0);
    }
}

static void check_results(const char *path, const lmn_training_summary *summary)
{
    assert_true(sum_of(path, "/steps/bytes_sent") == (double)summary->bytes_sent);
    assert_true(sum_of(path, "/steps/bytes_dense") == (double)summary->bytes_dense);
    assert_true(fabs(sum_of(path, "/steps/seconds") - summary->seconds) < 1e-9);
    assert_true(fabs(sum_of(path, "/steps/seconds_read") - summary->input_seconds) < 1e-9);
    assert_true(read_number(path, "/summary", "input_seconds") == summary->input_seconds);
    assert_true(summary->input_seconds > 0.0 && summary->input_seconds < summary->seconds);
    assert_true(sum_of(path, "/steps/applied") == 300.0);
    assert_true(sum_of(path, "/layers/parameters") == (double)summary->parameters);
    assert_true(read_number(path, "/summary", "steps") == 300.0);
    assert_true(read_number(path, "/summary", "param_hash") == (double)summary->param_hash);
    assert_true(read_number(path, "/summary", "test_accuracy") == summary->test.accuracy);
    assert_true(read_number(path, "/summary", "train_loss") == summary->loss);
    assert_true(read_number(path, "/configuration", "global_batch") == TRAINING_BATCH);
    const column losses = read_column(path, "/steps/loss");
    assert_int_equal(losses.count, 300);
    if (losses.values == NULL) {
        fail(); /* of which the analyzer does not know that it does not return */
        return;
    }
    assert_true(losses.values[299] == summary->loss);
    assert_true(losses.values[299] < losses.values[0]);
    lmn_free(losses.values);
}

/* More steps than ranks hold back before they add up their bytes, and no evaluation among them. */
static void trainer_run_long_writes_every_step_to_the_results(void **state)
{
    const training *t = *state;
    char path[TEST_PATH_BYTES];
    training_path(t, "long.h5", path);
    lmn_trainer_options options = options_of(&methods[0], 300);
    options.results_path = path;
    options.evaluate_every = 1000;
    options.verify_every = 0;
    const lmn_training_summary summary = training_run(t, &options);
    assert_true(t->size == 1 || summary.bytes_sent < summary.bytes_dense);
    if (t->rank == 0) {
        check_results(path, &summary);
    }
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainer_run_stopped_and_resumed_equals_straight_run),
        cmocka_unit_test(trainer_run_resumed_from_an_earlier_checkpoint_rewrites_its_rows),
        cmocka_unit_test(trainer_run_checkpoints_by_the_clock_are_written),
        cmocka_unit_test(trainer_run_with_checkpoints_in_the_background_equals_one_without),
        cmocka_unit_test(trainer_run_resumed_when_complete_only_evaluates),
        cmocka_unit_test(trainer_run_repeated_gives_the_same_bits),
        cmocka_unit_test(trainer_run_other_seed_gives_other_parameters),
        cmocka_unit_test(trainer_run_augmented_trains_on_other_images),
        cmocka_unit_test(trainer_run_augmented_trains_like_one_rank),
        cmocka_unit_test(trainer_run_dense_trains_like_one_rank),
        cmocka_unit_test(trainer_run_batch_not_divisible_by_ranks_trains_like_one_rank),
        cmocka_unit_test(trainer_run_with_dropout_trains_like_one_rank),
        cmocka_unit_test(trainer_run_compressed_learns),
        cmocka_unit_test(trainer_run_reports_progress_on_rank_0),
        cmocka_unit_test(trainer_run_long_writes_every_step_to_the_results),
    };
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    return MPI_Finalize() == MPI_SUCCESS ? failed : 1;
}

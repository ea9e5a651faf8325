/*
 * Runs of the trainer that must not succeed, or must get over something: every rank leaves with the
 * same status and message, and none waits for another.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/hash.h"
#include "lamina/import.h"
#include "lamina/memory.h"
#include "lamina/ops.h"
#include "training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

/* The run ends with `status` and the same message on all ranks, and the message holds `words`. */
static void assert_fails_with(const training *t, const lmn_dataset *dataset, const lmn_task *task,
                              const lmn_trainer_options *options, lmn_status status,
                              const char *words)
{
    lmn_training_summary summary = {.steps = 77};
    lmn_error err = lmn_error_none();
    const lmn_status found = training_try(t, dataset, task, options, &summary, &err);
    if (found != status || strstr(err.message, words) == NULL) {
        fail_msg("got %s (%s), expected %s with '%s'", lmn_status_text(found), err.message,
                 lmn_status_text(status), words);
    }
    assert_int_equal(summary.steps, 77);
    assert_same_on_all_ranks(t, lmn_hash64(err.message, strlen(err.message), 0));
}

static void assert_refused(const training *t, const lmn_trainer_options *options, lmn_status status,
                           const char *words)
{
    assert_fails_with(t, t->dataset, &t->task, options, status, words);
}

/* ---- options ---- */

static void trainer_create_batch_smaller_than_ranks_is_refused(void **state)
{
    const training *t = *state;
    lmn_trainer_options options = training_options(2);
    options.global_batch = (size_t)t->size - 1;
    assert_refused(t, &options, LMN_ERR_ARGUMENT, "smaller than the");
}

static void trainer_create_nothing_to_train_is_refused(void **state)
{
    lmn_trainer_options options = training_options(0);
    options.epochs = 0.0;
    assert_refused(*state, &options, LMN_ERR_ARGUMENT, "nothing to train");
    options.epochs = 1e300;
    assert_refused(*state, &options, LMN_ERR_ARGUMENT, "more than can be counted");
}

static void trainer_create_learning_rate_of_nan_is_refused(void **state)
{
    lmn_trainer_options options = training_options(2);
    options.lr = (double)NAN;
    assert_refused(*state, &options, LMN_ERR_ARGUMENT, "learning rate");
}

static void trainer_create_skip_limit_of_zero_is_refused(void **state)
{
    lmn_trainer_options options = training_options(2);
    options.skip_limit = 0;
    assert_refused(*state, &options, LMN_ERR_ARGUMENT, "skipped steps");
}

static void trainer_create_checkpoints_without_directory_are_refused(void **state)
{
    lmn_trainer_options options = training_options(2);
    options.checkpoint_every = 1;
    assert_refused(*state, &options, LMN_ERR_ARGUMENT, "no checkpoint directory");
}

static void trainer_create_without_a_spec_is_refused(void **state)
{
    lmn_trainer_options options = training_options(2);
    options.reducer.feedback = NULL;
    assert_refused(*state, &options, LMN_ERR_ARGUMENT, "need a spec");
}

static void trainer_create_unknown_methods_are_refused(void **state)
{
    lmn_trainer_options options = training_options(2);
    options.optimizer = "sgdx";
    assert_refused(*state, &options, LMN_ERR_USAGE, "sgdx");
    options = training_options(2);
    options.schedule = "cosine:warmap=1";
    assert_refused(*state, &options, LMN_ERR_USAGE, "warmap");
    options = training_options(2);
    options.reducer.compress = "topk:density=2";
    assert_refused(*state, &options, LMN_ERR_USAGE, "density");
    options = training_options(2);
    options.augment = "crop:flip=2";
    assert_refused(*state, &options, LMN_ERR_USAGE, "flip");
}

static void trainer_create_model_unknown_to_one_rank_fails_on_all(void **state)
{
    const training *t = *state;
    lmn_vision_task vision = t->vision;
    if (t->rank == t->size - 1) {
        vision.model = "mlq";
    }
    const lmn_task task = lmn_vision_task_get(&vision);
    const lmn_trainer_options options = training_options(2);
    assert_fails_with(t, t->dataset, &task, &options, LMN_ERR_USAGE, "mlq");
}

static void trainer_create_other_options_on_one_rank_fails_on_all(void **state)
{
    const training *t = *state;
    if (t->size == 1) {
        skip();
    }
    lmn_trainer_options options = training_options(2);
    options.seed += t->rank == 0 ? 1 : 0;
    assert_refused(t, &options, LMN_ERR_DIVERGED, "options");
    options = training_options(2);
    options.optimizer = t->rank == 0 ? "sgd" : "adamw";
    assert_refused(t, &options, LMN_ERR_DIVERGED, "options");
    options = training_options(2);
    options.lr = t->rank == 0 ? 0.1 : 0.2;
    assert_refused(t, &options, LMN_ERR_DIVERGED, "options");
}

/* ---- descriptions ---- */

static void trainer_describe_name_that_is_taken_is_refused(void **state)
{
    const training *t = *state;
    const lmn_trainer_options options = training_options(2);
    lmn_trainer *trainer = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_trainer_create(t->world, t->dataset, &t->task, &options, &trainer, &err),
                     LMN_OK);
    assert_int_equal(lmn_trainer_describe(trainer, "note", "first", false, &err), LMN_OK);
    assert_int_equal(lmn_trainer_describe(trainer, "note", "second", false, &err),
                     LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_trainer_describe(trainer, "compress", "x", false, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_trainer_describe(trainer, "step", "x", false, &err), LMN_ERR_ARGUMENT);
    lmn_trainer_destroy(trainer);
}

/* ---- gradients that are not finite ---- */

/* Vision, but a batch with the white sample in it multiplies its loss by the root of a negative
   number. */
static lmn_status build_poisoned(const void *user, lmn_graph *graph, size_t rows,
                                 lmn_task_graph *task_out, lmn_error *err)
{
    const lmn_vision_task *vision = user;
    lmn_task_graph task = {.loss = NULL};
    lmn_status status = lmn_vision_task_get(vision).build(vision, graph, rows, &task, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_tensor *light = lmn_reduce_sum(graph, task.inputs[0], 0xEU, false);
    const lmn_tensor *brightest = lmn_reduce_max(graph, light, LMN_ALL_AXES, false);
    const lmn_shape scalar = {.n_dims = 0};
    const lmn_tensor *limit = lmn_constant(graph, (float)TRAINING_PIXELS - 0.5F, scalar);
    const lmn_tensor *root = lmn_sqrt(graph, lmn_sub(graph, limit, brightest));
    task.loss = lmn_mul(graph, task.loss, lmn_scale(graph, root, 0.1F));
    status = lmn_graph_status(graph, err);
    if (status == LMN_OK) {
        *task_out = task;
    }
    return status;
}

static void trainer_run_bad_sample_on_one_rank_skips_the_step_on_all(void **state)
{
    const training *t = *state;
    const lmn_task task = {.build = build_poisoned, .user = &t->vision};
    lmn_trainer_options options = training_options(2 * TRAINING_SAMPLES / TRAINING_BATCH);
    options.reducer.compress = "topk:density=0.1";
    options.reducer.feedback = "econtrol";
    lmn_training_summary summary = {0};
    lmn_error err = lmn_error_none();
    if (training_try(t, t->dataset, &task, &options, &summary, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(summary.skipped, 2); /* once in each of two epochs */
    assert_int_equal(summary.steps, 16);
    assert_true(isfinite(summary.test.accuracy));
    assert_true(summary.test.loss < 3.0);
    assert_same_on_all_ranks(t, summary.param_hash);
}

static void trainer_run_50_skipped_steps_in_a_row_end_the_run(void **state)
{
    const training *t = *state;
    char path[TEST_PATH_BYTES];
    training_path(t, "skipped.h5", path);
    const lmn_task task = {.build = build_poisoned, .user = &t->vision};
    lmn_trainer_options options = training_options(60);
    options.global_batch = TRAINING_SAMPLES; /* the bad sample is in every batch */
    options.evaluate_every = 100;
    options.results_path = path;
    assert_fails_with(t, t->dataset, &task, &options, LMN_ERR_NONFINITE,
                      "50 steps in a row were skipped");
    if (t->rank == 0) {
        lmn_file *file = NULL;
        double *applied = NULL;
        size_t count = 0;
        assert_int_equal(lmn_file_open(path, &file, NULL), LMN_OK);
        assert_int_equal(lmn_file_read_f64(file, "/steps/applied", &applied, &count, NULL), LMN_OK);
        assert_int_equal(count, 50);
        assert_true(applied[49] == 0.0);
        lmn_free(applied);
        lmn_file_close(file);
    }
}

/* ---- one rank that cannot go on ---- */

static void copy_file(const char *from, const char *to)
{
    size_t bytes = 0;
    unsigned char *data = file_read(from, &bytes);
    file_write(to, data, bytes);
    free(data);
}

/* The last rank reads a copy of its own, which loses its end under way. */
static void assert_cut_short_fails_on_all(const training *t, const lmn_task *task)
{
    char path[TEST_PATH_BYTES];
    char name[32];
    (void)snprintf(name, sizeof name, "copy-%d.h5", t->rank);
    training_path(t, name, path);
    copy_file(t->dataset_path, path);
    lmn_world *self = NULL;
    lmn_dataset *dataset = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_create(MPI_COMM_SELF, NULL, &self, &err), LMN_OK);
    assert_int_equal(lmn_dataset_open(self, path, &dataset, &err), LMN_OK);
    if (t->rank == t->size - 1) {
        file_truncate(path, 2048);
    }
    const lmn_trainer_options options = training_options(20);
    assert_fails_with(t, dataset, task, &options, LMN_ERR_FORMAT, "");
    lmn_dataset_close(dataset);
    lmn_world_destroy(self);
}

static void trainer_run_dataset_cut_short_on_one_rank_fails_on_all(void **state)
{
    const training *t = *state;
    assert_cut_short_fails_on_all(t, &t->task);
}

/* The other ranks wait for the sums of the one without a batch in the middle of their step. */
static void trainer_run_dataset_cut_short_while_ranks_synchronise_fails_on_all(void **state)
{
    const training *t = *state;
    const lmn_vision_task vision = {.model = "resnet20:width=4,blocks=1,sync=1",
                                    .data = *lmn_dataset_get_info(t->dataset)};
    const lmn_task task = lmn_vision_task_get(&vision);
    assert_cut_short_fails_on_all(t, &task);
}

static void trainer_run_results_in_missing_directory_fails_on_all(void **state)
{
    const training *t = *state;
    char path[TEST_PATH_BYTES];
    training_path(t, "nowhere/run.h5", path);
    lmn_trainer_options options = training_options(2);
    options.results_path = path;
    assert_refused(t, &options, LMN_ERR_IO, "nowhere/run.h5");
}

static void trainer_run_checkpoints_where_a_file_is_fails_on_all(void **state)
{
    const training *t = *state;
    char path[TEST_PATH_BYTES];
    training_path(t, "dataset.h5/checkpoints", path);
    lmn_trainer_options options = training_options(2);
    options.checkpoint_directory = path;
    assert_refused(t, &options, LMN_ERR_IO, "dataset.h5");
}

/* What should_stop is asked for: never to stop, but to take the directory away after some steps. */
typedef struct remover {
    const char *directory, *away;
    uint64_t asked, after;
    bool removes; /* on this rank */
} remover;

static bool remove_and_go_on(void *user)
{
    remover *r = user;
    if (++r->asked == r->after && r->removes) {
        assert_int_equal(rename(r->directory, r->away), 0);
    }
    return false;
}

static void trainer_run_checkpoint_directory_removed_ends_the_run_on_all(void **state)
{
    const training *t = *state;
    for (int async = 0; async < 2; async++) {
        char directory[TEST_PATH_BYTES];
        char away[TEST_PATH_BYTES];
        training_path(t, async == 1 ? "removed-async" : "removed", directory);
        training_path(t, async == 1 ? "away-async" : "away", away);
        remover r = {.directory = directory, .away = away, .after = 6, .removes = t->rank == 0};
        lmn_trainer_options options = training_options(20);
        options.checkpoint_directory = directory;
        options.checkpoint_every = 4;
        options.checkpoint_async = async == 1;
        options.should_stop = remove_and_go_on;
        options.user = &r;
        assert_refused(t, &options, LMN_ERR_IO, "is gone");
        assert_in_range(r.asked, 6, 8); /* one on its way may fail earlier */
        assert_false(file_exists(directory));
        assert_true(file_exists(away));
    }
}

/* ---- resuming what does not fit ---- */

/* A directory with the checkpoint of a finished run; options fit it. */
static lmn_trainer_options make_checkpoint(const training *t, const char *name,
                                           char directory_out[TEST_PATH_BYTES])
{
    training_path(t, name, directory_out);
    lmn_trainer_options options = training_options(4);
    options.reducer.compress = "topk:density=0.1";
    options.reducer.feedback = "ec";
    options.checkpoint_directory = directory_out;
    (void)training_run(t, &options);
    options.resume = true;
    options.steps = 6;
    return options;
}

static void trainer_run_directory_with_checkpoints_needs_resume(void **state)
{
    char directory[TEST_PATH_BYTES];
    lmn_trainer_options options = make_checkpoint(*state, "needs-resume", directory);
    options.resume = false;
    assert_refused(*state, &options, LMN_ERR_ARGUMENT, "resume it, or choose another");
}

static void trainer_run_resumed_with_other_settings_is_refused(void **state)
{
    const training *t = *state;
    char directory[TEST_PATH_BYTES];
    const lmn_trainer_options good = make_checkpoint(t, "other-settings", directory);
    lmn_trainer_options options = good;
    options.seed = 4;
    assert_refused(t, &options, LMN_ERR_ARGUMENT, "seed 3, not 4");
    options = good;
    options.global_batch = 64;
    assert_refused(t, &options, LMN_ERR_ARGUMENT, "batches of 32 samples, not 64");
    options = good;
    options.optimizer = "adamw";
    assert_refused(t, &options, LMN_ERR_ARGUMENT, "adamw");
    options = good;
    options.lr = 0.1;
    options.schedule = "cosine";
    assert_refused(t, &options, LMN_ERR_ARGUMENT, "cosine");
    options = good;
    options.augment = "crop:pad=1";
    assert_refused(t, &options, LMN_ERR_ARGUMENT, "crop:pad=1");
    options = good;
    options.steps = 3;
    assert_refused(t, &options, LMN_ERR_ARGUMENT, "has made 4 steps");
    const lmn_training_summary summary = training_run(t, &good);
    assert_int_equal(summary.steps, 6);
}

static void trainer_run_resumed_on_other_data_is_refused(void **state)
{
    const training *t = *state;
    char directory[TEST_PATH_BYTES];
    char images[TEST_PATH_BYTES];
    char labels[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
    const lmn_trainer_options options = make_checkpoint(t, "other-data", directory);
    training_path(t, "test-images", images);
    training_path(t, "test-labels", labels);
    training_path(t, "other.h5", path);
    if (t->rank == 0) {
        const lmn_import_idx_options import = {.train_images = images, .train_labels = labels};
        assert_int_equal(lmn_import_idx(&import, path, NULL), LMN_OK);
    }
    assert_int_equal(MPI_Barrier(MPI_COMM_WORLD), MPI_SUCCESS);
    lmn_dataset *other = NULL;
    assert_int_equal(lmn_dataset_open(t->world, path, &other, NULL), LMN_OK);
    assert_fails_with(t, other, &t->task, &options, LMN_ERR_ARGUMENT, "other data");
    lmn_dataset_close(other);
}

static void trainer_run_resumed_on_other_number_of_ranks_goes_on(void **state)
{
    const training *t = *state;
    if (t->size == 1) {
        skip();
    }
    char directory[TEST_PATH_BYTES];
    training_path(t, "one-rank", directory);
    lmn_trainer_options options = training_options(4);
    options.reducer.compress = "topk:density=0.1";
    options.reducer.feedback = "ec";
    options.checkpoint_directory = directory;
    if (t->rank == 0) {
        (void)training_run_alone(t, &options);
    }
    assert_int_equal(MPI_Barrier(MPI_COMM_WORLD), MPI_SUCCESS);
    options.resume = true;
    options.steps = 7;
    const lmn_training_summary summary = training_run(t, &options);
    assert_int_equal(summary.steps, 7);
    assert_same_on_all_ranks(t, summary.param_hash);
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trainer_create_batch_smaller_than_ranks_is_refused),
        cmocka_unit_test(trainer_create_nothing_to_train_is_refused),
        cmocka_unit_test(trainer_create_learning_rate_of_nan_is_refused),
        cmocka_unit_test(trainer_create_skip_limit_of_zero_is_refused),
        cmocka_unit_test(trainer_create_checkpoints_without_directory_are_refused),
        cmocka_unit_test(trainer_create_without_a_spec_is_refused),
        cmocka_unit_test(trainer_create_unknown_methods_are_refused),
        cmocka_unit_test(trainer_create_model_unknown_to_one_rank_fails_on_all),
        cmocka_unit_test(trainer_create_other_options_on_one_rank_fails_on_all),
        cmocka_unit_test(trainer_describe_name_that_is_taken_is_refused),
        cmocka_unit_test(trainer_run_bad_sample_on_one_rank_skips_the_step_on_all),
        cmocka_unit_test(trainer_run_50_skipped_steps_in_a_row_end_the_run),
        cmocka_unit_test(trainer_run_dataset_cut_short_on_one_rank_fails_on_all),
        cmocka_unit_test(trainer_run_dataset_cut_short_while_ranks_synchronise_fails_on_all),
        cmocka_unit_test(trainer_run_results_in_missing_directory_fails_on_all),
        cmocka_unit_test(trainer_run_checkpoints_where_a_file_is_fails_on_all),
        cmocka_unit_test(trainer_run_checkpoint_directory_removed_ends_the_run_on_all),
        cmocka_unit_test(trainer_run_directory_with_checkpoints_needs_resume),
        cmocka_unit_test(trainer_run_resumed_with_other_settings_is_refused),
        cmocka_unit_test(trainer_run_resumed_on_other_data_is_refused),
        cmocka_unit_test(trainer_run_resumed_on_other_number_of_ranks_goes_on),
    };
    const int failed = cmocka_run_group_tests(tests, training_create, training_destroy);
    return MPI_Finalize() == MPI_SUCCESS ? failed : 1;
}

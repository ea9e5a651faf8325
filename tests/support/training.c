/*
 * A small problem to train on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "training.h"

#include "lamina/import.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

/* The label of a sample, and a pixel of it: noise, and light in the corner of its class. */
static unsigned char label_of(uint32_t sample)
{
    return (unsigned char)(sample % TRAINING_CLASSES);
}

static unsigned char pixel_of(uint32_t sample, uint32_t index)
{
    const uint32_t row = index / TRAINING_SIDE;
    const uint32_t column = index % TRAINING_SIDE;
    const uint32_t corner =
        (row < TRAINING_SIDE / 2 ? 0U : 2U) + (column < TRAINING_SIDE / 2 ? 0U : 1U);
    const uint32_t noise = (sample * 2654435761U + index * 40503U) * 2246822519U >> 25;
    return (unsigned char)(noise + (corner == label_of(sample) ? 60 : 0));
}

static void write_split(const char *images_path, const char *labels_path, uint32_t first,
                        uint32_t count)
{
    const uint32_t dims[] = {count, TRAINING_SIDE, TRAINING_SIDE};
    unsigned char *images = malloc((size_t)count * TRAINING_PIXELS);
    unsigned char *labels = malloc(count);
    assert_non_null(images);
    assert_non_null(labels);
    for (uint32_t i = 0; i < count; i++) {
        labels[i] = label_of(first + i);
        for (uint32_t index = 0; index < TRAINING_PIXELS; index++) {
            images[(size_t)i * TRAINING_PIXELS + index] =
                first + i == 0 ? 255 : pixel_of(first + i, index);
        }
    }
    idx_write(images_path, 3, dims, images, false);
    idx_write(labels_path, 1, dims, labels, false);
    free(images);
    free(labels);
}

static void write_dataset(const training *t)
{
    static const char *const names[] = {"train-images", "train-labels", "test-images",
                                        "test-labels"};
    char paths[4][TEST_PATH_BYTES];
    for (size_t i = 0; i < 4; i++) {
        training_path(t, names[i], paths[i]);
    }
    write_split(paths[0], paths[1], 0, TRAINING_SAMPLES);
    write_split(paths[2], paths[3], TRAINING_SAMPLES, TRAINING_TESTS);
    const lmn_import_idx_options options = {.train_images = paths[0],
                                            .train_labels = paths[1],
                                            .test_images = paths[2],
                                            .test_labels = paths[3]};
    lmn_error err = lmn_error_none();
    if (lmn_import_idx(&options, t->dataset_path, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
}

int training_create(void **state)
{
    training *t = calloc(1, sizeof *t);
    assert_non_null(t);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_create(MPI_COMM_WORLD, NULL, &t->world, &err), LMN_OK);
    t->rank = lmn_world_rank(t->world);
    t->size = lmn_world_size(t->world);
    if (t->rank == 0) {
        scratch_create(t->directory);
    }
    assert_int_equal(lmn_world_broadcast(t->world, t->directory, sizeof t->directory, 0, &err),
                     LMN_OK);
    training_path(t, "dataset.h5", t->dataset_path);
    if (t->rank == 0) {
        write_dataset(t);
    }
    assert_int_equal(MPI_Barrier(MPI_COMM_WORLD), MPI_SUCCESS);
    if (lmn_dataset_open(t->world, t->dataset_path, &t->dataset, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    t->vision =
        (lmn_vision_task){.model = "mlp:hidden=16", .data = *lmn_dataset_get_info(t->dataset)};
    t->task = lmn_vision_task_get(&t->vision);
    *state = t;
    return 0;
}

int training_destroy(void **state)
{
    training *t = *state;
    lmn_dataset_close(t->dataset);
    assert_int_equal(MPI_Barrier(MPI_COMM_WORLD), MPI_SUCCESS);
    if (t->rank == 0) {
        scratch_remove(t->directory);
    }
    lmn_world_destroy(t->world);
    free(t);
    return 0;
}

void training_path(const training *t, const char *name, char path_out[TEST_PATH_BYTES])
{
    path_join(path_out, t->directory, name);
}

lmn_trainer_options training_options(uint64_t steps)
{
    lmn_trainer_options options = lmn_trainer_options_default();
    options.steps = steps;
    options.global_batch = TRAINING_BATCH;
    options.schedule = "constant";
    options.lr = 0.05;
    options.verify_every = 1;
    options.seed = 3;
    return options;
}

static lmn_status run_over(lmn_world *world, const lmn_dataset *dataset, const lmn_task *task,
                           const lmn_trainer_options *options, lmn_training_summary *summary_out,
                           lmn_error *err)
{
    lmn_trainer *trainer = NULL;
    lmn_status status = lmn_trainer_create(world, dataset, task, options, &trainer, err);
    if (status == LMN_OK) {
        status = lmn_agree(world, lmn_trainer_describe(trainer, "model", "small", true, err), err);
    }
    if (status == LMN_OK) {
        status = lmn_trainer_run(trainer, summary_out, err);
    }
    lmn_trainer_destroy(trainer);
    return status;
}

lmn_status training_try(const training *t, const lmn_dataset *dataset, const lmn_task *task,
                        const lmn_trainer_options *options, lmn_training_summary *summary_out,
                        lmn_error *err)
{
    return run_over(t->world, dataset, task, options, summary_out, err);
}

lmn_training_summary training_run_task(const training *t, const lmn_task *task,
                                       const lmn_trainer_options *options)
{
    lmn_training_summary summary = {0};
    lmn_error err = lmn_error_none();
    if (run_over(t->world, t->dataset, task, options, &summary, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return summary;
}

lmn_training_summary training_run(const training *t, const lmn_trainer_options *options)
{
    return training_run_task(t, &t->task, options);
}

lmn_training_summary training_run_alone(const training *t, const lmn_trainer_options *options)
{
    lmn_world *world = NULL;
    lmn_dataset *dataset = NULL;
    lmn_training_summary summary = {0};
    lmn_error err = lmn_error_none();
    lmn_status status = lmn_world_create(MPI_COMM_SELF, NULL, &world, &err);
    if (status == LMN_OK) {
        status = lmn_dataset_open(world, t->dataset_path, &dataset, &err);
    }
    if (status == LMN_OK) {
        status = run_over(world, dataset, &t->task, options, &summary, &err);
    }
    if (status != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_dataset_close(dataset);
    lmn_world_destroy(world);
    return summary;
}

training_stop training_stop_make(const training *t, uint64_t after)
{
    return (training_stop){.after = after, .may_stop = t->rank == t->size - 1};
}

bool training_should_stop(void *user)
{
    training_stop *stop = user;
    stop->asked++;
    return stop->may_stop && stop->asked >= stop->after;
}

void assert_same_on_all_ranks(const training *t, uint64_t value)
{
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_check_same(t->world, "a value of this test", value, &err), LMN_OK);
}

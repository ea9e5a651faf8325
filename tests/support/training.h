/*
 * A small problem to train on, the same on all ranks: 256 images of 12 x 12 in 4 classes.
 *
 * Each class is brighter in its own corner, so a small network learns it in a few dozen steps.
 * Training sample 0 is white all over, and no other one is: tests can tell it from the rest.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_TRAINING_H
#define LAMINA_TESTS_TRAINING_H

#include "files.h"
#include "lamina/inspect.h"
#include "lamina/trainer.h"

enum {
    TRAINING_SIDE = 12,
    TRAINING_PIXELS = TRAINING_SIDE * TRAINING_SIDE,
    TRAINING_CLASSES = 4,
    TRAINING_SAMPLES = 256,
    TRAINING_TESTS = 66,
    TRAINING_BATCH = 32
};

/* What all tests of a group share. Ranks of MPI_COMM_WORLD see the same directory. */
typedef struct training {
    lmn_world *world;
    int rank, size;
    char directory[TEST_PATH_BYTES];
    char dataset_path[TEST_PATH_BYTES];
    lmn_dataset *dataset;
    lmn_vision_task vision;
    lmn_task task;
} training;

/** CMocka's set-up and tear-down of a group: *state is a training. Collective. */
int training_create(void **state);
int training_destroy(void **state);

/** A file or directory of the group, by name. */
void training_path(const training *t, const char *name, char path_out[TEST_PATH_BYTES]);

/** Options for `steps` steps of plain training: no files, constant learning rate. */
lmn_trainer_options training_options(uint64_t steps);

/** Train on all ranks; fails the test with the message when it fails. Collective. */
lmn_training_summary training_run(const training *t, const lmn_trainer_options *options);

/** The same with another task. Collective. */
lmn_training_summary training_run_task(const training *t, const lmn_task *task,
                                       const lmn_trainer_options *options);

/** Train, whatever comes of it. Collective. */
lmn_status training_try(const training *t, const lmn_dataset *dataset, const lmn_task *task,
                        const lmn_trainer_options *options, lmn_training_summary *summary_out,
                        lmn_error *err);

/** The same training by this rank alone, over MPI_COMM_SELF. */
lmn_training_summary training_run_alone(const training *t, const lmn_trainer_options *options);

/** Ends the run after so many steps, because the last rank wants to. */
typedef struct training_stop {
    uint64_t after;
    uint64_t asked;
    bool may_stop; /* on this rank */
} training_stop;
training_stop training_stop_make(const training *t, uint64_t after);

/** For lmn_trainer_options.should_stop; `user` is a training_stop. */
bool training_should_stop(void *user);

/** Fails the test unless all ranks give the same value. Collective. */
void assert_same_on_all_ranks(const training *t, uint64_t value);

#endif

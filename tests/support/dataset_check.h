/*
 * Opening and reading dataset files that a test has written, and the messages when that fails.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_DATASET_CHECK_H
#define LAMINA_TESTS_DATASET_CHECK_H

#include "dataset_files.h"
#include "files.h"
#include "io/dataset_internal.h"

/** A scratch directory and the path of a dataset in it. */
typedef struct dataset_place {
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
} dataset_place;

/** CMocka's set-up and tear-down of a case: *state is a dataset_place. */
int dataset_place_create(void **state);
int dataset_place_destroy(void **state);

/** A list in the group of a split: 0 train, 1 test. */
void dataset_put(hid_t file, size_t split, const char *leaf, hid_t type, size_t count,
                 const void *data);

/** Open the dataset; fails the test with the message when it fails. */
lmn_dataset *dataset_load(const dataset_place *place);

/** The message names the file and says `what`. */
void dataset_said(const dataset_place *place, const lmn_error *err, const char *what);

/** Close the file; opening it is LMN_ERR_FORMAT, and the message says `what`. */
void dataset_load_fails(const dataset_place *place, hid_t file, const char *what);

/** A reader of the training split in order. */
lmn_reader *dataset_read_in_order(const lmn_dataset *dataset, size_t batch);

/** Close the file, which opens; reading it is LMN_ERR_FORMAT, and the message says `what`. */
void dataset_read_fails(const dataset_place *place, hid_t file, const char *what);

/** However the file is cut, opening it is LMN_ERR_FORMAT. */
void dataset_truncated_fails(const dataset_place *place);

#endif

/*
 * Opening and reading dataset files that a test has written, and the messages when that fails.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

int dataset_place_create(void **state)
{
    dataset_place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    scratch_create(place->directory);
    path_join(place->path, place->directory, "dataset.h5");
    *state = place;
    return 0;
}

int dataset_place_destroy(void **state)
{
    dataset_place *place = *state;
    scratch_remove(place->directory);
    free(place);
    return 0;
}

static const char *const split_names[] = {"train", "test"};

void dataset_put(hid_t file, size_t split, const char *leaf, hid_t type, size_t count,
                 const void *data)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/%s/%s", split_names[split], leaf);
    dataset_file_put_list(file, path, type, count, data);
}

lmn_dataset *dataset_load(const dataset_place *place)
{
    lmn_dataset *dataset = NULL;
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn__dataset_load(place->path, &dataset, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
    return dataset;
}

void dataset_said(const dataset_place *place, const lmn_error *err, const char *what)
{
    if (strstr(err->message, what) == NULL || strstr(err->message, place->path) == NULL) {
        fail_msg("'%s' is not in '%s'", what, err->message);
    }
}

/* Closes the file. */
void dataset_load_fails(const dataset_place *place, hid_t file, const char *what)
{
    lmn_dataset *dataset = NULL;
    lmn_error err = lmn_error_none();
    H5Fclose(file);
    assert_int_equal(lmn__dataset_load(place->path, &dataset, &err), LMN_ERR_FORMAT);
    assert_null(dataset);
    dataset_said(place, &err, what);
}

lmn_reader *dataset_read_in_order(const lmn_dataset *dataset, size_t batch)
{
    const lmn_reader_options options = {
        .split = LMN_SPLIT_TRAIN, .global_batch = batch, .rank = 0, .size = 1, .read_ahead = 1};
    lmn_reader *reader = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_reader_create(dataset, &options, &reader, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return reader;
}

/* Closes the file, which opens; reading all of its training samples in one batch fails. */
void dataset_read_fails(const dataset_place *place, hid_t file, const char *what)
{
    H5Fclose(file);
    lmn_dataset *dataset = dataset_load(place);
    lmn_reader *reader =
        dataset_read_in_order(dataset, dataset->info.sample_count[LMN_SPLIT_TRAIN] + 1);
    lmn_batch batch;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_reader_next(reader, &batch, &err), LMN_ERR_FORMAT);
    dataset_said(place, &err, what);
    lmn_reader_destroy(reader);
    lmn_dataset_close(dataset);
}

void dataset_truncated_fails(const dataset_place *place)
{
    for (size_t bytes = file_bytes(place->path); bytes > 0; bytes -= bytes < 61 ? bytes : 61) {
        lmn_dataset *dataset = NULL;
        lmn_error err = lmn_error_none();
        file_truncate(place->path, bytes - 1);
        assert_int_equal(lmn__dataset_load(place->path, &dataset, &err), LMN_ERR_FORMAT);
        dataset_said(place, &err, "");
    }
}

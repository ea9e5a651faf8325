/*
 * What the tests of all importers share: a place to work in, and a look into the dataset.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_IMPORT_CHECK_H
#define LAMINA_TESTS_IMPORT_CHECK_H

#include "files.h"
#include "lamina/status.h"

#include <hdf5.h>

/** A scratch directory with the names that most tests need; the files do not exist yet. */
typedef struct import_place {
    char directory[TEST_PATH_BYTES];
    char train[TEST_PATH_BYTES];
    char test[TEST_PATH_BYTES];
    char output[TEST_PATH_BYTES];
} import_place;

/** For cmocka: *state becomes an import_place. */
int import_set_up(void **state);
int import_tear_down(void **state);

/** Write a text file. */
void text_write(const char *path, const char *text);

/** The import was done: LMN_OK, no message, no part left, and the checksums hold. */
void import_done(const import_place *place, lmn_status status, const lmn_error *err);

/** It failed with `status`, the message holds `what`, and there is no output and no part. */
void import_refused(const import_place *place, lmn_status status, const lmn_error *err,
                    lmn_status wanted, const char *what);

/** Read a whole array of `count` elements as `type` (H5T_NATIVE_...). */
void array_read(const char *file, const char *path, hid_t type, size_t count, void *values);

/** Dimensions of an array. dims [8]; returns how many. */
int array_dims(const char *file, const char *path, hsize_t *dims);

bool has_object(const char *file, const char *path);

/** The array of texts is names [count]. */
void texts_are(const char *file, const char *path, const char *const *names, size_t count);

/** An attribute of the object (or "/") is this text, this number. */
void attribute_text_is(const char *file, const char *object, const char *name, const char *text);
double attribute_number(const char *file, const char *object, const char *name);

#endif

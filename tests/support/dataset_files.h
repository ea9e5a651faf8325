/*
 * Datasets written as a user would, array by array, with plain HDF5.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_DATASET_FILES_H
#define LAMINA_TESTS_DATASET_FILES_H

#include <stddef.h>
#include <stdint.h>

#include <hdf5.h>

/** A new dataset file with groups for both splits. kind: NULL for none. Closed by H5Fclose. */
hid_t dataset_file_create(const char *path, const char *kind);

/** An array of `dims` [n_dims] in place of one that may be there. data NULL: not written. */
void dataset_file_put(hid_t file, const char *path, hid_t type, int n_dims, const hsize_t *dims,
                      const void *data);

/** A list of `count` elements, as dataset_file_put. */
void dataset_file_put_list(hid_t file, const char *path, hid_t type, size_t count,
                           const void *data);

/** An attribute of an object, "/" for the file, in place of one that may be there. */
void dataset_file_set(hid_t file, const char *object, const char *name, hid_t type,
                      const void *value);

/** /train/tokens and /test/tokens of bytes, a dataset of text without merges. */
void text_dataset_write(const char *path, const unsigned char *train, size_t n_train,
                        const unsigned char *test, size_t n_test);

#endif

/*
 * Files for tests: a scratch directory, damage, and small datasets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_FILE_CHECK_H
#define LAMINA_TESTS_FILE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEST_PATH_BYTES 512

/** A new empty directory below TMPDIR or /tmp; fails the test when it cannot be made. */
void scratch_create(char path_out[TEST_PATH_BYTES]);

/** Remove a directory and what is in it. */
void scratch_remove(const char *path);

/** directory/name into `path_out`. */
void path_join(char path_out[TEST_PATH_BYTES], const char *directory, const char *name);

void file_write(const char *path, const void *data, size_t bytes);
bool file_exists(const char *path);
size_t file_bytes(const char *path);
void file_truncate(const char *path, size_t bytes);

/** Exclusive-or one byte with `mask`; twice gives the old file back. */
void file_flip(const char *path, size_t offset, unsigned char mask);

/** The whole file, freed with free. */
unsigned char *file_read(const char *path, size_t *bytes_out);

/** Rewrite a plain file as gzip. */
void file_gzip(const char *path);

/** Entries of a directory without "." and "..". */
size_t directory_count(const char *path);

/** An IDX file of unsigned bytes: [dims] data, plain or gzip. */
void idx_write(const char *path, size_t n_dims, const uint32_t *dims, const unsigned char *data,
               bool gzip);

/** What pixel `index` of sample `sample` holds in the images below: differs between neighbours. */
unsigned char test_pixel(size_t sample, size_t index);

/**
 * A pair of plain IDX files directory/<prefix>-images and -labels: `count` images of height x width
 * of test_pixel, labels sample % n_classes.
 */
void idx_write_pair(const char *directory, const char *prefix, uint32_t count, uint32_t height,
                    uint32_t width, unsigned n_classes);

/**
 * directory/dataset.h5 as the importer writes it: `count` training and count / 2 test images of
 * 3 x 2 of test_pixel (test samples count on from `count`), 4 classes.
 */
void dataset_write(const char *directory, uint32_t count, char path_out[TEST_PATH_BYTES]);

#endif

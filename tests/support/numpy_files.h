/*
 * Files as NumPy saves them, written without NumPy.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TESTS_NUMPY_FILES_H
#define LAMINA_TESTS_NUMPY_FILES_H

#include <stdbool.h>
#include <stddef.h>

/** Bytes of a file that is put together; freed with free(data). */
typedef struct file_bytes_list {
    unsigned char *data;
    size_t bytes;
} file_bytes_list;

/** Append to it. */
void bytes_append(file_bytes_list *list, const void *data, size_t bytes);

/** What numpy.save writes. version: 1 to 3; descr: "<f4"; shape: "(3, 2)". */
file_bytes_list npy_bytes(int version, const char *descr, bool fortran, const char *shape,
                          const void *data, size_t bytes);

/** The same into a file. */
void npy_write(const char *path, const char *descr, const char *shape, const void *data,
               size_t bytes);

/** One member of an archive. */
typedef struct npz_member {
    const char *name; /* "x_train.npy" */
    file_bytes_list content;
    bool is_deflated;
    bool is_large; /* its numbers stand in the extra field, as those beyond 4 GiB must */
} npz_member;

/** What numpy.savez writes; frees the members' content. */
void npz_write(const char *path, npz_member *members, size_t count);

#endif

/*
 * Files for tests: a scratch directory, damage, and small datasets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"

#include "lamina/import.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include <cmocka.h>

void scratch_create(char path_out[TEST_PATH_BYTES])
{
    const char *base = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): tests have one thread */
    (void)snprintf(path_out, TEST_PATH_BYTES, "%s/lamina-test-XXXXXX",
                   base != NULL && strlen(base) < 256 ? base : "/tmp");
    assert_non_null(mkdtemp(path_out));
}

/* NOLINTNEXTLINE(misc-no-recursion): a scratch directory is a few levels deep */
void scratch_remove(const char *path)
{
    struct dirent **entries = NULL;
    const int count = scandir(path, &entries, NULL, NULL);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        char entry[TEST_PATH_BYTES];
        path_join(entry, path, name);
        struct stat info;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && lstat(entry, &info) == 0) {
            if (S_ISDIR(info.st_mode)) {
                scratch_remove(entry);
            } else {
                (void)unlink(entry);
            }
        }
        free(entries[i]);
    }
    free(entries);
    (void)rmdir(path);
}

void path_join(char path_out[TEST_PATH_BYTES], const char *directory, const char *name)
{
    const int length = snprintf(path_out, TEST_PATH_BYTES, "%s/%s", directory, name);
    assert_true(length > 0 && length < TEST_PATH_BYTES);
}

void file_write(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

size_t file_bytes(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (size_t)info.st_size;
}

void file_truncate(const char *path, size_t bytes)
{
    assert_int_equal(truncate(path, (off_t)bytes), 0);
}

void file_flip(const char *path, size_t offset, unsigned char mask)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    const int byte = fgetc(file);
    assert_true(byte != EOF);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    assert_true(fputc((unsigned char)byte ^ mask, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

unsigned char *file_read(const char *path, size_t *bytes_out)
{
    const size_t bytes = file_bytes(path);
    unsigned char *data = malloc(bytes + 1);
    FILE *file = fopen(path, "rb");
    assert_non_null(data);
    assert_non_null(file);
    assert_int_equal(fread(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    *bytes_out = bytes;
    return data;
}

void file_gzip(const char *path)
{
    size_t bytes = 0;
    unsigned char *data = file_read(path, &bytes);
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, (unsigned)bytes), bytes);
    assert_int_equal(gzclose(file), Z_OK);
    free(data);
}

size_t directory_count(const char *path)
{
    struct dirent **entries = NULL;
    const int count = scandir(path, &entries, NULL, NULL);
    assert_true(count >= 2);
    for (int i = 0; i < count; i++) {
        free(entries[i]);
    }
    free(entries);
    return (size_t)count - 2;
}

void idx_write(const char *path, size_t n_dims, const uint32_t *dims, const unsigned char *data,
               bool gzip)
{
    unsigned char header[4 + 4 * 8] = {0, 0, 8, (unsigned char)n_dims};
    size_t bytes = 1;
    assert_true(n_dims <= 8);
    for (size_t i = 0; i < n_dims; i++) {
        for (size_t byte = 0; byte < 4; byte++) {
            header[4 + 4 * i + byte] = (unsigned char)(dims[i] >> (24 - 8 * byte));
        }
        bytes *= dims[i];
    }
    gzFile file = gzopen(path, gzip ? "wb" : "wbT");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, header, (unsigned)(4 + 4 * n_dims)), 4 + 4 * n_dims);
    assert_int_equal(gzwrite(file, data, (unsigned)bytes), bytes);
    assert_int_equal(gzclose(file), Z_OK);
}

unsigned char test_pixel(size_t sample, size_t index)
{
    return (unsigned char)(31 * sample + 7 * index + sample / 8);
}

/* Samples first .. first + count - 1. */
static void write_pair(const char *directory, const char *prefix, size_t first, uint32_t count,
                       const uint32_t size[2], unsigned n_classes)
{
    const size_t pixels = (size_t)size[0] * size[1];
    unsigned char *images = malloc(count * pixels + 1);
    unsigned char *labels = malloc(count + 1U);
    assert_non_null(images);
    assert_non_null(labels);
    for (size_t i = 0; i < count; i++) {
        labels[i] = (unsigned char)((first + i) % n_classes);
        for (size_t k = 0; k < pixels; k++) {
            images[i * pixels + k] = test_pixel(first + i, k);
        }
    }
    const uint32_t dims[3] = {count, size[0], size[1]};
    char name[64];
    char path[TEST_PATH_BYTES];
    (void)snprintf(name, sizeof name, "%s-images", prefix);
    path_join(path, directory, name);
    idx_write(path, 3, dims, images, false);
    (void)snprintf(name, sizeof name, "%s-labels", prefix);
    path_join(path, directory, name);
    idx_write(path, 1, dims, labels, false);
    free(images);
    free(labels);
}

void idx_write_pair(const char *directory, const char *prefix, uint32_t count, uint32_t height,
                    uint32_t width, unsigned n_classes)
{
    const uint32_t size[2] = {height, width};
    write_pair(directory, prefix, 0, count, size, n_classes);
}

void dataset_write(const char *directory, uint32_t count, char path_out[TEST_PATH_BYTES])
{
    static const char *const names[4] = {"train-images", "train-labels", "test-images",
                                         "test-labels"};
    const uint32_t size[2] = {3, 2};
    char paths[4][TEST_PATH_BYTES];
    for (size_t i = 0; i < 4; i++) {
        path_join(paths[i], directory, names[i]);
    }
    write_pair(directory, "train", 0, count, size, 4);
    write_pair(directory, "test", count, count / 2, size, 4);
    const lmn_import_idx_options options = {.train_images = paths[0],
                                            .train_labels = paths[1],
                                            .test_images = paths[2],
                                            .test_labels = paths[3]};
    path_join(path_out, directory, "dataset.h5");
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_idx(&options, path_out, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
    for (size_t i = 0; i < 4; i++) {
        (void)unlink(paths[i]);
    }
}

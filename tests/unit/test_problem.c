/*
 * Problem files: what is in them comes back, and each way to damage one is refused by name.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "lamina/memory.h"
#include "lamina/problem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hdf5.h>

#include <cmocka.h>

typedef struct fixture {
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    scratch_create(f->directory);
    path_join(f->path, f->directory, "problem.h5");
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    scratch_remove(f->directory);
    free(f);
    return 0;
}

/* A dataset of f64 with the groups that lead to it, in place of one of that name. */
static void put(hid_t file, const char *path, int n_dims, const hsize_t *dims, const double *values)
{
    if (H5Lexists(file, path, H5P_DEFAULT) > 0) {
        assert_true(H5Ldelete(file, path, H5P_DEFAULT) >= 0);
    }
    const hid_t space = H5Screate_simple(n_dims, dims, NULL);
    const hid_t links = H5Pcreate(H5P_LINK_CREATE);
    assert_true(H5Pset_create_intermediate_group(links, 1) >= 0);
    const hid_t set =
        H5Dcreate2(file, path, H5T_NATIVE_DOUBLE, space, links, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(set >= 0);
    if (values != NULL) {
        assert_true(H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    }
    assert_true(H5Dclose(set) >= 0);
    assert_true(H5Pclose(links) >= 0);
    assert_true(H5Sclose(space) >= 0);
}

static const double numbers[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

/* Worker 0 has 2 rows, worker 1 has 4, of 3 columns. */
static hid_t create_good(const char *path)
{
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    put(file, "/rank_0/A", 2, (const hsize_t[]){2, 3}, numbers);
    put(file, "/rank_0/b", 1, (const hsize_t[]){2}, numbers + 6);
    put(file, "/rank_1/A", 2, (const hsize_t[]){4, 3}, numbers);
    put(file, "/rank_1/b", 2, (const hsize_t[]){4, 1}, numbers + 1);
    put(file, "/x0", 1, (const hsize_t[]){3}, numbers + 2);
    return file;
}

static void problem_file_gives_back_what_is_in_it(void **state)
{
    const fixture *f = *state;
    assert_true(H5Fclose(create_good(f->path)) >= 0);
    lmn_problem_file *file = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_problem_file_open(f->path, &file, &err), LMN_OK);
    assert_int_equal(lmn_problem_file_workers(file), 2);
    assert_int_equal(lmn_problem_file_columns(file), 3);
    assert_int_equal(lmn_problem_file_rows(file, 0), 2);
    assert_int_equal(lmn_problem_file_rows(file, 1), 4);
    assert_int_equal(lmn_problem_file_start_count(file), 3);
    double read[12] = {0};
    assert_int_equal(lmn_problem_file_read_matrix(file, 1, read, &err), LMN_OK);
    assert_memory_equal(read, numbers, sizeof read);
    assert_int_equal(lmn_problem_file_read_answers(file, 1, read, &err), LMN_OK);
    assert_memory_equal(read, numbers + 1, 4 * sizeof *read);
    assert_int_equal(lmn_problem_file_read_start(file, read, &err), LMN_OK);
    assert_memory_equal(read, numbers + 2, 3 * sizeof *read);
    lmn_problem_file_close(file);
}

/* Opening is refused, with all of `text` in the message. */
static void assert_refused(const char *path, const char *text)
{
    lmn_problem_file *file = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_problem_file_open(path, &file, &err), LMN_ERR_FORMAT);
    assert_null(file);
    if (strstr(err.message, text) == NULL) {
        fail_msg("no '%s' in: %s", text, err.message);
    }
}

static void problem_file_of_wrong_shape_is_refused_by_name(void **state)
{
    const fixture *f = *state;
    static const struct {
        const char *path;
        int n_dims;
        hsize_t dims[2];
        const char *text;
    } wrong[] = {
        {"/rank_1/A", 2, {4, 2}, "/rank_1/A has 2 columns, and /rank_0/A has 3"},
        {"/rank_1/A", 1, {12}, "/rank_1/A must be a matrix"},
        {"/rank_0/A", 2, {0, 3}, "/rank_0/A must be a matrix"},
        {"/rank_1/b", 1, {3}, "/rank_1/b must have 4 elements"},
        {"/rank_1/b", 2, {4, 2}, "/rank_1/b must have 4 elements"},
        {"/x0", 1, {0}, "/x0 is empty"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const hid_t file = create_good(f->path);
        put(file, wrong[i].path, wrong[i].n_dims, wrong[i].dims, NULL);
        assert_true(H5Fclose(file) >= 0);
        assert_refused(f->path, wrong[i].text);
    }
}

static void problem_file_with_a_part_missing_is_refused_by_name(void **state)
{
    const fixture *f = *state;
    static const struct {
        const char *path, *text;
    } missing[] = {
        {"/rank_1/A", "no dataset /rank_1/A"},
        {"/rank_0/b", "no dataset /rank_0/b"},
        {"/rank_0", "1 groups named rank_<i>, but no /rank_0"},
    };
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        const hid_t file = create_good(f->path);
        assert_true(H5Ldelete(file, missing[i].path, H5P_DEFAULT) >= 0);
        assert_true(H5Fclose(file) >= 0);
        assert_refused(f->path, missing[i].text);
    }
    const hid_t file = H5Fcreate(f->path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Fclose(file) >= 0);
    assert_refused(f->path, "no group /rank_0");
}

static void problem_file_of_texts_is_refused(void **state)
{
    const fixture *f = *state;
    const hid_t file = create_good(f->path);
    assert_true(H5Ldelete(file, "/rank_0/b", H5P_DEFAULT) >= 0);
    const hid_t space = H5Screate_simple(1, (const hsize_t[]){2}, NULL);
    const hid_t set =
        H5Dcreate2(file, "/rank_0/b", H5T_C_S1, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(set >= 0);
    assert_true(H5Dclose(set) >= 0);
    assert_true(H5Sclose(space) >= 0);
    assert_true(H5Fclose(file) >= 0);
    assert_refused(f->path, "/rank_0/b does not hold numbers");
}

static void problem_file_with_nan_is_refused_with_the_place(void **state)
{
    const fixture *f = *state;
    double bad[12];
    memcpy(bad, numbers, sizeof bad);
    bad[7] = (double)NAN;
    const hid_t h5 = create_good(f->path);
    put(h5, "/rank_1/A", 2, (const hsize_t[]){4, 3}, bad);
    assert_true(H5Fclose(h5) >= 0);
    lmn_problem_file *file = NULL;
    lmn_error err = lmn_error_none();
    double read[12];
    assert_int_equal(lmn_problem_file_open(f->path, &file, &err), LMN_OK);
    assert_int_equal(lmn_problem_file_read_matrix(file, 0, read, &err), LMN_OK);
    assert_int_equal(lmn_problem_file_read_matrix(file, 1, read, &err), LMN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "element 7 of /rank_1/A is NaN"));
    lmn_problem_file_close(file);
}

static void problem_file_that_is_cut_anywhere_is_refused(void **state)
{
    const fixture *f = *state;
    assert_true(H5Fclose(create_good(f->path)) >= 0);
    size_t bytes = 0;
    unsigned char *whole = file_read(f->path, &bytes);
    for (size_t length = 0; length < bytes; length += 97) {
        file_write(f->path, whole, length);
        lmn_problem_file *file = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_problem_file_open(f->path, &file, &err), LMN_ERR_FORMAT);
        assert_non_null(strstr(err.message, f->path));
    }
    free(whole);
}

static void samples_read_libsvm_keeps_labels_and_entries(void **state)
{
    const fixture *f = *state;
    static const char text[] = "+1 1:0.5 4:-2\n# a comment\n-1.5\n\n3 2:1e3\n";
    file_write(f->path, text, sizeof text - 1);
    lmn_samples s = {0};
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_samples_read_libsvm(f->path, &s, &err), LMN_OK);
    assert_int_equal(s.count, 3);
    assert_int_equal(s.columns, 4);
    assert_memory_equal(s.answers, ((const double[]){1, -1.5, 3}), 3 * sizeof(double));
    assert_memory_equal(s.starts, ((const size_t[]){0, 2, 2, 3}), 4 * sizeof(size_t));
    assert_memory_equal(s.indices, ((const uint32_t[]){0, 3, 1}), 3 * sizeof(uint32_t));
    assert_memory_equal(s.values, ((const double[]){0.5, -2, 1000}), 3 * sizeof(double));
    lmn_samples_free(&s);
}

static void samples_read_libsvm_without_entries_is_refused(void **state)
{
    const fixture *f = *state;
    static const char *const texts[] = {"", "# nothing\n", "1\n-1\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        file_write(f->path, texts[i], strlen(texts[i]));
        lmn_samples s = {0};
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_samples_read_libsvm(f->path, &s, &err), LMN_ERR_FORMAT);
        assert_non_null(strstr(err.message, "holds no samples"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(problem_file_gives_back_what_is_in_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(problem_file_of_wrong_shape_is_refused_by_name, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(problem_file_with_a_part_missing_is_refused_by_name, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(problem_file_of_texts_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(problem_file_with_nan_is_refused_with_the_place, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(problem_file_that_is_cut_anywhere_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(samples_read_libsvm_keeps_labels_and_entries, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(samples_read_libsvm_without_entries_is_refused, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

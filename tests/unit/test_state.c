/*
 * Lists of state, and the selection of a run of elements from an array, against brute force.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/checkpoint_internal.h"
#include "lamina/checkpoint.h"
#include "lamina/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int set_up(void **state)
{
    lmn_state *list = NULL;
    if (lmn_state_create(&list, NULL) != LMN_OK) {
        return -1;
    }
    *state = list;
    return 0;
}

static int tear_down(void **state)
{
    lmn_state_destroy(*state);
    return 0;
}

static lmn_status add(lmn_state *list, const char *name, size_t n_dims, const size_t *dims,
                      lmn_error *err)
{
    return lmn_state_add_array(list, name, "1", LMN_STATE_REPLICATED, LMN_STATE_F32, n_dims, dims,
                               NULL, err);
}

static void add_array_names_are_paths(void **state)
{
    lmn_state *list = *state;
    static const char *const bad[] = {"",      "weight", "/",       "//a", "/a/",
                                      "/a//b", "/./a",   "/a/../b", "/a/."};
    lmn_error err = lmn_error_none();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(add(list, bad[i], 0, NULL, &err), LMN_ERR_ARGUMENT);
    }
    assert_int_equal(add(list, "/a/.b..", 0, NULL, NULL), LMN_OK);
    assert_int_equal(add(list, "/a/...", 0, NULL, NULL), LMN_OK);
}

static void add_array_names_do_not_clash(void **state)
{
    lmn_state *list = *state;
    lmn_error err = lmn_error_none();
    assert_int_equal(add(list, "/a/b", 0, NULL, NULL), LMN_OK);
    assert_int_equal(add(list, "/a/b", 0, NULL, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(add(list, "/a", 0, NULL, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(add(list, "/a/b/c", 0, NULL, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "'/a/b' and '/a/b/c'"));
    assert_int_equal(add(list, "/a/bc", 0, NULL, NULL), LMN_OK);
}

static void add_array_shapes_are_checked(void **state)
{
    lmn_state *list = *state;
    const size_t dims[] = {SIZE_MAX / 8, 3, 1, 1, 1, 1, 1};
    lmn_error err = lmn_error_none();
    assert_int_equal(add(list, "/a", 7, dims, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "7 dimensions"));
    assert_int_equal(add(list, "/a", 2, dims, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "overflows"));
    assert_int_equal(add(list, "/a", 0, NULL, NULL), LMN_OK);
}

static void add_numbers_and_texts_have_names_of_their_own(void **state)
{
    lmn_state *list = *state;
    uint64_t value = 0;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_state_add_u64(list, "seed", &value, NULL), LMN_OK);
    assert_int_equal(lmn_state_add_text(list, "seed", "x", true, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "'seed' twice"));
    assert_int_equal(lmn_state_add_u64(list, "step", &value, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_state_add_text(list, "ranks", "x", false, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_state_add_text(list, "", "x", false, &err), LMN_ERR_ARGUMENT);
    char *text = malloc(100000);
    assert_non_null(text);
    memset(text, 'x', 99999);
    text[99999] = '\0';
    assert_int_equal(lmn_state_add_text(list, "long", text, false, &err), LMN_ERR_ARGUMENT);
    free(text);
}

static void add_many_arrays_keeps_them_all(void **state)
{
    lmn_state *list = *state;
    for (size_t i = 0; i < 300; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "/p/%zu", i);
        assert_int_equal(add(list, name, 1, &i, NULL), LMN_OK);
    }
    assert_int_equal(list->arrays.count, 300);
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(lmn__state_arrays(list)[i].count, i);
    }
}

static void hash_follows_everything_that_must_agree(void **state)
{
    (void)state;
    uint64_t value = 0;
    uint64_t hashes[6] = {0};
    for (size_t i = 0; i < 6; i++) {
        lmn_state *list = NULL;
        const size_t dims[2] = {i == 1 ? 3 : 2, i == 1 ? 2 : 3};
        assert_int_equal(lmn_state_create(&list, NULL), LMN_OK);
        assert_int_equal(lmn_state_add_array(list, i == 2 ? "/b" : "/a", "1",
                                             i == 3 ? LMN_STATE_PER_RANK : LMN_STATE_REPLICATED,
                                             i == 4 ? LMN_STATE_U64 : LMN_STATE_F32, 2, dims, NULL,
                                             NULL),
                         LMN_OK);
        assert_int_equal(lmn_state_add_u64(list, "n", &value, NULL), LMN_OK);
        assert_int_equal(lmn_state_add_text(list, "t", i == 5 ? "x" : "y", true, NULL), LMN_OK);
        hashes[i] = lmn__state_hash(list, 0);
        for (size_t k = 0; k < i; k++) {
            assert_true(hashes[k] != hashes[i]);
        }
        lmn_state_destroy(list);
    }
}

/* Mark which elements of an array a selection takes, by reading it back point by point. */
static void check_selection(const lmn__h5_shape *shape, uint64_t first, uint64_t count)
{
    const uint64_t total = lmn__h5_elements(shape);
    const hid_t space = shape->n_dims == 0 ? H5Screate(H5S_SCALAR)
                                           : H5Screate_simple(shape->n_dims, shape->dims, NULL);
    assert_true(lmn__select_range(space, shape, first, count));
    assert_int_equal(H5Sget_select_npoints(space), count);
    /* Scatter count ones into zeros: HDF5 itself says where they go. */
    int *marks = calloc(total + 1, sizeof *marks);
    int *numbers = calloc(count + 1, sizeof *numbers);
    assert_non_null(marks);
    assert_non_null(numbers);
    for (uint64_t i = 0; i < count; i++) {
        numbers[i] = (int)i + 1;
    }
    const hsize_t memory_dims[1] = {count > 0 ? count : 1};
    const hid_t memory = H5Screate_simple(1, memory_dims, NULL);
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(access, 1 << 16, false);
    const hid_t file = H5Fcreate("selection", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    const hid_t whole = shape->n_dims == 0 ? H5Screate(H5S_SCALAR)
                                           : H5Screate_simple(shape->n_dims, shape->dims, NULL);
    const hid_t dataset =
        H5Dcreate2(file, "x", H5T_NATIVE_INT, whole, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (count > 0) {
        assert_true(H5Dwrite(dataset, H5T_NATIVE_INT, memory, space, H5P_DEFAULT, numbers) >= 0);
    }
    if (total > 0) {
        assert_true(H5Dread(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, marks) >= 0);
    }
    for (uint64_t i = 0; i < total; i++) {
        const bool is_taken = i >= first && i < first + count;
        assert_int_equal(marks[i], is_taken ? (int)(i - first) + 1 : 0);
    }
    H5Dclose(dataset);
    H5Sclose(whole);
    H5Fclose(file);
    H5Pclose(access);
    H5Sclose(memory);
    H5Sclose(space);
    free(numbers);
    free(marks);
}

static void select_range_any_run_of_any_shape_is_exact(void **state)
{
    (void)state;
    static const lmn__h5_shape shapes[] = {
        {0, {0}},       {1, {1}},          {1, {7}},    {2, {3, 4}},
        {3, {2, 3, 2}}, {4, {2, 1, 3, 2}}, {2, {1, 5}}, {7, {2, 1, 2, 1, 2, 1, 2}},
        {2, {4, 0}},
    };
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const uint64_t total = lmn__h5_elements(&shapes[s]);
        for (uint64_t first = 0; first <= total; first++) {
            for (uint64_t count = 0; count <= total - first; count++) {
                check_selection(&shapes[s], first, count);
            }
        }
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(add_array_names_are_paths),
        CASE(add_array_names_do_not_clash),
        CASE(add_array_shapes_are_checked),
        CASE(add_numbers_and_texts_have_names_of_their_own),
        CASE(add_many_arrays_keeps_them_all),
        CASE(hash_follows_everything_that_must_agree),
        CASE(select_range_any_run_of_any_shape_is_exact),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}

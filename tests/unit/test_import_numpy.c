/*
 * Importing NumPy arrays: types, shapes, single files and archives, and what is refused.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "import_check.h"
#include "lamina/import.h"
#include "numpy_files.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* place->train holds the samples, place->test the labels of the training split. */
static lmn_import_numpy_options pair(const import_place *place)
{
    return (lmn_import_numpy_options){.train_samples = place->train, .train_labels = place->test};
}

static void import_good(const import_place *place, const lmn_import_numpy_options *options)
{
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_numpy(options, place->output, &err);
    import_done(place, status, &err);
}

static void fails(const import_place *place, const lmn_import_numpy_options *options,
                  lmn_status wanted, const char *what)
{
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_numpy(options, place->output, &err);
    import_refused(place, status, &err, wanted, what);
}

static void pair_fails(const import_place *place, const char *what)
{
    const lmn_import_numpy_options options = pair(place);
    fails(place, &options, LMN_ERR_FORMAT, what);
}

static const unsigned char pixels[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 250, 255};
static const int64_t two_labels[2] = {1, 0};

static void write_two_labels(const char *path)
{
    npy_write(path, "<i8", "(2,)", two_labels, sizeof two_labels);
}

/* ---- images ---- */

static void import_numpy_bytes_of_three_axes_are_images(void **state)
{
    const import_place *place = *state;
    const lmn_import_numpy_options options = pair(place);
    npy_write(place->train, "|u1", "(2, 3, 2)", pixels, sizeof pixels);
    write_two_labels(place->test);
    import_good(place, &options);
    unsigned char stored[12];
    int labels[2];
    hsize_t dims[8] = {0};
    assert_int_equal(array_dims(place->output, "/train/images", dims), 4);
    assert_int_equal(dims[1], 3);
    assert_int_equal(dims[2], 2);
    assert_int_equal(dims[3], 1);
    array_read(place->output, "/train/images", H5T_NATIVE_UINT8, 12, stored);
    assert_memory_equal(stored, pixels, 12);
    array_read(place->output, "/train/labels", H5T_NATIVE_INT, 2, labels);
    assert_int_equal(labels[0], 1);
    assert_int_equal(labels[1], 0);
    assert_float_equal(attribute_number(place->output, "/train/images", "scale"), 1.0 / 255, 0);
    attribute_text_is(place->output, "/", "kind", "images");
    file_gzip(place->train);
    import_good(place, &options);
    array_read(place->output, "/train/images", H5T_NATIVE_UINT8, 12, stored);
    assert_memory_equal(stored, pixels, 12);
}

static void import_numpy_floats_of_four_axes_are_images_as_they_are(void **state)
{
    const import_place *place = *state;
    const lmn_import_numpy_options options = pair(place);
    static const double values[12] = {0.1, -2, 3e10, 1e-320, 0, 1, 2, 3, 4, 5, 6, 7};
    npy_write(place->train, "<f8", "(2, 1, 2, 3)", values, sizeof values);
    write_two_labels(place->test);
    import_good(place, &options);
    float stored[12];
    array_read(place->output, "/train/images", H5T_NATIVE_FLOAT, 12, stored);
    for (size_t i = 0; i < 12; i++) {
        assert_float_equal(stored[i], (float)values[i], 0);
    }
    assert_float_equal(attribute_number(place->output, "/train/images", "scale"), 1.0, 0);
}

/* ---- vectors: every type, every version ---- */

static void import_numpy_all_types_become_f32(void **state)
{
    const import_place *place = *state;
    lmn_import_numpy_options options = pair(place);
    options.kind = LMN_NUMPY_VECTORS;
    static const struct {
        const char *descr;
        size_t bytes;
        unsigned char data[16];
        float values[2];
    } cases[] = {
        {"|b1", 2, {1, 0}, {1, 0}},
        {"|u1", 2, {200, 3}, {200, 3}},
        {"|i1", 2, {0xff, 0x80}, {-1, -128}},
        {"<u2", 4, {0, 1, 0xff, 0xff}, {256, 65535}},
        {"<i2", 4, {0xfe, 0xff, 0, 0x80}, {-2, -32768}},
        {"<u4", 8, {0, 0, 1, 0, 0, 0, 0, 0x80}, {65536, 2147483648.0F}},
        {"<i4", 8, {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0x80}, {-1, -2147483648.0F}},
        {"<i8",
         16,
         {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 0, 0, 0},
         {-1, 4294967296.0F}},
        {"<u8", 16, {0, 0, 0, 0, 0, 0, 0, 0x80, 7, 0, 0, 0, 0, 0, 0, 0}, {0x1p63F, 7}},
        {"<f4", 8, {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}, {1, -2}},
        {"<f8", 16, {0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0}, {1, -2}},
    };
    write_two_labels(place->test);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const file_bytes_list list = npy_bytes((int)(1 + i % 3), cases[i].descr, false, "(2, 1)",
                                               cases[i].data, cases[i].bytes);
        file_write(place->train, list.data, list.bytes);
        free(list.data);
        import_good(place, &options);
        float stored[2];
        array_read(place->output, "/train/vectors", H5T_NATIVE_FLOAT, 2, stored);
        assert_float_equal(stored[0], cases[i].values[0], 0);
        assert_float_equal(stored[1], cases[i].values[1], 0);
    }
}

/* More elements than a block holds, of a width that does not divide it. */
static void import_numpy_many_rows_round_trip(void **state)
{
    const import_place *place = *state;
    enum { ROWS = 3001, COLUMNS = 257 };
    const lmn_import_numpy_options options = pair(place);
    double *values = malloc(sizeof *values * ROWS * COLUMNS);
    float *stored = malloc(sizeof *stored * ROWS * COLUMNS);
    unsigned char *labels = malloc(ROWS);
    assert_non_null(values);
    assert_non_null(stored);
    assert_non_null(labels);
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) {
        values[i] = 0.5 * (double)i;
    }
    for (size_t i = 0; i < ROWS; i++) {
        labels[i] = (unsigned char)(i % 7);
    }
    npy_write(place->train, "<f8", "(3001, 257)", values, sizeof *values * ROWS * COLUMNS);
    npy_write(place->test, "|u1", "(3001, 1)", labels, ROWS);
    import_good(place, &options);
    array_read(place->output, "/train/vectors", H5T_NATIVE_FLOAT, (size_t)ROWS * COLUMNS, stored);
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) {
        assert_float_equal(stored[i], (float)values[i], 0);
    }
    static const char *const classes[] = {"0", "1", "2", "3", "4", "5", "6"};
    texts_are(place->output, "/classes", classes, 7);
    free(labels);
    free(stored);
    free(values);
}

static void import_numpy_float_labels_are_targets(void **state)
{
    const import_place *place = *state;
    lmn_import_numpy_options options = pair(place);
    static const float targets[2] = {0.25F, -7.0F};
    float stored[2];
    npy_write(place->train, "|u1", "(2, 6)", pixels, sizeof pixels);
    npy_write(place->test, "<f4", "(2,)", targets, sizeof targets);
    import_good(place, &options);
    array_read(place->output, "/train/targets", H5T_NATIVE_FLOAT, 2, stored);
    assert_memory_equal(stored, targets, sizeof stored);
    write_two_labels(place->test);
    options.targets = true;
    import_good(place, &options);
    array_read(place->output, "/train/targets", H5T_NATIVE_FLOAT, 2, stored);
    assert_float_equal(stored[0], 1, 0);
    static const char *const names[] = {"a"};
    options.common.class_names = names;
    options.common.n_classes = 1;
    assert_int_equal(unlink(place->output), 0);
    fails(place, &options, LMN_ERR_ARGUMENT, "numbers to predict");
}

/* ---- archives ---- */

/* x_train (2, 3, 2), y_train (2,), x_test (1, 3, 2), y_test (1,). */
static void write_archive(const char *path, bool is_deflated, bool is_large)
{
    static const unsigned char y_test = 1;
    npz_member members[] = {
        {"x_test.npy", npy_bytes(1, "|u1", false, "(1, 3, 2)", pixels + 6, 6), is_deflated, false},
        {"x_train.npy", npy_bytes(1, "|u1", false, "(2, 3, 2)", pixels, 12), is_deflated, is_large},
        {"y_train.npy", npy_bytes(1, "<i8", false, "(2,)", two_labels, 16), is_deflated, is_large},
        {"y_test.npy", npy_bytes(1, "|u1", false, "(1,)", &y_test, 1), is_deflated, false},
    };
    npz_write(path, members, 4);
}

static void check_archive(const import_place *place)
{
    unsigned char stored[12];
    int label = 0;
    array_read(place->output, "/train/images", H5T_NATIVE_UINT8, 12, stored);
    assert_memory_equal(stored, pixels, 12);
    array_read(place->output, "/test/images", H5T_NATIVE_UINT8, 6, stored);
    assert_memory_equal(stored, pixels + 6, 6);
    array_read(place->output, "/test/labels", H5T_NATIVE_INT, 1, &label);
    assert_int_equal(label, 1);
}

static void import_numpy_archive_gives_both_splits(void **state)
{
    const import_place *place = *state;
    const lmn_import_numpy_options options = {.archive = place->train};
    for (int i = 0; i < 4; i++) {
        write_archive(place->train, i % 2 == 1, i >= 2);
        import_good(place, &options);
        check_archive(place);
    }
}

static void import_numpy_member_may_be_named(void **state)
{
    const import_place *place = *state;
    char samples[TEST_PATH_BYTES + 16];
    char labels[TEST_PATH_BYTES + 16];
    write_archive(place->train, true, false);
    (void)snprintf(samples, sizeof samples, "%s:x_train", place->train);
    (void)snprintf(labels, sizeof labels, "%s:y_train.npy", place->train);
    const lmn_import_numpy_options options = {.train_samples = samples, .train_labels = labels};
    import_good(place, &options);
    assert_false(has_object(place->output, "/test"));
    assert_int_equal(unlink(place->output), 0);
    (void)snprintf(samples, sizeof samples, "%s:x", place->train);
    fails(place, &options, LMN_ERR_FORMAT, "has no member 'x'; it has x_test.npy, x_train.npy");
    const lmn_import_numpy_options unnamed = {.train_samples = place->train,
                                              .train_labels = labels};
    fails(place, &unnamed, LMN_ERR_FORMAT, "has 4 members; say which");
}

/* A flipped byte is found, or was of no meaning: then the data are the same. */
static void import_numpy_archive_with_any_flipped_byte_is_refused_or_the_same(void **state)
{
    const import_place *place = *state;
    const lmn_import_numpy_options options = {.archive = place->train};
    write_archive(place->train, true, true);
    const size_t bytes = file_bytes(place->train);
    size_t n_refused = 0;
    for (size_t i = 0; i < bytes; i++) {
        file_flip(place->train, i, 0x11);
        lmn_error err = lmn_error_none();
        const lmn_status status = lmn_import_numpy(&options, place->output, &err);
        if (status != LMN_OK) {
            import_refused(place, status, &err, LMN_ERR_FORMAT, "train");
            n_refused++;
        } else {
            unsigned char stored[12];
            array_read(place->output, "/train/images", H5T_NATIVE_UINT8, 12, stored);
            assert_memory_equal(stored, pixels, 12);
            assert_int_equal(unlink(place->output), 0);
        }
        file_flip(place->train, i, 0x11);
    }
    assert_true(n_refused > bytes / 2);
}

static void import_numpy_archive_cut_anywhere_is_refused(void **state)
{
    const import_place *place = *state;
    const lmn_import_numpy_options options = {.archive = place->train};
    write_archive(place->train, false, false);
    for (size_t bytes = file_bytes(place->train) - 6; bytes > 0; bytes--) {
        file_truncate(place->train, bytes);
        fails(place, &options, LMN_ERR_FORMAT, "no complete zip archive");
    }
}

static void import_numpy_half_a_test_split_in_an_archive_is_refused(void **state)
{
    const import_place *place = *state;
    const lmn_import_numpy_options options = {.archive = place->train};
    npz_member members[] = {
        {"x_train.npy", npy_bytes(1, "|u1", false, "(2, 3, 2)", pixels, 12), false, false},
        {"y_train.npy", npy_bytes(1, "<i8", false, "(2,)", two_labels, 16), false, false},
        {"y_test.npy", npy_bytes(1, "<i8", false, "(2,)", two_labels, 16), false, false},
    };
    npz_write(place->train, members, 3);
    fails(place, &options, LMN_ERR_FORMAT, "no member 'x_test'");
}

/* ---- refusals ---- */

static void import_numpy_headers_that_do_not_fit_are_refused(void **state)
{
    const import_place *place = *state;
    static const struct {
        const char *descr;
        bool fortran;
        const char *shape;
        const char *what;
    } cases[] = {
        {"|u1", true, "(2, 6)", "Fortran order, and rows of samples are needed"},
        {">f4", false, "(1, 3)", "elements of type >f4"},
        {"<f2", false, "(1, 6)", "elements of type <f2"},
        {"|O", false, "(1, 6)", "is not read"},
        {"[('a', '<f4')]", false, "(3,)", "elements of type record"},
        {"|u1", false, "(12,)", "has the shape (12,); images are (N, H, W)"},
        {"|u1", false, "()", "has the shape (); images"},
        {"|u1", false, "(1, 1, 1, 1, 12)", "has the shape (1, 1, 1, 1, 12)"},
        {"|u1", false, "(0, 6)", "(0, 6), which is empty"},
        {"|u1", false, "(2, 7)", "is truncated: "},
        {"|u1", false, "(2, 5)", "data after its last element"},
        {"|u1", false, "(4294967296, 4294967296)", "empty or too large"},
        {"|u1", false, "(2, x)", "a header that cannot be understood"},
        {"|u1", false, "(3, 4)", "3 samples and '"},
    };
    write_two_labels(place->test);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const file_bytes_list list =
            npy_bytes(1, cases[i].descr, cases[i].fortran, cases[i].shape, pixels, sizeof pixels);
        file_write(place->train, list.data, list.bytes);
        free(list.data);
        pair_fails(place, cases[i].what);
    }
}

static void import_numpy_foreign_and_odd_files_are_refused(void **state)
{
    const import_place *place = *state;
    write_two_labels(place->test);
    text_write(place->train, "GIF89a..........");
    pair_fails(place, "is not a NumPy array");
    text_write(place->train, "");
    pair_fails(place, "is truncated");
    text_write(place->train, "\x93NUMPY\x04");
    pair_fails(place, "is truncated");
    file_write(place->train, "\x93NUMPY\x04\x00\x10\x00", 10);
    pair_fails(place, "has version 4 of the format");
    file_write(place->train, "\x93NUMPY\x02\x00\x00\x00\x00\x7f", 12);
    pair_fails(place, "a header that cannot be understood");
    file_write(place->train, "\x93NUMPY\x01\x00\x03\x00{}\n", 13);
    pair_fails(place, "a header that cannot be understood");
    text_write(place->train, "PK\x03\x04 and no more of it than this");
    pair_fails(place, "no complete zip archive");
}

static void import_numpy_files_cut_anywhere_are_refused(void **state)
{
    const import_place *place = *state;
    npy_write(place->train, "|u1", "(2, 6)", pixels, sizeof pixels);
    write_two_labels(place->test);
    for (size_t bytes = file_bytes(place->train); bytes-- > 0;) {
        file_truncate(place->train, bytes);
        pair_fails(place, "train");
    }
    npy_write(place->train, "|u1", "(2, 6)", pixels, sizeof pixels);
    file_gzip(place->train);
    for (size_t bytes = file_bytes(place->train); bytes-- > 0;) {
        file_truncate(place->train, bytes);
        pair_fails(place, "train");
    }
}

static void import_numpy_values_that_are_no_f32_are_refused(void **state)
{
    const import_place *place = *state;
    const double bad[3] = {(double)NAN, (double)INFINITY, 1e39};
    static const char *const what[3] = {"element 1 of sample 1 in '", "is NaN or infinite",
                                        "is too large for f32"};
    write_two_labels(place->test);
    for (size_t i = 0; i < 3; i++) {
        const double values[4] = {1, 2, 3, bad[i]};
        npy_write(place->train, "<f8", "(2, 2)", values, sizeof values);
        pair_fails(place, what[i]);
    }
}

static void import_numpy_labels_that_are_no_classes_are_refused(void **state)
{
    const import_place *place = *state;
    static const int64_t negative[2] = {0, -1};
    static const int64_t large[2] = {0, 5000000000};
    static const uint64_t huge[2] = {0, UINT64_MAX};
    static const unsigned char one_hot[4] = {0, 1, 1, 0};
    npy_write(place->train, "|u1", "(2, 6)", pixels, sizeof pixels);
    npy_write(place->test, "<i8", "(2,)", negative, sizeof negative);
    pair_fails(place, "label -1 of sample 1");
    npy_write(place->test, "<i8", "(2,)", large, sizeof large);
    pair_fails(place, "label 5000000000 of sample 1");
    npy_write(place->test, "<u8", "(2,)", huge, sizeof huge);
    pair_fails(place, "element 0 of sample 1 in '");
    npy_write(place->test, "|u1", "(2, 2)", one_hot, sizeof one_hot);
    pair_fails(place, "numpy.argmax");
}

static void import_numpy_splits_that_differ_are_refused(void **state)
{
    const import_place *place = *state;
    char labels[TEST_PATH_BYTES];
    char floats[TEST_PATH_BYTES];
    path_join(labels, place->directory, "labels");
    path_join(floats, place->directory, "floats");
    static const float two_floats[12] = {1, 2};
    write_two_labels(labels);
    npy_write(place->train, "|u1", "(2, 3, 2)", pixels, sizeof pixels);
    npy_write(place->test, "|u1", "(2, 2, 3)", pixels, sizeof pixels);
    lmn_import_numpy_options options = {.train_samples = place->train,
                                        .train_labels = labels,
                                        .test_samples = place->test,
                                        .test_labels = labels};
    fails(place, &options, LMN_ERR_FORMAT, "not of the size");
    npy_write(place->test, "<f4", "(2, 3, 2)", two_floats, sizeof two_floats);
    fails(place, &options, LMN_ERR_FORMAT, "one holds bytes");
    npy_write(floats, "<f4", "(2,)", two_floats, 8);
    options.test_samples = place->train;
    options.test_labels = floats;
    fails(place, &options, LMN_ERR_FORMAT, "one holds integers");
    options.test_labels = NULL;
    fails(place, &options, LMN_ERR_ARGUMENT, "both samples and labels");
}

static void import_numpy_missing_file_is_named(void **state)
{
    const import_place *place = *state;
    const lmn_import_numpy_options options = pair(place);
    fails(place, &options, LMN_ERR_IO, "train': No such file");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, import_set_up, import_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(import_numpy_bytes_of_three_axes_are_images),
        CASE(import_numpy_floats_of_four_axes_are_images_as_they_are),
        CASE(import_numpy_all_types_become_f32),
        CASE(import_numpy_many_rows_round_trip),
        CASE(import_numpy_float_labels_are_targets),
        CASE(import_numpy_archive_gives_both_splits),
        CASE(import_numpy_member_may_be_named),
        CASE(import_numpy_archive_with_any_flipped_byte_is_refused_or_the_same),
        CASE(import_numpy_archive_cut_anywhere_is_refused),
        CASE(import_numpy_half_a_test_split_in_an_archive_is_refused),
        CASE(import_numpy_headers_that_do_not_fit_are_refused),
        CASE(import_numpy_foreign_and_odd_files_are_refused),
        CASE(import_numpy_files_cut_anywhere_are_refused),
        CASE(import_numpy_values_that_are_no_f32_are_refused),
        CASE(import_numpy_labels_that_are_no_classes_are_refused),
        CASE(import_numpy_splits_that_differ_are_refused),
        CASE(import_numpy_missing_file_is_named),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}

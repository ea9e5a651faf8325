/*
 * Importing tables of text: quoting, headers, columns, missing cells, drawn test splits, and what
 * is refused with line and column.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "import_check.h"
#include "lamina/import.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void import_good(const import_place *place, const lmn_import_csv_options *options)
{
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_csv(options, place->output, &err);
    import_done(place, status, &err);
}

static void fails(const import_place *place, const lmn_import_csv_options *options,
                  lmn_status wanted, const char *what)
{
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_csv(options, place->output, &err);
    import_refused(place, status, &err, wanted, what);
}

/* The text, with the answer in column `label`, is refused with LMN_ERR_FORMAT. */
static void text_fails(const import_place *place, const char *text, const char *label,
                       const char *what)
{
    const lmn_import_csv_options options = {.train = place->train, .label = label};
    text_write(place->train, text);
    fails(place, &options, LMN_ERR_FORMAT, what);
}

static void vectors_are(const import_place *place, const char *split, const float *wanted,
                        size_t count)
{
    char path[32];
    float *stored = malloc(count * sizeof *stored);
    assert_non_null(stored);
    (void)snprintf(path, sizeof path, "/%s/vectors", split);
    array_read(place->output, path, H5T_NATIVE_FLOAT, count, stored);
    for (size_t i = 0; i < count; i++) {
        assert_float_equal(stored[i], wanted[i], 0);
    }
    free(stored);
}

static void labels_are(const import_place *place, const int *wanted, size_t count)
{
    int stored[16];
    assert_true(count <= 16);
    array_read(place->output, "/train/labels", H5T_NATIVE_INT, count, stored);
    assert_memory_equal(stored, wanted, count * sizeof *wanted);
}

/* ---- what arrives ---- */

static const char quoted[] = "\xef\xbb\xbf"
                             "id,age,\"weight, \"\"kg\"\"\",\"two\nlines\",kind\r\n"
                             "a, 41 ,\"1e2\",-0.5,\"cat, \"\"big\"\"\"\r\n"
                             "\r\n"
                             "b,30,+7.25 ,.5, dog \r\n"
                             "\"c\nd\",0,2.,3E-1 ,\"cat, \"\"big\"\"\" ";

static void check_quoted(const import_place *place)
{
    static const float values[] = {41, 100, -0.5F, 30, 7.25F, 0.5F, 0, 2, 0.3F};
    static const int labels[] = {0, 1, 0};
    static const char *const classes[] = {"cat, \"big\"", "dog"};
    static const char *const features[] = {"age", "weight, \"kg\"", "two\nlines"};
    vectors_are(place, "train", values, 9);
    labels_are(place, labels, 3);
    texts_are(place->output, "/classes", classes, 2);
    texts_are(place->output, "/features", features, 3);
    attribute_text_is(place->output, "/", "kind", "vectors");
}

static void import_csv_quoted_cells_are_read_as_rfc_4180_has_it(void **state)
{
    const import_place *place = *state;
    static const char *const drop[] = {"id"};
    lmn_import_csv_options options = {
        .train = place->train, .label = "kind", .drop = drop, .n_drop = 1};
    text_write(place->train, quoted);
    import_good(place, &options);
    check_quoted(place);
    file_gzip(place->train);
    static const char *const number[] = {"1"};
    options.drop = number;
    options.label = "5";
    import_good(place, &options);
    check_quoted(place);
}

static void import_csv_without_header_takes_the_first_row(void **state)
{
    const import_place *place = *state;
    lmn_import_csv_options options = {.train = place->train, .label = "1", .separator = ';'};
    static const float values[] = {1, 2, 3, 4};
    static const int labels[] = {1, 0};
    static const char *const classes[] = {"a", "b"};
    text_write(place->train, "b;1;2\na;3;4\n");
    import_good(place, &options);
    vectors_are(place, "train", values, 4);
    labels_are(place, labels, 2);
    texts_are(place->output, "/classes", classes, 2);
    assert_false(has_object(place->output, "/features"));
    options.header = LMN_CSV_HEADER_YES;
    options.label = "b";
    import_good(place, &options);
    vectors_are(place, "train", values + 2, 2);
}

static void import_csv_header_is_told_by_texts_above_numbers(void **state)
{
    const import_place *place = *state;
    lmn_import_csv_options options = {.train = place->train, .label = "3"};
    static const float values[] = {0, 1, 5, 6};
    text_write(place->train, "0,1,class\n5,6,2\n");
    import_good(place, &options);
    vectors_are(place, "train", values + 2, 2);
    options.header = LMN_CSV_HEADER_NO;
    import_good(place, &options);
    vectors_are(place, "train", values, 4);
    options.header = LMN_CSV_HEADER_AUTO;
    text_write(place->train, "x\ty\tclass\n5\t6\ta\n");
    options.separator = '\t';
    import_good(place, &options);
    vectors_are(place, "train", values + 2, 2);
}

static void import_csv_numbers_as_labels_are_ordered_by_value(void **state)
{
    const import_place *place = *state;
    const lmn_import_csv_options options = {.train = place->train, .label = "y"};
    static const int labels[] = {2, 1, 3, 0};
    static const char *const classes[] = {"-1", "9", "10", "ten"};
    text_write(place->train, "x,y\n1,10\n1,9\n1,ten\n1,-1\n");
    import_good(place, &options);
    labels_are(place, labels, 4);
    texts_are(place->output, "/classes", classes, 4);
}

static void import_csv_target_is_a_number(void **state)
{
    const import_place *place = *state;
    lmn_import_csv_options options = {.train = place->train, .target = "y"};
    float targets[2];
    text_write(place->train, "x,y\n1,0.1\n2,-3\n");
    import_good(place, &options);
    array_read(place->output, "/train/targets", H5T_NATIVE_FLOAT, 2, targets);
    assert_float_equal(targets[0], 0.1F, 0);
    assert_float_equal(targets[1], -3, 0);
    assert_false(has_object(place->output, "/classes"));
    assert_int_equal(unlink(place->output), 0);
    text_write(place->train, "x,y\n1,0.1\n2,low\n");
    fails(place, &options, LMN_ERR_FORMAT, "line 3 of '");
    fails(place, &options, LMN_ERR_FORMAT, "the target 'low' is not a number");
}

static void import_csv_missing_cells_are_filled_as_asked(void **state)
{
    const import_place *place = *state;
    lmn_import_csv_options options = {.train = place->train, .test = place->test, .label = "y"};
    static const char text[] = "x,z,y\n1,,a\nNA,4,b\n4,\"\",a\n,nan,b\n";
    static const float with_seven[] = {1, -7.5F, -7.5F, 4, 4, -7.5F, -7.5F, -7.5F};
    static const float with_mean[] = {1, 4, 2.5F, 4, 4, 4, 2.5F, 4};
    static const float test_mean[] = {2.5F, 100};
    text_write(place->train, text);
    text_write(place->test, "x,z,y\n?,100,a\n");
    options.missing = "-7.5";
    import_good(place, &options);
    vectors_are(place, "train", with_seven, 8);
    options.missing = "mean";
    import_good(place, &options);
    vectors_are(place, "train", with_mean, 8);
    vectors_are(place, "test", test_mean, 2);
    assert_int_equal(unlink(place->output), 0);
    options.missing = NULL;
    fails(place, &options, LMN_ERR_FORMAT, "line 2 of '");
    fails(place, &options, LMN_ERR_FORMAT, "column 2 (z) is empty");
    options.missing = "median";
    fails(place, &options, LMN_ERR_ARGUMENT, "'median' cannot stand for empty cells");
    options.missing = "mean";
    text_write(place->train, "x,z,y\n1,,a\n2,,b\n");
    fails(place, &options, LMN_ERR_FORMAT, "column 2 (z) of '");
}

static void import_csv_standardising_stores_mean_and_deviation(void **state)
{
    const import_place *place = *state;
    const lmn_import_csv_options options = {
        .train = place->train, .test = place->test, .target = "y", .common = {.standardise = true}};
    float mean[2];
    float deviation[2];
    text_write(place->train, "x,z,y\n1,5,0\n3,5,0\n");
    text_write(place->test, "x,z,y\n100,100,0\n");
    import_good(place, &options);
    array_read(place->output, "/standardisation/mean", H5T_NATIVE_FLOAT, 2, mean);
    array_read(place->output, "/standardisation/deviation", H5T_NATIVE_FLOAT, 2, deviation);
    assert_float_equal(mean[0], 2, 0);
    assert_float_equal(mean[1], 5, 0);
    assert_float_equal(deviation[0], 1, 0);
    assert_float_equal(deviation[1], 1, 0);
}

/* ---- splits ---- */

static void write_numbered(const char *path, size_t count)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fprintf(file, "x,y\n");
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(file, "%zu,%zu\n", i, i % 3);
    }
    assert_int_equal(fclose(file), 0);
}

/* Marks in seen [count] the rows of a split; returns how many it has. */
static size_t mark_rows(const import_place *place, const char *split, size_t count, int *seen)
{
    char path[32];
    hsize_t dims[8] = {0};
    (void)snprintf(path, sizeof path, "/%s/vectors", split);
    assert_int_equal(array_dims(place->output, path, dims), 2);
    float *stored = malloc(dims[0] * sizeof *stored);
    assert_non_null(stored);
    array_read(place->output, path, H5T_NATIVE_FLOAT, dims[0], stored);
    for (size_t i = 0; i < dims[0]; i++) {
        assert_true(stored[i] >= 0 && stored[i] < (float)count);
        seen[(size_t)stored[i]]++;
    }
    free(stored);
    return dims[0];
}

static void import_csv_drawn_test_part_is_fixed_by_seed_and_row(void **state)
{
    const import_place *place = *state;
    enum { ROWS = 2000, LONGER = 4000 };
    lmn_import_csv_options options = {
        .train = place->train, .label = "y", .test_part = 0.1, .seed = 5};
    int seen[ROWS] = {0};
    int first[LONGER] = {0};
    int longer[LONGER] = {0};
    int other[LONGER] = {0};
    write_numbered(place->train, ROWS);
    import_good(place, &options);
    const size_t n_test = mark_rows(place, "test", ROWS, seen);
    memcpy(first, seen, sizeof seen);
    /* The mean is 200 and the deviation 13.4; this is 6 of them. */
    assert_in_range(n_test, 120, 280);
    assert_int_equal(mark_rows(place, "train", ROWS, seen), ROWS - n_test);
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(seen[i], 1);
    }
    write_numbered(place->train, LONGER);
    import_good(place, &options);
    (void)mark_rows(place, "test", LONGER, longer);
    assert_memory_equal(first, longer, ROWS * sizeof first[0]);
    options.seed = 6;
    import_good(place, &options);
    (void)mark_rows(place, "test", LONGER, other);
    assert_memory_not_equal(other, longer, sizeof longer);
}

static void import_csv_empty_splits_are_refused(void **state)
{
    const import_place *place = *state;
    lmn_import_csv_options options = {.train = place->train, .label = "y", .test_part = 0.001};
    write_numbered(place->train, 3);
    fails(place, &options, LMN_ERR_FORMAT, "no rows for the test split");
    options.test_part = 0;
    options.test = place->test;
    text_write(place->test, "x,y\n");
    fails(place, &options, LMN_ERR_FORMAT, "test' gives no rows for the test split");
    options.test_part = 0.5;
    fails(place, &options, LMN_ERR_ARGUMENT, "not both");
}

static void import_csv_test_file_with_other_columns_is_refused(void **state)
{
    const import_place *place = *state;
    const lmn_import_csv_options options = {
        .train = place->train, .test = place->test, .label = "y"};
    text_write(place->train, "x,z,y\n1,2,a\n");
    text_write(place->test, "z,x,y\n1,2,a\n");
    fails(place, &options, LMN_ERR_FORMAT, "column 1 is 'z', and in the training file it is 'x'");
    text_write(place->test, "x,z,y\n1,a\n");
    fails(place, &options, LMN_ERR_FORMAT, "it has 2 columns, and the first row has 3");
}

/* ---- refusals ---- */

static void import_csv_bad_rows_are_refused_with_line_and_column(void **state)
{
    const import_place *place = *state;
    static const struct {
        const char *text;
        const char *what;
    } cases[] = {
        {"x,y\n1,a\n\n2,b\nthree,c\n", "line 5 of '"},
        {"x,y\n1,a\nthree,c\n", "column 1 (x) holds 'three', which is not a number"},
        {"x,y\n1,a\nthree,c\n", "--drop 1"},
        {"x,y\n1,a\n1e39,c\n", "'1e39', which is too large"},
        {"x,y\n1,a\ninf,c\n", "'inf', which is not a finite number"},
        {"x,y\n1,a\n\"1,5\",c\n", "'1,5', which is not a number"},
        {"x,y\n1,a\n1,2,b\n", "it has 3 columns, and the first row has 2"},
        {"x,y\n1,a\n1\n", "it has 1 columns"},
        {"x,y\n1,a\n2,\n", "the label is empty"},
        {"x,y\n1,a\n2,\"b\n3,c\n", "line 3 of '"},
        {"x,y\n1,a\n2,\"b\n3,c\n", "a quote that is opened here is not closed"},
        {"x,y\n1,a\n2,\"b\" c\n", "column 2 has text behind its closing quote"},
        {"x,y\n1,a\n2\",\"b\n", "a quote in column 2 is not closed"},
        {"x,y\n", "gives no rows for the training split"},
        {"", "train' holds no rows"},
        {"\n \n", "train' holds no rows"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        text_fails(place, cases[i].text, "2", cases[i].what);
    }
    text_fails(place, "y\na\nb\n", "1", "no column of features beside the answer");
}

static void import_csv_columns_that_are_not_there_are_refused(void **state)
{
    const import_place *place = *state;
    static const char *const drop[] = {"y"};
    lmn_import_csv_options options = {.train = place->train, .label = "kind"};
    text_write(place->train, "x,y,y\n1,2,3\n");
    fails(place, &options, LMN_ERR_ARGUMENT, "has no column 'kind'; it has 3 columns");
    options.label = "4";
    fails(place, &options, LMN_ERR_ARGUMENT, "has no column '4'");
    options.label = "0";
    fails(place, &options, LMN_ERR_ARGUMENT, "has no column '0'");
    options.label = "y";
    fails(place, &options, LMN_ERR_ARGUMENT, "2 columns 'y'; say which by its number");
    options.label = "2";
    options.drop = drop;
    options.n_drop = 1;
    fails(place, &options, LMN_ERR_ARGUMENT, "2 columns 'y'");
    text_write(place->train, "x,y\n1,2\n");
    fails(place, &options, LMN_ERR_ARGUMENT, "is the answer and cannot be dropped");
}

static void import_csv_options_that_contradict_are_refused(void **state)
{
    const import_place *place = *state;
    static const char *const names[] = {"a"};
    lmn_import_csv_options options = {.train = place->train};
    text_write(place->train, "x,y\n1,2\n");
    fails(place, &options, LMN_ERR_ARGUMENT, "one column must be named");
    options.target = "y";
    options.common.class_names = names;
    options.common.n_classes = 1;
    fails(place, &options, LMN_ERR_ARGUMENT, "the answer is a number");
}

static void import_csv_too_many_labels_suggest_a_target(void **state)
{
    const import_place *place = *state;
    const lmn_import_csv_options options = {.train = place->train, .label = "2"};
    FILE *file = fopen(place->train, "w");
    assert_non_null(file);
    for (int i = 0; i < 65537; i++) {
        (void)fprintf(file, "1,%d\n", i);
    }
    assert_int_equal(fclose(file), 0);
    fails(place, &options, LMN_ERR_FORMAT, "line 65537 of '");
    fails(place, &options, LMN_ERR_FORMAT, "--target");
    file_truncate(place->train, file_bytes(place->train) - 8);
    import_good(place, &options);
    uint16_t *labels = malloc(65536 * sizeof *labels);
    assert_non_null(labels);
    array_read(place->output, "/train/labels", H5T_NATIVE_UINT16, 65536, labels);
    assert_int_equal(labels[65535], 65535);
    free(labels);
}

static void import_csv_missing_binary_and_cut_files_are_refused(void **state)
{
    const import_place *place = *state;
    const lmn_import_csv_options options = {.train = place->train, .label = "y"};
    fails(place, &options, LMN_ERR_IO, "train': No such file");
    file_write(place->train, "x,y\n1,\0\n", 8);
    fails(place, &options, LMN_ERR_FORMAT, "no text file");
    write_numbered(place->train, 50);
    file_gzip(place->train);
    for (size_t bytes = file_bytes(place->train) - 1; bytes > 18; bytes--) {
        file_truncate(place->train, bytes);
        fails(place, &options, LMN_ERR_FORMAT, "train");
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, import_set_up, import_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(import_csv_quoted_cells_are_read_as_rfc_4180_has_it),
        CASE(import_csv_without_header_takes_the_first_row),
        CASE(import_csv_header_is_told_by_texts_above_numbers),
        CASE(import_csv_numbers_as_labels_are_ordered_by_value),
        CASE(import_csv_target_is_a_number),
        CASE(import_csv_missing_cells_are_filled_as_asked),
        CASE(import_csv_standardising_stores_mean_and_deviation),
        CASE(import_csv_drawn_test_part_is_fixed_by_seed_and_row),
        CASE(import_csv_empty_splits_are_refused),
        CASE(import_csv_test_file_with_other_columns_is_refused),
        CASE(import_csv_bad_rows_are_refused_with_line_and_column),
        CASE(import_csv_columns_that_are_not_there_are_refused),
        CASE(import_csv_options_that_contradict_are_refused),
        CASE(import_csv_too_many_labels_suggest_a_target),
        CASE(import_csv_missing_binary_and_cut_files_are_refused),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}

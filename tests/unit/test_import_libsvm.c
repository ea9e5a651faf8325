/*
 * Importing LIBSVM files: what arrives as sparse rows, and what is refused with file and line.
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

static void import_good(const import_place *place, const lmn_import_libsvm_options *options)
{
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_libsvm(options, place->output, &err);
    import_done(place, status, &err);
}

static void fails(const import_place *place, const lmn_import_libsvm_options *options,
                  lmn_status wanted, const char *what)
{
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_libsvm(options, place->output, &err);
    import_refused(place, status, &err, wanted, what);
}

/* The text as training file is refused with LMN_ERR_FORMAT. */
static void text_fails(const import_place *place, const char *text, const char *what)
{
    const lmn_import_libsvm_options options = {.train = place->train};
    text_write(place->train, text);
    fails(place, &options, LMN_ERR_FORMAT, what);
}

static void check_small(const import_place *place)
{
    uint64_t row_start[5];
    uint32_t column[4];
    float value[4];
    int labels[4];
    static const uint64_t row_starts[] = {0, 2, 3, 3, 4};
    static const uint32_t columns[] = {0, 4, 1, 2};
    static const float values[] = {0.5F, -2e-3F, 1e10F, 0.0F};
    static const int wanted_labels[] = {1, 0, 1, 0};
    static const char *const classes[] = {"-1", "+1"};
    array_read(place->output, "/train/row_start", H5T_NATIVE_UINT64, 5, row_start);
    array_read(place->output, "/train/column", H5T_NATIVE_UINT32, 4, column);
    array_read(place->output, "/train/value", H5T_NATIVE_FLOAT, 4, value);
    array_read(place->output, "/train/labels", H5T_NATIVE_INT, 4, labels);
    assert_memory_equal(row_start, row_starts, sizeof row_start);
    assert_memory_equal(column, columns, sizeof column);
    assert_memory_equal(value, values, sizeof value);
    assert_memory_equal(labels, wanted_labels, sizeof labels);
    texts_are(place->output, "/classes", classes, 2);
    attribute_text_is(place->output, "/", "kind", "vectors");
}

static const char small[] = "# a comment\n"
                            "+1 1:0.5 5:-2e-3\n"
                            "\n"
                            "-1\t2:1e10   # the rest is not read 1:2:3\r\n"
                            "1\n"
                            "  -1.0 3:0";

static void import_libsvm_plain_and_gzip_give_sparse_rows(void **state)
{
    const import_place *place = *state;
    const lmn_import_libsvm_options options = {.train = place->train};
    text_write(place->train, small);
    import_good(place, &options);
    check_small(place);
    assert_int_equal(attribute_number(place->output, "/", "features"), 5);
    file_gzip(place->train);
    import_good(place, &options);
    check_small(place);
}

static void import_libsvm_features_come_from_both_files_or_the_option(void **state)
{
    const import_place *place = *state;
    lmn_import_libsvm_options options = {.train = place->train, .test = place->test};
    text_write(place->train, "0 1:1\n1 2:1\n");
    text_write(place->test, "2 9:1\n");
    import_good(place, &options);
    assert_int_equal(attribute_number(place->output, "/", "features"), 9);
    int label = 0;
    array_read(place->output, "/test/labels", H5T_NATIVE_INT, 1, &label);
    assert_int_equal(label, 2);
    options.n_features = 20;
    import_good(place, &options);
    assert_int_equal(attribute_number(place->output, "/", "features"), 20);
    assert_int_equal(unlink(place->output), 0);
    options.n_features = 8;
    fails(place, &options, LMN_ERR_FORMAT, "line 1 of '");
    fails(place, &options, LMN_ERR_FORMAT, "index 9 is beyond the 8 features");
}

static void import_libsvm_classes_are_ordered_by_value(void **state)
{
    const import_place *place = *state;
    const lmn_import_libsvm_options options = {.train = place->train};
    static const char *const classes[] = {"-3", "2", "1e1"};
    text_write(place->train, "1e1 1:1\n2 1:1\n-3 1:1\n10 1:1\n");
    import_good(place, &options);
    texts_are(place->output, "/classes", classes, 3);
    int labels[4];
    static const int wanted[] = {2, 1, 0, 2};
    array_read(place->output, "/train/labels", H5T_NATIVE_INT, 4, labels);
    assert_memory_equal(labels, wanted, sizeof wanted);
}

static void import_libsvm_fractions_become_targets(void **state)
{
    const import_place *place = *state;
    lmn_import_libsvm_options options = {.train = place->train};
    text_write(place->train, "1 1:1\n2.5 1:1\n-0.1 1:1\n");
    import_good(place, &options);
    float targets[3];
    static const float wanted[] = {1.0F, 2.5F, -0.1F};
    array_read(place->output, "/train/targets", H5T_NATIVE_FLOAT, 3, targets);
    assert_memory_equal(targets, wanted, sizeof wanted);
    assert_false(has_object(place->output, "/train/labels"));
    assert_false(has_object(place->output, "/classes"));
    static const char *const names[] = {"a"};
    options.common.class_names = names;
    options.common.n_classes = 1;
    assert_int_equal(unlink(place->output), 0);
    fails(place, &options, LMN_ERR_ARGUMENT, "numbers to predict");
}

static void import_libsvm_whole_labels_become_targets_when_asked_or_many(void **state)
{
    const import_place *place = *state;
    lmn_import_libsvm_options options = {.train = place->train, .targets = true};
    text_write(place->train, "1 1:1\n2 1:1\n");
    import_good(place, &options);
    assert_true(has_object(place->output, "/train/targets"));
    options.targets = false;
    FILE *file = fopen(place->train, "w");
    assert_non_null(file);
    for (int i = 0; i < 1001; i++) {
        (void)fprintf(file, "%d 1:1\n", i % 1000);
    }
    assert_int_equal(fclose(file), 0);
    import_good(place, &options);
    assert_true(has_object(place->output, "/train/labels"));
    file = fopen(place->train, "a");
    assert_non_null(file);
    (void)fprintf(file, "5000 1:1\n");
    assert_int_equal(fclose(file), 0);
    import_good(place, &options);
    assert_true(has_object(place->output, "/train/targets"));
    assert_false(has_object(place->output, "/classes"));
}

static void import_libsvm_given_names_must_be_as_many_as_the_classes(void **state)
{
    const import_place *place = *state;
    static const char *const names[] = {"no", "yes", "perhaps"};
    lmn_import_libsvm_options options = {.train = place->train,
                                         .common = {.class_names = names, .n_classes = 2}};
    text_write(place->train, "1 1:1\n-1 1:1\n");
    import_good(place, &options);
    texts_are(place->output, "/classes", names, 2);
    assert_int_equal(unlink(place->output), 0);
    options.common.n_classes = 3;
    fails(place, &options, LMN_ERR_ARGUMENT, "3 class names are given");
}

/* Lines longer than a block, and more of them than fill one. */
static void import_libsvm_long_lines_and_many_round_trip(void **state)
{
    const import_place *place = *state;
    enum { ROWS = 40, COLUMNS = 20000 };
    FILE *file = fopen(place->train, "w");
    assert_non_null(file);
    for (int row = 0; row < ROWS; row++) {
        (void)fprintf(file, "%d", row % 3);
        for (int i = 0; i < COLUMNS; i++) {
            (void)fprintf(file, " %d:%d", 2 * i + 1, row + i);
        }
        (void)fprintf(file, "\n");
    }
    assert_int_equal(fclose(file), 0);
    const lmn_import_libsvm_options options = {.train = place->train};
    import_good(place, &options);
    float *values = calloc((size_t)ROWS * COLUMNS, sizeof *values);
    uint32_t *columns = calloc((size_t)ROWS * COLUMNS, sizeof *columns);
    assert_non_null(values);
    assert_non_null(columns);
    array_read(place->output, "/train/value", H5T_NATIVE_FLOAT, (size_t)ROWS * COLUMNS, values);
    array_read(place->output, "/train/column", H5T_NATIVE_UINT32, (size_t)ROWS * COLUMNS, columns);
    for (int row = 0; row < ROWS; row++) {
        for (int i = 0; i < COLUMNS; i++) {
            assert_float_equal(values[row * COLUMNS + i], (float)(row + i), 0);
            assert_int_equal(columns[row * COLUMNS + i], 2 * i);
        }
    }
    free(columns);
    free(values);
}

static void import_libsvm_bad_lines_are_refused_with_their_number(void **state)
{
    const import_place *place = *state;
    static const struct {
        const char *text;
        const char *what;
    } cases[] = {
        {"1 1:1\n\n# x\n1 0:1\n", "line 4 of '"},
        {"1 0:1\n", "index 0; features count from 1"},
        {"1 1:1 1:2\n", "index 1 comes after 1"},
        {"1 5:1 3:2\n", "index 3 comes after 5"},
        {"1 4294967297:1\n", "index 4294967297 is larger than 2^32"},
        {"1 99999999999999999999999:1\n", "is no index of a feature"},
        {"1 -1:1\n", "'-1' is no index"},
        {"1 1.5:1\n", "'1.5' is no index"},
        {"1 qid:7 1:1\n", "'qid' is no index"},
        {"1 1\n", "'1' is not index:value"},
        {"1 1:\n", "the value '' of index 1 is not a number"},
        {"1 1:abc\n", "the value 'abc' of index 1 is not a number"},
        {"1 1:0x10\n", "'0x10' of index 1 is not a number"},
        {"1 1:1.2.3\n", "'1.2.3' of index 1 is not a number"},
        {"1 1:nan\n", "'nan' of index 1 is not a finite number"},
        {"1 1:-INF\n", "'-INF' of index 1 is not a finite number"},
        {"1 1:1e39\n", "'1e39' of index 1 is too large"},
        {"1:1 2:1\n", "begins with '1:1' and has no label"},
        {"cat 1:1\n", "the label 'cat' is not a number"},
        {"1,3 1:1\n", "the label '1,3' is not a number"},
        {"nan 1:1\n", "the label 'nan' is not a finite number"},
        {"1e400 1:1\n", "the label '1e400' is too large"},
        {"# nothing\n\n", "train' holds no samples"},
        {"", "train' holds no samples"},
        {"1\n2\n", "train' holds no values"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        text_fails(place, cases[i].text, cases[i].what);
    }
}

static void import_libsvm_binary_file_is_refused(void **state)
{
    const import_place *place = *state;
    const lmn_import_libsvm_options options = {.train = place->train};
    file_write(place->train, "1 1:1\n1 \0 2\n", 12);
    fails(place, &options, LMN_ERR_FORMAT, "line 2 of '");
    fails(place, &options, LMN_ERR_FORMAT, "no text file");
}

static void import_libsvm_cut_or_damaged_gzip_is_refused(void **state)
{
    const import_place *place = *state;
    const lmn_import_libsvm_options options = {.train = place->train};
    text_write(place->train, small);
    file_gzip(place->train);
    const size_t bytes = file_bytes(place->train);
    file_flip(place->train, bytes - 6, 0x11);
    fails(place, &options, LMN_ERR_FORMAT, "train' is damaged");
    file_flip(place->train, bytes - 6, 0x11);
    for (size_t length = bytes - 1; length > 18; length--) {
        file_truncate(place->train, length);
        fails(place, &options, LMN_ERR_FORMAT, "train");
    }
}

static void import_libsvm_standardising_sparse_rows_is_refused(void **state)
{
    const import_place *place = *state;
    const lmn_import_libsvm_options options = {.train = place->train,
                                               .common = {.standardise = true}};
    text_write(place->train, small);
    fails(place, &options, LMN_ERR_ARGUMENT, "sparse rows cannot be standardised");
}

static void import_libsvm_missing_file_is_named(void **state)
{
    const import_place *place = *state;
    const lmn_import_libsvm_options options = {.train = place->train, .test = place->test};
    fails(place, &options, LMN_ERR_IO, "train': No such file");
    text_write(place->train, small);
    fails(place, &options, LMN_ERR_IO, "test': No such file");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, import_set_up, import_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(import_libsvm_plain_and_gzip_give_sparse_rows),
        CASE(import_libsvm_features_come_from_both_files_or_the_option),
        CASE(import_libsvm_classes_are_ordered_by_value),
        CASE(import_libsvm_fractions_become_targets),
        CASE(import_libsvm_whole_labels_become_targets_when_asked_or_many),
        CASE(import_libsvm_given_names_must_be_as_many_as_the_classes),
        CASE(import_libsvm_long_lines_and_many_round_trip),
        CASE(import_libsvm_bad_lines_are_refused_with_their_number),
        CASE(import_libsvm_binary_file_is_refused),
        CASE(import_libsvm_cut_or_damaged_gzip_is_refused),
        CASE(import_libsvm_standardising_sparse_rows_is_refused),
        CASE(import_libsvm_missing_file_is_named),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}

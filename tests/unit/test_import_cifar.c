/*
 * Importing CIFAR-10 and CIFAR-100: planes become pixels, the format follows from the record, and
 * bad files are refused.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "import_check.h"
#include "lamina/import.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PIXELS = 1024, IMAGE = 3 * PIXELS };

/* What channel `c` of pixel `i` of record `n` holds. */
static unsigned char plane_value(size_t n, size_t c, size_t i)
{
    return (unsigned char)(13 * n + 101 * c + 7 * i + i / 32);
}

/* `count` records whose label bytes are first + n (and for two, first + 2 n before it). */
static void write_records(const char *path, size_t count, size_t label_bytes, unsigned first)
{
    const size_t bytes = label_bytes + IMAGE;
    unsigned char *data = malloc(count * bytes + 1);
    assert_non_null(data);
    for (size_t n = 0; n < count; n++) {
        unsigned char *record = data + n * bytes;
        record[0] = (unsigned char)(first + (label_bytes == 2 ? 2 * n : n));
        record[label_bytes - 1] = (unsigned char)(label_bytes == 2 ? first + 3 * n : first + n);
        for (size_t c = 0; c < 3; c++) {
            for (size_t i = 0; i < PIXELS; i++) {
                record[label_bytes + c * PIXELS + i] = plane_value(n, c, i);
            }
        }
    }
    file_write(path, data, count * bytes);
    free(data);
}

static lmn_status import_train(const import_place *place, lmn_cifar_format format, bool coarse,
                               lmn_error *err)
{
    const char *const train[] = {place->train};
    const lmn_import_cifar_options options = {
        .train = train, .n_train = 1, .format = format, .coarse = coarse};
    *err = lmn_error_none();
    return lmn_import_cifar(&options, place->output, err);
}

static void train_refused(const import_place *place, lmn_cifar_format format, lmn_status wanted,
                          const char *what)
{
    lmn_error err;
    const lmn_status status = import_train(place, format, false, &err);
    import_refused(place, status, &err, wanted, what);
}

static void check_images(const import_place *place, const char *array, size_t count)
{
    unsigned char *pixels = malloc(count * IMAGE);
    assert_non_null(pixels);
    array_read(place->output, array, H5T_NATIVE_UINT8, count * IMAGE, pixels);
    for (size_t n = 0; n < count; n++) {
        for (size_t i = 0; i < PIXELS; i++) {
            for (size_t c = 0; c < 3; c++) {
                assert_int_equal(pixels[n * IMAGE + 3 * i + c], plane_value(n, c, i));
            }
        }
    }
    free(pixels);
}

static void import_cifar_10_interleaves_planes_and_names_classes(void **state)
{
    const import_place *place = *state;
    static const char *const names[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                        "dog",      "frog",       "horse", "ship", "truck"};
    write_records(place->train, 10, 1, 0);
    lmn_error err;
    const lmn_status status = import_train(place, LMN_CIFAR_AUTO, false, &err);
    import_done(place, status, &err);
    hsize_t dims[8] = {0};
    assert_int_equal(array_dims(place->output, "/train/images", dims), 4);
    assert_int_equal(dims[0], 10);
    assert_int_equal(dims[1], 32);
    assert_int_equal(dims[2], 32);
    assert_int_equal(dims[3], 3);
    check_images(place, "/train/images", 10);
    int labels[10];
    array_read(place->output, "/train/labels", H5T_NATIVE_INT, 10, labels);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(labels[i], i);
    }
    texts_are(place->output, "/classes", names, 10);
    attribute_text_is(place->output, "/", "kind", "images");
    assert_float_equal(attribute_number(place->output, "/train/images", "scale"), 1.0 / 255, 0);
    assert_false(has_object(place->output, "/test"));
}

/* More records than are read at a time, in several files, one of them compressed. */
static void import_cifar_several_files_are_put_together(void **state)
{
    const import_place *place = *state;
    char second[TEST_PATH_BYTES];
    path_join(second, place->directory, "second");
    unsigned char *zero = calloc(300, 3073);
    assert_non_null(zero);
    file_write(place->train, zero, (size_t)300 * 3073);
    free(zero);
    write_records(second, 3, 1, 4);
    file_gzip(second);
    write_records(place->test, 2, 1, 8);
    const char *const train[] = {place->train, second};
    const char *const test[] = {place->test};
    const lmn_import_cifar_options options = {
        .train = train, .n_train = 2, .test = test, .n_test = 1};
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_cifar(&options, place->output, &err);
    import_done(place, status, &err);
    unsigned char labels[303];
    array_read(place->output, "/train/labels", H5T_NATIVE_UINT8, 303, labels);
    assert_int_equal(labels[299], 0);
    assert_int_equal(labels[300], 4);
    assert_int_equal(labels[302], 6);
    check_images(place, "/test/images", 2);
    unsigned char *pixels = malloc((size_t)303 * IMAGE);
    assert_non_null(pixels);
    array_read(place->output, "/train/images", H5T_NATIVE_UINT8, (size_t)303 * IMAGE, pixels);
    assert_int_equal(pixels[(size_t)302 * IMAGE + 4], plane_value(2, 1, 1));
    free(pixels);
}

static void import_cifar_100_takes_fine_or_coarse_labels(void **state)
{
    const import_place *place = *state;
    write_records(place->train, 5, 2, 1);
    lmn_error err;
    int labels[5];
    lmn_status status = import_train(place, LMN_CIFAR_AUTO, false, &err);
    import_done(place, status, &err);
    check_images(place, "/train/images", 5);
    array_read(place->output, "/train/labels", H5T_NATIVE_INT, 5, labels);
    assert_int_equal(labels[4], 13);
    status = import_train(place, LMN_CIFAR_100, true, &err);
    import_done(place, status, &err);
    array_read(place->output, "/train/labels", H5T_NATIVE_INT, 5, labels);
    assert_int_equal(labels[4], 9);
    static const char *const numbers[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    texts_are(place->output, "/classes", numbers, 10);
}

static void import_cifar_given_names_replace_the_known_ones(void **state)
{
    const import_place *place = *state;
    static const char *const names[] = {"a", "b", "c"};
    write_records(place->train, 3, 1, 0);
    const char *const train[] = {place->train};
    lmn_import_cifar_options options = {
        .train = train, .n_train = 1, .common = {.class_names = names, .n_classes = 3}};
    lmn_error err = lmn_error_none();
    lmn_status status = lmn_import_cifar(&options, place->output, &err);
    import_done(place, status, &err);
    texts_are(place->output, "/classes", names, 3);
    assert_int_equal(unlink(place->output), 0);
    options.common.n_classes = 2;
    status = lmn_import_cifar(&options, place->output, &err);
    import_refused(place, status, &err, LMN_ERR_FORMAT, "label 2 of sample 2");
}

/* Against sums over all pixels, in a second way of adding up. */
static void import_cifar_standardising_is_by_channel_and_after_the_scale(void **state)
{
    const import_place *place = *state;
    enum { COUNT = 7 };
    const char *const train[] = {place->train};
    const lmn_import_cifar_options options = {
        .train = train, .n_train = 1, .common = {.standardise = true}};
    write_records(place->train, COUNT, 1, 0);
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_cifar(&options, place->output, &err);
    import_done(place, status, &err);
    float mean[3];
    float deviation[3];
    array_read(place->output, "/standardisation/mean", H5T_NATIVE_FLOAT, 3, mean);
    array_read(place->output, "/standardisation/deviation", H5T_NATIVE_FLOAT, 3, deviation);
    for (size_t c = 0; c < 3; c++) {
        double sum = 0;
        double squares = 0;
        for (size_t i = 0; i < (size_t)COUNT * PIXELS; i++) {
            const double value = plane_value(i / PIXELS, c, i % PIXELS) / 255.0;
            sum += value;
            squares += value * value;
        }
        const double wanted = sum / (COUNT * PIXELS);
        assert_float_equal(mean[c], wanted, 1e-6);
        assert_float_equal(deviation[c], sqrt(squares / (COUNT * PIXELS) - wanted * wanted), 1e-6);
    }
}

static void import_cifar_size_of_no_format_is_refused(void **state)
{
    const import_place *place = *state;
    write_records(place->train, 2, 1, 0);
    file_truncate(place->train, (size_t)2 * 3073 - 1);
    train_refused(place, LMN_CIFAR_AUTO, LMN_ERR_FORMAT,
                  "train' has 6145 bytes, which are no whole");
    train_refused(place, LMN_CIFAR_10, LMN_ERR_FORMAT, "no whole records of CIFAR-10 (3073 bytes)");
}

static void import_cifar_size_of_both_formats_must_be_decided(void **state)
{
    const import_place *place = *state;
    const size_t bytes = (size_t)3073 * 3074;
    unsigned char *zero = calloc(bytes, 1);
    assert_non_null(zero);
    file_write(place->train, zero, bytes);
    free(zero);
    train_refused(place, LMN_CIFAR_AUTO, LMN_ERR_ARGUMENT, "CIFAR-10 or CIFAR-100 by its size");
    lmn_error err;
    const lmn_status status = import_train(place, LMN_CIFAR_10, false, &err);
    import_done(place, status, &err);
}

static void import_cifar_other_format_than_stated_is_refused(void **state)
{
    const import_place *place = *state;
    write_records(place->train, 4, 2, 0);
    train_refused(place, LMN_CIFAR_10, LMN_ERR_FORMAT, "of another format");
}

static void import_cifar_test_of_another_format_is_refused(void **state)
{
    const import_place *place = *state;
    write_records(place->train, 4, 2, 0);
    write_records(place->test, 4, 1, 0);
    const char *const train[] = {place->train};
    const char *const test[] = {place->test};
    const lmn_import_cifar_options options = {
        .train = train, .n_train = 1, .test = test, .n_test = 1};
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_cifar(&options, place->output, &err);
    import_refused(place, status, &err, LMN_ERR_FORMAT, "test' has 12292 bytes");
}

static void import_cifar_label_that_is_no_class_is_refused(void **state)
{
    const import_place *place = *state;
    write_records(place->train, 3, 1, 8);
    train_refused(place, LMN_CIFAR_AUTO, LMN_ERR_FORMAT, "label 10 of record 2");
    write_records(place->train, 3, 2, 97);
    train_refused(place, LMN_CIFAR_AUTO, LMN_ERR_FORMAT, "label 100 of record 1");
}

static void import_cifar_coarse_labels_of_cifar_10_are_refused(void **state)
{
    const import_place *place = *state;
    write_records(place->train, 3, 1, 0);
    lmn_error err;
    const lmn_status status = import_train(place, LMN_CIFAR_AUTO, true, &err);
    import_refused(place, status, &err, LMN_ERR_ARGUMENT, "no coarse labels");
}

static void import_cifar_missing_and_empty_files_are_named(void **state)
{
    const import_place *place = *state;
    train_refused(place, LMN_CIFAR_AUTO, LMN_ERR_IO, "train': No such file");
    file_write(place->train, "", 0);
    train_refused(place, LMN_CIFAR_AUTO, LMN_ERR_FORMAT, "train' is empty");
    const lmn_import_cifar_options none = {0};
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_cifar(&none, place->output, &err);
    import_refused(place, status, &err, LMN_ERR_ARGUMENT, "needs a file");
}

static void import_cifar_cut_gzip_is_refused(void **state)
{
    const import_place *place = *state;
    write_records(place->train, 3, 1, 0);
    file_gzip(place->train);
    for (size_t bytes = file_bytes(place->train); bytes > 10; bytes -= bytes / 7 + 1) {
        file_truncate(place->train, bytes - 1);
        train_refused(place, LMN_CIFAR_AUTO, LMN_ERR_FORMAT, "train");
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, import_set_up, import_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(import_cifar_10_interleaves_planes_and_names_classes),
        CASE(import_cifar_several_files_are_put_together),
        CASE(import_cifar_100_takes_fine_or_coarse_labels),
        CASE(import_cifar_given_names_replace_the_known_ones),
        CASE(import_cifar_standardising_is_by_channel_and_after_the_scale),
        CASE(import_cifar_size_of_no_format_is_refused),
        CASE(import_cifar_size_of_both_formats_must_be_decided),
        CASE(import_cifar_other_format_than_stated_is_refused),
        CASE(import_cifar_test_of_another_format_is_refused),
        CASE(import_cifar_label_that_is_no_class_is_refused),
        CASE(import_cifar_coarse_labels_of_cifar_10_are_refused),
        CASE(import_cifar_missing_and_empty_files_are_named),
        CASE(import_cifar_cut_gzip_is_refused),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * From a file of another format to a batch: what was written in the source is
 * what the reader gives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "import_check.h"
#include "io/dataset_internal.h"
#include "lamina/import.h"
#include "numpy_files.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A dataset and a batch with all samples of one split. */
typedef struct opened {
    lmn_dataset *dataset;
    lmn_reader *reader;
    lmn_batch batch;
} opened;

static opened open_split(const import_place *place, lmn_split split)
{
    opened o = {0};
    lmn_error err = lmn_error_none();
    lmn_status status = lmn__dataset_load(place->output, &o.dataset, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
    const lmn_reader_options options = {
        .split = split,
        .global_batch = (size_t)lmn_dataset_get_info(o.dataset)->sample_count[split],
        .size = 1,
        .read_ahead = 1};
    status = lmn_reader_create(o.dataset, &options, &o.reader, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
    assert_int_equal(lmn_reader_next(o.reader, &o.batch, &err), LMN_OK);
    assert_int_equal(o.batch.valid, options.global_batch);
    return o;
}

static void close_split(opened *o)
{
    lmn_reader_destroy(o->reader);
    lmn_dataset_close(o->dataset);
}

static const void *field(const opened *o, const char *name)
{
    const lmn_dataset_info *info = lmn_dataset_get_info(o->dataset);
    for (size_t i = 0; i < info->n_fields; i++) {
        if (strcmp(info->fields[i].name, name) == 0) {
            return o->batch.fields[i];
        }
    }
    fail_msg("no field '%s'", name);
    return NULL;
}

static void floats_are(const opened *o, const char *name, const float *wanted, size_t count,
                       float tolerance)
{
    const float *values = field(o, name);
    for (size_t i = 0; i < count; i++) {
        assert_float_equal(values[i], wanted[i], tolerance);
    }
}

static void labels_are(const opened *o, const int32_t *wanted, size_t count)
{
    assert_memory_equal(field(o, "labels"), wanted, count * sizeof *wanted);
}

static void read_of_a_table_gives_its_numbers(void **state)
{
    const import_place *place = *state;
    static const float values[] = {1, 2.5F, -3, 1e-3F};
    static const int32_t labels[] = {1, 0};
    static const float tested[] = {7, 8};
    static const int32_t test_label[] = {0};
    text_write(place->train, "x,z,y\n1,2.5,b\n-3,1e-3,a\n");
    text_write(place->test, "x,z,y\n7,8,a\n");
    const lmn_import_csv_options options = {
        .train = place->train, .test = place->test, .label = "y"};
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_csv(&options, place->output, &err);
    import_done(place, status, &err);
    opened o = open_split(place, LMN_SPLIT_TRAIN);
    assert_int_equal(lmn_dataset_get_info(o.dataset)->kind, LMN_DATASET_VECTORS);
    assert_int_equal(lmn_dataset_get_info(o.dataset)->n_classes, 2);
    assert_string_equal(lmn_dataset_class_name(o.dataset, 1), "b");
    floats_are(&o, "vectors", values, 4, 0);
    labels_are(&o, labels, 2);
    close_split(&o);
    o = open_split(place, LMN_SPLIT_TEST);
    floats_are(&o, "vectors", tested, 2, 0);
    labels_are(&o, test_label, 1);
    close_split(&o);
}

static void read_of_a_standardised_table_has_mean_0_and_deviation_1(void **state)
{
    const import_place *place = *state;
    static const float values[] = {-1, 0, 1, 0};
    static const float tested[] = {8, 3};
    static const float targets[] = {0.5F, -1};
    text_write(place->train, "x,z,y\n1,5,0.5\n3,5,-1\n");
    text_write(place->test, "x,z,y\n10,8,0\n");
    const lmn_import_csv_options options = {
        .train = place->train, .test = place->test, .target = "y", .common = {.standardise = true}};
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_csv(&options, place->output, &err);
    import_done(place, status, &err);
    opened o = open_split(place, LMN_SPLIT_TRAIN);
    assert_int_equal(lmn_dataset_get_info(o.dataset)->n_classes, 0);
    floats_are(&o, "vectors", values, 4, 0);
    floats_are(&o, "targets", targets, 2, 0);
    close_split(&o);
    o = open_split(place, LMN_SPLIT_TEST);
    floats_are(&o, "vectors", tested, 2, 0);
    close_split(&o);
}

static void read_of_sparse_rows_gives_them_dense(void **state)
{
    const import_place *place = *state;
    static const float values[] = {0.5F, 0, 0, 2, 0, 0, 0, 0, 0, 3, 0, 0};
    static const float tested[] = {0, 0, 1, 0};
    static const int32_t labels[] = {1, 0, 1};
    text_write(place->train, "+1 1:0.5 4:2\n-1\n1 2:3\n");
    text_write(place->test, "-1 3:1\n");
    const lmn_import_libsvm_options options = {.train = place->train, .test = place->test};
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_libsvm(&options, place->output, &err);
    import_done(place, status, &err);
    opened o = open_split(place, LMN_SPLIT_TRAIN);
    assert_int_equal(lmn_dataset_get_info(o.dataset)->fields[0].dims[0], 4);
    assert_string_equal(lmn_dataset_class_name(o.dataset, 0), "-1");
    floats_are(&o, "vectors", values, 12, 0);
    labels_are(&o, labels, 3);
    close_split(&o);
    o = open_split(place, LMN_SPLIT_TEST);
    floats_are(&o, "vectors", tested, 4, 0);
    close_split(&o);
}

static void read_of_numpy_images_gives_them_scaled_and_standardised(void **state)
{
    const import_place *place = *state;
    static const unsigned char pixels[] = {0, 10, 255, 20, 51, 30, 102, 40};
    static const unsigned char labels[] = {2, 0};
    static const int32_t wanted_labels[] = {2, 0};
    float wanted[8];
    npy_write(place->train, "|u1", "(2, 1, 2, 2)", pixels, sizeof pixels);
    npy_write(place->test, "|u1", "(2,)", labels, sizeof labels);
    lmn_import_numpy_options options = {.train_samples = place->train, .train_labels = place->test};
    lmn_error err = lmn_error_none();
    lmn_status status = lmn_import_numpy(&options, place->output, &err);
    import_done(place, status, &err);
    for (size_t i = 0; i < 8; i++) {
        wanted[i] = (float)pixels[i] / 255.0F;
    }
    opened o = open_split(place, LMN_SPLIT_TRAIN);
    assert_int_equal(lmn_dataset_get_info(o.dataset)->kind, LMN_DATASET_IMAGES);
    floats_are(&o, "images", wanted, 8, 1e-7F);
    labels_are(&o, wanted_labels, 2);
    close_split(&o);
    options.common.standardise = true;
    status = lmn_import_numpy(&options, place->output, &err);
    import_done(place, status, &err);
    /* Channel 0 holds 0, 255, 51, 102 (mean 102, variance 9103.5), channel 1 10,
     * 20, 30, 40. */
    for (size_t i = 0; i < 8; i++) {
        const float mean = i % 2 == 0 ? 102.0F : 25.0F;
        const float variance = i % 2 == 0 ? 9103.5F : 125.0F;
        wanted[i] = ((float)pixels[i] - mean) / sqrtf(variance);
    }
    o = open_split(place, LMN_SPLIT_TRAIN);
    floats_are(&o, "images", wanted, 8, 1e-5F);
    close_split(&o);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, import_set_up, import_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(read_of_a_table_gives_its_numbers),
        CASE(read_of_a_standardised_table_has_mean_0_and_deviation_1),
        CASE(read_of_sparse_rows_gives_them_dense),
        CASE(read_of_numpy_images_gives_them_scaled_and_standardised),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}

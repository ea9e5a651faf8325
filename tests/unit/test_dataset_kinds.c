/*
 * Vectors, dense and as sparse rows, as a user may write them: what a batch of them holds, and
 * files that do not fit together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ROWS    6
#define COLUMNS 5
#define ENTRIES 9

/* The same matrix twice; row 1 is empty and row 5 full. */
static const float matrix[ROWS][COLUMNS] = {{0, 1.5F, 0, 0, 0}, {0, 0, 0, 0, 0},
                                            {-2, 0, 0, 0, 7},   {0, 0, 3, 0, 0},
                                            {0, 0, 0, 0, 0},    {1, 2, 3, 4, 5.5F}};
static const uint64_t row_start[ROWS + 1] = {0, 1, 1, 3, 4, 4, 9};
static const uint32_t column[ENTRIES] = {1, 0, 4, 2, 0, 1, 2, 3, 4};
static const float value[ENTRIES] = {1.5F, -2, 7, 3, 1, 2, 3, 4, 5.5F};
static const int64_t labels[ROWS] = {0, 2, 1, 1, 0, 2};
static const double targets[ROWS] = {0.5, -1, 2, 1e6, 0, 3.25};

static hid_t write_dense(const char *path)
{
    const hid_t file = dataset_file_create(path, "vectors");
    const hsize_t dims[] = {ROWS, COLUMNS};
    dataset_file_put(file, "/train/vectors", H5T_NATIVE_FLOAT, 2, dims, matrix);
    dataset_file_put(file, "/test/vectors", H5T_NATIVE_FLOAT, 2, dims, matrix);
    for (size_t split = 0; split < 2; split++) {
        dataset_put(file, split, "labels", H5T_NATIVE_INT64, ROWS, labels);
    }
    return file;
}

static hid_t write_sparse(const char *path)
{
    const hid_t file = dataset_file_create(path, "vectors");
    const uint64_t features = COLUMNS;
    dataset_file_set(file, "/", "features", H5T_NATIVE_UINT64, &features);
    for (size_t split = 0; split < 2; split++) {
        dataset_put(file, split, "row_start", H5T_NATIVE_UINT64, ROWS + 1, row_start);
        dataset_put(file, split, "column", H5T_NATIVE_UINT32, ENTRIES, column);
        dataset_put(file, split, "value", H5T_NATIVE_FLOAT, ENTRIES, value);
        dataset_put(file, split, "labels", H5T_NATIVE_INT64, ROWS, labels);
    }
    return file;
}

/* ---- vectors ---- */

static void vectors_dense_are_rows_with_labels(void **state)
{
    const dataset_place *f = *state;
    H5Fclose(write_dense(f->path));
    lmn_dataset *dataset = dataset_load(f);
    const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
    assert_int_equal(info->kind, LMN_DATASET_VECTORS);
    assert_int_equal(info->n_classes, 3);
    assert_int_equal(info->sample_count[LMN_SPLIT_TEST], ROWS);
    const lmn_field *field = lmn_dataset_info_field(info, "vectors");
    assert_non_null(field);
    assert_int_equal(field->n_dims, 1);
    assert_int_equal(field->dims[0], COLUMNS);
    assert_non_null(lmn_dataset_info_field(info, "labels"));
    assert_null(lmn_dataset_vocabulary(dataset));
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_dataset_set_context(dataset, 2, &err), LMN_ERR_ARGUMENT);
    dataset_said(f, &err, "no text");
    lmn_reader *reader = dataset_read_in_order(dataset, 4);
    lmn_batch batch;
    assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
    assert_memory_equal(batch.fields[0], matrix, 4 * sizeof matrix[0]);
    assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
    assert_int_equal(batch.valid, 2);
    assert_memory_equal(batch.fields[0], matrix[4], 2 * sizeof matrix[0]);
    assert_int_equal(((const int32_t *)batch.fields[1])[1], 2);
    assert_int_equal(((const int32_t *)batch.fields[1])[2], -1);
    assert_float_equal(((const float *)batch.fields[0])[(size_t)3 * COLUMNS], 0, 0);
    lmn_reader_destroy(reader);
    lmn_dataset_close(dataset);
}

static void vectors_targets_have_no_classes(void **state)
{
    const dataset_place *f = *state;
    const hid_t file = write_dense(f->path);
    for (size_t split = 0; split < 2; split++) {
        dataset_put(file, split, "targets", H5T_NATIVE_DOUBLE, ROWS, targets);
    }
    H5Ldelete(file, "/train/labels", H5P_DEFAULT);
    H5Ldelete(file, "/test/labels", H5P_DEFAULT);
    H5Fclose(file);
    lmn_dataset *dataset = dataset_load(f);
    const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
    assert_int_equal(info->n_classes, 0);
    assert_null(lmn_dataset_class_name(dataset, 0));
    assert_int_equal(lmn_dataset_info_field(info, "targets")->dtype, LMN_F32);
    lmn_reader *reader = dataset_read_in_order(dataset, 4);
    lmn_batch batch;
    assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
    assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
    const float *found = batch.fields[1];
    assert_float_equal(found[1], 3.25F, 0);
    assert_float_equal(found[2], 0, 0);
    lmn_reader_destroy(reader);
    lmn_dataset_close(dataset);
}

static void vectors_sparse_give_what_dense_ones_give(void **state)
{
    const dataset_place *f = *state;
    H5Fclose(write_dense(f->path));
    lmn_dataset *dense = dataset_load(f);
    dataset_place other = *f;
    path_join(other.path, f->directory, "sparse.h5");
    const hid_t file = write_sparse(other.path);
    dataset_put(file, 0, "column", H5T_NATIVE_INT32, ENTRIES, column); /* as SciPy does */
    H5Fclose(file);
    lmn_dataset *sparse = dataset_load(&other);
    assert_true(lmn_dataset_fingerprint(dense) != lmn_dataset_fingerprint(sparse));
    for (int size = 1; size <= 3; size++) {
        for (int rank = 0; rank < size; rank++) {
            const lmn_reader_options options = {.split = LMN_SPLIT_TRAIN,
                                                .shuffle = true,
                                                .seed = 3,
                                                .global_batch = 4,
                                                .rank = rank,
                                                .size = size,
                                                .read_ahead = 2};
            lmn_reader *readers[2] = {NULL, NULL};
            assert_int_equal(lmn_reader_create(dense, &options, &readers[0], NULL), LMN_OK);
            assert_int_equal(lmn_reader_create(sparse, &options, &readers[1], NULL), LMN_OK);
            for (int number = 0; number < 9; number++) {
                lmn_batch a;
                lmn_batch b;
                assert_int_equal(lmn_reader_next(readers[0], &a, NULL), LMN_OK);
                assert_int_equal(lmn_reader_next(readers[1], &b, NULL), LMN_OK);
                assert_int_equal(a.valid, b.valid);
                assert_memory_equal(a.fields[0], b.fields[0], a.rows * sizeof matrix[0]);
                assert_memory_equal(a.fields[1], b.fields[1], a.rows * sizeof(int32_t));
            }
            lmn_reader_destroy(readers[0]);
            lmn_reader_destroy(readers[1]);
        }
    }
    lmn_dataset_close(sparse);
    lmn_dataset_close(dense);
}

/* Returns the fingerprint. Closes the file. */
static uint64_t check_standardised(const dataset_place *f, hid_t file, const float *mean,
                                   const float *deviation, size_t n_deviations)
{
    dataset_file_put_list(file, "/standardisation/mean", H5T_NATIVE_FLOAT, COLUMNS, mean);
    dataset_file_put_list(file, "/standardisation/deviation", H5T_NATIVE_FLOAT, n_deviations,
                          deviation);
    H5Fclose(file);
    lmn_dataset *dataset = dataset_load(f);
    lmn_reader *reader = dataset_read_in_order(dataset, ROWS + 1);
    lmn_batch batch;
    assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
    const float *found = batch.fields[0];
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) {
        const size_t k = i % COLUMNS;
        const float wanted = (matrix[i / COLUMNS][k] - mean[k]) / deviation[k % n_deviations];
        assert_float_equal(found[i], wanted, 1e-6F);
    }
    assert_float_equal(found[(size_t)ROWS * COLUMNS], 0, 0);
    const uint64_t fingerprint = lmn_dataset_fingerprint(dataset);
    lmn_reader_destroy(reader);
    lmn_dataset_close(dataset);
    return fingerprint;
}

static void vectors_standardised_subtract_and_divide(void **state)
{
    const dataset_place *f = *state;
    static const float mean[COLUMNS] = {1, 2, 3, 4, 5};
    static const float deviation[COLUMNS] = {3, 2, 4, 8, 0.5F};
    const uint64_t all = check_standardised(f, write_dense(f->path), mean, deviation, COLUMNS);
    const uint64_t one = check_standardised(f, write_dense(f->path), mean, deviation, 1);
    assert_true(all != one);
    (void)check_standardised(f, write_sparse(f->path), mean, deviation, COLUMNS);
    (void)check_standardised(f, write_sparse(f->path), mean, deviation, 1);
}

/* Bytes of two channels: the scale first, then each channel its own mean and deviation. */
static void images_standardised_by_channel(void **state)
{
    const dataset_place *f = *state;
    static const unsigned char pixels[2][1][2][2] = {{{{10, 20}, {30, 40}}},
                                                     {{{50, 60}, {70, 80}}}};
    static const hsize_t dims[] = {2, 1, 2, 2};
    static const float mean[2] = {1, 3};
    static const float deviation[2] = {2, 0.5F};
    const double scale = 0.1;
    const double offset = -1;
    const hid_t file = dataset_file_create(f->path, "images");
    H5Ldelete(file, "/test", H5P_DEFAULT);
    dataset_file_put(file, "/train/images", H5T_NATIVE_UINT8, 4, dims, pixels);
    dataset_put(file, 0, "labels", H5T_NATIVE_INT64, 2, labels);
    dataset_file_set(file, "/train/images", "scale", H5T_NATIVE_DOUBLE, &scale);
    dataset_file_set(file, "/train/images", "offset", H5T_NATIVE_DOUBLE, &offset);
    dataset_file_put_list(file, "/standardisation/mean", H5T_NATIVE_FLOAT, 2, mean);
    dataset_file_put_list(file, "/standardisation/deviation", H5T_NATIVE_FLOAT, 2, deviation);
    H5Fclose(file);
    lmn_dataset *dataset = dataset_load(f);
    lmn_reader *reader = dataset_read_in_order(dataset, 2);
    lmn_batch batch;
    assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
    const float *found = batch.fields[0];
    for (size_t i = 0; i < 8; i++) {
        const float stored = (float)(10 * (i + 1));
        assert_float_equal(found[i], (0.1F * stored - 1 - mean[i % 2]) / deviation[i % 2], 1e-5F);
    }
    lmn_reader_destroy(reader);
    lmn_dataset_close(dataset);
}

static void vectors_that_do_not_fit_are_refused(void **state)
{
    const dataset_place *f = *state;
    const hsize_t narrow[] = {ROWS, COLUMNS - 1};
    hid_t file = dataset_file_create(f->path, "sounds");
    dataset_load_fails(f, file, "'kind' is 'sounds'; images, vectors and text");
    file = write_dense(f->path);
    dataset_file_put(file, "/test/vectors", H5T_NATIVE_FLOAT, 2, narrow, matrix);
    dataset_load_fails(f, file, "'/test/vectors' are not of the size of /train/vectors");
    file = write_dense(f->path);
    dataset_put(file, 0, "vectors", H5T_NATIVE_FLOAT, ROWS, matrix);
    dataset_load_fails(f, file, "'/train/vectors' has 1 dimensions; needed are samples, columns");
    file = write_dense(f->path);
    dataset_put(file, 0, "labels", H5T_NATIVE_INT64, ROWS - 1, labels);
    dataset_load_fails(f, file, "one integer for each of the 6 vectors");
}

static void answers_that_do_not_fit_are_refused(void **state)
{
    const dataset_place *f = *state;
    static const float infinite[ROWS] = {0, 1, 1e30F * 1e30F};
    hid_t file = write_dense(f->path);
    dataset_put(file, 0, "targets", H5T_NATIVE_DOUBLE, ROWS, targets);
    dataset_load_fails(f, file, "'/train/labels' and '/train/targets'");
    file = write_dense(f->path);
    H5Ldelete(file, "/train/labels", H5P_DEFAULT);
    dataset_load_fails(f, file, "there is no '/train/labels', nor '/train/targets'");
    file = write_dense(f->path);
    H5Ldelete(file, "/train/labels", H5P_DEFAULT);
    dataset_put(file, 0, "targets", H5T_NATIVE_DOUBLE, ROWS, targets);
    dataset_load_fails(f, file, "one split has labels and the other has targets");
    file = write_dense(f->path);
    H5Ldelete(file, "/train/labels", H5P_DEFAULT);
    dataset_put(file, 0, "targets", H5T_NATIVE_INT64, ROWS, labels);
    dataset_load_fails(f, file, "one floating-point number for each of the 6 vectors");
    file = write_dense(f->path);
    H5Ldelete(file, "/train/labels", H5P_DEFAULT);
    dataset_put(file, 0, "targets", H5T_NATIVE_FLOAT, ROWS, infinite);
    dataset_load_fails(f, file, "target of sample 2 in '/train/targets' is not finite");
}

static void standardisation_that_does_not_fit_is_refused(void **state)
{
    const dataset_place *f = *state;
    static const float good[COLUMNS] = {1, 1, 1, 1, 1};
    static const float zero[COLUMNS] = {1, 1, 0, 1, 1};
    static const float infinite[COLUMNS] = {1, 1e30F * 1e30F, 0, 1, 1};
    static const char mean[] = "/standardisation/mean";
    static const char deviation[] = "/standardisation/deviation";
    hid_t file = write_dense(f->path);
    dataset_file_put_list(file, mean, H5T_NATIVE_FLOAT, COLUMNS, good);
    dataset_load_fails(f, file, "there is no '/standardisation/deviation'");
    file = write_dense(f->path);
    dataset_file_put_list(file, mean, H5T_NATIVE_FLOAT, COLUMNS - 1, good);
    dataset_load_fails(f, file, "one for each of the 5 columns");
    file = write_dense(f->path);
    dataset_file_put_list(file, mean, H5T_NATIVE_INT32, COLUMNS, good);
    dataset_load_fails(f, file, "'/standardisation/mean' must hold one floating-point number");
    file = write_dense(f->path);
    dataset_file_put_list(file, mean, H5T_NATIVE_FLOAT, COLUMNS, good);
    dataset_file_put_list(file, deviation, H5T_NATIVE_FLOAT, COLUMNS, zero);
    dataset_load_fails(f, file, "number 2 of '/standardisation/deviation' is 0");
    file = write_dense(f->path);
    dataset_file_put_list(file, mean, H5T_NATIVE_FLOAT, COLUMNS, infinite);
    dataset_file_put_list(file, deviation, H5T_NATIVE_FLOAT, COLUMNS, good);
    dataset_load_fails(f, file, "number 1 of '/standardisation/mean' is not finite");
}

/* ---- sparse rows ---- */

static void sparse_rows_that_do_not_fit_are_refused(void **state)
{
    const dataset_place *f = *state;
    static const uint64_t falling[ROWS + 1] = {0, 3, 1, 3, 4, 4, 9};
    static const uint64_t beyond[ROWS + 1] = {0, 1, 100, 3, 4, 4, 9};
    static const uint64_t late[ROWS + 1] = {1, 1, 1, 3, 4, 4, 9};
    static const uint64_t early[ROWS + 1] = {0, 1, 1, 3, 4, 4, 8};
    static const uint64_t longer[ROWS + 1] = {0, 1, 1, 1, 1, 1, 9};
    const uint64_t none = 0;
    const uint64_t many = UINT64_C(1) << 40;
    hid_t file = write_sparse(f->path);
    dataset_put(file, 0, "row_start", H5T_NATIVE_UINT64, ROWS + 1, falling);
    dataset_load_fails(f, file, "'/train/row_start': row 1 goes from entry 3 to 1");
    file = write_sparse(f->path);
    dataset_put(file, 1, "row_start", H5T_NATIVE_UINT64, ROWS + 1, beyond);
    dataset_load_fails(f, file, "'/test/row_start': row 1 goes from entry 1 to 100 of 9");
    file = write_sparse(f->path);
    dataset_put(file, 0, "row_start", H5T_NATIVE_UINT64, ROWS + 1, late);
    dataset_load_fails(f, file, "'/train/row_start' goes from 1 to 9");
    file = write_sparse(f->path);
    dataset_put(file, 0, "row_start", H5T_NATIVE_UINT64, ROWS + 1, early);
    dataset_load_fails(f, file, "with 9 entries it must go from 0 to 9");
    file = write_sparse(f->path);
    dataset_put(file, 0, "row_start", H5T_NATIVE_UINT64, ROWS + 1, longer);
    dataset_load_fails(f, file, "row 5 goes from entry 1 to 9 of 9, with 5 columns");
    file = write_sparse(f->path);
    dataset_put(file, 0, "row_start", H5T_NATIVE_UINT64, 1, row_start);
    dataset_load_fails(f, file, "goes from 0 to 0");
    file = write_sparse(f->path);
    dataset_put(file, 0, "value", H5T_NATIVE_FLOAT, ENTRIES - 1, value);
    dataset_load_fails(f, file, "'/train/column' has 9 entries and '/train/value' 8");
    file = write_sparse(f->path);
    dataset_put(file, 0, "value", H5T_NATIVE_INT32, ENTRIES, column);
    dataset_load_fails(f, file, "'/train/value' must be a list of f32");
    file = write_sparse(f->path);
    static const int64_t wide[ENTRIES] = {1, 0, 4, 2, 0, 1, 2, 3, 4};
    dataset_put(file, 0, "column", H5T_NATIVE_INT64, ENTRIES, wide);
    dataset_load_fails(f, file, "'/train/column' must be a list of u32");
    file = write_sparse(f->path);
    dataset_put(file, 0, "column", H5T_NATIVE_UINT32, ENTRIES, NULL);
    dataset_load_fails(f, file, "'/train/column' was created and never written");
    file = write_sparse(f->path);
    dataset_file_set(file, "/", "features", H5T_NATIVE_UINT64, &none);
    dataset_load_fails(f, file, "'features' is 0");
    file = write_sparse(f->path);
    dataset_file_set(file, "/", "features", H5T_NATIVE_UINT64, &many);
    dataset_load_fails(f, file, "columns are allowed");
    file = write_sparse(f->path);
    H5Adelete(file, "features");
    dataset_load_fails(f, file, "'features' is missing");
}

static void sparse_columns_are_checked_when_they_are_read(void **state)
{
    const dataset_place *f = *state;
    static const uint32_t beyond[ENTRIES] = {1, 0, COLUMNS, 2, 0, 1, 2, 3, 4};
    static const uint32_t far[ENTRIES] = {1, 0, 4, 2, 0, 1, 2, 3, UINT32_MAX};
    static const uint32_t falling[ENTRIES] = {1, 4, 0, 2, 0, 1, 2, 3, 4};
    static const uint32_t twice[ENTRIES] = {1, 0, 4, 2, 0, 1, 1, 3, 4};
    hid_t file = write_sparse(f->path);
    dataset_put(file, 0, "column", H5T_NATIVE_UINT32, ENTRIES, beyond);
    dataset_read_fails(f, file, "'/train/column' is 5 at entry 2 of row 2");
    file = write_sparse(f->path);
    dataset_put(file, 0, "column", H5T_NATIVE_UINT32, ENTRIES, far);
    dataset_read_fails(f, file, "'/train/column' is 4294967295 at entry 8 of row 5");
    file = write_sparse(f->path);
    dataset_put(file, 0, "column", H5T_NATIVE_UINT32, ENTRIES, falling);
    dataset_read_fails(f, file, "'/train/column' is 0 at entry 2 of row 2");
    file = write_sparse(f->path);
    dataset_put(file, 0, "column", H5T_NATIVE_UINT32, ENTRIES, twice);
    dataset_read_fails(f, file, "'/train/column' is 1 at entry 6 of row 5");
    static const int32_t negative[ENTRIES] = {1, -3, 4, 2, 0, 1, 2, 3, 4};
    file = write_sparse(f->path);
    dataset_put(file, 0, "column", H5T_NATIVE_INT32, ENTRIES, negative);
    dataset_read_fails(f, file, "at entry 1 of row 2");
}

static void vectors_truncated_are_refused(void **state)
{
    const dataset_place *f = *state;
    H5Fclose(write_dense(f->path));
    dataset_truncated_fails(f);
    H5Fclose(write_sparse(f->path));
    dataset_truncated_fails(f);
}

int main(void)
{
#define CASE(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, dataset_place_create, dataset_place_destroy)
    const struct CMUnitTest tests[] = {
        CASE(vectors_dense_are_rows_with_labels),
        CASE(vectors_targets_have_no_classes),
        CASE(vectors_sparse_give_what_dense_ones_give),
        CASE(vectors_standardised_subtract_and_divide),
        CASE(images_standardised_by_channel),
        CASE(vectors_that_do_not_fit_are_refused),
        CASE(answers_that_do_not_fit_are_refused),
        CASE(standardisation_that_does_not_fit_is_refused),
        CASE(sparse_rows_that_do_not_fit_are_refused),
        CASE(sparse_columns_are_checked_when_they_are_read),
        CASE(vectors_truncated_are_refused),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}

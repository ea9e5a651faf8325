/*
 * Importing IDX files: what arrives in the file, and that bad sources are refused by name and leave
 * nothing behind.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "io/dataset_internal.h"
#include "lamina/import.h"
#include "lamina/inspect.h"
#include "lamina/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A directory with four good sources, which each test may spoil. */
typedef struct fixture {
    char directory[TEST_PATH_BYTES];
    char train_images[TEST_PATH_BYTES];
    char train_labels[TEST_PATH_BYTES];
    char test_images[TEST_PATH_BYTES];
    char test_labels[TEST_PATH_BYTES];
    char output[TEST_PATH_BYTES];
    lmn_import_idx_options options;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    scratch_create(f->directory);
    path_join(f->train_images, f->directory, "train-images");
    path_join(f->train_labels, f->directory, "train-labels");
    path_join(f->test_images, f->directory, "test-images");
    path_join(f->test_labels, f->directory, "test-labels");
    path_join(f->output, f->directory, "out.h5");
    idx_write_pair(f->directory, "train", 10, 5, 4, 3);
    idx_write_pair(f->directory, "test", 6, 5, 4, 3);
    f->options = (lmn_import_idx_options){.train_images = f->train_images,
                                          .train_labels = f->train_labels,
                                          .test_images = f->test_images,
                                          .test_labels = f->test_labels};
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

static void import_good(const fixture *f)
{
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_import_idx(&f->options, f->output, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
}

/* The import fails with `status`, names `what`, and leaves only the sources. */
static void import_fails(const fixture *f, lmn_status status, const char *what)
{
    const size_t before = directory_count(f->directory);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_import_idx(&f->options, f->output, &err), status);
    assert_int_equal(err.status, status);
    if (strstr(err.message, what) == NULL) {
        fail_msg("'%s' is not in '%s'", what, err.message);
    }
    assert_int_equal(directory_count(f->directory), before);
}

static void check_dataset(const fixture *f)
{
    lmn_dataset *dataset = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn__dataset_load(f->output, &dataset, &err), LMN_OK);
    const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
    assert_int_equal(info->fields[0].dims[0], 5);
    assert_int_equal(info->fields[0].dims[1], 4);
    assert_int_equal(info->fields[0].dims[2], 1);
    assert_int_equal(info->n_classes, 3);
    assert_int_equal(info->sample_count[LMN_SPLIT_TRAIN], 10);
    assert_int_equal(info->sample_count[LMN_SPLIT_TEST], 6);
    assert_float_equal(dataset->scale, 1.0F / 255.0F, 0);
    assert_float_equal(dataset->offset, 0, 0);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(dataset->splits[LMN_SPLIT_TEST].labels[i], i % 3);
        unsigned char pixels[20];
        assert_int_equal(pread(dataset->fd, pixels, 20,
                               (off_t)(dataset->splits[LMN_SPLIT_TEST].offset + 20 * i)),
                         20);
        for (size_t k = 0; k < 20; k++) {
            assert_int_equal(pixels[k], test_pixel(i, k));
        }
    }
    lmn_dataset_close(dataset);
}

static void import_idx_plain_files_round_trips(void **state)
{
    const fixture *f = *state;
    import_good(f);
    check_dataset(f);
    assert_int_equal(directory_count(f->directory), 5);
}

static void import_idx_gzip_files_round_trips(void **state)
{
    const fixture *f = *state;
    file_gzip(f->train_images);
    file_gzip(f->train_labels);
    file_gzip(f->test_images);
    file_gzip(f->test_labels);
    import_good(f);
    check_dataset(f);
}

static void import_idx_same_sources_give_the_same_bytes(void **state)
{
    fixture *f = *state;
    import_good(f);
    size_t bytes = 0;
    size_t again_bytes = 0;
    unsigned char *data = file_read(f->output, &bytes);
    import_good(f);
    unsigned char *again = file_read(f->output, &again_bytes);
    assert_int_equal(bytes, again_bytes);
    assert_memory_equal(data, again, bytes);
    free(data);
    free(again);
}

static void import_idx_without_test_split_has_no_test_samples(void **state)
{
    fixture *f = *state;
    f->options.test_images = NULL;
    f->options.test_labels = NULL;
    import_good(f);
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn__dataset_load(f->output, &dataset, NULL), LMN_OK);
    assert_int_equal(lmn_dataset_get_info(dataset)->sample_count[LMN_SPLIT_TEST], 0);
    lmn_dataset_close(dataset);
}

static void import_idx_names_and_numbers_become_classes(void **state)
{
    fixture *f = *state;
    import_good(f);
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn__dataset_load(f->output, &dataset, NULL), LMN_OK);
    assert_string_equal(lmn_dataset_class_name(dataset, 2), "2");
    lmn_dataset_close(dataset);

    static const char *const names[4] = {"Rock", "Caf\xc3\xa9", "", "Never seen"};
    f->options.common.class_names = names;
    f->options.common.n_classes = 4;
    import_good(f);
    assert_int_equal(lmn__dataset_load(f->output, &dataset, NULL), LMN_OK);
    assert_int_equal(lmn_dataset_get_info(dataset)->n_classes, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(lmn_dataset_class_name(dataset, i), names[i]);
    }
    lmn_dataset_close(dataset);
}

static void import_idx_four_dimensions_give_channels(void **state)
{
    fixture *f = *state;
    const uint32_t dims[4] = {10, 2, 3, 3};
    unsigned char data[180];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)i;
    }
    idx_write(f->train_images, 4, dims, data, true);
    f->options.test_images = NULL;
    f->options.test_labels = NULL;
    import_good(f);
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn__dataset_load(f->output, &dataset, NULL), LMN_OK);
    assert_int_equal(lmn_dataset_get_info(dataset)->fields[0].dims[2], 3);
    lmn_dataset_close(dataset);
}

/* More than one block of 1 MiB, and samples that do not divide it. */
static void import_idx_many_blocks_round_trip(void **state)
{
    fixture *f = *state;
    idx_write_pair(f->directory, "train", 3000, 37, 23, 10);
    f->options.test_images = NULL;
    f->options.test_labels = NULL;
    import_good(f);
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn__dataset_load(f->output, &dataset, NULL), LMN_OK);
    unsigned char pixels[37 * 23];
    for (size_t i = 0; i < 3000; i += 7) {
        assert_int_equal(pread(dataset->fd, pixels, sizeof pixels,
                               (off_t)(dataset->splits[0].offset + sizeof pixels * i)),
                         sizeof pixels);
        for (size_t k = 0; k < sizeof pixels; k++) {
            assert_int_equal(pixels[k], test_pixel(i, k));
        }
    }
    lmn_dataset_close(dataset);
    lmn_file *file = NULL;
    assert_int_equal(lmn_file_open(f->output, &file, NULL), LMN_OK);
    assert_int_equal(lmn_file_verify(file, NULL), LMN_OK);
    lmn_file_close(file);
}

static void import_idx_missing_file_is_named(void **state)
{
    fixture *f = *state;
    assert_int_equal(unlink(f->test_labels), 0);
    import_fails(f, LMN_ERR_IO, "test-labels': No such file");
}

static void import_idx_directory_instead_of_file_is_refused(void **state)
{
    fixture *f = *state;
    f->options.train_images = f->directory;
    import_fails(f, LMN_ERR_IO, "Is a directory");
}

static void import_idx_missing_output_directory_is_named(void **state)
{
    fixture *f = *state;
    path_join(f->output, f->directory, "nowhere/out.h5");
    import_fails(f, LMN_ERR_IO, "nowhere/out.h5.part': No such file");
}

static void import_idx_half_a_split_is_refused(void **state)
{
    fixture *f = *state;
    f->options.test_labels = NULL;
    import_fails(f, LMN_ERR_ARGUMENT, "both images and labels");
}

static void import_idx_wrong_magic_is_refused(void **state)
{
    const fixture *f = *state;
    file_write(f->train_images, "GIF89a..........", 16);
    import_fails(f, LMN_ERR_FORMAT, "0x47494638");
}

static void import_idx_other_element_type_is_refused(void **state)
{
    const fixture *f = *state;
    file_flip(f->train_images, 2, 0x08 ^ 0x0d);
    import_fails(f, LMN_ERR_FORMAT, "IDX type 0x0d");
}

static void import_idx_exchanged_files_are_refused(void **state)
{
    fixture *f = *state;
    f->options.train_images = f->train_labels;
    f->options.train_labels = f->train_images;
    import_fails(f, LMN_ERR_FORMAT, "exchanged");
}

static void import_idx_different_counts_are_refused(void **state)
{
    fixture *f = *state;
    f->options.test_labels = f->train_labels;
    import_fails(f, LMN_ERR_FORMAT, "6 images");
}

static void import_idx_different_image_sizes_are_refused(void **state)
{
    const fixture *f = *state;
    idx_write_pair(f->directory, "test", 6, 4, 5, 3);
    import_fails(f, LMN_ERR_FORMAT, "not of the size");
}

static void import_idx_empty_file_is_refused(void **state)
{
    const fixture *f = *state;
    file_write(f->train_labels, "", 0);
    import_fails(f, LMN_ERR_FORMAT, "train-labels' is truncated");
}

static void import_idx_no_samples_are_refused(void **state)
{
    const fixture *f = *state;
    const uint32_t dims[3] = {0, 5, 4};
    idx_write(f->train_images, 3, dims, (const unsigned char *)"", false);
    import_fails(f, LMN_ERR_FORMAT, "holds no samples");
}

static void import_idx_giant_image_in_header_is_refused(void **state)
{
    const fixture *f = *state;
    file_flip(f->train_images, 8, 0xff);
    import_fails(f, LMN_ERR_FORMAT, "header is damaged");
}

static void import_idx_plain_file_cut_anywhere_is_refused(void **state)
{
    const fixture *f = *state;
    for (size_t bytes = file_bytes(f->train_images); bytes-- > 0;) {
        file_truncate(f->train_images, bytes);
        import_fails(f, LMN_ERR_FORMAT, "train-images");
    }
}

static void import_idx_gzip_file_cut_anywhere_is_refused(void **state)
{
    const fixture *f = *state;
    file_gzip(f->test_images);
    for (size_t bytes = file_bytes(f->test_images); bytes-- > 0;) {
        file_truncate(f->test_images, bytes);
        import_fails(f, LMN_ERR_FORMAT, "test-images");
    }
}

/* Every byte of the compressed data and of its checksum matters; the name and time in the header of
 * gzip (bytes 3 to 9) do not. */
static void import_idx_gzip_file_with_any_flipped_byte_is_refused(void **state)
{
    const fixture *f = *state;
    file_gzip(f->train_labels);
    const size_t bytes = file_bytes(f->train_labels);
    for (size_t i = 10; i < bytes; i++) {
        file_flip(f->train_labels, i, 0x11);
        import_fails(f, LMN_ERR_FORMAT, "train-labels");
        file_flip(f->train_labels, i, 0x11);
    }
    import_good(f);
}

static void import_idx_data_after_the_end_is_refused(void **state)
{
    const fixture *f = *state;
    size_t bytes = 0;
    unsigned char *data = file_read(f->train_images, &bytes);
    data[bytes] = 7;
    file_write(f->train_images, data, bytes + 1);
    import_fails(f, LMN_ERR_FORMAT, "data after its 10 samples");
    file_gzip(f->train_images);
    import_fails(f, LMN_ERR_FORMAT, "data after its 10 samples");
    free(data);
}

static void import_idx_label_without_class_is_refused(void **state)
{
    fixture *f = *state;
    static const char *const names[2] = {"a", "b"};
    f->options.common.class_names = names;
    f->options.common.n_classes = 2;
    import_fails(f, LMN_ERR_FORMAT, "label 2 of sample 2");
}

static void import_idx_failure_keeps_the_old_output(void **state)
{
    const fixture *f = *state;
    import_good(f);
    size_t bytes = 0;
    size_t after_bytes = 0;
    unsigned char *before = file_read(f->output, &bytes);
    file_truncate(f->train_images, 100);
    import_fails(f, LMN_ERR_FORMAT, "train-images");
    unsigned char *after = file_read(f->output, &after_bytes);
    assert_int_equal(bytes, after_bytes);
    assert_memory_equal(before, after, bytes);
    free(before);
    free(after);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(import_idx_plain_files_round_trips),
        CASE(import_idx_gzip_files_round_trips),
        CASE(import_idx_same_sources_give_the_same_bytes),
        CASE(import_idx_without_test_split_has_no_test_samples),
        CASE(import_idx_names_and_numbers_become_classes),
        CASE(import_idx_four_dimensions_give_channels),
        CASE(import_idx_many_blocks_round_trip),
        CASE(import_idx_missing_file_is_named),
        CASE(import_idx_directory_instead_of_file_is_refused),
        CASE(import_idx_missing_output_directory_is_named),
        CASE(import_idx_half_a_split_is_refused),
        CASE(import_idx_wrong_magic_is_refused),
        CASE(import_idx_other_element_type_is_refused),
        CASE(import_idx_exchanged_files_are_refused),
        CASE(import_idx_different_counts_are_refused),
        CASE(import_idx_different_image_sizes_are_refused),
        CASE(import_idx_empty_file_is_refused),
        CASE(import_idx_no_samples_are_refused),
        CASE(import_idx_giant_image_in_header_is_refused),
        CASE(import_idx_plain_file_cut_anywhere_is_refused),
        CASE(import_idx_gzip_file_cut_anywhere_is_refused),
        CASE(import_idx_gzip_file_with_any_flipped_byte_is_refused),
        CASE(import_idx_data_after_the_end_is_refused),
        CASE(import_idx_label_without_class_is_refused),
        CASE(import_idx_failure_keeps_the_old_output),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}

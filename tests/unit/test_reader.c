/*
 * Datasets as users may write them, and the reader: which samples a batch holds, on any number of
 * ranks, and what happens when the file changes under it. No MPI: the slices of all ranks are read
 * by one process.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "io/dataset_internal.h"
#include "lamina/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hdf5.h>

#include <cmocka.h>

#define COUNT  50
#define PIXELS 6

typedef struct fixture {
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
    lmn_dataset *dataset;
} fixture;

static const float *images_of(const lmn_batch *batch)
{
    return batch->fields[0];
}

static const int32_t *labels_of(const lmn_batch *batch)
{
    return batch->fields[1];
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    scratch_create(f->directory);
    dataset_write(f->directory, COUNT, f->path);
    assert_int_equal(lmn__dataset_load(f->path, &f->dataset, NULL), LMN_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    lmn_dataset_close(f->dataset);
    scratch_remove(f->directory);
    free(f);
    return 0;
}

static lmn_reader_options options_for(size_t global_batch, int rank, int size)
{
    return (lmn_reader_options){.split = LMN_SPLIT_TRAIN,
                                .shuffle = true,
                                .seed = 42,
                                .global_batch = global_batch,
                                .rank = rank,
                                .size = size,
                                .read_ahead = 3};
}

static lmn_reader *create(const fixture *f, const lmn_reader_options *options)
{
    lmn_reader *reader = NULL;
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_reader_create(f->dataset, options, &reader, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
    return reader;
}

/* The sample that these features belong to; fails when they are none's or the label is wrong. */
static size_t identify(const float *features, int32_t label, size_t first, size_t count)
{
    for (size_t sample = first; sample < first + count; sample++) {
        bool is_same = true;
        for (size_t k = 0; is_same && k < PIXELS; k++) {
            const float value = 1.0F / 255.0F * (float)test_pixel(sample, k);
            is_same = value == features[k];
        }
        if (is_same) {
            assert_int_equal(label, sample % 4);
            return sample;
        }
    }
    fail_msg("features belong to no sample");
    return 0;
}

/* The samples of global batch `batch`, put together from the slices of `size` ranks. */
static void global_batch(const fixture *f, const lmn_reader_options *base, uint64_t batch, int size,
                         size_t *samples)
{
    size_t filled = 0;
    for (int rank = 0; rank < size; rank++) {
        lmn_reader_options options = *base;
        options.rank = rank;
        options.size = size;
        options.first_batch = batch;
        lmn_reader *reader = create(f, &options);
        lmn_batch slice;
        assert_int_equal(lmn_reader_next(reader, &slice, NULL), LMN_OK);
        assert_int_equal(slice.first_row, filled);
        assert_true(slice.valid <= slice.rows);
        for (size_t i = 0; i < slice.valid; i++) {
            samples[filled++] =
                identify(images_of(&slice) + i * PIXELS, labels_of(&slice)[i], 0, COUNT);
        }
        lmn_reader_destroy(reader);
    }
    assert_int_equal(filled, base->global_batch);
}

static void reader_any_number_of_ranks_sees_the_same_batches(void **state)
{
    const fixture *f = *state;
    const lmn_reader_options options = options_for(13, 0, 1);
    for (uint64_t batch = 0; batch < 12; batch++) {
        size_t alone[13];
        global_batch(f, &options, batch, 1, alone);
        for (int size = 2; size <= 5; size++) {
            size_t together[13];
            global_batch(f, &options, batch, size, together);
            assert_memory_equal(alone, together, sizeof alone);
        }
    }
}

/* Position p is sample p mod N of epoch p / N, whatever the batch. */
static void reader_each_epoch_uses_each_sample_once(void **state)
{
    const fixture *f = *state;
    static const size_t batches[] = {1, 7, 10, 50, 64};
    for (size_t b = 0; b < sizeof batches / sizeof batches[0]; b++) {
        const lmn_reader_options options = options_for(batches[b], 0, 1);
        lmn_reader *reader = create(f, &options);
        unsigned used[3][COUNT] = {{0}};
        bool differs = false;
        size_t order[3 * COUNT];
        for (size_t position = 0; position < (size_t)3 * COUNT;) {
            lmn_batch batch;
            assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
            assert_int_equal(batch.valid, batches[b]);
            for (size_t i = 0; i < batch.valid && position < (size_t)3 * COUNT; i++, position++) {
                order[position] =
                    identify(images_of(&batch) + i * PIXELS, labels_of(&batch)[i], 0, COUNT);
                used[position / COUNT][order[position]]++;
            }
        }
        for (size_t i = 0; i < COUNT; i++) {
            assert_int_equal(used[0][i], 1);
            assert_int_equal(used[1][i], 1);
            assert_int_equal(used[2][i], 1);
            differs = differs || order[i] != order[COUNT + i];
        }
        assert_true(differs);
        lmn_reader_destroy(reader);
    }
}

static void reader_begun_later_goes_on_where_an_earlier_one_was(void **state)
{
    const fixture *f = *state;
    lmn_reader_options options = options_for(9, 1, 3);
    lmn_reader *whole = create(f, &options);
    lmn_batch expected;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(lmn_reader_next(whole, &expected, NULL), LMN_OK);
    }
    options.first_batch = 19;
    lmn_reader *late = create(f, &options);
    lmn_batch batch;
    assert_int_equal(lmn_reader_next(late, &batch, NULL), LMN_OK);
    assert_memory_equal(images_of(&batch), images_of(&expected),
                        batch.rows * PIXELS * sizeof(float));
    lmn_reader_destroy(whole);
    lmn_reader_destroy(late);
}

static void reader_other_seed_gives_another_order(void **state)
{
    const fixture *f = *state;
    lmn_reader_options options = options_for(COUNT, 0, 1);
    size_t first[COUNT];
    size_t second[COUNT];
    global_batch(f, &options, 0, 1, first);
    options.seed = 43;
    global_batch(f, &options, 0, 1, second);
    assert_memory_not_equal(first, second, sizeof first);
}

static void reader_in_order_ends_with_a_short_batch(void **state)
{
    const fixture *f = *state;
    /* 25 test samples in batches of 8 over 3 ranks: 3 full batches, then one of 1 sample. */
    unsigned seen[COUNT / 2] = {0};
    for (int rank = 0; rank < 3; rank++) {
        lmn_reader_options options = options_for(8, rank, 3);
        options.shuffle = false;
        options.split = LMN_SPLIT_TEST;
        lmn_reader *reader = create(f, &options);
        assert_int_equal(lmn_reader_batch_count(reader), 4);
        for (uint64_t number = 0; number < 4; number++) {
            lmn_batch batch;
            assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
            assert_int_equal(batch.rows, 3);
            for (size_t i = 0; i < batch.valid; i++) {
                const size_t sample = identify(images_of(&batch) + i * PIXELS, labels_of(&batch)[i],
                                               COUNT, COUNT / 2);
                assert_int_equal(sample, COUNT + number * 8 + batch.first_row + i);
                seen[sample - COUNT]++;
            }
            for (size_t i = batch.valid; i < batch.rows; i++) {
                assert_int_equal(labels_of(&batch)[i], -1);
                assert_float_equal(images_of(&batch)[i * PIXELS], 0, 0);
            }
        }
        lmn_batch batch;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_reader_next(reader, &batch, &err), LMN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "4 batches"));
        lmn_reader_destroy(reader);
    }
    for (size_t i = 0; i < COUNT / 2; i++) {
        assert_int_equal(seen[i], 1);
    }
}

static void reader_destroyed_at_any_point_stops(void **state)
{
    const fixture *f = *state;
    for (int taken = 0; taken < 10; taken++) {
        lmn_reader_options options = options_for(4, 0, 1);
        options.read_ahead = 1 + (size_t)taken % 3;
        lmn_reader *reader = create(f, &options);
        for (int i = 0; i < taken; i++) {
            lmn_batch batch;
            assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
        }
        assert_true(lmn_reader_waited_seconds(reader) >= 0.0);
        lmn_reader_destroy(reader);
    }
    lmn_reader_destroy(NULL);
}

static void reader_bad_options_are_refused(void **state)
{
    const fixture *f = *state;
    lmn_reader *reader = NULL;
    lmn_error err = lmn_error_none();
    lmn_reader_options options = options_for(3, 0, 4);
    assert_int_equal(lmn_reader_create(f->dataset, &options, &reader, &err), LMN_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "smaller than the 4 ranks"));
    options = options_for(8, 4, 4);
    assert_int_equal(lmn_reader_create(f->dataset, &options, &reader, &err), LMN_ERR_ARGUMENT);
    options = options_for(8, 0, 4);
    options.read_ahead = 0;
    assert_int_equal(lmn_reader_create(f->dataset, &options, &reader, &err), LMN_ERR_ARGUMENT);
    options = options_for(SIZE_MAX / 2, 0, 1);
    assert_int_equal(lmn_reader_create(f->dataset, &options, &reader, &err), LMN_ERR_MEMORY);
    assert_null(reader);
}

static void reader_file_that_became_shorter_is_an_error_that_stays(void **state)
{
    const fixture *f = *state;
    file_truncate(f->path, (size_t)f->dataset->splits[LMN_SPLIT_TRAIN].offset + 10);
    const lmn_reader_options options = options_for(10, 0, 1);
    lmn_reader *reader = create(f, &options);
    for (int i = 0; i < 3; i++) {
        lmn_batch batch;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_reader_next(reader, &batch, &err), LMN_ERR_FORMAT);
        assert_non_null(strstr(err.message, "truncated"));
    }
    lmn_reader_destroy(reader);
}

/* ---- datasets written by others ---- */

/* What a hand-made file holds; zero members take the defaults of set_recipe. */
typedef struct recipe {
    hid_t image_type;
    hid_t label_type;
    int n_dims; /* of the images */
    hsize_t count, height, width, channels;
    hsize_t label_count;
    const void *images;
    const int64_t *labels;
    bool is_chunked;
    bool has_no_format;
    const char *format;
    uint64_t version;
    double scale; /* written when not 0 */
} recipe;

static const unsigned char some_bytes[24] = {0, 51, 102, 153, 204, 255, 1, 2, 3, 4, 5, 6};
static const int64_t some_labels[2] = {3, 1};

static recipe good_recipe(void)
{
    return (recipe){.image_type = H5T_NATIVE_UINT8,
                    .label_type = H5T_STD_I16BE,
                    .n_dims = 4,
                    .count = 2,
                    .height = 3,
                    .width = 2,
                    .channels = 1,
                    .label_count = 2,
                    .images = some_bytes,
                    .labels = some_labels,
                    .format = "dataset",
                    .version = 1};
}

static void write_scalar(hid_t id, const char *name, hid_t type, const void *value)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(id, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, type, value) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

static void write_images(hid_t file, const recipe *r)
{
    const hsize_t dims[5] = {r->count, r->height, r->width, r->channels, 1};
    const hid_t space = H5Screate_simple(r->n_dims, dims, NULL);
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    if (r->is_chunked) {
        H5Pset_chunk(creation, r->n_dims, dims);
    }
    const hid_t images =
        H5Dcreate2(file, "/train/images", r->image_type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    assert_true(images >= 0);
    if (r->images != NULL) {
        assert_true(H5Dwrite(images, r->image_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, r->images) >= 0);
    }
    if (r->scale < 0 || r->scale > 0) {
        write_scalar(images, "scale", H5T_NATIVE_DOUBLE, &r->scale);
    }
    H5Dclose(images);
    H5Pclose(creation);
    H5Sclose(space);
}

/* In the plainest way, as a user would. */
static void write_recipe(const char *path, const recipe *r)
{
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    const hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, strlen(r->format));
    if (!r->has_no_format) {
        write_scalar(file, "lamina_format", text, r->format);
        write_scalar(file, "format_version", H5T_NATIVE_UINT64, &r->version);
    }
    H5Tclose(text);
    H5Gclose(H5Gcreate2(file, "/train", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    write_images(file, r);
    if (r->label_count > 0) {
        const hid_t space = H5Screate_simple(1, &r->label_count, NULL);
        const hid_t labels = H5Dcreate2(file, "/train/labels", r->label_type, space, H5P_DEFAULT,
                                        H5P_DEFAULT, H5P_DEFAULT);
        assert_true(H5Dwrite(labels, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, r->labels) >=
                    0);
        H5Dclose(labels);
        H5Sclose(space);
    }
    H5Fclose(file);
}

static void load_recipe(const fixture *f, const recipe *r, lmn_dataset **dataset_out)
{
    lmn_error err = lmn_error_none();
    write_recipe(f->path, r);
    const lmn_status status = lmn__dataset_load(f->path, dataset_out, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
}

static void recipe_fails(const fixture *f, const recipe *r, const char *what)
{
    lmn_dataset *dataset = NULL;
    lmn_error err = lmn_error_none();
    write_recipe(f->path, r);
    assert_int_equal(lmn__dataset_load(f->path, &dataset, &err), LMN_ERR_FORMAT);
    assert_null(dataset);
    if (strstr(err.message, what) == NULL || strstr(err.message, f->path) == NULL) {
        fail_msg("'%s' is not in '%s'", what, err.message);
    }
}

static void load_hand_made_bytes_take_the_defaults(void **state)
{
    const fixture *f = *state;
    lmn_dataset *dataset = NULL;
    const recipe r = good_recipe();
    load_recipe(f, &r, &dataset);
    const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
    assert_int_equal(info->n_classes, 4);
    assert_int_equal(info->sample_count[LMN_SPLIT_TEST], 0);
    assert_string_equal(lmn_dataset_class_name(dataset, 3), "3");
    lmn_reader_options options = options_for(2, 0, 1);
    options.shuffle = false;
    lmn_reader *reader = NULL;
    lmn_batch batch;
    assert_int_equal(lmn_reader_create(dataset, &options, &reader, NULL), LMN_OK);
    assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
    assert_float_equal(images_of(&batch)[1], 0.2F, 1e-7F);
    assert_float_equal(images_of(&batch)[5], 1.0F, 1e-7F);
    assert_int_equal(labels_of(&batch)[0], 3);
    assert_int_equal(labels_of(&batch)[1], 1);
    lmn_reader_destroy(reader);
    lmn_dataset_close(dataset);
}

static void load_floats_are_read_as_they_are(void **state)
{
    const fixture *f = *state;
    const float values[12] = {-1.5F, 2.25F, 1e30F, 3.0F, 4.0F, 5.0F, 6.0F};
    lmn_dataset *dataset = NULL;
    recipe r = good_recipe();
    r.image_type = H5T_NATIVE_FLOAT;
    r.images = values;
    r.n_dims = 3;
    load_recipe(f, &r, &dataset);
    lmn_reader_options options = options_for(2, 0, 1);
    options.shuffle = false;
    lmn_reader *reader = NULL;
    lmn_batch batch;
    assert_int_equal(lmn_reader_create(dataset, &options, &reader, NULL), LMN_OK);
    assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
    assert_memory_equal(images_of(&batch), values, sizeof values);
    lmn_reader_destroy(reader);
    lmn_dataset_close(dataset);
}

static void load_fingerprint_follows_the_content(void **state)
{
    const fixture *f = *state;
    lmn_dataset *first = NULL;
    lmn_dataset *second = NULL;
    recipe r = good_recipe();
    load_recipe(f, &r, &first);
    load_recipe(f, &r, &second);
    assert_true(lmn_dataset_fingerprint(first) == lmn_dataset_fingerprint(second));
    lmn_dataset_close(second);
    const int64_t others[2] = {3, 2};
    r.labels = others;
    load_recipe(f, &r, &second);
    assert_true(lmn_dataset_fingerprint(first) != lmn_dataset_fingerprint(second));
    lmn_dataset_close(second);
    r = good_recipe();
    r.scale = 0.5;
    load_recipe(f, &r, &second);
    assert_true(lmn_dataset_fingerprint(first) != lmn_dataset_fingerprint(second));
    lmn_dataset_close(second);
    lmn_dataset_close(first);
}

static void load_chunked_images_name_the_command(void **state)
{
    const fixture *f = *state;
    recipe r = good_recipe();
    r.is_chunked = true;
    recipe_fails(f, &r, "h5repack -l train/images:CONTI");
    /* The command does mend it. */
    char command[3 * TEST_PATH_BYTES];
    char mended[TEST_PATH_BYTES];
    path_join(mended, f->directory, "mended.h5");
    (void)snprintf(command, sizeof command,
                   "h5repack -l train/images:CONTI -f train/images:NONE '%s' '%s'", f->path,
                   mended);
    /* NOLINTBEGIN(cert-env33-c,concurrency-mt-unsafe): the command is what is tested */
    if (system("h5repack -V >/dev/null 2>&1") != 0) {
        print_message("h5repack is not installed: not tried\n");
        return;
    }
    assert_int_equal(system(command), 0);
    /* NOLINTEND(cert-env33-c,concurrency-mt-unsafe) */
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn__dataset_load(mended, &dataset, NULL), LMN_OK);
    lmn_dataset_close(dataset);
}

static void load_files_that_do_not_fit_are_refused(void **state)
{
    const fixture *f = *state;
    recipe r = good_recipe();
    r.has_no_format = true;
    recipe_fails(f, &r, "not a Lamina file");
    r = good_recipe();
    r.format = "results";
    recipe_fails(f, &r, "is a results file, not a dataset file");
    r = good_recipe();
    r.format = "recipes";
    recipe_fails(f, &r, "'recipes'");
    r = good_recipe();
    r.version = 2;
    recipe_fails(f, &r, "use a newer Lamina");
    r = good_recipe();
    r.image_type = H5T_NATIVE_INT16;
    recipe_fails(f, &r, "must hold u8 or f32");
    r = good_recipe();
    r.n_dims = 2;
    recipe_fails(f, &r, "2 dimensions");
    r = good_recipe();
    r.width = 0;
    recipe_fails(f, &r, "empty or too large");
    r = good_recipe();
    r.images = NULL;
    recipe_fails(f, &r, "never written");
    r = good_recipe();
    r.label_count = 1;
    recipe_fails(f, &r, "each of the 2 images");
    r = good_recipe();
    r.label_count = 0;
    recipe_fails(f, &r, "there is no '/train/labels'");
    r = good_recipe();
    r.label_type = H5T_NATIVE_FLOAT;
    recipe_fails(f, &r, "one integer for each");
    r = good_recipe();
    r.scale = 1e300;
    recipe_fails(f, &r, "not finite");
    const int64_t negative[2] = {0, -1};
    r = good_recipe();
    r.labels = negative;
    recipe_fails(f, &r, "label -1 of sample 1");
}

static void load_damaged_or_missing_files_are_refused(void **state)
{
    const fixture *f = *state;
    lmn_dataset *dataset = NULL;
    lmn_error err = lmn_error_none();
    char missing[TEST_PATH_BYTES];
    path_join(missing, f->directory, "missing.h5");
    assert_int_equal(lmn__dataset_load(missing, &dataset, &err), LMN_ERR_IO);
    assert_non_null(strstr(err.message, "missing.h5': No such file"));
    file_write(missing, "not HDF5", 8);
    assert_int_equal(lmn__dataset_load(missing, &dataset, &err), LMN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "not an HDF5 file"));
    for (size_t bytes = file_bytes(f->path); bytes > 0; bytes -= bytes < 97 ? bytes : 97) {
        file_truncate(f->path, bytes - 1);
        assert_int_equal(lmn__dataset_load(f->path, &dataset, &err), LMN_ERR_FORMAT);
        assert_non_null(strstr(err.message, f->path));
    }
    assert_null(dataset);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(reader_any_number_of_ranks_sees_the_same_batches),
        CASE(reader_each_epoch_uses_each_sample_once),
        CASE(reader_begun_later_goes_on_where_an_earlier_one_was),
        CASE(reader_other_seed_gives_another_order),
        CASE(reader_in_order_ends_with_a_short_batch),
        CASE(reader_destroyed_at_any_point_stops),
        CASE(reader_bad_options_are_refused),
        CASE(reader_file_that_became_shorter_is_an_error_that_stays),
        CASE(load_hand_made_bytes_take_the_defaults),
        CASE(load_floats_are_read_as_they_are),
        CASE(load_fingerprint_follows_the_content),
        CASE(load_chunked_images_name_the_command),
        CASE(load_files_that_do_not_fit_are_refused),
        CASE(load_damaged_or_missing_files_are_refused),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}

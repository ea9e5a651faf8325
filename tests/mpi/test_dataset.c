/*
 * Opening datasets on 1 to 4 ranks: all see the same file or all report the same error, and the
 * slices of a batch put together do not depend on the number of ranks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_files.h"
#include "files.h"
#include "lamina/dataset.h"
#include "lamina/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mpi.h>

#include <cmocka.h>

#define COUNT  50
#define PIXELS 6
#define BATCH  11

typedef struct fixture {
    lmn_world *world;
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
    int rank, size;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(lmn_world_create(MPI_COMM_WORLD, NULL, &f->world, NULL), LMN_OK);
    f->rank = lmn_world_rank(f->world);
    f->size = lmn_world_size(f->world);
    if (f->rank == 0) {
        scratch_create(f->directory);
        dataset_write(f->directory, COUNT, f->path);
    }
    MPI_Bcast(f->directory, sizeof f->directory, MPI_CHAR, 0, MPI_COMM_WORLD);
    MPI_Bcast(f->path, sizeof f->path, MPI_CHAR, 0, MPI_COMM_WORLD);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    MPI_Barrier(MPI_COMM_WORLD);
    if (f->rank == 0) {
        scratch_remove(f->directory);
    }
    lmn_world_destroy(f->world);
    free(f);
    return 0;
}

/* Opening fails on all ranks with the same status and message, which says `what`. */
static void open_fails(const fixture *f, const char *path, lmn_status status, const char *what)
{
    lmn_dataset *dataset = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_dataset_open(f->world, path, &dataset, &err), status);
    assert_null(dataset);
    lmn_error first = err;
    MPI_Bcast(&first, sizeof first, MPI_BYTE, 0, MPI_COMM_WORLD);
    assert_string_equal(err.message, first.message);
    assert_int_equal(err.rank, first.rank);
    if (strstr(err.message, what) == NULL) {
        fail_msg("'%s' is not in '%s'", what, err.message);
    }
}

/* The first pixel and the label of every row of a global batch, gathered on all ranks. */
static void gather_batch(const fixture *f, const lmn_batch *slice, float first_pixel[BATCH],
                         int labels[BATCH])
{
    float pixels[BATCH] = {0};
    int mine[BATCH] = {0};
    for (size_t i = 0; i < slice->valid; i++) {
        pixels[slice->first_row + i] = ((const float *)slice->fields[0])[i * PIXELS];
        mine[slice->first_row + i] = ((const int32_t *)slice->fields[1])[i];
    }
    MPI_Allreduce(pixels, first_pixel, BATCH, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(mine, labels, BATCH, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    (void)f;
}

static lmn_reader_options options_of(const fixture *f)
{
    return (lmn_reader_options){.split = LMN_SPLIT_TRAIN,
                                .shuffle = true,
                                .seed = 5,
                                .global_batch = BATCH,
                                .rank = f->rank,
                                .size = f->size,
                                .read_ahead = 2};
}

static void open_all_ranks_read_the_same_global_batch(void **state)
{
    const fixture *f = *state;
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn_dataset_open(f->world, f->path, &dataset, NULL), LMN_OK);
    const lmn_reader_options options = options_of(f);
    lmn_reader *reader = NULL;
    assert_int_equal(lmn_reader_create(dataset, &options, &reader, NULL), LMN_OK);
    for (uint64_t number = 0; number < 12; number++) {
        lmn_batch slice;
        assert_int_equal(lmn_reader_next(reader, &slice, NULL), LMN_OK);
        float pixels[BATCH];
        int labels[BATCH];
        gather_batch(f, &slice, pixels, labels);
        for (uint64_t i = 0; i < BATCH; i++) {
            /* What the header promises, whatever the number of ranks. */
            const uint64_t position = number * BATCH + i;
            const uint64_t sample = lmn_permute(5, position / COUNT, position % COUNT, COUNT);
            assert_int_equal(labels[i], sample % 4);
            assert_float_equal(pixels[i], (float)test_pixel(sample, 0) / 255.0F, 1e-6F);
        }
    }
    lmn_reader_destroy(reader);
    lmn_dataset_close(dataset);
}

/* ---- other kinds ---- */

/* Every rank's slice against the whole batch, which each rank also reads as if it were alone. */
static void assert_slices_make_the_batch(const fixture *f, const lmn_dataset *dataset,
                                         const size_t row_bytes[2])
{
    lmn_reader_options options = options_of(f);
    lmn_reader *mine = NULL;
    lmn_reader *whole = NULL;
    assert_int_equal(lmn_reader_create(dataset, &options, &mine, NULL), LMN_OK);
    options.rank = 0;
    options.size = 1;
    assert_int_equal(lmn_reader_create(dataset, &options, &whole, NULL), LMN_OK);
    for (int number = 0; number < 12; number++) {
        lmn_batch slice;
        lmn_batch all;
        assert_int_equal(lmn_reader_next(mine, &slice, NULL), LMN_OK);
        assert_int_equal(lmn_reader_next(whole, &all, NULL), LMN_OK);
        for (size_t field = 0; field < 2; field++) {
            const char *rows = all.fields[field];
            assert_memory_equal(slice.fields[field], rows + slice.first_row * row_bytes[field],
                                slice.valid * row_bytes[field]);
        }
        int covered[BATCH] = {0};
        for (size_t i = 0; i < slice.valid; i++) {
            covered[slice.first_row + i] = 1;
        }
        MPI_Allreduce(MPI_IN_PLACE, covered, BATCH, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
        for (size_t i = 0; i < BATCH; i++) {
            assert_int_equal(covered[i], 1);
        }
    }
    lmn_reader_destroy(whole);
    lmn_reader_destroy(mine);
}

static void open_text_windows_of_all_ranks_make_the_batch(void **state)
{
    const fixture *f = *state;
    enum { TOKENS = 400, CONTEXT = 9 };
    char path[TEST_PATH_BYTES];
    path_join(path, f->directory, "text.h5");
    if (f->rank == 0) {
        unsigned char bytes[TOKENS];
        for (size_t i = 0; i < TOKENS; i++) {
            bytes[i] = test_pixel(i, i * i);
        }
        text_dataset_write(path, bytes, TOKENS, bytes, TOKENS);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn_dataset_open(f->world, path, &dataset, NULL), LMN_OK);
    assert_int_equal(lmn_dataset_set_context(dataset, CONTEXT, NULL), LMN_OK);
    const size_t row_bytes[2] = {CONTEXT * sizeof(int32_t), CONTEXT * sizeof(int32_t)};
    assert_slices_make_the_batch(f, dataset, row_bytes);
    lmn_dataset_close(dataset);
}

/* Row i has i % 4 entries, in columns of its own. */
static void write_sparse(const char *path)
{
    enum { COLUMNS = 7 };
    uint64_t row_start[COUNT + 1] = {0};
    uint32_t column[4 * COUNT];
    float value[4 * COUNT];
    float target[COUNT];
    const uint64_t features = COLUMNS;
    for (size_t row = 0; row < COUNT; row++) {
        row_start[row + 1] = row_start[row] + row % 4;
        target[row] = (float)row;
        for (uint64_t i = row_start[row]; i < row_start[row + 1]; i++) {
            column[i] = (uint32_t)(row % 4 + i - row_start[row]);
            value[i] = (float)(i + 1);
        }
    }
    const hid_t file = dataset_file_create(path, "vectors");
    H5Ldelete(file, "/test", H5P_DEFAULT);
    dataset_file_set(file, "/", "features", H5T_NATIVE_UINT64, &features);
    dataset_file_put_list(file, "/train/row_start", H5T_NATIVE_UINT64, COUNT + 1, row_start);
    dataset_file_put_list(file, "/train/column", H5T_NATIVE_UINT32, row_start[COUNT], column);
    dataset_file_put_list(file, "/train/value", H5T_NATIVE_FLOAT, row_start[COUNT], value);
    dataset_file_put_list(file, "/train/targets", H5T_NATIVE_FLOAT, COUNT, target);
    H5Fclose(file);
}

static void open_sparse_rows_of_all_ranks_make_the_batch(void **state)
{
    const fixture *f = *state;
    char path[TEST_PATH_BYTES];
    path_join(path, f->directory, "sparse.h5");
    if (f->rank == 0) {
        write_sparse(path);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn_dataset_open(f->world, path, &dataset, NULL), LMN_OK);
    const size_t row_bytes[2] = {7 * sizeof(float), sizeof(float)};
    assert_slices_make_the_batch(f, dataset, row_bytes);
    lmn_dataset_close(dataset);
}

static void open_fingerprint_is_the_same_on_all_ranks(void **state)
{
    const fixture *f = *state;
    lmn_dataset *dataset = NULL;
    assert_int_equal(lmn_dataset_open(f->world, f->path, &dataset, NULL), LMN_OK);
    uint64_t first = lmn_dataset_fingerprint(dataset);
    MPI_Bcast(&first, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    assert_true(first == lmn_dataset_fingerprint(dataset));
    lmn_dataset_close(dataset);
}

static void open_missing_or_damaged_file_is_one_error(void **state)
{
    const fixture *f = *state;
    char path[TEST_PATH_BYTES];
    path_join(path, f->directory, "missing.h5");
    open_fails(f, path, LMN_ERR_IO, "missing.h5': No such file");
    MPI_Barrier(MPI_COMM_WORLD);
    if (f->rank == 0) {
        file_truncate(f->path, 3000);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    open_fails(f, f->path, LMN_ERR_FORMAT, "damaged or truncated");
}

static void open_failure_of_one_rank_is_everyones(void **state)
{
    const fixture *f = *state;
    char path[TEST_PATH_BYTES];
    path_join(path, f->directory, f->rank == f->size - 1 ? "missing.h5" : "dataset.h5");
    open_fails(f, path, LMN_ERR_IO, "missing.h5");
}

static void open_different_files_are_noticed(void **state)
{
    const fixture *f = *state;
    if (f->size == 1) {
        print_message("needs 2 ranks: not tried\n");
        return;
    }
    char path[TEST_PATH_BYTES];
    memcpy(path, f->path, sizeof path);
    if (f->rank == f->size - 1) {
        char own[TEST_PATH_BYTES];
        scratch_create(own);
        dataset_write(own, COUNT + 2, path);
        open_fails(f, path, LMN_ERR_DIVERGED, "dataset");
        scratch_remove(own);
    } else {
        open_fails(f, path, LMN_ERR_DIVERGED, "dataset");
    }
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(open_all_ranks_read_the_same_global_batch),
        CASE(open_text_windows_of_all_ranks_make_the_batch),
        CASE(open_sparse_rows_of_all_ranks_make_the_batch),
        CASE(open_fingerprint_is_the_same_on_all_ranks),
        CASE(open_missing_or_damaged_file_is_one_error),
        CASE(open_failure_of_one_rank_is_everyones),
        CASE(open_different_files_are_noticed),
    };
#undef CASE
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return n_failed;
}

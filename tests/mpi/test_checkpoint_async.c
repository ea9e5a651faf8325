/*
 * Checkpoints in the background on 1 to 4 ranks: the same bytes as at once, of the state as it was
 * when they were begun; one that fails, or is given up, leaves what was there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "lamina/checkpoint.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <mpi.h>

#include <cmocka.h>

/* Elements of a run's memory: arrays longer and shorter than a block of the seal, of all kinds. */
enum { LARGE = 1500007, MIDDLE = 70001, SMALL = 37, OWN = 120011, RUN = 90001 };

typedef struct fixture {
    lmn_world *world;
    int rank, size;
    char directory[TEST_PATH_BYTES];
    float *large, *middle, *own, *run; /* the last of this rank's slice */
    float small[SMALL];
    double single;
    uint64_t step;
    size_t run_first, run_count;
    lmn_state *list;
} fixture;

/* Values that depend on the rank where ranks may differ. */
static void fill(float *data, size_t count, unsigned seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525U + 1013904223U;
        data[i] = (float)(seed >> 8);
    }
}

static void fill_all(fixture *f, unsigned seed)
{
    const unsigned mine = 1000U * ((unsigned)f->rank + 1U);
    fill(f->large, LARGE, seed);
    fill(f->middle, MIDDLE, seed + 1);
    fill(f->small, SMALL, seed + 2);
    fill(f->own, OWN, seed + 3 + mine);
    fill(f->run, f->run_count, seed + 4 + mine);
    f->single = (double)seed;
    f->step = seed;
}

static void add(fixture *f, const char *name, lmn_state_kind kind, size_t count, void *data)
{
    assert_int_equal(
        lmn_state_add_array(f->list, name, "1", kind, LMN_STATE_F32, 1, &count, data, NULL),
        LMN_OK);
}

static void make_list(fixture *f)
{
    const size_t none = 0;
    assert_int_equal(lmn_state_create(&f->list, NULL), LMN_OK);
    add(f, "/parameters/small", LMN_STATE_REPLICATED, SMALL, f->small);
    add(f, "/parameters/large", LMN_STATE_REPLICATED, LARGE, f->large);
    add(f, "/feedback/own", LMN_STATE_PER_RANK, OWN, f->own);
    add(f, "/empty", LMN_STATE_REPLICATED, none, NULL);
    add(f, "/parameters/middle", LMN_STATE_REPLICATED, MIDDLE, f->middle);
    assert_int_equal(lmn_state_add_slice(f->list, "/feedback/slices", "1", LMN_STATE_F32, RUN,
                                         f->run_first, f->run_count, f->run, NULL),
                     LMN_OK);
    assert_int_equal(lmn_state_add_array(f->list, "/single", "1", LMN_STATE_REPLICATED,
                                         LMN_STATE_F64, 0, NULL, &f->single, NULL),
                     LMN_OK);
    assert_int_equal(lmn_state_add_u64(f->list, "number", &f->step, NULL), LMN_OK);
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(lmn_world_create(MPI_COMM_WORLD, NULL, &f->world, NULL), LMN_OK);
    f->rank = lmn_world_rank(f->world);
    f->size = lmn_world_size(f->world);
    if (f->rank == 0) {
        scratch_create(f->directory);
    }
    MPI_Bcast(f->directory, sizeof f->directory, MPI_CHAR, 0, MPI_COMM_WORLD);
    /* Slices of very different sizes; with more than two ranks one has nothing. */
    const size_t cuts[] = {0, 1, RUN / 3, RUN / 3, RUN};
    const int last = f->rank + 1 == f->size ? 4 : f->rank + 1;
    f->run_first = cuts[f->rank];
    f->run_count = cuts[last] - cuts[f->rank];
    f->large = malloc(LARGE * sizeof(float));
    f->middle = malloc(MIDDLE * sizeof(float));
    f->own = malloc(OWN * sizeof(float));
    f->run = malloc((f->run_count + 1) * sizeof(float));
    assert_true(f->large != NULL && f->middle != NULL && f->own != NULL && f->run != NULL);
    fill_all(f, 5);
    make_list(f);
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
    lmn_state_destroy(f->list);
    free(f->large);
    free(f->middle);
    free(f->own);
    free(f->run);
    lmn_world_destroy(f->world);
    free(f);
    return 0;
}

static lmn_checkpoint_writer *make_writer(const fixture *f, const char *name,
                                          char directory_out[TEST_PATH_BYTES])
{
    lmn_checkpoint_writer *writer = NULL;
    path_join(directory_out, f->directory, name);
    assert_int_equal(lmn_checkpoint_writer_create(f->world, directory_out, &writer, NULL), LMN_OK);
    return writer;
}

static void begin(const fixture *f, lmn_checkpoint_writer *writer, uint64_t step, size_t keep)
{
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_checkpoint_begin(writer, step, f->list, keep, true, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
    assert_true(lmn_checkpoint_is_open(writer));
}

/* As a trainer does it: go on when all ranks are ready, and do other things meanwhile. Returns how
   often they were. */
static int poll_to_the_end(lmn_checkpoint_writer *writer, lmn_status *status_out, lmn_error *err)
{
    int advances = 0;
    *status_out = LMN_OK;
    while (*status_out == LMN_OK && lmn_checkpoint_is_open(writer)) {
        int ready = lmn_checkpoint_is_ready(writer) ? 1 : 0;
        MPI_Allreduce(MPI_IN_PLACE, &ready, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
        if (ready != 0) {
            *status_out = lmn_checkpoint_advance(writer, err);
            advances++;
        } else {
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
    }
    return advances;
}

static void step_path(const char *directory, uint64_t step, char path_out[TEST_PATH_BYTES])
{
    char name[64];
    (void)snprintf(name, sizeof name, "checkpoint-%llu.h5", (unsigned long long)step);
    path_join(path_out, directory, name);
}

static void check_whole(const char *directory, uint64_t step)
{
    char path[TEST_PATH_BYTES];
    step_path(directory, step, path);
    lmn_error err = lmn_error_none();
    const lmn_status status = lmn_checkpoint_verify(path, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, LMN_OK);
}

static void check_same_error(const lmn_error *err, lmn_status status, const char *words)
{
    lmn_error first = *err;
    MPI_Bcast(&first, sizeof first, MPI_BYTE, 0, MPI_COMM_WORLD);
    assert_int_equal(err->status, status);
    assert_string_equal(err->message, first.message);
    if (strstr(err->message, words) == NULL) {
        fail_msg("'%s' is not in '%s'", words, err->message);
    }
}

/* ---- what is written ---- */

static void background_writes_the_bytes_of_the_state_when_it_was_begun(void **state)
{
    fixture *f = *state;
    char at_once[TEST_PATH_BYTES];
    char behind[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
    path_join(at_once, f->directory, "at-once");
    assert_int_equal(lmn_checkpoint_write(f->world, at_once, 3, f->list, 1, NULL), LMN_OK);
    lmn_checkpoint_writer *writer = make_writer(f, "behind", behind);
    assert_false(lmn_checkpoint_is_open(writer));
    assert_true(lmn_checkpoint_cost(writer) == 0.0);
    begin(f, writer, 3, 1);
    step_path(behind, 3, path);
    assert_false(file_exists(path));
    fill_all(f, 77); /* training goes on */
    lmn_status status = LMN_OK;
    const int advances = poll_to_the_end(writer, &status, NULL);
    assert_int_equal(status, LMN_OK);
    assert_in_range(advances, 2, 3);
    assert_true(lmn_checkpoint_cost(writer) > 0.0);
    size_t bytes[2] = {0, 0};
    unsigned char *found = file_read(path, &bytes[0]);
    step_path(at_once, 3, path);
    unsigned char *expected = file_read(path, &bytes[1]);
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_equal(found, expected, bytes[0]);
    free(found);
    free(expected);
    check_whole(behind, 3);
    assert_int_equal(directory_count(behind), 1);
    MPI_Barrier(MPI_COMM_WORLD);
    lmn_checkpoint_writer_destroy(writer);
}

static void background_is_read_back_to_the_bit(void **state)
{
    fixture *f = *state;
    char directory[TEST_PATH_BYTES];
    char path[TEST_PATH_BYTES];
    lmn_checkpoint_writer *writer = make_writer(f, "read", directory);
    begin(f, writer, 8, 1);
    fill_all(f, 123);
    assert_int_equal(lmn_checkpoint_finish(writer, NULL), LMN_OK);
    step_path(directory, 8, path);
    assert_int_equal(lmn_checkpoint_read(f->world, path, f->list, NULL), LMN_OK);
    float *expected = malloc(LARGE * sizeof(float));
    assert_non_null(expected);
    fill(expected, LARGE, 5);
    assert_memory_equal(f->large, expected, LARGE * sizeof(float));
    fill(expected, MIDDLE, 6);
    assert_memory_equal(f->middle, expected, MIDDLE * sizeof(float));
    fill(expected, SMALL, 7);
    assert_memory_equal(f->small, expected, SMALL * sizeof(float));
    fill(expected, OWN, 8 + 1000U * ((unsigned)f->rank + 1U));
    assert_memory_equal(f->own, expected, OWN * sizeof(float));
    fill(expected, f->run_count, 9 + 1000U * ((unsigned)f->rank + 1U));
    assert_memory_equal(f->run, expected, f->run_count * sizeof(float));
    assert_true(f->single == 5.0 && f->step == 5);
    free(expected);
    lmn_checkpoint_writer_destroy(writer);
}

/* ---- several ---- */

static void begin_waits_for_the_one_before(void **state)
{
    fixture *f = *state;
    char directory[TEST_PATH_BYTES];
    lmn_checkpoint_writer *writer = make_writer(f, "two", directory);
    for (uint64_t step = 1; step <= 4; step++) {
        fill_all(f, (unsigned)step);
        begin(f, writer, step, 2);
        if (step > 1) {
            check_whole(directory, step - 1);
        }
        MPI_Barrier(MPI_COMM_WORLD);
    }
    /* At once, as at the end of a run. */
    assert_int_equal(lmn_checkpoint_begin(writer, 5, f->list, 2, false, NULL), LMN_OK);
    assert_false(lmn_checkpoint_is_open(writer));
    check_whole(directory, 4);
    check_whole(directory, 5);
    assert_int_equal(directory_count(directory), 2);
    MPI_Barrier(MPI_COMM_WORLD);
    lmn_checkpoint_writer_destroy(writer);
}

static void destroy_gives_up_the_one_on_its_way(void **state)
{
    fixture *f = *state;
    char directory[TEST_PATH_BYTES];
    lmn_checkpoint_writer *writer = make_writer(f, "given-up", directory);
    assert_int_equal(lmn_checkpoint_begin(writer, 1, f->list, 0, false, NULL), LMN_OK);
    begin(f, writer, 2, 0);
    lmn_checkpoint_writer_destroy(writer);
    MPI_Barrier(MPI_COMM_WORLD);
    assert_int_equal(directory_count(directory), 1);
    check_whole(directory, 1);
}

/* ---- failures ---- */

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void write_that_fails_in_the_background_fails_on_all(void **state)
{
    fixture *f = *state;
    char directory[TEST_PATH_BYTES];
    lmn_checkpoint_writer *writer = make_writer(f, "limited", directory);
    assert_int_equal(lmn_checkpoint_begin(writer, 1, f->list, 0, false, NULL), LMN_OK);
    (void)signal(SIGXFSZ, SIG_IGN);
    for (int failing = 0; failing < f->size; failing++) {
        lmn_error err = lmn_error_none();
        if (f->rank == failing) {
            limit_files(
                600); /* rank 0 cannot even create the file; the others cannot write to it */
        }
        lmn_status status = lmn_checkpoint_begin(writer, 2, f->list, 0, true, &err);
        assert_int_equal(status, failing == 0 ? LMN_ERR_IO : LMN_OK);
        if (status == LMN_OK) {
            (void)poll_to_the_end(writer, &status, &err);
        }
        limit_files(RLIM_INFINITY);
        assert_int_equal(status, LMN_ERR_IO);
        check_same_error(&err, LMN_ERR_IO, "checkpoint-2.h5.part");
        assert_int_equal(err.rank, failing);
        assert_false(lmn_checkpoint_is_open(writer));
        MPI_Barrier(MPI_COMM_WORLD);
        assert_int_equal(directory_count(directory), 1);
        check_whole(directory, 1);
    }
    (void)signal(SIGXFSZ, SIG_DFL);
    /* The writer is as good as before. */
    begin(f, writer, 3, 0);
    assert_int_equal(lmn_checkpoint_finish(writer, NULL), LMN_OK);
    check_whole(directory, 3);
    lmn_checkpoint_writer_destroy(writer);
}

static void directory_that_is_removed_is_named(void **state)
{
    fixture *f = *state;
    char directory[TEST_PATH_BYTES];
    lmn_checkpoint_writer *writer = make_writer(f, "removed", directory);
    begin(f, writer, 1, 0);
    MPI_Barrier(MPI_COMM_WORLD);
    if (f->rank == 0) {
        scratch_remove(directory);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_checkpoint_finish(writer, &err), LMN_ERR_IO);
    check_same_error(&err, LMN_ERR_IO, "is gone");
    for (int background = 0; background < 2; background++) {
        err = lmn_error_none();
        assert_int_equal(lmn_checkpoint_begin(writer, 2, f->list, 0, background == 1, &err),
                         LMN_ERR_IO);
        check_same_error(&err, LMN_ERR_IO, directory);
        check_same_error(&err, LMN_ERR_IO, "is gone");
    }
    assert_false(file_exists(directory));
    lmn_checkpoint_writer_destroy(writer);
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(background_writes_the_bytes_of_the_state_when_it_was_begun),
        CASE(background_is_read_back_to_the_bit),
        CASE(begin_waits_for_the_one_before),
        CASE(destroy_gives_up_the_one_on_its_way),
        CASE(write_that_fails_in_the_background_fails_on_all),
        CASE(directory_that_is_removed_is_named),
    };
#undef CASE
    MPI_Init(&argc, &argv);
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return n_failed;
}

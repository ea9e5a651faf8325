/*
 * Helpers of the tests of elastic restarts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

int elastic_create(void **state)
{
    elastic *f = calloc(1, sizeof *f);
    assert_non_null(f);
    MPI_Comm_rank(MPI_COMM_WORLD, &f->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &f->size);
    assert_true(f->size <= ELASTIC_RANKS_MAX);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): tests have one thread */
    f->takes_all = getenv("LAMINA_TEST_ALL") != NULL;
    for (int n = 1; n <= f->size; n++) {
        MPI_Comm comm = MPI_COMM_NULL;
        MPI_Comm_split(MPI_COMM_WORLD, f->rank < n ? 0 : MPI_UNDEFINED, f->rank, &comm);
        if (comm != MPI_COMM_NULL) {
            assert_int_equal(lmn_world_create(comm, NULL, &f->worlds[n], NULL), LMN_OK);
            MPI_Comm_free(&comm);
        }
    }
    if (f->rank == 0) {
        scratch_create(f->directory);
    }
    MPI_Bcast(f->directory, sizeof f->directory, MPI_CHAR, 0, MPI_COMM_WORLD);
    *state = f;
    return 0;
}

int elastic_destroy(void **state)
{
    elastic *f = *state;
    MPI_Barrier(MPI_COMM_WORLD);
    if (f->rank == 0) {
        scratch_remove(f->directory);
    }
    for (int n = 1; n <= f->size; n++) {
        lmn_world_destroy(f->worlds[n]);
    }
    free(f);
    return 0;
}

void elastic_path(const elastic *f, char path_out[TEST_PATH_BYTES])
{
    path_join(path_out, f->directory, "checkpoint-0.h5");
}

void elastic_write(const elastic *f, int n, const lmn_state *list)
{
    lmn_error err = lmn_error_none();
    if (f->rank < n &&
        lmn_checkpoint_write(f->worlds[n], f->directory, 0, list, 0, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

void elastic_read(const elastic *f, int n, lmn_state *list)
{
    char path[TEST_PATH_BYTES];
    lmn_error err = lmn_error_none();
    elastic_path(f, path);
    if (f->rank < n && lmn_checkpoint_read(f->worlds[n], path, list, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

lmn_reducer *elastic_new_reducer(const elastic *f, int n, const elastic_method *method)
{
    lmn_reducer_options options =
        check_reducer_options(method->compress, method->feedback, "uniform");
    options.collective = method->collective;
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_reducer_create(f->worlds[n], check_layers, CHECK_LAYERS, &options, &reducer, &err) !=
        LMN_OK) {
        fail_msg("%s", err.message);
    }
    return reducer;
}

void elastic_run_step(lmn_reducer *reducer, int worker, uint64_t step)
{
    lmn_error err = lmn_error_none();
    lmn_step_report report;
    assert_int_equal(lmn_reducer_begin(reducer, step, &err), LMN_OK);
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        float *gradient = lmn_reducer_gradient(reducer, layer);
        check_fill_gradient(worker, layer, step, gradient);
        assert_int_equal(lmn_reducer_ready(reducer, layer, gradient, &err), LMN_OK);
    }
    if (lmn_reducer_finish(reducer, &report, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
}

void elastic_load(const elastic *f, int n, lmn_reducer *reducer)
{
    lmn_state *list = check_reducer_state(reducer);
    char path[TEST_PATH_BYTES];
    lmn_error err = lmn_error_none();
    elastic_path(f, path);
    if (lmn_checkpoint_read(f->worlds[n], path, list, &err) != LMN_OK ||
        lmn_reducer_restored(reducer, &err) != LMN_OK ||
        (lmn_state_was_cut_anew(list) && lmn_reducer_recut(reducer, &err) != LMN_OK)) {
        fail_msg("%s", err.message);
    }
    lmn_state_destroy(list);
}

const lmn__state_array *elastic_find(const lmn_state *list, const char *group, size_t layer)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s/%s", group, check_layers[layer].name);
    for (size_t i = 0; i < list->arrays.count; i++) {
        if (strcmp(lmn__state_arrays(list)[i].name, name) == 0) {
            return &lmn__state_arrays(list)[i];
        }
    }
    return NULL;
}

double elastic_cut(int n, int m, int j, const float *rows, size_t count, size_t i)
{
    double sum = 0.0;
    for (int unit = j * n; unit < (j + 1) * n; unit++) {
        sum += (double)rows[(size_t)(unit / m) * count + i];
    }
    return sum / n;
}

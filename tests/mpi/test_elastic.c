/*
 * Checkpoints that n ranks write and m ranks read: means stay, slices find their owners, and a
 * reducer goes on as it would have.
 *
 * The first n ranks of the job are a world of their own, for every n.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files.h"
#include "io/state_internal.h"
#include "lamina/partition.h"
#include "reducer_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mpi.h>

#include <cmocka.h>

#define WORLDS_MAX 8

/* Longer than what is worked on at once, and no multiple of anything. */
#define LONG_ROW 70001
#define SLICED   997

typedef struct fixture {
    int rank, size;
    lmn_world *worlds[WORLDS_MAX + 1]; /* of the first n ranks; NULL on the others */
    char directory[TEST_PATH_BYTES];
} fixture;

/* On many ranks, which share few cores here, what few ranks do not show. */
static bool is_tried(const fixture *f, int n, int m)
{
    return f->size <= 4 || (n == f->size && (m == 3 || m == 5)) || (n == 3 && m == f->size);
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    MPI_Comm_rank(MPI_COMM_WORLD, &f->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &f->size);
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

static int tear_down(void **state)
{
    fixture *f = *state;
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

/* ---- arrays ---- */

typedef struct memory {
    float row[LONG_ROW];
    float slice[SLICED];
    size_t slice_first, slice_count;
    float fresh[WORLDS_MAX];
    float rare;
} memory;

static float row_value(int rank, size_t i)
{
    return sinf((float)((rank + 3) * (int)(i % 10007))) * (float)(1 + rank);
}

static float slice_value(size_t i)
{
    return (float)i * 0.5F - 3.0F;
}

static lmn_state *list_memory(memory *m, int size, bool has_rare)
{
    lmn_state *list = NULL;
    assert_int_equal(lmn_state_create(&list, NULL), LMN_OK);
    const size_t row[] = {LONG_ROW};
    const size_t fresh[] = {(size_t)size};
    assert_int_equal(lmn_state_add_array(list, "/row", "1", LMN_STATE_PER_RANK, LMN_STATE_F32, 1,
                                         row, m->row, NULL),
                     LMN_OK);
    lmn_state_set_elastic(list, LMN_ELASTIC_MEAN);
    assert_int_equal(lmn_state_add_slice(list, "/slice", "1", LMN_STATE_F32, SLICED, m->slice_first,
                                         m->slice_count, m->slice, NULL),
                     LMN_OK);
    assert_int_equal(lmn_state_add_array(list, "/fresh", "1", LMN_STATE_REPLICATED, LMN_STATE_F32,
                                         1, fresh, m->fresh, NULL),
                     LMN_OK);
    lmn_state_set_elastic(list, LMN_ELASTIC_FRESH);
    if (has_rare) {
        assert_int_equal(lmn_state_add_array(list, "/rare", "1", LMN_STATE_REPLICATED,
                                             LMN_STATE_F32, 0, NULL, &m->rare, NULL),
                         LMN_OK);
        lmn_state_set_elastic(list, LMN_ELASTIC_IF_THERE);
    }
    return list;
}

/* Slices that are no equal parts: rank 0 has none where there are several, nor have others. */
static void cut_slice(memory *m, int rank, int size)
{
    lmn_range part = {.count = size == 1 && rank == 0 ? SLICED : 0};
    if (rank > 0 && rank < size) {
        part = lmn_partition(SLICED, (size_t)size - 1, (size_t)rank - 1);
    }
    m->slice_first = part.first;
    m->slice_count = part.count;
}

static memory *new_memory(int rank, int size, bool filled)
{
    memory *m = calloc(1, sizeof *m);
    assert_non_null(m);
    cut_slice(m, rank, size);
    for (size_t i = 0; i < LONG_ROW && filled; i++) {
        m->row[i] = row_value(rank, i);
    }
    for (size_t i = 0; i < m->slice_count && filled; i++) {
        m->slice[i] = slice_value(m->slice_first + i);
    }
    m->fresh[0] = filled ? 1.0F : -1.0F;
    m->rare = filled ? 1.0F : -1.0F;
    return m;
}

static void path_of(const fixture *f, char path_out[TEST_PATH_BYTES])
{
    path_join(path_out, f->directory, "checkpoint-0.h5");
}

/* By the first n ranks; `m` is this rank's. */
static void write_list(const fixture *f, int n, lmn_state *list)
{
    lmn_error err = lmn_error_none();
    if (f->rank < n &&
        lmn_checkpoint_write(f->worlds[n], f->directory, 0, list, 0, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void read_list(const fixture *f, int n, lmn_state *list)
{
    char path[TEST_PATH_BYTES];
    lmn_error err = lmn_error_none();
    path_of(f, path);
    if (f->rank < n && lmn_checkpoint_read(f->worlds[n], path, list, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* What spec and brute force say that rank j of m gets of n rows, in units of whole rows. */
static float cut_anew(int n, int m, int j, size_t i, float (*value)(int, size_t))
{
    double sum = 0.0;
    for (int unit = j * n; unit < (j + 1) * n; unit++) {
        sum += (double)value(unit / m, i);
    }
    return (float)(sum / n);
}

static void check_read(const memory *m, int n, int size, int rank)
{
    for (size_t i = 0; i < LONG_ROW; i += n == size ? 1 : 13) {
        const float wanted = cut_anew(n, size, rank, i, row_value);
        const float slack = n == size || size % n == 0 ? 0.0F : 1e-6F * (float)n;
        assert_true(fabsf(m->row[i] - wanted) <= slack);
    }
    for (size_t i = 0; i < m->slice_count; i++) {
        assert_true(m->slice[i] == slice_value(m->slice_first + i));
    }
    assert_true(m->fresh[0] == (n == size ? 1.0F : -1.0F));
}

static void checkpoint_of_any_number_of_ranks_is_read_by_any_other(void **state)
{
    const fixture *f = *state;
    for (int n = 1; n <= f->size; n++) {
        memory *written = new_memory(f->rank, n, true);
        lmn_state *list = list_memory(written, n, false);
        write_list(f, n, list);
        lmn_state_destroy(list);
        for (int m = 1; m <= f->size; m++) {
            if (!is_tried(f, n, m)) {
                continue;
            }
            memory *found = new_memory(f->rank, m, false);
            list = list_memory(found, m, n != m);
            read_list(f, m, list);
            if (f->rank < m) {
                assert_int_equal(lmn_state_ranks_read(list), n);
                assert_int_equal(lmn_state_was_cut_anew(list), n != m);
                assert_true(found->rare == -1.0F);
                check_read(found, n, m, f->rank);
            }
            lmn_state_destroy(list);
            free(found);
        }
        free(written);
    }
}

static void rows_that_went_to_a_multiple_of_ranks_come_back_to_the_bit(void **state)
{
    const fixture *f = *state;
    for (int n = 1; 2 * n <= f->size; n++) {
        for (int m = 2 * n; m <= f->size && m <= 4; m += n) {
            memory *mine = new_memory(f->rank, n, true);
            memory *more = new_memory(f->rank, m, false);
            memory *back = new_memory(f->rank, n, false);
            lmn_state *lists[3] = {list_memory(mine, n, true), list_memory(more, m, true),
                                   list_memory(back, n, true)};
            write_list(f, n, lists[0]);
            read_list(f, m, lists[1]);
            write_list(f, m, lists[1]);
            read_list(f, n, lists[2]);
            if (f->rank < n) {
                assert_memory_equal(back->row, mine->row, sizeof mine->row);
            }
            for (size_t i = 0; i < 3; i++) {
                lmn_state_destroy(lists[i]);
            }
            free(mine);
            free(more);
            free(back);
        }
    }
}

/* Of a layout with fewer workers than ranks: every reader gets the mean of the workers' rows. */
static void rows_of_workers_become_their_mean(void **state)
{
    const fixture *f = *state;
    const int n = f->size;
    memory *m = new_memory(f->rank, n, true);
    if (f->rank % 2 != 0) {
        memset(m->row, 0, sizeof m->row);
    }
    const int workers = (n + 1) / 2;
    lmn_state *list = list_memory(m, n, false);
    assert_int_equal(lmn_state_set_layout(list, "pairs", (uint64_t)workers, NULL), LMN_OK);
    write_list(f, n, list);
    lmn_state_destroy(list);
    list = list_memory(m, n, false);
    read_list(f, n, list);
    for (size_t i = 0; i < LONG_ROW; i += 101) {
        double sum = 0.0;
        for (int rank = 0; rank < n; rank += 2) {
            sum += (double)row_value(rank, i);
        }
        assert_true(fabs((double)m->row[i] - sum / workers) <= 1e-6 * n);
    }
    lmn_state_destroy(list);
    free(m);
}

static void array_of_single_ranks_without_a_rule_is_refused(void **state)
{
    const fixture *f = *state;
    if (f->size == 1) {
        skip();
    }
    float value = 1.0F;
    lmn_error err = lmn_error_none();
    lmn_state *list = NULL;
    assert_int_equal(lmn_state_create(&list, NULL), LMN_OK);
    assert_int_equal(lmn_state_add_array(list, "/own", "1", LMN_STATE_PER_RANK, LMN_STATE_F32, 0,
                                         NULL, &value, NULL),
                     LMN_OK);
    write_list(f, f->size, list);
    char path[TEST_PATH_BYTES];
    path_of(f, path);
    if (f->rank == 0) {
        assert_int_equal(lmn_checkpoint_read(f->worlds[1], path, list, &err), LMN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "'/own' belongs to single ranks"));
    }
    lmn_state_destroy(list);
}

/* ---- reducers ---- */

/* A step in which rank `worker` of the gradients' own numbering speaks. */
static void run_step(lmn_reducer *reducer, int worker, uint64_t step)
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

static lmn_reducer *new_reducer(lmn_world *world, const char *const methods[3])
{
    lmn_reducer_options options = check_reducer_options(methods[0], methods[1], "uniform");
    options.collective = methods[2];
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_reducer_create(world, check_layers, CHECK_LAYERS, &options, &reducer, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return reducer;
}

static void load(const fixture *f, int m, lmn_reducer *reducer)
{
    lmn_state *list = check_reducer_state(reducer);
    char path[TEST_PATH_BYTES];
    lmn_error err = lmn_error_none();
    path_of(f, path);
    if (lmn_checkpoint_read(f->worlds[m], path, list, &err) != LMN_OK ||
        lmn_reducer_restored(reducer, &err) != LMN_OK ||
        (lmn_state_was_cut_anew(list) && lmn_reducer_recut(reducer, &err) != LMN_OK)) {
        fail_msg("%s", err.message);
    }
    lmn_state_destroy(list);
}

static const lmn__state_array *find_array(const lmn_state *list, const char *group, size_t layer)
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

/* Mean over the world of a state of a layer; [count], to be freed. NULL: there is none. */
static double *mean_of(lmn_world *world, const lmn_state *list, const char *group, size_t layer)
{
    const lmn__state_array *array = find_array(list, group, layer);
    if (array == NULL) {
        return NULL;
    }
    const bool is_sliced = array->kind == LMN_STATE_SLICED;
    double *mean = calloc(check_counts[layer], sizeof *mean);
    assert_non_null(mean);
    const double size = is_sliced ? 1.0 : lmn_world_size(world);
    for (size_t i = 0; i < array->count; i++) {
        mean[array->first + i] = (double)((const float *)array->data)[i] / size;
    }
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_sum_f64(world, mean, check_counts[layer], &err), LMN_OK);
    return mean;
}

static void assert_near(const double *a, const double *b, size_t count, double slack)
{
    double difference = 0.0;
    double norm = 0.0;
    for (size_t i = 0; i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += a[i] * a[i];
    }
    assert_true(sqrt(difference) <= slack * sqrt(norm));
}

static const char *const groups[] = {"/feedback/tracked_gradient", "/feedback/error",
                                     "/feedback/slices/error", "/feedback/mean_tracked_gradient",
                                     "/feedback/slices/mean_tracked_gradient"};

enum { N_GROUPS = sizeof groups / sizeof groups[0] };

/* All means that a reducer has of its two large layers; rank 0 has all of them, too. */
static void take_means(lmn_world *world, lmn_reducer *reducer, double *means[N_GROUPS][2])
{
    lmn_state *list = check_reducer_state(reducer);
    for (size_t group = 0; group < N_GROUPS; group++) {
        means[group][0] = mean_of(world, list, groups[group], 1);
        means[group][1] = mean_of(world, list, groups[group], 2);
    }
    lmn_state_destroy(list);
}

static void check_means(double *before[N_GROUPS][2], double *after[N_GROUPS][2])
{
    size_t n_seen = 0;
    for (size_t group = 0; group < N_GROUPS; group++) {
        for (size_t k = 0; k < 2; k++) {
            if (before[group][k] != NULL && after[group][k] != NULL) {
                /* h in memory is a sum of rounded steps, and then a mean: it may differ more. */
                assert_near(before[group][k], after[group][k], check_counts[1 + k],
                            group < 3 ? 1e-6 : 1e-5);
                n_seen++;
            }
            free(before[group][k]);
            free(after[group][k]);
        }
    }
    assert_true(n_seen >= 2);
}

static const char *const methods[][3] = {
    {"topk:density=0.05", "econtrol", "auto"}, {"topk:density=0.05", "ec", "balanced"},
    {"quant:bits=4", "econtrol", "auto"},      {"sign", "ec", "auto"},
    {"randk:density=0.1", "econtrol", "auto"}, {"lowrank:rank=2", "ec", "auto"},
    {"topk:density=0.05", "ef21", "balanced"},
};

static void go_from_to(const fixture *f, const char *const method[3], int n, int m)
{
    double *before[N_GROUPS][2] = {{NULL}};
    double *after[N_GROUPS][2] = {{NULL}};
    if (f->rank < n) {
        lmn_reducer *reducer = new_reducer(f->worlds[n], method);
        for (uint64_t step = 0; step < 4; step++) {
            run_step(reducer, f->rank, step);
        }
        lmn_state *list = check_reducer_state(reducer);
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_checkpoint_write(f->worlds[n], f->directory, 0, list, 0, &err),
                         LMN_OK);
        lmn_state_destroy(list);
        take_means(f->worlds[n], reducer, before);
        lmn_reducer_destroy(reducer);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    if (f->rank < m) {
        lmn_reducer *reducer = new_reducer(f->worlds[m], method);
        load(f, m, reducer);
        take_means(f->worlds[m], reducer, after);
        run_step(reducer, f->rank, 4);
        run_step(reducer, f->rank, 5);
        check_same_everywhere(f->worlds[m], check_estimate_hash(reducer));
        lmn_reducer_destroy(reducer);
    }
    if (f->rank == 0) {
        check_means(before, after);
    } else {
        for (size_t k = 0; k < 2UL * N_GROUPS; k++) {
            free(before[k / 2][k % 2]);
            free(after[k / 2][k % 2]);
        }
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void keep_means(const fixture *f, size_t method)
{
    for (int n = 1; n <= f->size; n++) {
        for (int m = 1; m <= f->size; m++) {
            if (n != m && is_tried(f, n, m) && (n + 2 * m + (int)method) % 5 == 0) {
                go_from_to(f, methods[method], n, m);
            }
        }
    }
}

static void reducer_keeps_the_means_of_what_it_remembers(void **state)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        keep_means(*state, i);
    }
}

/* With every gradient given q times the mean is the same, and so is all that follows. */
static void reducer_on_a_multiple_of_ranks_goes_on_the_same(void **state)
{
    const fixture *f = *state;
    if (f->size < 2) {
        skip();
    }
    const int n = f->size / 2;
    const int m = 2 * n;
    static const char *const method[3] = {"topk:density=0.05", "econtrol", "gather"};
    float *wanted[2] = {calloc(CHECK_COUNT_1, sizeof(float)), calloc(CHECK_COUNT_2, sizeof(float))};
    lmn_reducer *first = f->rank < n ? new_reducer(f->worlds[n], method) : NULL;
    for (uint64_t step = 0; step < 8 && first != NULL; step++) {
        run_step(first, f->rank, step);
        if (step == 3) {
            lmn_state *list = check_reducer_state(first);
            lmn_error err = lmn_error_none();
            assert_int_equal(lmn_checkpoint_write(f->worlds[n], f->directory, 0, list, 0, &err),
                             LMN_OK);
            lmn_state_destroy(list);
        }
    }
    for (size_t k = 0; k < 2 && first != NULL; k++) {
        memcpy(wanted[k], lmn_reducer_estimate(first, 1 + k), check_counts[1 + k] * sizeof(float));
    }
    lmn_reducer_destroy(first);
    MPI_Barrier(MPI_COMM_WORLD);
    if (f->rank < m) {
        lmn_reducer *second = new_reducer(f->worlds[m], method);
        load(f, m, second);
        for (uint64_t step = 4; step < 8; step++) {
            run_step(second, f->rank / 2, step);
        }
        for (size_t k = 0; k < 2 && f->rank == 0; k++) {
            const float *found = lmn_reducer_estimate(second, 1 + k);
            for (size_t i = 0; i < check_counts[1 + k]; i++) {
                assert_true(fabsf(found[i] - wanted[k][i]) <= 1e-5F * (1.0F + fabsf(wanted[k][i])));
            }
        }
        lmn_reducer_destroy(second);
    }
    free(wanted[0]);
    free(wanted[1]);
    MPI_Barrier(MPI_COMM_WORLD);
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoint_of_any_number_of_ranks_is_read_by_any_other),
        cmocka_unit_test(rows_that_went_to_a_multiple_of_ranks_come_back_to_the_bit),
        cmocka_unit_test(rows_of_workers_become_their_mean),
        cmocka_unit_test(array_of_single_ranks_without_a_rule_is_refused),
        cmocka_unit_test(reducer_keeps_the_means_of_what_it_remembers),
        cmocka_unit_test(reducer_on_a_multiple_of_ranks_goes_on_the_same),
    };
    const int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    MPI_Finalize();
    return failed;
}

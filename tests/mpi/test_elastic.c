/*
 * Checkpoints that n ranks write and m ranks read: means stay, slices find their owners, and a
 * reducer goes on as it would have.
 *
 * The first n ranks of the job are a world of their own, for every n.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic_check.h"
#include "lamina/partition.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mpi.h>

#include <cmocka.h>

/* Longer than what is worked on at once, and no multiple of anything. */
#define LONG_ROW 70001
#define SLICED   997

/* On many ranks, which share few cores here, what few ranks do not show. */
static bool is_tried(const elastic *f, int n, int m)
{
    return f->size <= 4 || (n == f->size && (m == 3 || m == 5)) || (n == 3 && m == f->size);
}

/* ---- arrays ---- */

typedef struct memory {
    float row[LONG_ROW];
    float slice[SLICED];
    size_t slice_first, slice_count;
    float fresh[ELASTIC_RANKS_MAX];
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
    const elastic *f = *state;
    for (int n = 1; n <= f->size; n++) {
        memory *written = new_memory(f->rank, n, true);
        lmn_state *list = list_memory(written, n, false);
        elastic_write(f, n, list);
        lmn_state_destroy(list);
        for (int m = 1; m <= f->size; m++) {
            if (!is_tried(f, n, m)) {
                continue;
            }
            memory *found = new_memory(f->rank, m, false);
            list = list_memory(found, m, n != m);
            elastic_read(f, m, list);
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
    const elastic *f = *state;
    for (int n = 1; 2 * n <= f->size; n++) {
        for (int m = 2 * n; m <= f->size && m <= 4; m += n) {
            memory *mine = new_memory(f->rank, n, true);
            memory *more = new_memory(f->rank, m, false);
            memory *back = new_memory(f->rank, n, false);
            lmn_state *lists[3] = {list_memory(mine, n, true), list_memory(more, m, true),
                                   list_memory(back, n, true)};
            elastic_write(f, n, lists[0]);
            elastic_read(f, m, lists[1]);
            elastic_write(f, m, lists[1]);
            elastic_read(f, n, lists[2]);
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
    const elastic *f = *state;
    const int n = f->size;
    memory *m = new_memory(f->rank, n, true);
    if (f->rank % 2 != 0) {
        memset(m->row, 0, sizeof m->row);
    }
    const int workers = (n + 1) / 2;
    lmn_state *list = list_memory(m, n, false);
    assert_int_equal(lmn_state_set_layout(list, "pairs", (uint64_t)workers, NULL), LMN_OK);
    elastic_write(f, n, list);
    lmn_state_destroy(list);
    list = list_memory(m, n, false);
    elastic_read(f, n, list);
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
    const elastic *f = *state;
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
    elastic_write(f, f->size, list);
    char path[TEST_PATH_BYTES];
    elastic_path(f, path);
    if (f->rank == 0) {
        assert_int_equal(lmn_checkpoint_read(f->worlds[1], path, list, &err), LMN_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "'/own' belongs to single ranks"));
    }
    lmn_state_destroy(list);
}

/* ---- reducers ---- */

/* With every gradient given q times the mean is the same, and so is all that follows. */
static void reducer_on_a_multiple_of_ranks_goes_on_the_same(void **state)
{
    const elastic *f = *state;
    if (f->size < 2) {
        skip();
    }
    const int n = f->size / 2;
    const int m = 2 * n;
    static const elastic_method method = {"topk:density=0.05", "econtrol", "gather"};
    float *wanted[2] = {calloc(CHECK_COUNT_1, sizeof(float)), calloc(CHECK_COUNT_2, sizeof(float))};
    lmn_reducer *first = f->rank < n ? elastic_new_reducer(f, n, &method) : NULL;
    for (uint64_t step = 0; step < 8 && first != NULL; step++) {
        elastic_run_step(first, f->rank, step);
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
        lmn_reducer *second = elastic_new_reducer(f, m, &method);
        elastic_load(f, m, second);
        for (uint64_t step = 4; step < 8; step++) {
            elastic_run_step(second, f->rank / 2, step);
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
        cmocka_unit_test(reducer_on_a_multiple_of_ranks_goes_on_the_same),
    };
    const int failed = cmocka_run_group_tests(tests, elastic_create, elastic_destroy);
    MPI_Finalize();
    return failed;
}

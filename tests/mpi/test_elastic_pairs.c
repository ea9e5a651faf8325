/*
 * Every state of every error mechanism, from any number of ranks to any other: 1 to 8 to 1 to 8.
 *
 * A reducer of n ranks makes a few steps and writes a checkpoint, which reducers of every number of
 * ranks read. What each rank then has is compared with rows that were gathered when they were
 * written and cut by counting units, and its mean with the mean that it was. LAMINA_TEST_ALL=1
 * takes every mechanism from every n to every m, which is by hand: some hundred checkpoints.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic_check.h"
#include "lamina/feedback.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { LARGE_FIRST = 1, LARGE_COUNT = 2, STATES_MAX = 4, NAME_BYTES = 96 };

/* What n ranks remembered when they wrote; all ranks of the job know all of it. */
typedef struct memory {
    size_t n_states;
    char groups[STATES_MAX][NAME_BYTES];
    float *rows[STATES_MAX][LARGE_COUNT]; /* [n][count] owned */
    float *slices[LARGE_COUNT];           /* E: [count] owned; NULL: there is none */
} memory;

static size_t count_of(size_t k)
{
    return check_counts[LARGE_FIRST + k];
}

static void name_states(const char *feedback_spec, memory *known)
{
    lmn_feedback *feedback = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_feedback_create(feedback_spec, &feedback, &err), LMN_OK);
    known->n_states = lmn_feedback_state_count(feedback);
    assert_in_range(known->n_states, 1, STATES_MAX);
    for (size_t s = 0; s < known->n_states; s++) {
        (void)snprintf(known->groups[s], NAME_BYTES, "/feedback/%s",
                       lmn_feedback_state_name(feedback, s));
    }
    lmn_feedback_destroy(feedback);
}

/* The whole vector of which the first n ranks have slices, on all ranks of the job; NULL: none. */
static float *gather_slices(const lmn_state *list, size_t k)
{
    const lmn__state_array *array =
        list == NULL ? NULL : elastic_find(list, "/feedback/slices/error", LARGE_FIRST + k);
    int is_there = array != NULL;
    MPI_Allreduce(MPI_IN_PLACE, &is_there, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    if (is_there == 0) {
        return NULL;
    }
    float *whole = calloc(count_of(k), sizeof *whole);
    assert_non_null(whole);
    if (array != NULL) {
        memcpy(whole + array->first, array->data, array->count * sizeof *whole);
    }
    MPI_Allreduce(MPI_IN_PLACE, whole, (int)count_of(k), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    return whole;
}

/* list  of a reducer of the first n ranks; NULL on the others */
static void learn(const elastic *f, int n, const lmn_state *list, memory *known)
{
    for (size_t k = 0; k < LARGE_COUNT; k++) {
        const int count = (int)count_of(k);
        for (size_t s = 0; s < known->n_states; s++) {
            float *all = calloc((size_t)f->size * count_of(k), sizeof *all);
            assert_non_null(all);
            if (list != NULL) {
                const lmn__state_array *array =
                    elastic_find(list, known->groups[s], LARGE_FIRST + k);
                assert_non_null(array);
                assert_int_equal(array->kind, LMN_STATE_PER_RANK);
                memcpy(all + (size_t)f->rank * count_of(k), array->data, count_of(k) * sizeof *all);
            }
            MPI_Allgather(MPI_IN_PLACE, count, MPI_FLOAT, all, count, MPI_FLOAT, MPI_COMM_WORLD);
            known->rows[s][k] = realloc(all, (size_t)n * count_of(k) * sizeof *all);
        }
        known->slices[k] = gather_slices(list, k);
    }
}

static void forget(memory *known)
{
    for (size_t k = 0; k < LARGE_COUNT; k++) {
        for (size_t s = 0; s < known->n_states; s++) {
            free(known->rows[s][k]);
        }
        free(known->slices[k]);
    }
}

/* This rank's row is that of the rule. */
static void check_row(const float *found, const float *rows, int n, int m, int rank, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const double wanted = elastic_cut(n, m, rank, rows, count, i);
        assert_true(fabs((double)found[i] - wanted) <= 1e-7 * fabs(wanted));
    }
}

/* What enters the parameters, the mean over ranks, is what it was: in norm, to the rounding of one
   float. Collective over the m readers. */
static void check_mean(lmn_world *world, const float *found, const float *rows, int n, size_t count)
{
    assert_true(count > 0);
    double *mean = calloc(count > 0 ? count : 1, sizeof *mean);
    assert_non_null(mean);
    for (size_t i = 0; i < count; i++) {
        mean[i] = (double)found[i] / lmn_world_size(world);
    }
    assert_int_equal(lmn_world_sum_f64(world, mean, count, NULL), LMN_OK);
    double difference = 0.0;
    double norm = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double before = elastic_cut(n, 1, 0, rows, count, i);
        difference += (mean[i] - before) * (mean[i] - before);
        norm += before * before;
    }
    free(mean);
    assert_true(norm > 0.0);
    assert_true(sqrt(difference) <= 1e-7 * sqrt(norm));
}

/* h is the mean of the h_i, wherever it is kept. Collective over the m readers. */
static void check_shared(const elastic *f, int m, const lmn_state *list, size_t k)
{
    const lmn__state_array *h =
        elastic_find(list, "/feedback/mean_tracked_gradient", LARGE_FIRST + k);
    const lmn__state_array *slice =
        elastic_find(list, "/feedback/slices/mean_tracked_gradient", LARGE_FIRST + k);
    const lmn__state_array *own = elastic_find(list, "/feedback/tracked_gradient", LARGE_FIRST + k);
    const lmn__state_array *shared = h != NULL ? h : slice;
    assert_true((own != NULL) == (shared != NULL));
    if (own == NULL || shared == NULL) {
        return;
    }
    double *mean = calloc(count_of(k), sizeof *mean);
    assert_non_null(mean);
    for (size_t i = 0; i < count_of(k); i++) {
        mean[i] = (double)((const float *)own->data)[i] / m;
    }
    assert_int_equal(lmn_world_sum_f64(f->worlds[m], mean, count_of(k), NULL), LMN_OK);
    for (size_t i = 0; i < shared->count; i++) {
        const double wanted = mean[shared->first + i];
        const double slack = 1e-6 * (1.0 + fabs(wanted));
        assert_true(fabs((double)((const float *)shared->data)[i] - wanted) <= slack);
    }
    free(mean);
}

/* All that m ranks have read. list  NULL on ranks that do not take part */
static void check_memory(const elastic *f, int n, int m, const lmn_state *list, const memory *known)
{
    for (size_t k = 0; k < LARGE_COUNT; k++) {
        for (size_t s = 0; s < known->n_states && list != NULL; s++) {
            const lmn__state_array *array = elastic_find(list, known->groups[s], LARGE_FIRST + k);
            assert_non_null(array);
            check_row(array->data, known->rows[s][k], n, m, f->rank, count_of(k));
            check_mean(f->worlds[m], array->data, known->rows[s][k], n, count_of(k));
        }
        if (list != NULL && n != m) {
            check_shared(f, m, list, k);
        }
        float *slices = gather_slices(list, k);
        if (slices != NULL && known->slices[k] != NULL) {
            assert_memory_equal(slices, known->slices[k], count_of(k) * sizeof *slices);
        }
        free(slices);
    }
}

/* n ranks make some steps and write; what they remember is known then. */
static void write_after_steps(const elastic *f, int n, const elastic_method *method, memory *known)
{
    name_states(method->feedback, known);
    lmn_reducer *reducer = f->rank < n ? elastic_new_reducer(f, n, method) : NULL;
    lmn_state *list = NULL;
    for (uint64_t step = 0; step < 3 && reducer != NULL; step++) {
        elastic_run_step(reducer, f->rank, step);
    }
    if (reducer != NULL) {
        list = check_reducer_state(reducer);
    }
    elastic_write(f, n, list);
    learn(f, n, list, known);
    lmn_state_destroy(list);
    lmn_reducer_destroy(reducer);
}

static void read_and_go_on(const elastic *f, int n, int m, const elastic_method *method,
                           const memory *known)
{
    lmn_reducer *reducer = f->rank < m ? elastic_new_reducer(f, m, method) : NULL;
    lmn_state *list = NULL;
    if (reducer != NULL) {
        elastic_load(f, m, reducer);
        list = check_reducer_state(reducer);
    }
    check_memory(f, n, m, list, known);
    lmn_state_destroy(list);
    if (reducer != NULL) {
        elastic_run_step(reducer, f->rank, 3);
        check_same_everywhere(f->worlds[m], check_estimate_hash(reducer));
        lmn_reducer_destroy(reducer);
    }
}

/* From n ranks to every number. */
static void go_from(const elastic *f, int n, const elastic_method *method)
{
    memory known = {.n_states = 0};
    write_after_steps(f, n, method, &known);
    for (int m = 1; m <= f->size; m++) {
        read_and_go_on(f, n, m, method, &known);
    }
    forget(&known);
}

/* What is remembered moves alike whatever the mechanism, so each takes its turn as n goes up. */
static void go_by_turns(const elastic *f, const elastic_method *methods, size_t n_methods)
{
    for (int n = 1; n <= f->size; n++) {
        for (size_t i = 0; i < n_methods; i++) {
            const bool is_its_turn = (size_t)(n - 1) % n_methods == i;
            if (f->takes_all || is_its_turn) {
                go_from(f, n, &methods[i]);
            }
        }
    }
}

static void
states_of_mechanisms_keep_their_means_from_any_number_of_ranks_to_any_other(void **state)
{
    static const elastic_method methods[] = {
        {"topk:density=0.05", "ec", "gather"},
        {"topk:density=0.05", "econtrol", "gather"},
        {"topk:density=0.05", "ef21_sgdm:double=yes", "gather"},
        {"topk:density=0.05", "ef21", "gather"},
    };
    go_by_turns(*state, methods, sizeof methods / sizeof methods[0]);
}

/* Where slices, regions or factors depend on the number of ranks. */
static void so_do_those_of_ways_that_divide_work_among_ranks(void **state)
{
    static const elastic_method methods[] = {
        {"quant:bits=4", "econtrol", "auto"},
        {"topk:density=0.05", "ef21", "balanced"},
        {"lowrank:rank=2", "ec", "auto"},
    };
    const elastic *f = *state;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        for (int n = 1; n <= f->size; n++) {
            if (f->takes_all || n == f->size - (int)i) {
                go_from(f, n, &methods[i]);
            }
        }
    }
}

int main(int argc, char **argv)
{
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            states_of_mechanisms_keep_their_means_from_any_number_of_ranks_to_any_other),
        cmocka_unit_test(so_do_those_of_ways_that_divide_work_among_ranks),
    };
    const int failed = cmocka_run_group_tests(tests, elastic_create, elastic_destroy);
    MPI_Finalize();
    return failed;
}

/*
 * The balanced sum of entries: about as many as one rank sends.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/reducer.h"
#include "sparse_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { STEPS = 8 };

static void balanced_ranks_agree(lmn_world *world, const char *compress, const char *feedback)
{
    lmn_reducer *reducer = check_new_sparse_reducer(world, compress, feedback, "balanced");
    for (uint64_t step = 0; step < STEPS; step++) {
        assert_true(check_run_step(reducer, world, step).applied);
        check_same_everywhere(world, check_estimate_hash(reducer));
    }
    lmn_reducer_destroy(reducer);
}

static void balanced_estimates_are_identical_on_all_ranks(void **state)
{
    (void)state;
    check_for_all_sparse(balanced_ranks_agree);
}

static int by_magnitude(const void *a, const void *b)
{
    const float x = fabsf(*(const float *)a);
    const float y = fabsf(*(const float *)b);
    return (x < y) - (x > y);
}

/* All but the k largest become 0; no two magnitudes are equal. */
static void keep_largest(float *values, size_t count, size_t k)
{
    float *sorted = calloc(count, sizeof *sorted);
    assert_non_null(sorted);
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_magnitude);
    const float last = fabsf(sorted[k - 1]);
    free(sorted);
    for (size_t i = 0; i < count; i++) {
        values[i] = fabsf(values[i]) >= last ? values[i] : 0.0F;
    }
}

/* The first step finds its threshold exactly: the estimate is the top k of the sum of top k. */
static void balanced_first_step_is_the_top_k_of_the_sum(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const int size = lmn_world_size(world);
    const size_t count = check_counts[CHECK_SPARSE_LAYER];
    const size_t k = (count * 5 + 99) / 100;
    float *sum = calloc(count, sizeof *sum);
    float *gradient = calloc(count, sizeof *gradient);
    assert_non_null(sum);
    assert_non_null(gradient);
    const float weight = 1.0F / (float)size;
    for (int rank = 0; rank < size; rank++) {
        check_fill_gradient(rank, CHECK_SPARSE_LAYER, 0, gradient);
        keep_largest(gradient, count, k);
        for (size_t i = 0; i < count; i++) {
            sum[i] += weight * gradient[i];
        }
    }
    keep_largest(sum, count, k);
    lmn_reducer *reducer = check_new_sparse_reducer(world, "topk:density=0.05", "none", "balanced");
    (void)check_run_step(reducer, world, 0);
    assert_memory_equal(lmn_reducer_estimate(reducer, CHECK_SPARSE_LAYER), sum,
                        count * sizeof *sum);
    free(sum);
    free(gradient);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

/* The sum over ranks of a layer's error, and of the magnitudes that rounding is measured by. */
static void sum_errors(lmn_world *world, const lmn_reducer *reducer, double *errors)
{
    const lmn__layer *layer = &reducer->layers[CHECK_SPARSE_LAYER];
    for (size_t i = 0; i < layer->count; i++) {
        errors[i] = (double)layer->state[0][i];
    }
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_world_sum_f64(world, errors, layer->count, &err), LMN_OK);
}

/* Of a step: sum e_i (new) + n D = sum v_i, where v_i = g_i + e_i (old). */
static void balanced_errors_keep_what_did_not_survive(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const int size = lmn_world_size(world);
    const size_t count = check_counts[CHECK_SPARSE_LAYER];
    lmn_reducer *reducer = check_new_sparse_reducer(world, "topk:density=0.05", "ec", "balanced");
    double *before = calloc(count, sizeof *before);
    double *after = calloc(count, sizeof *after);
    assert_non_null(before);
    assert_non_null(after);
    for (uint64_t step = 0; step < 40; step++) {
        sum_errors(world, reducer, before);
        assert_true(check_run_step(reducer, world, step).applied);
        sum_errors(world, reducer, after);
        double *mean = check_mean_gradient(size, CHECK_SPARSE_LAYER, step);
        const float *estimate = lmn_reducer_estimate(reducer, CHECK_SPARSE_LAYER);
        for (size_t i = 0; i < count; i++) {
            const double formed = before[i] + size * mean[i];
            const double kept = after[i] + size * (double)estimate[i];
            const double scale = fabs(before[i]) + fabs(after[i]) + 100.0 * size;
            assert_true(fabs(formed - kept) <= 1e-6 * scale);
        }
        free(mean);
    }
    free(before);
    free(after);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static size_t count_nonzero(const float *values, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        n += values[i] != 0.0F ? 1 : 0;
    }
    return n;
}

/* Exactly k where the threshold is found anew, between k / 2 and 2 k of the others' mean. */
static void balanced_about_k_entries_survive(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const size_t count = check_counts[CHECK_SPARSE_LAYER];
    const size_t k = (count * 5 + 99) / 100;
    lmn_reducer *reducer = check_new_sparse_reducer(world, "topk:density=0.05", "ec", "balanced");
    size_t all = 0;
    int n_exact = 0;
    for (uint64_t step = 0; step < 70; step++) {
        const bool exact = check_owners_of(reducer)->layers[0].state[1] == 0;
        assert_true(check_run_step(reducer, world, step).applied);
        const size_t n = count_nonzero(lmn_reducer_estimate(reducer, CHECK_SPARSE_LAYER), count);
        assert_true(exact || step > 0);
        assert_true(!exact || n == k);
        all += n;
        n_exact += exact ? 1 : 0;
    }
    assert_true(n_exact >= 2 && n_exact < 35);
    assert_true(all >= 35 * k && all <= 140 * k);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static float crowded(int rank, int size, size_t i)
{
    (void)size;
    return i < 200 ? check_number(rank - 20, i) : 1e-3F * check_number(0, i);
}

/* Entries crowd in the first elements: so do the regions after the first step. */
static void balanced_regions_hold_equally_many_entries(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    const int size = lmn_world_size(world);
    lmn_reducer *reducer = check_new_sparse_reducer(world, "topk:density=0.05", "none", "balanced");
    check_run_filled(reducer, world, crowded);
    const lmn__owned_layer *owned = &check_owners_of(reducer)->layers[0];
    const size_t k = (check_counts[CHECK_SPARSE_LAYER] * 5 + 99) / 100;
    size_t *bounds = calloc((size_t)size + 1, sizeof *bounds);
    assert_non_null(bounds);
    for (int j = 0; j <= size; j++) {
        bounds[j] = owned->starts[j];
        assert_true(j == 0 || j == size || bounds[j] < 200);
    }
    /* Of the 200 crowded elements every rank chose k. */
    for (int j = 0; j < size; j++) {
        const size_t end = bounds[j + 1] < 200 ? bounds[j + 1] : 200;
        assert_true(end - bounds[j] >= 200 / (size_t)size / 2);
        assert_true(end - bounds[j] <= 200 / (size_t)size * 2);
    }
    assert_true(k < 200);
    free(bounds);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static void poison(lmn_world *world, lmn_reducer *reducer, uint64_t step)
{
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_reducer_begin(reducer, step, &err), LMN_OK);
    for (size_t i = 0; i < CHECK_LAYERS; i++) {
        float *gradient = lmn_reducer_gradient(reducer, i);
        check_fill_gradient(lmn_world_rank(world), i, step, gradient);
        if (i == 2 && lmn_world_rank(world) == lmn_world_size(world) - 1) {
            gradient[17] = NAN;
        }
        assert_int_equal(lmn_reducer_ready(reducer, i, gradient, &err), LMN_OK);
        assert_int_equal(lmn_reducer_progress(reducer, &err), LMN_OK);
    }
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    assert_false(report.applied);
}

static void balanced_resumes_to_the_bit(lmn_world *world, const char *compress,
                                        const char *feedback)
{
    lmn_reducer *first = check_new_sparse_reducer(world, compress, feedback, "balanced");
    lmn_reducer *second = check_new_sparse_reducer(world, compress, feedback, "balanced");
    for (uint64_t step = 0; step < 3; step++) {
        (void)check_run_step(first, world, step);
    }
    const uint64_t before = check_state_hash(first);
    poison(world, first, 3);
    assert_true(check_state_hash(first) == before);
    (void)check_run_step(second, world, 77); /* it has something to forget */
    check_copy_state(first, second);
    for (uint64_t step = 4; step < 8; step++) {
        (void)check_run_step(first, world, step);
        (void)check_run_step(second, world, step);
        assert_true(check_estimate_hash(first) == check_estimate_hash(second));
    }
    assert_true(check_state_hash(first) == check_state_hash(second));
    lmn_reducer_destroy(first);
    lmn_reducer_destroy(second);
}

static void balanced_restored_reducer_goes_on_to_the_same_bits(void **state)
{
    (void)state;
    check_for_all_sparse(balanced_resumes_to_the_bit);
}

static void balanced_restored_regions_that_cannot_be_are_refused(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_reducer *reducer = check_new_sparse_reducer(world, "topk:density=0.05", "none", "balanced");
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_reducer_restored(reducer, &err), LMN_OK);
    check_owners_of(reducer)->layers[0].starts[0] = 7;
    assert_int_equal(lmn_reducer_restored(reducer, &err), LMN_ERR_FORMAT);
    assert_non_null(strstr(err.message, "dense2/weight"));
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

static void balanced_damaged_sum_is_refused_before_anything_changes(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    check_damage_is_refused(world, "balanced");
    lmn_world_destroy(world);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(balanced_estimates_are_identical_on_all_ranks),
        cmocka_unit_test(balanced_first_step_is_the_top_k_of_the_sum),
        cmocka_unit_test(balanced_errors_keep_what_did_not_survive),
        cmocka_unit_test(balanced_about_k_entries_survive),
        cmocka_unit_test(balanced_regions_hold_equally_many_entries),
        cmocka_unit_test(balanced_restored_reducer_goes_on_to_the_same_bits),
        cmocka_unit_test(balanced_restored_regions_that_cannot_be_are_refused),
        cmocka_unit_test(balanced_damaged_sum_is_refused_before_anything_changes),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}

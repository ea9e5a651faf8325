/*
 * Tests of dropout: rates, what the mask depends on and what it does not, derivatives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gradient_check.h"
#include "lamina/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS    64
#define COLUMNS 250
#define COUNT   ((size_t)ROWS * COLUMNS)

static const lmn_run TRAINING = {.seed = 3, .step = 11, .training = true};

/* Dropout of ones [rows, COLUMNS]: the mask itself. Two dropouts; `which` says whose result. */
static void get_mask(size_t rows, float rate, int which, const lmn_run *run, float *mask_out)
{
    static float ones[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        ones[i] = 1.0F;
    }
    lmn_graph *graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, shape_of(rows, COLUMNS, 0, 0));
    const lmn_tensor *const dropped[] = {lmn_dropout(graph, x, rate), lmn_dropout(graph, x, rate)};
    run_graph(graph, dropped[which], (binding[]){{x, ones}}, 1, run, mask_out);
    lmn_graph_destroy(graph);
}

static size_t count_equal(const float *a, const float *b, size_t n)
{
    size_t equal = 0;
    for (size_t i = 0; i < n; i++) {
        equal += a[i] == b[i] ? 1 : 0;
    }
    return equal;
}

static void dropout_training_keeps_the_rate_and_the_mean(void **state)
{
    (void)state;
    static float mask[COUNT];
    const float rates[] = {0.0F, 0.1F, 0.5F, 0.9F};
    for (size_t k = 0; k < 4; k++) {
        get_mask(ROWS, rates[k], 0, &TRAINING, mask);
        size_t zeros = 0;
        for (size_t i = 0; i < COUNT; i++) {
            zeros += mask[i] == 0.0F ? 1 : 0;
            assert_true(mask[i] == 0.0F || mask[i] == 1.0F / (1.0F - rates[k]));
        }
        /* Five standard deviations of a binomial count. */
        const double rate = (double)rates[k];
        const double slack = 5.0 * sqrt((double)COUNT * rate * (1.0 - rate));
        assert_true(fabs((double)zeros - rate * (double)COUNT) <= slack);
    }
}

static void dropout_evaluation_passes_every_bit(void **state)
{
    (void)state;
    static float x[COUNT];
    static float y[COUNT];
    const lmn_run evaluation = {.seed = 3, .step = 11, .training = false};
    fill_uniform(1, -1.0F, 1.0F, COUNT, x);
    lmn_graph *graph = new_graph();
    const lmn_tensor *input = lmn_input(graph, "x", LMN_F32, shape_of(ROWS, COLUMNS, 0, 0));
    run_graph(graph, lmn_dropout(graph, input, 0.5F), (binding[]){{input, x}}, 1, &evaluation, y);
    assert_memory_equal(y, x, sizeof x);
    lmn_graph_destroy(graph);
}

static void dropout_any_split_of_the_batch_gives_the_same_mask(void **state)
{
    (void)state;
    static float whole[COUNT];
    static float parts[COUNT];
    get_mask(ROWS, 0.3F, 0, &TRAINING, whole);
    for (size_t ranks = 1; ranks <= 5; ranks++) {
        for (size_t rank = 0; rank < ranks; rank++) {
            const size_t first = ROWS * rank / ranks;
            const size_t rows = ROWS * (rank + 1) / ranks - first;
            lmn_run run = TRAINING;
            run.first_row = first;
            get_mask(rows, 0.3F, 0, &run, parts + first * COLUMNS);
        }
        assert_memory_equal(parts, whole, sizeof whole);
    }
}

static void dropout_seed_step_and_place_change_the_mask(void **state)
{
    (void)state;
    static float mask[COUNT];
    static float other[COUNT];
    get_mask(ROWS, 0.5F, 0, &TRAINING, mask);
    get_mask(ROWS, 0.5F, 0, &TRAINING, other);
    assert_int_equal(count_equal(mask, other, COUNT), COUNT);
    lmn_run run = TRAINING;
    run.step++;
    get_mask(ROWS, 0.5F, 0, &run, other);
    assert_in_range(count_equal(mask, other, COUNT), COUNT * 4 / 10, COUNT * 6 / 10);
    run = TRAINING;
    run.seed++;
    get_mask(ROWS, 0.5F, 0, &run, other);
    assert_in_range(count_equal(mask, other, COUNT), COUNT * 4 / 10, COUNT * 6 / 10);
    get_mask(ROWS, 0.5F, 1, &TRAINING, other);
    assert_in_range(count_equal(mask, other, COUNT), COUNT * 4 / 10, COUNT * 6 / 10);
}

static void dropout_rows_beyond_the_stream_still_work(void **state)
{
    (void)state;
    static float mask[COUNT];
    lmn_run run = TRAINING;
    /* The mask crosses the end of the stream of 2^34 words. */
    run.first_row = (UINT64_C(1) << 34) / COLUMNS - 3;
    get_mask(ROWS, 0.5F, 0, &run, mask);
    size_t zeros = 0;
    for (size_t i = 0; i < COUNT; i++) {
        zeros += mask[i] == 0.0F ? 1 : 0;
    }
    assert_in_range(zeros, COUNT * 4 / 10, COUNT * 6 / 10);
}

static void dropout_rate_out_of_range_is_refused(void **state)
{
    (void)state;
    const float rates[] = {-0.1F, 1.0F, NAN};
    for (size_t i = 0; i < 3; i++) {
        lmn_graph *graph = new_graph();
        const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, shape_of(2, 3, 0, 0));
        assert_null(lmn_dropout(graph, x, rates[i]));
        assert_refused(graph, LMN_ERR_ARGUMENT, "is not at least 0 and below 1");
        lmn_graph_destroy(graph);
    }
}

static const lmn_tensor *build_dropout(lmn_graph *g, const lmn_tensor *const *x,
                                       const lmn_tensor *l)
{
    (void)l;
    const lmn_tensor *y = lmn_dropout(g, lmn_mul(g, x[0], x[0]), 0.4F);
    return lmn_mul(g, y, x[0]);
}

static void dropout_gradients_match_differences(void **state)
{
    (void)state;
    check_gradients(&(gradient_case){.build = build_dropout,
                                     .n_inputs = 1,
                                     .shapes = {shape_of(3, 4, 0, 0)},
                                     .low = -1.0F,
                                     .high = 1.0F,
                                     .orders = 2});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dropout_training_keeps_the_rate_and_the_mean),
        cmocka_unit_test(dropout_evaluation_passes_every_bit),
        cmocka_unit_test(dropout_any_split_of_the_batch_gives_the_same_mask),
        cmocka_unit_test(dropout_seed_step_and_place_change_the_mask),
        cmocka_unit_test(dropout_rows_beyond_the_stream_still_work),
        cmocka_unit_test(dropout_rate_out_of_range_is_refused),
        cmocka_unit_test(dropout_gradients_match_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

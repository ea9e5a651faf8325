/*
 * Batch norm and layer norm against double arithmetic, and their derivatives against differences.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gradient_check.h"
#include "lamina/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ROWS     6
#define PLACES   5
#define CHANNELS 3
#define COUNT    ((size_t)ROWS * PLACES * CHANNELS)
#define EPSILON  1e-3F

static const float SCALE[CHANNELS] = {1.5F, -0.5F, 2.0F};
static const float SHIFT[CHANNELS] = {0.25F, 1.0F, -3.0F};

/* A graph with x, weights, running statistics, scale and shift, and their values. */
typedef struct fixture {
    lmn_graph *graph;
    const lmn_tensor *x, *weights, *running, *scale, *shift;
    float x_values[COUNT];
    float weight_values[ROWS];
    float running_values[2 * CHANNELS];
} fixture;

static void create(fixture *f)
{
    f->graph = new_graph();
    f->x = lmn_input(f->graph, "x", LMN_F32, shape_of(ROWS, PLACES, CHANNELS, 0));
    f->weights = lmn_input(f->graph, "weights", LMN_F32, shape_of(ROWS, 0, 0, 0));
    f->running = lmn_input(f->graph, "running", LMN_F32, shape_of(2, CHANNELS, 0, 0));
    f->scale = lmn_input(f->graph, "scale", LMN_F32, shape_of(CHANNELS, 0, 0, 0));
    f->shift = lmn_input(f->graph, "shift", LMN_F32, shape_of(CHANNELS, 0, 0, 0));
    fill_uniform(3, -2.0F, 5.0F, COUNT, f->x_values);
    const float weights[ROWS] = {1.0F, 0.0F, 0.5F, 0.5F, 0.0F, 0.0F};
    memcpy(f->weight_values, weights, sizeof weights);
    const float running[2 * CHANNELS] = {1.0F, 2.0F, 3.0F, 4.0F, 0.25F, 1.0F};
    memcpy(f->running_values, running, sizeof running);
}

static void run(fixture *f, const lmn_tensor *y, const lmn_run *how, float *values)
{
    const binding bindings[] = {{f->x, f->x_values},
                                {f->weights, f->weight_values},
                                {f->running, f->running_values},
                                {f->scale, SCALE},
                                {f->shift, SHIFT}};
    run_graph(f->graph, y, bindings, 5, how, values);
}

/* Mean and variance of each channel over the rows whose weight is not 0, or over all. */
static void expect_statistics(const fixture *f, bool weighted, double *statistics)
{
    for (size_t c = 0; c < CHANNELS; c++) {
        double sum = 0.0;
        double squares = 0.0;
        double n = 0.0;
        for (size_t i = 0; i < (size_t)ROWS * PLACES; i++) {
            if (!weighted || f->weight_values[i / PLACES] != 0.0F) {
                sum += (double)f->x_values[i * CHANNELS + c];
                n += 1.0;
            }
        }
        for (size_t i = 0; i < (size_t)ROWS * PLACES; i++) {
            if (!weighted || f->weight_values[i / PLACES] != 0.0F) {
                squares += pow((double)f->x_values[i * CHANNELS + c] - sum / n, 2.0);
            }
        }
        statistics[c] = sum / n;
        statistics[CHANNELS + c] = squares / n;
    }
}

static void batch_norm_training_normalises_rows_that_count(void **state)
{
    (void)state;
    for (int weighted = 0; weighted < 2; weighted++) {
        fixture f;
        create(&f);
        const lmn_tensor *statistics =
            lmn_batch_statistics(f.graph, f.x, weighted == 1 ? f.weights : NULL, f.running, false);
        const lmn_tensor *y = lmn_batch_norm(f.graph, f.x, statistics, f.scale, f.shift, EPSILON);
        double want[2 * CHANNELS];
        float have[2 * CHANNELS];
        expect_statistics(&f, weighted == 1, want);
        run(&f, statistics, NULL, have);
        assert_close(have, want, 2 * (size_t)CHANNELS, 1e-6);
        float values[COUNT];
        double expected[COUNT];
        run(&f, y, NULL, values);
        for (size_t i = 0; i < COUNT; i++) {
            const size_t c = i % CHANNELS;
            expected[i] = ((double)f.x_values[i] - want[c]) /
                              sqrt(want[CHANNELS + c] + (double)EPSILON) * (double)SCALE[c] +
                          (double)SHIFT[c];
        }
        assert_close(values, expected, COUNT, 2e-6);
        lmn_graph_destroy(f.graph);
    }
}

static void batch_norm_outside_training_uses_running_statistics(void **state)
{
    (void)state;
    fixture f;
    create(&f);
    const lmn_tensor *statistics = lmn_batch_statistics(f.graph, f.x, f.weights, f.running, false);
    const lmn_tensor *y = lmn_batch_norm(f.graph, f.x, statistics, f.scale, f.shift, 0.0F);
    const lmn_run evaluation = {.training = false};
    float values[COUNT];
    double expected[COUNT];
    run(&f, y, &evaluation, values);
    for (size_t i = 0; i < COUNT; i++) {
        const size_t c = i % CHANNELS;
        expected[i] = ((double)f.x_values[i] - (double)f.running_values[c]) /
                          sqrt((double)f.running_values[CHANNELS + c]) * (double)SCALE[c] +
                      (double)SHIFT[c];
    }
    assert_close(values, expected, COUNT, 2e-6);
    lmn_graph_destroy(f.graph);
}

/* Values far from zero next to their spread: a sum of squares would lose all digits. */
static void batch_statistics_large_means_keep_their_variance(void **state)
{
    (void)state;
    fixture f;
    create(&f);
    for (size_t i = 0; i < COUNT; i++) {
        f.x_values[i] += 4096.0F;
    }
    double want[2 * CHANNELS];
    float have[2 * CHANNELS];
    expect_statistics(&f, false, want);
    run(&f, lmn_batch_statistics(f.graph, f.x, NULL, f.running, false), NULL, have);
    assert_close(have, want, 2 * (size_t)CHANNELS, 1e-6);
    lmn_graph_destroy(f.graph);
}

static void batch_statistics_without_rows_are_neutral(void **state)
{
    (void)state;
    fixture f;
    create(&f);
    memset(f.weight_values, 0, sizeof f.weight_values);
    float have[2 * CHANNELS];
    run(&f, lmn_batch_statistics(f.graph, f.x, f.weights, f.running, false), NULL, have);
    for (size_t c = 0; c < CHANNELS; c++) {
        assert_true(have[c] == 0.0F && have[CHANNELS + c] == 1.0F);
    }
    lmn_graph_destroy(f.graph);
}

/* Another rank that holds the same rows: sums double, so nothing but the row count changes. */
static lmn_status twice(void *user, double *values, size_t n, lmn_error *err)
{
    (void)err;
    size_t *calls = user;
    *calls += 1;
    for (size_t i = 0; i < n; i++) {
        values[i] *= 2.0;
    }
    return LMN_OK;
}

static void batch_norm_synchronised_equals_own_statistics_of_equal_ranks(void **state)
{
    (void)state;
    float values[2][COUNT];
    size_t calls = 0;
    for (int synchronised = 0; synchronised < 2; synchronised++) {
        fixture f;
        create(&f);
        const lmn_tensor *statistics =
            lmn_batch_statistics(f.graph, f.x, f.weights, f.running, synchronised == 1);
        const lmn_tensor *y = lmn_batch_norm(f.graph, f.x, statistics, f.scale, f.shift, EPSILON);
        const lmn_tensor *loss = lmn_reduce_sum(
            f.graph, lmn_mul(f.graph, y, lmn_mul(f.graph, y, y)), LMN_ALL_AXES, false);
        const lmn_tensor *grad = NULL;
        assert_int_equal(lmn_gradients(f.graph, loss, &f.x, 1, &grad, NULL), LMN_OK);
        const lmn_run how = {.training = true, .sum_ranks = twice, .user = &calls};
        run(&f, grad, &how, values[synchronised]);
        lmn_graph_destroy(f.graph);
    }
    assert_true(calls > 0);
    double want[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        want[i] = (double)values[0][i];
    }
    assert_close(values[1], want, COUNT, 1e-5);
}

static const lmn_tensor *build_batch_norm(lmn_graph *g, const lmn_tensor *const *x,
                                          const lmn_tensor *l)
{
    (void)l;
    const size_t channels = lmn_tensor_shape(x[1])->dims[0];
    const lmn_tensor *running = lmn_constant(g, 0.0F, shape_of(2, channels, 0, 0));
    const lmn_tensor *statistics = lmn_batch_statistics(g, x[0], NULL, running, false);
    return lmn_batch_norm(g, x[0], statistics, x[1], x[2], 0.1F);
}

/* Rows of weight 0 in the middle and at the end. */
static const lmn_tensor *build_masked(lmn_graph *g, const lmn_tensor *const *x, const lmn_tensor *l)
{
    const size_t channels = lmn_tensor_shape(x[1])->dims[0];
    const lmn_tensor *running = lmn_constant(g, 0.0F, shape_of(2, channels, 0, 0));
    const lmn_tensor *hot = lmn_one_hot(g, l, 2);
    const lmn_tensor *weights =
        lmn_reshape(g, lmn_slice(g, hot, 1, 1, 1), shape_of(lmn_tensor_shape(l)->dims[0], 0, 0, 0));
    const lmn_tensor *statistics = lmn_batch_statistics(g, x[0], weights, running, false);
    const lmn_tensor *y = lmn_batch_norm(g, x[0], statistics, x[1], x[2], 0.1F);
    const lmn_tensor *mask =
        lmn_reshape(g, weights, shape_of(lmn_tensor_shape(l)->dims[0], 1, 1, 0));
    return lmn_mul(g, y, mask); /* such rows do not enter a loss */
}

static void batch_norm_derivatives_match_differences(void **state)
{
    (void)state;
    const gradient_case whole = {
        .build = build_batch_norm,
        .n_inputs = 3,
        .shapes = {shape_of(3, 2, 2, 0), shape_of(2, 0, 0, 0), shape_of(2, 0, 0, 0)},
        .low = -1.0F,
        .high = 1.0F,
        .orders = 2};
    check_gradients(&whole);
    const int32_t counts[5] = {1, 0, 1, 1, 0};
    const gradient_case masked = {
        .build = build_masked,
        .n_inputs = 3,
        .shapes = {shape_of(5, 2, 2, 0), shape_of(2, 0, 0, 0), shape_of(2, 0, 0, 0)},
        .low = -1.0F,
        .high = 1.0F,
        .labels = counts,
        .n_labels = 5,
        .orders = 2};
    check_gradients(&masked);
}

static const lmn_tensor *build_layer_norm(lmn_graph *g, const lmn_tensor *const *x,
                                          const lmn_tensor *l)
{
    (void)l;
    return lmn_layer_norm(g, x[0], x[1], x[2], 0.1F);
}

static void layer_norm_derivatives_match_differences(void **state)
{
    (void)state;
    for (size_t channels = 3; channels <= 18; channels += 15) {
        const gradient_case checked = {.build = build_layer_norm,
                                       .n_inputs = 3,
                                       .shapes = {shape_of(2, 2, channels, 0),
                                                  shape_of(channels, 0, 0, 0),
                                                  shape_of(channels, 0, 0, 0)},
                                       .low = -1.0F,
                                       .high = 1.0F,
                                       .orders = 2};
        check_gradients(&checked);
    }
}

static void layer_norm_rows_have_mean_shift_and_deviation_scale(void **state)
{
    (void)state;
    enum { N = 37 };
    lmn_graph *graph = new_graph();
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, shape_of(4, N, 0, 0));
    const lmn_tensor *scale = lmn_constant(graph, 3.0F, shape_of(N, 0, 0, 0));
    const lmn_tensor *shift = lmn_constant(graph, -2.0F, shape_of(N, 0, 0, 0));
    float values[4 * N];
    float y[4 * N];
    double expected[4 * N];
    fill_uniform(1, 10.0F, 12.0F, (size_t)4 * N, values);
    run_graph(graph, lmn_layer_norm(graph, x, scale, shift, EPSILON), (binding[]){{x, values}}, 1,
              NULL, y);
    for (size_t row = 0; row < 4; row++) {
        double sum = 0.0;
        double squares = 0.0;
        for (size_t i = 0; i < N; i++) {
            sum += (double)values[row * N + i];
        }
        for (size_t i = 0; i < N; i++) {
            squares += pow((double)values[row * N + i] - sum / N, 2.0);
        }
        for (size_t i = 0; i < N; i++) {
            expected[row * N + i] = ((double)values[row * N + i] - sum / N) /
                                        sqrt(squares / N + (double)EPSILON) * 3.0 -
                                    2.0;
        }
    }
    assert_close(y, expected, (size_t)4 * N, 5e-6);
    lmn_graph_destroy(graph);
}

static void norms_of_shapes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    fixture f;
    create(&f);
    assert_null(lmn_layer_norm(f.graph, f.x, f.weights, f.shift, EPSILON));
    assert_refused(f.graph, LMN_ERR_SHAPE, "layer_norm: scale [6]");
    lmn_graph_destroy(f.graph);
    create(&f);
    assert_null(lmn_batch_statistics(f.graph, f.x, f.shift, f.running, false));
    assert_refused(f.graph, LMN_ERR_SHAPE, "a weight for each sample");
    lmn_graph_destroy(f.graph);
    create(&f);
    assert_null(lmn_batch_norm(f.graph, f.x, f.running, f.scale, f.shift, EPSILON));
    assert_refused(f.graph, LMN_ERR_ARGUMENT, "batch_statistics of the same x");
    lmn_graph_destroy(f.graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_norm_training_normalises_rows_that_count),
        cmocka_unit_test(batch_norm_outside_training_uses_running_statistics),
        cmocka_unit_test(batch_statistics_large_means_keep_their_variance),
        cmocka_unit_test(batch_statistics_without_rows_are_neutral),
        cmocka_unit_test(batch_norm_synchronised_equals_own_statistics_of_equal_ranks),
        cmocka_unit_test(batch_norm_derivatives_match_differences),
        cmocka_unit_test(layer_norm_derivatives_match_differences),
        cmocka_unit_test(layer_norm_rows_have_mean_shift_and_deviation_scale),
        cmocka_unit_test(norms_of_shapes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Kernels with one thread and with several: the same bits.
 *
 * Extents are large enough that loops are shared. Products that OpenBLAS or oneDNN compute are left
 * out, since libraries may add in another order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/kernels/kernels_internal.h"
#include "lamina/memory.h"
#include "lamina/ops.h"
#include "lamina/optimizer.h"
#include "lamina/plan.h"
#include "lamina/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define THREADS_MAX 3

typedef const lmn_tensor *(*build_fn)(lmn_graph *graph, const lmn_tensor *x);

static float *random_values(size_t count, uint64_t seed)
{
    float *values = lmn_alloc(count, sizeof *values, NULL);
    assert_non_null(values);
    const lmn_stream stream = {.seed = seed};
    lmn_stream_normal(&stream, 0, count, values);
    return values;
}

/* The value of `build` and its gradient in x, side by side; the caller frees. */
static float *run(build_fn build, lmn_shape shape, const float *x_values, int threads,
                  size_t *count_out)
{
    lmn_compute_set_threads(threads);
    lmn_error err = lmn_error_none();
    lmn_graph *graph = NULL;
    assert_int_equal(lmn_graph_create(&graph, &err), LMN_OK);
    const lmn_tensor *x = lmn_input(graph, "x", LMN_F32, shape);
    const lmn_tensor *y = build(graph, x);
    const lmn_tensor *outputs[2] = {y, NULL};
    const lmn_tensor *loss = lmn_reduce_sum(graph, lmn_mul(graph, y, y), LMN_ALL_AXES, false);
    lmn_plan *plan = NULL;
    if (lmn_gradients(graph, loss, &x, 1, &outputs[1], &err) != LMN_OK ||
        lmn_plan_create(graph, outputs, 2, NULL, &plan, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    float *input = lmn_alloc(lmn_shape_count(&shape), sizeof *input, NULL);
    assert_non_null(input);
    memcpy(input, x_values, lmn_shape_count(&shape) * sizeof *input);
    assert_int_equal(lmn_plan_bind(plan, x, input, &err), LMN_OK);
    const lmn_run once = {.training = true};
    assert_int_equal(lmn_plan_run(plan, &once, &err), LMN_OK);
    const size_t n_y = lmn_shape_count(lmn_tensor_shape(y));
    const size_t n_x = lmn_shape_count(&shape);
    float *both = lmn_alloc(n_y + n_x, sizeof *both, NULL);
    assert_non_null(both);
    memcpy(both, lmn_plan_value(plan, outputs[0]), n_y * sizeof *both);
    memcpy(both + n_y, lmn_plan_value(plan, outputs[1]), n_x * sizeof *both);
    *count_out = n_y + n_x;
    lmn_plan_destroy(plan);
    lmn_graph_destroy(graph);
    lmn_free(input);
    lmn_compute_set_threads(1);
    return both;
}

static void expect_same_bits(build_fn build, lmn_shape shape)
{
    float *x = random_values(lmn_shape_count(&shape), 3);
    size_t count = 0;
    float *want = run(build, shape, x, 1, &count);
    for (int threads = 2; threads <= THREADS_MAX; threads++) {
        float *have = run(build, shape, x, threads, &count);
        assert_memory_equal(have, want, count * sizeof *have);
        lmn_free(have);
    }
    lmn_free(want);
    lmn_free(x);
}

static const lmn_tensor *build_elementwise(lmn_graph *graph, const lmn_tensor *x)
{
    const lmn_tensor *y = lmn_gelu(graph, lmn_scale(graph, x, 0.5F));
    return lmn_relu(graph, lmn_add(graph, y, lmn_tanh(graph, x)));
}

static void elementwise_ops_do_not_depend_on_threads(void **state)
{
    (void)state;
    expect_same_bits(build_elementwise, (lmn_shape){.n_dims = 2, .dims = {301, 299}});
}

/* Broadcasts along both axes and a transposition: rows and pieces of rows. */
static const lmn_tensor *build_walks(lmn_graph *graph, const lmn_tensor *x)
{
    const lmn_tensor *column = lmn_reduce_sum(graph, x, 2U, true);
    const lmn_tensor *row = lmn_reduce_sum(graph, x, 1U, true);
    const lmn_tensor *y = lmn_mul(graph, lmn_sub(graph, x, column), row);
    return lmn_transpose(graph, y, (const size_t[]){1, 0});
}

static void walks_and_sums_do_not_depend_on_threads(void **state)
{
    (void)state;
    expect_same_bits(build_walks, (lmn_shape){.n_dims = 2, .dims = {513, 257}});
    expect_same_bits(build_walks, (lmn_shape){.n_dims = 2, .dims = {3, 70001}});
}

static const lmn_tensor *build_softmax(lmn_graph *graph, const lmn_tensor *x)
{
    return lmn_softmax(graph, x);
}

static void softmax_does_not_depend_on_threads(void **state)
{
    (void)state;
    expect_same_bits(build_softmax, (lmn_shape){.n_dims = 2, .dims = {700, 101}});
}

static const lmn_tensor *build_pools(lmn_graph *graph, const lmn_tensor *x)
{
    const lmn_window window = {.stride_h = 2, .stride_w = 2};
    return lmn_avg_pool(graph, lmn_max_pool(graph, x, 2, 2, window), 3, 3,
                        (lmn_window){.stride_h = 1, .stride_w = 1});
}

static void pools_do_not_depend_on_threads(void **state)
{
    (void)state;
    expect_same_bits(build_pools, (lmn_shape){.n_dims = 4, .dims = {5, 20, 18, 70}});
}

/* Batch norm, then layer norm, both with fixed scales. */
static const lmn_tensor *build_norms(lmn_graph *graph, const lmn_tensor *x)
{
    const lmn_shape *shape = lmn_tensor_shape(x);
    const size_t c = shape->dims[shape->n_dims - 1];
    const lmn_shape row = {.n_dims = 1, .dims = {c}};
    const lmn_tensor *scale = lmn_constant(graph, 1.5F, row);
    const lmn_tensor *shift = lmn_constant(graph, 0.25F, row);
    const lmn_tensor *running = lmn_constant(graph, 1.0F, (lmn_shape){.n_dims = 2, .dims = {2, c}});
    const lmn_tensor *statistics = lmn_batch_statistics(graph, x, NULL, running, false);
    const lmn_tensor *y = lmn_batch_norm(graph, x, statistics, scale, shift, 1e-5F);
    return lmn_layer_norm(graph, y, scale, shift, 1e-5F);
}

static void norms_do_not_depend_on_threads(void **state)
{
    (void)state;
    expect_same_bits(build_norms, (lmn_shape){.n_dims = 4, .dims = {7, 30, 31, 20}});
}

static const lmn_tensor *build_attention(lmn_graph *graph, const lmn_tensor *x)
{
    return lmn_causal_attention(graph, x, 3);
}

static void attention_does_not_depend_on_threads(void **state)
{
    (void)state;
    expect_same_bits(build_attention, (lmn_shape){.n_dims = 3, .dims = {3, 50, 180}});
}

static void updates_do_not_depend_on_threads(void **state)
{
    (void)state;
    enum { COUNT = 100003 };
    lmn_optimizer *optimizer = NULL;
    assert_int_equal(lmn_optimizer_create("adamw", &optimizer, NULL), LMN_OK);
    float *results[THREADS_MAX];
    for (int threads = 1; threads <= THREADS_MAX; threads++) {
        lmn_compute_set_threads(threads);
        float *parts[4];
        for (uint64_t i = 0; i < 4; i++) {
            parts[i] = random_values(COUNT, i);
        }
        for (size_t i = 0; i < COUNT; i++) {
            parts[3][i] *= parts[3][i]; /* a mean of squares */
        }
        const lmn_update update = {.count = COUNT,
                                   .param = parts[0],
                                   .gradient = parts[1],
                                   .slot = {parts[2], parts[3]},
                                   .lr = 0.01,
                                   .update = 3,
                                   .decay = true};
        lmn_optimizer_update(optimizer, &update);
        for (size_t i = 1; i < 4; i++) {
            lmn_free(parts[i]);
        }
        results[threads - 1] = parts[0];
    }
    lmn_compute_set_threads(1);
    for (int i = 1; i < THREADS_MAX; i++) {
        assert_memory_equal(results[i], results[0], COUNT * sizeof(float));
        lmn_free(results[i]);
    }
    lmn_free(results[0]);
    lmn_optimizer_destroy(optimizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementwise_ops_do_not_depend_on_threads),
        cmocka_unit_test(walks_and_sums_do_not_depend_on_threads),
        cmocka_unit_test(softmax_does_not_depend_on_threads),
        cmocka_unit_test(pools_do_not_depend_on_threads),
        cmocka_unit_test(norms_do_not_depend_on_threads),
        cmocka_unit_test(attention_does_not_depend_on_threads),
        cmocka_unit_test(updates_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

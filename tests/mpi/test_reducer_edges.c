/*
 * The reducer at the edges: empty, tiny and all-zero layers in every family, damaged messages of
 * slices, means that overflow, and too many ranks for integers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/reducer.h"
#include "reducer_check.h"
#include "train/slices_internal.h"

#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

enum { N_EDGES = 7, MATRIX = 2100 };

static const lmn_reducer_layer edges[N_EDGES] = {
    {.name = "one", .n_dims = 1, .dims = {1}},
    {.name = "empty", .n_dims = 2, .dims = {0, 12}},
    {.name = "zeros", .n_dims = 2, .dims = {30, 70}},
    {.name = "matrix", .n_dims = 2, .dims = {70, 30}},
    {.name = "scalar", .n_dims = 0},
    {.name = "three", .n_dims = 1, .dims = {3}},
    {.name = "flat", .n_dims = 1, .dims = {1500}},
};
static const size_t edge_counts[N_EDGES] = {1, 0, MATRIX, MATRIX, 1, 3, 1500};

static bool is_zero(const lmn_reducer *reducer, size_t layer)
{
    const float *estimate = lmn_reducer_estimate(reducer, layer);
    for (size_t i = 0; i < edge_counts[layer]; i++) {
        if (estimate[i] != 0.0F) {
            return false;
        }
    }
    return true;
}

static void fill_edges(int rank, uint64_t step, size_t layer, float *gradient)
{
    for (size_t i = 0; i < edge_counts[layer]; i++) {
        const int number = (int)((7 * i + 3 * (size_t)rank + 11 * step) % 23) - 11;
        gradient[i] = layer == 2 ? 0.0F : (float)number;
    }
}

static void run_edges(lmn_world *world, lmn_reducer *reducer, uint64_t step)
{
    lmn_error err = lmn_error_none();
    lmn_step_report report;
    assert_int_equal(lmn_reducer_begin(reducer, step, &err), LMN_OK);
    for (size_t layer = 0; layer < N_EDGES; layer++) {
        float *gradient = lmn_reducer_gradient(reducer, layer);
        fill_edges(lmn_world_rank(world), step, layer, gradient);
        assert_int_equal(lmn_reducer_ready(reducer, layer, gradient, &err), LMN_OK);
    }
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    assert_true(report.applied);
}

static void assert_finite(const lmn_reducer *reducer)
{
    for (size_t layer = 0; layer < N_EDGES; layer++) {
        const float *estimate = lmn_reducer_estimate(reducer, layer);
        for (size_t i = 0; i < edge_counts[layer]; i++) {
            assert_true(estimate[i] >= -FLT_MAX && estimate[i] <= FLT_MAX);
        }
    }
}

static void edges_work(lmn_world *world, const char *compress, const char *feedback)
{
    lmn_reducer_options options = check_reducer_options(compress, feedback, "uniform");
    options.dense_below = 0;
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_reducer_create(world, edges, N_EDGES, &options, &reducer, &err), LMN_OK);
    for (uint64_t step = 0; step < 4; step++) {
        run_edges(world, reducer, step);
        assert_true(is_zero(reducer, 2));
        assert_finite(reducer);
    }
    assert_false(is_zero(reducer, 3));
    lmn_reducer_destroy(reducer);
}

/* No layer is too small to be compressed, if its messages are shorter. */
static void finish_edges_work_in_every_family(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    for (size_t i = 0; check_compressor_spec(i) != NULL; i++) {
        for (size_t j = 0; check_feedback_spec(j) != NULL; j++) {
            edges_work(world, check_compressor_spec(i), check_feedback_spec(j));
        }
    }
    lmn_world_destroy(world);
}

/* The exchange of slices of the bucket that layer 1 of the common layers is in. */
static lmn__exchange *sliced_exchange_of(const lmn_reducer *reducer)
{
    const lmn__bucket *bucket = &reducer->buckets[reducer->layers[1].bucket];
    lmn__exchange *exchange = bucket->exchanges[bucket->n_exchanges - 1];
    assert_ptr_equal(exchange->kind, &lmn__exchange_sliced);
    return exchange;
}

/* In the first step: a message is there only when the exchange is through. */
static unsigned char *received_mean(lmn_reducer *reducer, int rank, size_t *bytes)
{
    const lmn_collective *gather = lmn__sliced_gather(sliced_exchange_of(reducer));
    const unsigned char *received = NULL;
    lmn_error err = lmn_error_none();
    while (received == NULL) {
        assert_int_equal(lmn_reducer_progress(reducer, &err), LMN_OK);
        received = lmn_allgatherv_message(gather, rank, bytes);
    }
    unsigned char *message = NULL;
    memcpy(&message, &received, sizeof message); /* damage is not what const foresees */
    return message;
}

static void damage_is_refused(lmn_world *world, size_t place, const char *reason)
{
    lmn_error err = lmn_error_none();
    lmn_reducer *reducer = check_new_reducer(world, "quant:bits=4,bucket=64", "ec", "uniform");
    const uint64_t before = check_state_hash(reducer);
    const int last = lmn_world_size(world) - 1;
    check_hand_over(reducer, world, 0);
    size_t bytes = 0;
    unsigned char *message = received_mean(reducer, last, &bytes);
    assert_true(bytes > place);
    message[place] = 0x7F;
    message[place - 1] = 0xFF;
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_ERR_MESSAGE);
    char rank[32];
    (void)snprintf(rank, sizeof rank, "rank %d", last);
    assert_non_null(strstr(err.message, rank));
    assert_non_null(strstr(err.message, reason));
    assert_true(check_state_hash(reducer) == before);
    lmn_reducer_destroy(reducer);
}

/* The scale of the first bucket behind the header becomes NaN; the header's step is wrong. */
static void finish_damaged_mean_is_refused_before_anything_changes(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    damage_is_refused(world, sizeof(lmn__owned_header) + 3, "dense2/weight");
    damage_is_refused(world, offsetof(lmn__owned_header, step) + 3, "another step or plan");
    lmn_world_destroy(world);
}

/* What the second encoding owes is as large as a number can be, and the next mean as well. */
static void finish_mean_that_overflows_skips_the_step_everywhere(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_error err = lmn_error_none();
    lmn_reducer *reducer = check_new_reducer(world, "quant:bits=8,bucket=64", "ec", "uniform");
    (void)check_run_step(reducer, world, 0);
    const lmn__slice_owner *owner = lmn__sliced_owner(sliced_exchange_of(reducer));
    if (lmn_world_rank(world) == 0) {
        for (size_t i = 0; i < owner->slices->parts[0].count; i++) {
            owner->error[i] = FLT_MAX;
        }
    }
    const uint64_t before = check_state_hash(reducer);
    assert_int_equal(lmn_reducer_begin(reducer, 1, &err), LMN_OK);
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        float *gradient = lmn_reducer_gradient(reducer, layer);
        for (size_t i = 0; i < check_counts[layer]; i++) {
            gradient[i] = 1e37F;
        }
        assert_int_equal(lmn_reducer_ready(reducer, layer, gradient, &err), LMN_OK);
    }
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    assert_false(report.applied);
    assert_string_equal(report.reason,
                        "mean gradient of layer 'dense2/weight' is not finite in step 1");
    assert_true(check_state_hash(reducer) == before);
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

/* Numbers of a round are checked, too: two vectors near the largest number add up to infinity. */
static void finish_round_that_overflows_skips_the_step_everywhere(void **state)
{
    (void)state;
    lmn_world *world = check_new_world();
    lmn_error err = lmn_error_none();
    lmn_reducer *reducer = check_new_reducer(world, "randk:density=0.05", "none", "uniform");
    const uint64_t before = check_state_hash(reducer);
    assert_int_equal(lmn_reducer_begin(reducer, 0, &err), LMN_OK);
    for (size_t layer = 0; layer < CHECK_LAYERS; layer++) {
        float *gradient = lmn_reducer_gradient(reducer, layer);
        for (size_t i = 0; i < check_counts[layer]; i++) {
            gradient[i] = layer == 2 ? 3e38F : 1.0F;
        }
        assert_int_equal(lmn_reducer_ready(reducer, layer, gradient, &err), LMN_OK);
    }
    lmn_step_report report;
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    assert_int_equal(report.applied, lmn_world_size(world) == 1);
    if (lmn_world_size(world) > 1) {
        assert_string_equal(report.reason,
                            "mean gradient of layer 'dense1/weight' is not finite in step 0");
        assert_true(check_state_hash(reducer) == before);
    }
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
}

/* Filters are cut where the matrix is nearest to a square; vectors and empty layers are one row. */
static void layer_is_the_matrix_of_fewest_rows_and_columns(void **state)
{
    (void)state;
    static const struct {
        lmn__layer layer;
        size_t rows;
    } cases[] = {
        {{.n_dims = 4, .dims = {3, 3, 32, 64}, .count = 18432}, 288},
        {{.n_dims = 4, .dims = {3, 3, 1, 16}, .count = 144}, 9},
        {{.n_dims = 4, .dims = {1, 1, 16, 32}, .count = 512}, 16},
        {{.n_dims = 2, .dims = {9216, 128}, .count = 1179648}, 9216},
        {{.n_dims = 2, .dims = {1, 50}, .count = 50}, 1},
        {{.n_dims = 3, .dims = {8, 8, 8}, .count = 512}, 8},
        {{.n_dims = 2, .dims = {0, 12}, .count = 0}, 1},
        {{.n_dims = 1, .dims = {70}, .count = 70}, 1},
        {{.n_dims = 0, .count = 1}, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const lmn_layer_shape shape = lmn__layer_shape(&cases[i].layer);
        assert_int_equal(shape.count, cases[i].layer.count);
        assert_int_equal(shape.rows, cases[i].rows);
    }
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finish_edges_work_in_every_family),
        cmocka_unit_test(finish_damaged_mean_is_refused_before_anything_changes),
        cmocka_unit_test(finish_mean_that_overflows_skips_the_step_everywhere),
        cmocka_unit_test(finish_round_that_overflows_skips_the_step_everywhere),
        cmocka_unit_test(layer_is_the_matrix_of_fewest_rows_and_columns),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}

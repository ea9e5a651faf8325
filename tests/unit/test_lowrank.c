/*
 * Low rank: reconstruction, projections, what is remembered, and how zero layers recover.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"
#include "rounds_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Matrices [n_ranks][rows][cols] of a rank, each its own; all have the same columns space. */
static float *new_low_rank(size_t n_ranks, size_t rows, size_t cols, size_t rank)
{
    float *matrices = check_new_floats(n_ranks * rows * cols);
    float *left = check_new_floats(rank * rows);
    float *right = check_new_floats(n_ranks * rank * cols);
    check_fill(left, rank * rows, CHECK_NORMAL, 1);
    check_fill(right, n_ranks * rank * cols, CHECK_NORMAL, 2);
    for (size_t i = 0; i < n_ranks * rows * cols; i++) {
        const size_t n = i / (rows * cols);
        const size_t row = i / cols % rows;
        double sum = 0.0;
        for (size_t j = 0; j < rank; j++) {
            sum += (double)left[j * rows + row] * (double)right[(n * rank + j) * cols + i % cols];
        }
        matrices[i] = (float)sum;
    }
    lmn_free(left);
    lmn_free(right);
    return matrices;
}

static double relative_distance(const float *a, const float *b, size_t count)
{
    double distance = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double difference = (double)a[i] - (double)b[i];
        distance += difference * difference;
    }
    return sqrt(distance / check_energy(b, count));
}

static void low_rank_input_is_reproduced_in_two_steps(void **state)
{
    (void)state;
    enum { ROWS = 48, COLS = 70, COUNT = ROWS * COLS };
    const char *specs[] = {"lowrank:rank=3", "lowrank:rank=3,alternate=yes"};
    for (size_t s = 0; s < 2; s++) {
        lmn_compressor *compressor = check_new_compressor(specs[s]);
        float *matrix = new_low_rank(1, ROWS, COLS, 3);
        const lmn_layer_shape shape = {.count = COUNT, .rows = ROWS};
        check_rounds ranks = check_new_rounds(compressor, shape, 1);
        check_rounds_step(&ranks, matrix);
        check_rounds_step(&ranks, matrix);
        assert_true(relative_distance(ranks.mean, matrix, COUNT) < 1e-5);
        check_free_rounds(&ranks);
        lmn_free(matrix);
        lmn_compressor_destroy(compressor);
    }
}

static void ranks_that_share_columns_lose_nothing(void **state)
{
    (void)state;
    enum { ROWS = 20, COLS = 33, COUNT = ROWS * COLS, RANKS = 4 };
    lmn_compressor *compressor = check_new_compressor("lowrank:rank=3");
    float *matrices = new_low_rank(RANKS, ROWS, COLS, 3);
    const lmn_layer_shape shape = {.count = COUNT, .rows = ROWS};
    check_rounds ranks = check_new_rounds(compressor, shape, RANKS);
    check_rounds_step(&ranks, matrices);
    for (size_t rank = 0; rank < RANKS; rank++) {
        assert_true(relative_distance(check_sent(&ranks, rank), matrices + rank * COUNT, COUNT) <
                    1e-5);
    }
    check_free_rounds(&ranks);
    lmn_free(matrices);
    lmn_compressor_destroy(compressor);
}

static void rank_beyond_the_shorter_side_reproduces_everything(void **state)
{
    (void)state;
    const lmn_layer_shape shapes[] = {{.count = 120, .rows = 3},
                                      {.count = 120, .rows = 40},
                                      {.count = 7, .rows = 1},
                                      {.count = 7, .rows = 7},
                                      {.count = 1, .rows = 1}};
    const char *specs[] = {"lowrank:rank=8", "lowrank:rank=8,alternate=yes"};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (size_t s = 0; s < 2; s++) {
            lmn_compressor *compressor = check_new_compressor(specs[s]);
            float *vector = check_new_floats(shapes[i].count);
            check_fill(vector, shapes[i].count, CHECK_NORMAL, 5);
            check_rounds ranks = check_new_rounds(compressor, shapes[i], 1);
            /* Alternating, a side longer than the rank needs a step to find the columns. */
            check_rounds_step(&ranks, vector);
            check_rounds_step(&ranks, vector);
            assert_true(relative_distance(ranks.mean, vector, shapes[i].count) < 1e-5);
            check_free_rounds(&ranks);
            lmn_free(vector);
            lmn_compressor_destroy(compressor);
        }
    }
}

/* D_i is the projection of M_i, so the residual is orthogonal to it: the energies add up. */
static void check_energies(const check_rounds *ranks, const float *vectors)
{
    const size_t count = ranks->shape.count;
    float *residual = check_new_floats(count);
    for (size_t rank = 0; rank < ranks->n_ranks; rank++) {
        const float *sent = check_sent(ranks, rank);
        for (size_t i = 0; i < count; i++) {
            residual[i] = vectors[rank * count + i] - sent[i];
        }
        const double energy = check_energy(vectors + rank * count, count);
        const double parts = check_energy(residual, count) + check_energy(sent, count);
        assert_true(fabs(parts - energy) < 1e-5 * energy);
    }
    lmn_free(residual);
}

static void energy_of_the_residual_is_what_the_projection_left(void **state)
{
    (void)state;
    enum { RANKS = 3 };
    const char *specs[] = {"lowrank:rank=4", "lowrank:rank=4,alternate=yes"};
    const lmn_layer_shape shape = {.count = (size_t)40 * 90, .rows = 40};
    float *vectors = check_new_floats(RANKS * shape.count);
    check_fill(vectors, RANKS * shape.count, CHECK_NORMAL, 8);
    for (size_t s = 0; s < 2; s++) {
        lmn_compressor *compressor = check_new_compressor(specs[s]);
        check_rounds ranks = check_new_rounds(compressor, shape, RANKS);
        for (size_t step = 0; step < 4; step++) {
            check_rounds_step(&ranks, vectors);
            check_energies(&ranks, vectors);
        }
        check_free_rounds(&ranks);
        lmn_compressor_destroy(compressor);
    }
    lmn_free(vectors);
}

/* Singular values 8, 4, 2, 1, 0.5 on the diagonal of a wide or high matrix. */
static float *new_diagonal(size_t rows, size_t cols)
{
    float *matrix = check_new_floats(rows * cols);
    for (size_t i = 0; i < 5; i++) {
        matrix[i * cols + (3 * i + 2) % cols] = ldexpf(8.0F, -(int)i);
    }
    return matrix;
}

/* On one matrix the steps are power iteration, which finds the best approximation. */
static void steps_on_one_matrix_approach_the_best_approximation(void **state)
{
    (void)state;
    const char *specs[] = {"lowrank:rank=2", "lowrank:rank=2,alternate=yes"};
    const lmn_layer_shape shape = {.count = (size_t)30 * 50, .rows = 30};
    float *matrix = new_diagonal(30, 50);
    for (size_t s = 0; s < 2; s++) {
        lmn_compressor *compressor = check_new_compressor(specs[s]);
        check_rounds ranks = check_new_rounds(compressor, shape, 1);
        for (size_t step = 0; step < 40; step++) {
            check_rounds_step(&ranks, matrix);
        }
        assert_true(fabs(check_energy(ranks.mean, shape.count) - (64.0 + 16.0)) < 1e-3);
        check_free_rounds(&ranks);
        lmn_compressor_destroy(compressor);
    }
    lmn_free(matrix);
}

static void error_curve_is_the_energy_of_the_smaller_singular_values(void **state)
{
    (void)state;
    const lmn_layer_shape shapes[] = {{.count = (size_t)16 * 50, .rows = 16},
                                      {.count = (size_t)16 * 50, .rows = 50},
                                      {.count = (size_t)140 * 150, .rows = 140},
                                      {.count = (size_t)140 * 150, .rows = 150}};
    lmn_compressor *compressor = check_new_compressor("lowrank:rank=1,levels=2/3/4/8");
    const size_t kept[] = {0, 8, 4, 3, 2, 1};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const size_t rows = shapes[i].rows;
        float *matrix = new_diagonal(rows, shapes[i].count / rows);
        void *scratch = check_new_bytes(lmn_compressor_scratch_bytes(compressor, shapes[i]));
        double curve[6] = {0};
        lmn_compressor_error_curve(compressor, matrix, shapes[i], curve, scratch);
        for (size_t level = 1; level < 6; level++) {
            double rest = 0.0;
            for (size_t j = kept[level]; j < 5; j++) {
                rest += ldexp(64.0, -2 * (int)j);
            }
            assert_true(fabs(curve[level] - rest) < 1e-5);
        }
        lmn_free(scratch);
        lmn_free(matrix);
    }
    lmn_compressor_destroy(compressor);
}

/* Columns of Gaussian noise have no decay at all, the worst that subspace iteration can meet. */
static void error_curve_of_a_large_matrix_is_nearly_exact(void **state)
{
    (void)state;
    const lmn_layer_shape whole = {.count = (size_t)128 * 300, .rows = 128};
    lmn_compressor *compressor = check_new_compressor("lowrank:rank=4,levels=16");
    /* One row of zeros more changes no singular value, but the way in which they are found. */
    const lmn_layer_shape more = {.count = (size_t)129 * 300, .rows = 129};
    float *matrix = check_new_floats(more.count);
    check_fill(matrix, whole.count, CHECK_NORMAL, 6);
    void *scratch = check_new_bytes(lmn_compressor_scratch_bytes(compressor, whole) +
                                    lmn_compressor_scratch_bytes(compressor, more));
    double exact[3] = {0};
    double estimate[3] = {0};
    lmn_compressor_error_curve(compressor, matrix, whole, exact, scratch);
    lmn_compressor_error_curve(compressor, matrix, more, estimate, scratch);
    for (size_t level = 1; level < 3; level++) {
        assert_true(estimate[level] >= exact[level] * (1.0 - 1e-6));
        assert_true(estimate[level] <= exact[level] * 1.05);
    }
    lmn_free(scratch);
    lmn_free(matrix);
    lmn_compressor_destroy(compressor);
}

static void layer_that_was_zero_once_is_sent_again(void **state)
{
    (void)state;
    enum { ROWS = 12, COLS = 19, COUNT = ROWS * COLS };
    const char *specs[] = {"lowrank:rank=3", "lowrank:rank=3,alternate=yes"};
    const lmn_layer_shape shape = {.count = COUNT, .rows = ROWS};
    float *matrix = new_low_rank(1, ROWS, COLS, 3);
    float *zeros = check_new_floats(COUNT);
    for (size_t s = 0; s < 2; s++) {
        for (size_t n_zero = 1; n_zero < 4; n_zero++) {
            lmn_compressor *compressor = check_new_compressor(specs[s]);
            check_rounds ranks = check_new_rounds(compressor, shape, 1);
            for (size_t step = 0; step < n_zero; step++) {
                check_rounds_step(&ranks, zeros);
                assert_true(check_energy(ranks.mean, COUNT) == 0.0);
            }
            check_rounds_step(&ranks, matrix);
            check_rounds_step(&ranks, matrix);
            assert_true(relative_distance(ranks.mean, matrix, COUNT) < 1e-5);
            check_free_rounds(&ranks);
            lmn_compressor_destroy(compressor);
        }
    }
    lmn_free(zeros);
    lmn_free(matrix);
}

/* After steps with rank 1 input, columns that found nothing must find what comes later. */
static void layer_whose_rank_grows_is_reproduced(void **state)
{
    (void)state;
    enum { ROWS = 25, COLS = 31, COUNT = ROWS * COLS };
    const char *specs[] = {"lowrank:rank=4", "lowrank:rank=4,alternate=yes"};
    const lmn_layer_shape shape = {.count = COUNT, .rows = ROWS};
    float *poor = new_low_rank(1, ROWS, COLS, 1);
    float *rich = new_low_rank(1, ROWS, COLS, 4);
    for (size_t s = 0; s < 2; s++) {
        lmn_compressor *compressor = check_new_compressor(specs[s]);
        check_rounds ranks = check_new_rounds(compressor, shape, 1);
        for (size_t step = 0; step < 6; step++) {
            check_rounds_step(&ranks, poor);
        }
        assert_true(relative_distance(ranks.mean, poor, COUNT) < 1e-5);
        check_rounds_step(&ranks, rich);
        check_rounds_step(&ranks, rich);
        check_rounds_step(&ranks, rich);
        assert_true(relative_distance(ranks.mean, rich, COUNT) < 1e-4);
        check_free_rounds(&ranks);
        lmn_compressor_destroy(compressor);
    }
    lmn_free(poor);
    lmn_free(rich);
}

static void lower_level_keeps_the_first_columns_and_forgets_the_others(void **state)
{
    (void)state;
    enum { ROWS = 30, COLS = 50, COUNT = ROWS * COLS };
    const lmn_layer_shape shape = {.count = COUNT, .rows = ROWS};
    lmn_compressor *compressor = check_new_compressor("lowrank:rank=2,levels=4");
    float *matrix = new_low_rank(1, ROWS, COLS, 4);
    check_rounds ranks = check_new_rounds(compressor, shape, 1);
    const float *memory = ranks.jobs[0].memory;
    assert_int_equal(lmn_compressor_memory_of(compressor, shape).shared, 4 * COLS);
    ranks.level = 1;
    check_rounds_step(&ranks, matrix);
    assert_true(check_energy(memory + (size_t)3 * COLS, COLS) > 0.0);
    ranks.level = 2;
    check_rounds_step(&ranks, matrix);
    assert_true(check_energy(memory + (size_t)COLS, COLS) > 0.0);
    assert_true(check_energy(memory + (size_t)2 * COLS, (size_t)2 * COLS) == 0.0);
    ranks.level = 1;
    check_rounds_step(&ranks, matrix);
    assert_true(relative_distance(ranks.mean, matrix, COUNT) < 1e-5);
    check_free_rounds(&ranks);
    lmn_free(matrix);
    lmn_compressor_destroy(compressor);
}

static void bf16_wire_carries_numbers_that_bf16_holds(void **state)
{
    (void)state;
    enum { ROWS = 16, COLS = 24, COUNT = ROWS * COLS };
    const lmn_layer_shape shape = {.count = COUNT, .rows = ROWS};
    lmn_compressor *compressor = check_new_compressor("lowrank:rank=2,wire=bf16");
    float *matrix = new_low_rank(1, ROWS, COLS, 2);
    check_rounds ranks = check_new_rounds(compressor, shape, 1);
    check_rounds_step(&ranks, matrix);
    const size_t counts[] = {(size_t)2 * ROWS, (size_t)2 * COLS};
    for (size_t round = 0; round < 2; round++) {
        const uint32_t *words = ranks.jobs[0].own[round];
        for (size_t i = 0; i < counts[round]; i++) {
            assert_int_equal(words[i] & 0xFFFFU, 0);
        }
    }
    /* P was made orthonormal after it travelled, so Q alone is coarse: 2^-9 of each number. */
    assert_true(relative_distance(ranks.mean, matrix, COUNT) < 0x1p-8);
    assert_int_equal(lmn_compressor_payload_bytes(compressor, ranks.level, shape),
                     2 * 2 * (ROWS + COLS));
    check_free_rounds(&ranks);
    lmn_free(matrix);
    lmn_compressor_destroy(compressor);
}

static void bytes_and_eta_follow_the_rank(void **state)
{
    (void)state;
    const lmn_layer_shape shape = {.count = (size_t)512 * 4608, .rows = 512};
    lmn_compressor *both = check_new_compressor("lowrank");
    lmn_compressor *turns = check_new_compressor("lowrank:alternate=yes");
    const size_t level = lmn_compressor_static_level(both);
    assert_int_equal(level, 3); /* ranks 16, 8, 4, 2, 1 */
    assert_int_equal(lmn_compressor_level_count(both), 6);
    assert_int_equal(lmn_compressor_payload_bytes(both, level, shape), 4 * 4 * (512 + 4608));
    assert_int_equal(lmn_compressor_payload_bytes(turns, level, shape), 4 * 4 * 4608);
    assert_int_equal(lmn_compressor_round_count(both, level), 2);
    assert_int_equal(lmn_compressor_round_count(turns, level), 1);
    assert_int_equal(lmn_compressor_round(turns, level, shape, 0, 6).count, 4 * 4608);
    assert_int_equal(lmn_compressor_round(turns, level, shape, 0, 7).count, 4 * 512);
    const lmn_eta_rule rule = lmn_compressor_eta(both, level, shape);
    assert_true(fabs(rule.suggested - 0.25 * 4.0 / 512.0) < 1e-12);
    assert_true(fabs(rule.limit - 0.5 * 4.0 / 512.0) < 1e-12);
    lmn_compressor_destroy(both);
    lmn_compressor_destroy(turns);
}

static void levels_that_are_no_whole_numbers_are_refused(void **state)
{
    (void)state;
    lmn_compressor *compressor = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_compressor_create("lowrank:levels=2.5", &compressor, &err), LMN_ERR_USAGE);
    assert_non_null(strstr(err.message, "2.5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(low_rank_input_is_reproduced_in_two_steps),
        cmocka_unit_test(ranks_that_share_columns_lose_nothing),
        cmocka_unit_test(rank_beyond_the_shorter_side_reproduces_everything),
        cmocka_unit_test(energy_of_the_residual_is_what_the_projection_left),
        cmocka_unit_test(steps_on_one_matrix_approach_the_best_approximation),
        cmocka_unit_test(error_curve_is_the_energy_of_the_smaller_singular_values),
        cmocka_unit_test(error_curve_of_a_large_matrix_is_nearly_exact),
        cmocka_unit_test(layer_that_was_zero_once_is_sent_again),
        cmocka_unit_test(layer_whose_rank_grows_is_reproduced),
        cmocka_unit_test(lower_level_keeps_the_first_columns_and_forgets_the_others),
        cmocka_unit_test(bf16_wire_carries_numbers_that_bf16_holds),
        cmocka_unit_test(bytes_and_eta_follow_the_rank),
        cmocka_unit_test(levels_that_are_no_whole_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

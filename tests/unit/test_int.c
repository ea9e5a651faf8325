/*
 * Shared-scale integers: golden values, the limits that keep sums from overflowing, and bounds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"
#include "rounds_check.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void golden_two_ranks_of_two_elements(void **state)
{
    (void)state;
    const float vectors[4] = {1.0F, -0.5F, 0.25F, 0.5F};
    lmn_compressor *compressor = check_new_compressor("int");
    check_rounds ranks = check_new_rounds(compressor, lmn_layer_flat(2), 2);
    check_rounds_step(&ranks, vectors);
    const int8_t expected[2][2] = {{63, -32}, {16, 32}};
    for (size_t rank = 0; rank < 2; rank++) {
        const float *const maximum = ranks.jobs[rank].numbers[0];
        assert_true(maximum[0] == 1.0F);
        assert_memory_equal(ranks.jobs[rank].own[1], expected[rank], 2);
    }
    const int8_t sum[2] = {79, 0};
    assert_memory_equal(ranks.jobs[0].numbers[1], sum, 2);
    assert_true(fabs((double)ranks.mean[0] - 79.0 / 126.0) < 1e-7);
    assert_true(ranks.mean[1] == 0.0F);
    check_free_rounds(&ranks);
    lmn_compressor_destroy(compressor);
}

/* All ranks at the limit; the simulated sums refuse to overflow. */
static void equal_extremes_on_all_ranks_are_exact_and_do_not_overflow(void **state)
{
    (void)state;
    const size_t n_ranks[] = {1, 2, 3, 5, 8, 16, 64, 126, 127};
    const char *specs[] = {"int:bits=8", "int:bits=16"};
    for (size_t s = 0; s < 2; s++) {
        lmn_compressor *compressor = check_new_compressor(specs[s]);
        for (size_t i = 0; i < sizeof n_ranks / sizeof n_ranks[0]; i++) {
            check_rounds ranks = check_new_rounds(compressor, lmn_layer_flat(3), n_ranks[i]);
            float *vectors = check_new_floats(3 * n_ranks[i]);
            for (size_t rank = 0; rank < n_ranks[i]; rank++) {
                vectors[3 * rank] = 3.5F;
                vectors[3 * rank + 1] = -3.5F;
            }
            check_rounds_step(&ranks, vectors);
            assert_true(fabs((double)ranks.mean[0] - 3.5) < 1e-6);
            assert_true(ranks.mean[1] == -ranks.mean[0]);
            assert_true(ranks.mean[2] == 0.0F);
            lmn_free(vectors);
            check_free_rounds(&ranks);
        }
        lmn_compressor_destroy(compressor);
    }
}

static void ranks_max_is_what_the_integers_hold(void **state)
{
    (void)state;
    const char *specs[] = {"int", "int:bits=16", "randk", "topk", "dense"};
    const int expected[] = {127, 32767, INT_MAX, INT_MAX, INT_MAX};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        lmn_compressor *compressor = check_new_compressor(specs[i]);
        assert_int_equal(lmn_compressor_ranks_max(compressor), expected[i]);
        lmn_compressor_destroy(compressor);
    }
}

/* Half a step of the grid, m / (2 L), bounds the error of every element. */
static void error_of_every_element_is_at_most_half_a_step(void **state)
{
    (void)state;
    enum { COUNT = 40000, RANKS = 3 };
    const char *specs[] = {"int:bits=8", "int:bits=16"};
    const int limits[] = {127 / RANKS, 32767 / RANKS};
    float *vectors = check_new_floats((size_t)RANKS * COUNT);
    check_fill(vectors, (size_t)RANKS * COUNT, CHECK_NORMAL, 2);
    float m = 0.0F;
    for (size_t i = 0; i < (size_t)RANKS * COUNT; i++) {
        m = fmaxf(m, fabsf(vectors[i]));
    }
    for (size_t s = 0; s < 2; s++) {
        lmn_compressor *compressor = check_new_compressor(specs[s]);
        check_rounds ranks = check_new_rounds(compressor, lmn_layer_flat(COUNT), RANKS);
        check_rounds_step(&ranks, vectors);
        const double half = 0.5 * (double)m / limits[s];
        double largest = 0.0;
        for (size_t i = 0; i < (size_t)RANKS * COUNT; i++) {
            largest = fmax(largest, fabs((double)ranks.sent[i] - (double)vectors[i]));
        }
        assert_true(largest <= half + 0x1p-22 * (double)m);
        assert_true(largest >= half * 0.99);
        check_free_rounds(&ranks);
        lmn_compressor_destroy(compressor);
    }
    lmn_free(vectors);
}

/* Written out again, in double and without the trick that rounds. */
static void encode_agrees_with_rint(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    float *vector = check_new_floats(COUNT);
    check_fill(vector, COUNT, CHECK_NORMAL, 3);
    float m = 0.0F;
    for (size_t i = 0; i < COUNT; i++) {
        m = fmaxf(m, fabsf(vector[i]));
    }
    lmn_compressor *compressor = check_new_compressor("int");
    check_rounds ranks = check_new_rounds(compressor, lmn_layer_flat(COUNT), 1);
    check_rounds_step(&ranks, vector);
    const int8_t *const own = ranks.jobs[0].own[1];
    const float inverse = 127.0F / m;
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(own[i], (int)rintf(vector[i] * inverse));
    }
    check_free_rounds(&ranks);
    lmn_free(vector);
    lmn_compressor_destroy(compressor);
}

static void zeros_and_what_is_nearly_zero_are_sent_as_zeros(void **state)
{
    (void)state;
    const float vectors[6] = {0.0F, -0.0F, 1e-45F, 0x1p-101F, 0.0F, -0x1p-101F};
    lmn_compressor *compressor = check_new_compressor("int");
    check_rounds ranks = check_new_rounds(compressor, lmn_layer_flat(3), 2);
    check_rounds_step(&ranks, vectors);
    for (size_t i = 0; i < 3; i++) {
        assert_true(ranks.mean[i] == 0.0F);
        assert_true(ranks.sent[i] == 0.0F && ranks.sent[3 + i] == 0.0F);
    }
    check_free_rounds(&ranks);
    lmn_compressor_destroy(compressor);
}

static void levels_are_16_and_8_bits(void **state)
{
    (void)state;
    char text[32] = "";
    lmn_compressor *compressor = check_new_compressor("int:bits=8");
    assert_int_equal(lmn_compressor_level_count(compressor), 3);
    assert_int_equal(lmn_compressor_static_level(compressor), 2);
    lmn_compressor_level_format(compressor, 1, text, sizeof text);
    assert_string_equal(text, "bits=16");
    assert_int_equal(lmn_compressor_payload_bytes(compressor, 1, lmn_layer_flat(100)), 204);
    assert_int_equal(lmn_compressor_payload_bytes(compressor, 2, lmn_layer_flat(100)), 104);
    lmn_compressor_destroy(compressor);
    compressor = check_new_compressor("int:bits=16");
    assert_int_equal(lmn_compressor_level_count(compressor), 2);
    lmn_compressor_destroy(compressor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_two_ranks_of_two_elements),
        cmocka_unit_test(equal_extremes_on_all_ranks_are_exact_and_do_not_overflow),
        cmocka_unit_test(ranks_max_is_what_the_integers_hold),
        cmocka_unit_test(error_of_every_element_is_at_most_half_a_step),
        cmocka_unit_test(encode_agrees_with_rint),
        cmocka_unit_test(zeros_and_what_is_nearly_zero_are_sent_as_zeros),
        cmocka_unit_test(levels_are_16_and_8_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

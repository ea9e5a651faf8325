/*
 * Rand-k: which entries it sends, how often, and that C is linear.
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

#include <cmocka.h>

/* Entries sent of a vector without zeros. */
static size_t entries_sent(const float *sent, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        n += sent[i] != 0.0F;
    }
    return n;
}

static float *new_ones(size_t count)
{
    float *ones = check_new_floats(count);
    for (size_t i = 0; i < count; i++) {
        ones[i] = 1.0F;
    }
    return ones;
}

static void send_sends_exactly_k_entries_of_every_count(void **state)
{
    (void)state;
    lmn_compressor *compressor = check_new_compressor("randk:density=0.07,levels=0.5/1");
    for (size_t count = 1; count <= 300; count++) {
        float *ones = new_ones(count);
        for (size_t level = 1; level < 4; level++) {
            check_rounds ranks = check_new_rounds(compressor, lmn_layer_flat(count), 1);
            ranks.level = level;
            const double density = level == 1 ? 1.0 : level == 2 ? 0.5 : 0.07;
            check_rounds_step(&ranks, ones);
            assert_int_equal(entries_sent(ranks.sent, count),
                             (size_t)ceil(density * (double)count - 1e-9));
            check_same_bits(ranks.sent, ranks.mean, count);
            check_free_rounds(&ranks);
        }
        lmn_free(ones);
    }
    lmn_compressor_destroy(compressor);
}

static void send_many_entries_sends_exactly_k(void **state)
{
    (void)state;
    const size_t count = 1000003;
    lmn_compressor *compressor = check_new_compressor("randk:density=0.1");
    float *ones = new_ones(count);
    check_rounds ranks = check_new_rounds(compressor, lmn_layer_flat(count), 1);
    check_rounds_step(&ranks, ones);
    assert_int_equal(entries_sent(ranks.mean, count), 100001);
    check_same_bits(ranks.sent, ranks.mean, count);
    check_free_rounds(&ranks);
    lmn_free(ones);
    lmn_compressor_destroy(compressor);
}

/* k does not divide the count, so strata differ in length; the frequency must not. */
static void frequency_of_every_entry_is_the_density(void **state)
{
    (void)state;
    enum { COUNT = 50, KEPT = 7, STEPS = 20000 };
    lmn_compressor *compressor = check_new_compressor("randk:density=0.14");
    float *ones = new_ones(COUNT);
    check_rounds ranks = check_new_rounds(compressor, lmn_layer_flat(COUNT), 1);
    size_t times[COUNT] = {0};
    size_t n_same = 0;
    bool last[COUNT] = {false};
    for (size_t step = 0; step < STEPS; step++) {
        bool is_same = true;
        check_rounds_step(&ranks, ones);
        for (size_t i = 0; i < COUNT; i++) {
            const bool is_sent = ranks.sent[i] != 0.0F;
            times[i] += is_sent;
            is_same = is_same && is_sent == last[i];
            last[i] = is_sent;
        }
        n_same += is_same;
    }
    const double p = (double)KEPT / COUNT;
    const double sigma = sqrt(STEPS * p * (1.0 - p));
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(fabs((double)times[i] - STEPS * p) < 5.0 * sigma);
    }
    /* Two supports agree with a probability of about 7^-7. */
    assert_int_equal(n_same, 0);
    check_free_rounds(&ranks);
    lmn_free(ones);
    lmn_compressor_destroy(compressor);
}

static void support_differs_between_layers_and_seeds(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    lmn_compressor *compressor = check_new_compressor("randk:density=0.1");
    float *ones = new_ones(COUNT);
    check_rounds ranks = check_new_rounds(compressor, lmn_layer_flat(COUNT), 1);
    check_rounds_step(&ranks, ones);
    for (uint32_t layer = 2; layer < 6; layer++) {
        float *other = check_new_floats(COUNT);
        size_t n_common = 0;
        ranks.jobs[0].stream.layer = layer % 2 == 0 ? layer : 3;
        ranks.jobs[0].stream.seed = layer % 2 == 0 ? 5 : layer + 10;
        lmn_compressor_rounds_sent(compressor, &ranks.jobs[0], 0, COUNT, other);
        for (size_t i = 0; i < COUNT; i++) {
            n_common += other[i] != 0.0F && ranks.sent[i] != 0.0F;
        }
        /* 100 of 1000 twice: 10 in common are to be expected. */
        assert_in_range(n_common, 1, 30);
        lmn_free(other);
    }
    check_free_rounds(&ranks);
    lmn_free(ones);
    lmn_compressor_destroy(compressor);
}

/* Small integers, and 4 ranks: all sums are exact. */
static void mean_of_what_is_sent_is_what_is_sent_of_the_mean(void **state)
{
    (void)state;
    enum { COUNT = 777, RANKS = 4 };
    lmn_compressor *compressor = check_new_compressor("randk:density=0.2");
    float *vectors = check_new_floats((size_t)RANKS * COUNT);
    float *mean = check_new_floats(COUNT);
    check_fill(vectors, (size_t)RANKS * COUNT, CHECK_TIED, 1);
    for (size_t i = 0; i < (size_t)RANKS * COUNT; i++) {
        mean[i % COUNT] += vectors[i] / RANKS;
    }
    check_rounds ranks = check_new_rounds(compressor, lmn_layer_flat(COUNT), RANKS);
    check_rounds alone = check_new_rounds(compressor, lmn_layer_flat(COUNT), 1);
    for (size_t step = 0; step < 10; step++) {
        check_rounds_step(&ranks, vectors);
        check_rounds_step(&alone, mean);
        check_same_bits(ranks.mean, alone.mean, COUNT);
    }
    check_free_rounds(&ranks);
    check_free_rounds(&alone);
    lmn_free(vectors);
    lmn_free(mean);
    lmn_compressor_destroy(compressor);
}

/* Over many steps the mean of what is sent is the vector, and the mean loss is the curve's. */
static void scaled_sends_the_vector_in_the_mean(void **state)
{
    (void)state;
    enum { COUNT = 21, STEPS = 20000 };
    lmn_compressor *compressor = check_new_compressor("randk:density=0.4,scaled=yes,levels=0.4");
    float vector[COUNT];
    double mean[COUNT] = {0};
    double loss = 0.0;
    double curve[2] = {0};
    check_fill(vector, COUNT, CHECK_NORMAL, 4);
    check_rounds ranks = check_new_rounds(compressor, lmn_layer_flat(COUNT), 1);
    for (size_t step = 0; step < STEPS; step++) {
        check_rounds_step(&ranks, vector);
        for (size_t i = 0; i < COUNT; i++) {
            const double error = (double)ranks.sent[i] - (double)vector[i];
            mean[i] += (double)ranks.sent[i] / STEPS;
            loss += error * error / STEPS;
        }
    }
    const double omega = 21.0 / 9.0 - 1.0; /* k = ceil(0.4 21) = 9 */
    for (size_t i = 0; i < COUNT; i++) {
        const double sigma = fabs((double)vector[i]) * sqrt(omega / STEPS);
        assert_true(fabs(mean[i] - (double)vector[i]) < 5.0 * sigma + 1e-6);
    }
    lmn_compressor_error_curve(compressor, vector, lmn_layer_flat(COUNT), curve, NULL);
    assert_true(fabs(curve[1] - omega * check_energy(vector, COUNT)) < 1e-6 * curve[1]);
    assert_true(fabs(loss - curve[1]) < 0.05 * curve[1]);
    assert_true(lmn_compressor_contraction(compressor, 1, lmn_layer_flat(COUNT)) == 0.0);
    check_free_rounds(&ranks);
    lmn_compressor_destroy(compressor);
}

static void eta_is_half_the_density(void **state)
{
    (void)state;
    lmn_compressor *compressor = check_new_compressor("randk:density=0.2");
    const size_t level = lmn_compressor_static_level(compressor);
    const lmn_eta_rule rule = lmn_compressor_eta(compressor, level, lmn_layer_flat(1000));
    assert_true(fabs(rule.suggested - 0.1) < 1e-12);
    assert_true(fabs(rule.limit - 0.4 / 1.8) < 1e-12);
    assert_true(fabs(lmn_compressor_contraction(compressor, level, lmn_layer_flat(1000)) - 0.2) <
                1e-12);
    lmn_compressor_destroy(compressor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(send_sends_exactly_k_entries_of_every_count),
        cmocka_unit_test(send_many_entries_sends_exactly_k),
        cmocka_unit_test(frequency_of_every_entry_is_the_density),
        cmocka_unit_test(support_differs_between_layers_and_seeds),
        cmocka_unit_test(mean_of_what_is_sent_is_what_is_sent_of_the_mean),
        cmocka_unit_test(scaled_sends_the_vector_in_the_mean),
        cmocka_unit_test(eta_is_half_the_density),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

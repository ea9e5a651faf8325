/*
 * Sign: golden bytes, what is kept of the energy, and both ways to choose the values.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect_values(const check_coded *c, const float *want, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(c->decoded[i] == want[i]);
    }
}

static void encode_golden_vector_has_the_documented_bytes(void **state)
{
    (void)state;
    const float vector[] = {1.0F, -3.0F, 0.0F, 2.0F};
    const float mean = 1.5F;
    check_coded c = check_code("sign", vector, 4, 0);
    expect_values(&c, (const float[]){1.5F, -1.5F, 1.5F, 1.5F}, 4);
    assert_int_equal(c.encoding->job.payload_bytes, 8);
    assert_memory_equal(c.encoding->job.payload, &mean, sizeof mean);
    assert_memory_equal(c.encoding->job.payload + 4, "\x0D\0\0", 4);
    /* 36 / 4 of the energy 14 is kept. */
    assert_true(check_energy(c.encoding->vector, 4) == 5.0);
    check_free_coded(&c);
}

static void encode_two_values_are_the_means_of_both_sides(void **state)
{
    (void)state;
    const float vector[] = {1.0F, -3.0F, -0.0F, 2.0F, -1.0F};
    const float values[] = {-2.0F, 1.0F};
    check_coded c = check_code("sign:values=two", vector, 5, 0);
    expect_values(&c, (const float[]){1.0F, -2.0F, 1.0F, 1.0F, -2.0F}, 5);
    assert_int_equal(c.encoding->job.payload_bytes, 12);
    assert_memory_equal(c.encoding->job.payload, values, sizeof values);
    assert_memory_equal(c.encoding->job.payload + 8, "\x0D\0\0", 4);
    check_free_coded(&c);
}

static void encode_two_values_without_one_side_gives_it_zero(void **state)
{
    (void)state;
    const float above[] = {1.0F, 3.0F, 0.0F};
    check_coded c = check_code("sign:values=two", above, 3, 0);
    assert_true(lmn_compressor_part_bytes(c.compressor, 1, 3) == 12);
    assert_memory_equal(c.encoding->job.payload, (&(float){0.0F}), sizeof(float));
    check_free_coded(&c);
    const float below[] = {-1.0F, -3.0F};
    c = check_code("sign:values=two", below, 2, 0);
    expect_values(&c, (const float[]){-2.0F, -2.0F}, 2);
    assert_memory_equal(c.encoding->job.payload + 4, (&(float){0.0F}), sizeof(float));
    check_free_coded(&c);
}

static void encode_one_magnitude_loses_nothing(void **state)
{
    (void)state;
    enum { COUNT = 5003 };
    float *vector = check_new_floats(COUNT);
    check_fill(vector, COUNT, CHECK_EQUAL, 2);
    check_coded c = check_code("sign", vector, COUNT, 0);
    expect_values(&c, vector, COUNT);
    assert_true(check_energy(c.encoding->vector, COUNT) == 0.0);
    check_free_coded(&c);
    lmn_free(vector);
}

/* Of a bucket of n numbers |v|_1^2 / n is kept; two values keep at least as much. */
static void error_of_a_bucket_follows_from_its_two_norms(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    float vector[COUNT];
    for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
        check_fill(vector, COUNT, kind, 12);
        double sum = 0.0;
        for (size_t i = 0; i < COUNT; i++) {
            sum += fabs((double)vector[i]);
        }
        const double energy = check_energy(vector, COUNT);
        const double want = energy - sum * sum / COUNT;
        check_coded one = check_code("sign", vector, COUNT, 0);
        check_coded two = check_code("sign:values=two", vector, COUNT, 0);
        const double rest = check_energy(one.encoding->vector, COUNT);
        /* Denormal means are rounded to whole units of 2^-149. */
        const double slack = 1e-6 * energy + COUNT * 0x1p-250;
        assert_true(fabs(rest - want) <= slack);
        assert_true(check_energy(two.encoding->vector, COUNT) <= rest + slack);
        check_free_coded(&one);
        check_free_coded(&two);
    }
}

static void encode_numbers_at_the_ends_of_the_range(void **state)
{
    (void)state;
    const float huge[] = {FLT_MAX, -FLT_MAX, FLT_MAX};
    check_coded c = check_code("sign", huge, 3, 0);
    expect_values(&c, huge, 3);
    check_free_coded(&c);
    const float zero[] = {0.0F, -0.0F, 0.0F};
    c = check_code("sign:values=two", zero, 3, 0);
    expect_values(&c, zero, 3);
    check_free_coded(&c);
}

static void check_values_of_the_wrong_sign_are_refused(void **state)
{
    (void)state;
    const float vector[] = {1.0F, -3.0F, 0.0F, 2.0F};
    const float bad[] = {NAN, INFINITY, -INFINITY, -1.0F};
    check_coded one = check_code("sign", vector, 4, 0);
    check_coded two = check_code("sign:values=two", vector, 4, 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(check_damaged(&one, 0, &bad[i], sizeof bad[i]), LMN_ERR_MESSAGE);
        assert_int_equal(check_damaged(&two, 4, &bad[i], sizeof bad[i]), LMN_ERR_MESSAGE);
    }
    assert_int_equal(check_damaged(&two, 0, &(float){1.0F}, sizeof(float)), LMN_ERR_MESSAGE);
    assert_int_equal(check_damaged(&two, 0, &(float){-INFINITY}, sizeof(float)), LMN_ERR_MESSAGE);
    assert_int_equal(check_damaged(&one, 4, "\xFF", 1), LMN_OK);
    check_free_coded(&one);
    check_free_coded(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_golden_vector_has_the_documented_bytes),
        cmocka_unit_test(encode_two_values_are_the_means_of_both_sides),
        cmocka_unit_test(encode_two_values_without_one_side_gives_it_zero),
        cmocka_unit_test(encode_one_magnitude_loses_nothing),
        cmocka_unit_test(error_of_a_bucket_follows_from_its_two_norms),
        cmocka_unit_test(encode_numbers_at_the_ends_of_the_range),
        cmocka_unit_test(check_values_of_the_wrong_sign_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

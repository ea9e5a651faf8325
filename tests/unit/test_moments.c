/*
 * Mean and deviation of columns: closed forms, pieces, and where sums of squares would cancel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/moments_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static lmn__moments *create(size_t n_columns)
{
    lmn__moments *moments = NULL;
    assert_int_equal(lmn__moments_create(n_columns, &moments, NULL), LMN_OK);
    assert_int_equal(lmn__moments_columns(moments), n_columns);
    return moments;
}

/* 0 .. n - 1 has the mean (n - 1) / 2 and the variance (n^2 - 1) / 12. */
static void moments_of_consecutive_numbers_are_the_closed_form(void **state)
{
    (void)state;
    enum { N = 1000 };
    float rows[N][2];
    float mean[2];
    float deviation[2];
    for (size_t i = 0; i < N; i++) {
        rows[i][0] = (float)i;
        rows[i][1] = -3.0F * (float)i;
    }
    lmn__moments *moments = create(2);
    lmn__moments_add_f32(moments, rows[0], 1);
    lmn__moments_add_f32(moments, rows[1], 600);
    lmn__moments_add_f32(moments, rows[601], N - 601);
    lmn__moments_get(moments, 1.0, 0.0, mean, deviation);
    assert_float_equal(mean[0], 499.5F, 0);
    assert_float_equal(mean[1], -1498.5F, 0);
    assert_float_equal(deviation[0], (float)sqrt((N * (double)N - 1) / 12), 1e-4);
    assert_float_equal(deviation[1], 3.0F * (float)sqrt((N * (double)N - 1) / 12), 1e-3);
    lmn__moments_destroy(moments);
}

static void moments_of_bytes_are_mapped(void **state)
{
    (void)state;
    static const unsigned char rows[] = {0, 7, 255, 7, 0, 7, 255, 7};
    float mean[2];
    float deviation[2];
    lmn__moments *moments = create(2);
    lmn__moments_add_u8(moments, rows, 4);
    lmn__moments_get(moments, -1.0 / 255, 2.0, mean, deviation);
    assert_float_equal(mean[0], 1.5F, 1e-7);
    assert_float_equal(deviation[0], 0.5F, 1e-7);
    assert_float_equal(mean[1], 2.0F - 7.0F / 255, 1e-6);
    lmn__moments_destroy(moments);
}

static void moments_of_a_constant_have_deviation_one(void **state)
{
    (void)state;
    static const float rows[] = {0.1F, 0.1F, 0.1F, 0.1F, 0.1F};
    float mean = 0;
    float deviation = 0;
    lmn__moments *moments = create(1);
    lmn__moments_add_f32(moments, rows, 5);
    lmn__moments_get(moments, 1.0, 0.0, &mean, &deviation);
    assert_float_equal(mean, 0.1F, 0);
    assert_float_equal(deviation, 1.0F, 0);
    lmn__moments_destroy(moments);
}

/* Squares of these are beyond the 53 bits of a double. */
static void moments_of_large_numbers_do_not_cancel(void **state)
{
    (void)state;
    float mean = 0;
    float deviation = 0;
    lmn__moments *moments = create(1);
    for (int i = 0; i < 10000; i++) {
        const float value = i % 2 == 0 ? 0x1p40F : 0x1p40F + 0x1p18F;
        lmn__moments_add_f32(moments, &value, 1);
    }
    lmn__moments_get(moments, 1.0, 0.0, &mean, &deviation);
    assert_float_equal(deviation, 0x1p17F, 1.0);
    lmn__moments_destroy(moments);
    lmn__moments_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_of_consecutive_numbers_are_the_closed_form),
        cmocka_unit_test(moments_of_bytes_are_mapped),
        cmocka_unit_test(moments_of_a_constant_have_deviation_one),
        cmocka_unit_test(moments_of_large_numbers_do_not_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

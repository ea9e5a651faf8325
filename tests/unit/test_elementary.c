/*
 * The vectorising elementary functions against the C library's in double.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute/kernels/elementary.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* The error of `have` in units in the last place of `want`, normal numbers at least. */
static double error_in_units(float have, double want)
{
    const double size = fmax(fabs(want), (double)FLT_MIN);
    return fabs((double)have - want) / (ldexp(1.0, ilogb(size)) * (double)FLT_EPSILON);
}

/* The largest error over a million points between low and high. */
static double largest_error(float (*function)(float), double (*reference)(double), float low,
                            float high)
{
    double largest = 0.0;
    for (int i = 0; i <= 1000000; i++) {
        const float x = low + (high - low) * (float)i * 1e-6F;
        largest = fmax(largest, error_in_units(function(x), reference((double)x)));
    }
    return largest;
}

static float own_exp(float x)
{
    return lmn__exp(x);
}

static float own_erf(float x)
{
    return lmn__erf(x);
}

static void exp_is_within_two_units(void **state)
{
    (void)state;
    assert_true(largest_error(own_exp, exp, -87.3F, 88.7F) < 2.0);
    assert_true(largest_error(own_exp, exp, -1.0F, 1.0F) < 2.0);
    assert_true(lmn__exp(0.0F) == 1.0F);
}

static void exp_of_extremes_is_zero_infinity_or_nan(void **state)
{
    (void)state;
    assert_true(lmn__exp(-88.0F) == 0.0F);
    assert_true(lmn__exp(-INFINITY) == 0.0F);
    assert_true(lmn__exp(89.0F) == INFINITY);
    assert_true(lmn__exp(INFINITY) == INFINITY);
    assert_true(isnan(lmn__exp(NAN)));
}

static void erf_is_within_six_units(void **state)
{
    (void)state;
    assert_true(largest_error(own_erf, erf, -6.0F, 6.0F) < 6.0);
    assert_true(largest_error(own_erf, erf, -0.01F, 0.01F) < 6.0);
}

static void erf_of_extremes_is_one_or_nan(void **state)
{
    (void)state;
    assert_true(error_in_units(lmn__erf(INFINITY), 1.0) < 2.0);
    assert_true(error_in_units(lmn__erf(-INFINITY), -1.0) < 2.0);
    assert_true(isnan(lmn__erf(NAN)));
    assert_true(lmn__erf(0.0F) == 0.0F);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_two_units),
        cmocka_unit_test(exp_of_extremes_is_zero_infinity_or_nan),
        cmocka_unit_test(erf_is_within_six_units),
        cmocka_unit_test(erf_of_extremes_is_one_or_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

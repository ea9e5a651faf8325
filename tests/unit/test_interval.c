/*
 * The interval between checkpoints against the minimum of the expected time to the end, found by
 * search.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "train/trainer_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Daly's equation 20: how much longer than without checkpoints and failures a run takes, for
   failures that come as a Poisson process; restarting takes no time, which changes a factor only.
 */
static double stretch(double interval, double write, double failure)
{
    return failure * (exp((interval + write) / failure) - 1.0) / interval;
}

static double search_best(double write, double failure)
{
    double best = write / 100.0;
    double interval = best;
    while (interval < 10.0 * failure) {
        interval *= 1.0005;
        if (stretch(interval, write, failure) < stretch(best, write, failure)) {
            best = interval;
        }
    }
    return best;
}

static void interval_is_where_the_expected_time_is_least(void **state)
{
    (void)state;
    static const double writes[] = {0.01, 1.0, 30.0, 600.0};
    static const double failures[] = {3600.0, 86400.0, 1e6};
    for (size_t i = 0; i < sizeof writes / sizeof writes[0]; i++) {
        for (size_t k = 0; k < sizeof failures / sizeof failures[0]; k++) {
            const double found = lmn__checkpoint_interval(writes[i], failures[k]);
            const double best = search_best(writes[i], failures[k]);
            assert_true(fabs(found / best - 1.0) < 0.01);
            /* Young's first-order answer alone would be worse where writes are long. */
            assert_true(stretch(found, writes[i], failures[k]) <=
                        stretch(sqrt(2.0 * writes[i] * failures[k]), writes[i], failures[k]) *
                            (1.0 + 1e-9));
        }
    }
}

static void writes_that_take_as_long_as_failures_are_rare_wait_for_one(void **state)
{
    (void)state;
    assert_true(lmn__checkpoint_interval(200.0, 100.0) == 100.0);
    assert_true(lmn__checkpoint_interval(1e9, 100.0) == 100.0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(interval_is_where_the_expected_time_is_least),
        cmocka_unit_test(writes_that_take_as_long_as_failures_are_rare_wait_for_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The clock never runs backwards and counts seconds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

static void clock_seconds_repeated_never_decreases(void **state)
{
    (void)state;
    double last = lmn_clock_seconds();
    for (int i = 0; i < 100000; i++) {
        const double now = lmn_clock_seconds();
        assert_true(now >= last);
        last = now;
    }
}

static void clock_seconds_across_a_sleep_counts_it(void **state)
{
    (void)state;
    const double before = lmn_clock_seconds();
    const struct timespec pause = {.tv_nsec = 20000000L};
    assert_int_equal(nanosleep(&pause, NULL), 0);
    const double elapsed = lmn_clock_seconds() - before;
    /* The upper bound only tells seconds from other units: the machine may be busy. */
    assert_true(elapsed >= 0.0199 && elapsed < 10.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_seconds_repeated_never_decreases),
        cmocka_unit_test(clock_seconds_across_a_sleep_counts_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Links as text, and lines through times of messages.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/link.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void a_stated_link_has_the_rate_and_the_latency_that_it_says(void **state)
{
    (void)state;
    lmn_link link;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_link_parse("10gbit,20us", &link, &err), LMN_OK);
    assert_float_equal(link.sum.per_byte, 0.8e-9, 1e-18);
    assert_float_equal(link.gather.latency, 20e-6, 1e-15);
    assert_int_equal(lmn_link_parse("2.5mbit,1ms", &link, &err), LMN_OK);
    assert_float_equal(link.gather.per_byte, 3.2e-6, 1e-15);
    assert_float_equal(link.sum.latency, 1e-3, 1e-15);
    assert_int_equal(lmn_link_parse("100kbit,0s", &link, &err), LMN_OK);
    assert_float_equal(link.sum.per_byte, 8e-5, 1e-14);
}

static void what_is_no_link_is_refused_with_an_example(void **state)
{
    (void)state;
    static const char *const texts[] = {"",           "10gbit",       "10gbit,",     ",20us",
                                        "0gbit,20us", "10 gbit,20us", "10gbit,20",   "10GB,20us",
                                        "-1gbit,1us", "nangbit,1us",  "1gbit,1us,x", "1gbit,-1us"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        lmn_link link;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_link_parse(texts[i], &link, &err), LMN_ERR_USAGE);
        assert_non_null(strstr(err.message, "10gbit,20us"));
    }
}

static void messages_of_one_rank_are_none(void **state)
{
    (void)state;
    assert_float_equal(lmn_link_sum_messages(1), 0.0, 0.0);
    assert_float_equal(lmn_link_gather_messages(1), 0.0, 0.0);
    assert_float_equal(lmn_link_sum_messages(2), 2.0, 0.0);
    assert_float_equal(lmn_link_sum_messages(5), 6.0, 0.0);
    assert_float_equal(lmn_link_gather_messages(5), 4.0, 0.0);
}

static void a_line_through_exact_times_is_found(void **state)
{
    (void)state;
    lmn_line_sample samples[6];
    for (size_t i = 0; i < 6; i++) {
        const double messages = 1.0 + (double)(i % 3);
        const double bytes = 1000.0 * (double)(1U << i);
        samples[i] = (lmn_line_sample){messages, bytes, 3e-6 * messages + 2e-9 * bytes};
    }
    const lmn_line line = lmn_line_fit(samples, 6);
    assert_float_equal(line.latency, 3e-6, 1e-15);
    assert_float_equal(line.per_byte, 2e-9, 1e-17);
}

static void a_line_has_nothing_negative_in_it(void **state)
{
    (void)state;
    const lmn_line_sample falling[] = {{1, 1000, 5e-6}, {1, 2000, 4e-6}, {1, 4000, 3e-6}};
    const lmn_line flat = lmn_line_fit(falling, 3);
    assert_true(flat.per_byte == 0.0 && flat.latency > 3e-6 && flat.latency < 5e-6);
    const lmn_line_sample steep[] = {{1, 1000, 1e-6}, {1, 2000, 4e-6}, {1, 4000, 13e-6}};
    const lmn_line through = lmn_line_fit(steep, 3);
    assert_true(through.latency == 0.0 && through.per_byte > 1e-9);
    const lmn_line none = lmn_line_fit(steep, 0);
    assert_true(none.latency == 0.0 && none.per_byte == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stated_link_has_the_rate_and_the_latency_that_it_says),
        cmocka_unit_test(what_is_no_link_is_refused_with_an_example),
        cmocka_unit_test(messages_of_one_rank_are_none),
        cmocka_unit_test(a_line_through_exact_times_is_found),
        cmocka_unit_test(a_line_has_nothing_negative_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

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
    assert_float_equal(link.gap, LMN_LINK_GAP, 0.0);
    assert_float_equal(link.sum.latency, 1e-3, 1e-15);
    assert_int_equal(lmn_link_parse("100kbit,0s", &link, &err), LMN_OK);
    assert_float_equal(link.sum.per_byte, 8e-5, 1e-14);
    assert_int_equal(lmn_link_parse("200gbit,2us,0.3us", &link, &err), LMN_OK);
    assert_float_equal(link.gather.latency, 2e-6, 1e-15);
    assert_float_equal(link.gap, 0.3e-6, 1e-16);
}

static void what_is_no_link_is_refused_with_an_example(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "10gbit",
                                        "10gbit,",
                                        ",20us",
                                        "0gbit,20us",
                                        "10 gbit,20us",
                                        "10gbit,20",
                                        "10GB,20us",
                                        "-1gbit,1us",
                                        "nangbit,1us",
                                        "1gbit,1us,x",
                                        "1gbit,-1us",
                                        "1gbit,1us,",
                                        "1gbit,1us,1us,1us",
                                        "1gbit,,1us"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        lmn_link link;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_link_parse(texts[i], &link, &err), LMN_ERR_USAGE);
        assert_non_null(strstr(err.message, "10gbit,20us"));
    }
}

static const lmn_link example = {
    .sum = {.latency = 20e-6, .per_byte = 1e-9}, .gather = {30e-6, 2e-9}, .gap = 1e-6};

static void one_rank_has_nothing_to_wait_for(void **state)
{
    (void)state;
    assert_float_equal(lmn_link_sum_seconds(&example, 1, 1e6), 0.0, 0.0);
    assert_float_equal(lmn_link_gather_seconds(&example, 1, 1e6), 0.0, 0.0);
    assert_float_equal(lmn_link_sum_latency(&example, 1), 0.0, 0.0);
    assert_float_equal(lmn_link_gather_latency(&example, 1), 0.0, 0.0);
    assert_float_equal(lmn_link_sum_gaps(&example, 1), 0.0, 0.0);
    assert_float_equal(lmn_link_gather_gaps(&example, 1), 0.0, 0.0);
}

static void short_sums_take_rounds_and_long_ones_two_latencies(void **state)
{
    (void)state;
    /* Eight ranks double three times; of nine, one hands over its vector and gets the sum back. */
    assert_float_equal(lmn_link_sum_seconds(&example, 8, 1000), (3 * (20e-6 + 1e-6 + 1e-6)), 1e-12);
    assert_float_equal(lmn_link_sum_seconds(&example, 9, 1000), (5 * (20e-6 + 1e-6 + 1e-6)), 1e-12);
    /* Twice seven slices of an eighth of a megabyte, and none of them waits for another. */
    assert_float_equal(lmn_link_sum_seconds(&example, 8, 1e6),
                       (2 * (20e-6 + 1e-6) + 14 * 125e3 * 1e-9), 1e-12);
    assert_float_equal(lmn_link_sum_latency(&example, 8), (2 * (20e-6 + 1e-6)), 1e-12);
    assert_float_equal(lmn_link_sum_gaps(&example, 8), 12e-6, 1e-12);
}

static void gathered_messages_share_one_latency(void **state)
{
    (void)state;
    assert_float_equal(lmn_link_gather_seconds(&example, 5, 1e4), (30e-6 + 1e-6 + 4 * 20e-6),
                       1e-12);
    assert_float_equal(lmn_link_gather_latency(&example, 5), 31e-6, 1e-12);
}

static void gaps_count_where_they_are_longer_than_bytes(void **state)
{
    (void)state;
    assert_float_equal(lmn_link_gather_seconds(&example, 101, 10), (31e-6 + 99e-6), 1e-12);
    assert_float_equal(lmn_link_gather_gaps(&example, 101), 99e-6, 1e-12);
    assert_float_equal(lmn_link_sum_seconds(&example, 1001, 20000), (2 * 21e-6 + 1998e-6), 1e-12);
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
        cmocka_unit_test(one_rank_has_nothing_to_wait_for),
        cmocka_unit_test(short_sums_take_rounds_and_long_ones_two_latencies),
        cmocka_unit_test(gathered_messages_share_one_latency),
        cmocka_unit_test(gaps_count_where_they_are_longer_than_bytes),
        cmocka_unit_test(a_line_through_exact_times_is_found),
        cmocka_unit_test(a_line_has_nothing_negative_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

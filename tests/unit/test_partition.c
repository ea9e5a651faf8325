/*
 * Partition: parts are contiguous, complete and nearly equal, also where products would overflow.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/partition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void partition_small_counts_cover_all_without_gaps(void **state)
{
    (void)state;
    for (size_t count = 0; count < 40; count++) {
        for (size_t parts = 1; parts < 40; parts++) {
            size_t next = 0;
            for (size_t i = 0; i < parts; i++) {
                const lmn_range range = lmn_partition(count, parts, i);
                assert_int_equal(range.first, next);
                assert_int_equal(range.first, i * count / parts);
                assert_true(range.count == count / parts || range.count == count / parts + 1);
                next += range.count;
            }
            assert_int_equal(next, count);
        }
    }
}

static void partition_largest_count_does_not_overflow(void **state)
{
    (void)state;
    const size_t parts = 1000;
    size_t next = 0;
    for (size_t i = 0; i < parts; i++) {
        const lmn_range range = lmn_partition(SIZE_MAX, parts, i);
        assert_int_equal(range.first, next);
        assert_true(range.count - SIZE_MAX / parts <= 1);
        next += range.count;
    }
    assert_int_equal(next, SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partition_small_counts_cover_all_without_gaps),
        cmocka_unit_test(partition_largest_count_does_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

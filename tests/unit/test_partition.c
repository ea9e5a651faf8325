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

/* Old rows 0 and 1 go to three: the first, half of each, the last; and three go to two. */
static void overlap_of_two_and_three_is_as_worked_out_by_hand(void **state)
{
    (void)state;
    static const size_t to_three[2][3] = {{2, 1, 0}, {0, 1, 2}}; /* halves */
    static const size_t to_two[3][2] = {{2, 0}, {1, 1}, {0, 2}}; /* thirds */
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < 3; j++) {
            assert_int_equal(lmn_partition_overlap(2, 3, i, j), to_three[i][j]);
            assert_int_equal(lmn_partition_overlap(3, 2, j, i), to_two[j][i]);
        }
    }
}

/* What new part j of m has of n old ones. */
static size_t sum_over_old(size_t n, size_t m, size_t j)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += lmn_partition_overlap(n, m, i, j);
    }
    return sum;
}

/* The rule is its own mirror image, so new parts cover old ones, too. */
static void overlap_covers_every_old_and_every_new_part(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 12; n++) {
        for (size_t m = 1; m <= 12; m++) {
            for (size_t j = 0; j < m; j++) {
                assert_int_equal(sum_over_old(n, m, j), n);
                assert_int_equal(lmn_partition_overlap(n, m, n / 2, j),
                                 lmn_partition_overlap(m, n, j, n / 2));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partition_small_counts_cover_all_without_gaps),
        cmocka_unit_test(partition_largest_count_does_not_overflow),
        cmocka_unit_test(overlap_of_two_and_three_is_as_worked_out_by_hand),
        cmocka_unit_test(overlap_covers_every_old_and_every_new_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

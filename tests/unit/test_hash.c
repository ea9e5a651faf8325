/*
 * Hash: published values of XXH3-64, the seed, and that every bit counts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void hash64_known_inputs_give_published_values(void **state)
{
    (void)state;
    /* Files store hashes: a library with another function must fail here. */
    assert_true(lmn_hash64(NULL, 0, 0) == UINT64_C(0x2D06800538D394C2));
    assert_true(lmn_hash64("", 0, 0) == UINT64_C(0x2D06800538D394C2));
}

static void hash64_any_flipped_bit_changes_the_hash(void **state)
{
    (void)state;
    unsigned char data[300] = {0};
    const uint64_t before = lmn_hash64(data, sizeof data, 0);
    for (size_t bit = 0; bit < 8 * sizeof data; bit++) {
        data[bit / 8] ^= (unsigned char)(1U << bit % 8);
        assert_true(lmn_hash64(data, sizeof data, 0) != before);
        data[bit / 8] ^= (unsigned char)(1U << bit % 8);
    }
    assert_true(lmn_hash64(data, sizeof data, 0) == before);
}

static void hash64_chained_depends_on_order_and_seed(void **state)
{
    (void)state;
    const uint64_t a_then_b = lmn_hash64("bb", 2, lmn_hash64("aa", 2, 0));
    const uint64_t b_then_a = lmn_hash64("aa", 2, lmn_hash64("bb", 2, 0));
    assert_true(a_then_b != b_then_a);
    assert_true(lmn_hash64("aa", 2, 1) != lmn_hash64("aa", 2, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash64_known_inputs_give_published_values),
        cmocka_unit_test(hash64_any_flipped_bit_changes_the_hash),
        cmocka_unit_test(hash64_chained_depends_on_order_and_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

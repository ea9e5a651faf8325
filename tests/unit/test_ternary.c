/*
 * Ternary: golden bytes of both packings, chances, and what clipping does.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect_bytes(const char *spec, const float *vector, size_t count, float scale,
                         const unsigned char codes[4])
{
    check_coded c = check_code(spec, vector, count, 0);
    assert_int_equal(c.encoding->job.payload_bytes, 8);
    assert_memory_equal(c.encoding->job.payload, &scale, sizeof scale);
    assert_memory_equal(c.encoding->job.payload + 4, codes, 4);
    check_free_coded(&c);
}

static void encode_golden_vectors_has_the_documented_bytes(void **state)
{
    (void)state;
    const float vector[] = {4.0F, -1.0F, -2.5F, 0.0F}; /* codes 2, 1, 0, 1; half of 4 goes to 0 */
    expect_bytes("ternary:rounding=nearest", vector, 4, 4.0F, (const unsigned char[4]){0x46});
    expect_bytes("ternary:rounding=nearest,packing=trits", vector, 4, 4.0F,
                 (const unsigned char[4]){2 + 3 * 1 + 9 * 0 + 27 * 1});
    const float sure[] = {4.0F, -4.0F, 0.0F, 0.0F, 4.0F, -4.0F}; /* nothing to draw */
    expect_bytes("ternary:packing=trits", sure, 6, 4.0F,
                 (const unsigned char[4]){2 + 9 + 27 + 2 * 81, 0});
}

static void both_packings_stand_for_the_same(void **state)
{
    (void)state;
    enum { COUNT = 1603 };
    float vector[COUNT];
    for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
        check_fill(vector, COUNT, kind, 6);
        check_coded bits = check_code("ternary:clip=2", vector, COUNT, 9);
        check_coded trits = check_code("ternary:clip=2,packing=trits", vector, COUNT, 9);
        check_same_bits(bits.decoded, trits.decoded, COUNT);
        /* Three buckets of 103 bytes and one of 14, in whole words. */
        assert_int_equal(trits.encoding->job.payload_bytes, 3 * (4 + 104) + 4 + 16);
        assert_int_equal(bits.encoding->job.payload_bytes, 3 * (4 + 128) + 4 + 20);
        check_free_coded(&bits);
        check_free_coded(&trits);
    }
}

/* A number is sent with the chance |x| / s, with its own sign. */
static void stochastic_rounding_sends_with_the_right_chance(void **state)
{
    (void)state;
    enum { COUNT = 5, TRIALS = 10000 };
    const float vector[COUNT] = {2.0F, -1.0F, 0.25F, 0.0F, -1.9F};
    size_t n_sent[COUNT] = {0};
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        check_coded c = check_code("ternary", vector, COUNT, trial);
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(c.decoded[i] == 0.0F || c.decoded[i] == copysignf(2.0F, vector[i]));
            n_sent[i] += c.decoded[i] != 0.0F;
        }
        check_free_coded(&c);
    }
    for (size_t i = 0; i < COUNT; i++) {
        const double chance = fabs((double)vector[i]) / 2.0;
        const double deviation = sqrt(chance * (1.0 - chance) * TRIALS);
        assert_true(fabs((double)n_sent[i] - chance * TRIALS) <= 5.0 * deviation);
    }
}

static void clip_limits_the_scale_to_root_mean_squares(void **state)
{
    (void)state;
    enum { COUNT = 16 };
    float vector[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        vector[i] = i == 3 ? -7.0F : 1.0F; /* the root mean square is 2 */
    }
    check_coded c = check_code("ternary:clip=1.5,rounding=nearest", vector, COUNT, 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(c.decoded[i] == (i == 3 ? -3.0F : 0.0F));
    }
    check_free_coded(&c);
    c = check_code("ternary:clip=100,rounding=nearest", vector, COUNT, 0);
    assert_true(c.decoded[3] == -7.0F);
    check_free_coded(&c);
}

static void check_bad_scales_and_codes_are_refused(void **state)
{
    (void)state;
    const float vector[] = {4.0F, -1.0F, -2.5F, 0.0F};
    check_coded bits = check_code("ternary", vector, 4, 0);
    check_coded trits = check_code("ternary:packing=trits", vector, 4, 0);
    const float bad[] = {NAN, INFINITY, -1.0F};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(check_damaged(&bits, 0, &bad[i], sizeof bad[i]), LMN_ERR_MESSAGE);
        assert_int_equal(check_damaged(&trits, 0, &bad[i], sizeof bad[i]), LMN_ERR_MESSAGE);
    }
    assert_int_equal(check_damaged(&bits, 4, "\x03", 1), LMN_ERR_MESSAGE);
    assert_int_equal(check_damaged(&trits, 4, "\xF3", 1), LMN_ERR_MESSAGE); /* 3^5 */
    assert_int_equal(check_damaged(&trits, 4, "\xF2", 1), LMN_OK);
    check_free_coded(&bits);
    check_free_coded(&trits);
}

static void contraction_is_only_guaranteed_for_nearest_rounding(void **state)
{
    (void)state;
    lmn_compressor *nearest = check_new_compressor("ternary:rounding=nearest,clip=0.5");
    lmn_compressor *stochastic = check_new_compressor("ternary");
    assert_true(lmn_compressor_contraction(nearest, 1, lmn_layer_flat(64)) == 0.25 / 64.0);
    assert_true(lmn_compressor_contraction(stochastic, 1, lmn_layer_flat(64)) == 0.0);
    assert_true(lmn_compressor_contraction(stochastic, 1, lmn_layer_flat(1)) == 1.0);
    lmn_compressor_destroy(nearest);
    lmn_compressor_destroy(stochastic);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_golden_vectors_has_the_documented_bytes),
        cmocka_unit_test(both_packings_stand_for_the_same),
        cmocka_unit_test(stochastic_rounding_sends_with_the_right_chance),
        cmocka_unit_test(clip_limits_the_scale_to_root_mean_squares),
        cmocka_unit_test(check_bad_scales_and_codes_are_refused),
        cmocka_unit_test(contraction_is_only_guaranteed_for_nearest_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

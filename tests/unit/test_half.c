/*
 * fp16 and bf16: ties, limits, and a reference that rounds in double.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void encode_bf16_golden_numbers_has_the_documented_bytes(void **state)
{
    (void)state;
    /* Ties to even, down and up; the largest that is not infinity; a number of bf16. */
    const float vector[] = {0x1.01p0F, -0x1.03p0F, FLT_MAX, -0.0F, -2.5F};
    const uint16_t want[] = {0x3F80, 0xBF82, 0x7F7F, 0x8000, 0xC020, 0};
    check_coded c = check_code("bf16", vector, 5, 0);
    assert_int_equal(c.encoding->job.payload_bytes, sizeof want);
    assert_memory_equal(c.encoding->job.payload, want, sizeof want);
    assert_int_equal(check_damaged(&c, 4, "\x80\x7F", 2), LMN_ERR_MESSAGE); /* infinity */
    assert_int_equal(check_damaged(&c, 4, "\x81\xFF", 2), LMN_ERR_MESSAGE); /* NaN */
    assert_int_equal(check_damaged(&c, 4, "\x7F\xFF", 2), LMN_OK);
    check_free_coded(&c);
}

static void encode_fp16_golden_numbers_has_the_documented_bytes(void **state)
{
    (void)state;
    /* 1 comes to 2^14. Ties to even; a denormal of fp16; less than half of its smallest. */
    const float vector[] = {1.0F, -0x1.006p-1F, 0x1.002p-1F, 0x1p-38F, -0x1.8p-40F};
    const uint16_t want[] = {0x7400, 0xF002, 0x7000, 0x0001, 0x8000, 0};
    const float down = 0x1p-14F;
    check_coded c = check_code("fp16", vector, 5, 0);
    assert_int_equal(c.encoding->job.payload_bytes, 4 + sizeof want);
    assert_memory_equal(c.encoding->job.payload, &down, sizeof down);
    assert_memory_equal(c.encoding->job.payload + 4, want, sizeof want);
    check_free_coded(&c);
}

/* x, rounded to a multiple of the spacing of numbers with `places` places around it. */
static double rounded(double x, int places, double spacing_min)
{
    if (x == 0.0) {
        return x;
    }
    const double spacing = fmax(exp2(floor(log2(fabs(x))) - (places - 1)), spacing_min);
    return nearbyint(x / spacing) * spacing;
}

static void decode_bf16_equals_rounding_in_double(void **state)
{
    (void)state;
    enum { COUNT = 4099 };
    float *vector = check_new_floats(COUNT);
    for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
        check_fill(vector, COUNT, kind, 40);
        check_coded c = check_code("bf16", vector, COUNT, 0);
        for (size_t i = 0; i < COUNT; i++) {
            assert_true((double)c.decoded[i] == rounded((double)vector[i], 8, 0x1p-133));
        }
        check_free_coded(&c);
    }
    lmn_free(vector);
}

/* The spacing of fp16 below 2^-14 is 2^-24; the scale is that of the bucket's largest. */
static void decode_fp16_equals_rounding_in_double(void **state)
{
    (void)state;
    enum { COUNT = 512 };
    float vector[COUNT];
    for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
        check_fill(vector, COUNT, kind, 41);
        double largest = 0.0;
        for (size_t i = 0; i < COUNT; i++) {
            largest = fmax(largest, fabs((double)vector[i]));
        }
        const double down = fmax(exp2(floor(log2(fmax(largest, 0x1p-149))) - 14.0), 0x1p-126);
        check_coded c = check_code("fp16", vector, COUNT, 0);
        for (size_t i = 0; i < COUNT; i++) {
            const double want = rounded((double)vector[i], 11, 0x1p-24 * down);
            const double limit = 0x1.FFCp14 * down;
            assert_true((double)c.decoded[i] == fmax(fmin(want, limit), -limit));
        }
        check_free_coded(&c);
    }
}

static void encode_fp16_at_the_ends_of_the_range(void **state)
{
    (void)state;
    const float huge[] = {FLT_MAX, -FLT_MAX, 1.0F};
    check_coded c = check_code("fp16", huge, 3, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_true(isfinite(c.decoded[i]));
        assert_true(fabsf(c.encoding->vector[i]) <= 0x1p-11F * FLT_MAX);
    }
    check_free_coded(&c);
    const float tiny[] = {0x1p-149F, -0x1.8p-148F, 0.0F, 0x1.FEp-140F};
    c = check_code("fp16", tiny, 4, 0);
    check_same_bits(c.decoded, tiny, 4);
    check_free_coded(&c);
}

static void check_fp16_bad_scales_and_numbers_are_refused(void **state)
{
    (void)state;
    const float vector[] = {1.0F, -0.5F, 0.1F};
    check_coded c = check_code("fp16", vector, 3, 0);
    const float bad[] = {NAN, INFINITY, 0.0F, -1.0F, 3.0F, 0x1p114F, 0x1p-127F};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(check_damaged(&c, 0, &bad[i], sizeof bad[i]), LMN_ERR_MESSAGE);
    }
    const float fine[] = {1.0F, 0x1p113F, 0x1p-126F};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        assert_int_equal(check_damaged(&c, 0, &fine[i], sizeof fine[i]), LMN_OK);
    }
    assert_int_equal(check_damaged(&c, 6, "\x00\x7C", 2), LMN_ERR_MESSAGE); /* infinity */
    assert_int_equal(check_damaged(&c, 6, "\x00\xF8", 2), LMN_ERR_MESSAGE); /* -2^15 */
    assert_int_equal(check_damaged(&c, 6, "\xFF\xF7", 2), LMN_OK);
    check_free_coded(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_bf16_golden_numbers_has_the_documented_bytes),
        cmocka_unit_test(encode_fp16_golden_numbers_has_the_documented_bytes),
        cmocka_unit_test(decode_bf16_equals_rounding_in_double),
        cmocka_unit_test(decode_fp16_equals_rounding_in_double),
        cmocka_unit_test(encode_fp16_at_the_ends_of_the_range),
        cmocka_unit_test(check_fp16_bad_scales_and_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

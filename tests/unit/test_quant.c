/*
 * Quantisation: golden bytes, a reference in plain C, bounds of the error, and no bias where none
 * is promised.
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
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void expect_bytes(const char *spec, const float *vector, size_t count, float scale,
                         const unsigned char *codes, size_t n_codes)
{
    check_coded c = check_code(spec, vector, count, 0);
    assert_int_equal(c.encoding->job.payload_bytes, sizeof scale + n_codes);
    assert_memory_equal(c.encoding->job.payload, &scale, sizeof scale);
    assert_memory_equal(c.encoding->job.payload + sizeof scale, codes, n_codes);
    check_free_coded(&c);
}

static void encode_golden_buckets_has_the_documented_bytes(void **state)
{
    (void)state;
    const float whole[] = {7.0F, -3.0F, 1.0F, 0.0F};
    expect_bytes("quant", whole, 4, 7.0F, (const unsigned char[]){0x4E, 0x78, 0, 0}, 4);
    const float tie[] = {7.0F, -3.5F, 2.5F, 0.0F}; /* to even: -4 and 2 */
    expect_bytes("quant", tie, 4, 7.0F, (const unsigned char[]){0x3E, 0x79, 0, 0}, 4);
    const float signs[] = {1.0F, -3.0F, 0.0F, 2.0F};
    expect_bytes("quant:bits=1", signs, 4, 1.5F, (const unsigned char[]){0x0D, 0, 0, 0}, 4);
    const float norm[] = {3.0F, -4.0F, 0.0F, 0.0F}; /* of 5: 4.2 and -5.6 sevenths */
    expect_bytes("quant:norm=2", norm, 4, 5.0F, (const unsigned char[]){0x1B, 0x77, 0, 0}, 4);
    const float three[] = {3.0F, -3.0F, 1.0F}; /* codes 6, 0, 4 of 3 bits: 0x106 */
    expect_bytes("quant:bits=3", three, 3, 3.0F, (const unsigned char[]){0x06, 0x01, 0, 0}, 4);
}

static void payload_of_every_width_is_a_scale_and_whole_words(void **state)
{
    (void)state;
    for (size_t bits = 1; bits <= 8; bits++) {
        char spec[32] = "";
        (void)snprintf(spec, sizeof spec, "quant:bits=%zu", bits);
        lmn_compressor *compressor = check_new_compressor(spec);
        const size_t level = lmn_compressor_static_level(compressor);
        assert_int_equal(lmn_compressor_payload_bytes(compressor, level, lmn_layer_flat(1024)),
                         2 * (4 + 64 * bits));
        assert_int_equal(lmn_compressor_payload_bytes(compressor, level, lmn_layer_flat(512 + 9)),
                         4 + 64 * bits + 4 + (2 * bits + 3) / 4 * 4);
        assert_int_equal(lmn_compressor_part_bytes(compressor, level, 0), 0);
        lmn_compressor_destroy(compressor);
    }
}

/* C(v) of a whole vector as one bucket, straight from the definition. */
static void reference(const float *vector, size_t count, int bits, float *out)
{
    const float limit = (float)((1 << (bits - 1)) - 1);
    float scale = 0.0F;
    for (size_t i = 0; i < count; i++) {
        scale = fmaxf(scale, fabsf(vector[i]));
    }
    for (size_t i = 0; i < count; i++) {
        const float inverse = limit / scale;
        const float step = scale / limit;
        out[i] = scale < 0x1p-100F ? 0.0F : rintf(vector[i] * inverse) * step;
    }
}

static void decode_equals_the_definition(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    float vector[COUNT];
    float want[COUNT];
    for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
        check_fill(vector, COUNT, kind, 21);
        for (int bits = 2; bits <= 8; bits++) {
            char spec[32] = "";
            (void)snprintf(spec, sizeof spec, "quant:bits=%d", bits);
            check_coded c = check_code(spec, vector, COUNT, 0);
            reference(vector, COUNT, bits, want);
            for (size_t i = 0; i < COUNT; i++) {
                assert_true(c.decoded[i] == want[i]);
                assert_true(c.encoding->vector[i] == vector[i] - want[i]);
            }
            check_free_coded(&c);
        }
    }
}

static void encode_what_was_decoded_changes_nothing(void **state)
{
    (void)state;
    enum { COUNT = 4096 };
    float *vector = check_new_floats(COUNT);
    check_fill(vector, COUNT, CHECK_NORMAL, 8);
    static const char *const specs[] = {"quant:bits=8,bucket=4096", "quant:bits=5", "quant:bits=2",
                                        "quant:bits=1"};
    for (size_t s = 0; s < sizeof specs / sizeof specs[0]; s++) {
        check_coded once = check_code(specs[s], vector, COUNT, 0);
        check_coded twice = check_code(specs[s], once.decoded, COUNT, 0);
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(fabsf(once.decoded[i] - twice.decoded[i]) <=
                        0x1p-22F * fabsf(once.decoded[i]));
        }
        check_free_coded(&once);
        check_free_coded(&twice);
    }
    lmn_free(vector);
}

static void error_of_any_number_is_at_most_half_a_step(void **state)
{
    (void)state;
    enum { COUNT = 512 };
    float vector[COUNT];
    check_fill(vector, COUNT, CHECK_WIDE, 4);
    const double norm = sqrt(check_energy(vector, COUNT));
    double largest = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        largest = fmax(largest, fabs((double)vector[i]));
    }
    for (int bits = 2; bits <= 8; bits++) {
        const double steps = (double)((1 << (bits - 1)) - 1);
        for (int is_norm = 0; is_norm < 2; is_norm++) {
            char spec[40] = "";
            (void)snprintf(spec, sizeof spec, "quant:bits=%d,norm=%s", bits,
                           is_norm != 0 ? "2" : "max");
            check_coded c = check_code(spec, vector, COUNT, 0);
            const double bound = (is_norm != 0 ? norm : largest) / (2.0 * steps);
            for (size_t i = 0; i < COUNT; i++) {
                assert_true(fabs((double)c.encoding->vector[i]) <= bound * (1.0 + 0x1p-16));
            }
            check_free_coded(&c);
        }
    }
}

/* Means over steps are within 5 deviations, for every number. */
static void expect_no_bias(const char *spec, double steps)
{
    enum { COUNT = 64, TRIALS = 10000 };
    float vector[COUNT];
    double sums[COUNT] = {0.0};
    check_fill(vector, COUNT, CHECK_NORMAL, 30);
    float scale = 0.0F;
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        check_coded c = check_code(spec, vector, COUNT, trial);
        memcpy(&scale, c.encoding->job.payload, sizeof scale);
        for (size_t i = 0; i < COUNT; i++) {
            sums[i] += (double)c.decoded[i];
        }
        check_free_coded(&c);
    }
    const double step = (double)scale / steps;
    for (size_t i = 0; i < COUNT; i++) {
        const double part = fabs((double)vector[i]) / step;
        const double up = part - floor(part);
        const double deviation = step * sqrt(up * (1.0 - up) / TRIALS);
        assert_true(fabs(sums[i] / TRIALS - (double)vector[i]) <= 5.0 * deviation + 1e-6 * step);
    }
}

static void stochastic_rounding_has_no_bias(void **state)
{
    (void)state;
    expect_no_bias("quant:rounding=stochastic,bits=3", 3.0);
    expect_no_bias("quant:rounding=stochastic,norm=2", 7.0);
}

static void stochastic_rounding_depends_on_seed_step_and_place(void **state)
{
    (void)state;
    enum { COUNT = 64 };
    float vector[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        vector[i] = i == 0 ? 1.0F : 0.5F;
    }
    check_coded one = check_code("quant:bits=2,rounding=stochastic", vector, COUNT, 1);
    check_coded two = check_code("quant:bits=2,rounding=stochastic", vector, COUNT, 2);
    assert_true(memcmp(one.encoding->job.payload, two.encoding->job.payload,
                       one.encoding->job.payload_bytes) != 0);
    size_t n_up = 0;
    for (size_t i = 1; i < COUNT; i++) {
        n_up += one.decoded[i] == 1.0F;
    }
    assert_true(n_up > 12 && n_up < 52); /* of 63, 5 deviations */
    check_free_coded(&one);
    check_free_coded(&two);
}

static void encode_numbers_at_the_ends_of_the_range(void **state)
{
    (void)state;
    const float tiny[] = {0x1p-101F, -0x1p-120F, 1e-45F};
    check_coded c = check_code("quant", tiny, 3, 0);
    assert_true(c.decoded[0] == 0.0F && c.decoded[1] == 0.0F && c.decoded[2] == 0.0F);
    check_same_bits(c.encoding->vector, tiny, 3);
    check_free_coded(&c);
    static const char *const specs[] = {"quant:bits=2", "quant:bits=3", "quant:bits=8",
                                        "quant:norm=2", "quant:bits=1"};
    const float huge[] = {FLT_MAX, -FLT_MAX, FLT_MAX, 0.75F * FLT_MAX};
    for (size_t s = 0; s < sizeof specs / sizeof specs[0]; s++) {
        c = check_code(specs[s], huge, 4, 0);
        for (size_t i = 0; i < 4; i++) {
            assert_true(isfinite(c.decoded[i]));
            assert_true(fabsf(c.encoding->vector[i]) <= 0.5F * FLT_MAX);
        }
        check_free_coded(&c);
    }
}

static void check_bad_scales_and_codes_are_refused(void **state)
{
    (void)state;
    const float vector[] = {7.0F, -3.0F, 1.0F, 0.0F, 2.0F};
    check_coded c = check_code("quant", vector, 5, 0);
    const float scales[] = {NAN, INFINITY, -1.0F, FLT_MAX};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(check_damaged(&c, 0, &scales[i], sizeof scales[i]), LMN_ERR_MESSAGE);
    }
    const float fine = 0.25F;
    assert_int_equal(check_damaged(&c, 0, &fine, sizeof fine), LMN_OK);
    assert_int_equal(check_damaged(&c, 4, "\x4F", 1), LMN_ERR_MESSAGE); /* code 15 */
    assert_int_equal(check_damaged(&c, 6, "\xF3", 1), LMN_OK);          /* past the last number */
    check_free_coded(&c);
}

static void levels_are_bits_in_descending_order(void **state)
{
    (void)state;
    lmn_compressor *compressor = check_new_compressor("quant:levels=2/6/3");
    static const char *const texts[] = {"dense", "bits=6", "bits=4", "bits=3", "bits=2"};
    assert_int_equal(lmn_compressor_level_count(compressor), 5);
    assert_int_equal(lmn_compressor_static_level(compressor), 2);
    for (size_t level = 0; level < 5; level++) {
        char text[32] = "";
        lmn_compressor_level_format(compressor, level, text, sizeof text);
        assert_string_equal(text, texts[level]);
    }
    lmn_compressor_destroy(compressor);
    compressor = check_new_compressor("quant");
    assert_int_equal(lmn_compressor_level_count(compressor), 8);
    lmn_compressor_destroy(compressor);
}

static void create_with_keys_that_do_not_fit_is_refused(void **state)
{
    (void)state;
    static const char *const specs[] = {"quant:bits=9",       "quant:bits=0",
                                        "quant:bucket=100",   "quant:bucket=16",
                                        "quant:levels=2.5",   "quant:bits=1,rounding=stochastic",
                                        "quant:bits=1,norm=2"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        lmn_compressor *compressor = NULL;
        lmn_error err = lmn_error_none();
        assert_int_equal(lmn_compressor_create(specs[i], &compressor, &err), LMN_ERR_USAGE);
        assert_non_null(strstr(err.message, "quant"));
    }
}

static double delta_of(const char *spec, size_t count)
{
    lmn_compressor *compressor = check_new_compressor(spec);
    const double delta = lmn_compressor_contraction(
        compressor, lmn_compressor_static_level(compressor), lmn_layer_flat(count));
    lmn_compressor_destroy(compressor);
    return delta;
}

static void contraction_has_the_documented_values(void **state)
{
    (void)state;
    assert_true(fabs(delta_of("quant:bits=8", 5000) - (1.0 - 511.0 / (4.0 * 127.0 * 127.0))) <
                1e-15);
    assert_true(delta_of("quant:bits=2", 5000) == 1.0 / 512.0);
    assert_true(delta_of("quant:bits=1", 100) == 0.01);
    assert_true(delta_of("quant:bits=2", 1) == 1.0);
    assert_true(delta_of("quant:bits=2,rounding=stochastic", 5000) == 0.0);
    assert_true(fabs(delta_of("quant:norm=2,bits=8", 5000) -
                     (1.0 - 512.0 / (4.0 * 127.0 * 127.0))) < 1e-15);
}

/* What eta takes as the share of energy that is kept agrees with what is kept of normal numbers. */
static void eta_is_half_of_what_is_kept_of_normal_numbers(void **state)
{
    (void)state;
    enum { COUNT = 1 << 16 };
    static const char *const specs[] = {"quant:bits=8", "quant:bits=4",        "quant:bits=3",
                                        "quant:bits=2", "quant:norm=2,bits=6", "quant:bits=1"};
    float *vector = check_new_floats(COUNT);
    check_fill(vector, COUNT, CHECK_NORMAL, 77);
    for (size_t s = 0; s < sizeof specs / sizeof specs[0]; s++) {
        check_coded c = check_code(specs[s], vector, COUNT, 0);
        const lmn_eta_rule rule =
            lmn_compressor_eta(c.compressor, c.encoding->job.level, lmn_layer_flat(COUNT));
        const double kept =
            1.0 - check_energy(c.encoding->vector, COUNT) / check_energy(vector, COUNT);
        assert_true(fabs(rule.suggested - 0.5 * kept) < 0.02);
        assert_true(rule.limit > rule.suggested);
        check_free_coded(&c);
    }
    lmn_free(vector);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_golden_buckets_has_the_documented_bytes),
        cmocka_unit_test(payload_of_every_width_is_a_scale_and_whole_words),
        cmocka_unit_test(decode_equals_the_definition),
        cmocka_unit_test(encode_what_was_decoded_changes_nothing),
        cmocka_unit_test(error_of_any_number_is_at_most_half_a_step),
        cmocka_unit_test(stochastic_rounding_has_no_bias),
        cmocka_unit_test(stochastic_rounding_depends_on_seed_step_and_place),
        cmocka_unit_test(encode_numbers_at_the_ends_of_the_range),
        cmocka_unit_test(check_bad_scales_and_codes_are_refused),
        cmocka_unit_test(levels_are_bits_in_descending_order),
        cmocka_unit_test(create_with_keys_that_do_not_fit_is_refused),
        cmocka_unit_test(contraction_has_the_documented_values),
        cmocka_unit_test(eta_is_half_of_what_is_kept_of_normal_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

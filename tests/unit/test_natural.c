/*
 * Natural compression: powers of two, exactly and without bias.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos/compress/simd/buckets.h"
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

static void encode_golden_vector_has_the_documented_bytes(void **state)
{
    (void)state;
    const float vector[] = {3.0F, 3.5F, -1.0F, 0.0F, -0.3F};
    const float want[] = {2.0F, 4.0F, -1.0F, 0.0F, -0.25F};
    const unsigned char bytes[12] = {128, 129, 127, 0, 125, 0, 0, 0, 0x14};
    check_coded c = check_code("natural", vector, 5, 0);
    check_same_bits(c.decoded, want, 5);
    assert_int_equal(c.encoding->job.payload_bytes, sizeof bytes);
    assert_memory_equal(c.encoding->job.payload, bytes, sizeof bytes);
    check_free_coded(&c);
}

static void payload_of_whole_buckets_takes_nine_bits_a_number(void **state)
{
    (void)state;
    lmn_compressor *compressor = check_new_compressor("natural");
    assert_int_equal(lmn_compressor_payload_bytes(compressor, 1, lmn_layer_flat(4096)),
                     4096 / 8 * 9);
    lmn_compressor_destroy(compressor);
}

static void encode_powers_of_two_loses_nothing(void **state)
{
    (void)state;
    enum { COUNT = 254 };
    float vector[COUNT];
    for (int i = 0; i < COUNT; i++) {
        vector[i] = ldexpf(i % 2 == 0 ? 1.0F : -1.0F, i - 126);
    }
    static const char *const specs[] = {"natural", "natural:rounding=stochastic"};
    for (size_t s = 0; s < 2; s++) {
        check_coded c = check_code(specs[s], vector, COUNT, 4);
        check_same_bits(c.decoded, vector, COUNT);
        check_free_coded(&c);
    }
}

static void error_of_nearest_rounding_is_at_most_a_third(void **state)
{
    (void)state;
    enum { COUNT = 4096 };
    float *vector = check_new_floats(COUNT);
    check_fill(vector, COUNT, CHECK_WIDE, 14);
    vector[0] = 1.5F; /* the worst of all */
    check_coded c = check_code("natural", vector, COUNT, 0);
    assert_true(c.encoding->vector[0] == 0.5F);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(fabs((double)c.encoding->vector[i]) <= fabs((double)vector[i]) / 3.0);
    }
    check_free_coded(&c);
    lmn_free(vector);
}

/* Over all 2^23 words the mean is x, counted in whole units of x's last place. */
static void stochastic_rounding_of_every_word_has_exactly_the_mean(void **state)
{
    (void)state;
    enum { CHUNK = 4096 };
    const uint32_t fractions[] = {0, 1, 0x2AAAAA, 0x400000, 0x7FFFFF};
    float *x = check_new_floats(CHUNK);
    float *sent = check_new_floats(CHUNK);
    uint32_t *words = check_new_bytes(CHUNK * sizeof *words);
    uint8_t *codes = check_new_bytes(2 * (size_t)CHUNK);
    for (size_t f = 0; f < sizeof fractions / sizeof fractions[0]; f++) {
        for (size_t i = 0; i < CHUNK; i++) {
            x[i] = (float)(0x800000U + fractions[f]); /* 24 bits: a whole number */
        }
        uint64_t sum = 0;
        for (uint32_t first = 0; first < 1U << 23; first += CHUNK) {
            for (uint32_t i = 0; i < CHUNK; i++) {
                words[i] = (first + i) << 9 | 0x155U;
            }
            lmn__bucket_kernels_variant(0)->code->to_powers_randomly(x, CHUNK, words, codes,
                                                                     codes + CHUNK, sent);
            for (size_t i = 0; i < CHUNK; i++) {
                sum += (uint64_t)sent[i];
            }
        }
        assert_true(sum == (uint64_t)(0x800000U + fractions[f]) << 23);
    }
    lmn_free(x);
    lmn_free(sent);
    lmn_free(words);
    lmn_free(codes);
}

static void encode_numbers_at_the_ends_of_the_range(void **state)
{
    (void)state;
    const float vector[] = {FLT_MAX, -FLT_MAX, 0x1p-127F, -1e-45F, -0.0F};
    const float want[] = {0x1p127F, -0x1p127F, 0.0F, -0.0F, -0.0F};
    check_coded c = check_code("natural", vector, 5, 0);
    for (size_t i = 0; i < 5; i++) {
        assert_true(c.decoded[i] == want[i]);
    }
    assert_int_equal(check_damaged(&c, 1, "\xFF", 1), LMN_ERR_MESSAGE);
    assert_int_equal(check_damaged(&c, 1, "\xFE", 1), LMN_OK);
    check_free_coded(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_golden_vector_has_the_documented_bytes),
        cmocka_unit_test(payload_of_whole_buckets_takes_nine_bits_a_number),
        cmocka_unit_test(encode_powers_of_two_loses_nothing),
        cmocka_unit_test(error_of_nearest_rounding_is_at_most_a_third),
        cmocka_unit_test(stochastic_rounding_of_every_word_has_exactly_the_mean),
        cmocka_unit_test(encode_numbers_at_the_ends_of_the_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

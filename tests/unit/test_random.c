/*
 * Random numbers: published vectors, the same bits however a stream is cut, moments, permutations.
 *
 * The statistical bounds are five standard deviations of the estimate; the seeds are fixed, so a
 * test that passes once passes always.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SAMPLES 1000000U
#define CUT     1031U

static const lmn_stream stream = {
    .seed = 42, .layer = 3, .step = 17, .purpose = LMN_STREAM_INIT, .rank = 1};

/* SAMPLES values of the stream, one portion at a time, as raw moments 1 to 4. */
typedef void (*fill_fn)(const lmn_stream *stream, uint64_t first, size_t count, float *out);

static void moments(fill_fn fill, double sums[5], float *min, float *max)
{
    float values[1000];
    memset(sums, 0, 5 * sizeof *sums);
    *min = INFINITY;
    *max = -INFINITY;
    for (uint64_t first = 0; first < SAMPLES; first += 1000) {
        fill(&stream, first, 1000, values);
        for (size_t i = 0; i < 1000; i++) {
            double power = 1.0;
            for (size_t k = 0; k < 5; k++) {
                sums[k] += power / SAMPLES;
                power *= (double)values[i];
            }
            *min = fminf(*min, values[i]);
            *max = fmaxf(*max, values[i]);
        }
    }
}

static void assert_within(double value, double expected, double sigma)
{
    if (!(fabs(value - expected) <= 5.0 * sigma)) {
        print_error("%g is not within 5 * %g of %g\n", value, sigma, expected);
    }
    assert_true(fabs(value - expected) <= 5.0 * sigma);
}

/* kat_vectors of Random123 1.09, philox4x32 with 10 rounds. */
static void philox_published_vectors_match(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4];
        uint32_t key[2];
        uint32_t out[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
         {UINT32_MAX, UINT32_MAX},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        lmn_philox4x32(vectors[i].counter, vectors[i].key, out);
        assert_memory_equal(out, vectors[i].out, sizeof out);
    }
}

static void philox_output_over_its_input_is_the_same(void **state)
{
    (void)state;
    uint32_t block[4] = {0};
    const uint32_t key[2] = {0};
    lmn_philox4x32(block, key, block);
    assert_int_equal(block[0], 0x6627e8d5);
    assert_int_equal(block[3], 0x9b00dbd8);
}

/* What the header promises: element i is word i % 4 of block i / 4. */
static void stream_u32_any_element_is_its_word_of_its_block(void **state)
{
    (void)state;
    const uint64_t elements[] = {0, 5, (UINT64_C(1) << 33) + 2, (UINT64_C(1) << 34) - 1};
    for (size_t i = 0; i < 4; i++) {
        const uint32_t counter[4] = {(uint32_t)(elements[i] / 4), stream.layer, stream.step,
                                     ((uint32_t)stream.purpose << 16) | stream.rank};
        const uint32_t key[2] = {(uint32_t)stream.seed, 0};
        uint32_t block[4];
        uint32_t word = 0;
        lmn_philox4x32(counter, key, block);
        lmn_stream_u32(&stream, elements[i], 1, &word);
        assert_int_equal(word, block[elements[i] % 4]);
    }
}

static void stream_u32_cut_anywhere_gives_the_same_bits(void **state)
{
    (void)state;
    uint32_t whole[CUT];
    uint32_t parts[CUT];
    lmn_stream_u32(&stream, 7, CUT, whole);
    for (size_t cut = 0; cut <= CUT; cut++) {
        lmn_stream_u32(&stream, 7, cut, parts);
        lmn_stream_u32(&stream, 7 + cut, CUT - cut, parts + cut);
        assert_memory_equal(parts, whole, sizeof whole);
    }
}

static void assert_cuts_agree(fill_fn fill)
{
    float whole[CUT];
    float parts[CUT];
    for (uint64_t first = 0; first < 2; first++) {
        fill(&stream, first, CUT, whole);
        for (size_t cut = 0; cut <= CUT; cut++) {
            memset(parts, 0, sizeof parts);
            fill(&stream, first, cut, parts);
            fill(&stream, first + cut, CUT - cut, parts + cut);
            assert_memory_equal(parts, whole, sizeof whole);
        }
    }
}

static void stream_uniform_cut_anywhere_gives_the_same_bits(void **state)
{
    (void)state;
    assert_cuts_agree(lmn_stream_uniform);
}

static void stream_normal_cut_anywhere_gives_the_same_bits(void **state)
{
    (void)state;
    assert_cuts_agree(lmn_stream_normal);
}

static void stream_any_field_changed_changes_the_words(void **state)
{
    (void)state;
    lmn_stream others[6] = {stream, stream, stream, stream, stream, stream};
    others[0].seed++;
    others[1].seed += UINT64_C(1) << 32;
    others[2].layer++;
    others[3].step++;
    others[4].purpose++;
    others[5].rank++;
    uint32_t words[64];
    lmn_stream_u32(&stream, 0, 64, words);
    for (size_t i = 0; i < 6; i++) {
        uint32_t other_words[64];
        lmn_stream_u32(&others[i], 0, 64, other_words);
        for (size_t j = 0; j < 64; j++) {
            assert_int_not_equal(words[j], other_words[j]);
        }
    }
}

static void stream_fill_of_nothing_writes_nothing(void **state)
{
    (void)state;
    uint32_t word = 7;
    float value = 7.0F;
    lmn_stream_u32(&stream, 3, 0, &word);
    lmn_stream_uniform(&stream, 3, 0, &value);
    lmn_stream_normal(&stream, 3, 0, &value);
    assert_int_equal(word, 7);
    assert_true(value == 7.0F);
}

static void stream_uniform_range_and_moments_are_right(void **state)
{
    (void)state;
    double sums[5];
    float min = 0.0F;
    float max = 0.0F;
    moments(lmn_stream_uniform, sums, &min, &max);
    assert_true(min >= 0.0F && max < 1.0F);
    assert_true(min < 1e-4F && max > 1.0F - 1e-4F);
    /* Variance of x^k: 1 / (2k + 1) - 1 / (k + 1)^2. */
    for (int k = 1; k <= 4; k++) {
        const double mean = 1.0 / (k + 1.0);
        assert_within(sums[k], mean, sqrt((1.0 / (2.0 * k + 1.0) - mean * mean) / SAMPLES));
    }
}

static void stream_normal_moments_are_right(void **state)
{
    (void)state;
    static const double mean[5] = {1.0, 0.0, 1.0, 0.0, 3.0};
    static const double mean_of_square[5] = {1.0, 1.0, 3.0, 15.0, 105.0};
    double sums[5];
    float min = 0.0F;
    float max = 0.0F;
    moments(lmn_stream_normal, sums, &min, &max);
    for (int k = 1; k <= 4; k++) {
        assert_within(sums[k], mean[k], sqrt((mean_of_square[k] - mean[k] * mean[k]) / SAMPLES));
    }
    /* Of a million, the largest lies between 4 and 7 all but once in 10^5 times. */
    assert_true(isfinite(min) && isfinite(max));
    assert_true(min < -4.0F && min > -7.0F && max > 4.0F && max < 7.0F);
}

/* Element i is Box-Muller of words i and i ^ 1, by a second implementation. */
static void stream_normal_single_elements_follow_box_muller(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        uint32_t words[2];
        float value = 0.0F;
        lmn_stream_u32(&stream, i & ~UINT64_C(1), 2, words);
        lmn_stream_normal(&stream, i, 1, &value);
        const double radius = sqrt(-2.0 * log((words[0] + 1.0) / 4294967296.0));
        const double angle = 2.0 * acos(-1.0) * words[1] / 4294967296.0;
        assert_true(fabs((double)value - radius * (i % 2 == 0 ? cos(angle) : sin(angle))) < 1e-6);
    }
}

static void permute_every_small_size_is_a_bijection(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 257; n++) {
        bool seen[257] = {false};
        for (uint64_t i = 0; i < n; i++) {
            const uint64_t to = lmn_permute(5, n, i, n);
            assert_true(to < n);
            assert_false(seen[to]);
            seen[to] = true;
        }
    }
}

static void permute_huge_sizes_stay_in_range(void **state)
{
    (void)state;
    const uint64_t sizes[] = {UINT64_C(1) << 32, (UINT64_C(1) << 32) + 1, UINT64_C(1) << 63,
                              UINT64_MAX};
    for (size_t s = 0; s < 4; s++) {
        for (uint64_t i = 0; i < 100; i++) {
            assert_true(lmn_permute(5, 0, sizes[s] - 1 - i, sizes[s]) < sizes[s]);
        }
    }
}

static size_t n_equal(uint64_t seed, uint64_t round, uint64_t other_seed, uint64_t other_round)
{
    size_t count = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        count += lmn_permute(seed, round, i, 1000) == lmn_permute(other_seed, other_round, i, 1000);
    }
    return count;
}

/* Two random permutations agree in one place on average, and in more than 10 once in 10^8 times. */
static void permute_other_round_or_seed_is_another_permutation(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 20; round++) {
        assert_true(n_equal(1, round, 1, round + 1) <= 10);
        assert_true(n_equal(1, round, 1, round + (UINT64_C(1) << 32)) <= 10);
        assert_true(n_equal(round, 0, round + 1, 0) <= 10);
        assert_true(n_equal(round, 0, round + (UINT64_C(1) << 32), 0) <= 10);
    }
    assert_int_equal(n_equal(1, 2, 1, 2), 1000);
}

/* Every index must go everywhere equally often over the rounds, also for tiny sizes. */
static void permute_over_rounds_places_are_uniform(void **state)
{
    (void)state;
    enum { ROUNDS = 20000 };
    const uint64_t sizes[] = {2, 3, 5, 16, 17};
    for (size_t s = 0; s < 5; s++) {
        const uint64_t n = sizes[s];
        size_t counts[17][17] = {{0}};
        for (uint64_t round = 0; round < ROUNDS; round++) {
            for (uint64_t i = 0; i < n; i++) {
                counts[i][lmn_permute(9, round, i, n)]++;
            }
        }
        const double p = 1.0 / (double)n;
        for (uint64_t i = 0; i < n; i++) {
            for (uint64_t to = 0; to < n; to++) {
                assert_within((double)counts[i][to], ROUNDS * p, sqrt(ROUNDS * p * (1.0 - p)));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_published_vectors_match),
        cmocka_unit_test(philox_output_over_its_input_is_the_same),
        cmocka_unit_test(stream_u32_any_element_is_its_word_of_its_block),
        cmocka_unit_test(stream_u32_cut_anywhere_gives_the_same_bits),
        cmocka_unit_test(stream_uniform_cut_anywhere_gives_the_same_bits),
        cmocka_unit_test(stream_normal_cut_anywhere_gives_the_same_bits),
        cmocka_unit_test(stream_any_field_changed_changes_the_words),
        cmocka_unit_test(stream_fill_of_nothing_writes_nothing),
        cmocka_unit_test(stream_uniform_range_and_moments_are_right),
        cmocka_unit_test(stream_normal_moments_are_right),
        cmocka_unit_test(stream_normal_single_elements_follow_box_muller),
        cmocka_unit_test(permute_every_small_size_is_a_bijection),
        cmocka_unit_test(permute_huge_sizes_stay_in_range),
        cmocka_unit_test(permute_other_round_or_seed_is_another_permutation),
        cmocka_unit_test(permute_over_rounds_places_are_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

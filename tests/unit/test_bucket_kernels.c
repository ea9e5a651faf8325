/*
 * The kernels of sliced compressors: every instruction set gives the bits of the portable one, and
 * they agree with plain loops.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos/compress/simd/buckets.h"
#include "algos_check.h"
#include "lamina/memory.h"
#include "lamina/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* The longest, and lengths that end anywhere in a register. */
#define N ((size_t)1061)

static const size_t lengths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 511, 512, N};

#define N_LENGTHS (sizeof lengths / sizeof lengths[0])

/* Everything that kernels write, zero where they do not. */
typedef struct outcome {
    double numbers[6];
    uint32_t words[N + 3];
    uint8_t codes[8][N + 8];
    uint8_t packed[8][N + 8];
    uint8_t unpacked[9][N + 8];
    uint16_t halves[2][N];
    float sent[7][N];
    float acc[5][N];
} outcome;

static const lmn_stream stream = {.seed = UINT64_C(0x123456789ABCDEF),
                                  .layer = 5,
                                  .step = 77,
                                  .purpose = LMN_STREAM_COMPRESS,
                                  .rank = 3};

static void run_codes(const lmn__code_kernels *code, const float *x, size_t n, outcome *o)
{
    const lmn__grid grid = {.inverse = 7.0F / 1.5F, .step = 1.5F / 7.0F, .limit = 7.0F};
    const lmn__grid fine = {.inverse = 127.0F / 3.0F, .step = 3.0F / 127.0F, .limit = 127.0F};
    const lmn__sides sides = {.negative = -0.3F, .other = 0.7F};
    code->to_grid(x, n, &grid, o->codes[0], o->sent[0]);
    code->to_grid_randomly(x, n, &fine, o->words, o->codes[1], o->sent[1]);
    code->to_signs(x, n, &sides, o->codes[2], o->sent[2]);
    code->to_powers(x, n, o->codes[3], o->codes[4], o->sent[3]);
    code->to_powers_randomly(x, n, o->words, o->codes[5], o->codes[6], o->sent[4]);
    code->add_grid(o->codes[1], n, &fine, 0.3F, o->acc[0]);
    code->add_signs(o->codes[2], n, &sides, 0.3F, o->acc[1]);
    code->add_powers(o->codes[3], o->codes[4], n, 0.3F, o->acc[2]);
    o->numbers[4] = code->largest(o->codes[1], n);
    const size_t groups = (n + 7) / 8;
    for (unsigned bits = 1; bits <= 8; bits++) {
        for (size_t i = 0; i < n; i++) {
            o->codes[7][i] = (uint8_t)(o->words[i] & ((1U << bits) - 1));
        }
        code->pack(o->codes[7], groups, bits, o->packed[bits - 1]);
        code->unpack(o->packed[bits - 1], groups, bits, o->unpacked[bits - 1]);
        assert_memory_equal(o->unpacked[bits - 1], o->codes[7], n);
    }
    for (size_t i = 0; i < n; i++) {
        o->codes[7][i] = (uint8_t)(o->words[i] % 3);
    }
    code->pack_trits(o->codes[7], (n + 4) / 5, o->packed[0]);
    code->unpack_trits(o->packed[0], (n + 4) / 5, o->unpacked[8]);
    assert_memory_equal(o->unpacked[8], o->codes[7], n);
}

static void run(const lmn__bucket_kernels *kernels, const float *x, size_t n, outcome *o)
{
    memset(o, 0, sizeof *o);
    kernels->word->words(&stream, 1000, (n + 3) / 4, o->words);
    o->numbers[0] = kernels->measure->largest_key(x, n);
    o->numbers[1] = kernels->measure->magnitudes(x, n);
    o->numbers[2] = kernels->measure->energy(x, n);
    kernels->measure->sides(x, n, o->numbers + 3);
    run_codes(kernels->code, x, n, o);
    kernels->half->to_bf16(x, n, o->halves[0], o->sent[5]);
    kernels->half->add_bf16(o->halves[0], n, 0.3F, o->acc[3]);
    kernels->half->to_fp16(x, n, 4096.0F, 1.0F / 4096.0F, o->halves[1], o->sent[6]);
    kernels->half->add_fp16(o->halves[1], n, 1.0F / 4096.0F, 0.3F, o->acc[4]);
    o->numbers[5] = kernels->measure->distance(x, o->sent[5], n) +
                    (double)kernels->half->largest(o->halves[0], n);
    kernels->measure->difference(x, o->sent[0], n, o->sent[0]);
}

static void every_variant_gives_the_bits_of_the_portable_one(void **state)
{
    (void)state;
    size_t n_variants = 0;
    while (lmn__bucket_kernels_variant(n_variants) != NULL) {
        n_variants++;
    }
    assert_true(n_variants >= 1);
    const lmn__bucket_kernels *portable = lmn__bucket_kernels_variant(n_variants - 1);
    assert_string_equal(portable->isa, "baseline");
    outcome *want = check_new_bytes(sizeof *want);
    outcome *have = check_new_bytes(sizeof *have);
    float *x = check_new_floats(N + 1);
    for (check_kind kind = CHECK_NORMAL; kind < CHECK_KINDS; kind++) {
        check_fill(x, N + 1, kind, 3);
        for (size_t i = 0; i < N_LENGTHS; i++) {
            const float *from = x + i % 2; /* aligned and not */
            run(portable, from, lengths[i], want);
            for (size_t v = 0; v + 1 < n_variants; v++) {
                run(lmn__bucket_kernels_variant(v), from, lengths[i], have);
                assert_memory_equal(have, want, sizeof *want);
            }
        }
    }
    lmn_free(want);
    lmn_free(have);
    lmn_free(x);
}

static void words_of_every_variant_are_those_of_the_stream(void **state)
{
    (void)state;
    enum { BLOCKS = 71 };
    uint32_t want[4 * (size_t)BLOCKS];
    lmn_stream_u32(&stream, 4 * UINT64_C(0xFFFFFF00), 4 * (size_t)BLOCKS, want);
    for (size_t v = 0; lmn__bucket_kernels_variant(v) != NULL; v++) {
        uint32_t have[4 * (size_t)BLOCKS] = {0};
        lmn__bucket_kernels_variant(v)->word->words(&stream, UINT32_C(0xFFFFFF00), BLOCKS, have);
        assert_memory_equal(have, want, sizeof want);
    }
}

static void measures_equal_plain_sums(void **state)
{
    (void)state;
    enum { COUNT = 37 };
    float x[COUNT];
    double magnitudes = 0.0;
    double energy = 0.0;
    double below = 0.0;
    double other = 0.0;
    for (int i = 0; i < COUNT; i++) {
        x[i] = (float)(i * 7 % 11 - 5) * 0.25F; /* sums are exact */
        magnitudes += x[i] < 0.0F ? -(double)x[i] : (double)x[i];
        energy += (double)x[i] * (double)x[i];
        below += x[i] < 0.0F ? (double)x[i] : 0.0;
        other += x[i] < 0.0F ? 0.0 : (double)x[i];
    }
    for (size_t v = 0; lmn__bucket_kernels_variant(v) != NULL; v++) {
        const lmn__measure_kernels *measure = lmn__bucket_kernels_variant(v)->measure;
        double sides[2] = {0.0};
        measure->sides(x, COUNT, sides);
        assert_true(measure->magnitudes(x, COUNT) == magnitudes);
        assert_true(measure->energy(x, COUNT) == energy);
        assert_true(sides[0] == below && sides[1] == other);
        assert_int_equal(measure->largest_key(x, COUNT), 0x3FA00000); /* 1.25 */
    }
}

/* Bit b of code i is bit bits i + b of the bytes. */
static void pack_puts_the_first_code_lowest(void **state)
{
    (void)state;
    uint8_t codes[24];
    for (unsigned bits = 1; bits <= 8; bits++) {
        for (size_t i = 0; i < sizeof codes; i++) {
            codes[i] = (uint8_t)((i * 37 + bits) & ((1U << bits) - 1));
        }
        for (size_t v = 0; lmn__bucket_kernels_variant(v) != NULL; v++) {
            unsigned char bytes[25] = {0};
            const size_t n_bytes = 3 * (size_t)bits;
            bytes[n_bytes] = 0xA5;
            lmn__bucket_kernels_variant(v)->code->pack(codes, 3, bits, bytes);
            for (size_t place = 0; place < sizeof codes * bits; place++) {
                const unsigned want = (unsigned)codes[place / bits] >> place % bits & 1U;
                assert_int_equal((unsigned)bytes[place / 8] >> place % 8 & 1U, want);
            }
            assert_int_equal(bytes[n_bytes], 0xA5);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_gives_the_bits_of_the_portable_one),
        cmocka_unit_test(words_of_every_variant_are_those_of_the_stream),
        cmocka_unit_test(measures_equal_plain_sums),
        cmocka_unit_test(pack_puts_the_first_code_lowest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Numbers to codes of a few bits and back, for one instruction set: see buckets.h and
 * lamina_add_isa_variants.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "buckets.h"

#include <string.h>

/* Adding it leaves no fraction, so the sum is rounded to the nearest whole number, ties to even,
   and its lowest bits are that number: for numbers between -2^22 and 2^22. */
#define WHOLE 0x1.8p23F

#define SMALLEST_NORMAL  (INT32_C(1) << 23) /* bits of 2^-126 */
#define EXPONENT_LARGEST 254

extern const lmn__code_kernels VARIANT_NAME(lmn__code_kernels_);

static inline int32_t bits_of(float number)
{
    int32_t bits = 0;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static inline float number_of(int32_t bits)
{
    float number = 0.0F;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static inline float clamp(float x, float limit)
{
    const float above = x < -limit ? -limit : x;
    return above > limit ? limit : above;
}

static void to_grid(const float *x, size_t n, const lmn__grid *grid, uint8_t *codes, float *sent)
{
    const float inverse = grid->inverse;
    const float step = grid->step;
    const float limit = grid->limit;
    const int32_t zero = bits_of(WHOLE) - (int32_t)limit;
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float whole = clamp(x[i] * inverse, limit) + WHOLE;
        codes[i] = (uint8_t)(bits_of(whole) - zero);
        sent[i] = (whole - WHOLE) * step;
    }
}

/*
 * The nearest whole number, moved by 1 towards the other neighbour with the probability that makes
 * the mean right. All differences are exact, and at the ends of the grid nothing moves.
 */
static void to_grid_randomly(const float *x, size_t n, const lmn__grid *grid, const uint32_t *words,
                             uint8_t *codes, float *sent)
{
    const float inverse = grid->inverse;
    const float step = grid->step;
    const float limit = grid->limit;
    const int32_t zero = bits_of(WHOLE) - (int32_t)limit;
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float uniform = (float)(int32_t)(words[i] >> 8) * 0x1p-24F;
        const float exact = clamp(x[i] * inverse, limit);
        const float nearest = (exact + WHOLE) - WHOLE;
        const float beyond = exact - nearest;
        const float up = uniform < beyond ? 1.0F : 0.0F;
        const float down = uniform - 1.0F >= beyond ? 1.0F : 0.0F;
        const float whole = (nearest + (up - down)) + WHOLE;
        codes[i] = (uint8_t)(bits_of(whole) - zero);
        sent[i] = (whole - WHOLE) * step;
    }
}

static void add_grid(const uint8_t *codes, size_t n, const lmn__grid *grid, float weight,
                     float *acc)
{
    const float step = grid->step;
    const int32_t zero = (int32_t)grid->limit;
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const float value = (float)((int32_t)codes[i] - zero) * step;
        acc[i] += weight * value;
    }
}

static void to_signs(const float *x, size_t n, const lmn__sides *sides, uint8_t *codes, float *sent)
{
    const float negative = sides->negative;
    const float other = sides->other;
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        codes[i] = (uint8_t)(x[i] < 0.0F ? 0 : 1);
        sent[i] = x[i] < 0.0F ? negative : other;
    }
}

static void add_signs(const uint8_t *codes, size_t n, const lmn__sides *sides, float weight,
                      float *acc)
{
    const float negative = weight * sides->negative;
    const float other = weight * sides->other;
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        acc[i] += codes[i] == 0 ? negative : other;
    }
}

/* key: the bits without the sign, raised so that the exponent is the right one. */
static inline int32_t exponent_of(int32_t key, int32_t raised)
{
    const int32_t exponent = raised >> 23 > EXPONENT_LARGEST ? EXPONENT_LARGEST : raised >> 23;
    return key < SMALLEST_NORMAL ? 0 : exponent;
}

static void to_powers(const float *x, size_t n, uint8_t *exponents, uint8_t *signs, float *sent)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const int32_t bits = bits_of(x[i]);
        const int32_t key = bits & INT32_MAX;
        /* A fraction above 0x400000, the middle, is carried over. */
        const int32_t exponent = exponent_of(key, key + 0x3FFFFF);
        exponents[i] = (uint8_t)exponent;
        signs[i] = (uint8_t)((uint32_t)bits >> 31);
        sent[i] = number_of((bits & INT32_MIN) | exponent << 23);
    }
}

static void to_powers_randomly(const float *x, size_t n, const uint32_t *words, uint8_t *exponents,
                               uint8_t *signs, float *sent)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const int32_t bits = bits_of(x[i]);
        const int32_t key = bits & INT32_MAX;
        const int32_t exponent = exponent_of(key, key + (int32_t)(words[i] >> 9));
        exponents[i] = (uint8_t)exponent;
        signs[i] = (uint8_t)((uint32_t)bits >> 31);
        sent[i] = number_of((bits & INT32_MIN) | exponent << 23);
    }
}

static void add_powers(const uint8_t *exponents, const uint8_t *signs, size_t n, float weight,
                       float *acc)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)signs[i] << 31 | (uint32_t)exponents[i] << 23;
        acc[i] += weight * number_of((int32_t)bits);
    }
}

static uint8_t largest(const uint8_t *codes, size_t n)
{
    uint8_t most = 0;
#pragma omp simd reduction(max : most)
    for (size_t i = 0; i < n; i++) {
        most = codes[i] > most ? codes[i] : most;
    }
    return most;
}

/* Eight codes in the bytes of a word are pushed together: first pairs, then fours, then all. */
static inline uint64_t squeeze(uint64_t word, unsigned bits)
{
    const uint64_t odd_bytes = UINT64_C(0xFF00FF00FF00FF00);
    const uint64_t odd_pairs = UINT64_C(0xFFFF0000FFFF0000);
    word = (word & ~odd_bytes) | (word & odd_bytes) >> (8 - bits);
    word = (word & ~odd_pairs) | (word & odd_pairs) >> (16 - 2 * bits);
    return (word & UINT32_MAX) | (word >> 32) << 4 * bits;
}

static inline uint64_t spread(uint64_t word, unsigned bits)
{
    const uint64_t byte = (UINT64_C(1) << bits) - 1;
    const uint64_t pair = (UINT64_C(1) << 2 * bits) - 1;
    const uint64_t four = (UINT64_C(1) << 4 * bits) - 1;
    word = (word & four) | (word >> 4 * bits & four) << 32;
    word = (word & pair * UINT64_C(0x0000000100000001)) |
           (word & (pair * UINT64_C(0x0000000100000001)) << 2 * bits) << (16 - 2 * bits);
    return (word & byte * UINT64_C(0x0001000100010001)) |
           (word & (byte * UINT64_C(0x0001000100010001)) << bits) << (8 - bits);
}

/* Eight codes of one bit at once: the product moves bit 8 i to 56 + i, and nothing meets there. */
static inline uint64_t squeeze_bits(uint64_t word)
{
    return word * UINT64_C(0x0102040810204080) >> 56;
}

static inline void pack_groups(const uint8_t *codes, size_t n_groups, unsigned bits,
                               unsigned char *bytes)
{
    for (size_t i = 0; i < n_groups; i++) {
        uint64_t word = 0;
        memcpy(&word, codes + 8 * i, sizeof word);
        word = bits == 1 ? squeeze_bits(word) : squeeze(word, bits);
        memcpy(bytes + bits * i, &word, bits);
    }
}

static inline void unpack_groups(const unsigned char *bytes, size_t n_groups, unsigned bits,
                                 uint8_t *codes)
{
    /* Whole words are read, with bytes of the next groups, as long as there are enough. */
    const size_t n_bytes = bits * n_groups;
    const size_t n_whole = n_bytes < sizeof(uint64_t) ? 0 : (n_bytes - sizeof(uint64_t)) / bits + 1;
    for (size_t i = 0; i < n_whole; i++) {
        uint64_t word = 0;
        memcpy(&word, bytes + bits * i, sizeof word);
        word = spread(word, bits);
        memcpy(codes + 8 * i, &word, sizeof word);
    }
    for (size_t i = n_whole; i < n_groups; i++) {
        uint64_t word = 0;
        memcpy(&word, bytes + bits * i, bits);
        word = spread(word, bits);
        memcpy(codes + 8 * i, &word, sizeof word);
    }
}

/* Each width has a loop of its own, in which it is a constant. */
static void pack(const uint8_t *codes, size_t n_groups, unsigned bits, unsigned char *bytes)
{
    switch (bits) {
    case 1:
        pack_groups(codes, n_groups, 1, bytes);
        break;
    case 2:
        pack_groups(codes, n_groups, 2, bytes);
        break;
    case 3:
        pack_groups(codes, n_groups, 3, bytes);
        break;
    case 4:
        pack_groups(codes, n_groups, 4, bytes);
        break;
    case 5:
        pack_groups(codes, n_groups, 5, bytes);
        break;
    case 6:
        pack_groups(codes, n_groups, 6, bytes);
        break;
    case 7:
        pack_groups(codes, n_groups, 7, bytes);
        break;
    default:
        memcpy(bytes, codes, 8 * n_groups);
        break;
    }
}

static void unpack(const unsigned char *bytes, size_t n_groups, unsigned bits, uint8_t *codes)
{
    switch (bits) {
    case 1:
        unpack_groups(bytes, n_groups, 1, codes);
        break;
    case 2:
        unpack_groups(bytes, n_groups, 2, codes);
        break;
    case 3:
        unpack_groups(bytes, n_groups, 3, codes);
        break;
    case 4:
        unpack_groups(bytes, n_groups, 4, codes);
        break;
    case 5:
        unpack_groups(bytes, n_groups, 5, codes);
        break;
    case 6:
        unpack_groups(bytes, n_groups, 6, codes);
        break;
    case 7:
        unpack_groups(bytes, n_groups, 7, codes);
        break;
    default:
        memcpy(codes, bytes, 8 * n_groups);
        break;
    }
}

static void pack_trits(const uint8_t *codes, size_t n_groups, unsigned char *bytes)
{
#pragma omp simd
    for (size_t i = 0; i < n_groups; i++) {
        const uint8_t *five = codes + 5 * i;
        bytes[i] =
            (unsigned char)(five[0] + 3 * (five[1] + 3 * (five[2] + 3 * (five[3] + 3 * five[4]))));
    }
}

static void unpack_trits(const unsigned char *bytes, size_t n_groups, uint8_t *codes)
{
#pragma omp simd
    for (size_t i = 0; i < n_groups; i++) {
        unsigned left = bytes[i];
        for (size_t j = 0; j < 5; j++) {
            const unsigned third = left * 171 >> 9; /* left / 3 for bytes */
            codes[5 * i + j] = (uint8_t)(left - 3 * third);
            left = third;
        }
    }
}

const lmn__code_kernels VARIANT_NAME(lmn__code_kernels_) = {
    .to_grid = to_grid,
    .to_grid_randomly = to_grid_randomly,
    .add_grid = add_grid,
    .to_signs = to_signs,
    .add_signs = add_signs,
    .to_powers = to_powers,
    .to_powers_randomly = to_powers_randomly,
    .add_powers = add_powers,
    .largest = largest,
    .pack = pack,
    .unpack = unpack,
    .pack_trits = pack_trits,
    .unpack_trits = unpack_trits,
};

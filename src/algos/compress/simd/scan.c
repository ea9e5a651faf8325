/*
 * Picking out large entries: one source for all instruction sets.
 *
 * A step compares a few keys with the floor, moves those that pass to the front of a register and
 * stores all of it; the next step overwrites what did not pass. There is no branch to be guessed
 * wrong, whatever the density. The end of the output never runs ahead of the input, so a whole
 * register may be stored there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scan.h"

#include <string.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#define SCAN_TEXT_OF(name) #name
#define SCAN_TEXT(name)    SCAN_TEXT_OF(name)
#define SCAN_JOIN(a, b)    a##b
#define SCAN_PASTE(a, b)   SCAN_JOIN(a, b)
#define SCAN_NAME(prefix)  SCAN_PASTE(prefix, LMN__VARIANT)

#define KEY_MASK 0x7FFFFFFFU

static uint32_t key_of(float number)
{
    uint32_t bits = 0;
    memcpy(&bits, &number, sizeof bits);
    return bits & KEY_MASK;
}

#if defined(__AVX512F__)

#define STEP 16

typedef struct floor_vector {
    __m512i floor;
} floor_vector;

static inline floor_vector broadcast(uint32_t floor)
{
    return (floor_vector){.floor = _mm512_set1_epi32((int)floor)};
}

static inline __mmask16 passing(__m512 x, floor_vector limit)
{
    const __m512i key = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(KEY_MASK));
    return _mm512_cmpge_epu32_mask(key, limit.floor);
}

/* Compressing into a register and storing all of it beats a compressing store on some processors.
 */
static inline unsigned passes_any(const float *x, floor_vector limit)
{
    return passing(_mm512_loadu_ps(x), limit) != 0;
}

static inline size_t put(__mmask16 pass, __m512i index, __m512 x, uint32_t *indices, float *values)
{
    _mm512_storeu_si512(indices, _mm512_maskz_compress_epi32(pass, index));
    _mm512_storeu_ps(values, _mm512_maskz_compress_ps(pass, x));
    return (size_t)__builtin_popcount((unsigned)pass);
}

static inline size_t pick_step(const float *x, floor_vector limit, uint32_t first,
                               uint32_t *indices, float *values)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512 v = _mm512_loadu_ps(x);
    return put(passing(v, limit), _mm512_add_epi32(lane, _mm512_set1_epi32((int)first)), v, indices,
               values);
}

static inline size_t keep_step(const uint32_t *index, const float *x, floor_vector limit,
                               uint32_t *indices, float *values)
{
    const __m512 v = _mm512_loadu_ps(x);
    return put(passing(v, limit), _mm512_loadu_si512(index), v, indices, values);
}

static inline void weigh_step(const float *x, floor_vector limit, double *energy)
{
    const __m512 v = _mm512_loadu_ps(x);
    const __m512 rest = _mm512_maskz_mov_ps((__mmask16)~passing(v, limit), v);
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(rest));
    const __m512d high =
        _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(rest), 1)));
    _mm512_storeu_pd(energy, _mm512_add_pd(_mm512_loadu_pd(energy), _mm512_mul_pd(low, low)));
    _mm512_storeu_pd(energy + 8,
                     _mm512_add_pd(_mm512_loadu_pd(energy + 8), _mm512_mul_pd(high, high)));
}

#elif defined(__AVX2__)

#define STEP    8

typedef struct floor_vector {
    __m256i below; /* keys are below 2^31, so signed comparison will do */
} floor_vector;

static inline floor_vector broadcast(uint32_t floor)
{
    return (floor_vector){.below = _mm256_set1_epi32((int)(floor - 1))};
}

static inline __m256 passing(__m256 x, floor_vector limit)
{
    const __m256i key = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(KEY_MASK));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(key, limit.below));
}

/* Bytes of up to four 32-bit lanes, moved to the front: row m is for the lanes of bit set m. */
#define LANE(i) (4 * (i)), (4 * (i) + 1), (4 * (i) + 2), (4 * (i) + 3)
static const unsigned char to_front[16][16] = {
    {0},
    {LANE(0)},
    {LANE(1)},
    {LANE(0), LANE(1)},
    {LANE(2)},
    {LANE(0), LANE(2)},
    {LANE(1), LANE(2)},
    {LANE(0), LANE(1), LANE(2)},
    {LANE(3)},
    {LANE(0), LANE(3)},
    {LANE(1), LANE(3)},
    {LANE(0), LANE(1), LANE(3)},
    {LANE(2), LANE(3)},
    {LANE(0), LANE(2), LANE(3)},
    {LANE(1), LANE(2), LANE(3)},
    {LANE(0), LANE(1), LANE(2), LANE(3)},
};
#undef LANE

static inline size_t put_four(unsigned pass, __m128i index, __m128 x, uint32_t *indices,
                              float *values)
{
    const __m128i order = _mm_loadu_si128((const __m128i *)(const void *)to_front[pass]);
    _mm_storeu_si128((__m128i *)(void *)indices, _mm_shuffle_epi8(index, order));
    _mm_storeu_si128((__m128i *)(void *)values, _mm_shuffle_epi8(_mm_castps_si128(x), order));
    return (size_t)__builtin_popcount(pass);
}

static inline unsigned passes_any(const float *x, floor_vector limit)
{
    return _mm256_movemask_ps(passing(_mm256_loadu_ps(x), limit)) != 0;
}

static inline size_t put(__m256 pass, __m256i index, __m256 x, uint32_t *indices, float *values)
{
    const unsigned bits = (unsigned)_mm256_movemask_ps(pass);
    const __m128i high = _mm256_extracti128_si256(index, 1);
    const __m128 high_x = _mm256_extractf128_ps(x, 1);
    const size_t n = put_four(bits & 0xFU, _mm256_castsi256_si128(index), _mm256_castps256_ps128(x),
                              indices, values);
    return n + put_four(bits >> 4, high, high_x, indices + n, values + n);
}

static inline size_t pick_step(const float *x, floor_vector limit, uint32_t first,
                               uint32_t *indices, float *values)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 v = _mm256_loadu_ps(x);
    return put(passing(v, limit), _mm256_add_epi32(lane, _mm256_set1_epi32((int)first)), v, indices,
               values);
}

static inline size_t keep_step(const uint32_t *index, const float *x, floor_vector limit,
                               uint32_t *indices, float *values)
{
    const __m256 v = _mm256_loadu_ps(x);
    return put(passing(v, limit), _mm256_loadu_si256((const __m256i *)(const void *)index), v,
               indices, values);
}

static inline void weigh_four(__m128 x, double *energy)
{
    const __m256d wide = _mm256_cvtps_pd(x);
    _mm256_storeu_pd(energy, _mm256_add_pd(_mm256_loadu_pd(energy), _mm256_mul_pd(wide, wide)));
}

static inline void weigh_step(const float *x, floor_vector limit, double *energy)
{
    const __m256 v = _mm256_loadu_ps(x);
    const __m256 rest = _mm256_andnot_ps(passing(v, limit), v);
    weigh_four(_mm256_castps256_ps128(rest), energy);
    weigh_four(_mm256_extractf128_ps(rest, 1), energy + 4);
}

#else

#define STEP 16

typedef struct floor_vector {
    uint32_t floor;
} floor_vector;

static inline floor_vector broadcast(uint32_t floor)
{
    return (floor_vector){.floor = floor};
}

/* Signed, since baseline x86-64 has no unsigned vector comparison; keys are below 2^31. */
static inline unsigned passes_any(const float *x, floor_vector limit)
{
    uint32_t found = 0;
#pragma omp simd reduction(| : found)
    for (size_t i = 0; i < STEP; i++) {
        found |= (uint32_t)((int32_t)key_of(x[i]) >= (int32_t)limit.floor);
    }
    return found != 0;
}

static inline size_t pick_step(const float *x, floor_vector limit, uint32_t first,
                               uint32_t *indices, float *values)
{
    size_t n = 0;
    for (size_t i = 0; i < STEP; i++) {
        indices[n] = first + (uint32_t)i;
        values[n] = x[i];
        n += (size_t)(key_of(x[i]) >= limit.floor);
    }
    return n;
}

static inline size_t keep_step(const uint32_t *index, const float *x, floor_vector limit,
                               uint32_t *indices, float *values)
{
    size_t n = 0;
    for (size_t i = 0; i < STEP; i++) {
        const float number = x[i];
        indices[n] = index[i];
        values[n] = number;
        n += (size_t)(key_of(number) >= limit.floor);
    }
    return n;
}

static inline void weigh_step(const float *x, floor_vector limit, double *energy)
{
    for (size_t i = 0; i < STEP; i++) {
        const double number = key_of(x[i]) >= limit.floor ? 0.0 : (double)x[i];
        energy[i] += number * number;
    }
}

#endif

/* Steps that are looked at before any is picked from: a tile of the walk. */
#define GROUP ((size_t)512 / STEP)

/* Most steps have nothing to pick. Their numbers are listed first, so that there is no branch to be
   guessed wrong for each of them. */
static size_t pick_group(const float *x, floor_vector limit, uint32_t first, uint32_t *indices,
                         float *values)
{
    uint8_t steps[GROUP];
    size_t n_steps = 0;
    for (size_t step = 0; step < GROUP; step++) {
        steps[n_steps] = (uint8_t)step;
        n_steps += passes_any(x + STEP * step, limit);
    }
    size_t found = 0;
    for (size_t i = 0; i < n_steps; i++) {
        const size_t at = STEP * (size_t)steps[i];
        found += pick_step(x + at, limit, first + (uint32_t)at, indices + found, values + found);
    }
    return found;
}

static size_t pick(const float *x, size_t n, uint32_t floor, uint32_t first, uint32_t *indices,
                   float *values)
{
    const floor_vector limit = broadcast(floor);
    size_t found = 0;
    size_t i = 0;
    for (; i + GROUP * STEP <= n; i += GROUP * STEP) {
        found += pick_group(x + i, limit, first + (uint32_t)i, indices + found, values + found);
    }
    for (; i + STEP <= n; i += STEP) {
        found += pick_step(x + i, limit, first + (uint32_t)i, indices + found, values + found);
    }
    for (; i < n; i++) {
        if (key_of(x[i]) >= floor) {
            indices[found] = first + (uint32_t)i;
            values[found] = x[i];
            found++;
        }
    }
    return found;
}

static size_t pick_and_weigh(const float *x, size_t n, uint32_t floor, uint32_t first,
                             uint32_t *indices, float *values, double energy[LMN__ENERGY_LANES])
{
    const floor_vector limit = broadcast(floor);
    double sums[LMN__ENERGY_LANES];
    memcpy(sums, energy, sizeof sums);
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        weigh_step(x + i, limit, sums + i % LMN__ENERGY_LANES);
    }
    for (; i < n; i++) {
        const double number = key_of(x[i]) >= floor ? 0.0 : (double)x[i];
        sums[i % LMN__ENERGY_LANES] += number * number;
    }
    memcpy(energy, sums, sizeof sums);
    return pick(x, n, floor, first, indices, values);
}

static size_t keep(uint32_t *indices, float *values, size_t n, uint32_t floor)
{
    const floor_vector limit = broadcast(floor);
    size_t kept = 0;
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        kept += keep_step(indices + i, values + i, limit, indices + kept, values + kept);
    }
    for (; i < n; i++) {
        const float number = values[i];
        indices[kept] = indices[i];
        values[kept] = number;
        kept += (size_t)(key_of(number) >= floor);
    }
    return kept;
}

const lmn__scan_kernels SCAN_NAME(lmn__scan_kernels_);
const lmn__scan_kernels SCAN_NAME(lmn__scan_kernels_) = {
    .isa = SCAN_TEXT(LMN__VARIANT), .pick = pick, .pick_and_weigh = pick_and_weigh, .keep = keep};

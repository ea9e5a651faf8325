/*
 * Integers on a grid that all ranks share, added up as integers.
 *
 * The ranks agree on m, the largest magnitude that any of them holds, and send q = rint(v L / m).
 * L = floor((2^(bits - 1) - 1) / ranks) leaves room for the sum of all ranks, so no sum overflows,
 * in whatever order it is taken; and as integers add exactly, the order does not matter at all. The
 * average is sum * m / (L ranks).
 *
 * The grid gets coarser as ranks are added: L = 63 for 2 ranks and 8 bits, 15 for 8, 1 for 127, and
 * more do not fit (lmn_compressor_ranks_max). With 16 bits it is 4095 for 8 and 32767 ranks fit. A
 * rank whose values are small beside those of another may send zeros only: feedback is needed.
 *
 * Rounds: MAX_F32 of one number, then SUM_I8 or SUM_I16 of one number per element.
 *
 * Sources: the shared scale follows K. Mishchenko, B. Wang, D. Kovalev, P. Richtarik, "IntSGD:
 * adaptive floatless compression of stochastic gradients", ICLR 2022, arXiv:2102.08374, which
 * derives it from the movement of parameters; the maximum over ranks is that of W. Wen et al.,
 * "TernGrad", NeurIPS 2017, arXiv:1705.07878.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compress_internal.h"
#include "select_internal.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define LEVELS_MAX 3
/* Elements that a thread takes together, and below which there is only one thread. */
#define CHUNK ((size_t)16384)
/* Below it m L^-1 would be denormal; such vectors are sent as zeros. */
#define SMALLEST_MAXIMUM 0x1p-100F
/* A number below 2^22 becomes a whole one, ties to even, when this is added and taken away. */
#define ROUNDER 0x1.8p23F

typedef struct int_config {
    uint64_t choice; /* into the choices of `bits` */
} int_config;

static const int_config defaults = {.choice = 0};

static const lmn_spec_field fields[] = {
    {.key = "bits",
     .type = LMN_SPEC_CHOICE,
     .offset = offsetof(int_config, choice),
     .choices = "8|16",
     .help = "of the integers that are added up: 8 for up to 127 ranks, or 16 (8)"},
};

/* Levels are dense, 16 bits and, unless these are the fewest wanted, 8 bits. */
static lmn__compressor_levels levels(const void *config_memory)
{
    const int_config *config = config_memory;
    const size_t count = config->choice == 0 ? LEVELS_MAX : LEVELS_MAX - 1;
    return (lmn__compressor_levels){.count = count, .static_level = count - 1};
}

static int bits_of(size_t level)
{
    return level == 1 ? 16 : 8;
}

static int largest_sum(size_t level)
{
    return level == 1 ? INT16_MAX : INT8_MAX;
}

static void level_format(const void *config, size_t level, char *text, size_t capacity)
{
    (void)config;
    (void)snprintf(text, capacity, "bits=%d", bits_of(level));
}

static size_t payload_bytes(const void *config, size_t level, lmn_layer_shape shape)
{
    (void)config;
    return sizeof(float) + shape.count * (size_t)bits_of(level) / 8;
}

/* A rank whose values are all below half a step of the grid sends nothing. */
static double contraction(const void *config, size_t level, lmn_layer_shape shape)
{
    (void)config;
    (void)level;
    (void)shape;
    return 0.0;
}

/*
 * As measured for grids of their own scale: 7 steps to a side bear up to 2 and like a delta of
 * about 1 halved, 1 step bears less than 0.8 and likes 0.3. 16 bits are never so coarse; 8 bits are
 * with 64 ranks.
 */
static lmn_eta_rule eta(const void *config, size_t level, lmn_layer_shape shape)
{
    (void)config;
    (void)shape;
    return level == 1
               ? (lmn_eta_rule){.suggested = 0.5, .limit = 2.0, .lowest = 0.0625, .highest = 1.0}
               : (lmn_eta_rule){.suggested = 0.3, .limit = 0.8, .lowest = 0.0375, .highest = 0.5};
}

/* ------------------------------------------------------------------ the grid */

typedef struct grid {
    float limit;   /* L, the largest integer */
    float inverse; /* integers per unit; 0 when nothing is sent */
    float step;    /* units per integer */
} grid;

static grid grid_of(size_t level, int n_ranks, float maximum)
{
    const int quotient = largest_sum(level) / n_ranks;
    const float limit = (float)quotient;
    grid g = {.limit = limit};
    if (maximum >= SMALLEST_MAXIMUM && limit > 0.0F) {
        g.inverse = limit / maximum;
        g.step = maximum / limit;
    }
    return g;
}

static float integer_of(grid g, float value)
{
    float scaled = value * g.inverse;
    scaled = scaled > g.limit ? g.limit : scaled;
    scaled = scaled < -g.limit ? -g.limit : scaled;
    return (scaled + ROUNDER) - ROUNDER;
}

static float largest_magnitude(const float *vector, size_t count)
{
    int32_t largest = 0; /* as a key, which orders magnitudes */
#pragma omp parallel for schedule(static) reduction(max : largest) if (count > CHUNK)
    for (size_t first = 0; first < count; first += CHUNK) {
        const size_t end = count - first < CHUNK ? count : first + CHUNK;
        int32_t mine = 0;
#pragma omp simd reduction(max : mine)
        for (size_t i = first; i < end; i++) {
            const int32_t key = (int32_t)lmn__key(vector[i]);
            mine = key > mine ? key : mine;
        }
        largest = mine > largest ? mine : largest;
    }
    float magnitude = 0.0F;
    memcpy(&magnitude, &largest, sizeof magnitude);
    return magnitude;
}

static void error_curve(const void *config, const float *vector, lmn_layer_shape shape,
                        double *squared_error_out, void *scratch)
{
    (void)scratch;
    const float maximum = largest_magnitude(vector, shape.count);
    for (size_t level = 1; level < levels(config).count; level++) {
        const grid g = grid_of(level, 1, maximum);
        double sum = 0.0;
        for (size_t i = 0; i < shape.count; i++) {
            const float error = vector[i] - integer_of(g, vector[i]) * g.step;
            sum += (double)error * (double)error;
        }
        squared_error_out[level] = sum;
    }
}

/* ------------------------------------------------------------------ rounds */

static int ranks_max(const void *config)
{
    return largest_sum(levels(config).static_level);
}

static size_t round_count(const void *config, size_t level)
{
    (void)config;
    (void)level;
    return 2;
}

static lmn_round round_of(const void *config, size_t level, lmn_layer_shape shape, size_t round,
                          uint64_t step)
{
    (void)config;
    (void)step;
    if (round == 0) {
        return (lmn_round){.reduction = LMN_REDUCTION_MAX_F32, .count = 1};
    }
    return (lmn_round){.reduction =
                           bits_of(level) == 8 ? LMN_REDUCTION_SUM_I8 : LMN_REDUCTION_SUM_I16,
                       .count = shape.count};
}

/* Integers of elements first .. end - 1, to both arrays. */
static void encode_i8(grid g, const float *vector, size_t first, size_t end, int8_t *own,
                      int8_t *numbers)
{
#pragma omp simd
    for (size_t i = first; i < end; i++) {
        const int8_t q = (int8_t)(int32_t)integer_of(g, vector[i]);
        own[i] = q;
        numbers[i] = q;
    }
}

static void encode_i16(grid g, const float *vector, size_t first, size_t end, int16_t *own,
                       int16_t *numbers)
{
#pragma omp simd
    for (size_t i = first; i < end; i++) {
        const int16_t q = (int16_t)(int32_t)integer_of(g, vector[i]);
        own[i] = q;
        numbers[i] = q;
    }
}

static grid grid_of_job(const lmn_rounds_job *job)
{
    const float *const maximum = job->numbers[0];
    return grid_of(job->level, job->n_ranks, maximum[0]);
}

static void encode(const void *config, const lmn_rounds_job *job, size_t round)
{
    (void)config;
    const size_t count = job->shape.count;
    if (round == 0) {
        float *const own = job->own[0];
        float *const numbers = job->numbers[0];
        own[0] = largest_magnitude(job->vector, count);
        numbers[0] = own[0];
        return;
    }
    const grid g = grid_of_job(job);
#pragma omp parallel for schedule(static) if (count > CHUNK)
    for (size_t first = 0; first < count; first += CHUNK) {
        const size_t end = count - first < CHUNK ? count : first + CHUNK;
        if (bits_of(job->level) == 8) {
            encode_i8(g, job->vector, first, end, job->own[1], job->numbers[1]);
        } else {
            encode_i16(g, job->vector, first, end, job->own[1], job->numbers[1]);
        }
    }
}

static void decode_add(const void *config, const lmn_rounds_job *job, float weight, float *acc)
{
    (void)config;
    const size_t count = job->shape.count;
    const bool is_short = bits_of(job->level) == 8;
    const int8_t *const short_sums = job->numbers[1];
    const int16_t *const sums = job->numbers[1];
    const float factor = (float)((double)grid_of_job(job).step * (double)weight / job->n_ranks);
#pragma omp parallel for schedule(static) if (count > CHUNK)
    for (size_t first = 0; first < count; first += CHUNK) {
        const size_t end = count - first < CHUNK ? count : first + CHUNK;
        if (is_short) {
#pragma omp simd
            for (size_t i = first; i < end; i++) {
                acc[i] += factor * (float)short_sums[i];
            }
        } else {
#pragma omp simd
            for (size_t i = first; i < end; i++) {
                acc[i] += factor * (float)sums[i];
            }
        }
    }
}

static void sent_tile(const void *config, const lmn_rounds_job *job, size_t first, size_t count,
                      float *sent)
{
    (void)config;
    const float step = grid_of_job(job).step;
    if (bits_of(job->level) == 8) {
        const int8_t *const own = (const int8_t *)job->own[1] + first;
#pragma omp simd
        for (size_t i = 0; i < count; i++) {
            sent[i] = step * (float)own[i];
        }
        return;
    }
    const int16_t *const own = (const int16_t *)job->own[1] + first;
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        sent[i] = step * (float)own[i];
    }
}

static const lmn__round_functions rounds = {.ranks_max = ranks_max,
                                            .count = round_count,
                                            .round = round_of,
                                            .encode = encode,
                                            .decode_add = decode_add,
                                            .sent = sent_tile};

const lmn__compressor_family lmn__compressor_int = {
    .method = {.entry = {.name = "int",
                         .summary = "integers on a grid that all ranks share, added up as such",
                         .fields = fields,
                         .n_fields = sizeof fields / sizeof fields[0]},
               .config_bytes = sizeof(int_config),
               .defaults = &defaults},
    .combine = LMN_COMBINE_ROUNDS,
    .levels = levels,
    .level_format = level_format,
    .payload_bytes = payload_bytes,
    .contraction = contraction,
    .eta = eta,
    .eta_basis = LMN__ETA_OF_KEPT,
    .error_curve = error_curve,
    .rounds = &rounds,
};

/*
 * Simulated ranks that compress in rounds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rounds_check.h"

#include "algos_check.h"
#include "lamina/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define RANKS_MAX  256
#define ROUNDS_MAX 2

static size_t number_bytes(lmn_reduction reduction)
{
    switch (reduction) {
    case LMN_REDUCTION_SUM_I8:
        return sizeof(int8_t);
    case LMN_REDUCTION_SUM_I16:
        return sizeof(int16_t);
    default:
        return sizeof(float);
    }
}

/* The nearest bf16, ties to even, as f32; finite values only. */
static float nearest_bf16(float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    bits += 0x7FFFU + (bits >> 16 & 1U);
    bits &= 0xFFFF0000U;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

static void add_f32(float *acc, const float *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        acc[i] += numbers[i];
    }
}

static void take_larger(float *acc, const float *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        acc[i] = numbers[i] > acc[i] ? numbers[i] : acc[i];
    }
}

static void add_i8(int8_t *acc, const int8_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const int sum = acc[i] + numbers[i];
        assert_in_range(sum + 128, 1, 255);
        acc[i] = (int8_t)sum;
    }
}

static void add_i16(int16_t *acc, const int16_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const int sum = acc[i] + numbers[i];
        assert_in_range(sum + 32768, 1, 65535);
        acc[i] = (int16_t)sum;
    }
}

static void add_bf16(float *acc, const float *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        acc[i] = nearest_bf16(nearest_bf16(acc[i]) + nearest_bf16(numbers[i]));
    }
}

void check_reduce(lmn_reduction reduction, void *const *numbers, size_t n_ranks, size_t count)
{
    for (size_t rank = 1; rank < n_ranks; rank++) {
        switch (reduction) {
        case LMN_REDUCTION_SUM_F32:
            add_f32(numbers[0], numbers[rank], count);
            break;
        case LMN_REDUCTION_MAX_F32:
            take_larger(numbers[0], numbers[rank], count);
            break;
        case LMN_REDUCTION_SUM_I8:
            add_i8(numbers[0], numbers[rank], count);
            break;
        case LMN_REDUCTION_SUM_I16:
            add_i16(numbers[0], numbers[rank], count);
            break;
        case LMN_REDUCTION_SUM_BF16:
            add_bf16(numbers[0], numbers[rank], count);
            break;
        }
    }
}

/* Numbers of a round, whatever the level and the step. */
static size_t most_number_bytes(const check_rounds *rounds, size_t round)
{
    size_t most = 0;
    for (size_t level = 1; level < lmn_compressor_level_count(rounds->compressor); level++) {
        if (lmn_compressor_combine(rounds->compressor, level) != LMN_COMBINE_ROUNDS ||
            round >= lmn_compressor_round_count(rounds->compressor, level)) {
            continue;
        }
        for (uint64_t step = 0; step < 2; step++) {
            const lmn_round r =
                lmn_compressor_round(rounds->compressor, level, rounds->shape, round, step);
            const size_t bytes = r.count * number_bytes(r.reduction);
            most = bytes > most ? bytes : most;
        }
    }
    return most;
}

check_rounds check_new_rounds(const lmn_compressor *compressor, lmn_layer_shape shape,
                              size_t n_ranks)
{
    assert_in_range(n_ranks, 1, RANKS_MAX);
    check_rounds rounds = {.compressor = compressor,
                           .shape = shape,
                           .level = lmn_compressor_static_level(compressor),
                           .n_ranks = n_ranks};
    const size_t scratch_bytes = lmn_compressor_scratch_bytes(compressor, shape);
    rounds.jobs = check_new_bytes(n_ranks * sizeof rounds.jobs[0]);
    rounds.mean = check_new_floats(shape.count);
    rounds.sent = check_new_floats(n_ranks * shape.count);
    for (size_t rank = 0; rank < n_ranks; rank++) {
        lmn_rounds_job *job = &rounds.jobs[rank];
        job->shape = shape;
        job->n_ranks = (int)n_ranks;
        job->memory = check_new_floats(lmn_compressor_memory_of(compressor, shape).shared);
        job->scratch = check_new_bytes(scratch_bytes);
        memset(job->scratch, 0xA5, scratch_bytes);
        for (size_t round = 0; round < ROUNDS_MAX; round++) {
            const size_t bytes = most_number_bytes(&rounds, round);
            job->own[round] = check_new_bytes(bytes);
            job->numbers[round] = check_new_bytes(bytes);
            memset(job->own[round], 0x5A, bytes);
            memset(job->numbers[round], 0x5A, bytes);
        }
    }
    return rounds;
}

void check_free_rounds(check_rounds *rounds)
{
    for (size_t rank = 0; rank < rounds->n_ranks; rank++) {
        lmn_rounds_job *job = &rounds->jobs[rank];
        lmn_free(job->memory);
        lmn_free(job->scratch);
        for (size_t round = 0; round < ROUNDS_MAX; round++) {
            lmn_free(job->own[round]);
            lmn_free(job->numbers[round]);
        }
    }
    lmn_free(rounds->jobs);
    lmn_free(rounds->mean);
    lmn_free(rounds->sent);
}

float *check_sent(const check_rounds *rounds, size_t rank)
{
    return rounds->sent + rank * rounds->shape.count;
}

static void run_round(check_rounds *rounds, size_t round)
{
    const lmn_round r =
        lmn_compressor_round(rounds->compressor, rounds->level, rounds->shape, round, rounds->step);
    const size_t bytes = r.count * number_bytes(r.reduction);
    void *numbers[RANKS_MAX];
    for (size_t rank = 0; rank < rounds->n_ranks; rank++) {
        lmn_rounds_job *job = &rounds->jobs[rank];
        lmn_compressor_round_encode(rounds->compressor, job, round);
        assert_memory_equal(job->own[round], job->numbers[round], bytes);
        numbers[rank] = job->numbers[round];
    }
    check_reduce(r.reduction, numbers, rounds->n_ranks, r.count);
    for (size_t rank = 1; rank < rounds->n_ranks; rank++) {
        memcpy(numbers[rank], numbers[0], bytes);
    }
}

/* The average of every rank is that of the first, to the bit. */
static void decode_all(check_rounds *rounds)
{
    const size_t count = rounds->shape.count;
    memset(rounds->mean, 0, count * sizeof(float));
    lmn_compressor_rounds_decode_add(rounds->compressor, &rounds->jobs[0], 1.0F, rounds->mean);
    for (size_t rank = 1; rank < rounds->n_ranks; rank++) {
        float *mean = check_new_floats(count);
        lmn_compressor_rounds_decode_add(rounds->compressor, &rounds->jobs[rank], 1.0F, mean);
        check_same_bits(mean, rounds->mean, count);
        lmn_free(mean);
    }
}

/* Tiles of odd sizes, so that they begin and end anywhere. */
static void note_sent(check_rounds *rounds)
{
    const size_t count = rounds->shape.count;
    for (size_t rank = 0; rank < rounds->n_ranks; rank++) {
        size_t tile = 1;
        for (size_t first = 0; first < count; first += tile) {
            tile = tile * 3 % 1021;
            tile = tile < count - first ? tile : count - first;
            lmn_compressor_rounds_sent(rounds->compressor, &rounds->jobs[rank], first, tile,
                                       check_sent(rounds, rank) + first);
        }
    }
}

void check_rounds_try(check_rounds *rounds, const float *vectors)
{
    const lmn_stream stream = {.seed = 5,
                               .layer = 3,
                               .step = (uint32_t)rounds->step,
                               .purpose = LMN_STREAM_COMPRESS,
                               .rank = LMN_STREAM_ALL_RANKS};
    for (size_t rank = 0; rank < rounds->n_ranks; rank++) {
        lmn_rounds_job *job = &rounds->jobs[rank];
        job->level = rounds->level;
        job->step = rounds->step;
        job->stream = stream;
        job->vector = vectors + rank * rounds->shape.count;
    }
    for (size_t round = 0; round < lmn_compressor_round_count(rounds->compressor, rounds->level);
         round++) {
        run_round(rounds, round);
    }
    decode_all(rounds);
    note_sent(rounds);
}

void check_rounds_step(check_rounds *rounds, const float *vectors)
{
    const lmn_compressor_memory memory =
        lmn_compressor_memory_of(rounds->compressor, rounds->shape);
    check_rounds_try(rounds, vectors);
    for (size_t rank = 0; rank < rounds->n_ranks; rank++) {
        lmn_compressor_rounds_commit(rounds->compressor, &rounds->jobs[rank]);
        if (memory.shared > 0) {
            check_same_bits(rounds->jobs[rank].memory, rounds->jobs[0].memory, memory.shared);
        }
    }
    rounds->step++;
}

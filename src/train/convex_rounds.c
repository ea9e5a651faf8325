/*
 * Messages of convex problems for families that combine in rounds.
 *
 * The numbers of all workers are gathered and added in order, as an allreduce over single workers
 * would add them, and each D_i follows from the worker's numbers and the sums.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_channel_internal.h"

#include <string.h>

size_t lmn__channel_bytes_in_memory(lmn_reduction reduction)
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

static size_t bytes_on_wire(lmn_reduction reduction)
{
    return reduction == LMN_REDUCTION_SUM_BF16 ? sizeof(uint16_t)
                                               : lmn__channel_bytes_in_memory(reduction);
}

static unsigned char *round_own(const lmn__convex_channel *channel, size_t worker, size_t round)
{
    return channel->round_own + (worker * LMN__CHANNEL_ROUNDS_MAX + round) * channel->round_bytes;
}

/* The job of a worker; of one of another rank only what decoding needs. Ranks agree on all that
   scratch holds then, so that of the first own worker serves. */
static lmn_rounds_job job_of(const lmn__convex_channel *channel, const lmn__convex_sending *sending,
                             size_t worker)
{
    const size_t part =
        lmn__channel_is_own(channel, worker) ? worker - channel->problem->own.first : 0;
    lmn_rounds_job job = {.level = sending->level,
                          .shape = channel->shape,
                          .n_ranks = (int)channel->problem->workers,
                          .step = channel->compressed_steps,
                          .stream = lmn__channel_stream_of(channel, sending, LMN_STREAM_ALL_RANKS),
                          .vector = lmn__channel_rounded_of(channel, part),
                          .memory = lmn__channel_memory_of(channel, sending, part),
                          .scratch = channel->scratch + part * channel->scratch_bytes};
    for (size_t round = 0; round < LMN__CHANNEL_ROUNDS_MAX; round++) {
        job.own[round] = round_own(channel, worker, round);
        job.numbers[round] = channel->round_sum + round * channel->round_bytes;
    }
    return job;
}

/* Numbers to bytes: bf16 are the upper halves of f32. */
static void pack(lmn_round round, const void *numbers, unsigned char *message)
{
    if (round.reduction != LMN_REDUCTION_SUM_BF16) {
        memcpy(message, numbers, round.count * lmn__channel_bytes_in_memory(round.reduction));
        return;
    }
    const unsigned char *const from = numbers;
    for (size_t i = 0; i < round.count; i++) {
        uint32_t bits = 0;
        memcpy(&bits, from + i * sizeof bits, sizeof bits);
        const uint16_t half = (uint16_t)(bits >> 16);
        memcpy(message + i * sizeof half, &half, sizeof half);
    }
}

static void unpack(lmn_round round, const unsigned char *message, void *numbers)
{
    if (round.reduction != LMN_REDUCTION_SUM_BF16) {
        memcpy(numbers, message, round.count * lmn__channel_bytes_in_memory(round.reduction));
        return;
    }
    unsigned char *const to = numbers;
    for (size_t i = 0; i < round.count; i++) {
        uint16_t half = 0;
        memcpy(&half, message + i * sizeof half, sizeof half);
        const uint32_t bits = (uint32_t)half << 16;
        memcpy(to + i * sizeof bits, &bits, sizeof bits);
    }
}

static void add_f32(const float *numbers, size_t count, bool is_maximum, float *sum)
{
    for (size_t i = 0; i < count; i++) {
        const float larger = numbers[i] > sum[i] ? numbers[i] : sum[i];
        sum[i] = is_maximum ? larger : sum[i] + numbers[i];
    }
}

static void add_numbers(lmn_round round, const void *numbers, void *sum)
{
    if (round.reduction == LMN_REDUCTION_SUM_I8) {
        const int8_t *const from = numbers;
        int8_t *const to = sum;
        for (size_t i = 0; i < round.count; i++) {
            to[i] = (int8_t)(to[i] + from[i]);
        }
    } else if (round.reduction == LMN_REDUCTION_SUM_I16) {
        const int16_t *const from = numbers;
        int16_t *const to = sum;
        for (size_t i = 0; i < round.count; i++) {
            to[i] = (int16_t)(to[i] + from[i]);
        }
    } else {
        add_f32(numbers, round.count, round.reduction == LMN_REDUCTION_MAX_F32, sum);
    }
}

/* All workers' numbers of a round, and their sum. */
static lmn_status combine(lmn__convex_channel *channel, size_t round, lmn_round facts,
                          lmn_error *err)
{
    const lmn__convex_exchange *exchange = &channel->exchange;
    const size_t bytes = facts.count * bytes_on_wire(facts.reduction);
    unsigned char *const sum = channel->round_sum + round * channel->round_bytes;
    for (size_t worker = 0; worker < channel->problem->workers; worker++) {
        if (exchange->bytes[worker] != bytes) {
            return lmn_error_set(err, LMN_ERR_MESSAGE,
                                 "worker %zu sent %zu bytes of numbers instead of %zu", worker,
                                 exchange->bytes[worker], bytes);
        }
        unsigned char *const numbers = round_own(channel, worker, round);
        unpack(facts, exchange->messages[worker], numbers);
        if (worker == 0) {
            memcpy(sum, numbers, facts.count * lmn__channel_bytes_in_memory(facts.reduction));
        } else {
            add_numbers(facts, numbers, sum);
        }
        channel->bytes_sent += bytes;
    }
    if (facts.reduction == LMN_REDUCTION_SUM_BF16) {
        lmn_sparse_round((float *)(void *)sum, facts.count, LMN_SPARSE_BF16);
    }
    return LMN_OK;
}

static lmn_status make_round(lmn__convex_channel *channel, lmn__convex_sending *sending,
                             size_t round, lmn_error *err)
{
    lmn__convex_exchange *exchange = &channel->exchange;
    const lmn_round facts = lmn_compressor_round(channel->compressor, sending->level,
                                                 channel->shape, round, channel->compressed_steps);
    lmn__convex_exchange_begin(exchange);
    for (size_t part = 0; part < channel->problem->own.count; part++) {
        if (round == 0 && !lmn__channel_round_vector(channel, sending, part)) {
            lmn__convex_exchange_put_nothing(exchange);
            continue;
        }
        const lmn_rounds_job job = job_of(channel, sending, channel->problem->own.first + part);
        lmn_compressor_round_encode(channel->compressor, &job, round);
        pack(facts, job.own[round], lmn__convex_exchange_slot(exchange));
        lmn__convex_exchange_put(exchange, facts.count * bytes_on_wire(facts.reduction));
    }
    const lmn_status status = lmn__channel_gather(channel, sending, err);
    if (status != LMN_OK || lmn__channel_is_silent(channel, sending)) {
        return status;
    }
    return combine(channel, round, facts, err);
}

lmn_status lmn__channel_send_rounds(lmn__convex_channel *channel, lmn__convex_sending *sending,
                                    lmn_error *err)
{
    const size_t n_rounds = lmn_compressor_round_count(channel->compressor, sending->level);
    for (size_t round = 0; round < n_rounds; round++) {
        const lmn_status status = make_round(channel, sending, round, err);
        if (status != LMN_OK || lmn__channel_is_silent(channel, sending)) {
            return status;
        }
    }
    for (size_t worker = 0; worker < channel->problem->workers; worker++) {
        const lmn_rounds_job job = job_of(channel, sending, worker);
        lmn_compressor_rounds_sent(channel->compressor, &job, 0, channel->shape.count,
                                   channel->decoded);
        lmn__channel_take_sent(channel, sending, worker, channel->decoded);
    }
    lmn__channel_finish_mean(channel, sending);
    for (size_t part = 0; part < channel->problem->own.count; part++) {
        const lmn_rounds_job job = job_of(channel, sending, channel->problem->own.first + part);
        lmn_compressor_rounds_commit(channel->compressor, &job);
    }
    return LMN_OK;
}

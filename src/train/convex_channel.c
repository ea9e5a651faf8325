/*
 * Compressed messages between the workers of a convex problem.
 *
 * Whatever the family, every rank gets the messages of all workers and decodes each of them, so the
 * mean is added up in f64, in the order of workers. Families that combine in rounds have a file of
 * their own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_channel_internal.h"
#include "lamina/memory.h"

#include <math.h>
#include <string.h>

static bool has_rounds(const lmn__convex_channel *channel)
{
    const size_t level = lmn_compressor_static_level(channel->compressor);
    return lmn_compressor_combine(channel->compressor, level) == LMN_COMBINE_ROUNDS;
}

/* ------------------------------------------------------------------ creation */

/* The most bytes that a worker's numbers take in a round, at even and at odd steps. */
static size_t largest_round(const lmn__convex_channel *channel)
{
    const size_t level = lmn_compressor_static_level(channel->compressor);
    size_t most = 0;
    for (size_t round = 0; round < lmn_compressor_round_count(channel->compressor, level);
         round++) {
        for (uint64_t step = 0; step < 2; step++) {
            const lmn_round r =
                lmn_compressor_round(channel->compressor, level, channel->shape, round, step);
            const size_t bytes = r.count * lmn__channel_bytes_in_memory(r.reduction);
            most = bytes > most ? bytes : most;
        }
    }
    return lmn_align_up(most);
}

static size_t largest_message(const lmn__convex_channel *channel)
{
    const size_t level = lmn_compressor_static_level(channel->compressor);
    const size_t whole = channel->shape.count * (channel->is_f32 ? sizeof(float) : sizeof(double));
    size_t payload = channel->round_bytes;
    if (level != 0 && !has_rounds(channel)) {
        payload = lmn_compressor_payload_bytes(channel->compressor, level, channel->shape);
    }
    return payload > whole ? payload : whole;
}

static lmn_status take_memory(lmn__convex_channel *channel, lmn_error *err)
{
    const size_t own = channel->problem->own.count;
    const size_t dimension = channel->shape.count;
    channel->rounded = lmn_alloc(own * dimension, sizeof(float), err);
    channel->decoded = lmn_alloc(dimension, sizeof(float), err);
    channel->widened = lmn_alloc(dimension, sizeof(double), err);
    channel->memory =
        lmn_alloc(channel->messages * own * channel->memory_count, sizeof(float), err);
    channel->scratch = lmn_alloc(own, channel->scratch_bytes, err);
    channel->round_own =
        lmn_alloc(LMN__CHANNEL_ROUNDS_MAX * channel->problem->workers, channel->round_bytes, err);
    channel->round_sum = lmn_alloc(LMN__CHANNEL_ROUNDS_MAX, channel->round_bytes, err);
    const bool has_all = channel->rounded != NULL && channel->decoded != NULL &&
                         channel->widened != NULL && channel->memory != NULL &&
                         channel->scratch != NULL && channel->round_own != NULL &&
                         channel->round_sum != NULL;
    return has_all ? LMN_OK : LMN_ERR_MEMORY;
}

static lmn_status prepare(lmn__convex_channel *channel, lmn_error *err)
{
    const lmn_convex_problem *problem = channel->problem;
    if (lmn_compressor_family_count(channel->compressor) > 1) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "nothing chooses between families for a convex problem: name one "
                             "compressor, not several joined by '+'");
    }
    const int workers_max = lmn_compressor_ranks_max(channel->compressor);
    if (problem->workers > (size_t)workers_max) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "the compressor adds up over %d workers at most, and there are %zu",
                             workers_max, problem->workers);
    }
    /* Memory of single layers in lines of its own, so that it is as aligned as all. */
    const lmn_compressor_memory memory =
        lmn_compressor_memory_of(channel->compressor, channel->shape);
    channel->memory_count = lmn_align_up_f32(has_rounds(channel) ? memory.shared : memory.own);
    channel->scratch_bytes =
        lmn_align_up(lmn_compressor_scratch_bytes(channel->compressor, channel->shape));
    channel->round_bytes = has_rounds(channel) ? largest_round(channel) : 0;
    return take_memory(channel, err);
}

lmn_status lmn__convex_channel_create(const lmn_convex_problem *problem,
                                      const lmn_compressor *compressor, bool is_f32, uint64_t seed,
                                      size_t messages, lmn__convex_channel *channel_out,
                                      lmn_error *err)
{
    lmn__convex_channel channel = {.problem = problem,
                                   .compressor = compressor,
                                   .shape = {.count = problem->dimension, .rows = problem->outputs},
                                   .is_f32 = is_f32,
                                   .seed = seed,
                                   .messages = messages};
    lmn_status status = lmn_agree(problem->world, prepare(&channel, err), err);
    if (status == LMN_OK) {
        status = lmn__convex_exchange_create(problem->world, problem->workers,
                                             largest_message(&channel), &channel.exchange, err);
    }
    if (status != LMN_OK) {
        lmn__convex_channel_destroy(&channel);
        return status;
    }
    *channel_out = channel;
    return LMN_OK;
}

void lmn__convex_channel_destroy(lmn__convex_channel *channel)
{
    lmn__convex_exchange_destroy(&channel->exchange);
    lmn_free(channel->rounded);
    lmn_free(channel->decoded);
    lmn_free(channel->widened);
    lmn_free(channel->memory);
    lmn_free(channel->scratch);
    lmn_free(channel->round_own);
    lmn_free(channel->round_sum);
    *channel = (lmn__convex_channel){0};
}

/* ------------------------------------------------------------------ parts */

/* Vectors of an own worker. */
static const double *vector_of(const lmn__convex_channel *channel,
                               const lmn__convex_sending *sending, size_t part)
{
    return sending->vectors + part * channel->shape.count;
}

float *lmn__channel_rounded_of(const lmn__convex_channel *channel, size_t part)
{
    return channel->rounded + part * channel->shape.count;
}

float *lmn__channel_memory_of(const lmn__convex_channel *channel,
                              const lmn__convex_sending *sending, size_t part)
{
    if (channel->memory_count == 0) {
        return NULL;
    }
    return channel->memory +
           (sending->message * channel->problem->own.count + part) * channel->memory_count;
}

lmn_stream lmn__channel_stream_of(const lmn__convex_channel *channel,
                                  const lmn__convex_sending *sending, size_t rank)
{
    return (lmn_stream){.seed = channel->seed,
                        .layer = (uint32_t)sending->message,
                        .step = sending->step,
                        .purpose = LMN_STREAM_COMPRESS,
                        .rank = (uint16_t)rank};
}

/* The vector as f32. Returns whether all of it is finite there. */
bool lmn__channel_round_vector(const lmn__convex_channel *channel,
                               const lmn__convex_sending *sending, size_t part)
{
    const double *const vector = vector_of(channel, sending, part);
    float *const rounded = lmn__channel_rounded_of(channel, part);
    bool is_finite = true;
    for (size_t i = 0; i < channel->shape.count; i++) {
        rounded[i] = (float)vector[i];
        is_finite = is_finite && isfinite(rounded[i]);
    }
    return is_finite;
}

lmn_status lmn__channel_gather(lmn__convex_channel *channel, lmn__convex_sending *sending,
                               lmn_error *err)
{
    return lmn__convex_exchange_gather(&channel->exchange, &sending->silent, err);
}

bool lmn__channel_is_silent(const lmn__convex_channel *channel, const lmn__convex_sending *sending)
{
    return sending->silent < channel->problem->workers;
}

bool lmn__channel_is_own(const lmn__convex_channel *channel, size_t worker)
{
    const lmn_range own = channel->problem->own;
    return worker >= own.first && worker - own.first < own.count;
}

/* Take note of D_i of one worker. */
static void take_sent(const lmn__convex_channel *channel, lmn__convex_sending *sending,
                      size_t worker, const double *sent)
{
    const size_t dimension = channel->shape.count;
    if (lmn__channel_is_own(channel, worker)) {
        const size_t part = worker - channel->problem->own.first;
        memcpy(sending->sent + part * dimension, sent, dimension * sizeof *sent);
    }
    if (sending->tracked == NULL) {
        for (size_t i = 0; i < dimension; i++) {
            sending->mean[i] += sent[i];
        }
        return;
    }
    double *const tracked = sending->tracked + worker * dimension;
    for (size_t i = 0; i < dimension; i++) {
        tracked[i] = sending->renews ? sent[i] : tracked[i] + sent[i];
        sending->mean[i] += tracked[i];
    }
}

void lmn__channel_take_sent(const lmn__convex_channel *channel, lmn__convex_sending *sending,
                            size_t worker, const float *sent)
{
    for (size_t i = 0; i < channel->shape.count; i++) {
        channel->widened[i] = (double)sent[i];
    }
    take_sent(channel, sending, worker, channel->widened);
}

void lmn__channel_finish_mean(const lmn__convex_channel *channel, lmn__convex_sending *sending)
{
    for (size_t i = 0; i < channel->shape.count; i++) {
        sending->mean[i] /= (double)channel->problem->workers;
    }
}

/* ------------------------------------------------------------------ whole vectors */

static void put_whole(lmn__convex_channel *channel, const lmn__convex_sending *sending, size_t part)
{
    const double *const vector = vector_of(channel, sending, part);
    unsigned char *const slot = lmn__convex_exchange_slot(&channel->exchange);
    bool is_finite = true;
    for (size_t i = 0; i < channel->shape.count; i++) {
        is_finite = is_finite && isfinite(vector[i]);
    }
    is_finite =
        is_finite && (!channel->is_f32 || lmn__channel_round_vector(channel, sending, part));
    if (!is_finite) {
        lmn__convex_exchange_put_nothing(&channel->exchange);
        return;
    }
    const size_t bytes = channel->shape.count * (channel->is_f32 ? sizeof(float) : sizeof(double));
    const void *from = vector;
    if (channel->is_f32) {
        from = lmn__channel_rounded_of(channel, part);
    }
    memcpy(slot, from, bytes);
    lmn__convex_exchange_put(&channel->exchange, bytes);
}

static lmn_status send_whole(lmn__convex_channel *channel, lmn__convex_sending *sending,
                             lmn_error *err)
{
    lmn__convex_exchange *exchange = &channel->exchange;
    for (size_t part = 0; part < channel->problem->own.count; part++) {
        put_whole(channel, sending, part);
    }
    const lmn_status status = lmn__channel_gather(channel, sending, err);
    if (status != LMN_OK || lmn__channel_is_silent(channel, sending)) {
        return status;
    }
    for (size_t worker = 0; worker < channel->problem->workers; worker++) {
        /* Messages are aligned for it. */
        const void *const message = exchange->messages[worker];
        channel->bytes_sent += exchange->bytes[worker];
        if (channel->is_f32) {
            lmn__channel_take_sent(channel, sending, worker, message);
        } else {
            take_sent(channel, sending, worker, message);
        }
    }
    lmn__channel_finish_mean(channel, sending);
    return LMN_OK;
}

/* ------------------------------------------------------------------ entries and buckets */

static lmn_status encode(lmn__convex_channel *channel, const lmn__convex_sending *sending,
                         size_t part, lmn_error *err)
{
    lmn__convex_exchange *exchange = &channel->exchange;
    if (!lmn__channel_round_vector(channel, sending, part)) {
        lmn__convex_exchange_put_nothing(exchange);
        return LMN_OK;
    }
    const lmn_source source = lmn_source_of_vector(lmn__channel_rounded_of(channel, part));
    lmn_encode_job job = {
        .level = sending->level,
        .shape = channel->shape,
        .count = channel->shape.count,
        .stream = lmn__channel_stream_of(channel, sending, channel->problem->own.first + part),
        .source = &source,
        .memory = lmn__channel_memory_of(channel, sending, part),
        .payload = lmn__convex_exchange_slot(exchange),
        .payload_capacity = exchange->capacity,
        .scratch = channel->scratch + part * channel->scratch_bytes};
    const lmn_status status = lmn_compressor_encode(channel->compressor, &job, err);
    if (status == LMN_OK) {
        lmn__convex_exchange_put(exchange, job.payload_bytes);
    }
    return status;
}

static lmn_status decode(lmn__convex_channel *channel, lmn__convex_sending *sending, size_t worker,
                         lmn_error *err)
{
    const lmn_decode_job job = {.level = sending->level,
                                .shape = channel->shape,
                                .count = channel->shape.count,
                                .payload = channel->exchange.messages[worker],
                                .payload_bytes = channel->exchange.bytes[worker]};
    const lmn_status status = lmn_compressor_check(channel->compressor, &job, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "worker %zu", worker);
        return status;
    }
    memset(channel->decoded, 0, channel->shape.count * sizeof(float));
    lmn_compressor_decode_add(channel->compressor, &job, 1.0F, channel->decoded);
    channel->bytes_sent += job.payload_bytes;
    lmn__channel_take_sent(channel, sending, worker, channel->decoded);
    return LMN_OK;
}

static lmn_status send_messages(lmn__convex_channel *channel, lmn__convex_sending *sending,
                                lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t part = 0; part < channel->problem->own.count && status == LMN_OK; part++) {
        status = encode(channel, sending, part, err);
    }
    if (status == LMN_OK) {
        status = lmn__channel_gather(channel, sending, err);
    }
    if (status != LMN_OK || lmn__channel_is_silent(channel, sending)) {
        return status;
    }
    for (size_t worker = 0; worker < channel->problem->workers && status == LMN_OK; worker++) {
        status = decode(channel, sending, worker, err);
    }
    lmn__channel_finish_mean(channel, sending);
    return status;
}

lmn_status lmn__convex_send(lmn__convex_channel *channel, lmn__convex_sending *sending,
                            lmn_error *err)
{
    memset(sending->mean, 0, channel->shape.count * sizeof(double));
    lmn__convex_exchange_begin(&channel->exchange);
    if (sending->level == 0) {
        return send_whole(channel, sending, err);
    }
    const lmn_status status = has_rounds(channel) ? lmn__channel_send_rounds(channel, sending, err)
                                                  : send_messages(channel, sending, err);
    if (sending->message + 1 == channel->messages) {
        channel->compressed_steps++;
    }
    return status;
}

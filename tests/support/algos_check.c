/*
 * Helpers of the tests of src/algos.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"

#include "lamina/memory.h"
#include "lamina/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

lmn_compressor *check_new_compressor(const char *spec)
{
    lmn_compressor *compressor = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_compressor_create(spec, &compressor, &err) != LMN_OK) {
        fail_msg("%s: %s", spec, err.message);
    }
    return compressor;
}

lmn_feedback *check_new_feedback(const char *spec)
{
    lmn_feedback *feedback = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_feedback_create(spec, &feedback, &err) != LMN_OK) {
        fail_msg("%s: %s", spec, err.message);
    }
    return feedback;
}

float *check_new_floats(size_t count)
{
    return check_new_bytes(count * sizeof(float));
}

void *check_new_bytes(size_t bytes)
{
    void *memory = lmn_alloc(bytes, 1, NULL);
    assert_non_null(memory);
    return memory;
}

static float random_number(float normal, uint32_t word, check_kind kind)
{
    const float sign = (word & 1U) != 0 ? -1.0F : 1.0F;
    switch (kind) {
    case CHECK_TIED:
        return sign * (float)(word >> 8 & 3U) * 0.25F;
    case CHECK_SPARSE:
        return (word >> 8) % 50 == 0 ? normal : sign * 0.0F;
    case CHECK_DENORMAL:
        return sign * ldexpf((float)(word >> 24), -149);
    case CHECK_WIDE:
        return ldexpf(normal, (int)(word >> 8 & 63U) - 32);
    case CHECK_EQUAL:
        return sign * 0.75F;
    case CHECK_ZERO:
        return sign * 0.0F;
    default:
        return normal;
    }
}

void check_fill(float *vector, size_t count, check_kind kind, uint32_t seed)
{
    const lmn_stream normals = {.seed = seed, .layer = (uint32_t)kind, .rank = 0};
    const lmn_stream words = {.seed = seed, .layer = (uint32_t)kind, .rank = 1};
    lmn_stream_normal(&normals, 0, count, vector);
    for (size_t i = 0; i < count; i++) {
        uint32_t word = 0;
        lmn_stream_u32(&words, i, 1, &word);
        vector[i] = random_number(vector[i], word, kind);
    }
}

double check_energy(const float *vector, size_t count)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)vector[i] * (double)vector[i];
    }
    return sum;
}

void check_same_bits(const float *a, const float *b, size_t count)
{
    assert_memory_equal(a, b, count * sizeof a[0]);
}

check_ranks check_new_ranks(const char *feedback, const char *compressor, size_t n_ranks,
                            size_t count)
{
    check_ranks ranks = {.n_ranks = n_ranks,
                         .count = count,
                         .compressor = check_new_compressor(compressor),
                         .feedback = check_new_feedback(feedback)};
    ranks.level = lmn_compressor_static_level(ranks.compressor);
    ranks.eta = lmn_feedback_eta(
        ranks.feedback,
        lmn_compressor_eta(ranks.compressor, ranks.level, lmn_layer_flat(count)).suggested);
    ranks.vector = check_new_floats(n_ranks * count);
    ranks.state = check_new_floats(n_ranks * LMN_FEEDBACK_STATES_MAX * count);
    ranks.next = check_new_floats(LMN_FEEDBACK_STATES_MAX * count);
    ranks.estimate = check_new_floats(count);
    ranks.payload_capacity =
        lmn_compressor_payload_bytes(ranks.compressor, ranks.level, lmn_layer_flat(count));
    ranks.payload = check_new_bytes(ranks.payload_capacity);
    ranks.scratch =
        check_new_bytes(lmn_compressor_scratch_bytes(ranks.compressor, lmn_layer_flat(count)));
    return ranks;
}

void check_free_ranks(check_ranks *ranks)
{
    lmn_compressor_destroy(ranks->compressor);
    lmn_feedback_destroy(ranks->feedback);
    lmn_free(ranks->vector);
    lmn_free(ranks->state);
    lmn_free(ranks->next);
    lmn_free(ranks->estimate);
    lmn_free(ranks->payload);
    lmn_free(ranks->scratch);
}

float *check_state(const check_ranks *ranks, size_t rank, size_t index)
{
    return ranks->state + (rank * LMN_FEEDBACK_STATES_MAX + index) * ranks->count;
}

check_encoding *check_new_encoding(const lmn_compressor *compressor, size_t level,
                                   lmn_layer_shape shape)
{
    const size_t capacity = lmn_compressor_payload_bytes(compressor, level, shape);
    const lmn_compressor_memory memory = lmn_compressor_memory_of(compressor, shape);
    check_encoding *encoding = check_new_bytes(sizeof *encoding);
    encoding->vector = check_new_floats(shape.count);
    encoding->source = lmn_source_of_vector(encoding->vector);
    encoding->job = (lmn_encode_job){
        .level = level,
        .shape = shape,
        .count = shape.count,
        .stream = {.seed = 11, .purpose = LMN_STREAM_COMPRESS},
        .source = &encoding->source,
        .memory = check_new_floats(memory.own),
        .payload = check_new_bytes(capacity),
        .payload_capacity = capacity,
        .scratch = check_new_bytes(lmn_compressor_scratch_bytes(compressor, shape)),
    };
    return encoding;
}

void check_free_encoding(check_encoding *encoding)
{
    lmn_free(encoding->vector);
    lmn_free(encoding->job.memory);
    lmn_free(encoding->job.payload);
    lmn_free(encoding->job.scratch);
    lmn_free(encoding);
}

void check_encode(const lmn_compressor *compressor, const float *original, check_encoding *encoding)
{
    lmn_error err = lmn_error_none();
    if (encoding->job.count > 0) {
        memcpy(encoding->vector, original, encoding->job.count * sizeof original[0]);
    }
    if (lmn_compressor_encode(compressor, &encoding->job, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    assert_true(encoding->job.is_finite);
}

lmn_decode_job check_message_of(const check_encoding *encoding)
{
    return (lmn_decode_job){.level = encoding->job.level,
                            .shape = encoding->job.shape,
                            .first = encoding->job.first,
                            .count = encoding->job.count,
                            .payload = encoding->job.payload,
                            .payload_bytes = encoding->job.payload_bytes};
}

check_coded check_code(const char *spec, const float *vector, size_t count, uint32_t step)
{
    lmn_error err = lmn_error_none();
    check_coded coded = {.compressor = check_new_compressor(spec),
                         .decoded = check_new_floats(count)};
    coded.encoding = check_new_encoding(
        coded.compressor, lmn_compressor_static_level(coded.compressor), lmn_layer_flat(count));
    coded.encoding->job.stream.step = step;
    check_encode(coded.compressor, vector, coded.encoding);
    const lmn_decode_job message = check_message_of(coded.encoding);
    if (lmn_compressor_check(coded.compressor, &message, &err) != LMN_OK) {
        fail_msg("%s: %s", spec, err.message);
    }
    lmn_compressor_decode_add(coded.compressor, &message, 1.0F, coded.decoded);
    return coded;
}

void check_free_coded(check_coded *coded)
{
    check_free_encoding(coded->encoding);
    lmn_free(coded->decoded);
    lmn_compressor_destroy(coded->compressor);
}

lmn_status check_damaged(const check_coded *coded, size_t offset, const void *bytes, size_t n)
{
    lmn_error err = lmn_error_none();
    lmn_decode_job message = check_message_of(coded->encoding);
    assert_true(offset + n <= message.payload_bytes);
    unsigned char *copy = check_new_bytes(message.payload_bytes);
    memcpy(copy, message.payload, message.payload_bytes);
    memcpy(copy + offset, bytes, n);
    message.payload = copy;
    const lmn_status status = lmn_compressor_check(coded->compressor, &message, &err);
    assert_true(status == LMN_OK || strlen(err.message) > 0);
    lmn_free(copy);
    return status;
}

/* One rank at work: what its source and its states are made of. */
typedef struct worker {
    check_ranks *ranks;
    const float *gradient;
    float *vector;
    float *state[LMN_FEEDBACK_STATES_MAX];
} worker;

static lmn_feedback_tile tile_of(const worker *w, size_t first, size_t count)
{
    lmn_feedback_tile tile = {.count = count,
                              .eta = w->ranks->eta,
                              .first = w->ranks->is_first,
                              .whole = w->ranks->level == 0,
                              .gradient = w->gradient + first};
    for (size_t i = 0; i < LMN_FEEDBACK_STATES_MAX; i++) {
        tile.state[i] = w->state[i] + first;
        tile.next[i] = w->ranks->next + i * w->ranks->count + first;
    }
    return tile;
}

static bool form_tile(void *user, size_t first, size_t count, float *vector)
{
    const worker *w = user;
    const lmn_feedback_tile tile = tile_of(w, first, count);
    return lmn_feedback_form(w->ranks->feedback, &tile, vector);
}

static void tile_sent(void *user, size_t first, size_t count, const float *vector,
                      const float *sent)
{
    const worker *w = user;
    const lmn_feedback_tile tile = tile_of(w, first, count);
    lmn_feedback_advance(w->ranks->feedback, &tile, vector, sent);
    for (size_t i = 0; i < count; i++) {
        w->vector[first + i] = vector[i] - sent[i];
    }
}

static bool form_unsent_tile(void *user, size_t first, size_t count, float *vector)
{
    const worker *w = user;
    const lmn_feedback_tile tile = tile_of(w, first, count);
    const bool is_finite = lmn_feedback_form_unsent(w->ranks->feedback, &tile, vector);
    memcpy(w->vector + first, vector, count * sizeof *vector);
    return is_finite;
}

static void entries_sent(void *user, size_t n, const uint32_t *indices, const float *values)
{
    const worker *w = user;
    for (size_t s = 0; s < lmn_feedback_state_count(w->ranks->feedback); s++) {
        const float factor = lmn_feedback_sent_factor(w->ranks->feedback, s);
        for (size_t i = 0; i < n; i++) {
            w->ranks->next[s * w->ranks->count + indices[i]] += factor * values[i];
        }
    }
    for (size_t i = 0; i < n; i++) {
        w->vector[indices[i]] -= values[i];
    }
}

/* The whole vector: nothing of it is left. */
static void send_whole(worker *w, float weight)
{
    const size_t count = w->ranks->count;
    assert_true(form_tile(w, 0, count, w->vector));
    for (size_t i = 0; i < count; i++) {
        w->ranks->estimate[i] += weight * w->vector[i];
    }
    tile_sent(w, 0, count, w->vector, w->vector);
}

/* Compress a rank's vector, and add what is sent to the estimate. */
static void send_compressed(worker *w, float weight)
{
    check_ranks *ranks = w->ranks;
    lmn_error err = lmn_error_none();
    const lmn_source source = {.form = form_tile,
                               .sent = tile_sent,
                               .form_unsent = form_unsent_tile,
                               .sent_entries = entries_sent,
                               .user = w};
    lmn_encode_job job = {.level = ranks->level,
                          .shape = lmn_layer_flat(ranks->count),
                          .count = ranks->count,
                          .source = &source,
                          .payload = ranks->payload,
                          .payload_capacity = ranks->payload_capacity,
                          .scratch = ranks->scratch};
    if (lmn_compressor_encode(ranks->compressor, &job, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    const lmn_decode_job message = {.level = ranks->level,
                                    .shape = job.shape,
                                    .count = ranks->count,
                                    .payload = ranks->payload,
                                    .payload_bytes = job.payload_bytes};
    if (lmn_compressor_check(ranks->compressor, &message, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    lmn_compressor_decode_add(ranks->compressor, &message, weight, ranks->estimate);
}

void check_step(check_ranks *ranks, const float *gradients)
{
    const float weight = 1.0F / (float)ranks->n_ranks;
    if (!lmn_feedback_tracks(ranks->feedback) || ranks->level == 0) {
        memset(ranks->estimate, 0, ranks->count * sizeof ranks->estimate[0]);
    }
    for (size_t rank = 0; rank < ranks->n_ranks; rank++) {
        worker w = {.ranks = ranks,
                    .gradient = gradients + rank * ranks->count,
                    .vector = ranks->vector + rank * ranks->count};
        for (size_t i = 0; i < LMN_FEEDBACK_STATES_MAX; i++) {
            w.state[i] = check_state(ranks, rank, i);
        }
        if (ranks->level == 0) {
            send_whole(&w, weight);
        } else {
            send_compressed(&w, weight);
        }
        memcpy(check_state(ranks, rank, 0), ranks->next,
               lmn_feedback_state_count(ranks->feedback) * ranks->count * sizeof(float));
    }
}

/*
 * What compressing one layer costs: encoding with its error feedback, and decoding.
 *
 *     bench_compress SPEC FEEDBACK ELEMENTS [REPEATS]
 *
 * One step of one rank without communication: v is formed from the gradient and the feedback's
 * states, encoded, and the next states are written, which together is called encoding; then the
 * message is decoded and added up. The layer is a matrix as square as ELEMENTS allows. Prints one
 * line of JSON; seconds are medians over REPEATS steps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "lamina/compressor.h"
#include "lamina/feedback.h"
#include "lamina/memory.h"
#include "lamina/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRADIENTS = 2, REPEATS_MAX = 101, ROUNDS_MAX = 2 };

/* A layer of one rank and everything that a step of it touches. */
typedef struct layer {
    lmn_compressor *compressor;
    lmn_feedback *feedback;
    size_t level;
    lmn_layer_shape shape;
    double eta;
    float *gradients[GRADIENTS]; /* taken in turn, so that hints from the last step are tested */
    const float *gradient;
    /* Whether encoding writes a state anew; else only what was sent is added to it, by entries. */
    bool writes[LMN_FEEDBACK_STATES_MAX];
    float *state[LMN_FEEDBACK_STATES_MAX];
    float *next[LMN_FEEDBACK_STATES_MAX];
    float *memory;
    float *vector; /* for rounds */
    float *sum;
    unsigned char *payload;
    size_t payload_capacity, payload_bytes;
    void *numbers[ROUNDS_MAX];
    void *own[ROUNDS_MAX];
    void *scratch;
    uint64_t step;
} layer;

static void fail(const lmn_error *err)
{
    (void)fprintf(stderr, "bench_compress: %s\n", err->message);
    _Exit(EXIT_FAILURE);
}

static void *take(size_t bytes)
{
    lmn_error err = lmn_error_none();
    void *memory = lmn_alloc(bytes == 0 ? 1 : bytes, 1, &err);
    if (memory == NULL) {
        fail(&err);
    }
    return memory;
}

static float *take_floats(size_t count)
{
    return take(count * sizeof(float));
}

/* The largest divisor of count up to its root. */
static size_t square_rows(size_t count)
{
    size_t rows = 1;
    for (size_t candidate = 2; candidate * candidate <= count; candidate++) {
        rows = count % candidate == 0 ? candidate : rows;
    }
    return rows;
}

/* Normal numbers whose scale differs between rows, as it does between the neurons of a network; the
   second gradient is near the first. */
static void fill_gradients(layer *l)
{
    const lmn_stream stream = {.seed = 5, .purpose = LMN_STREAM_USER};
    const lmn_stream change = {.seed = 6, .purpose = LMN_STREAM_USER};
    float *const first = l->gradients[0];
    float *const second = l->gradients[1];
    lmn_stream_normal(&stream, 0, l->shape.count, first);
    lmn_stream_normal(&change, 0, l->shape.count, second);
    for (size_t i = 0; i < l->shape.count; i++) {
        first[i] *= 0.01F / (float)(1 + i / 977 % 13);
        second[i] = first[i] * (1.0F + 0.3F * second[i]);
    }
}

static void take_rounds(layer *l)
{
    const size_t rounds = lmn_compressor_round_count(l->compressor, l->level);
    for (size_t r = 0; r < rounds; r++) {
        size_t count = 0;
        for (uint64_t step = 0; step < 2; step++) {
            const size_t here =
                lmn_compressor_round(l->compressor, l->level, l->shape, r, step).count;
            count = here > count ? here : count;
        }
        l->numbers[r] = take_floats(count);
        l->own[r] = take_floats(count);
    }
    l->vector = take_floats(l->shape.count);
}

static layer make_layer(const char *spec, const char *feedback, size_t count)
{
    lmn_error err = lmn_error_none();
    layer l = {.shape = {.count = count, .rows = square_rows(count)}};
    if (lmn_compressor_create(spec, &l.compressor, &err) != LMN_OK ||
        lmn_feedback_create(feedback, &l.feedback, &err) != LMN_OK) {
        fail(&err);
    }
    l.level = lmn_compressor_static_level(l.compressor);
    l.eta =
        lmn_feedback_eta(l.feedback, lmn_compressor_eta(l.compressor, l.level, l.shape).suggested);
    for (size_t i = 0; i < GRADIENTS; i++) {
        l.gradients[i] = take_floats(count);
    }
    fill_gradients(&l);
    for (size_t i = 0; i < lmn_feedback_state_count(l.feedback); i++) {
        l.state[i] = take_floats(count);
        l.next[i] = take_floats(count);
        l.writes[i] = lmn_compressor_combine(l.compressor, l.level) != LMN_COMBINE_SPARSE ||
                      lmn_feedback_rewrites(l.feedback, i);
    }
    const lmn_compressor_memory memory = lmn_compressor_memory_of(l.compressor, l.shape);
    l.memory = take_floats(memory.own > memory.shared ? memory.own : memory.shared);
    l.payload_capacity = lmn_compressor_payload_bytes(l.compressor, l.level, l.shape);
    l.payload = take(l.payload_capacity);
    l.scratch = take(lmn_compressor_scratch_bytes(l.compressor, l.shape));
    l.sum = take_floats(count);
    if (lmn_compressor_combine(l.compressor, l.level) == LMN_COMBINE_ROUNDS) {
        take_rounds(&l);
    }
    return l;
}

static lmn_feedback_tile tile_of(const layer *l, size_t first, size_t count)
{
    lmn_feedback_tile tile;
    tile.count = count;
    tile.eta = l->eta;
    tile.first = false;
    tile.whole = false;
    tile.past_caches = l->shape.count * sizeof(float) >= (size_t)4 << 20;
    tile.gradient = l->gradient + first;
    for (size_t i = 0; i < LMN_FEEDBACK_STATES_MAX; i++) {
        tile.state[i] = l->state[i] == NULL ? NULL : l->state[i] + first;
        tile.next[i] = l->writes[i] ? l->next[i] + first : NULL;
    }
    return tile;
}

static bool form(void *user, size_t first, size_t count, float *vector)
{
    const layer *l = user;
    const lmn_feedback_tile tile = tile_of(l, first, count);
    return lmn_feedback_form(l->feedback, &tile, vector);
}

static void sent(void *user, size_t first, size_t count, const float *vector, const float *sent)
{
    const layer *l = user;
    const lmn_feedback_tile tile = tile_of(l, first, count);
    lmn_feedback_advance(l->feedback, &tile, vector, sent);
}

static bool form_unsent(void *user, size_t first, size_t count, float *vector)
{
    const layer *l = user;
    const lmn_feedback_tile tile = tile_of(l, first, count);
    return lmn_feedback_form_unsent(l->feedback, &tile, vector);
}

static void sent_entries(void *user, size_t n, const uint32_t *indices, const float *values)
{
    const layer *l = user;
    for (size_t s = 0; s < lmn_feedback_state_count(l->feedback); s++) {
        float *const state = l->writes[s] ? l->next[s] : l->state[s];
        const float factor = lmn_feedback_sent_factor(l->feedback, s);
        for (size_t i = 0; i < n; i++) {
            state[indices[i]] += factor * values[i];
        }
    }
}

static void encode_message(layer *l, const lmn_source *source)
{
    lmn_error err = lmn_error_none();
    lmn_encode_job job = {
        .level = l->level,
        .shape = l->shape,
        .count = l->shape.count,
        .stream = {.seed = 1, .step = (uint32_t)l->step, .purpose = LMN_STREAM_COMPRESS},
        .source = source,
        .memory = l->memory,
        .payload = l->payload,
        .payload_capacity = l->payload_capacity,
        .scratch = l->scratch};
    if (lmn_compressor_encode(l->compressor, &job, &err) != LMN_OK) {
        fail(&err);
    }
    l->payload_bytes = job.payload_bytes;
}

static lmn_rounds_job rounds_job(const layer *l)
{
    return (lmn_rounds_job){.level = l->level,
                            .shape = l->shape,
                            .n_ranks = 1,
                            .step = l->step,
                            .stream = {.seed = 1,
                                       .step = (uint32_t)l->step,
                                       .purpose = LMN_STREAM_COMPRESS,
                                       .rank = LMN_STREAM_ALL_RANKS},
                            .vector = l->vector,
                            .memory = l->memory,
                            .numbers = {l->numbers[0], l->numbers[1]},
                            .own = {l->own[0], l->own[1]},
                            .scratch = l->scratch};
}

/* One rank alone: the outcome of every allreduce is what the rank put in. */
static void encode_rounds(layer *l, const lmn_source *source)
{
    enum { TILE = 1024 };
    const lmn_rounds_job job = rounds_job(l);
    for (size_t first = 0; first < l->shape.count; first += TILE) {
        const size_t rest = l->shape.count - first;
        (void)source->form(source->user, first, rest < TILE ? rest : TILE, l->vector + first);
    }
    for (size_t r = 0; r < lmn_compressor_round_count(l->compressor, l->level); r++) {
        lmn_compressor_round_encode(l->compressor, &job, r);
    }
    float tile[TILE];
    for (size_t first = 0; first < l->shape.count; first += TILE) {
        const size_t rest = l->shape.count - first;
        const size_t count = rest < TILE ? rest : TILE;
        lmn_compressor_rounds_sent(l->compressor, &job, first, count, tile);
        source->sent(source->user, first, count, l->vector + first, tile);
    }
    lmn_compressor_rounds_commit(l->compressor, &job);
    l->payload_bytes = l->payload_capacity;
}

static void encode(layer *l)
{
    const lmn_source source = {.form = form,
                               .sent = sent,
                               .form_unsent = form_unsent,
                               .sent_entries = sent_entries,
                               .user = l};
    l->gradient = l->gradients[l->step % GRADIENTS];
    if (lmn_compressor_combine(l->compressor, l->level) == LMN_COMBINE_ROUNDS) {
        encode_rounds(l, &source);
    } else {
        encode_message(l, &source);
    }
    for (size_t s = 0; s < lmn_feedback_state_count(l->feedback); s++) {
        if (l->writes[s]) {
            float *const swapped = l->state[s];
            l->state[s] = l->next[s];
            l->next[s] = swapped;
        }
    }
    l->step++;
}

static void decode(layer *l)
{
    if (lmn_compressor_combine(l->compressor, l->level) == LMN_COMBINE_ROUNDS) {
        lmn_rounds_job job = rounds_job(l);
        job.step = l->step - 1;
        job.stream.step = (uint32_t)job.step;
        lmn_compressor_rounds_decode_add(l->compressor, &job, 1.0F, l->sum);
        return;
    }
    const lmn_decode_job job = {.level = l->level,
                                .shape = l->shape,
                                .count = l->shape.count,
                                .payload = l->payload,
                                .payload_bytes = l->payload_bytes};
    lmn_compressor_decode_add(l->compressor, &job, 1.0F, l->sum);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *seconds, size_t n)
{
    qsort(seconds, n, sizeof *seconds, by_size);
    return seconds[n / 2];
}

/* Bytes that encoding must move at least: the gradient, the states before and after, the message.
 */
static double bytes_moved(const layer *l)
{
    double vectors = 1.0;
    for (size_t s = 0; s < lmn_feedback_state_count(l->feedback); s++) {
        vectors += l->writes[s] ? 2.0 : 1.0;
    }
    return 4.0 * vectors * (double)l->shape.count + (double)l->payload_bytes;
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 5) {
        (void)fprintf(stderr, "usage: bench_compress SPEC FEEDBACK ELEMENTS [REPEATS]\n");
        return EXIT_FAILURE;
    }
    const size_t count = (size_t)strtod(argv[3], NULL);
    size_t repeats = argc == 5 ? strtoul(argv[4], NULL, 10) : 15;
    repeats = repeats < 1 ? 1 : repeats > REPEATS_MAX ? REPEATS_MAX : repeats;
    layer l = make_layer(argv[1], argv[2], count);
    if (l.level == 0) {
        (void)fprintf(stderr, "bench_compress: '%s' encodes nothing\n", argv[1]);
        return EXIT_FAILURE;
    }
    double encode_seconds[REPEATS_MAX] = {0.0};
    double decode_seconds[REPEATS_MAX] = {0.0};
    encode(&l); /* touches all memory; leaves the states of a run under way */
    for (size_t i = 0; i < repeats; i++) {
        const double start = lmn_clock_seconds();
        encode(&l);
        const double encoded = lmn_clock_seconds();
        decode(&l);
        encode_seconds[i] = encoded - start;
        decode_seconds[i] = lmn_clock_seconds() - encoded;
    }
    char level[64] = "";
    lmn_compressor_level_format(l.compressor, l.level, level, sizeof level);
    const double e = median(encode_seconds, repeats);
    const double d = median(decode_seconds, repeats);
    (void)printf("{\"family\": \"%s\", \"level\": \"%s\", \"elements\": %zu, \"feedback\": \"%s\", "
                 "\"encode_gelem_s\": %.4f, \"decode_gelem_s\": %.4f, \"encode_gbs\": %.3f, "
                 "\"bytes_per_element\": %.5f}\n",
                 argv[1], level, count, argv[2], 1e-9 * (double)count / e, 1e-9 * (double)count / d,
                 1e-9 * bytes_moved(&l) / e, (double)l.payload_bytes / (double)count);
    return EXIT_SUCCESS;
}

/*
 * The reducer against serial models of it, written down here from the formulas of
 * lamina/feedback.h: families with messages to the bit, families that reduce numbers up to the
 * order of additions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "algos_check.h"
#include "lamina/compressor.h"
#include "lamina/memory.h"
#include "lamina/random.h"
#include "lamina/reducer.h"
#include "reducer_check.h"
#include "rounds_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <mpi.h>

#include <cmocka.h>

/* The layer that is looked at has the number and the seed that check_rounds draws with. */
enum { LAYER = 3, N_LAYERS = 5, COUNT = 4307, ROWS = 59, SEED = 5, STEPS = 6, MEMORY = 16 };

static const lmn_reducer_layer layers[N_LAYERS] = {
    {.name = "a", .n_dims = 1, .dims = {5}},
    {.name = "b", .n_dims = 1, .dims = {7}},
    {.name = "c", .n_dims = 2, .dims = {40, 50}},
    {.name = "d", .n_dims = 2, .dims = {ROWS, COUNT / ROWS}},
    {.name = "e", .n_dims = 1, .dims = {3000}},
};
static const lmn_layer_shape shape = {.count = COUNT, .rows = ROWS};

typedef enum mechanism { NONE, EC, EF21, ECONTROL, N_MECHANISMS } mechanism;
static const char *const feedbacks[N_MECHANISMS] = {"none", "ec", "ef21:init=zero",
                                                    "econtrol:init=zero,eta=0.05"};

static void fill(int rank, size_t layer, uint64_t step, size_t count, float *gradient)
{
    const lmn_stream stream = {.seed = 3,
                               .layer = (uint32_t)layer,
                               .step = (uint32_t)step,
                               .purpose = LMN_STREAM_USER,
                               .rank = (uint16_t)rank};
    lmn_stream_normal(&stream, 0, count, gradient);
}

/* All ranks' states of the layer, and what the owners of its slices keep. */
typedef struct model {
    mechanism feedback;
    lmn_compressor *compressor;
    size_t level;
    int n_ranks;
    bool sliced;
    float *h_i, *e; /* [n_ranks][COUNT] */
    float *h;       /* [COUNT] */
    float *second;  /* [COUNT] E */
    float *sent;    /* [COUNT] */
    float *mean;    /* [COUNT] */
    float *vectors; /* [n_ranks][COUNT] v */
    float *memory;  /* [n_ranks][MEMORY] of the compressor */
    float *estimate;
} model;

static model new_model(const char *compress, mechanism feedback, int n_ranks)
{
    const size_t all = (size_t)n_ranks * COUNT;
    model m = {.feedback = feedback,
               .compressor = check_new_compressor(compress),
               .n_ranks = n_ranks,
               .h_i = check_new_floats(all),
               .e = check_new_floats(all),
               .h = check_new_floats(COUNT),
               .second = check_new_floats(COUNT),
               .sent = check_new_floats(COUNT),
               .mean = check_new_floats(COUNT),
               .vectors = check_new_floats(all),
               .memory = check_new_floats((size_t)n_ranks * MEMORY),
               .estimate = check_new_floats(COUNT)};
    m.level = lmn_compressor_static_level(m.compressor);
    assert_true(lmn_compressor_combine(m.compressor, m.level) == LMN_COMBINE_ROUNDS ||
                lmn_compressor_memory_of(m.compressor, shape).own <= MEMORY);
    m.sliced = lmn_compressor_combine(m.compressor, m.level) == LMN_COMBINE_SLICED;
    return m;
}

static void free_model(model *m)
{
    lmn_compressor_destroy(m->compressor);
    lmn_free(m->h_i);
    lmn_free(m->e);
    lmn_free(m->h);
    lmn_free(m->second);
    lmn_free(m->sent);
    lmn_free(m->mean);
    lmn_free(m->vectors);
    lmn_free(m->memory);
    lmn_free(m->estimate);
}

static bool tracks(const model *m)
{
    return m->feedback == EF21 || m->feedback == ECONTROL;
}

static void form_vector(const model *m, int rank, const float *g, float *v)
{
    const float *h_i = m->h_i + (size_t)rank * COUNT;
    const float *e = m->e + (size_t)rank * COUNT;
    const float eta = 0.05F;
    for (size_t i = 0; i < COUNT; i++) {
        v[i] = m->feedback == NONE   ? g[i]
               : m->feedback == EC   ? g[i] + e[i]
               : m->feedback == EF21 ? g[i] - h_i[i]
                                     : (g[i] - h_i[i]) + eta * e[i];
    }
}

/* Entries are taken from the error that tiles left; tiles know at once what was sent. */
static void advance(const model *m, int rank, const float *g, const float *v, const float *sent)
{
    float *const h_i = m->h_i + (size_t)rank * COUNT;
    float *const e = m->e + (size_t)rank * COUNT;
    const bool tiles = lmn_compressor_combine(m->compressor, m->level) != LMN_COMBINE_SPARSE;
    for (size_t i = 0; i < COUNT; i++) {
        if (m->feedback == EC) {
            e[i] = v[i] - sent[i];
        } else if (m->feedback == ECONTROL) {
            e[i] = tiles ? e[i] + (g[i] - (h_i[i] + sent[i])) : e[i] + (g[i] - h_i[i]) - sent[i];
        }
        h_i[i] += tracks(m) ? sent[i] : 0.0F;
    }
}

/* sent = C(vector) with the random numbers of a rank; also acc += weight * C(vector). */
static void encode(const model *m, const float *vector, uint64_t step, unsigned rank, float weight,
                   float *sent, float *acc)
{
    check_encoding *encoding = check_new_encoding(m->compressor, m->level, shape);
    encoding->job.stream = (lmn_stream){.seed = SEED,
                                        .layer = LAYER,
                                        .step = (uint32_t)step,
                                        .purpose = LMN_STREAM_COMPRESS,
                                        .rank = (uint16_t)rank};
    float *const fresh = encoding->job.memory;
    encoding->job.memory = rank == LMN_STREAM_ALL_RANKS ? NULL : m->memory + (size_t)rank * MEMORY;
    check_encode(m->compressor, vector, encoding);
    encoding->job.memory = fresh;
    const lmn_decode_job message = check_message_of(encoding);
    memset(sent, 0, COUNT * sizeof *sent);
    lmn_compressor_decode_add(m->compressor, &message, 1.0F, sent);
    lmn_compressor_decode_add(m->compressor, &message, weight, acc);
    check_free_encoding(encoding);
}

/* y = D + E, or h + D + E; the estimate is C(y). */
static void encode_mean(model *m, uint64_t step)
{
    float y[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        m->h[i] += m->mean[i];
        y[i] = (tracks(m) ? m->h[i] : m->mean[i]) + m->second[i];
    }
    memset(m->estimate, 0, COUNT * sizeof *m->estimate);
    encode(m, y, step, LMN_STREAM_ALL_RANKS, 1.0F, m->sent, m->estimate);
    for (size_t i = 0; i < COUNT && m->feedback != NONE; i++) {
        m->second[i] = y[i] - m->sent[i];
    }
}

static void step_messages(model *m, uint64_t step)
{
    float *const sum = tracks(m) && !m->sliced ? m->h : m->mean;
    memset(m->mean, 0, COUNT * sizeof *m->mean);
    for (int rank = 0; rank < m->n_ranks; rank++) {
        float gradient[COUNT];
        float *const v = m->vectors + (size_t)rank * COUNT;
        fill(rank, LAYER, step, COUNT, gradient);
        form_vector(m, rank, gradient, v);
        encode(m, v, step, (unsigned)rank, 1.0F / (float)m->n_ranks, m->sent, sum);
        advance(m, rank, gradient, v, m->sent);
    }
    if (m->sliced) {
        encode_mean(m, step);
    } else {
        memcpy(m->estimate, sum, COUNT * sizeof *sum);
    }
}

static void step_rounds(model *m, check_rounds *rounds, uint64_t step)
{
    float gradients[8 * COUNT];
    assert_true(m->n_ranks <= 8);
    for (int rank = 0; rank < m->n_ranks; rank++) {
        fill(rank, LAYER, step, COUNT, gradients + (size_t)rank * COUNT);
        form_vector(m, rank, gradients + (size_t)rank * COUNT, m->vectors + (size_t)rank * COUNT);
    }
    check_rounds_step(rounds, m->vectors);
    for (int rank = 0; rank < m->n_ranks; rank++) {
        advance(m, rank, gradients + (size_t)rank * COUNT, m->vectors + (size_t)rank * COUNT,
                check_sent(rounds, (size_t)rank));
    }
    for (size_t i = 0; i < COUNT; i++) {
        m->h[i] += rounds->mean[i];
        m->estimate[i] = tracks(m) ? m->h[i] : rounds->mean[i];
    }
}

static lmn_reducer *new_reducer(lmn_world *world, const char *compress, const char *feedback)
{
    lmn_reducer_options options = check_reducer_options(compress, feedback, "uniform");
    options.bucket_bytes = (size_t)1 << 20; /* the large layers share a bucket and its slices */
    options.seed = SEED;
    lmn_reducer *reducer = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_reducer_create(world, layers, N_LAYERS, &options, &reducer, &err) != LMN_OK) {
        fail_msg("%s", err.message);
    }
    return reducer;
}

static void run_step(lmn_reducer *reducer, int rank, uint64_t step)
{
    lmn_error err = lmn_error_none();
    lmn_step_report report;
    assert_int_equal(lmn_reducer_begin(reducer, step, &err), LMN_OK);
    for (size_t layer = 0; layer < N_LAYERS; layer++) {
        float *gradient = lmn_reducer_gradient(reducer, layer);
        const size_t count =
            layers[layer].dims[0] * (layers[layer].n_dims == 2 ? layers[layer].dims[1] : 1);
        fill(rank, layer, step, count, gradient);
        assert_int_equal(lmn_reducer_ready(reducer, layer, gradient, &err), LMN_OK);
    }
    assert_int_equal(lmn_reducer_finish(reducer, &report, &err), LMN_OK);
    assert_true(report.applied);
}

/* To the bit, but for the sign of zeros. */
static void assert_equal(const model *m, const lmn_reducer *reducer, const char *compress,
                         uint64_t step, double tolerance)
{
    const float *estimate = lmn_reducer_estimate(reducer, LAYER);
    double largest = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        largest = fmax(largest, fabs((double)m->estimate[i]));
    }
    assert_true(largest > 0.0);
    for (size_t i = 0; i < COUNT; i++) {
        const double difference = fabs((double)estimate[i] - (double)m->estimate[i]);
        if (difference > tolerance * largest) {
            fail_msg("%s with %s, step %d, element %zu: %g, and %g in the model", compress,
                     feedbacks[m->feedback], (int)step, i, (double)estimate[i],
                     (double)m->estimate[i]);
        }
    }
}

/* Returns whether the layer was compressed at all. */
static bool compare(lmn_world *world, const char *compress, mechanism feedback, bool in_rounds)
{
    const int size = lmn_world_size(world);
    model m = new_model(compress, feedback, size);
    lmn_reducer *reducer = new_reducer(world, compress, feedbacks[feedback]);
    check_rounds rounds = {.compressor = NULL};
    if (in_rounds) {
        rounds = check_new_rounds(m.compressor, shape, (size_t)size);
    }
    const bool travels = lmn_reducer_level(reducer, LAYER) != 0;
    for (uint64_t step = 0; step < STEPS && travels; step++) {
        run_step(reducer, lmn_world_rank(world), step);
        if (in_rounds) {
            step_rounds(&m, &rounds, step);
        } else {
            step_messages(&m, step);
        }
        assert_equal(&m, reducer, compress, step, in_rounds ? 1e-4 : 0.0);
    }
    if (in_rounds) {
        check_free_rounds(&rounds);
    }
    free_model(&m);
    lmn_reducer_destroy(reducer);
    return travels;
}

/* Every spec of one of two ways, with every mechanism. Returns how many compressed. */
static size_t compare_all(bool in_rounds)
{
    lmn_world *world = check_new_world();
    size_t n_compared = 0;
    for (size_t i = 0; check_compressor_spec(i) != NULL; i++) {
        lmn_compressor *compressor = check_new_compressor(check_compressor_spec(i));
        const size_t level = lmn_compressor_static_level(compressor);
        const lmn_combine combine = lmn_compressor_combine(compressor, level);
        const bool is_meant = in_rounds
                                  ? combine == LMN_COMBINE_ROUNDS
                                  : combine == LMN_COMBINE_SPARSE || combine == LMN_COMBINE_SLICED;
        lmn_compressor_destroy(compressor);
        for (mechanism feedback = NONE; feedback < N_MECHANISMS && is_meant; feedback++) {
            n_compared += compare(world, check_compressor_spec(i), feedback, in_rounds) ? 1 : 0;
        }
    }
    lmn_world_destroy(world);
    return n_compared;
}

static void finish_messages_give_the_bits_of_a_serial_model(void **state)
{
    (void)state;
    assert_true(compare_all(false) >= 10 * (size_t)N_MECHANISMS);
}

static void finish_rounds_give_what_a_serial_model_gives(void **state)
{
    (void)state;
    assert_true(compare_all(true) >= 4 * (size_t)N_MECHANISMS);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finish_messages_give_the_bits_of_a_serial_model),
        cmocka_unit_test(finish_rounds_give_what_a_serial_model_gives),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}

/*
 * Synthetic problems whose workers disagree as much as one wants.
 *
 * Least squares: A_i = (i / sqrt n) I and b_i ~ N(0, (zeta / i)^2 I) for workers i = 1 .. n, so the
 * optimum is known: sum (i / sqrt n) b_i / sum i^2 / n. Runs start at distance 1 from it.
 * Logistic: features mu_i + N(0, I) with a mean mu_i ~ skew / 2 N(0, I) of each worker, a label by
 * the probability that w ~ N(0, 4 / d) gives; with probability skew a sample is drawn again until
 * its label is +1 (i odd) or -1 (i even).
 *
 * Source of the first: A. Koloskova, N. Loizou, S. Boreiri, M. Jaggi, S. Stich, "A unified theory
 * of decentralized SGD with changing topology and local updates", ICML 2020, arXiv:2003.10422.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_internal.h"
#include "lamina/memory.h"
#include "lamina/random.h"
#include "lamina/spec.h"

#include <inttypes.h>
#include <math.h>
#include <stdint.h>

#define WORKERS_DEFAULT 8
#define DIMENSION_MAX   1e8
/* Draws of one sample, above which its worker cannot have the label that it should. */
#define ATTEMPTS_MAX 10000

/* Streams of the data; a sample is drawn from SAMPLES on, one layer for each attempt. */
enum { LAYER_ANSWERS = 1, LAYER_MEANS = 2, LAYER_TRUTH = 3, LAYER_SAMPLES = 16 };

static lmn_stream stream_of(uint64_t seed, uint32_t layer, uint32_t step, size_t worker)
{
    return (lmn_stream){.seed = seed,
                        .layer = layer,
                        .step = step,
                        .purpose = LMN_STREAM_INIT,
                        .rank = (uint16_t)worker};
}

/* values [count] = deviation * N(0, 1) */
static void draw_normals(const lmn_stream *stream, double deviation, size_t count, double *values)
{
    enum { DRAWN = 256 };
    for (size_t first = 0; first < count; first += DRAWN) {
        float normals[DRAWN];
        const size_t n = count - first < DRAWN ? count - first : DRAWN;
        lmn_stream_normal(stream, first, n, normals);
        for (size_t i = 0; i < n; i++) {
            values[first + i] = deviation * (double)normals[i];
        }
    }
}

static lmn_status deal(lmn_convex_problem *problem, const lmn_convex_problem_options *options,
                       uint64_t n, lmn_error *err)
{
    size_t held = (size_t)n;
    if (n == 0) {
        held = options->workers == 0 ? WORKERS_DEFAULT : options->workers;
    }
    return lmn__convex_deal_workers(problem, options->workers, held, options->data, err);
}

/* ------------------------------------------------------------------ least squares */

typedef struct squares_config {
    uint64_t n, d, seed;
    double zeta, sigma;
} squares_config;

static const lmn_spec_field squares_fields[] = {
    {.key = "n",
     .type = LMN_SPEC_U64,
     .offset = offsetof(squares_config, n),
     .min = 1,
     .max = LMN_CONVEX_WORKERS_MAX,
     .help = "workers (as --workers says, or 8)"},
    {.key = "d",
     .type = LMN_SPEC_U64,
     .offset = offsetof(squares_config, d),
     .min = 1,
     .max = DIMENSION_MAX,
     .help = "dimension (200)"},
    {.key = "zeta",
     .type = LMN_SPEC_F64,
     .offset = offsetof(squares_config, zeta),
     .min = 0.0,
     .max = 1e12,
     .help = "how much workers disagree (10)"},
    {.key = "sigma",
     .type = LMN_SPEC_F64,
     .offset = offsetof(squares_config, sigma),
     .min = 0.0,
     .max = 1e12,
     .help = "noise of gradients: its squared length is sigma^2 in the mean (0)"},
    {.key = "seed",
     .type = LMN_SPEC_U64,
     .offset = offsetof(squares_config, seed),
     .max = 18446744073709551615.0,
     .help = "of the data (1)"},
};

/* i / sqrt n of worker i - 1. */
static double scale_of_worker(const lmn_convex_problem *problem, size_t worker)
{
    return (double)(worker + 1) / sqrt((double)problem->workers);
}

static void draw_answers(const lmn_convex_problem *problem, const squares_config *config,
                         size_t worker, double *answers)
{
    const lmn_stream stream = stream_of(config->seed, LAYER_ANSWERS, 0, worker);
    draw_normals(&stream, config->zeta / (double)(worker + 1), problem->dimension, answers);
}

static lmn_status make_diagonal(const lmn_convex_problem *problem, size_t worker,
                                lmn__convex_part *part, lmn_error *err)
{
    lmn__convex_matrix *matrix = &part->matrix;
    const size_t d = problem->dimension;
    matrix->rows = d;
    matrix->columns = d;
    matrix->starts = lmn_alloc(d + 1, sizeof *matrix->starts, err);
    matrix->indices = lmn_alloc(d, sizeof *matrix->indices, err);
    matrix->values = lmn_alloc(d, sizeof *matrix->values, err);
    part->answers = lmn_alloc(d, sizeof *part->answers, err);
    if (matrix->starts == NULL || matrix->indices == NULL || matrix->values == NULL ||
        part->answers == NULL) {
        return LMN_ERR_MEMORY;
    }
    for (size_t i = 0; i < d; i++) {
        matrix->starts[i + 1] = i + 1;
        matrix->indices[i] = (uint32_t)i;
        matrix->values[i] = scale_of_worker(problem, worker);
    }
    return LMN_OK;
}

/* The optimum from the answers of all workers, which each rank can draw. */
static lmn_status find_optimum(lmn_convex_problem *problem, const squares_config *config,
                               lmn_error *err)
{
    const size_t d = problem->dimension;
    problem->optimum = lmn_alloc(d, sizeof *problem->optimum, err);
    double *answers = lmn_alloc(d, sizeof *answers, err);
    if (problem->optimum == NULL || answers == NULL) {
        lmn_free(answers);
        return LMN_ERR_MEMORY;
    }
    double squares = 0.0;
    for (size_t worker = 0; worker < problem->workers; worker++) {
        const double scale = scale_of_worker(problem, worker);
        draw_answers(problem, config, worker, answers);
        squares += scale * scale;
        for (size_t i = 0; i < d; i++) {
            problem->optimum[i] += scale * answers[i];
        }
    }
    for (size_t i = 0; i < d; i++) {
        problem->optimum[i] /= squares;
        problem->start[i] = problem->optimum[i] + 1.0 / sqrt((double)d);
    }
    lmn_free(answers);
    return LMN_OK;
}

static lmn_status make_squares(lmn_convex_problem *problem,
                               const lmn_convex_problem_options *options, lmn_error *err)
{
    squares_config config = {.d = 200, .zeta = 10.0, .seed = 1};
    lmn_status status =
        lmn_spec_parse("data", options->data, squares_fields,
                       sizeof squares_fields / sizeof squares_fields[0], &config, err);
    if (status == LMN_OK) {
        status = deal(problem, options, config.n, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    problem->features = (size_t)config.d;
    problem->dimension = problem->features;
    problem->outputs = 1;
    problem->sigma = config.sigma;
    status = lmn__convex_take_parts(problem, err);
    for (size_t i = 0; status == LMN_OK && i < problem->own.count; i++) {
        status = make_diagonal(problem, problem->own.first + i, &problem->parts[i], err);
        if (status == LMN_OK) {
            draw_answers(problem, &config, problem->own.first + i, problem->parts[i].answers);
        }
    }
    return status == LMN_OK ? find_optimum(problem, &config, err) : status;
}

/* ------------------------------------------------------------------ logistic */

typedef struct logistic_config {
    uint64_t n, m, d, seed;
    double skew, lambda;
} logistic_config;

static const lmn_spec_field logistic_fields[] = {
    {.key = "n",
     .type = LMN_SPEC_U64,
     .offset = offsetof(logistic_config, n),
     .min = 1,
     .max = LMN_CONVEX_WORKERS_MAX,
     .help = "workers (as --workers says, or 8)"},
    {.key = "m",
     .type = LMN_SPEC_U64,
     .offset = offsetof(logistic_config, m),
     .min = 1,
     .max = 4e9,
     .help = "samples of each worker (200)"},
    {.key = "d",
     .type = LMN_SPEC_U64,
     .offset = offsetof(logistic_config, d),
     .min = 1,
     .max = DIMENSION_MAX,
     .help = "dimension (100)"},
    {.key = "skew",
     .type = LMN_SPEC_F64,
     .offset = offsetof(logistic_config, skew),
     .min = 0.0,
     .max = 1.0,
     .help = "how much workers disagree (0)"},
    {.key = "lambda",
     .type = LMN_SPEC_F64,
     .offset = offsetof(logistic_config, lambda),
     .min = 0.0,
     .max = 1e12,
     .help = "of the regulariser l2 (0.01)"},
    {.key = "seed",
     .type = LMN_SPEC_U64,
     .offset = offsetof(logistic_config, seed),
     .max = 18446744073709551615.0,
     .help = "of the data (1)"},
};

/* What samples of a worker are drawn with. */
typedef struct sample_source {
    const logistic_config *config;
    size_t worker;
    const double *truth; /* [d] */
    const double *mean;  /* [d] */
} sample_source;

/* One attempt: features [d]. Returns the label; *is_skewed_out: whether it must have a sign. */
static double draw_sample(const sample_source *source, uint32_t sample, uint32_t attempt,
                          double *features, bool *is_skewed_out)
{
    const size_t d = (size_t)source->config->d;
    const lmn_stream stream =
        stream_of(source->config->seed, LAYER_SAMPLES + attempt, sample, source->worker);
    draw_normals(&stream, 1.0, d, features);
    for (size_t i = 0; i < d; i++) {
        features[i] += source->mean[i];
    }
    float uniform[2];
    lmn_stream_uniform(&stream, (d + 3) / 4 * 4, 2, uniform);
    const double output = lmn__convex_dot(features, source->truth, d);
    *is_skewed_out = (double)uniform[1] < source->config->skew;
    return (double)uniform[0] < 1.0 / (1.0 + exp(-output)) ? 1.0 : -1.0;
}

/* Workers count from 1 in the rule: the first is odd. */
static lmn_status draw_row(const sample_source *source, uint32_t sample, double *features,
                           double *answer_out, lmn_error *err)
{
    const double wanted = source->worker % 2 == 0 ? 1.0 : -1.0;
    bool is_skewed = false;
    double label = draw_sample(source, sample, 0, features, &is_skewed);
    bool ignored = false;
    for (uint32_t attempt = 1; is_skewed && label != wanted && attempt < ATTEMPTS_MAX; attempt++) {
        label = draw_sample(source, sample, attempt, features, &ignored);
    }
    *answer_out = label;
    return !is_skewed || label == wanted
               ? LMN_OK
               : lmn_error_set(err, LMN_ERR_ARGUMENT,
                               "%d draws of sample %" PRIu32 " of worker %zu all had the other "
                               "label; use less skew or another seed",
                               ATTEMPTS_MAX, sample, source->worker);
}

static lmn_status draw_part(const lmn_convex_problem *problem, const logistic_config *config,
                            const double *truth, double *mean, size_t part, lmn_error *err)
{
    const size_t worker = problem->own.first + part;
    lmn__convex_part *data = &problem->parts[part];
    data->matrix.rows = (size_t)config->m;
    data->matrix.columns = problem->features;
    if (data->matrix.rows > SIZE_MAX / sizeof(double) / problem->features) {
        return lmn_error_set(err, LMN_ERR_MEMORY, "m x d is larger than memory can be");
    }
    data->matrix.dense = lmn_alloc(data->matrix.rows * problem->features, sizeof(double), err);
    data->answers = lmn_alloc(data->matrix.rows, sizeof(double), err);
    if (data->matrix.dense == NULL || data->answers == NULL) {
        return LMN_ERR_MEMORY;
    }
    const lmn_stream means = stream_of(config->seed, LAYER_MEANS, 0, worker);
    draw_normals(&means, 0.5 * config->skew, problem->features, mean);
    const sample_source source = {.config = config, .worker = worker, .truth = truth, .mean = mean};
    lmn_status status = LMN_OK;
    for (size_t row = 0; row < data->matrix.rows && status == LMN_OK; row++) {
        status = draw_row(&source, (uint32_t)row, data->matrix.dense + row * problem->features,
                          &data->answers[row], err);
    }
    return status;
}

static lmn_status draw_parts(lmn_convex_problem *problem, const logistic_config *config,
                             lmn_error *err)
{
    double *truth = lmn_alloc(problem->features, sizeof *truth, err);
    double *mean = lmn_alloc(problem->features, sizeof *mean, err);
    lmn_status status =
        truth == NULL || mean == NULL ? LMN_ERR_MEMORY : lmn__convex_take_parts(problem, err);
    if (status == LMN_OK) {
        const lmn_stream stream = stream_of(config->seed, LAYER_TRUTH, 0, LMN_STREAM_ALL_RANKS);
        draw_normals(&stream, 2.0 / sqrt((double)config->d), problem->features, truth);
    }
    for (size_t part = 0; status == LMN_OK && part < problem->own.count; part++) {
        status = draw_part(problem, config, truth, mean, part, err);
    }
    lmn_free(truth);
    lmn_free(mean);
    return status;
}

static lmn_status make_logistic(lmn_convex_problem *problem,
                                const lmn_convex_problem_options *options, lmn_error *err)
{
    logistic_config config = {.m = 200, .d = 100, .lambda = 0.01, .seed = 1};
    lmn_status status =
        lmn_spec_parse("data", options->data, logistic_fields,
                       sizeof logistic_fields / sizeof logistic_fields[0], &config, err);
    if (status == LMN_OK) {
        status = deal(problem, options, config.n, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    problem->features = (size_t)config.d;
    problem->dimension = problem->features;
    problem->outputs = 1;
    problem->classes = 2;
    problem->lambda = config.lambda;
    problem->regularizer = config.lambda > 0.0 ? LMN__CONVEX_L2 : LMN__CONVEX_NONE;
    return draw_parts(problem, &config, err);
}

static const lmn_spec_entry data_entries[] = {
    {.name = "synthetic",
     .summary = "least-squares: workers with A_i a multiple of 1, whose answers disagree",
     .fields = squares_fields,
     .n_fields = sizeof squares_fields / sizeof squares_fields[0]},
    {.name = "synthetic",
     .summary = "logistic: normal features, with means and labels of each worker's own",
     .fields = logistic_fields,
     .n_fields = sizeof logistic_fields / sizeof logistic_fields[0]},
};

const lmn_spec_entry *lmn_convex_data_entry(size_t index)
{
    return index < sizeof data_entries / sizeof data_entries[0] ? &data_entries[index] : NULL;
}

lmn_status lmn__convex_make_synthetic(lmn_convex_problem *problem,
                                      const lmn_convex_problem_options *options, lmn_error *err)
{
    char name[LMN_SPEC_NAME_BYTES];
    const lmn_status status = lmn_spec_name(options->data, name, err);
    if (status != LMN_OK) {
        return status;
    }
    return problem->loss == LMN_CONVEX_LEAST_SQUARES ? make_squares(problem, options, err)
                                                     : make_logistic(problem, options, err);
}

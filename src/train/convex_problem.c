/*
 * Convex problems: making one, and means over its workers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_internal.h"
#include "lamina/memory.h"
#include "lamina/spec.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

lmn_convex_problem_options lmn_convex_problem_options_default(void)
{
    return (lmn_convex_problem_options){.loss = LMN_CONVEX_LEAST_SQUARES, .seed = 1};
}

/* ------------------------------------------------------------------ regulariser */

typedef struct regularizer_config {
    double lambda;
} regularizer_config;

static const char *const regularizer_names[] = {"none", "l2", "nonconvex"};
#define N_REGULARIZERS (sizeof regularizer_names / sizeof regularizer_names[0])

static const lmn_spec_field regularizer_fields[] = {
    {.key = "lambda",
     .type = LMN_SPEC_F64,
     .offset = offsetof(regularizer_config, lambda),
     .min = 0.0,
     .max = 1e12,
     .help = "strength (0.01)"},
};

static lmn_status parse_regularizer(lmn_convex_problem *problem, const char *text, lmn_error *err)
{
    char name[LMN_SPEC_NAME_BYTES];
    lmn_status status = lmn_spec_name(text, name, err);
    if (status != LMN_OK) {
        return status;
    }
    size_t kind = 0;
    while (kind < N_REGULARIZERS && strcmp(name, regularizer_names[kind]) != 0) {
        kind++;
    }
    if (kind == N_REGULARIZERS) {
        return lmn_spec_unknown("regularizer", name, regularizer_names, N_REGULARIZERS, err);
    }
    regularizer_config config = {.lambda = kind == LMN__CONVEX_NONE ? 0.0 : 0.01};
    const size_t n_fields = kind == LMN__CONVEX_NONE ? 0 : 1;
    status = lmn_spec_parse("regularizer", text, regularizer_fields, n_fields, &config, err);
    problem->regularizer = (lmn__convex_regularizer)kind;
    problem->lambda = config.lambda;
    return status;
}

/* ------------------------------------------------------------------ workers and classes */

lmn_status lmn__convex_deal_workers(lmn_convex_problem *problem, size_t asked, size_t held,
                                    const char *data, lmn_error *err)
{
    const size_t size = (size_t)lmn_world_size(problem->world);
    if (asked != 0 && asked != held) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "'%s' has data for %zu workers, and %zu were asked for", data, held,
                             asked);
    }
    if (held > LMN_CONVEX_WORKERS_MAX) {
        return lmn_error_set(err, LMN_ERR_USAGE, "there can be up to %d workers, not %zu",
                             LMN_CONVEX_WORKERS_MAX, held);
    }
    if (size > held) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "%zu ranks are more than the %zu worker%s of '%s'; start one rank for "
                             "each worker, or fewer",
                             size, held, held == 1 ? "" : "s", data);
    }
    problem->workers = held;
    problem->own = lmn_partition(held, size, (size_t)lmn_world_rank(problem->world));
    return LMN_OK;
}

/* Where `value` is or belongs. */
static size_t class_place(const lmn__convex_classes *classes, double value)
{
    size_t low = 0;
    size_t high = classes->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (classes->values[middle] < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

lmn_status lmn__convex_classes_add(lmn__convex_classes *classes, const double *answers,
                                   size_t count, lmn_error *err)
{
    if (classes->values == NULL) {
        classes->capacity = 1000;
        classes->values = lmn_alloc(classes->capacity, sizeof *classes->values, err);
        if (classes->values == NULL) {
            return LMN_ERR_MEMORY;
        }
    }
    for (size_t i = 0; i < count; i++) {
        const size_t place = class_place(classes, answers[i]);
        if (place < classes->count && classes->values[place] == answers[i]) {
            continue;
        }
        if (classes->count == classes->capacity) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "there are more than %zu different labels; if answers are numbers "
                                 "and not classes, the problem is one of least squares",
                                 classes->capacity);
        }
        memmove(classes->values + place + 1, classes->values + place,
                (classes->count - place) * sizeof *classes->values);
        classes->values[place] = answers[i];
        classes->count++;
    }
    return LMN_OK;
}

lmn_status lmn__convex_set_classes(lmn_convex_problem *problem, const lmn__convex_classes *classes,
                                   lmn_error *err)
{
    problem->outputs = 1;
    if (problem->loss == LMN_CONVEX_LOGISTIC) {
        if (classes->count < 2) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "all labels are %g; a logistic problem needs two classes or more",
                                 classes->values[0]);
        }
        problem->classes = classes->count;
        problem->outputs = classes->count == 2 ? 1 : classes->count;
    }
    problem->dimension = problem->outputs * problem->features;
    return LMN_OK;
}

void lmn__convex_number_labels(const lmn_convex_problem *problem,
                               const lmn__convex_classes *classes, double *answers, size_t count)
{
    for (size_t i = 0; problem->loss == LMN_CONVEX_LOGISTIC && i < count; i++) {
        const size_t class = class_place(classes, answers[i]);
        const double side = class == 0 ? -1.0 : 1.0;
        answers[i] = problem->outputs == 1 ? side : (double)class;
    }
}

lmn_status lmn__convex_take_parts(lmn_convex_problem *problem, lmn_error *err)
{
    problem->parts = lmn_alloc(problem->own.count, sizeof *problem->parts, err);
    problem->start = lmn_alloc(problem->dimension, sizeof *problem->start, err);
    problem->outputs_memory = lmn_alloc(2 * problem->outputs, sizeof *problem->outputs_memory, err);
    const bool has_all =
        problem->parts != NULL && problem->start != NULL && problem->outputs_memory != NULL;
    return has_all ? LMN_OK : LMN_ERR_MEMORY;
}

/* ------------------------------------------------------------------ creation */

static bool is_hdf5(const char *path)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1A, '\n'};
    unsigned char head[8] = {0};
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        return false;
    }
    const size_t length = fread(head, 1, sizeof head, file);
    (void)fclose(file);
    return length == sizeof head && memcmp(head, signature, sizeof head) == 0;
}

static lmn_status make_data(lmn_convex_problem *problem, const lmn_convex_problem_options *options,
                            lmn_error *err)
{
    static const char synthetic[] = "synthetic";
    const size_t length = sizeof synthetic - 1;
    if (strncmp(options->data, synthetic, length) == 0 &&
        (options->data[length] == '\0' || options->data[length] == ':')) {
        return lmn__convex_make_synthetic(problem, options, err);
    }
    return is_hdf5(options->data) ? lmn__convex_read_hdf5(problem, options, err)
                                  : lmn__convex_read_libsvm(problem, options, err);
}

static lmn_status make(lmn_convex_problem *problem, const lmn_convex_problem_options *options,
                       lmn_error *err)
{
    problem->loss = options->loss;
    problem->scale = options->scale;
    if (options->scale == LMN_CONVEX_SCALE_AUTO) {
        problem->scale =
            options->loss == LMN_CONVEX_LOGISTIC ? LMN_CONVEX_SCALE_MEAN : LMN_CONVEX_SCALE_SUM;
    }
    lmn_status status = make_data(problem, options, err);
    if (status == LMN_OK && options->regularizer != NULL) {
        status = parse_regularizer(problem, options->regularizer, err);
    }
    if (problem->optimum != NULL && problem->lambda > 0.0) {
        /* It is that of the data alone. */
        lmn_free(problem->optimum);
        problem->optimum = NULL;
    }
    return status;
}

lmn_status lmn_convex_problem_create(lmn_world *world, const lmn_convex_problem_options *options,
                                     lmn_convex_problem **problem_out, lmn_error *err)
{
    lmn_convex_problem *problem = lmn_alloc(1, sizeof *problem, err);
    lmn_status status = LMN_ERR_MEMORY;
    if (problem != NULL) {
        problem->world = world;
        status = make(problem, options, err);
    }
    status = lmn_agree(world, status, err);
    if (status != LMN_OK || problem == NULL) {
        lmn_convex_problem_destroy(problem);
        return status;
    }
    status = lmn__convex_exchange_create(
        world, problem->workers, (problem->dimension + 1) * sizeof(double), &problem->vectors, err);
    uint64_t samples[1] = {0};
    for (size_t i = 0; status == LMN_OK && i < problem->own.count; i++) {
        samples[0] += problem->parts[i].matrix.rows;
    }
    if (status == LMN_OK) {
        status = lmn_world_sum_u64(world, samples, 1, err);
    }
    if (status != LMN_OK) {
        lmn_convex_problem_destroy(problem);
        return status;
    }
    problem->samples = samples[0];
    *problem_out = problem;
    return LMN_OK;
}

void lmn_convex_problem_destroy(lmn_convex_problem *problem)
{
    if (problem == NULL) {
        return;
    }
    for (size_t i = 0; problem->parts != NULL && i < problem->own.count; i++) {
        lmn__convex_matrix_free(&problem->parts[i].matrix);
        lmn_free(problem->parts[i].answers);
    }
    lmn__convex_exchange_destroy(&problem->vectors);
    lmn_free(problem->parts);
    lmn_free(problem->start);
    lmn_free(problem->optimum);
    lmn_free(problem->outputs_memory);
    lmn_free(problem);
}

lmn_convex_info lmn_convex_problem_info(const lmn_convex_problem *problem)
{
    return (lmn_convex_info){.workers = problem->workers,
                             .dimension = problem->dimension,
                             .features = problem->features,
                             .classes = problem->classes,
                             .samples = problem->samples,
                             .sigma = problem->sigma,
                             .regularizer = regularizer_names[problem->regularizer],
                             .lambda = problem->lambda,
                             .scale = problem->scale,
                             .optimum_is_known = problem->optimum != NULL};
}

const double *lmn_convex_problem_start(const lmn_convex_problem *problem)
{
    return problem->start;
}

/* ------------------------------------------------------------------ means */

lmn_status lmn__convex_mean(lmn_convex_problem *problem, double *number_out, double *vector_out,
                            lmn_error *err)
{
    lmn__convex_exchange *vectors = &problem->vectors;
    size_t silent = 0;
    const lmn_status status = lmn__convex_exchange_gather(vectors, &silent, err);
    if (status != LMN_OK) {
        return status;
    }
    if (silent < problem->workers) {
        return lmn_error_set(err, LMN_ERR_NONFINITE,
                             "the function or its gradient is not finite at worker %zu", silent);
    }
    double number = 0.0;
    if (vector_out != NULL) {
        memset(vector_out, 0, problem->dimension * sizeof *vector_out);
    }
    for (size_t worker = 0; worker < problem->workers; worker++) {
        /* Messages are aligned for it. */
        const double *const message = (const void *)vectors->messages[worker];
        number += message[0];
        for (size_t i = 0; vector_out != NULL && i < problem->dimension; i++) {
            vector_out[i] += message[1 + i];
        }
    }
    for (size_t i = 0; vector_out != NULL && i < problem->dimension; i++) {
        vector_out[i] /= (double)problem->workers;
    }
    *number_out = number / (double)problem->workers;
    return LMN_OK;
}

static bool all_finite(const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            return false;
        }
    }
    return true;
}

void lmn__convex_put_vector(lmn_convex_problem *problem, double number, const double *vector)
{
    double *const message = (void *)lmn__convex_exchange_slot(&problem->vectors);
    if (!isfinite(number) || !all_finite(vector, problem->dimension)) {
        lmn__convex_exchange_put_nothing(&problem->vectors);
        return;
    }
    message[0] = number;
    if (vector != message + 1) {
        memcpy(message + 1, vector, problem->dimension * sizeof *vector);
    }
    lmn__convex_exchange_put(&problem->vectors, (problem->dimension + 1) * sizeof *vector);
}

double *lmn__convex_vector_slot(lmn_convex_problem *problem)
{
    return (double *)(void *)lmn__convex_exchange_slot(&problem->vectors) + 1;
}

lmn_status lmn_convex_evaluate(lmn_convex_problem *problem, const double *x, double *objective_out,
                               double *gradient_out, lmn_error *err)
{
    const lmn__convex_draw all_rows = {.batch = 0};
    lmn__convex_exchange_begin(&problem->vectors);
    for (size_t part = 0; part < problem->own.count; part++) {
        double *const gradient = lmn__convex_vector_slot(problem);
        const double value = lmn__convex_gradient(problem, part, &all_rows, x, gradient);
        lmn__convex_put_vector(problem, value, gradient);
    }
    return lmn__convex_mean(problem, objective_out, gradient_out, err);
}

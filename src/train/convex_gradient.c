/*
 * f_i, its gradient and its curvature, row by row.
 *
 * A row gives outputs z = X a (one, or one for each class); its loss depends on them alone. So a
 * row adds (slope of the loss by z) a to the gradient, and (second derivative by z, times the
 * outputs of a direction) a to the product with the direction.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_internal.h"
#include "lamina/random.h"

#include <math.h>
#include <string.h>

/* Streams of a step: which rows, and noise. */
enum { LAYER_ROWS = 0, LAYER_NOISE = 1 };
/* Random numbers that are drawn together; a multiple of 4. */
#define DRAWN ((size_t)256)

static void row_outputs(const lmn_convex_problem *problem, const lmn__convex_matrix *matrix,
                        size_t row, const double *x, double *outputs)
{
    for (size_t c = 0; c < problem->outputs; c++) {
        outputs[c] = lmn__convex_row_dot(matrix, row, x + c * problem->features);
    }
}

/* 1 / (1 + exp(-t)), without overflow. */
static double sigmoid(double t)
{
    return t >= 0.0 ? 1.0 / (1.0 + exp(-t)) : exp(t) / (1.0 + exp(t));
}

/* log(1 + exp(t)), without overflow. */
static double softplus(double t)
{
    return t > 0.0 ? t + log1p(exp(-t)) : log1p(exp(t));
}

/* outputs become probabilities; returns log of the sum of exp(outputs). */
static double softmax(double *outputs, size_t count)
{
    double most = outputs[0];
    for (size_t c = 1; c < count; c++) {
        most = outputs[c] > most ? outputs[c] : most;
    }
    outputs[0] = exp(outputs[0] - most);
    double sum = outputs[0];
    for (size_t c = 1; c < count; c++) {
        outputs[c] = exp(outputs[c] - most);
        sum += outputs[c];
    }
    for (size_t c = 0; c < count; c++) {
        outputs[c] /= sum;
    }
    return most + log(sum);
}

/* The loss of a row; outputs become its slope. */
static double row_loss(const lmn_convex_problem *problem, double answer, double *outputs)
{
    if (problem->loss == LMN_CONVEX_LEAST_SQUARES) {
        outputs[0] -= answer;
        return 0.5 * outputs[0] * outputs[0];
    }
    if (problem->outputs == 1) {
        const double wrong = -answer * outputs[0];
        outputs[0] = -answer * sigmoid(wrong);
        return softplus(wrong);
    }
    const size_t class = (size_t)answer;
    const double own = outputs[class];
    const double loss = softmax(outputs, problem->outputs) - own;
    outputs[class] -= 1.0;
    return loss;
}

/* directed: outputs of the direction, which become the second derivative times them. */
static void row_curve(const lmn_convex_problem *problem, double *outputs, double *directed)
{
    if (problem->loss == LMN_CONVEX_LEAST_SQUARES) {
        return;
    }
    if (problem->outputs == 1) {
        const double p = sigmoid(outputs[0]);
        directed[0] *= p * (1.0 - p);
        return;
    }
    (void)softmax(outputs, problem->outputs);
    double mean = 0.0;
    for (size_t c = 0; c < problem->outputs; c++) {
        mean += outputs[c] * directed[c];
    }
    for (size_t c = 0; c < problem->outputs; c++) {
        directed[c] = outputs[c] * (directed[c] - mean);
    }
}

static double add_row(const lmn_convex_problem *problem, const lmn__convex_part *part, size_t row,
                      double factor, const double *x, double *gradient)
{
    double *const outputs = problem->outputs_memory;
    row_outputs(problem, &part->matrix, row, x, outputs);
    const double loss = row_loss(problem, part->answers[row], outputs);
    for (size_t c = 0; c < problem->outputs; c++) {
        lmn__convex_row_add(&part->matrix, row, factor * outputs[c],
                            gradient + c * problem->features);
    }
    return factor * loss;
}

/* r(x), whose gradient is added. */
static double add_regularizer(const lmn_convex_problem *problem, const double *x, double *gradient)
{
    double sum = 0.0;
    if (problem->regularizer == LMN__CONVEX_L2) {
        for (size_t i = 0; i < problem->dimension; i++) {
            sum += 0.5 * x[i] * x[i];
            gradient[i] += problem->lambda * x[i];
        }
    } else if (problem->regularizer == LMN__CONVEX_NONCONVEX) {
        for (size_t i = 0; i < problem->dimension; i++) {
            const double denominator = 1.0 + x[i] * x[i];
            sum += x[i] * x[i] / denominator;
            gradient[i] += problem->lambda * 2.0 * x[i] / (denominator * denominator);
        }
    }
    return problem->lambda * sum;
}

/* What each of `used` rows of a part counts, so that they stand for all of them. */
static double row_factor(const lmn_convex_problem *problem, const lmn__convex_part *part,
                         size_t used)
{
    const double rows = (double)part->matrix.rows;
    return (problem->scale == LMN_CONVEX_SCALE_SUM ? rows : 1.0) / (double)used;
}

static lmn_stream stream_of(const lmn_convex_problem *problem, size_t part,
                            const lmn__convex_draw *draw, uint32_t layer)
{
    return (lmn_stream){.seed = draw->seed,
                        .layer = layer,
                        .step = draw->step,
                        .purpose = LMN_STREAM_USER,
                        .rank = (uint16_t)(problem->own.first + part)};
}

static double add_drawn_rows(const lmn_convex_problem *problem, size_t part,
                             const lmn__convex_draw *draw, const double *x, double *gradient)
{
    const lmn__convex_part *data = &problem->parts[part];
    const double factor = row_factor(problem, data, draw->batch);
    const lmn_stream stream = stream_of(problem, part, draw, LAYER_ROWS);
    double loss = 0.0;
    for (size_t first = 0; first < draw->batch; first += DRAWN) {
        uint32_t words[DRAWN];
        const size_t count = draw->batch - first < DRAWN ? draw->batch - first : DRAWN;
        lmn_stream_u32(&stream, first, count, words);
        for (size_t i = 0; i < count; i++) {
            const size_t row = (size_t)((uint64_t)words[i] * data->matrix.rows >> 32);
            loss += add_row(problem, data, row, factor, x, gradient);
        }
    }
    return loss;
}

double lmn__convex_gradient(const lmn_convex_problem *problem, size_t part,
                            const lmn__convex_draw *draw, const double *x, double *gradient_out)
{
    const lmn__convex_part *data = &problem->parts[part];
    memset(gradient_out, 0, problem->dimension * sizeof *gradient_out);
    double loss = 0.0;
    if (draw->batch > 0) {
        loss = add_drawn_rows(problem, part, draw, x, gradient_out);
    } else {
        const double factor = row_factor(problem, data, data->matrix.rows);
        for (size_t row = 0; row < data->matrix.rows; row++) {
            loss += add_row(problem, data, row, factor, x, gradient_out);
        }
    }
    return loss + add_regularizer(problem, x, gradient_out);
}

void lmn__convex_add_noise(const lmn_convex_problem *problem, size_t part,
                           const lmn__convex_draw *draw, double *gradient)
{
    if (problem->sigma == 0.0) {
        return;
    }
    const lmn_stream stream = stream_of(problem, part, draw, LAYER_NOISE);
    const double deviation = problem->sigma / sqrt((double)problem->dimension);
    for (size_t first = 0; first < problem->dimension; first += DRAWN) {
        float normals[DRAWN];
        const size_t rest = problem->dimension - first;
        const size_t count = rest < DRAWN ? rest : DRAWN;
        lmn_stream_normal(&stream, first, count, normals);
        for (size_t i = 0; i < count; i++) {
            gradient[first + i] += deviation * (double)normals[i];
        }
    }
}

static void curve_regularizer(const lmn_convex_problem *problem, const double *x,
                              const double *direction, double *product)
{
    if (problem->regularizer == LMN__CONVEX_L2) {
        for (size_t i = 0; i < problem->dimension; i++) {
            product[i] += problem->lambda * direction[i];
        }
    } else if (problem->regularizer == LMN__CONVEX_NONCONVEX) {
        for (size_t i = 0; i < problem->dimension; i++) {
            const double square = x[i] * x[i];
            const double denominator = (1.0 + square) * (1.0 + square) * (1.0 + square);
            product[i] += problem->lambda * (2.0 - 6.0 * square) / denominator * direction[i];
        }
    }
}

void lmn__convex_curve(const lmn_convex_problem *problem, size_t part, const double *x,
                       const double *direction, double *product_out)
{
    const lmn__convex_part *data = &problem->parts[part];
    const double factor = row_factor(problem, data, data->matrix.rows);
    double *const outputs = problem->outputs_memory;
    double *const directed = outputs + problem->outputs;
    memset(product_out, 0, problem->dimension * sizeof *product_out);
    for (size_t row = 0; row < data->matrix.rows; row++) {
        row_outputs(problem, &data->matrix, row, x, outputs);
        row_outputs(problem, &data->matrix, row, direction, directed);
        row_curve(problem, outputs, directed);
        for (size_t c = 0; c < problem->outputs; c++) {
            lmn__convex_row_add(&data->matrix, row, factor * directed[c],
                                product_out + c * problem->features);
        }
    }
    curve_regularizer(problem, x, direction, product_out);
}

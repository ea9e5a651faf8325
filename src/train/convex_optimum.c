/*
 * The optimum of a convex problem: Newton's method, whose linear systems are solved by conjugate
 * gradients, so that no matrix of second derivatives is ever formed.
 *
 * For least squares the first step would do but for rounding, and the following ones refine it; the
 * minimiser next to the start is found when there are several, because every step lies in the range
 * of the matrix. All sums go over workers in order, so the optimum has the same bits for any number
 * of ranks.
 *
 * Source: J. Nocedal, S. Wright, "Numerical optimization", 2nd ed., 2006, algorithm 7.1.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_internal.h"
#include "lamina/memory.h"

#include <math.h>
#include <string.h>

#define NEWTON_STEPS_MAX 200
#define HALVINGS_MAX     40
/* Residual of a linear system, against its right side, that will do. */
static const double SYSTEM_ACCURACY = 1e-12;
/* Length of the gradient, against that at 0 or at the start, that must be reached. */
static const double GRADIENT_ACCURACY = 1e-9;
/* A step along which the function falls at least by this part of what its slope promises. */
static const double SLOPE_PART = 1e-4;

/* Where the method is. Vectors are [dimension], in one piece of memory. */
typedef struct newton {
    lmn_convex_problem *problem;
    double *memory; /* owned */
    double *x, *gradient;
    double *trial, *trial_gradient;
    double *step, *residual, *direction, *product;
    double value, norm; /* f(x), length of the gradient */
    double scale;       /* what that length is compared with: the larger of those at 0 and at the
                           start */
} newton;

#define N_VECTORS 8

static lmn_status take_memory(newton *n, lmn_error *err)
{
    const size_t dimension = n->problem->dimension;
    n->memory = lmn_alloc(N_VECTORS * dimension, sizeof *n->memory, err);
    if (n->memory == NULL) {
        return LMN_ERR_MEMORY;
    }
    double **const vectors[N_VECTORS] = {&n->x,         &n->gradient, &n->trial,
                                         &n->step,      &n->residual, &n->trial_gradient,
                                         &n->direction, &n->product};
    for (size_t i = 0; i < N_VECTORS; i++) {
        *vectors[i] = n->memory + i * dimension;
    }
    return LMN_OK;
}

static double length(const newton *n, const double *vector)
{
    return sqrt(lmn__convex_dot(vector, vector, n->problem->dimension));
}

/* product = second derivative of f at x, times direction. Collective. */
static lmn_status curve(newton *n, lmn_error *err)
{
    lmn_convex_problem *problem = n->problem;
    lmn__convex_exchange_begin(&problem->vectors);
    for (size_t part = 0; part < problem->own.count; part++) {
        double *const product = lmn__convex_vector_slot(problem);
        lmn__convex_curve(problem, part, n->x, n->direction, product);
        lmn__convex_put_vector(problem, 0.0, product);
    }
    double nothing = 0.0;
    return lmn__convex_mean(problem, &nothing, n->product, err);
}

/* One step of conjugate gradients. residual_square in and out; returns through it. */
static lmn_status improve(newton *n, double *residual_square, bool *is_done, lmn_error *err)
{
    const size_t dimension = n->problem->dimension;
    const lmn_status status = curve(n, err);
    if (status != LMN_OK) {
        return status;
    }
    const double curvature = lmn__convex_dot(n->direction, n->product, dimension);
    *is_done = !(curvature > 0.0);
    if (*is_done) {
        return LMN_OK;
    }
    const double along = *residual_square / curvature;
    for (size_t i = 0; i < dimension; i++) {
        n->step[i] += along * n->direction[i];
        n->residual[i] -= along * n->product[i];
    }
    const double next = lmn__convex_dot(n->residual, n->residual, dimension);
    for (size_t i = 0; i < dimension; i++) {
        n->direction[i] = n->residual[i] + next / *residual_square * n->direction[i];
    }
    *residual_square = next;
    return LMN_OK;
}

/* step = solution of (second derivative) step = -gradient. Collective. */
static lmn_status solve(newton *n, lmn_error *err)
{
    const size_t dimension = n->problem->dimension;
    for (size_t i = 0; i < dimension; i++) {
        n->step[i] = 0.0;
        n->residual[i] = -n->gradient[i];
        n->direction[i] = n->residual[i];
    }
    double square = lmn__convex_dot(n->residual, n->residual, dimension);
    const double enough = square * SYSTEM_ACCURACY * SYSTEM_ACCURACY;
    bool is_done = false;
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < 2 * dimension + 10 && status == LMN_OK && !is_done && square > enough;
         i++) {
        status = improve(n, &square, &is_done, err);
    }
    return status;
}

static bool is_close(const newton *n)
{
    return n->norm <= GRADIENT_ACCURACY * n->scale;
}

/* Go along the step so far that the function falls or the gradient becomes shorter; close to the
   optimum, where rounding hides a fall, only the latter counts. *moved_out: whether x changed.
   Collective. */
static lmn_status move(newton *n, bool *moved_out, lmn_error *err)
{
    const size_t dimension = n->problem->dimension;
    const double slope = lmn__convex_dot(n->gradient, n->step, dimension);
    double part = 1.0;
    *moved_out = false;
    for (int halving = 0; halving < HALVINGS_MAX && !*moved_out; halving++) {
        for (size_t i = 0; i < dimension; i++) {
            n->trial[i] = n->x[i] + part * n->step[i];
        }
        double value = 0.0;
        const lmn_status status =
            lmn_convex_evaluate(n->problem, n->trial, &value, n->trial_gradient, err);
        if (status != LMN_OK && status != LMN_ERR_NONFINITE) {
            return status;
        }
        const double norm = length(n, n->trial_gradient);
        const bool falls = value < n->value + SLOPE_PART * part * slope;
        if (status == LMN_OK && (norm < n->norm || (falls && !is_close(n)))) {
            memcpy(n->x, n->trial, dimension * sizeof *n->x);
            memcpy(n->gradient, n->trial_gradient, dimension * sizeof *n->gradient);
            n->value = value;
            n->norm = norm;
            *moved_out = true;
        }
        part *= 0.5;
    }
    return LMN_OK;
}

/* f and its gradient at x, and the scale. The trial is 0 so far. */
static lmn_status measure(newton *n, lmn_error *err)
{
    double value = 0.0;
    lmn_status status = lmn_convex_evaluate(n->problem, n->trial, &value, n->gradient, err);
    n->scale = length(n, n->gradient);
    if (status == LMN_OK) {
        status = lmn_convex_evaluate(n->problem, n->x, &n->value, n->gradient, err);
    }
    n->norm = length(n, n->gradient);
    n->scale = n->norm > n->scale ? n->norm : n->scale;
    return status;
}

/* Down to where rounding ends it. */
static lmn_status minimise(newton *n, lmn_error *err)
{
    memcpy(n->x, n->problem->start, n->problem->dimension * sizeof *n->x);
    lmn_status status = measure(n, err);
    bool moves = true;
    for (int i = 0; i < NEWTON_STEPS_MAX && moves && n->norm > 0.0 && status == LMN_OK; i++) {
        const double before = n->norm;
        status = solve(n, err);
        if (status == LMN_OK) {
            status = move(n, &moves, err);
        }
        /* Close to the end steps only stir the last bits. */
        moves = moves && (!is_close(n) || n->norm < 0.5 * before);
    }
    if (status == LMN_OK && !is_close(n)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "no optimum found: the gradient, of length %.3g at first, is still "
                             "%.3g long; the problem may be too badly conditioned",
                             n->scale, n->norm);
    }
    return status;
}

static lmn_status check_problem(const lmn_convex_problem *problem, lmn_error *err)
{
    if (problem->regularizer == LMN__CONVEX_NONCONVEX && problem->lambda > 0.0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "with the nonconvex regulariser there may be many optima, and none "
                             "can be computed");
    }
    if (problem->loss == LMN_CONVEX_LOGISTIC &&
        (problem->regularizer != LMN__CONVEX_L2 || problem->lambda == 0.0)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "a logistic problem has an optimum for certain only with the "
                             "regulariser l2");
    }
    return LMN_OK;
}

lmn_status lmn_convex_optimum(lmn_convex_problem *problem, double *x_out, lmn_error *err)
{
    const size_t bytes = problem->dimension * sizeof *x_out;
    if (problem->optimum != NULL) {
        memcpy(x_out, problem->optimum, bytes);
        return LMN_OK;
    }
    newton n = {.problem = problem};
    lmn_status status = check_problem(problem, err);
    if (status == LMN_OK) {
        status = take_memory(&n, err);
    }
    status = lmn_agree(problem->world, status, err);
    if (status != LMN_OK || n.x == NULL) {
        lmn_free(n.memory);
        return status;
    }
    status = minimise(&n, err);
    if (status == LMN_OK) {
        memcpy(x_out, n.x, bytes);
    }
    lmn_free(n.memory);
    return status;
}

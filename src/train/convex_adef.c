/*
 * ADEF: accelerated descent with two compressed messages a step.
 *
 * With weights a_t = lr t / 2, t = 1, 2, ..., and their sums A_t, gradients are taken at
 * y = (A x + a z) / A', A' = A + a. The first message sends p_i = g_i - hh_i and hh_i += C(p_i);
 * the second q_i = g_i - hh_i - e_i / a and e_i = a (C(q_i) - q_i). Then z -= a (hh + mean C(q_i))
 * and x = (A x + a z) / A'. lr stands for 1 / M of the source, M at least the smoothness divided by
 * the contraction.
 *
 * Source: Y. Gao et al., "Accelerated distributed optimization with compression and error
 * feedback", AISTATS 2026, arXiv:2503.08427; the source leaves the weights open.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "convex_internal.h"

/* States of a worker. */
enum { TRACKED = 0, ERROR = 1 };

/* (A x + a z) / A' */
static void blend(const lmn_convex_run *run, double weight, const double *x, double *out)
{
    const double sum = run->weight_sum + weight;
    for (size_t i = 0; i < run->problem->dimension; i++) {
        out[i] = (run->weight_sum * x[i] + weight * run->z[i]) / sum;
    }
}

static size_t level_of(const lmn_convex_run *run, size_t message)
{
    const bool is_whole = message == 0 && run->step == 0 && run->tracks_from_gradient;
    return is_whole ? 0 : lmn_compressor_static_level(run->compressor);
}

static lmn_status send(lmn_convex_run *run, size_t message, size_t *silent_out, lmn_error *err)
{
    lmn__convex_sending sending = {.level = level_of(run, message),
                                   .step = (uint32_t)run->step,
                                   .message = message,
                                   .vectors = run->vectors,
                                   .sent = run->sent,
                                   .tracked = message == 0 ? run->tracked : NULL,
                                   .mean = message == 0 ? run->estimate : run->mean};
    const lmn_status status = lmn__convex_send(&run->channel, &sending, err);
    *silent_out = sending.silent;
    return status;
}

static lmn_status send_difference(lmn_convex_run *run, size_t *silent_out, lmn_error *err)
{
    const size_t count = run->problem->own.count * run->problem->dimension;
    double *const tracked = run->states[TRACKED];
    for (size_t i = 0; i < count; i++) {
        run->vectors[i] = run->gradients[i] - tracked[i];
    }
    const lmn_status status = send(run, 0, silent_out, err);
    if (status != LMN_OK || *silent_out < run->problem->workers) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        tracked[i] += run->sent[i];
    }
    return LMN_OK;
}

static lmn_status send_rest(lmn_convex_run *run, double weight, size_t *silent_out, lmn_error *err)
{
    const size_t count = run->problem->own.count * run->problem->dimension;
    double *const error = run->states[ERROR];
    for (size_t i = 0; i < count; i++) {
        run->vectors[i] = run->gradients[i] - run->states[TRACKED][i] - error[i] / weight;
    }
    const lmn_status status = send(run, 1, silent_out, err);
    if (status != LMN_OK || *silent_out < run->problem->workers) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        error[i] = weight * (run->sent[i] - run->vectors[i]);
    }
    return LMN_OK;
}

lmn_status lmn__convex_adef_step(lmn_convex_run *run, size_t *silent_out, lmn_error *err)
{
    const double weight = 0.5 * run->options.lr * (double)(run->step + 1);
    blend(run, weight, run->x, run->y);
    lmn__convex_draw_gradients(run, run->y);
    lmn__convex_disturb_gradients(run);
    lmn_status status = send_difference(run, silent_out, err);
    if (status == LMN_OK && *silent_out == run->problem->workers) {
        status = send_rest(run, weight, silent_out, err);
    }
    if (status != LMN_OK || *silent_out < run->problem->workers) {
        return status;
    }
    for (size_t i = 0; i < run->problem->dimension; i++) {
        run->z[i] -= weight * (run->estimate[i] + run->mean[i]);
    }
    blend(run, weight, run->x, run->x);
    run->weight_sum += weight;
    return LMN_OK;
}

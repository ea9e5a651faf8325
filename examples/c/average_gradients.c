/*
 * Compressed averages for gradients of one's own, in C.
 *
 *     mpirun -np 2 average_gradients [COMPRESS [FEEDBACK]]
 *
 * Fits outputs = weight * inputs + bias by stochastic gradient descent. Every rank draws samples of
 * its own; Lamina averages the gradients. The model and its derivative are this program's business,
 * and so is what it does with the averages.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/hash.h"
#include "lamina/random.h"
#include "lamina/reducer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mpi.h>

enum { INPUTS = 128, OUTPUTS = 16, BATCH = 64, STEPS = 600, BIAS = 0, WEIGHT = 1 };

#define LEARNING_RATE 0.02F

typedef struct model {
    float bias[OUTPUTS];
    float weight[OUTPUTS][INPUTS];
} model;

/* Lamina tells in `err` what failed, where, and what to do; a failed rank ends the program. */
static void need(lmn_status status, const lmn_error *err)
{
    if (status != LMN_OK) {
        (void)fprintf(stderr, "average_gradients: %s\n", err->message);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

/* Normal random numbers, a function of what they are for. */
static void draw(int rank, uint32_t step, size_t count, float *values)
{
    const lmn_stream stream = {
        .seed = 1, .step = step, .purpose = LMN_STREAM_USER, .rank = (uint16_t)rank};
    lmn_stream_normal(&stream, 0, count, values);
}

static float predict(const model *of, size_t output, const float *input)
{
    float sum = of->bias[output];
    for (size_t i = 0; i < INPUTS; i++) {
        sum += of->weight[output][i] * input[i];
    }
    return sum;
}

/* One step on this rank's samples: gradients are handed over as they become ready. */
static lmn_step_report train(lmn_reducer *reducer, int rank, uint32_t step, const model *truth,
                             model *fit)
{
    static float input[BATCH][INPUTS]; /* not on the stack; one step at a time */
    static float error[BATCH][OUTPUTS];
    lmn_error err = lmn_error_none();
    lmn_step_report report;
    float loss = 0.0F;
    draw(rank, step + 1, (size_t)BATCH * INPUTS, &input[0][0]);
    need(lmn_reducer_begin(reducer, step, &err), &err);

    /* Memory of the reducer, so that nothing has to be copied. */
    float *bias_gradient = lmn_reducer_gradient(reducer, BIAS);
    memset(bias_gradient, 0, sizeof fit->bias);
    for (size_t b = 0; b < BATCH; b++) {
        for (size_t o = 0; o < OUTPUTS; o++) {
            error[b][o] = predict(fit, o, input[b]) - predict(truth, o, input[b]);
            loss += 0.5F * error[b][o] * error[b][o] / BATCH;
            bias_gradient[o] += error[b][o] / BATCH;
        }
    }
    need(lmn_reducer_ready(reducer, BIAS, bias_gradient, &err), &err);

    float *weight_gradient = lmn_reducer_gradient(reducer, WEIGHT);
    memset(weight_gradient, 0, sizeof fit->weight);
    for (size_t b = 0; b < BATCH; b++) {
        for (size_t k = 0; k < (size_t)OUTPUTS * INPUTS; k++) {
            weight_gradient[k] += error[b][k / INPUTS] * input[b][k % INPUTS] / BATCH;
        }
        need(lmn_reducer_progress(reducer, &err), &err); /* messages move while we compute */
    }
    need(lmn_reducer_ready(reducer, WEIGHT, weight_gradient, &err), &err);
    lmn_reducer_set_scalar(reducer, 0, loss); /* summed over ranks with the gradients */
    need(lmn_reducer_finish(reducer, &report, &err), &err);

    if (report.applied) { /* on all ranks or on none: a NaN anywhere skips the step everywhere */
        const float *bias = lmn_reducer_estimate(reducer, BIAS);
        const float *weight = lmn_reducer_estimate(reducer, WEIGHT);
        for (size_t k = 0; k < (size_t)OUTPUTS * INPUTS; k++) {
            fit->weight[k / INPUTS][k % INPUTS] -= LEARNING_RATE * weight[k];
        }
        for (size_t o = 0; o < OUTPUTS; o++) {
            fit->bias[o] -= LEARNING_RATE * bias[o];
        }
    }
    return report;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    lmn_error err = lmn_error_none();
    lmn_world *world = NULL;
    need(lmn_world_create(MPI_COMM_WORLD, NULL, &world, &err), &err);
    const int rank = lmn_world_rank(world);

    /* In the order in which gradients become ready. Small layers always travel whole. */
    const lmn_reducer_layer layers[] = {
        [BIAS] = {.name = "bias", .n_dims = 1, .dims = {OUTPUTS}},
        [WEIGHT] = {.name = "weight", .n_dims = 2, .dims = {OUTPUTS, INPUTS}},
    };
    lmn_reducer_options options = lmn_reducer_options_default();
    options.compress = argc > 1 ? argv[1] : "topk:density=0.05";
    options.feedback = argc > 2 ? argv[2] : "econtrol";
    options.n_scalars = 1;
    lmn_reducer *reducer = NULL;
    need(lmn_reducer_create(world, layers, 2, &options, &reducer, &err), &err);

    static model truth;
    static model fit; /* zero, on all ranks: the same start, the same averages, the same end */
    draw(0, 0, OUTPUTS, truth.bias);
    draw(0, 0, (size_t)OUTPUTS * INPUTS, &truth.weight[0][0]);
    uint64_t totals[2] = {0, 0}; /* bytes sent, and what dense gradients would have been */
    for (uint32_t step = 0; step < STEPS; step++) {
        const lmn_step_report report = train(reducer, rank, step, &truth, &fit);
        totals[0] += report.bytes_sent;
        totals[1] += report.bytes_dense;
        if (rank == 0 && (step % 100 == 0 || step == STEPS - 1)) {
            (void)printf("step %3u loss %.3e\n", step,
                         (double)report.scalars[0] / lmn_world_size(world));
        }
    }

    need(lmn_world_check_same(world, "parameters", lmn_hash64(&fit, sizeof fit, 0), &err), &err);
    need(lmn_world_sum_u64(world, totals, 2, &err), &err);
    if (rank == 0) {
        (void)printf("sent %llu bytes instead of %llu\n", (unsigned long long)totals[0],
                     (unsigned long long)totals[1]);
        (void)printf("all ranks hold the same parameters\n");
    }
    lmn_reducer_destroy(reducer);
    lmn_world_destroy(world);
    MPI_Finalize();
    return 0;
}

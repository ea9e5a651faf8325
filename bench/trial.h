/*
 * A model with its loss, gradients, plan and memory, in this process alone: what benchmarks run.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_BENCH_TRIAL_H
#define LAMINA_BENCH_TRIAL_H

#include "lamina/graph.h"
#include "lamina/plan.h"

/* Images of Fashion-MNIST, or tokens of a small vocabulary. */
enum { TRIAL_SIDE = 28, TRIAL_CLASSES = 10, TRIAL_VOCABULARY = 96 };

typedef struct trial {
    lmn_graph *graph;
    lmn_plan *plan;
    const lmn_tensor *values, *labels, *weights;
    const lmn_tensor **outputs; /* [1 + n_parameters] the loss, then for each parameter its
                                   gradient, or what it follows */
    size_t n_parameters;
    float **parameters;   /* [n_parameters] */
    float *values_memory; /* of values; tokens are stored in place as i32 */
    int32_t *labels_memory;
    size_t batch;
    size_t n_classes;
    size_t context; /* 0: images */
} trial;

/** Build `model` for batches of `batch` rows, with start values and random data bound. Memory is
 * never given back: the process ends soon. */
lmn_status trial_prepare(trial *t, const char *model, size_t batch, lmn_error *err);

#endif

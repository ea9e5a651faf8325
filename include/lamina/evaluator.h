/*
 * Evaluation of a model on a whole split, by all ranks together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_EVALUATOR_H
#define LAMINA_EVALUATOR_H

#include "lamina/dataset.h"
#include "lamina/parameters.h"
#include "lamina/task.h"
#include "lamina/world.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_evaluator lmn_evaluator;

/**
 * Plan the forward pass of a task for batches of global_batch samples over all ranks.
 * Collective over world. world, dataset, task and parameters are borrowed; NULL parameters: a set
 * of its own is made, see lmn_evaluator_parameters.
 */
lmn_status lmn_evaluator_create(lmn_world *world, const lmn_dataset *dataset, lmn_split split,
                                const lmn_task *task, size_t global_batch,
                                lmn_parameters *parameters, lmn_evaluator **evaluator_out,
                                lmn_error *err) LMN_NODISCARD;
void lmn_evaluator_destroy(lmn_evaluator *evaluator);

lmn_parameters *lmn_evaluator_parameters(lmn_evaluator *evaluator);

/** What a task says of a loss on a split: metrics_out [LMN_METRICS_MAX]. */
void lmn_task_measure(const lmn_task *task, lmn_split split, double loss, double *metrics_out);

typedef struct lmn_evaluation {
    double loss;     /* mean over samples */
    double accuracy; /* fraction answered rightly */
    uint64_t samples;
    double seconds;
    size_t n_metrics;
    double metrics[LMN_METRICS_MAX]; /* [n_metrics] as lmn_task lists them */
} lmn_evaluation;

/** Collective; every sample counts once; the same result on all ranks. */
lmn_status lmn_evaluator_run(lmn_evaluator *evaluator, lmn_evaluation *evaluation_out,
                             lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif

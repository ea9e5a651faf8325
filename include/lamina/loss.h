/*
 * Losses: fragments of a graph between a model's answers and the scalar that is minimised.
 *
 * Rows carry weights, so that a caller decides what a row counts: 1 / batch for a mean, 0 for a row
 * without a sample. Written with the ops of lamina/ops.h, and like those they return NULL after
 * recording the first error in the graph.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_LOSS_H
#define LAMINA_LOSS_H

#include "lamina/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Sum over rows of weight times cross-entropy of softmax(logits), in nats: a scalar.
 * logits  [B, K] f32; labels [B] i32, outside 0 .. K - 1 in rows that count nothing; weights [B]
 * f32
 */
const lmn_tensor *lmn_weighted_cross_entropy(lmn_graph *graph, const lmn_tensor *logits,
                                             const lmn_tensor *labels, const lmn_tensor *weights);

/** Sum of the weights of the rows whose largest logit is the label: a scalar without gradient. */
const lmn_tensor *lmn_weighted_hits(lmn_graph *graph, const lmn_tensor *logits,
                                    const lmn_tensor *labels, const lmn_tensor *weights);

#ifdef __cplusplus
}
#endif

#endif

/*
 * Losses over rows that carry weights.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/loss.h"

#include "lamina/ops.h"

/* values [B], weights [B] -> scalar */
static const lmn_tensor *weighted_sum(lmn_graph *graph, const lmn_tensor *values,
                                      const lmn_tensor *weights)
{
    return lmn_reduce_sum(graph, lmn_mul(graph, values, weights), LMN_ALL_AXES, false);
}

const lmn_tensor *lmn_weighted_cross_entropy(lmn_graph *graph, const lmn_tensor *logits,
                                             const lmn_tensor *labels, const lmn_tensor *weights)
{
    return weighted_sum(graph, lmn_softmax_cross_entropy(graph, logits, labels), weights);
}

const lmn_tensor *lmn_weighted_hits(lmn_graph *graph, const lmn_tensor *logits,
                                    const lmn_tensor *labels, const lmn_tensor *weights)
{
    return weighted_sum(graph, lmn_hits(graph, logits, labels), weights);
}

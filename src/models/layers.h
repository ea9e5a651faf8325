/*
 * Layers: pieces of networks that own parameters.
 *
 * Weights start normal with variance 2 / fan_in (K. He et al., ICCV 2015,
 * doi:10.1109/ICCV.2015.123), biases at 0. Layer `conv1` has the parameters `conv1/weight` and
 * `conv1/bias`. All constructors give NULL for NULL, and errors stay in the graph.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_LAYERS_H
#define LAMINA_LAYERS_H

#include "lamina/ops.h"

/** x [B, n_in] times weight [n_in, n_out] plus bias -> [B, n_out]. */
const lmn_tensor *lmn__dense(lmn_graph *graph, const char *layer, const lmn_tensor *x,
                             size_t n_out);

/** x [B, H, W, C] convolved with weight [kernel, kernel, C, n_out] plus bias. */
const lmn_tensor *lmn__conv(lmn_graph *graph, const char *layer, const lmn_tensor *x, size_t kernel,
                            size_t n_out, lmn_window window);

/** The same without bias: for convolutions that batch norm follows. */
const lmn_tensor *lmn__conv_plain(lmn_graph *graph, const char *layer, const lmn_tensor *x,
                                  size_t kernel, size_t n_out, lmn_window window);

/** x [..., n_in] times weight [n_in, n_out], and plus bias if `has_bias` -> [..., n_out]. The
 * weight starts with the given standard deviation. */
const lmn_tensor *lmn__linear(lmn_graph *graph, const char *layer, const lmn_tensor *x,
                              size_t n_out, double deviation, bool has_bias);

/** How batch norm takes its statistics. */
typedef struct lmn__batch_norm_options {
    const lmn_tensor *weights; /* see lmn_batch_statistics */
    bool synchronised;
} lmn__batch_norm_options;

/** Batch norm with `scale` (1), `shift` (0) and running `statistics` [2, C] (means 0, variances 1);
 * epsilon 1e-5, momentum 0.1. */
const lmn_tensor *lmn__batch_norm(lmn_graph *graph, const char *layer, const lmn_tensor *x,
                                  const lmn__batch_norm_options *options);

/** Layer norm with `scale` (1) and `shift` (0); epsilon 1e-5. */
const lmn_tensor *lmn__layer_norm_layer(lmn_graph *graph, const char *layer, const lmn_tensor *x);

/** [B, ...] -> [B, everything else]. */
const lmn_tensor *lmn__flatten(lmn_graph *graph, const lmn_tensor *x);

#endif

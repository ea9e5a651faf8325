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

/** [B, ...] -> [B, everything else]. */
const lmn_tensor *lmn__flatten(lmn_graph *graph, const lmn_tensor *x);

#endif

/*
 * Models: functions that add a network to a graph.
 *
 * A model is chosen by a spec (lamina/spec.h) such as `cnn` or `mlp:hidden=512x512`. It knows
 * nothing of ranks, losses or training.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_MODEL_H
#define LAMINA_MODEL_H

#include "lamina/graph.h"
#include "lamina/spec.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Add the model that `spec` names.
 * images      [B, H, W, C] f32
 * logits_out  [B, n_classes]
 * Parameters start by He initialisation (K. He et al., ICCV 2015, doi:10.1109/ICCV.2015.123):
 * normal with variance 2 / fan_in, biases zero.
 * Errors: LMN_ERR_USAGE (unknown model or key), LMN_ERR_SHAPE (images too small for the model).
 */
lmn_status lmn_model_build(const char *spec, lmn_graph *graph, const lmn_tensor *images,
                           size_t n_classes, const lmn_tensor **logits_out,
                           lmn_error *err) LMN_NODISCARD;

/** Models that exist, for help texts: entry `index`, or NULL past the last. */
const lmn_spec_entry *lmn_model_entry(size_t index);

#ifdef __cplusplus
}
#endif

#endif

/*
 * Models: functions that add a network to a graph.
 *
 * A model is chosen by a spec (lamina/spec.h) such as `cnn` or `gpt:layers=2,width=128`. It knows
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

/** What a model is built on. */
typedef struct lmn_model_input {
    const lmn_tensor *values;  /* f32 images [B, H, W, C] or vectors [B, D]; i32 tokens [B, T] */
    const lmn_tensor *weights; /* f32 [B]: rows with weight 0 hold no sample and do not count in
                                  batch statistics; NULL: all rows do */
    size_t n_classes;          /* of labels, or of tokens: the vocabulary */
} lmn_model_input;

/**
 * Add the model that `spec` names.
 * logits_out  [B, n_classes]; for tokens [B, T, n_classes]
 * Errors: LMN_ERR_USAGE (unknown model or key; a model that does not take such values),
 * LMN_ERR_SHAPE (images too small for the model, more tokens than its context).
 */
lmn_status lmn_model_build(const char *spec, lmn_graph *graph, const lmn_model_input *input,
                           const lmn_tensor **logits_out, lmn_error *err) LMN_NODISCARD;

/** The context of a model of tokens, as its spec gives it; 0 for all other models. Errors: as
 * lmn_model_build. */
lmn_status lmn_model_context(const char *spec, size_t *context_out, lmn_error *err) LMN_NODISCARD;

/** Models that exist, for help texts: entry `index`, or NULL past the last. */
const lmn_spec_entry *lmn_model_entry(size_t index);

#ifdef __cplusplus
}
#endif

#endif

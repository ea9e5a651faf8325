/*
 * What models share: the entry of a model in the registry.
 *
 * A model is one file that defines `const lmn__model lmn__model_<name>`, and one line in
 * LMN__MODEL_LIST.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_MODELS_INTERNAL_H
#define LAMINA_MODELS_INTERNAL_H

#include "lamina/model.h"

/* X(name), in the order of help texts. */
#define LMN__MODEL_LIST(X)                                                                         \
    X(mlp)                                                                                         \
    X(cnn)

typedef struct lmn__model {
    lmn_spec_entry entry;

    /**
     * Parse `spec` and add the network. images is [B, H, W, C] f32 of a graph without errors.
     * Returns what went wrong with the spec or the size of the images; errors of constructors stay
     * in the graph, where the caller looks.
     */
    lmn_status (*build)(const char *spec, lmn_graph *graph, const lmn_tensor *images,
                        size_t n_classes, const lmn_tensor **logits_out, lmn_error *err);
} lmn__model;

#define LMN__MODEL_DECLARE(name) extern const lmn__model lmn__model_##name;
LMN__MODEL_LIST(LMN__MODEL_DECLARE)
#undef LMN__MODEL_DECLARE

#endif

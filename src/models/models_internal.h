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
    X(cnn)                                                                                         \
    X(resnet20)                                                                                    \
    X(resnet18)                                                                                    \
    X(gpt)

/* What a model takes. */
typedef enum lmn__values {
    LMN__VALUES_DENSE = 0,  /* f32 images or vectors */
    LMN__VALUES_IMAGES = 1, /* f32 [B, H, W, C] */
    LMN__VALUES_TOKENS = 2  /* i32 [B, T] */
} lmn__values;

typedef struct lmn__model {
    lmn_spec_entry entry;
    lmn__values takes;

    /**
     * Parse `spec` and add the network. The input is what `takes` says, of a graph without errors.
     * Returns what went wrong with the spec or the size of the input; errors of constructors stay
     * in the graph, where the caller looks.
     */
    lmn_status (*build)(const char *spec, lmn_graph *graph, const lmn_model_input *input,
                        const lmn_tensor **logits_out, lmn_error *err);

    /** Tokens that the spec asks for; NULL unless it takes tokens. */
    lmn_status (*context)(const char *spec, size_t *context_out, lmn_error *err);
} lmn__model;

#define LMN__MODEL_DECLARE(name) extern const lmn__model lmn__model_##name;
LMN__MODEL_LIST(LMN__MODEL_DECLARE)
#undef LMN__MODEL_DECLARE

#endif

/*
 * Generation: text that a trained model goes on with, token by token.
 *
 * Serial. What comes out is a function of the parameters, the prompt and the options alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_GENERATOR_H
#define LAMINA_GENERATOR_H

#include "lamina/parameters.h"
#include "lamina/status.h"
#include "lamina/vocabulary.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_generator lmn_generator;

/**
 * Plan the forward pass of a model of tokens over one window of its context.
 * model  spec, as in lamina/model.h; vocabulary  borrowed until destroy
 * Errors: LMN_ERR_USAGE (a model that does not take tokens), those of the parts.
 */
lmn_status lmn_generator_create(const char *model, const lmn_vocabulary *vocabulary,
                                lmn_generator **generator_out, lmn_error *err) LMN_NODISCARD;

/** NULL is allowed. */
void lmn_generator_destroy(lmn_generator *generator);

/** The model's parameters, to be loaded; zero at first. */
lmn_parameters *lmn_generator_parameters(lmn_generator *generator);

/** What to generate, and how tokens are chosen. */
typedef struct lmn_generation {
    const unsigned char *prompt; /* [prompt_bytes], at least one byte */
    size_t prompt_bytes;
    size_t tokens;      /* to generate */
    double temperature; /* logits are divided by it; 0: always the likeliest token */
    size_t top_k;       /* only the so many likeliest tokens are drawn from; 0: all */
    uint64_t seed;
    /* Called with the bytes of each token. A status other than LMN_OK ends the generation. */
    lmn_status (*on_token)(void *user, const unsigned char *bytes, size_t n, lmn_error *err);
    void *user;
} lmn_generation;

/**
 * Generate. The model sees the last tokens that fit its context.
 * Errors: LMN_ERR_ARGUMENT (empty prompt, negative temperature), LMN_ERR_NONFINITE (logits that are
 * not finite), that of on_token.
 */
lmn_status lmn_generator_run(lmn_generator *generator, const lmn_generation *generation,
                             lmn_error *err) LMN_NODISCARD;

/**
 * The vocabulary that lmn_trainer_keep_vocabulary put into a checkpoint; the caller's.
 * Errors: LMN_ERR_IO, LMN_ERR_FORMAT (not a checkpoint, none in it, damaged).
 */
lmn_status lmn_generator_vocabulary(const char *checkpoint, lmn_vocabulary **vocabulary_out,
                                    lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif

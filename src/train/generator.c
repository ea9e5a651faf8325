/*
 * Generation: the forward pass over a window of one text, again for each token.
 *
 * Attention looks only back, so what stands in the window behind the last token does not matter.
 * The number that chooses token i is element i of a stream of the seed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/generator.h"

#include "lamina/memory.h"
#include "lamina/model.h"
#include "lamina/plan.h"
#include "lamina/random.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Random words of a number in [0, 1) with 53 bits. */
#define DRAW_WORDS 2

struct lmn_generator {
    const lmn_vocabulary *vocabulary; /* borrowed */
    size_t context, n_tokens;
    lmn_graph *graph;
    const lmn_tensor *input, *logits;
    lmn_plan *plan;
    lmn_parameters *parameters;
    int32_t *window; /* [context] bound to the input */
    size_t length;   /* tokens in the window */
    double *chances; /* [n_tokens] */
    size_t *ranking; /* [n_tokens] */
};

static lmn_status build(lmn_generator *generator, const char *model, lmn_error *err)
{
    lmn_status status = lmn_model_context(model, &generator->context, err);
    if (status == LMN_OK && generator->context == 0) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "model '%s' does not take tokens: it cannot go on with a text", model);
    }
    if (status == LMN_OK) {
        status = lmn_graph_create(&generator->graph, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const lmn_shape shape = {.n_dims = 2, .dims = {1, generator->context}};
    generator->input = lmn_input(generator->graph, "tokens", LMN_I32, shape);
    const lmn_model_input input = {.values = generator->input, .n_classes = generator->n_tokens};
    status = lmn_model_build(model, generator->graph, &input, &generator->logits, err);
    if (status == LMN_OK) {
        status =
            lmn_plan_create(generator->graph, &generator->logits, 1, NULL, &generator->plan, err);
    }
    return status;
}

static lmn_status take_memory(lmn_generator *generator, lmn_error *err)
{
    generator->window = lmn_alloc(generator->context, sizeof *generator->window, err);
    generator->chances = lmn_alloc(generator->n_tokens, sizeof *generator->chances, err);
    generator->ranking = lmn_alloc(generator->n_tokens, sizeof *generator->ranking, err);
    if (generator->window == NULL || generator->chances == NULL || generator->ranking == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = lmn_parameters_create(generator->graph, NULL, &generator->parameters, err);
    if (status == LMN_OK) {
        status = lmn_parameters_bind(generator->parameters, generator->graph, generator->plan, err);
    }
    if (status == LMN_OK) {
        status = lmn_plan_bind(generator->plan, generator->input, generator->window, err);
    }
    return status;
}

lmn_status lmn_generator_create(const char *model, const lmn_vocabulary *vocabulary,
                                lmn_generator **generator_out, lmn_error *err)
{
    lmn_generator *generator = lmn_alloc(1, sizeof *generator, err);
    if (generator == NULL) {
        return LMN_ERR_MEMORY;
    }
    generator->vocabulary = vocabulary;
    generator->n_tokens = lmn_vocabulary_size(vocabulary);
    lmn_status status = build(generator, model, err);
    if (status == LMN_OK) {
        status = take_memory(generator, err);
    }
    if (status != LMN_OK) {
        lmn_generator_destroy(generator);
        return status;
    }
    *generator_out = generator;
    return LMN_OK;
}

void lmn_generator_destroy(lmn_generator *generator)
{
    if (generator == NULL) {
        return;
    }
    lmn_plan_destroy(generator->plan);
    lmn_parameters_destroy(generator->parameters);
    lmn_graph_destroy(generator->graph);
    lmn_free(generator->window);
    lmn_free(generator->chances);
    lmn_free(generator->ranking);
    lmn_free(generator);
}

lmn_parameters *lmn_generator_parameters(lmn_generator *generator)
{
    return generator->parameters;
}

/* Put a token behind the others; when the window is full, the first goes. */
static void push(lmn_generator *generator, int32_t token)
{
    if (generator->length == generator->context) {
        generator->length--;
        memmove(generator->window, generator->window + 1,
                generator->length * sizeof *generator->window);
    }
    generator->window[generator->length++] = token;
}

static lmn_status read_prompt(lmn_generator *generator, const lmn_generation *generation,
                              lmn_error *err)
{
    int32_t *tokens = lmn_alloc(generation->prompt_bytes, sizeof *tokens, err);
    if (tokens == NULL) {
        return LMN_ERR_MEMORY;
    }
    const size_t n = lmn_vocabulary_encode(generator->vocabulary, generation->prompt,
                                           generation->prompt_bytes, tokens);
    memset(generator->window, 0, generator->context * sizeof *generator->window);
    generator->length = 0;
    for (size_t i = 0; i < n; i++) {
        push(generator, tokens[i]);
    }
    lmn_free(tokens);
    return LMN_OK;
}

/* Whether token a comes before b when the likeliest comes first; of equal ones the lower. */
static bool precedes(const float *logits, size_t a, size_t b)
{
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
}

/* Let the entry at `at` of a heap [n], the last in order on top, sink to its place. */
static void sink(size_t *heap, size_t n, size_t at, const float *logits)
{
    for (size_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        child += child + 1 < n && precedes(logits, heap[child], heap[child + 1]) ? 1 : 0;
        if (!precedes(logits, heap[at], heap[child])) {
            return;
        }
        const size_t kept = heap[at];
        heap[at] = heap[child];
        heap[child] = kept;
        at = child;
    }
}

/* The k likeliest tokens, in no order, into ranking: a heap of the best so far. */
static void rank_tokens(lmn_generator *generator, const float *logits, size_t k)
{
    size_t *heap = generator->ranking;
    for (size_t i = 0; i < k; i++) {
        heap[i] = i;
    }
    for (size_t i = k / 2; i-- > 0;) {
        sink(heap, k, i, logits);
    }
    for (size_t token = k; token < generator->n_tokens; token++) {
        if (precedes(logits, token, heap[0])) {
            heap[0] = token;
            sink(heap, k, 0, logits);
        }
    }
}

static size_t find_largest(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = precedes(logits, i, best) ? i : best;
    }
    return best;
}

/* Number `index` of the seed's stream, in [0, 1). */
static double draw(uint64_t seed, uint64_t index)
{
    const lmn_stream stream = {
        .seed = seed, .purpose = LMN_STREAM_USER, .rank = LMN_STREAM_ALL_RANKS};
    uint32_t words[DRAW_WORDS];
    lmn_stream_u32(&stream, DRAW_WORDS * index, DRAW_WORDS, words);
    const uint64_t bits = ((uint64_t)words[0] << 32 | words[1]) >> 11;
    return (double)bits * 0x1p-53;
}

/* A token by softmax(logits / temperature) over all of them, or over the k likeliest. */
static size_t choose(lmn_generator *generator, const float *logits,
                     const lmn_generation *generation, uint64_t index)
{
    const size_t n = generator->n_tokens;
    const size_t best = find_largest(logits, n);
    if (generation->temperature <= 0.0) {
        return best;
    }
    const size_t k = generation->top_k == 0 || generation->top_k > n ? n : generation->top_k;
    rank_tokens(generator, logits, k);
    double *chances = generator->chances;
    memset(chances, 0, n * sizeof *chances);
    double sum = 0.0;
    for (size_t i = 0; i < k; i++) {
        const size_t token = generator->ranking[i];
        chances[token] =
            exp(((double)logits[token] - (double)logits[best]) / generation->temperature);
    }
    for (size_t token = 0; token < n; token++) {
        sum += chances[token];
    }
    double left = draw(generation->seed, index) * sum;
    for (size_t token = 0; token < n; token++) {
        if (chances[token] > 0.0 && left < chances[token]) {
            return token;
        }
        left -= chances[token];
    }
    return best; /* what rounding left over */
}

/* The logits [n_tokens] behind the last token of the window. */
static lmn_status foretell(lmn_generator *generator, const float **logits_out, lmn_error *err)
{
    const lmn_run run = {.training = false};
    const lmn_status status = lmn_plan_run(generator->plan, &run, err);
    if (status != LMN_OK) {
        return status;
    }
    const float *all = lmn_plan_value(generator->plan, generator->logits);
    assert(all != NULL && generator->length > 0);
    const float *logits = all + (generator->length - 1) * generator->n_tokens;
    for (size_t i = 0; i < generator->n_tokens; i++) {
        if (!isfinite(logits[i])) {
            return lmn_error_set(err, LMN_ERR_NONFINITE,
                                 "the model's logits are not finite: its parameters are not those "
                                 "of a run that went well");
        }
    }
    *logits_out = logits;
    return LMN_OK;
}

static lmn_status check(const lmn_generation *generation, lmn_error *err)
{
    if (generation->prompt_bytes == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the prompt is empty: give the model at least one byte to go on from");
    }
    if (!(generation->temperature >= 0.0) || isinf(generation->temperature)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the temperature is %g, but must be 0 or more and finite",
                             generation->temperature);
    }
    return LMN_OK;
}

lmn_status lmn_generator_run(lmn_generator *generator, const lmn_generation *generation,
                             lmn_error *err)
{
    lmn_status status = check(generation, err);
    if (status == LMN_OK) {
        status = read_prompt(generator, generation, err);
    }
    for (size_t i = 0; i < generation->tokens && status == LMN_OK; i++) {
        const float *logits = NULL;
        status = foretell(generator, &logits, err);
        if (status == LMN_OK && logits != NULL) {
            const size_t token = choose(generator, logits, generation, i);
            size_t bytes = 0;
            const unsigned char *text = lmn_vocabulary_token(generator->vocabulary, token, &bytes);
            push(generator, (int32_t)token);
            status = generation->on_token(generation->user, text, bytes, err);
        }
    }
    return status;
}

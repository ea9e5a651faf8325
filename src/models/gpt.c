/*
 * gpt: a transformer that foretells the next token.
 *
 * Learned positions, normalisation before each part, gelu: A. Radford et al., "Language models are
 * unsupervised multitask learners", 2019. Each layer is x + out(attention(norm x)), then
 * x + project(gelu(expand(norm x))). Weights start normal with deviation 0.02, those that write
 * into the residual divided by sqrt(2 layers). 3241472 parameters with a vocabulary of 96.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "layers.h"
#include "models_internal.h"

#include <math.h>
#include <stdio.h>

#define NAME_BYTES 40

/* Deviation of the start values. */
static const double DEVIATION = 0.02;

typedef struct gpt_options {
    uint64_t layers, heads, width, context;
    bool tied;
    double dropout;
} gpt_options;

static const gpt_options defaults = {.layers = 4, .heads = 8, .width = 256, .context = 128};

static const lmn_spec_field fields[] = {
    {.key = "layers",
     .type = LMN_SPEC_U64,
     .offset = offsetof(gpt_options, layers),
     .min = 1.0,
     .max = 1e3,
     .help = "attention and perceptron pairs, default 4"},
    {.key = "heads",
     .type = LMN_SPEC_U64,
     .offset = offsetof(gpt_options, heads),
     .min = 1.0,
     .max = 1e3,
     .help = "attention heads, which share the width, default 8"},
    {.key = "width",
     .type = LMN_SPEC_U64,
     .offset = offsetof(gpt_options, width),
     .min = 1.0,
     .max = 1e5,
     .help = "channels of each token, default 256"},
    {.key = "context",
     .type = LMN_SPEC_U64,
     .offset = offsetof(gpt_options, context),
     .min = 1.0,
     .max = 1e6,
     .help = "tokens that the model sees, default 128"},
    {.key = "tied",
     .type = LMN_SPEC_BOOL,
     .offset = offsetof(gpt_options, tied),
     .help = "use the embedding as the last layer's weight, default 0"},
    {.key = "dropout",
     .type = LMN_SPEC_F64,
     .offset = offsetof(gpt_options, dropout),
     .min = 0.0,
     .max = 0.99,
     .help = "fraction dropped of the embedding and of what each part adds, default 0"},
};

#define N_FIELDS (sizeof fields / sizeof fields[0])

static lmn_status parse(const char *spec, gpt_options *options, lmn_error *err)
{
    *options = defaults;
    const lmn_status status = lmn_spec_parse("model", spec, fields, N_FIELDS, options, err);
    if (status == LMN_OK && options->width % options->heads != 0) {
        return lmn_error_set(err, LMN_ERR_USAGE,
                             "model 'gpt': %zu heads cannot share a width of %zu; choose a width "
                             "that is a multiple of the heads",
                             (size_t)options->heads, (size_t)options->width);
    }
    return status;
}

static lmn_status check_length(const gpt_options *options, const lmn_shape *tokens, lmn_error *err)
{
    if (tokens->dims[1] > options->context) {
        return lmn_error_set(err, LMN_ERR_SHAPE,
                             "model 'gpt': %zu tokens are more than its context of %zu",
                             tokens->dims[1], (size_t)options->context);
    }
    return LMN_OK;
}

static const lmn_tensor *drop(lmn_graph *graph, const lmn_tensor *x, double rate)
{
    return rate > 0.0 ? lmn_dropout(graph, x, (float)rate) : x;
}

static const lmn_tensor *add_table(lmn_graph *graph, const char *name, size_t rows, size_t width)
{
    const lmn_init init = {.kind = LMN_INIT_NORMAL, .value = (float)DEVIATION};
    const lmn_shape shape = {.n_dims = 2, .dims = {rows, width}};
    return lmn_parameter(graph, name, shape, init);
}

/* "layer3/expand" */
static const char *name_of(char name[NAME_BYTES], size_t layer, const char *what)
{
    (void)snprintf(name, NAME_BYTES, "layer%zu/%s", layer, what);
    return name;
}

static const lmn_tensor *add_layer(lmn_graph *graph, size_t layer, const gpt_options *options,
                                   const lmn_tensor *x)
{
    char name[NAME_BYTES];
    const size_t width = (size_t)options->width;
    const double into_residual = DEVIATION / sqrt(2.0 * (double)options->layers);
    const lmn_tensor *y = lmn__layer_norm_layer(graph, name_of(name, layer, "norm1"), x);
    y = lmn__linear(graph, name_of(name, layer, "qkv"), y, 3 * width, DEVIATION, true);
    y = lmn_causal_attention(graph, y, (size_t)options->heads);
    y = lmn__linear(graph, name_of(name, layer, "out"), y, width, into_residual, true);
    x = lmn_add(graph, drop(graph, y, options->dropout), x);
    y = lmn__layer_norm_layer(graph, name_of(name, layer, "norm2"), x);
    y = lmn__linear(graph, name_of(name, layer, "expand"), y, 4 * width, DEVIATION, true);
    y = lmn_gelu(graph, y);
    y = lmn__linear(graph, name_of(name, layer, "project"), y, width, into_residual, true);
    return lmn_add(graph, drop(graph, y, options->dropout), x);
}

/* Logits from the last layer: by the embedding when tied, else by a weight of their own. */
static const lmn_tensor *add_head(lmn_graph *graph, const lmn_tensor *x,
                                  const lmn_tensor *embedding, const gpt_options *options,
                                  size_t n_tokens)
{
    if (!options->tied || x == NULL) {
        return lmn__linear(graph, "head", x, n_tokens, DEVIATION, false);
    }
    lmn_shape shape = *lmn_tensor_shape(x);
    const size_t width = shape.dims[2];
    const lmn_shape rows = {.n_dims = 2, .dims = {shape.dims[0] * shape.dims[1], width}};
    shape.dims[2] = n_tokens;
    const lmn_tensor *logits =
        lmn_matmul(graph, lmn_reshape(graph, x, rows), embedding, false, true);
    return lmn_reshape(graph, logits, shape);
}

static lmn_status build(const char *spec, lmn_graph *graph, const lmn_model_input *input,
                        const lmn_tensor **logits_out, lmn_error *err)
{
    gpt_options options;
    const lmn_shape *tokens = lmn_tensor_shape(input->values);
    lmn_status status = parse(spec, &options, err);
    if (status == LMN_OK) {
        status = check_length(&options, tokens, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const size_t width = (size_t)options.width;
    const lmn_tensor *embedding = add_table(graph, "embedding", input->n_classes, width);
    const lmn_tensor *positions = add_table(graph, "positions", (size_t)options.context, width);
    if (tokens->dims[1] < options.context) {
        positions = lmn_slice(graph, positions, 0, 0, tokens->dims[1]);
    }
    const lmn_tensor *x = lmn_add(graph, lmn_gather(graph, embedding, input->values), positions);
    x = drop(graph, x, options.dropout);
    for (size_t layer = 1; layer <= options.layers; layer++) {
        x = add_layer(graph, layer, &options, x);
    }
    x = lmn__layer_norm_layer(graph, "norm", x);
    *logits_out = add_head(graph, x, embedding, &options, input->n_classes);
    return LMN_OK;
}

static lmn_status find_context(const char *spec, size_t *context_out, lmn_error *err)
{
    gpt_options options;
    const lmn_status status = parse(spec, &options, err);
    if (status == LMN_OK) {
        *context_out = (size_t)options.context;
    }
    return status;
}

const lmn__model lmn__model_gpt = {
    .entry = {.name = "gpt",
              .summary = "transformer over tokens: 4 layers, 8 heads, width 256, context 128",
              .fields = fields,
              .n_fields = N_FIELDS},
    .takes = LMN__VALUES_TOKENS,
    .build = build,
    .context = find_context,
};

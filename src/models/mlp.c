/*
 * mlp: a perceptron with any number of hidden layers, each followed by relu.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "layers.h"
#include "models_internal.h"

#include <math.h>
#include <stdio.h>

typedef struct mlp_options {
    lmn_spec_list hidden;
    double dropout;
} mlp_options;

static const lmn_spec_field fields[] = {
    {.key = "hidden",
     .type = LMN_SPEC_F64_LIST,
     .offset = offsetof(mlp_options, hidden),
     .min = 1.0,
     .max = 1e9,
     .help = "units of each hidden layer, default 1024x1024"},
    {.key = "dropout",
     .type = LMN_SPEC_F64,
     .offset = offsetof(mlp_options, dropout),
     .min = 0.0,
     .max = 0.99,
     .help = "fraction of hidden units dropped in training, default 0"},
};

#define N_FIELDS (sizeof fields / sizeof fields[0])

static lmn_status check_hidden(const lmn_spec_list *hidden, lmn_error *err)
{
    for (size_t i = 0; i < hidden->count; i++) {
        if (hidden->values[i] != floor(hidden->values[i])) {
            return lmn_error_set(err, LMN_ERR_USAGE,
                                 "model 'mlp': hidden must be whole numbers, not %g",
                                 hidden->values[i]);
        }
    }
    return LMN_OK;
}

static lmn_status build(const char *spec, lmn_graph *graph, const lmn_model_input *input,
                        const lmn_tensor **logits_out, lmn_error *err)
{
    mlp_options options = {.hidden = {.count = 2, .values = {1024.0, 1024.0}}};
    lmn_status status = lmn_spec_parse("model", spec, fields, N_FIELDS, &options, err);
    if (status == LMN_OK) {
        status = check_hidden(&options.hidden, err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const lmn_tensor *x = lmn__flatten(graph, input->values);
    char layer[32];
    for (size_t i = 0; i < options.hidden.count; i++) {
        (void)snprintf(layer, sizeof layer, "dense%zu", i + 1);
        x = lmn_relu(graph, lmn__dense(graph, layer, x, (size_t)options.hidden.values[i]));
        if (options.dropout > 0.0) {
            x = lmn_dropout(graph, x, (float)options.dropout);
        }
    }
    (void)snprintf(layer, sizeof layer, "dense%zu", options.hidden.count + 1);
    *logits_out = lmn__dense(graph, layer, x, input->n_classes);
    return LMN_OK;
}

const lmn__model lmn__model_mlp = {
    .entry = {.name = "mlp",
              .summary = "perceptron: hidden layers with relu, then one unit for each class",
              .fields = fields,
              .n_fields = N_FIELDS},
    .build = build,
};

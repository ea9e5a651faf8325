/*
 * cnn: the small convolutional network that most frameworks begin with.
 *
 * conv 3x3x32, relu, conv 3x3x64, relu, max pool 2x2, dense 128, relu, dense n_classes;
 * convolutions without padding. 1199882 parameters for 28x28x1 images and 10 classes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "layers.h"
#include "models_internal.h"

/* Two valid 3x3 convolutions and a pooling of 2 leave at least one place. */
#define EXTENT_MIN 6

typedef struct cnn_options {
    double dropout;
} cnn_options;

static const lmn_spec_field fields[] = {
    {.key = "dropout",
     .type = LMN_SPEC_F64,
     .offset = offsetof(cnn_options, dropout),
     .min = 0.0,
     .max = 0.99,
     .help = "fraction of the 128 dense units dropped in training, default 0"},
};

#define N_FIELDS (sizeof fields / sizeof fields[0])

static lmn_status check_size(const lmn_shape *images, lmn_error *err)
{
    if (images->dims[1] < EXTENT_MIN || images->dims[2] < EXTENT_MIN) {
        return lmn_error_set(err, LMN_ERR_SHAPE,
                             "model 'cnn': images of %zu x %zu pixels are too small, it needs at "
                             "least %d x %d",
                             images->dims[1], images->dims[2], EXTENT_MIN, EXTENT_MIN);
    }
    return LMN_OK;
}

static lmn_status build(const char *spec, lmn_graph *graph, const lmn_model_input *input,
                        const lmn_tensor **logits_out, lmn_error *err)
{
    cnn_options options = {.dropout = 0.0};
    lmn_status status = lmn_spec_parse("model", spec, fields, N_FIELDS, &options, err);
    if (status == LMN_OK) {
        status = check_size(lmn_tensor_shape(input->values), err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const lmn_window dense_window = lmn_window_default();
    const lmn_window halving = {.stride_h = 2, .stride_w = 2};
    const lmn_tensor *x = input->values;
    x = lmn_relu(graph, lmn__conv(graph, "conv1", x, 3, 32, dense_window));
    x = lmn_relu(graph, lmn__conv(graph, "conv2", x, 3, 64, dense_window));
    x = lmn__flatten(graph, lmn_max_pool(graph, x, 2, 2, halving));
    x = lmn_relu(graph, lmn__dense(graph, "dense1", x, 128));
    if (options.dropout > 0.0) {
        x = lmn_dropout(graph, x, (float)options.dropout);
    }
    *logits_out = lmn__dense(graph, "dense2", x, input->n_classes);
    return LMN_OK;
}

const lmn__model lmn__model_cnn = {
    .entry = {.name = "cnn",
              .summary = "convolutions 3x3x32 and 3x3x64, max pool 2, dense 128, dense classes",
              .fields = fields,
              .n_fields = N_FIELDS},
    .takes = LMN__VALUES_IMAGES,
    .build = build,
};

/*
 * resnet20 and resnet18: residual networks for small images.
 *
 * K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", CVPR 2016,
 * doi:10.1109/CVPR.2016.90. A 3x3 convolution, then stages of blocks, each stage but the first
 * beginning with stride 2 and doubling the width, global average, dense. A block is
 * relu(norm(conv(relu(norm(conv x)))) + shortcut), where the shortcut is x itself, or a 1x1
 * convolution with norm where the shape changes. resnet18 has the widths and depth of the ImageNet
 * network with the first layer of the CIFAR one. 272186 and 11172810 parameters for 28x28x1 images
 * and 10 classes, without running statistics.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "layers.h"
#include "models_internal.h"

#include <stdio.h>

#define NAME_BYTES 40

typedef struct resnet_options {
    uint64_t width;  /* channels of the first stage */
    uint64_t blocks; /* of every stage */
    bool sync;
} resnet_options;

static const lmn_spec_field fields[] = {
    {.key = "width",
     .type = LMN_SPEC_U64,
     .offset = offsetof(resnet_options, width),
     .min = 1.0,
     .max = 1e6,
     .help = "channels of the first stage; each further one has twice as many"},
    {.key = "blocks",
     .type = LMN_SPEC_U64,
     .offset = offsetof(resnet_options, blocks),
     .min = 1.0,
     .max = 1e3,
     .help = "residual blocks of every stage"},
    {.key = "sync",
     .type = LMN_SPEC_BOOL,
     .offset = offsetof(resnet_options, sync),
     .help = "batch statistics over the rows of all ranks, default 0"},
};

#define N_FIELDS (sizeof fields / sizeof fields[0])

/* What all layers of one network share. */
typedef struct network {
    lmn_graph *graph;
    lmn__batch_norm_options norm;
} network;

static const lmn_tensor *conv_norm(const network *net, const char *block, const char *layer,
                                   const lmn_tensor *x, size_t kernel, size_t width, size_t stride)
{
    char name[NAME_BYTES + 8];
    const size_t pad = kernel / 2;
    const lmn_window window = {.stride_h = stride,
                               .stride_w = stride,
                               .pad_top = pad,
                               .pad_left = pad,
                               .pad_bottom = pad,
                               .pad_right = pad};
    (void)snprintf(name, sizeof name, "%s/conv%s", block, layer);
    const lmn_tensor *y = lmn__conv_plain(net->graph, name, x, kernel, width, window);
    (void)snprintf(name, sizeof name, "%s/norm%s", block, layer);
    return lmn__batch_norm(net->graph, name, y, &net->norm);
}

static const lmn_tensor *add_block(const network *net, const char *name, const lmn_tensor *x,
                                   size_t width, size_t stride)
{
    if (x == NULL) {
        return NULL;
    }
    const bool is_same = stride == 1 && lmn_tensor_shape(x)->dims[3] == width;
    const lmn_tensor *shortcut = is_same ? x : conv_norm(net, name, "0", x, 1, width, stride);
    const lmn_tensor *y = lmn_relu(net->graph, conv_norm(net, name, "1", x, 3, width, stride));
    y = conv_norm(net, name, "2", y, 3, width, 1);
    return lmn_relu(net->graph, lmn_add(net->graph, y, shortcut));
}

/* Blocks are named by stage and place: "stage2/block1". */
static const lmn_tensor *add_stages(const network *net, const lmn_tensor *x, size_t n_stages,
                                    const resnet_options *options)
{
    size_t width = (size_t)options->width;
    for (size_t stage = 1; stage <= n_stages; stage++) {
        for (size_t block = 1; block <= options->blocks; block++) {
            char name[NAME_BYTES];
            (void)snprintf(name, sizeof name, "stage%zu/block%zu", stage, block);
            x = add_block(net, name, x, width, stage > 1 && block == 1 ? 2 : 1);
        }
        width *= 2;
    }
    return x;
}

static lmn_status build_resnet(const char *spec, lmn_graph *graph, const lmn_model_input *input,
                               resnet_options *options, size_t n_stages,
                               const lmn_tensor **logits_out, lmn_error *err)
{
    const lmn_status status = lmn_spec_parse("model", spec, fields, N_FIELDS, options, err);
    if (status != LMN_OK) {
        return status;
    }
    const network net = {
        .graph = graph,
        .norm = {.weights = input->weights, .synchronised = options->sync},
    };
    const lmn_tensor *x =
        lmn_relu(graph, conv_norm(&net, "stem", "", input->values, 3, (size_t)options->width, 1));
    x = add_stages(&net, x, n_stages, options);
    x = lmn_reduce_mean(graph, x, 6U, false); /* over height and width */
    *logits_out = lmn__dense(graph, "dense", x, input->n_classes);
    return LMN_OK;
}

static lmn_status build_resnet20(const char *spec, lmn_graph *graph, const lmn_model_input *input,
                                 const lmn_tensor **logits_out, lmn_error *err)
{
    resnet_options options = {.width = 16, .blocks = 3};
    return build_resnet(spec, graph, input, &options, 3, logits_out, err);
}

static lmn_status build_resnet18(const char *spec, lmn_graph *graph, const lmn_model_input *input,
                                 const lmn_tensor **logits_out, lmn_error *err)
{
    resnet_options options = {.width = 64, .blocks = 2};
    return build_resnet(spec, graph, input, &options, 4, logits_out, err);
}

const lmn__model lmn__model_resnet20 = {
    .entry = {.name = "resnet20",
              .summary = "residual network: 3 stages of 3 blocks, 16 channels at first",
              .fields = fields,
              .n_fields = N_FIELDS},
    .takes = LMN__VALUES_IMAGES,
    .build = build_resnet20,
};

const lmn__model lmn__model_resnet18 = {
    .entry = {.name = "resnet18",
              .summary = "residual network: 4 stages of 2 blocks, 64 channels at first",
              .fields = fields,
              .n_fields = N_FIELDS},
    .takes = LMN__VALUES_IMAGES,
    .build = build_resnet18,
};

/*
 * Layers: parameters, their start values, and the ops that use them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "layers.h"

#include "lamina/memory.h"

#include <math.h>
#include <stdio.h>

#define NAME_BYTES   64
#define NORM_EPSILON 1e-5F

static const lmn_tensor *add_parameter(lmn_graph *graph, const char *layer, const char *what,
                                       lmn_shape shape, lmn_init init)
{
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "%s/%s", layer, what);
    return lmn_parameter(graph, name, shape, init);
}

static const lmn_tensor *add_weight(lmn_graph *graph, const char *layer, lmn_shape shape,
                                    size_t fan_in)
{
    const lmn_init init = {.kind = LMN_INIT_NORMAL, .value = (float)sqrt(2.0 / (double)fan_in)};
    return add_parameter(graph, layer, "weight", shape, init);
}

static const lmn_tensor *add_bias(lmn_graph *graph, const char *layer, const lmn_tensor *x,
                                  size_t n_out)
{
    const lmn_init init = {.kind = LMN_INIT_CONSTANT, .value = 0.0F};
    const lmn_shape shape = {.n_dims = 1, .dims = {n_out}};
    return lmn_add(graph, x, add_parameter(graph, layer, "bias", shape, init));
}

const lmn_tensor *lmn__dense(lmn_graph *graph, const char *layer, const lmn_tensor *x, size_t n_out)
{
    if (x == NULL) {
        return NULL;
    }
    const size_t n_in = lmn_tensor_shape(x)->dims[1];
    const lmn_shape shape = {.n_dims = 2, .dims = {n_in, n_out}};
    const lmn_tensor *weight = add_weight(graph, layer, shape, n_in);
    return add_bias(graph, layer, lmn_matmul(graph, x, weight, false, false), n_out);
}

const lmn_tensor *lmn__conv_plain(lmn_graph *graph, const char *layer, const lmn_tensor *x,
                                  size_t kernel, size_t n_out, lmn_window window)
{
    if (x == NULL) {
        return NULL;
    }
    const size_t channels = lmn_tensor_shape(x)->dims[3];
    const lmn_shape shape = {.n_dims = 4, .dims = {kernel, kernel, channels, n_out}};
    const lmn_tensor *weight = add_weight(graph, layer, shape, kernel * kernel * channels);
    return lmn_conv2d(graph, x, weight, window);
}

const lmn_tensor *lmn__conv(lmn_graph *graph, const char *layer, const lmn_tensor *x, size_t kernel,
                            size_t n_out, lmn_window window)
{
    const lmn_tensor *y = lmn__conv_plain(graph, layer, x, kernel, n_out, window);
    return y == NULL ? NULL : add_bias(graph, layer, y, n_out);
}

const lmn_tensor *lmn__linear(lmn_graph *graph, const char *layer, const lmn_tensor *x,
                              size_t n_out, double deviation, bool has_bias)
{
    if (x == NULL) {
        return NULL;
    }
    lmn_shape result = *lmn_tensor_shape(x);
    const size_t n_in = result.dims[result.n_dims - 1];
    const lmn_shape rows = {.n_dims = 2, .dims = {lmn_shape_count(&result) / n_in, n_in}};
    const lmn_shape shape = {.n_dims = 2, .dims = {n_in, n_out}};
    const lmn_init init = {.kind = LMN_INIT_NORMAL, .value = (float)deviation};
    const lmn_tensor *weight = add_parameter(graph, layer, "weight", shape, init);
    const lmn_tensor *y = lmn_matmul(graph, lmn_reshape(graph, x, rows), weight, false, false);
    if (has_bias) {
        y = add_bias(graph, layer, y, n_out);
    }
    result.dims[result.n_dims - 1] = n_out;
    return lmn_reshape(graph, y, result);
}

/* `scale` and `shift` of [channels]. */
static void add_affine(lmn_graph *graph, const char *layer, size_t channels,
                       const lmn_tensor **scale_out, const lmn_tensor **shift_out)
{
    const lmn_shape shape = {.n_dims = 1, .dims = {channels}};
    const lmn_init one = {.kind = LMN_INIT_CONSTANT, .value = 1.0F};
    const lmn_init zero = {.kind = LMN_INIT_CONSTANT, .value = 0.0F};
    *scale_out = add_parameter(graph, layer, "scale", shape, one);
    *shift_out = add_parameter(graph, layer, "shift", shape, zero);
}

/* Means 0 and variances 1, which follow batches at 0.1. */
static const lmn_tensor *add_statistics(lmn_graph *graph, const char *layer, size_t channels)
{
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "%s/statistics", layer);
    lmn_error err = lmn_error_none();
    float *start = lmn_alloc(2 * channels, sizeof *start, &err);
    if (start == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < channels; i++) {
        start[channels + i] = 1.0F;
    }
    const lmn_shape shape = {.n_dims = 2, .dims = {2, channels}};
    const lmn_tensor *statistics = lmn_statistic(graph, name, shape, start, 0.1F);
    lmn_free(start);
    return statistics;
}

const lmn_tensor *lmn__batch_norm(lmn_graph *graph, const char *layer, const lmn_tensor *x,
                                  const lmn__batch_norm_options *options)
{
    if (x == NULL) {
        return NULL;
    }
    const lmn_shape *shape = lmn_tensor_shape(x);
    const size_t channels = shape->dims[shape->n_dims - 1];
    const lmn_tensor *scale = NULL;
    const lmn_tensor *shift = NULL;
    add_affine(graph, layer, channels, &scale, &shift);
    const lmn_tensor *running = add_statistics(graph, layer, channels);
    const lmn_tensor *of_batch =
        lmn_batch_statistics(graph, x, options->weights, running, options->synchronised);
    lmn_statistic_follow(graph, running, of_batch);
    return lmn_batch_norm(graph, x, of_batch, scale, shift, NORM_EPSILON);
}

const lmn_tensor *lmn__layer_norm_layer(lmn_graph *graph, const char *layer, const lmn_tensor *x)
{
    if (x == NULL) {
        return NULL;
    }
    const lmn_shape *shape = lmn_tensor_shape(x);
    const lmn_tensor *scale = NULL;
    const lmn_tensor *shift = NULL;
    add_affine(graph, layer, shape->dims[shape->n_dims - 1], &scale, &shift);
    return lmn_layer_norm(graph, x, scale, shift, NORM_EPSILON);
}

const lmn_tensor *lmn__flatten(lmn_graph *graph, const lmn_tensor *x)
{
    if (x == NULL) {
        return NULL;
    }
    const lmn_shape *shape = lmn_tensor_shape(x);
    const size_t rows = shape->dims[0];
    const lmn_shape flat = {.n_dims = 2, .dims = {rows, lmn_shape_count(shape) / rows}};
    return lmn_reshape(graph, x, flat);
}

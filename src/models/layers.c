/*
 * Layers: parameters, their start values, and the ops that use them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "layers.h"

#include <math.h>
#include <stdio.h>

#define NAME_BYTES 64

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

const lmn_tensor *lmn__conv(lmn_graph *graph, const char *layer, const lmn_tensor *x, size_t kernel,
                            size_t n_out, lmn_window window)
{
    if (x == NULL) {
        return NULL;
    }
    const size_t channels = lmn_tensor_shape(x)->dims[3];
    const lmn_shape shape = {.n_dims = 4, .dims = {kernel, kernel, channels, n_out}};
    const lmn_tensor *weight = add_weight(graph, layer, shape, kernel * kernel * channels);
    return add_bias(graph, layer, lmn_conv2d(graph, x, weight, window), n_out);
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

/*
 * How a model's parameters are called and how they lie in PyTorch.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "weight_layout.h"

#include <stdio.h>
#include <string.h>

static const char folder[] = "/parameters/";

lmn_status weight_layout_parse(const char *text, weight_layout *layout_out, lmn_error *err)
{
    static const char *const names[] = {[LAYOUT_TORCH] = "torch", [LAYOUT_LAMINA] = "lamina"};
    for (size_t i = 0; i < 2; i++) {
        if (strcmp(text, names[i]) == 0) {
            *layout_out = (weight_layout)i;
            return LMN_OK;
        }
    }
    return lmn_spec_unknown("layout", text, names, 2, err);
}

static void add_loop(weight_view *view, uint64_t extent, uint64_t stride)
{
    view->extents[view->n_loops] = extent;
    view->strides[view->n_loops++] = stride;
    view->count *= extent;
}

static void add_dim(weight_view *view, uint64_t extent)
{
    view->dims[view->n_dims++] = extent;
}

static void add_both(weight_view *view, uint64_t extent, uint64_t stride)
{
    add_dim(view, extent);
    add_loop(view, extent, stride);
}

/* All elements in our order. */
static weight_view plain_view(const array_fact *array)
{
    weight_view view = {.count = 1};
    uint64_t count = 1;
    for (size_t i = 0; i < array->n_dims; i++) {
        add_dim(&view, array->dims[i]);
        count *= array->dims[i];
    }
    add_loop(&view, count, 1);
    return view;
}

/* The part of a path that names the layer: "stem/norm" of "/parameters/stem/norm/scale". */
static size_t layer_length(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash == NULL ? strlen(name) : (size_t)(slash - name);
}

/* What follows the layer; "" when the array is a layer of its own. */
static const char *last_word(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash == NULL ? "" : slash + 1;
}

/* "stem.norm" and the word, with the dots of PyTorch. */
static void set_name(weight_view *view, const char *name, const char *word)
{
    (void)snprintf(view->name, sizeof view->name, "%.*s.%s", (int)layer_length(name), name, word);
    for (char *sign = view->name; *sign != '\0'; sign++) {
        if (*sign == '/') {
            *sign = '.';
        }
    }
}

/* Channels of the images that a dense layer's input was flattened from; 0: of none. Where images
 * are NHWC its rows are (y, x, channel), where they are NCHW (channel, y, x). */
static uint64_t flattened_channels(const char *model, const char *name, const array_list *all)
{
    static const struct {
        const char *model, *dense, *convolution;
    } rules[] = {{"cnn", "dense1/weight", "/parameters/conv2/weight"}};
    const size_t model_length = strcspn(model, ":");
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const bool is_meant = strlen(rules[i].model) == model_length &&
                              strncmp(rules[i].model, model, model_length) == 0 &&
                              strcmp(rules[i].dense, name) == 0;
        for (size_t k = 0; is_meant && k < all->count; k++) {
            const array_fact *array = &all->items[k];
            if (strcmp(array->path, rules[i].convolution) == 0 && array->n_dims == 4) {
                return array->dims[3];
            }
        }
    }
    return 0;
}

/* [in, out] as [out, in]. */
static weight_view dense_view(const array_fact *array, uint64_t channels)
{
    weight_view view = {.count = 1};
    const uint64_t n_in = array->dims[0];
    const uint64_t n_out = array->dims[1];
    add_both(&view, n_out, 1);
    add_dim(&view, n_in);
    if (channels > 0 && n_in % channels == 0) {
        add_loop(&view, channels, n_out);
        add_loop(&view, n_in / channels, channels * n_out);
    } else {
        add_loop(&view, n_in, n_out);
    }
    return view;
}

/* [height, width, in, out] as [out, in, height, width]. */
static weight_view conv_view(const array_fact *array)
{
    weight_view view = {.count = 1};
    const uint64_t n_in = array->dims[2];
    const uint64_t n_out = array->dims[3];
    add_both(&view, n_out, 1);
    add_both(&view, n_in, n_out);
    add_both(&view, array->dims[0], array->dims[1] * n_in * n_out);
    add_both(&view, array->dims[1], n_in * n_out);
    return view;
}

/* Running means and variances, [2, channels]. */
static size_t statistics_views(const array_fact *array, const char *name,
                               weight_view views_out[VIEWS_OF_AN_ARRAY])
{
    static const char *const words[] = {"running_mean", "running_var"};
    for (size_t i = 0; i < VIEWS_OF_AN_ARRAY; i++) {
        views_out[i] = (weight_view){.count = 1, .base = i * array->dims[1]};
        add_both(&views_out[i], array->dims[1], 1);
        set_name(&views_out[i], name, words[i]);
    }
    return VIEWS_OF_AN_ARRAY;
}

static size_t torch_views(const char *model, const array_fact *array, const array_list *all,
                          weight_view views_out[VIEWS_OF_AN_ARRAY])
{
    const char *name = array->path + strlen(folder);
    const char *word = last_word(name);
    if (strcmp(word, "statistics") == 0 && array->n_dims == 2 && array->dims[0] == 2) {
        return statistics_views(array, name, views_out);
    }
    const bool is_weight = strcmp(word, "weight") == 0;
    if (is_weight && array->n_dims == 2) {
        views_out[0] = dense_view(array, flattened_channels(model, name, all));
    } else if (is_weight && array->n_dims == 4) {
        views_out[0] = conv_view(array);
    } else {
        views_out[0] = plain_view(array);
    }
    if (word[0] == '\0' || strcmp(word, "scale") == 0) {
        word = "weight"; /* of an embedding, of a norm */
    } else if (strcmp(word, "shift") == 0) {
        word = "bias";
    }
    set_name(&views_out[0], name, word);
    return 1;
}

size_t weight_layout_views(weight_layout layout, const char *model, const array_fact *array,
                           const array_list *all, weight_view views_out[VIEWS_OF_AN_ARRAY])
{
    if (layout == LAYOUT_TORCH) {
        return torch_views(model, array, all, views_out);
    }
    views_out[0] = plain_view(array);
    (void)snprintf(views_out[0].name, sizeof views_out[0].name, "%s", array->path + strlen(folder));
    return 1;
}

/* The place in our array of element `index` of the view. */
static uint64_t place_of(const weight_view *view, uint64_t index)
{
    uint64_t place = view->base;
    for (size_t i = view->n_loops; i-- > 0;) {
        place += index % view->extents[i] * view->strides[i];
        index /= view->extents[i];
    }
    return place;
}

void weight_view_gather(const weight_view *view, const float *ours, float *theirs)
{
    for (uint64_t i = 0; i < view->count; i++) {
        theirs[i] = ours[place_of(view, i)];
    }
}

void weight_view_scatter(const weight_view *view, const float *theirs, float *ours)
{
    for (uint64_t i = 0; i < view->count; i++) {
        ours[place_of(view, i)] = theirs[i];
    }
}

/*
 * How a model's parameters are called and how they lie in PyTorch.
 *
 * Lamina has dense weights as [in, out], convolutions as [height, width, in, out] and images as
 * NHWC; PyTorch has [out, in], [out, in, height, width] and NCHW. Every array of PyTorch is a view
 * of one of ours: the same numbers walked in another order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_WEIGHT_LAYOUT_H
#define LAMINA_APPS_WEIGHT_LAYOUT_H

#include "checkpoint_command.h"

#define VIEW_NAME_BYTES   512
#define VIEW_LOOPS_MAX    8
#define VIEWS_OF_AN_ARRAY 2

typedef enum weight_layout {
    LAYOUT_TORCH, /* names and shapes of PyTorch's modules */
    LAYOUT_LAMINA /* names and shapes of the checkpoint */
} weight_layout;

/** Errors: LMN_ERR_USAGE naming the choices. */
lmn_status weight_layout_parse(const char *text, weight_layout *layout_out,
                               lmn_error *err) LMN_NODISCARD;

/** One array of another framework: element (i, k, ...) of the loops is element
 *  base + i * strides[0] + k * strides[1] + ... of ours. */
typedef struct weight_view {
    char name[VIEW_NAME_BYTES];
    size_t n_dims;
    uint64_t dims[VIEW_LOOPS_MAX]; /* as the other framework has it */
    size_t n_loops;
    uint64_t extents[VIEW_LOOPS_MAX], strides[VIEW_LOOPS_MAX];
    uint64_t base;
    uint64_t count;
} weight_view;

/**
 * The arrays that one of /parameters/ becomes: one, or two for the statistics of a batch norm.
 * model  spec of the checkpoint
 * all    the checkpoint's parameters
 * Returns how many of views_out are filled.
 */
size_t weight_layout_views(weight_layout layout, const char *model, const array_fact *array,
                           const array_list *all, weight_view views_out[VIEWS_OF_AN_ARRAY]);

/** ours [all elements of the array] to theirs [view->count], and back. */
void weight_view_gather(const weight_view *view, const float *ours, float *theirs);
void weight_view_scatter(const weight_view *view, const float *theirs, float *ours);

#endif

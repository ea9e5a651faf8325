/*
 * Rows and slices: gather and scatter_add by indices, slice and pad along one axis.
 *
 * Each is linear, and each pair is one another's derivative.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ops_internal.h"

#include <string.h>

/* Elements behind axis `axis` of a shape. */
static size_t count_behind(const lmn_shape *shape, size_t axis)
{
    size_t count = 1;
    for (size_t i = axis + 1; i < shape->n_dims; i++) {
        count *= shape->dims[i];
    }
    return count;
}

static bool is_row(int32_t index, size_t n_rows)
{
    return index >= 0 && (size_t)index < n_rows;
}

static lmn_status run_gather(const lmn__node_run *node_run)
{
    const lmn_shape *table_shape = &node_run->node->inputs[0]->shape;
    const size_t width = count_behind(table_shape, 0);
    const size_t n = lmn_shape_count(&node_run->node->inputs[1]->shape);
    const float *table = node_run->inputs[0];
    const int32_t *indices = node_run->inputs[1];
    float *rows = node_run->output;
    for (size_t i = 0; i < n; i++) {
        if (is_row(indices[i], table_shape->dims[0])) {
            memcpy(rows + i * width, table + (size_t)indices[i] * width, width * sizeof *rows);
        } else {
            memset(rows + i * width, 0, width * sizeof *rows);
        }
    }
    return LMN_OK;
}

static const lmn_tensor *vjp_gather(lmn_graph *graph, const lmn_tensor *node,
                                    const lmn_tensor *grad, size_t input)
{
    const lmn_tensor *table = node->inputs[input];
    return lmn_scatter_add(graph, grad, node->inputs[1], table->shape.dims[0]);
}

static const lmn__op gather_op = {
    .name = "gather", .i32_inputs = 2U, .vjp = vjp_gather, .run = run_gather};

const lmn_tensor *lmn_gather(lmn_graph *graph, const lmn_tensor *table, const lmn_tensor *indices)
{
    const lmn_tensor *const inputs[] = {table, indices};
    if (!lmn__inputs_fit(graph, &gather_op, inputs, 2)) {
        return NULL;
    }
    const lmn_shape *rows = &indices->shape;
    if (table->shape.n_dims == 0 || rows->n_dims + table->shape.n_dims - 1 > LMN_DIMS_MAX) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "gather: rows of %s at indices %s: the table needs an axis of rows, "
                               "and the result may have %d axes",
                               lmn__shape_text(&table->shape).text, lmn__shape_text(rows).text,
                               LMN_DIMS_MAX);
    }
    lmn_shape shape = *rows;
    for (size_t i = 1; i < table->shape.n_dims; i++) {
        shape.dims[shape.n_dims++] = table->shape.dims[i];
    }
    return lmn__tensor_new(graph, &gather_op, inputs, 2, shape, LMN_F32, NULL);
}

static lmn_status run_scatter_add(const lmn__node_run *node_run)
{
    const lmn_shape *table_shape = &node_run->node->shape;
    const size_t width = count_behind(table_shape, 0);
    const size_t n = lmn_shape_count(&node_run->node->inputs[1]->shape);
    const float *rows = node_run->inputs[0];
    const int32_t *indices = node_run->inputs[1];
    float *table = node_run->output;
    memset(table, 0, lmn__tensor_bytes(node_run->node));
    for (size_t i = 0; i < n; i++) {
        if (!is_row(indices[i], table_shape->dims[0])) {
            continue;
        }
        const float *restrict from = rows + i * width;
        float *restrict to = table + (size_t)indices[i] * width;
#pragma omp simd
        for (size_t k = 0; k < width; k++) {
            to[k] += from[k];
        }
    }
    return LMN_OK;
}

static const lmn_tensor *vjp_scatter_add(lmn_graph *graph, const lmn_tensor *node,
                                         const lmn_tensor *grad, size_t input)
{
    (void)input;
    return lmn_gather(graph, grad, node->inputs[1]);
}

static const lmn__op scatter_add_op = {
    .name = "scatter_add", .i32_inputs = 2U, .vjp = vjp_scatter_add, .run = run_scatter_add};

const lmn_tensor *lmn_scatter_add(lmn_graph *graph, const lmn_tensor *rows,
                                  const lmn_tensor *indices, size_t n_rows)
{
    const lmn_tensor *const inputs[] = {rows, indices};
    if (!lmn__inputs_fit(graph, &scatter_add_op, inputs, 2)) {
        return NULL;
    }
    const size_t n_index_dims = indices->shape.n_dims;
    bool fits =
        rows->shape.n_dims >= n_index_dims && rows->shape.n_dims - n_index_dims < LMN_DIMS_MAX;
    for (size_t i = 0; i < n_index_dims && fits; i++) {
        fits = rows->shape.dims[i] == indices->shape.dims[i];
    }
    if (!fits) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "scatter_add: rows %s do not begin with the axes of the indices %s",
                               lmn__shape_text(&rows->shape).text,
                               lmn__shape_text(&indices->shape).text);
    }
    lmn_shape shape = {.n_dims = 1, .dims = {n_rows}};
    for (size_t i = n_index_dims; i < rows->shape.n_dims; i++) {
        shape.dims[shape.n_dims++] = rows->shape.dims[i];
    }
    return lmn__tensor_new(graph, &scatter_add_op, inputs, 2, shape, LMN_F32, NULL);
}

/* slice and pad: runs of `n` elements, `x_step` and `y_step` apart. */
static void copy_runs(size_t n_runs, size_t n, const float *x, size_t x_step, float *y,
                      size_t y_step)
{
    for (size_t i = 0; i < n_runs; i++) {
        memcpy(y + i * y_step, x + i * x_step, n * sizeof *y);
    }
}

static lmn_status run_slice(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const size_t axis = node->attributes.axis;
    const lmn_shape *x = &node->inputs[0]->shape;
    const size_t behind = count_behind(x, axis);
    const size_t n = node->shape.dims[axis] * behind;
    const float *values = node_run->inputs[0];
    copy_runs(lmn_shape_count(&node->shape) / n, n, values + node->attributes.first * behind,
              x->dims[axis] * behind, node_run->output, n);
    return LMN_OK;
}

static const lmn_tensor *vjp_slice(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                   size_t input)
{
    const size_t axis = node->attributes.axis;
    const size_t first = node->attributes.first;
    const size_t whole = node->inputs[input]->shape.dims[axis];
    return lmn_pad(graph, grad, axis, first, whole - first - node->shape.dims[axis]);
}

static const lmn__op slice_op = {.name = "slice", .vjp = vjp_slice, .run = run_slice};

const lmn_tensor *lmn_slice(lmn_graph *graph, const lmn_tensor *x, size_t axis, size_t first,
                            size_t count)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, &slice_op, inputs, 1)) {
        return NULL;
    }
    if (axis >= x->shape.n_dims || count == 0 || first >= x->shape.dims[axis] ||
        count > x->shape.dims[axis] - first) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "slice: there are no %zu elements from %zu on along axis %zu of %s",
                               count, first, axis, lmn__shape_text(&x->shape).text);
    }
    lmn_shape shape = x->shape;
    shape.dims[axis] = count;
    const lmn__attributes attributes = {.axis = axis, .first = first};
    return lmn__tensor_new(graph, &slice_op, inputs, 1, shape, LMN_F32, &attributes);
}

static lmn_status run_pad(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const size_t axis = node->attributes.axis;
    const lmn_shape *x = &node->inputs[0]->shape;
    const size_t behind = count_behind(x, axis);
    const size_t n = x->dims[axis] * behind;
    float *values = node_run->output;
    memset(values, 0, lmn__tensor_bytes(node));
    copy_runs(lmn_shape_count(x) / n, n, node_run->inputs[0], n,
              values + node->attributes.first * behind, node->shape.dims[axis] * behind);
    return LMN_OK;
}

static const lmn_tensor *vjp_pad(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                 size_t input)
{
    const size_t axis = node->attributes.axis;
    return lmn_slice(graph, grad, axis, node->attributes.first,
                     node->inputs[input]->shape.dims[axis]);
}

static const lmn__op pad_op = {.name = "pad", .vjp = vjp_pad, .run = run_pad};

const lmn_tensor *lmn_pad(lmn_graph *graph, const lmn_tensor *x, size_t axis, size_t before,
                          size_t after)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, &pad_op, inputs, 1)) {
        return NULL;
    }
    if (axis >= x->shape.n_dims || before > SIZE_MAX - after ||
        before + after > SIZE_MAX - x->shape.dims[axis]) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                               "pad: %zu and %zu zeros do not fit along axis %zu of %s", before,
                               after, axis, lmn__shape_text(&x->shape).text);
    }
    lmn_shape shape = x->shape;
    shape.dims[axis] += before + after;
    const lmn__attributes attributes = {.axis = axis, .first = before};
    return lmn__tensor_new(graph, &pad_op, inputs, 1, shape, LMN_F32, &attributes);
}

/* Written as a sum of padded parts: no kernel of its own. */
const lmn_tensor *lmn_concat(lmn_graph *graph, const lmn_tensor *const *parts, size_t n,
                             size_t axis)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        const bool is_missing = parts[i] == NULL;
        if (is_missing || axis >= parts[i]->shape.n_dims) {
            return is_missing ? NULL
                              : lmn__graph_fail(graph, LMN_ERR_SHAPE, "concat: %s has no axis %zu",
                                                lmn__shape_text(&parts[i]->shape).text, axis);
        }
        lmn_shape like_first = parts[i]->shape;
        like_first.dims[axis] = parts[0]->shape.dims[axis];
        if (!lmn_shape_equal(&like_first, &parts[0]->shape)) {
            return lmn__graph_fail(graph, LMN_ERR_SHAPE,
                                   "concat: %s and %s differ in more than axis %zu",
                                   lmn__shape_text(&parts[0]->shape).text,
                                   lmn__shape_text(&parts[i]->shape).text, axis);
        }
        total += parts[i]->shape.dims[axis];
    }
    const lmn_tensor *whole = NULL;
    size_t before = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t extent = parts[i]->shape.dims[axis];
        const lmn_tensor *part = lmn_pad(graph, parts[i], axis, before, total - before - extent);
        whole = whole == NULL ? part : lmn_add(graph, whole, part);
        before += extent;
    }
    return n > 0 ? whole : lmn__graph_fail(graph, LMN_ERR_ARGUMENT, "concat: there are no parts");
}

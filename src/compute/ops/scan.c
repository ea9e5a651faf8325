/*
 * Cumulative sums along one axis.
 *
 * The derivative of a sum from the front is a sum from the back, and the reverse.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ops_internal.h"

#include <string.h>

/* out [n, width] = sums of the rows of x up to each row; from the last row on when `reverse`. */
static void scan_rows(size_t n, size_t width, bool reverse, const float *x, float *out)
{
    for (size_t i = 0; i < n; i++) {
        const size_t row = reverse ? n - 1 - i : i;
        const size_t before = reverse ? row + 1 : row - 1;
        float *to = out + row * width;
        if (i == 0) {
            memmove(to, x + row * width, width * sizeof *to);
            continue;
        }
        for (size_t k = 0; k < width; k++) {
            to[k] = out[before * width + k] + x[row * width + k];
        }
    }
}

static lmn_status run_scan(const lmn__node_run *node_run)
{
    const lmn_tensor *node = node_run->node;
    const size_t axis = node->attributes.axis;
    size_t width = 1;
    for (size_t i = axis + 1; i < node->shape.n_dims; i++) {
        width *= node->shape.dims[i];
    }
    const size_t n = node->shape.dims[axis];
    const float *x = node_run->inputs[0];
    float *out = node_run->output;
    for (size_t i = 0; i < lmn_shape_count(&node->shape); i += n * width) {
        scan_rows(n, width, node->attributes.reverse, x + i, out + i);
    }
    return LMN_OK;
}

static const lmn_tensor *vjp_scan(lmn_graph *graph, const lmn_tensor *node, const lmn_tensor *grad,
                                  size_t input)
{
    (void)input;
    return lmn_cumulative_sum(graph, grad, node->attributes.axis, !node->attributes.reverse);
}

static const lmn__op scan_op = {.name = "cumulative_sum",
                                .vjp = vjp_scan,
                                .run = run_scan,
                                .may_overwrite = lmn__overwrites_first};

const lmn_tensor *lmn_cumulative_sum(lmn_graph *graph, const lmn_tensor *x, size_t axis,
                                     bool reverse)
{
    const lmn_tensor *const inputs[] = {x};
    if (!lmn__inputs_fit(graph, &scan_op, inputs, 1)) {
        return NULL;
    }
    if (axis >= x->shape.n_dims) {
        return lmn__graph_fail(graph, LMN_ERR_SHAPE, "cumulative_sum: %s has no axis %zu",
                               lmn__shape_text(&x->shape).text, axis);
    }
    const lmn__attributes attributes = {.axis = axis, .reverse = reverse};
    return lmn__tensor_new(graph, &scan_op, inputs, 1, x->shape, LMN_F32, &attributes);
}

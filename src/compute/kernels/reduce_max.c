/*
 * Maxima over any set of axes, and what derivatives need: the places of the maxima.
 *
 * Places are found anew by each kernel instead of being stored, so that an op has no hidden state.
 * NaN counts as larger than everything, so that a diverged run shows itself.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels_internal.h"

#include <math.h>
#include <string.h>

/* The axes of one kind: their extents and their strides in x. */
typedef struct axis_set {
    size_t n;
    size_t count; /* product of extents */
    size_t extents[LMN_DIMS_MAX];
    size_t strides[LMN_DIMS_MAX];
} axis_set;

static axis_set select_axes(const lmn_shape *shape, unsigned axes)
{
    axis_set set = {.count = 1};
    size_t stride = lmn_shape_count(shape);
    for (size_t axis = 0; axis < shape->n_dims; axis++) {
        stride /= shape->dims[axis];
        if ((axes >> axis & 1U) != 0) {
            set.extents[set.n] = shape->dims[axis];
            set.strides[set.n] = stride;
            set.count *= shape->dims[axis];
            set.n++;
        }
    }
    return set;
}

static size_t element_offset(const axis_set *set, size_t index)
{
    size_t offset = 0;
    for (size_t i = set->n; i-- > 0;) {
        offset += index % set->extents[i] * set->strides[i];
        index /= set->extents[i];
    }
    return offset;
}

/* Offset of the first maximum over `reduced`, counted from x. */
static size_t find_first_max(const axis_set *reduced, const float *x)
{
    size_t best = 0;
    for (size_t i = 1; i < reduced->count; i++) {
        const size_t offset = element_offset(reduced, i);
        if (x[offset] > x[best] || (isnan(x[offset]) && !isnan(x[best]))) {
            best = offset;
        }
    }
    return best;
}

void lmn__kernel_reduce_max(const lmn_shape *shape, unsigned axes, const float *x, float *out)
{
    lmn__kernel_reduce_max_pick(shape, axes, x, x, out);
}

void lmn__kernel_reduce_max_pick(const lmn_shape *shape, unsigned axes, const float *x,
                                 const float *z, float *out)
{
    const axis_set kept = select_axes(shape, ~axes);
    const axis_set reduced = select_axes(shape, axes);
    for (size_t i = 0; i < kept.count; i++) {
        const size_t base = element_offset(&kept, i);
        out[i] = z[base + find_first_max(&reduced, x + base)];
    }
}

void lmn__kernel_reduce_max_grad(const lmn_shape *shape, unsigned axes, const float *x,
                                 const float *dy, float *dx)
{
    const axis_set kept = select_axes(shape, ~axes);
    const axis_set reduced = select_axes(shape, axes);
    memset(dx, 0, lmn_shape_count(shape) * sizeof *dx);
    for (size_t i = 0; i < kept.count; i++) {
        const size_t base = element_offset(&kept, i);
        dx[base + find_first_max(&reduced, x + base)] = dy[i];
    }
}

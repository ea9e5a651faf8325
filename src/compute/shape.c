/*
 * Shapes: counts, equality, text, and the inference that ops share.
 *
 * A shape is a plain value that anyone may fill in, so every function here copes with too many axes
 * and zero extents; lmn__shape_is_valid is where they are refused.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compute_internal.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* More than any machine addresses, and so little that the sizes of a graph's tensors can be added.
 */
#define BYTES_MAX (SIZE_MAX / 65536)
static_assert(sizeof(size_t) >= 8, "sizes of tensors are counted in 64 bits");

/* The axes that are stored, also when n_dims claims more. */
static size_t stored_dims(const lmn_shape *shape)
{
    return shape->n_dims < LMN_DIMS_MAX ? shape->n_dims : LMN_DIMS_MAX;
}

lmn_shape lmn_shape_make(size_t n_dims, const size_t *dims)
{
    lmn_shape shape = {.n_dims = n_dims};
    for (size_t i = 0; i < stored_dims(&shape); i++) {
        shape.dims[i] = dims[i];
    }
    return shape;
}

size_t lmn_shape_count(const lmn_shape *shape)
{
    size_t count = 1;
    for (size_t i = 0; i < stored_dims(shape); i++) {
        count *= shape->dims[i];
    }
    return count;
}

bool lmn_shape_equal(const lmn_shape *a, const lmn_shape *b)
{
    bool equal = a->n_dims == b->n_dims;
    for (size_t i = 0; equal && i < stored_dims(a); i++) {
        equal = a->dims[i] == b->dims[i];
    }
    return equal;
}

/* Append to text that holds `used` characters; returns how many it holds then. */
static size_t append(char *text, size_t capacity, size_t used, const char *format, size_t value)
{
    char piece[32];
    const int length = snprintf(piece, sizeof piece, "%s%zu", format, value);
    if (length < 0 || used + (size_t)length >= capacity) {
        return used;
    }
    memcpy(text + used, piece, (size_t)length + 1);
    return used + (size_t)length;
}

void lmn_shape_format(const lmn_shape *shape, char *text, size_t capacity)
{
    if (capacity < sizeof "[]") {
        if (capacity > 0) {
            text[0] = '\0';
        }
        return;
    }
    /* One place stays free for the closing bracket. */
    size_t used = 1;
    memcpy(text, "[", sizeof "[");
    for (size_t i = 0; i < stored_dims(shape); i++) {
        used = append(text, capacity - 1, used, i == 0 ? "" : ", ", shape->dims[i]);
    }
    memcpy(text + used, "]", sizeof "]");
}

lmn__shape_string lmn__shape_text(const lmn_shape *shape)
{
    lmn__shape_string string = {""};
    lmn_shape_format(shape, string.text, sizeof string.text);
    return string;
}

bool lmn__shape_is_valid(const lmn_shape *shape)
{
    if (shape->n_dims > LMN_DIMS_MAX) {
        return false;
    }
    size_t room = BYTES_MAX / sizeof(float);
    for (size_t i = 0; i < shape->n_dims; i++) {
        if (shape->dims[i] == 0 || shape->dims[i] > room) {
            return false;
        }
        room /= shape->dims[i];
    }
    return true;
}

/* Extent of the axis that lies `from_end` places before the last, 1 where there is none. */
static size_t extent_from_end(const lmn_shape *shape, size_t from_end)
{
    return from_end < shape->n_dims ? shape->dims[shape->n_dims - 1 - from_end] : 1;
}

bool lmn__shape_broadcast(const lmn_shape *a, const lmn_shape *b, lmn_shape *shape_out)
{
    lmn_shape shape = {.n_dims = a->n_dims > b->n_dims ? a->n_dims : b->n_dims};
    for (size_t i = 0; i < shape.n_dims; i++) {
        const size_t extent_a = extent_from_end(a, i);
        const size_t extent_b = extent_from_end(b, i);
        if (extent_a != extent_b && extent_a != 1 && extent_b != 1) {
            return false;
        }
        shape.dims[shape.n_dims - 1 - i] = extent_a != 1 ? extent_a : extent_b;
    }
    *shape_out = shape;
    return true;
}

lmn_shape lmn__shape_reduce(const lmn_shape *shape, unsigned axes, bool keep)
{
    lmn_shape reduced = {0};
    for (size_t i = 0; i < shape->n_dims; i++) {
        const bool goes = (axes >> i & 1U) != 0;
        if (!goes || keep) {
            reduced.dims[reduced.n_dims] = goes ? 1 : shape->dims[i];
            reduced.n_dims++;
        }
    }
    return reduced;
}

size_t lmn__tensor_bytes(const lmn_tensor *tensor)
{
    return lmn_shape_count(&tensor->shape) * lmn_dtype_bytes(tensor->dtype);
}

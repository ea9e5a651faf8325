/*
 * Convolution as matrix products over patches.
 *
 * A weight [KH, KW, C, K] is, as it lies in memory, the matrix [KH * KW * C, K] that patches are
 * multiplied with. The patches of a whole batch would be KH * KW times the input, so they are made
 * for a few output lines at a time, in a workspace that stays in the second-level cache. Kernels of
 * one place with stride 1 and no padding need no patches: the input is the matrix.
 *
 * The number of lines in a block depends on shapes only, and so does the order of all sums.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conv_internal.h"

#include <limits.h>
#include <string.h>

/* Half of the second-level cache of current server cores: patches, next to a part of the result. */
static const size_t BLOCK_BYTES = (size_t)512 * 1024;

static bool is_pointwise(const lmn__conv *conv)
{
    const lmn_window *w = &conv->window;
    return conv->kh == 1 && conv->kw == 1 && w->stride_h == 1 && w->stride_w == 1 &&
           w->pad_top == 0 && w->pad_left == 0 && w->pad_bottom == 0 && w->pad_right == 0;
}

/* Output lines of one block: at least one, and never more places than BLAS can count. */
static size_t lines_per_block(const lmn__conv *conv)
{
    const size_t total = conv->batch * conv->oh;
    size_t lines = (size_t)INT_MAX / conv->ow;
    if (!is_pointwise(conv)) {
        const size_t line_bytes = conv->ow * lmn__conv_patch_count(conv) * sizeof(float);
        lines = BLOCK_BYTES / line_bytes;
    }
    if (lines == 0) {
        lines = 1;
    }
    return lines < total ? lines : total;
}

static size_t workspace_bytes(const lmn__conv *conv)
{
    if (is_pointwise(conv)) {
        return 0;
    }
    return lines_per_block(conv) * conv->ow * lmn__conv_patch_count(conv) * sizeof(float);
}

/* A block of consecutive output lines. */
typedef struct block {
    size_t first_line;
    size_t n_lines;
    size_t first_place; /* first_line * ow */
    size_t n_places;
} block;

static block make_block(const lmn__conv *conv, size_t first_line)
{
    const size_t total = conv->batch * conv->oh;
    const size_t lines = lines_per_block(conv);
    const size_t n_lines = total - first_line < lines ? total - first_line : lines;
    return (block){.first_line = first_line,
                   .n_lines = n_lines,
                   .first_place = first_line * conv->ow,
                   .n_places = n_lines * conv->ow};
}

/* The patches of a block as a matrix [n_places, patch]. */
static lmn__matrix block_patches(const lmn__conv *conv, const block *b, const float *x,
                                 float *workspace)
{
    const size_t patch = lmn__conv_patch_count(conv);
    if (is_pointwise(conv)) {
        return (lmn__matrix){.data = x + b->first_place * patch, .row_stride = patch};
    }
    lmn__im2col(conv, b->first_line, b->n_lines, x, workspace);
    return (lmn__matrix){.data = workspace, .row_stride = patch};
}

static void forward(const lmn__conv *conv, const lmn__conv_call *call)
{
    const lmn__matrix w = {.data = call->b, .row_stride = conv->k};
    const size_t total = conv->batch * conv->oh;
    for (size_t line = 0; line < total;) {
        const block b = make_block(conv, line);
        const lmn__matrix patches = block_patches(conv, &b, call->a, call->workspace);
        lmn__gemm(b.n_places, conv->k, lmn__conv_patch_count(conv), patches, w, false,
                  call->result + b.first_place * conv->k);
        lmn__conv_finish(call, b.first_place * conv->k, b.n_places * conv->k);
        line += b.n_lines;
    }
}

/* Patches overlap across blocks, so the result is not final before the last block. */
static void input_grad(const lmn__conv *conv, const lmn__conv_call *call)
{
    const lmn__matrix w = {.data = call->b, .row_stride = conv->k, .transposed = true};
    const size_t patch = lmn__conv_patch_count(conv);
    const size_t total = conv->batch * conv->oh;
    const size_t count = conv->batch * conv->h * conv->w * conv->c;
    const bool is_direct = is_pointwise(conv);
    if (!is_direct) {
        memset(call->result, 0, count * sizeof *call->result);
    }
    for (size_t line = 0; line < total;) {
        const block b = make_block(conv, line);
        const lmn__matrix grads = {.data = call->a + b.first_place * conv->k,
                                   .row_stride = conv->k};
        float *patches = is_direct ? call->result + b.first_place * patch : call->workspace;
        lmn__gemm(b.n_places, patch, conv->k, grads, w, false, patches);
        if (!is_direct) {
            lmn__col2im_add(conv, b.first_line, b.n_lines, patches, call->result);
        }
        line += b.n_lines;
    }
    lmn__conv_finish(call, 0, count);
}

static void weight_grad(const lmn__conv *conv, const lmn__conv_call *call)
{
    const size_t total = conv->batch * conv->oh;
    for (size_t line = 0; line < total;) {
        const block b = make_block(conv, line);
        const lmn__matrix grads = {.data = call->b + b.first_place * conv->k,
                                   .row_stride = conv->k};
        lmn__matrix patches = block_patches(conv, &b, call->a, call->workspace);
        patches.transposed = true;
        lmn__gemm(lmn__conv_patch_count(conv), conv->k, b.n_places, patches, grads, line > 0,
                  call->result);
        line += b.n_lines;
    }
}

static bool supports(const lmn__conv *conv, lmn__conv_direction direction)
{
    (void)conv;
    (void)direction;
    return true;
}

static lmn_status prepare(const lmn__conv *conv, lmn__conv_direction direction, void **state_out,
                          size_t *workspace_bytes_out, lmn_error *err)
{
    (void)direction;
    (void)err;
    *state_out = NULL;
    *workspace_bytes_out = workspace_bytes(conv);
    return LMN_OK;
}

static lmn_status run(const lmn__conv *conv, lmn__conv_direction direction, const void *state,
                      const lmn__conv_call *call, lmn_error *err)
{
    (void)state;
    (void)err;
    switch (direction) {
    case LMN__CONV_FORWARD:
        forward(conv, call);
        break;
    case LMN__CONV_INPUT_GRAD:
        input_grad(conv, call);
        break;
    case LMN__CONV_WEIGHT_GRAD:
    default:
        weight_grad(conv, call);
        break;
    }
    return LMN_OK;
}

const lmn__conv_backend lmn__conv_im2col = {
    .name = "im2col", .supports = supports, .prepare = prepare, .run = run};

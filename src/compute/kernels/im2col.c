/*
 * Patches of images as rows of a matrix, and back.
 *
 * In NHWC a kernel row sees kw * c neighbouring numbers, so a patch is kh runs and most of the work
 * is copying runs. Only at the left and right border is a run cut, and only above and below the
 * image is it missing; zeros stand there.
 *
 * Method: K. Chellapilla, S. Puri, P. Simard, "High performance convolutional neural networks for
 * document processing", IWFHR 2006.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels_internal.h"

#include <string.h>

size_t lmn__conv_patch_count(const lmn__conv *conv)
{
    return conv->kh * conv->kw * conv->c;
}

/* One kernel row over one output place: which part of it lies inside the image. */
typedef struct run {
    size_t skip;   /* elements of the run before the image begins */
    size_t count;  /* elements inside the image; 0 when there are none */
    size_t offset; /* of the first of these in the image's line */
} run;

static run find_run(const lmn__conv *conv, size_t place)
{
    const size_t left = conv->window.pad_left;
    const size_t begin = place * conv->window.stride_w; /* in columns of the padded image */
    const size_t end = begin + conv->kw;
    const size_t image_end = left + conv->w;
    const size_t seen_begin = begin < left ? left : begin;
    const size_t seen_end = end < image_end ? end : image_end;
    if (seen_begin >= seen_end) {
        return (run){0};
    }
    return (run){.skip = (seen_begin - begin) * conv->c,
                 .count = (seen_end - seen_begin) * conv->c,
                 .offset = (seen_begin - left) * conv->c};
}

/* The line of x under kernel row `kernel_row` of an output line, or NULL when it is padding. */
static const float *find_line(const lmn__conv *conv, size_t output_line, size_t kernel_row,
                              const float *x)
{
    const size_t image = output_line / conv->oh;
    const size_t padded = output_line % conv->oh * conv->window.stride_h + kernel_row;
    if (padded < conv->window.pad_top || padded - conv->window.pad_top >= conv->h) {
        return NULL;
    }
    return x + (image * conv->h + padded - conv->window.pad_top) * conv->w * conv->c;
}

/* Short runs, as of images with one channel, are not worth a call. */
static void copy_run(size_t n, const float *restrict from, float *restrict to)
{
    if (n >= 16) {
        memcpy(to, from, n * sizeof *to);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        to[i] = from[i];
    }
}

static void gather_run(const run *part, size_t width, const float *line, float *to)
{
    if (line == NULL || part->count < width) {
        memset(to, 0, width * sizeof *to);
    }
    if (line != NULL) {
        copy_run(part->count, line + part->offset, to + part->skip);
    }
}

void lmn__im2col(const lmn__conv *conv, size_t first_line, size_t n_lines, const float *x,
                 float *patches)
{
    const size_t width = conv->kw * conv->c;
    const size_t patch = lmn__conv_patch_count(conv);
    for (size_t line = 0; line < n_lines; line++) {
        float *rows = patches + line * conv->ow * patch;
        for (size_t kernel_row = 0; kernel_row < conv->kh; kernel_row++) {
            const float *from = find_line(conv, first_line + line, kernel_row, x);
            for (size_t place = 0; place < conv->ow; place++) {
                const run part = find_run(conv, place);
                gather_run(&part, width, from, rows + place * patch + kernel_row * width);
            }
        }
    }
}

static void add_run(size_t n, const float *restrict from, float *restrict to)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        to[i] += from[i];
    }
}

void lmn__col2im_add(const lmn__conv *conv, size_t first_line, size_t n_lines, const float *patches,
                     float *dx)
{
    const size_t width = conv->kw * conv->c;
    const size_t patch = lmn__conv_patch_count(conv);
    for (size_t line = 0; line < n_lines; line++) {
        const float *rows = patches + line * conv->ow * patch;
        for (size_t kernel_row = 0; kernel_row < conv->kh; kernel_row++) {
            const float *const found = find_line(conv, first_line + line, kernel_row, dx);
            if (found == NULL) {
                continue;
            }
            float *to = dx + (found - dx);
            for (size_t place = 0; place < conv->ow; place++) {
                const run part = find_run(conv, place);
                add_run(part.count, rows + place * patch + kernel_row * width + part.skip,
                        to + part.offset);
            }
        }
    }
}

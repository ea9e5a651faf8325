/*
 * Augmentation of images: shifting, mirroring, cutting out a square.
 *
 * Shifts with zeros from outside and mirroring as for CIFAR in K. He, X. Zhang, S. Ren, J. Sun,
 * "Deep residual learning for image recognition", CVPR 2016; squares as in T. DeVries, G. Taylor,
 * "Improved regularization of convolutional neural networks with cutout", arXiv:1708.04552, 2017.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/augment.h"

#include "lamina/random.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define PAD_MAX   4096
#define WORDS     8  /* of its stream that a sample may use */
#define LOW_BITS  31 /* of a sample's number that fit into a stream of 2^34 words */
#define WORD_SPAN 0x1p32

/* ---- choosing ---- */

static const lmn_spec_field crop_fields[] = {
    {.key = "pad",
     .type = LMN_SPEC_U64,
     .offset = offsetof(lmn_augment, pad),
     .min = 0,
     .max = PAD_MAX,
     .help = "shift by up to so many pixels each way; outside is 0 (default 4)"},
    {.key = "flip",
     .type = LMN_SPEC_F64,
     .offset = offsetof(lmn_augment, flip),
     .min = 0,
     .max = 1,
     .help = "probability of mirroring left and right (default 0.5)"},
    {.key = "cutout",
     .type = LMN_SPEC_F64,
     .offset = offsetof(lmn_augment, cutout),
     .min = 0,
     .max = 1,
     .help = "side of a square set to 0, as a fraction of the shorter side (default 0)"},
};

enum { ENTRY_NONE, ENTRY_CROP, ENTRY_COUNT };

static const lmn_spec_entry entries[ENTRY_COUNT] = {
    [ENTRY_NONE] = {.name = "none", .summary = "images as they are"},
    [ENTRY_CROP] = {.name = "crop",
                    .summary = "shifted, mirrored, with a square cut out",
                    .fields = crop_fields,
                    .n_fields = sizeof crop_fields / sizeof crop_fields[0]},
};

const lmn_spec_entry *lmn_augment_entry(size_t index)
{
    return index < ENTRY_COUNT ? &entries[index] : NULL;
}

lmn_status lmn_augment_parse(const char *spec, lmn_augment *augment_out, lmn_error *err)
{
    static const lmn_augment usual[ENTRY_COUNT] = {[ENTRY_CROP] = {.pad = 4, .flip = 0.5}};
    const char *const names[ENTRY_COUNT] = {entries[ENTRY_NONE].name, entries[ENTRY_CROP].name};
    char name[LMN_SPEC_NAME_BYTES];
    const lmn_status status = lmn_spec_name(spec, name, err);
    if (status != LMN_OK) {
        return status;
    }
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        if (strcmp(name, names[i]) == 0) {
            *augment_out = usual[i];
            return lmn_spec_parse("augmentation", spec, entries[i].fields, entries[i].n_fields,
                                  augment_out, err);
        }
    }
    return lmn_spec_unknown("augmentation", name, names, ENTRY_COUNT, err);
}

/* ---- applying ---- */

/* What is done to one image. */
typedef struct change {
    int64_t shift[2]; /* down and right, of the place that a pixel is taken from */
    bool is_mirrored;
    int64_t cut_first[2]; /* of the square: the first row and column, and those after the last */
    int64_t cut_end[2];
} change;

/* Uniform in 0 .. n - 1. */
static int64_t below(uint32_t word, uint64_t n)
{
    return (int64_t)(((uint64_t)word * n) >> 32);
}

static change draw(const lmn_augment *augment, uint64_t seed, uint64_t epoch, uint64_t sample,
                   const size_t dims[3])
{
    const lmn_stream stream = {.seed = seed,
                               .layer = (uint32_t)(sample >> LOW_BITS),
                               .step = (uint32_t)epoch,
                               .purpose = LMN_STREAM_AUGMENT,
                               .rank = LMN_STREAM_ALL_RANKS};
    const uint64_t low = sample & ((UINT64_C(1) << LOW_BITS) - 1);
    uint32_t words[WORDS];
    lmn_stream_u32(&stream, low * WORDS, WORDS, words);
    const size_t shorter = dims[0] < dims[1] ? dims[0] : dims[1];
    const int64_t side = (int64_t)lround(augment->cutout * (double)shorter);
    change drawn = {.is_mirrored = (double)words[2] < augment->flip * WORD_SPAN};
    for (size_t axis = 0; axis < 2; axis++) {
        drawn.shift[axis] = below(words[axis], 2 * augment->pad + 1) - (int64_t)augment->pad;
        drawn.cut_first[axis] = below(words[3 + axis], dims[axis]) - side / 2;
        drawn.cut_end[axis] = drawn.cut_first[axis] + side;
    }
    return drawn;
}

static void shift_row(const change *drawn, const size_t dims[3], const float *from, float *to)
{
    const int64_t width = (int64_t)dims[1];
    const size_t bytes = dims[2] * sizeof *to;
    for (int64_t x = 0; x < width; x++) {
        const int64_t source = (drawn->is_mirrored ? width - 1 - x : x) + drawn->shift[1];
        float *pixel = to + (size_t)x * dims[2];
        if (source >= 0 && source < width) {
            memcpy(pixel, from + (size_t)source * dims[2], bytes);
        } else {
            memset(pixel, 0, bytes);
        }
    }
}

static void cut_row(const change *drawn, const size_t dims[3], float *to)
{
    const int64_t width = (int64_t)dims[1];
    const int64_t first = drawn->cut_first[1] < 0 ? 0 : drawn->cut_first[1];
    const int64_t end = drawn->cut_end[1] > width ? width : drawn->cut_end[1];
    if (first < end) {
        memset(to + (size_t)first * dims[2], 0, (size_t)(end - first) * dims[2] * sizeof *to);
    }
}

void lmn_augment_apply(const lmn_augment *augment, uint64_t seed, uint64_t epoch, uint64_t sample,
                       const size_t dims[3], const float *from, float *to)
{
    const change drawn = draw(augment, seed, epoch, sample, dims);
    const int64_t height = (int64_t)dims[0];
    const size_t row = dims[1] * dims[2];
    for (int64_t y = 0; y < height; y++) {
        const int64_t source = y + drawn.shift[0];
        if (source >= 0 && source < height) {
            shift_row(&drawn, dims, from + (size_t)source * row, to + (size_t)y * row);
        } else {
            memset(to + (size_t)y * row, 0, row * sizeof *to);
        }
        if (y >= drawn.cut_first[0] && y < drawn.cut_end[0]) {
            cut_row(&drawn, dims, to + (size_t)y * row);
        }
    }
}

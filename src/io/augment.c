/*
 * Random shifts, mirrors and holes in images.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/augment.h"

#include "lamina/random.h"

#include <string.h>

static const lmn_spec_field crop_fields[] = {
    {.key = "pad",
     .type = LMN_SPEC_U64,
     .offset = offsetof(lmn_augment, pad),
     .max = 1024.0,
     .help = "pixels of the largest shift, each way; what comes from outside is 0 (4)"},
    {.key = "flip",
     .type = LMN_SPEC_F64,
     .offset = offsetof(lmn_augment, flip),
     .max = 1.0,
     .help = "probability of mirroring left and right (0.5)"},
    {.key = "cutout",
     .type = LMN_SPEC_F64,
     .offset = offsetof(lmn_augment, cutout),
     .max = 1.0,
     .help = "side of a square hole, as a fraction of the shorter side (0)"},
};

static const lmn_spec_entry entries[] = {
    {.name = "none", .summary = "images as they are"},
    {.name = "crop",
     .summary = "random shifts and mirrors, and a hole if wanted",
     .fields = crop_fields,
     .n_fields = sizeof crop_fields / sizeof crop_fields[0]}};

#define N_ENTRIES (sizeof entries / sizeof entries[0])

const lmn_spec_entry *lmn_augment_entry(size_t index)
{
    return index < N_ENTRIES ? &entries[index] : NULL;
}

lmn_status lmn_augment_parse(const char *spec, lmn_augment *augment_out, lmn_error *err)
{
    char name[LMN_SPEC_NAME_BYTES];
    lmn_status status = lmn_spec_name(spec, name, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "augmentation");
        return status;
    }
    const char *const known[] = {entries[0].name, entries[1].name};
    for (size_t i = 0; i < N_ENTRIES; i++) {
        if (strcmp(name, known[i]) == 0) {
            *augment_out = i == 0 ? (lmn_augment){0} : (lmn_augment){.pad = 4, .flip = 0.5};
            return lmn_spec_parse("augmentation", spec, entries[i].fields, entries[i].n_fields,
                                  augment_out, err);
        }
    }
    return lmn_spec_unknown("augmentation", name, known, N_ENTRIES, err);
}

bool lmn_augment_is_active(const lmn_augment *augment)
{
    return augment->pad > 0 || augment->flip > 0.0 || augment->cutout > 0.0;
}

/* Random words of one sample. */
enum { WORD_LINE, WORD_COLUMN, WORD_FLIP, WORD_HOLE_LINE, WORD_HOLE_COLUMN, N_WORDS = 8 };

/* Samples that share a sub-stream, so that any number of samples has streams. */
#define SAMPLES_PER_LAYER ((uint64_t)1 << 28)

static void draw_words(uint64_t seed, uint64_t epoch, uint64_t sample, uint32_t words[N_WORDS])
{
    const lmn_stream stream = {.seed = seed,
                               .layer = (uint32_t)(sample / SAMPLES_PER_LAYER),
                               .step = (uint32_t)epoch,
                               .purpose = LMN_STREAM_AUGMENT,
                               .rank = LMN_STREAM_ALL_RANKS};
    lmn_stream_u32(&stream, sample % SAMPLES_PER_LAYER * N_WORDS, N_WORDS, words);
}

/* One of 0 .. n - 1; n below 2^32. */
static uint64_t pick(uint32_t word, uint64_t n)
{
    return (uint64_t)word * n >> 32U;
}

static bool happens(uint32_t word, double probability)
{
    return (double)word < probability * 4294967296.0;
}

/* Places first .. first + count - 1 of an axis take those from `from` on; the others are empty. */
typedef struct overlap {
    size_t first, from, count;
} overlap;

/* An axis of `extent` places, moved by `shift`. */
static overlap find_overlap(size_t extent, int64_t shift)
{
    const size_t distance = (size_t)(shift < 0 ? -shift : shift);
    const size_t count = distance < extent ? extent - distance : 0;
    return (overlap){.first = shift > 0 ? extent - count : 0,
                     .from = shift < 0 ? extent - count : 0,
                     .count = count};
}

static void copy_line(const float *from, size_t width, size_t channels, overlap columns, bool flip,
                      float *to)
{
    memset(to, 0, columns.first * channels * sizeof *to);
    const size_t end = columns.first + columns.count;
    memset(to + end * channels, 0, (width - end) * channels * sizeof *to);
    for (size_t i = 0; i < columns.count; i++) {
        const size_t column = columns.from + i;
        const size_t source = flip ? width - 1 - column : column;
        memcpy(to + (columns.first + i) * channels, from + source * channels,
               channels * sizeof *to);
    }
}

/* The part of `extent` places around `centre` that a hole of `side` covers. */
static overlap find_hole(size_t extent, size_t centre, size_t side)
{
    const size_t first = centre < side / 2 ? 0 : centre - side / 2;
    const size_t end = centre + side - side / 2;
    return (overlap){.first = first, .count = (end < extent ? end : extent) - first};
}

static void cut_hole(const size_t dims[3], overlap lines, overlap columns, float *to)
{
    for (size_t i = lines.first; i < lines.first + lines.count; i++) {
        memset(to + (i * dims[1] + columns.first) * dims[2], 0,
               columns.count * dims[2] * sizeof *to);
    }
}

void lmn_augment_apply(const lmn_augment *augment, uint64_t seed, uint64_t epoch, uint64_t sample,
                       const size_t dims[3], const float *from, float *to)
{
    uint32_t words[N_WORDS];
    draw_words(seed, epoch, sample, words);
    const uint64_t shifts = 2 * augment->pad + 1;
    const int64_t pad = (int64_t)augment->pad;
    const overlap lines = find_overlap(dims[0], (int64_t)pick(words[WORD_LINE], shifts) - pad);
    const overlap columns = find_overlap(dims[1], (int64_t)pick(words[WORD_COLUMN], shifts) - pad);
    const bool flip = happens(words[WORD_FLIP], augment->flip);
    const size_t line_count = dims[1] * dims[2];
    for (size_t i = 0; i < dims[0]; i++) {
        float *line = to + i * line_count;
        if (i < lines.first || i >= lines.first + lines.count) {
            memset(line, 0, line_count * sizeof *line);
        } else {
            const float *source = from + (lines.from + i - lines.first) * line_count;
            copy_line(source, dims[1], dims[2], columns, flip, line);
        }
    }
    const size_t shorter = dims[0] < dims[1] ? dims[0] : dims[1];
    const size_t side = (size_t)(augment->cutout * (double)shorter + 0.5);
    if (side > 0) {
        cut_hole(dims, find_hole(dims[0], (size_t)pick(words[WORD_HOLE_LINE], dims[0]), side),
                 find_hole(dims[1], (size_t)pick(words[WORD_HOLE_COLUMN], dims[1]), side), to);
    }
}

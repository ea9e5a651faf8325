/*
 * Datasets of text: the tokens of each split in one piece, of which samples are windows.
 *
 * A window is fetched with the token after it, the target of its last one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_internal.h"
#include "files_internal.h"
#include "lamina/hash.h"
#include "lamina/memory.h"
#include "lamina/random.h"
#include "vocabulary_internal.h"

#include <inttypes.h>
#include <string.h>

#define USUAL_CONTEXT 128
#define MERGES_PATH   "/vocabulary/merges"

/* ---- opening ---- */

static lmn_status check_tokens(lmn__opening *open, const lmn__array *array, lmn_split split,
                               lmn_error *err)
{
    lmn_dataset_info *info = &open->dataset->info;
    const bool is_narrow = open->dataset->token_bytes == 1;
    if (array->shape.n_dims != 1 ||
        !lmn__array_is(array, is_narrow ? H5T_NATIVE_UINT8 : H5T_NATIVE_UINT16)) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' must be a list of %s in this machine's byte order, as the "
                             "vocabulary has %zu tokens",
                             array->path, is_narrow ? "u8" : "u16", info->n_classes);
    }
    info->text_tokens[split] = array->shape.dims[0];
    const lmn_status status = lmn__h5_read_u64(array->id, "bytes", &info->text_bytes[split], err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "'%s'", array->path);
        return status;
    }
    if (info->text_bytes[split] < info->text_tokens[split]) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' holds %" PRIu64 " tokens, which cannot stand for %" PRIu64
                             " bytes of text, as its attribute 'bytes' says",
                             array->path, info->text_tokens[split], info->text_bytes[split]);
    }
    return lmn__array_find(open, array, open->dataset->token_bytes,
                           &open->dataset->splits[split].offset, err);
}

static lmn_status load_split(lmn__opening *open, lmn_split split, lmn_error *err)
{
    lmn__array array = LMN__ARRAY_NONE;
    lmn_status status = lmn__array_open(open, split, "tokens", &array, err);
    if (status == LMN_OK) {
        status = check_tokens(open, &array, split, err);
    }
    if (status == LMN_OK) {
        lmn__array_hash(open, &array);
        /* Only whether there are any; windows are counted when both splits are known. */
        open->dataset->info.sample_count[split] = open->dataset->info.text_tokens[split];
    }
    lmn__array_close(&array);
    return status;
}

static lmn_status read_merges(const lmn__array *array, lmn_merge **merges_out, size_t *count_out,
                              lmn_error *err)
{
    const lmn__h5_shape *shape = &array->shape;
    if (!lmn__array_is_class(array, H5T_INTEGER) || shape->n_dims != 2 || shape->dims[1] != 2 ||
        shape->dims[0] > LMN_VOCABULARY_MAX) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' must hold integers [merges, 2], of at most %d merges",
                             array->path, LMN_VOCABULARY_MAX);
    }
    *count_out = (size_t)shape->dims[0];
    *merges_out = lmn_alloc(*count_out, sizeof **merges_out, err);
    if (*merges_out == NULL) {
        return LMN_ERR_MEMORY;
    }
    if (*count_out > 0 &&
        H5Dread(array->id, H5T_NATIVE_UINT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, *merges_out) < 0) {
        return lmn__h5_error(err, LMN_ERR_FORMAT, "cannot read '%s'", array->path);
    }
    return LMN_OK;
}

static lmn_status load_vocabulary(lmn__opening *open, lmn_error *err)
{
    lmn_merge *merges = NULL;
    size_t count = 0;
    lmn_status status = LMN_OK;
    if (lmn__h5_has_object(open->file, MERGES_PATH)) {
        lmn__array array = LMN__ARRAY_NONE;
        status = lmn__array_open_path(open, MERGES_PATH, &array, err);
        if (status == LMN_OK) {
            status = read_merges(&array, &merges, &count, err);
        }
        lmn__array_close(&array);
    }
    if (status == LMN_OK) {
        status = lmn_vocabulary_create(merges, count, &open->dataset->vocabulary, err);
        if (status != LMN_OK) {
            lmn_error_add_context(err, "'%s'", MERGES_PATH);
        }
    }
    lmn_free(merges);
    return status;
}

/* Windows of an epoch of training, wherever below `context` its first token is. */
static uint64_t count_shifted(uint64_t tokens, size_t context)
{
    return tokens < context ? 0 : tokens / context - 1;
}

/* Windows in file order. */
static uint64_t count_in_order(uint64_t tokens, size_t context)
{
    return tokens == 0 ? 0 : (tokens - 1) / context;
}

static void set_context(lmn_dataset *dataset, size_t context)
{
    static const char *const names[] = {"tokens", "targets"};
    lmn_dataset_info *info = &dataset->info;
    info->n_fields = 2;
    for (size_t i = 0; i < 2; i++) {
        info->fields[i] =
            (lmn_field){.name = names[i], .dtype = LMN_I32, .n_dims = 1, .dims = {context}};
    }
    const uint64_t *tokens = info->text_tokens;
    info->sample_count[LMN_SPLIT_TRAIN] = count_shifted(tokens[LMN_SPLIT_TRAIN], context);
    info->sample_count[LMN_SPLIT_TEST] = count_in_order(tokens[LMN_SPLIT_TEST], context);
    dataset->sample_values = context;
}

static lmn_status load(lmn__opening *open, lmn_error *err)
{
    lmn_dataset *dataset = open->dataset;
    lmn_status status = load_vocabulary(open, err);
    if (status == LMN_OK) {
        dataset->info.n_classes = lmn_vocabulary_size(dataset->vocabulary);
        dataset->token_bytes = dataset->info.n_classes == LMN__BYTE_TOKENS ? 1 : sizeof(uint16_t);
        status = lmn__dataset_load_splits(open, load_split, err);
    }
    const uint64_t tokens = dataset->info.text_tokens[LMN_SPLIT_TRAIN];
    if (status == LMN_OK && tokens < 3) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "'/train/tokens' holds %" PRIu64 " tokens; 3 are the least that "
                               "make two samples",
                               tokens);
    }
    if (status == LMN_OK) {
        const uint64_t longest = (tokens - 1) / 2;
        const uint64_t hash = lmn_vocabulary_hash(dataset->vocabulary);
        set_context(dataset, longest < USUAL_CONTEXT ? (size_t)longest : USUAL_CONTEXT);
        open->hash = lmn_hash64(&hash, sizeof hash, open->hash);
    }
    return status;
}

lmn_status lmn_dataset_set_context(lmn_dataset *dataset, size_t context, lmn_error *err)
{
    if (dataset->info.kind != LMN_DATASET_TEXT) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "'%s' holds no text", dataset->path);
    }
    const uint64_t tokens = dataset->info.text_tokens[LMN_SPLIT_TRAIN];
    if (context == 0 || (tokens - 1) / context < 2) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s' has %" PRIu64
                             " tokens to train with, and a context of %zu needs "
                             "two windows of them; a context here is from 1 to %" PRIu64,
                             dataset->path, tokens, context, (tokens - 1) / 2);
    }
    set_context(dataset, context);
    return LMN_OK;
}

const lmn_vocabulary *lmn_dataset_vocabulary(const lmn_dataset *dataset)
{
    return dataset->vocabulary;
}

/* ---- reading ---- */

static uint64_t count(const lmn_dataset *dataset, lmn_split split, bool shuffle)
{
    const uint64_t tokens = dataset->info.text_tokens[split];
    const size_t context = dataset->sample_values;
    return shuffle ? count_shifted(tokens, context) : count_in_order(tokens, context);
}

/* One window as stored. */
static size_t scratch_bytes(const lmn_dataset *dataset, size_t rows)
{
    (void)rows;
    return (dataset->sample_values + 1) * dataset->token_bytes;
}

static uint64_t first_token(const lmn_dataset *dataset, const lmn__rows *rows, size_t row)
{
    const size_t context = dataset->sample_values;
    uint64_t offset = 0;
    if (rows->shuffle) {
        const uint64_t epoch = rows->epochs[row];
        const lmn_stream stream = {.seed = rows->seed,
                                   .layer = (uint32_t)(epoch >> 32),
                                   .step = (uint32_t)epoch,
                                   .purpose = LMN_STREAM_SHUFFLE,
                                   .rank = LMN_STREAM_ALL_RANKS};
        uint32_t word = 0;
        lmn_stream_u32(&stream, 0, 1, &word);
        offset = word % context;
    }
    return offset + rows->samples[row] * context;
}

static int32_t token_at(const unsigned char *stored, size_t token_bytes, size_t i)
{
    uint16_t wide = 0;
    if (token_bytes == 1) {
        return stored[i];
    }
    memcpy(&wide, stored + i * sizeof wide, sizeof wide);
    return wide;
}

static lmn_status read_row(const lmn_dataset *dataset, const lmn__rows *rows, size_t row,
                           lmn_error *err)
{
    const size_t context = dataset->sample_values;
    const size_t bytes = dataset->token_bytes;
    const uint64_t first = first_token(dataset, rows, row);
    int32_t *tokens = (int32_t *)rows->fields[0] + row * context;
    int32_t *targets = (int32_t *)rows->fields[1] + row * context;
    const lmn_status status = lmn__file_read_at(dataset->fd, dataset->path,
                                                dataset->splits[rows->split].offset + first * bytes,
                                                rows->scratch, (context + 1) * bytes, err);
    for (size_t i = 0; status == LMN_OK && i <= context; i++) {
        const int32_t token = token_at(rows->scratch, bytes, i);
        if ((size_t)token >= dataset->info.n_classes) {
            return lmn_error_set(err, LMN_ERR_FORMAT,
                                 "'%s': '/%s/tokens' is %" PRId32 " at position %" PRIu64
                                 ", and the vocabulary has %zu tokens",
                                 dataset->path, lmn__split_name(rows->split), token, first + i,
                                 dataset->info.n_classes);
        }
        if (i < context) {
            tokens[i] = token;
        }
        if (i > 0) {
            targets[i - 1] = token;
        }
    }
    return status;
}

static lmn_status read_rows(const lmn_dataset *dataset, const lmn__rows *rows, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t row = 0; status == LMN_OK && row < rows->valid; row++) {
        status = read_row(dataset, rows, row, err);
    }
    int32_t *tokens = rows->fields[0];
    int32_t *targets = rows->fields[1];
    const size_t context = dataset->sample_values;
    for (size_t i = rows->valid * context; i < rows->count * context; i++) {
        tokens[i] = 0;
        targets[i] = -1;
    }
    return status;
}

const lmn__store lmn__store_text = {
    .load = load, .count = count, .scratch_bytes = scratch_bytes, .read = read_rows};

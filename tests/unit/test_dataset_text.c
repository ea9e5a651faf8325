/*
 * Datasets of text as a user may write them: windows in order and shuffled, and files that do not
 * fit together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_check.h"
#include "lamina/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_TOKENS 100
#define CONTEXT     8

/* Tokens 0 to 256: one merge. */
static hid_t write_pairs(const char *path)
{
    static const uint16_t tokens[] = {97, 256, 98, 256, 99, 100, 256, 97};
    static const uint32_t merges[1][2] = {{97, 98}};
    static const hsize_t dims[] = {1, 2};
    const uint64_t bytes = 11;
    const hid_t file = dataset_file_create(path, "text");
    dataset_file_put(file, "/vocabulary/merges", H5T_NATIVE_UINT32, 2, dims, merges);
    for (size_t split = 0; split < 2; split++) {
        dataset_put(file, split, "tokens", H5T_NATIVE_UINT16, 8, tokens);
    }
    dataset_file_set(file, "/train/tokens", "bytes", H5T_NATIVE_UINT64, &bytes);
    dataset_file_set(file, "/test/tokens", "bytes", H5T_NATIVE_UINT64, &bytes);
    return file;
}

static void random_bytes(unsigned char bytes[TEXT_TOKENS])
{
    const lmn_stream stream = {.seed = 5, .rank = LMN_STREAM_ALL_RANKS};
    uint32_t words[TEXT_TOKENS];
    lmn_stream_u32(&stream, 0, TEXT_TOKENS, words);
    for (size_t i = 0; i < TEXT_TOKENS; i++) {
        bytes[i] = (unsigned char)(words[i] >> 24);
    }
}

static lmn_dataset *load_bytes(const dataset_place *f, size_t context)
{
    unsigned char bytes[TEXT_TOKENS];
    random_bytes(bytes);
    text_dataset_write(f->path, bytes, TEXT_TOKENS, bytes, 30);
    lmn_dataset *dataset = dataset_load(f);
    if (context > 0) {
        assert_int_equal(lmn_dataset_set_context(dataset, context, NULL), LMN_OK);
    }
    return dataset;
}

/* Where a row of a batch begins in the text; fails when it is no window of it. */
static size_t find_window(const lmn_batch *batch, size_t row, size_t context)
{
    unsigned char bytes[TEXT_TOKENS];
    const int32_t *tokens = (const int32_t *)batch->fields[0] + row * context;
    const int32_t *after = (const int32_t *)batch->fields[1] + row * context;
    random_bytes(bytes);
    for (size_t first = 0; first + context < TEXT_TOKENS; first++) {
        bool is_same = true;
        for (size_t i = 0; i < context && is_same; i++) {
            is_same = tokens[i] == bytes[first + i] && after[i] == bytes[first + i + 1];
        }
        if (is_same) {
            return first;
        }
    }
    fail_msg("a row is no window of the text");
    return 0;
}

static void text_in_order_is_cut_into_windows(void **state)
{
    const dataset_place *f = *state;
    lmn_dataset *dataset = load_bytes(f, 0);
    const lmn_dataset_info *info = lmn_dataset_get_info(dataset);
    assert_int_equal(info->kind, LMN_DATASET_TEXT);
    assert_int_equal(info->n_classes, 256);
    assert_int_equal(info->text_tokens[LMN_SPLIT_TRAIN], TEXT_TOKENS);
    assert_int_equal(info->text_bytes[LMN_SPLIT_TEST], 30);
    assert_int_equal(lmn_vocabulary_size(lmn_dataset_vocabulary(dataset)), 256);
    /* 128 would be the usual one, but two windows must fit. */
    assert_int_equal(info->fields[0].dims[0], 49);
    assert_int_equal(info->sample_count[LMN_SPLIT_TRAIN], 1);
    assert_int_equal(info->sample_count[LMN_SPLIT_TEST], 0);
    assert_int_equal(lmn_dataset_set_context(dataset, CONTEXT, NULL), LMN_OK);
    assert_int_equal(info->sample_count[LMN_SPLIT_TRAIN], 11);
    assert_int_equal(info->sample_count[LMN_SPLIT_TEST], 3);
    lmn_reader *reader = dataset_read_in_order(dataset, 5);
    lmn_batch batch;
    for (size_t sample = 0; sample < 12; sample++) {
        if (sample % 5 == 0) {
            assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
        }
        assert_int_equal(find_window(&batch, sample % 5, CONTEXT), sample * CONTEXT);
    }
    assert_int_equal(batch.valid, 2);
    for (size_t i = (size_t)2 * CONTEXT; i < (size_t)5 * CONTEXT; i++) {
        assert_int_equal(((const int32_t *)batch.fields[0])[i], 0);
        assert_int_equal(((const int32_t *)batch.fields[1])[i], -1);
    }
    lmn_reader_destroy(reader);
    lmn_dataset_close(dataset);
}

/* Every epoch has each of its windows once, and begins somewhere else. */
static void text_shuffled_begins_elsewhere_in_every_epoch(void **state)
{
    const dataset_place *f = *state;
    enum { EPOCHS = 60, WINDOWS = 11 };
    lmn_dataset *dataset = load_bytes(f, CONTEXT);
    const lmn_reader_options options = {.split = LMN_SPLIT_TRAIN,
                                        .shuffle = true,
                                        .seed = 3,
                                        .global_batch = WINDOWS,
                                        .rank = 0,
                                        .size = 1,
                                        .read_ahead = 2};
    lmn_reader *reader = NULL;
    unsigned offsets[CONTEXT] = {0};
    assert_int_equal(lmn_reader_create(dataset, &options, &reader, NULL), LMN_OK);
    for (size_t epoch = 0; epoch < EPOCHS; epoch++) {
        lmn_batch batch;
        unsigned seen[WINDOWS] = {0};
        assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
        const size_t offset = find_window(&batch, 0, CONTEXT) % CONTEXT;
        offsets[offset]++;
        for (size_t i = 0; i < WINDOWS; i++) {
            const size_t first = find_window(&batch, i, CONTEXT);
            assert_int_equal(first % CONTEXT, offset);
            assert_in_range(first / CONTEXT, 0, WINDOWS - 1);
            seen[first / CONTEXT]++;
        }
        for (size_t i = 0; i < WINDOWS; i++) {
            assert_int_equal(seen[i], 1);
        }
    }
    for (size_t i = 0; i < CONTEXT; i++) {
        assert_in_range(offsets[i], 1, 20);
    }
    lmn_reader_destroy(reader);
    lmn_dataset_close(dataset);
}

static void text_context_that_leaves_no_two_windows_is_refused(void **state)
{
    const dataset_place *f = *state;
    lmn_dataset *dataset = load_bytes(f, CONTEXT);
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_dataset_set_context(dataset, 50, &err), LMN_ERR_ARGUMENT);
    dataset_said(f, &err, "a context here is from 1 to 49");
    assert_int_equal(lmn_dataset_set_context(dataset, 0, &err), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_dataset_get_info(dataset)->fields[0].dims[0], CONTEXT);
    /* The longest there can be, shuffled: one window, at any offset. */
    assert_int_equal(lmn_dataset_set_context(dataset, 49, NULL), LMN_OK);
    assert_int_equal(lmn__dataset_count(dataset, LMN_SPLIT_TRAIN, true), 1);
    const lmn_reader_options options = {.split = LMN_SPLIT_TRAIN,
                                        .global_batch = 1,
                                        .rank = 0,
                                        .size = 1,
                                        .read_ahead = 1,
                                        .augment = "crop"};
    lmn_reader *reader = NULL;
    assert_int_equal(lmn_reader_create(dataset, &options, &reader, &err), LMN_ERR_USAGE);
    dataset_said(f, &err, "'crop' changes images");
    assert_null(reader);
    lmn_dataset_close(dataset);
}

static void text_of_merges_has_wide_tokens(void **state)
{
    const dataset_place *f = *state;
    H5Fclose(write_pairs(f->path));
    lmn_dataset *dataset = dataset_load(f);
    assert_int_equal(lmn_dataset_get_info(dataset)->n_classes, 257);
    size_t bytes = 0;
    const unsigned char *text = lmn_vocabulary_token(lmn_dataset_vocabulary(dataset), 256, &bytes);
    assert_int_equal(bytes, 2);
    assert_memory_equal(text, "ab", 2);
    lmn_reader *reader = dataset_read_in_order(dataset, 2);
    lmn_batch batch;
    assert_int_equal(lmn_reader_next(reader, &batch, NULL), LMN_OK);
    static const int32_t tokens[] = {97, 256, 98, 256, 99, 100};
    static const int32_t after[] = {256, 98, 256, 99, 100, 256};
    assert_memory_equal(batch.fields[0], tokens, sizeof tokens);
    assert_memory_equal(batch.fields[1], after, sizeof after);
    lmn_reader_destroy(reader);
    lmn_dataset_close(dataset);
}

static void text_that_does_not_fit_is_refused(void **state)
{
    const dataset_place *f = *state;
    static const uint16_t tokens[] = {97, 256, 98, 256, 257, 100, 256, 97};
    static const uint32_t merges[] = {300, 98};
    static const hsize_t dims[] = {1, 2};
    const uint64_t few = 7;
    const uint64_t bytes = 11;
    hid_t file = write_pairs(f->path);
    dataset_put(file, 0, "tokens", H5T_NATIVE_UINT16, 8, tokens);
    dataset_load_fails(f, file, "'bytes' is missing");
    file = write_pairs(f->path);
    dataset_file_set(file, "/test/tokens", "bytes", H5T_NATIVE_UINT64, &few);
    dataset_load_fails(f, file, "'/test/tokens' holds 8 tokens, which cannot stand for 7 bytes");
    file = write_pairs(f->path);
    dataset_put(file, 0, "tokens", H5T_NATIVE_UINT8, 8, tokens);
    dataset_load_fails(f, file, "'/train/tokens' must be a list of u16");
    file = write_pairs(f->path);
    H5Ldelete(file, "/vocabulary/merges", H5P_DEFAULT);
    dataset_load_fails(f, file, "'/train/tokens' must be a list of u8");
    file = write_pairs(f->path);
    dataset_file_put_list(file, "/vocabulary/merges", H5T_NATIVE_UINT32, 2, merges);
    dataset_load_fails(f, file, "'/vocabulary/merges' must hold integers [merges, 2]");
    file = write_pairs(f->path);
    dataset_file_put(file, "/vocabulary/merges", H5T_NATIVE_UINT32, 2, dims, merges);
    dataset_load_fails(f, file, "'/vocabulary/merges'");
    file = write_pairs(f->path);
    dataset_put(file, 0, "tokens", H5T_NATIVE_UINT16, 2, tokens);
    dataset_file_set(file, "/train/tokens", "bytes", H5T_NATIVE_UINT64, &bytes);
    dataset_load_fails(f, file, "'/train/tokens' holds 2 tokens; 3 are the least");
    file = write_pairs(f->path);
    dataset_put(file, 0, "tokens", H5T_NATIVE_UINT16, 8, tokens);
    dataset_file_set(file, "/train/tokens", "bytes", H5T_NATIVE_UINT64, &bytes);
    dataset_read_fails(f, file, "'/train/tokens' is 257 at position 4");
}

static void text_truncated_is_refused(void **state)
{
    const dataset_place *f = *state;
    H5Fclose(write_pairs(f->path));
    dataset_truncated_fails(f);
}

int main(void)
{
#define CASE(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, dataset_place_create, dataset_place_destroy)
    const struct CMUnitTest tests[] = {
        CASE(text_in_order_is_cut_into_windows),
        CASE(text_shuffled_begins_elsewhere_in_every_epoch),
        CASE(text_context_that_leaves_no_two_windows_is_refused),
        CASE(text_of_merges_has_wide_tokens),
        CASE(text_that_does_not_fit_is_refused),
        CASE(text_truncated_is_refused),
    };
#undef CASE
    return cmocka_run_group_tests(tests, NULL, NULL);
}

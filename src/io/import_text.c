/*
 * Importing text into dataset.h5: a vocabulary, and the text in its tokens.
 *
 * Tokens are counted before they are written, because an array has its full shape from the start;
 * both passes encode the text in pieces of whole words.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dataset_output_internal.h"
#include "files_internal.h"
#include "lamina/memory.h"
#include "source_internal.h"
#include "vocabulary_internal.h"

#include <stdio.h>
#include <string.h>

#define FIRST_BYTES ((size_t)1 << 20)
#define PIECE_BYTES ((size_t)1 << 18)

/* A byte as "\xNN" takes this many characters. */
#define ESCAPED_BYTES 4

typedef struct text_import {
    const lmn_import_text_options *options; /* borrowed */
    size_t bytes, capacity;
    unsigned char *text; /* [bytes]; owned */
    size_t cut;          /* where the test part begins */
    lmn_vocabulary *vocabulary;
    int32_t *tokens; /* [PIECE_BYTES + LMN_VOCABULARY_WORD] of a piece */
    void *narrow;    /* the same as the file has them */
} text_import;

/* ---- the text ---- */

static lmn_status make_room(text_import *job, lmn_error *err)
{
    if (job->bytes < job->capacity) {
        return LMN_OK;
    }
    const size_t capacity = job->capacity == 0 ? FIRST_BYTES : 2 * job->capacity;
    unsigned char *text = lmn_alloc(capacity, 1, err);
    if (text == NULL) {
        return LMN_ERR_MEMORY;
    }
    if (job->bytes > 0) {
        memcpy(text, job->text, job->bytes);
    }
    lmn_free(job->text);
    job->text = text;
    job->capacity = capacity;
    return LMN_OK;
}

static lmn_status read_file(text_import *job, const char *path, lmn_error *err)
{
    lmn__source source = {0};
    lmn_status status = lmn__source_open(&source, path, err);
    for (size_t got = 1; status == LMN_OK && got > 0;) {
        status = make_room(job, err);
        if (status == LMN_OK) {
            const size_t room = job->capacity - job->bytes;
            status = lmn__source_read_some(&source, job->text + job->bytes,
                                           room < FIRST_BYTES ? room : FIRST_BYTES, &got, err);
            job->bytes += status == LMN_OK ? got : 0;
        }
    }
    lmn__source_close(&source);
    return status;
}

/* Where the test part begins: at the next start of a line, where one comes before the end. */
static size_t find_cut(const text_import *job)
{
    const double kept = (double)job->bytes * (1.0 - job->options->test_part);
    const size_t cut = (size_t)kept;
    if (cut == 0 || cut >= job->bytes) {
        return cut < job->bytes ? cut : job->bytes;
    }
    const unsigned char *end = memchr(job->text + cut - 1, '\n', job->bytes - cut);
    return end == NULL ? cut : (size_t)(end - job->text) + 1;
}

static lmn_status read_text(text_import *job, lmn_error *err)
{
    const lmn_import_text_options *options = job->options;
    if (!(options->test_part >= 0.0 && options->test_part < 1.0)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the part to test with is %g, but must be 0 or more and below 1",
                             options->test_part);
    }
    lmn_status status = options->n_files == 0
                            ? lmn_error_set(err, LMN_ERR_ARGUMENT, "no file of text is given")
                            : lmn_vocabulary_check(options->vocabulary, err);
    for (size_t i = 0; status == LMN_OK && i < options->n_files; i++) {
        status = read_file(job, options->files[i], err);
    }
    if (status != LMN_OK) {
        return status;
    }
    if (job->bytes == 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s'%s no text: there is nothing to import",
                             options->files[0],
                             options->n_files == 1 ? " holds" : " and the files after it hold");
    }
    job->cut = find_cut(job);
    if (job->cut == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s': of %zu bytes none are left to train with when a part of %g is "
                             "kept to test with",
                             options->files[0], job->bytes, options->test_part);
    }
    return LMN_OK;
}

/* ---- tokens ---- */

/* u8 or u16, as narrow as the vocabulary allows. */
static hid_t token_type(const text_import *job)
{
    return lmn_vocabulary_size(job->vocabulary) > LMN__BYTE_TOKENS ? H5T_NATIVE_UINT16
                                                                   : H5T_NATIVE_UINT8;
}

static void make_narrow(text_import *job, size_t n)
{
    const bool is_wide = lmn_vocabulary_size(job->vocabulary) > LMN__BYTE_TOKENS;
    for (size_t i = 0; i < n; i++) {
        if (is_wide) {
            ((uint16_t *)job->narrow)[i] = (uint16_t)job->tokens[i];
        } else {
            ((uint8_t *)job->narrow)[i] = (uint8_t)job->tokens[i];
        }
    }
}

/* Encode text [bytes] and write it into the array, or count only where there is none. */
static lmn_status encode(text_import *job, const unsigned char *text, size_t bytes,
                         lmn__output_array *array, uint64_t *count_out, lmn_error *err)
{
    lmn_status status = LMN_OK;
    *count_out = 0;
    for (size_t first = 0; first < bytes && status == LMN_OK;) {
        size_t end = first;
        while (end < bytes && end - first < PIECE_BYTES) {
            end = lmn__word_end(text, bytes, end);
        }
        const size_t n =
            lmn_vocabulary_encode(job->vocabulary, text + first, end - first, job->tokens);
        *count_out += n;
        if (array != NULL) {
            make_narrow(job, n);
            status = lmn__output_array_append(array, job->narrow, n, err);
        }
        first = end;
    }
    return status;
}

/* "kjv.txt", or "kjv.txt and 2 more" */
static lmn_status finish_array(const text_import *job, lmn__output_array *array, size_t bytes,
                               lmn_error *err)
{
    char source[LMN_PATH_BYTES];
    const lmn_import_text_options *options = job->options;
    lmn_status status =
        options->n_files == 1
            ? lmn__path_format(source, err, "%s", options->files[0])
            : lmn__path_format(source, err, "%s and %zu more", lmn__path_base(options->files[0]),
                               options->n_files - 1);
    if (status == LMN_OK) {
        status = lmn__output_array_end(array, source, err);
    }
    return status == LMN_OK ? lmn__h5_write_u64(array->dataset, "bytes", bytes, err) : status;
}

static lmn_status write_split(text_import *job, lmn__dataset_output *output, lmn_split split,
                              lmn_error *err)
{
    const size_t first = split == LMN_SPLIT_TRAIN ? 0 : job->cut;
    const size_t bytes = (split == LMN_SPLIT_TRAIN ? job->cut : job->bytes) - first;
    uint64_t count = 0;
    lmn_status status = encode(job, job->text + first, bytes, NULL, &count, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn__output_array array = LMN__OUTPUT_ARRAY_NONE;
    status = lmn__output_array_begin_list(&array, output, split, LMN__ARRAY_TOKENS, token_type(job),
                                          count, err);
    if (status == LMN_OK) {
        status = encode(job, job->text + first, bytes, &array, &count, err);
    }
    if (status == LMN_OK) {
        status = finish_array(job, &array, bytes, err);
    }
    lmn__output_array_close(&array);
    return status;
}

/* ---- the vocabulary ---- */

static lmn_status write_merges(const lmn_vocabulary *vocabulary, hid_t file, lmn_error *err)
{
    const lmn_merge *merges = lmn_vocabulary_merges(vocabulary);
    const size_t n = lmn_vocabulary_size(vocabulary) - LMN__BYTE_TOKENS;
    const lmn__h5_shape shape = {.n_dims = 2, .dims = {n, 2}};
    char checksum[LMN__CHECKSUM_TEXT_BYTES];
    lmn__checksum_text(lmn_vocabulary_hash(vocabulary), checksum);
    hid_t dataset = H5I_INVALID_HID;
    lmn_status status =
        lmn__h5_create_array(file, "/vocabulary/merges", H5T_STD_U32LE, &shape, "1", &dataset, err);
    if (status == LMN_OK &&
        H5Dwrite(dataset, H5T_NATIVE_UINT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, merges) < 0) {
        status = lmn__h5_error(err, LMN_ERR_IO, "cannot write the merges of the vocabulary");
    }
    if (status == LMN_OK) {
        status = lmn__h5_write_text(dataset, "description",
                                    "merge m joins two tokens to token 256 + m; merges are tried "
                                    "in this order",
                                    err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_write_text(dataset, "checksum_xxh3", checksum, err);
    }
    lmn__h5_close(dataset);
    return status;
}

/* Printable ASCII as it is, everything else escaped. text_out [ESCAPED_BYTES * bytes + 1] */
static void escape(const unsigned char *token, size_t bytes, char *text_out)
{
    char *to = text_out;
    for (size_t i = 0; i < bytes; i++) {
        if (token[i] == '\\' || token[i] < ' ' || token[i] > '~') {
            to += snprintf(to, ESCAPED_BYTES + 1, "\\x%02x", token[i]);
        } else {
            *to++ = (char)token[i];
        }
    }
    *to = '\0';
}

static lmn_status write_tokens(const lmn_vocabulary *vocabulary, hid_t file, lmn_error *err)
{
    enum { TEXT_BYTES = ESCAPED_BYTES * LMN_VOCABULARY_WORD + 1 };
    const size_t n = lmn_vocabulary_size(vocabulary);
    const char **texts = lmn_alloc(n, sizeof *texts, err);
    char *memory = lmn_alloc(n, TEXT_BYTES, err);
    lmn_status status = texts == NULL || memory == NULL ? LMN_ERR_MEMORY : LMN_OK;
    for (size_t token = 0; token < n && status == LMN_OK; token++) {
        size_t bytes = 0;
        const unsigned char *spelling = lmn_vocabulary_token(vocabulary, token, &bytes);
        escape(spelling, bytes, memory + token * TEXT_BYTES);
        texts[token] = memory + token * TEXT_BYTES;
    }
    if (status == LMN_OK) {
        status = lmn__h5_write_texts(file, "/vocabulary/tokens", texts, n, err);
    }
    lmn_free(memory);
    lmn_free((void *)texts);
    return status;
}

static lmn_status fill(void *user, lmn__dataset_output *output, lmn_error *err)
{
    text_import *job = user;
    lmn_status status = write_split(job, output, LMN_SPLIT_TRAIN, err);
    if (status == LMN_OK && job->cut < job->bytes) {
        status = write_split(job, output, LMN_SPLIT_TEST, err);
    }
    if (status == LMN_OK && lmn_vocabulary_size(job->vocabulary) > LMN__BYTE_TOKENS) {
        status = write_merges(job->vocabulary, output->h5.file, err);
        if (status == LMN_OK) {
            status = write_tokens(job->vocabulary, output->h5.file, err);
        }
    }
    return status;
}

lmn_status lmn_import_text(const lmn_import_text_options *options, const char *output,
                           lmn_error *err)
{
    const size_t piece = PIECE_BYTES + LMN_VOCABULARY_WORD;
    const lmn_import_common common = {.title = options->title};
    text_import job = {.options = options};
    job.tokens = lmn_alloc(piece, sizeof *job.tokens, err);
    job.narrow = lmn_alloc(piece, sizeof(uint16_t), err);
    lmn_status status = job.tokens == NULL || job.narrow == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        status = read_text(&job, err);
    }
    if (status == LMN_OK) {
        status = lmn_vocabulary_make(options->vocabulary, job.text, job.cut, &job.vocabulary, err);
    }
    if (status == LMN_OK) {
        status = lmn__dataset_output_write(output, "text", &common, fill, &job, err);
    }
    lmn_vocabulary_destroy(job.vocabulary);
    lmn_free(job.text);
    lmn_free(job.tokens);
    lmn_free(job.narrow);
    return status;
}

/*
 * A vocabulary at work: encoding, and what each token stands for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/vocabulary.h"

#include "lamina/hash.h"
#include "lamina/memory.h"
#include "vocabulary_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

struct lmn_vocabulary {
    size_t n_merges;
    lmn_merge *merges;    /* [n_merges] */
    size_t *starts;       /* [size + 1] of each token in bytes */
    unsigned char *bytes; /* of all tokens, one after the other */
    lmn__pair_map ranks;  /* from a pair to its merge */
};

/* How many bytes token `token` has, of those whose starts are known. */
static size_t token_bytes(const lmn_vocabulary *vocabulary, size_t token)
{
    return vocabulary->starts[token + 1] - vocabulary->starts[token];
}

static lmn_status check_merge(const lmn_vocabulary *vocabulary, size_t m, lmn_error *err)
{
    const lmn_merge merge = vocabulary->merges[m];
    const size_t token = LMN__BYTE_TOKENS + m;
    if (merge.first >= token || merge.second >= token) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "vocabulary: merge %zu joins tokens %" PRIu32 " and %" PRIu32
                             ", but only tokens below %zu come before it",
                             m, merge.first, merge.second, token);
    }
    const uint32_t earlier = lmn__pair_map_find(&vocabulary->ranks, merge);
    if (earlier != LMN__NO_PAIR) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "vocabulary: merge %zu joins the tokens of merge %" PRIu32 " again", m,
                             earlier);
    }
    if (token_bytes(vocabulary, merge.first) + token_bytes(vocabulary, merge.second) >
        LMN_VOCABULARY_WORD) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "vocabulary: merge %zu makes a token of more than %d bytes", m,
                             LMN_VOCABULARY_WORD);
    }
    return LMN_OK;
}

/* Lengths of all tokens, and the map of merges. */
static lmn_status add_merges(lmn_vocabulary *vocabulary, lmn_error *err)
{
    size_t *starts = vocabulary->starts;
    for (size_t token = 0; token < LMN__BYTE_TOKENS; token++) {
        starts[token + 1] = token + 1;
    }
    for (size_t m = 0; m < vocabulary->n_merges; m++) {
        const lmn_merge merge = vocabulary->merges[m];
        lmn_status status = check_merge(vocabulary, m, err);
        if (status == LMN_OK) {
            status = lmn__pair_map_add(&vocabulary->ranks, merge, (uint32_t)m, err);
        }
        if (status != LMN_OK) {
            return status;
        }
        starts[LMN__BYTE_TOKENS + m + 1] = starts[LMN__BYTE_TOKENS + m] +
                                           token_bytes(vocabulary, merge.first) +
                                           token_bytes(vocabulary, merge.second);
    }
    return LMN_OK;
}

static lmn_status spell(lmn_vocabulary *vocabulary, lmn_error *err)
{
    const size_t size = lmn_vocabulary_size(vocabulary);
    const size_t *starts = vocabulary->starts;
    unsigned char *bytes = lmn_alloc(starts[size], 1, err);
    if (bytes == NULL) {
        return LMN_ERR_MEMORY;
    }
    vocabulary->bytes = bytes;
    for (size_t token = 0; token < LMN__BYTE_TOKENS; token++) {
        bytes[token] = (unsigned char)token;
    }
    for (size_t token = LMN__BYTE_TOKENS; token < size; token++) {
        const lmn_merge merge = vocabulary->merges[token - LMN__BYTE_TOKENS];
        const size_t n_first = token_bytes(vocabulary, merge.first);
        memcpy(bytes + starts[token], bytes + starts[merge.first], n_first);
        memcpy(bytes + starts[token] + n_first, bytes + starts[merge.second],
               token_bytes(vocabulary, merge.second));
    }
    return LMN_OK;
}

lmn_status lmn_vocabulary_create(const lmn_merge *merges, size_t n_merges,
                                 lmn_vocabulary **vocabulary_out, lmn_error *err)
{
    if (n_merges > LMN_VOCABULARY_MAX - LMN__BYTE_TOKENS) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "vocabulary: %zu merges are too many; at most %d tokens can be had",
                             n_merges, LMN_VOCABULARY_MAX);
    }
    lmn_vocabulary *vocabulary = lmn_alloc(1, sizeof *vocabulary, err);
    if (vocabulary == NULL) {
        return LMN_ERR_MEMORY;
    }
    vocabulary->n_merges = n_merges;
    vocabulary->merges = lmn_alloc(n_merges, sizeof *merges, err);
    vocabulary->starts =
        lmn_alloc(LMN__BYTE_TOKENS + n_merges + 1, sizeof *vocabulary->starts, err);
    lmn_status status =
        vocabulary->merges == NULL || vocabulary->starts == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK && n_merges > 0) {
        memcpy(vocabulary->merges, merges, n_merges * sizeof *merges);
    }
    if (status == LMN_OK) {
        status = add_merges(vocabulary, err);
    }
    if (status == LMN_OK) {
        status = spell(vocabulary, err);
    }
    if (status != LMN_OK) {
        lmn_vocabulary_destroy(vocabulary);
        return status;
    }
    *vocabulary_out = vocabulary;
    return LMN_OK;
}

void lmn_vocabulary_destroy(lmn_vocabulary *vocabulary)
{
    if (vocabulary == NULL) {
        return;
    }
    lmn__pair_map_destroy(&vocabulary->ranks);
    lmn_free(vocabulary->bytes);
    lmn_free(vocabulary->starts);
    lmn_free(vocabulary->merges);
    lmn_free(vocabulary);
}

size_t lmn_vocabulary_size(const lmn_vocabulary *vocabulary)
{
    return LMN__BYTE_TOKENS + vocabulary->n_merges;
}

uint64_t lmn_vocabulary_hash(const lmn_vocabulary *vocabulary)
{
    return lmn_hash64(vocabulary->merges, vocabulary->n_merges * sizeof *vocabulary->merges, 0);
}

const lmn_merge *lmn_vocabulary_merges(const lmn_vocabulary *vocabulary)
{
    return vocabulary->merges;
}

const unsigned char *lmn_vocabulary_token(const lmn_vocabulary *vocabulary, size_t token,
                                          size_t *bytes_out)
{
    assert(token < lmn_vocabulary_size(vocabulary));
    *bytes_out = token_bytes(vocabulary, token);
    return vocabulary->bytes + vocabulary->starts[token];
}

static uint32_t rank_of(const lmn_vocabulary *vocabulary, const int32_t *tokens)
{
    const lmn_merge pair = {(uint32_t)tokens[0], (uint32_t)tokens[1]};
    return lmn__pair_map_find(&vocabulary->ranks, pair);
}

/* The leftmost of the earliest merges among ranks [n]. */
static size_t find_earliest(const uint32_t *ranks, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = ranks[i] < ranks[best] ? i : best;
    }
    return best;
}

/* tokens [n] in place, one word; returns how many are left. */
static size_t merge_word(const lmn_vocabulary *vocabulary, int32_t *tokens, size_t n)
{
    uint32_t ranks[LMN_VOCABULARY_WORD];
    for (size_t i = 0; i + 1 < n; i++) {
        ranks[i] = rank_of(vocabulary, tokens + i);
    }
    while (n > 1) {
        const size_t at = find_earliest(ranks, n - 1);
        if (ranks[at] == LMN__NO_PAIR) {
            break;
        }
        tokens[at] = (int32_t)(LMN__BYTE_TOKENS + ranks[at]);
        n--;
        memmove(tokens + at + 1, tokens + at + 2, (n - at - 1) * sizeof *tokens);
        memmove(ranks + at, ranks + at + 1, (n - at - 1) * sizeof *ranks);
        if (at > 0) {
            ranks[at - 1] = rank_of(vocabulary, tokens + at - 1);
        }
        if (at + 1 < n) {
            ranks[at] = rank_of(vocabulary, tokens + at);
        }
    }
    return n;
}

size_t lmn_vocabulary_encode(const lmn_vocabulary *vocabulary, const unsigned char *text,
                             size_t bytes, int32_t *tokens)
{
    size_t n = 0;
    for (size_t first = 0; first < bytes;) {
        const size_t end = lmn__word_end(text, bytes, first);
        for (size_t i = first; i < end; i++) {
            tokens[n + i - first] = text[i];
        }
        n += merge_word(vocabulary, tokens + n, end - first);
        first = end;
    }
    return n;
}

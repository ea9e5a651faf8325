/*
 * Vocabularies: texts small enough to work out by hand, a trainer that recounts everything at
 * every merge, an encoder that merges whole words rank by rank, and random bytes that come back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/random.h"
#include "lamina/vocabulary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_BYTES 3000
#define MERGES     200

static lmn_vocabulary *train(const char *text, size_t bytes, size_t size)
{
    lmn_vocabulary *vocabulary = NULL;
    lmn_error err = lmn_error_none();
    if (lmn_vocabulary_train((const unsigned char *)text, bytes, size, &vocabulary, &err) !=
        LMN_OK) {
        fail_msg("%s", err.message);
    }
    return vocabulary;
}

static void assert_merges(const lmn_vocabulary *vocabulary, const lmn_merge *merges, size_t n)
{
    assert_int_equal(lmn_vocabulary_size(vocabulary), 256 + n);
    for (size_t i = 0; i < n; i++) {
        const lmn_merge merge = lmn_vocabulary_merges(vocabulary)[i];
        if (merge.first != merges[i].first || merge.second != merges[i].second) {
            fail_msg("merge %zu is of %u and %u, not %u and %u", i, merge.first, merge.second,
                     merges[i].first, merges[i].second);
        }
    }
}

static void train_small_text_merges_most_frequent_first(void **state)
{
    (void)state;
    /* Words: "abab", " abc" twice, " ab", " abab": ab occurs 7 times, then " "+ab 4 times. */
    const char *text = "abab abc abc ab abab";
    lmn_vocabulary *vocabulary = train(text, strlen(text), 260);
    /* Then " ab"+c twice, and after that nothing. */
    const lmn_merge merges[] = {{'a', 'b'}, {' ', 256}, {257, 'c'}};
    assert_merges(vocabulary, merges, 3);
    lmn_vocabulary_destroy(vocabulary);
}

static void train_equally_frequent_pairs_merges_lowest_tokens_first(void **state)
{
    (void)state;
    /* " b", "ba" and "zy" occur 3 times; after " b" is one token, " b"+a and zy. */
    const char *text = "zy zy ba ba zy ba";
    lmn_vocabulary *vocabulary = train(text, strlen(text), 258);
    const lmn_merge merges[] = {{' ', 'b'}, {'z', 'y'}};
    assert_merges(vocabulary, merges, 2);
    lmn_vocabulary_destroy(vocabulary);
}

static void train_nothing_occurring_twice_stops_early(void **state)
{
    (void)state;
    lmn_vocabulary *vocabulary = train("abcdefg", 7, 1000);
    assert_int_equal(lmn_vocabulary_size(vocabulary), 256);
    lmn_vocabulary_destroy(vocabulary);
    vocabulary = train("", 0, 300);
    assert_int_equal(lmn_vocabulary_size(vocabulary), 256);
    lmn_vocabulary_destroy(vocabulary);
}

static void train_run_of_one_sign_halves_from_the_left(void **state)
{
    (void)state;
    /* aaaaaa: aa 5 times; then xxx, xx twice; then y x: once. */
    lmn_vocabulary *vocabulary = train("aaaaaa", 6, 300);
    const lmn_merge merges[] = {{'a', 'a'}, {256, 256}};
    assert_merges(vocabulary, merges, 2);
    int32_t tokens[6];
    assert_int_equal(lmn_vocabulary_encode(vocabulary, (const unsigned char *)"aaaaaa", 6, tokens),
                     2);
    assert_int_equal(tokens[0], 257);
    assert_int_equal(tokens[1], 256);
    lmn_vocabulary_destroy(vocabulary);
}

static void train_size_out_of_range_is_refused(void **state)
{
    (void)state;
    lmn_vocabulary *vocabulary = NULL;
    const unsigned char text[] = "text";
    assert_int_equal(lmn_vocabulary_train(text, 4, 255, &vocabulary, NULL), LMN_ERR_ARGUMENT);
    assert_int_equal(lmn_vocabulary_train(text, 4, LMN_VOCABULARY_MAX + 1, &vocabulary, NULL),
                     LMN_ERR_ARGUMENT);
    assert_null(vocabulary);
}

/* Words as the header defines them, independently written. */
static int sign_class(unsigned char c)
{
    if (c == ' ' || (c >= 9 && c <= 13)) {
        return 0;
    }
    if (c >= 128 || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
        return 1;
    }
    return c >= '0' && c <= '9' ? 2 : 3;
}

static bool begins_word(const unsigned char *text, size_t bytes, size_t i, size_t word_begin)
{
    if (i == 0 || i - word_begin == LMN_VOCABULARY_WORD) {
        return true;
    }
    const int before = sign_class(text[i - 1]);
    const int here = sign_class(text[i]);
    if (before == 0 && here == 0) {
        return i + 1 < bytes && sign_class(text[i + 1]) != 0; /* the last blank of a run */
    }
    if (before == 0) {
        return false; /* the blank belongs to what follows */
    }
    return before != here;
}

/* A text as tokens, with what separates words between them. */
typedef struct brute {
    size_t n;
    int32_t tokens[2 * TEXT_BYTES]; /* -1: a word begins */
} brute;

static void brute_read(brute *b, const unsigned char *text, size_t bytes)
{
    size_t word_begin = 0;
    b->n = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (begins_word(text, bytes, i, word_begin)) {
            word_begin = i;
            b->tokens[b->n++] = -1;
        }
        b->tokens[b->n++] = text[i];
    }
}

static size_t brute_count(const brute *b, int32_t first, int32_t second)
{
    size_t count = 0;
    for (size_t i = 0; i + 1 < b->n; i++) {
        count += b->tokens[i] == first && b->tokens[i + 1] == second ? 1 : 0;
    }
    return count;
}

static void brute_merge(brute *b, lmn_merge pair, int32_t token)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (i + 1 < b->n && b->tokens[i] == (int32_t)pair.first &&
            b->tokens[i + 1] == (int32_t)pair.second) {
            b->tokens[kept++] = token;
            i++;
        } else {
            b->tokens[kept++] = b->tokens[i];
        }
    }
    b->n = kept;
}

/* The pair to merge next by recounting all that occur; its count. */
static size_t brute_best(const brute *b, lmn_merge *best)
{
    size_t most = 0;
    for (size_t i = 0; i + 1 < b->n; i++) {
        const int32_t first = b->tokens[i];
        const int32_t second = b->tokens[i + 1];
        if (first < 0 || second < 0) {
            continue;
        }
        const size_t count = brute_count(b, first, second);
        const bool is_lower = (uint32_t)first < best->first ||
                              ((uint32_t)first == best->first && (uint32_t)second < best->second);
        if (count > most || (count == most && is_lower)) {
            most = count;
            *best = (lmn_merge){(uint32_t)first, (uint32_t)second};
        }
    }
    return most;
}

/* [bytes] drawn from `signs`, short runs repeating so that there is something to merge. */
static void draw_text(unsigned char *text, size_t bytes, const char *signs, uint64_t seed)
{
    uint32_t words[TEXT_BYTES];
    const lmn_stream stream = {.seed = seed, .rank = LMN_STREAM_ALL_RANKS};
    lmn_stream_u32(&stream, 0, bytes, words);
    for (size_t i = 0; i < bytes; i++) {
        text[i] = (unsigned char)signs[words[i] % strlen(signs)];
    }
}

static void train_random_texts_agrees_with_recounting(void **state)
{
    (void)state;
    const char *const signs[] = {"ab", "abc  \n", "ab1 .,\xc3\xa4", "aaaaaaaaaaaaaaaa ", "  \t"};
    for (size_t t = 0; t < sizeof signs / sizeof signs[0]; t++) {
        unsigned char text[600];
        draw_text(text, sizeof text, signs[t], t);
        lmn_vocabulary *vocabulary = train((const char *)text, sizeof text, 256 + 60);
        brute b;
        brute_read(&b, text, sizeof text);
        lmn_merge merges[60] = {{0}};
        size_t n = 0;
        while (n < 60 && brute_best(&b, &merges[n]) > 1) {
            brute_merge(&b, merges[n], (int32_t)(256 + n));
            n++;
        }
        assert_true(n > 2);
        assert_merges(vocabulary, merges, n);
        /* What is left of the text is its encoding. */
        int32_t tokens[sizeof text];
        const size_t count = lmn_vocabulary_encode(vocabulary, text, sizeof text, tokens);
        size_t at = 0;
        for (size_t i = 0; i < b.n; i++) {
            if (b.tokens[i] >= 0) {
                assert_true(at < count);
                assert_int_equal(tokens[at++], b.tokens[i]);
            }
        }
        assert_int_equal(at, count);
        lmn_vocabulary_destroy(vocabulary);
    }
}

static void assert_comes_back(const lmn_vocabulary *vocabulary, const unsigned char *text,
                              size_t bytes)
{
    int32_t tokens[TEXT_BYTES];
    unsigned char back[TEXT_BYTES];
    const size_t n = lmn_vocabulary_encode(vocabulary, text, bytes, tokens);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        assert_in_range(tokens[i], 0, lmn_vocabulary_size(vocabulary) - 1);
        size_t length = 0;
        const unsigned char *token = lmn_vocabulary_token(vocabulary, (size_t)tokens[i], &length);
        assert_true(at + length <= bytes);
        memcpy(back + at, token, length);
        at += length;
    }
    assert_int_equal(at, bytes);
    assert_memory_equal(back, text, bytes);
}

static void encode_random_bytes_comes_back(void **state)
{
    (void)state;
    unsigned char text[TEXT_BYTES];
    uint32_t words[TEXT_BYTES];
    const lmn_stream stream = {.seed = 7, .rank = LMN_STREAM_ALL_RANKS};
    lmn_stream_u32(&stream, 0, TEXT_BYTES, words);
    for (size_t i = 0; i < TEXT_BYTES; i++) {
        text[i] = (unsigned char)words[i];
    }
    lmn_vocabulary *trained = train((const char *)text, TEXT_BYTES, 256 + MERGES);
    assert_true(lmn_vocabulary_size(trained) > 256);
    lmn_vocabulary *bytes = NULL;
    assert_int_equal(lmn_vocabulary_create(NULL, 0, &bytes, NULL), LMN_OK);
    for (size_t length = 0; length <= TEXT_BYTES; length += 250) {
        assert_comes_back(trained, text, length);
        assert_comes_back(bytes, text, length);
    }
    memset(text, 'a', TEXT_BYTES);
    assert_comes_back(trained, text, TEXT_BYTES);
    lmn_vocabulary_destroy(bytes);
    lmn_vocabulary_destroy(trained);
}

static void create_from_own_merges_encodes_alike(void **state)
{
    (void)state;
    unsigned char text[TEXT_BYTES];
    draw_text(text, sizeof text, "abcde  ", 3);
    lmn_vocabulary *trained = train((const char *)text, sizeof text, 256 + MERGES);
    lmn_vocabulary *copy = NULL;
    assert_int_equal(lmn_vocabulary_create(lmn_vocabulary_merges(trained),
                                           lmn_vocabulary_size(trained) - 256, &copy, NULL),
                     LMN_OK);
    int32_t a[TEXT_BYTES];
    int32_t b[TEXT_BYTES];
    const size_t n = lmn_vocabulary_encode(trained, text, sizeof text, a);
    assert_true(n < TEXT_BYTES / 2);
    assert_int_equal(lmn_vocabulary_encode(copy, text, sizeof text, b), n);
    assert_memory_equal(a, b, n * sizeof *a);
    lmn_vocabulary_destroy(copy);
    lmn_vocabulary_destroy(trained);
}

static void assert_refused(const lmn_merge *merges, size_t n, const char *part)
{
    lmn_vocabulary *vocabulary = NULL;
    lmn_error err = lmn_error_none();
    assert_int_equal(lmn_vocabulary_create(merges, n, &vocabulary, &err), LMN_ERR_FORMAT);
    assert_null(vocabulary);
    if (strstr(err.message, part) == NULL) {
        fail_msg("'%s' lacks '%s'", err.message, part);
    }
}

static void create_merges_that_cannot_be_are_refused(void **state)
{
    (void)state;
    const lmn_merge of_itself[] = {{'a', 'b'}, {257, 'a'}};
    assert_refused(of_itself, 2, "merge 1 joins tokens 257 and 97");
    const lmn_merge huge[] = {{'a', UINT32_MAX}};
    assert_refused(huge, 1, "merge 0");
    const lmn_merge twice[] = {{'a', 'b'}, {'b', 'c'}, {'a', 'b'}};
    assert_refused(twice, 3, "merge 2 joins the tokens of merge 0");
    const lmn_merge doubling[] = {{'a', 'a'}, {256, 256}, {257, 257}, {258, 258},
                                  {259, 259}, {260, 260}, {261, 261}};
    lmn_vocabulary *vocabulary = NULL;
    assert_int_equal(lmn_vocabulary_create(doubling, 6, &vocabulary, NULL), LMN_OK);
    size_t bytes = 0;
    assert_int_equal(lmn_vocabulary_token(vocabulary, 261, &bytes)[63], 'a');
    assert_int_equal(bytes, 64);
    lmn_vocabulary_destroy(vocabulary);
    assert_refused(doubling, 7, "merge 6");
    vocabulary = NULL;
    assert_int_equal(lmn_vocabulary_create(doubling, LMN_VOCABULARY_MAX, &vocabulary, NULL),
                     LMN_ERR_ARGUMENT);
    assert_null(vocabulary);
}

static void make_specs_give_sizes_or_are_refused(void **state)
{
    (void)state;
    const unsigned char text[] = "abab abab abab";
    lmn_vocabulary *vocabulary = NULL;
    assert_int_equal(lmn_vocabulary_make("bytes", text, 14, &vocabulary, NULL), LMN_OK);
    assert_int_equal(lmn_vocabulary_size(vocabulary), 256);
    lmn_vocabulary_destroy(vocabulary);
    assert_int_equal(lmn_vocabulary_make("bpe:size=258", text, 14, &vocabulary, NULL), LMN_OK);
    assert_int_equal(lmn_vocabulary_size(vocabulary), 258);
    lmn_vocabulary_destroy(vocabulary);
    assert_int_equal(lmn_vocabulary_check("bpe", NULL), LMN_OK);
    const char *const bad[] = {
        "", "words", "bytes:size=300", "bpe:size=255", "bpe:size=65537", "bpe:sizes=300"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(lmn_vocabulary_check(bad[i], NULL), LMN_ERR_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(train_small_text_merges_most_frequent_first),
        cmocka_unit_test(train_equally_frequent_pairs_merges_lowest_tokens_first),
        cmocka_unit_test(train_nothing_occurring_twice_stops_early),
        cmocka_unit_test(train_run_of_one_sign_halves_from_the_left),
        cmocka_unit_test(train_size_out_of_range_is_refused),
        cmocka_unit_test(train_random_texts_agrees_with_recounting),
        cmocka_unit_test(encode_random_bytes_comes_back),
        cmocka_unit_test(create_from_own_merges_encodes_alike),
        cmocka_unit_test(create_merges_that_cannot_be_are_refused),
        cmocka_unit_test(make_specs_give_sizes_or_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

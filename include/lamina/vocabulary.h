/*
 * Vocabularies: bytes of text into tokens and back.
 *
 * Byte-level: token t < 256 is the byte t, so every text can be encoded and comes back to the
 * byte. A trained vocabulary adds merges of two earlier tokens each (byte pair encoding: R.
 * Sennrich, B. Haddow, A. Birch, "Neural machine translation of rare words with subword units",
 * ACL 2016), token 256 + m being merge m.
 *
 * Merges never cross the start of a word. Text is cut into words before them: a run of letters
 * (bytes from 128 on count as letters), digits, or other signs, with the blank before it if there
 * is one; what is left of a run of blanks is a word of its own. A word longer than
 * LMN_VOCABULARY_WORD bytes is cut there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_VOCABULARY_H
#define LAMINA_VOCABULARY_H

#include "lamina/spec.h"
#include "lamina/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_vocabulary lmn_vocabulary;

#define LMN_VOCABULARY_MAX  65536 /* tokens */
#define LMN_VOCABULARY_WORD 64    /* bytes of the longest word, and so of the longest token */

/** The two tokens that a merge joins; both below the merge's own token. */
typedef struct lmn_merge {
    uint32_t first, second;
} lmn_merge;

/**
 * The 256 bytes and the given merges (copied; NULL with 0: none).
 * Errors: LMN_ERR_FORMAT (a merge of a later token, of a pair that is merged already, or to more
 * than LMN_VOCABULARY_WORD bytes), LMN_ERR_ARGUMENT (more than LMN_VOCABULARY_MAX tokens),
 * LMN_ERR_MEMORY.
 */
lmn_status lmn_vocabulary_create(const lmn_merge *merges, size_t n_merges,
                                 lmn_vocabulary **vocabulary_out, lmn_error *err) LMN_NODISCARD;

/**
 * Learn merges from text until there are `size` tokens (256 to LMN_VOCABULARY_MAX), or no pair
 * occurs twice. The most frequent pair is merged first; of equally frequent ones the pair of lowest
 * tokens. The same text gives the same vocabulary everywhere.
 * text  [bytes]; of more than 2^30 the first are looked at
 * Errors: LMN_ERR_ARGUMENT (size out of range), LMN_ERR_MEMORY.
 */
lmn_status lmn_vocabulary_train(const unsigned char *text, size_t bytes, size_t size,
                                lmn_vocabulary **vocabulary_out, lmn_error *err) LMN_NODISCARD;

/**
 * The vocabulary that a spec asks for: "bytes", or "bpe:size=1024" learnt from text [bytes].
 * Errors: LMN_ERR_USAGE (unknown name or key), those of lmn_vocabulary_train.
 */
lmn_status lmn_vocabulary_make(const char *spec, const unsigned char *text, size_t bytes,
                               lmn_vocabulary **vocabulary_out, lmn_error *err) LMN_NODISCARD;

/** Whether lmn_vocabulary_make understands a spec. Errors: LMN_ERR_USAGE. */
lmn_status lmn_vocabulary_check(const char *spec, lmn_error *err) LMN_NODISCARD;

/** What a spec may name, for help texts: entry `index`, or NULL past the last. */
const lmn_spec_entry *lmn_vocabulary_entry(size_t index);

/** NULL is allowed. */
void lmn_vocabulary_destroy(lmn_vocabulary *vocabulary);

/** Tokens: 256 plus merges. */
size_t lmn_vocabulary_size(const lmn_vocabulary *vocabulary);

/** 64-bit hash of the merges: tells vocabularies from each other. */
uint64_t lmn_vocabulary_hash(const lmn_vocabulary *vocabulary);

/** The merges, borrowed: [lmn_vocabulary_size - 256]. */
const lmn_merge *lmn_vocabulary_merges(const lmn_vocabulary *vocabulary);

/**
 * Encode a text. Each word is merged pair by pair, earliest merge first.
 * text    [bytes]
 * tokens  [bytes]: room for the worst case, one token a byte
 * Returns how many tokens were written.
 */
size_t lmn_vocabulary_encode(const lmn_vocabulary *vocabulary, const unsigned char *text,
                             size_t bytes, int32_t *tokens);

/** The bytes that a token stands for, borrowed; length in bytes_out. token < size. */
const unsigned char *lmn_vocabulary_token(const lmn_vocabulary *vocabulary, size_t token,
                                          size_t *bytes_out);

#ifdef __cplusplus
}
#endif

#endif

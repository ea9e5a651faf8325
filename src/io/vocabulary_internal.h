/*
 * What encoding and training of vocabularies share: words, and a map from pairs of tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_VOCABULARY_INTERNAL_H
#define LAMINA_IO_VOCABULARY_INTERNAL_H

#include "lamina/vocabulary.h"

#include <stdbool.h>

#define LMN__BYTE_TOKENS 256

/** Where the word ends that begins at `first` < bytes. */
size_t lmn__word_end(const unsigned char *text, size_t bytes, size_t first);

#define LMN__NO_PAIR UINT32_MAX

/** From pairs of tokens to numbers below LMN__NO_PAIR: a hash table with open addressing. */
typedef struct lmn__pair_map {
    unsigned bits;    /* 2^bits places; 0: none yet */
    size_t n;         /* pairs held */
    uint32_t *keys;   /* [2^bits] first << 16 | second */
    uint32_t *values; /* [2^bits] LMN__NO_PAIR: empty place */
} lmn__pair_map;

/** Begins as {0}. Errors: LMN_ERR_MEMORY. */
lmn_status lmn__pair_map_add(lmn__pair_map *map, lmn_merge pair, uint32_t value,
                             lmn_error *err) LMN_NODISCARD;

/** The pair's number, or LMN__NO_PAIR. */
uint32_t lmn__pair_map_find(const lmn__pair_map *map, lmn_merge pair);

void lmn__pair_map_destroy(lmn__pair_map *map);

#endif

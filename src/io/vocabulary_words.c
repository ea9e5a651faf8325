/*
 * Words of a text, and a map from pairs of tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/memory.h"
#include "vocabulary_internal.h"

#include <string.h>

#define FIRST_BITS 10

typedef enum sign_class { CLASS_BLANK, CLASS_LETTER, CLASS_DIGIT, CLASS_OTHER } sign_class;

/* By ASCII alone, so that no locale changes a vocabulary. */
static sign_class class_of(unsigned char c)
{
    if (c == ' ' || (c >= '\t' && c <= '\r')) {
        return CLASS_BLANK;
    }
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 128) {
        return CLASS_LETTER;
    }
    return c >= '0' && c <= '9' ? CLASS_DIGIT : CLASS_OTHER;
}

static size_t run_end(const unsigned char *text, size_t limit, size_t first)
{
    size_t end = first + 1;
    while (end < limit && class_of(text[end]) == class_of(text[first])) {
        end++;
    }
    return end;
}

size_t lmn__word_end(const unsigned char *text, size_t bytes, size_t first)
{
    const size_t limit = bytes - first < LMN_VOCABULARY_WORD ? bytes : first + LMN_VOCABULARY_WORD;
    const size_t end = run_end(text, limit, first);
    if (class_of(text[first]) != CLASS_BLANK || end == limit) {
        return end;
    }
    /* The last blank of a run belongs to the word behind it. */
    return end - first > 1 ? end - 1 : run_end(text, limit, end);
}

static uint32_t key_of(lmn_merge pair)
{
    return pair.first << 16 | pair.second;
}

/* The place that holds the key, or the empty one where it belongs. Multiplicative hashing. */
static size_t place_of(const lmn__pair_map *map, uint32_t key)
{
    const size_t mask = ((size_t)1 << map->bits) - 1;
    size_t place = (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - map->bits));
    while (map->values[place] != LMN__NO_PAIR && map->keys[place] != key) {
        place = (place + 1) & mask;
    }
    return place;
}

static lmn_status grow(lmn__pair_map *map, lmn_error *err)
{
    lmn__pair_map larger = {.bits = map->bits == 0 ? FIRST_BITS : map->bits + 1, .n = map->n};
    const size_t n_places = (size_t)1 << larger.bits;
    larger.keys = lmn_alloc(n_places, sizeof *larger.keys, err);
    larger.values = lmn_alloc(n_places, sizeof *larger.values, err);
    if (larger.keys == NULL || larger.values == NULL) {
        lmn__pair_map_destroy(&larger);
        return LMN_ERR_MEMORY;
    }
    memset(larger.values, 0xFF, n_places * sizeof *larger.values);
    const size_t n_old = map->bits == 0 ? 0 : (size_t)1 << map->bits;
    for (size_t i = 0; i < n_old; i++) {
        if (map->values[i] != LMN__NO_PAIR) {
            const size_t place = place_of(&larger, map->keys[i]);
            larger.keys[place] = map->keys[i];
            larger.values[place] = map->values[i];
        }
    }
    lmn__pair_map_destroy(map);
    *map = larger;
    return LMN_OK;
}

lmn_status lmn__pair_map_add(lmn__pair_map *map, lmn_merge pair, uint32_t value, lmn_error *err)
{
    if (map->bits == 0 || map->n >= (size_t)1 << (map->bits - 1)) {
        const lmn_status status = grow(map, err);
        if (status != LMN_OK) {
            return status;
        }
    }
    const size_t place = place_of(map, key_of(pair));
    map->n += map->values[place] == LMN__NO_PAIR ? 1 : 0;
    map->keys[place] = key_of(pair);
    map->values[place] = value;
    return LMN_OK;
}

uint32_t lmn__pair_map_find(const lmn__pair_map *map, lmn_merge pair)
{
    return map->bits == 0 ? LMN__NO_PAIR : map->values[place_of(map, key_of(pair))];
}

void lmn__pair_map_destroy(lmn__pair_map *map)
{
    lmn_free(map->keys);
    lmn_free(map->values);
    *map = (lmn__pair_map){0};
}

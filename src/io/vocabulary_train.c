/*
 * Learning merges from a text.
 *
 * The distinct words with their counts are all that is looked at. Each pair of tokens knows how
 * often it occurs and in which words, so a merge visits only the words that hold its pair. A heap
 * finds the most frequent pair. Only pairs with the newest token become more frequent, and are put
 * into the heap then; an entry that promises too much is put right when it comes up.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/hash.h"
#include "lamina/memory.h"
#include "vocabulary_internal.h"

#include <string.h>

#define FIRST_CAPACITY 1024
#define TEXT_MAX       ((size_t)1 << 30)
#define NONE           UINT32_MAX

typedef struct word {
    uint64_t count; /* in the text */
    uint64_t hash;
    size_t first;  /* of its tokens among all */
    size_t length; /* tokens that are left */
} word;

/* A word that held a pair when it was noted. */
typedef struct word_place {
    uint32_t word;
    uint32_t next; /* place of the same pair; NONE: the last */
} word_place;

typedef struct pair_record {
    lmn_merge pair;
    uint64_t count;
    uint32_t places; /* the first; NONE: no word */
} pair_record;

typedef struct heap_entry {
    uint64_t count;
    lmn_merge pair;
    uint32_t record;
} heap_entry;

/* An array that grows. */
typedef struct list {
    size_t n, capacity;
    void *items;
} list;

typedef struct bpe_learner {
    list words;      /* word */
    list tokens;     /* uint32_t, of all words */
    list places;     /* word_place */
    list records;    /* pair_record */
    list heap;       /* heap_entry */
    size_t n_table;  /* places in the table, a power of two */
    uint32_t *table; /* [n_table] words by their bytes; NONE: empty */
    lmn__pair_map map;
    size_t n_merges;
    lmn_merge *merges;
} bpe_learner;

/* Room for one more item of `size` bytes; NULL when memory is short. */
static void *list_extend(list *items, size_t size, lmn_error *err)
{
    if (items->n == items->capacity) {
        const size_t capacity = items->capacity == 0 ? FIRST_CAPACITY : 2 * items->capacity;
        void *larger = lmn_alloc(capacity, size, err);
        if (larger == NULL) {
            return NULL;
        }
        if (items->n > 0) {
            memcpy(larger, items->items, items->n * size);
        }
        lmn_free(items->items);
        items->items = larger;
        items->capacity = capacity;
    }
    return (char *)items->items + size * items->n++;
}

static word *word_at(const bpe_learner *learner, size_t index)
{
    return (word *)learner->words.items + index;
}

static uint32_t *tokens_of(const bpe_learner *learner, const word *w)
{
    return (uint32_t *)learner->tokens.items + w->first;
}

static pair_record *record_at(const bpe_learner *learner, size_t index)
{
    return (pair_record *)learner->records.items + index;
}

static bool is_word(const bpe_learner *learner, const word *w, const unsigned char *text,
                    size_t bytes)
{
    bool is_same = w->length == bytes;
    for (size_t i = 0; is_same && i < bytes; i++) {
        is_same = tokens_of(learner, w)[i] == text[i];
    }
    return is_same;
}

/* Where in the table a word is, or belongs. */
static size_t table_place(const bpe_learner *learner, uint64_t hash, const unsigned char *text,
                          size_t bytes)
{
    size_t place = (size_t)hash & (learner->n_table - 1);
    while (learner->table[place] != NONE) {
        const word *w = word_at(learner, learner->table[place]);
        if (text != NULL && w->hash == hash && is_word(learner, w, text, bytes)) {
            break;
        }
        place = (place + 1) & (learner->n_table - 1);
    }
    return place;
}

static lmn_status grow_table(bpe_learner *learner, lmn_error *err)
{
    const size_t n_table = learner->n_table == 0 ? FIRST_CAPACITY : 2 * learner->n_table;
    lmn_free(learner->table);
    learner->table = lmn_alloc(n_table, sizeof *learner->table, err);
    if (learner->table == NULL) {
        return LMN_ERR_MEMORY;
    }
    learner->n_table = n_table;
    memset(learner->table, 0xFF, n_table * sizeof *learner->table);
    for (size_t i = 0; i < learner->words.n; i++) {
        learner->table[table_place(learner, word_at(learner, i)->hash, NULL, 0)] = (uint32_t)i;
    }
    return LMN_OK;
}

static lmn_status add_word(bpe_learner *learner, uint64_t hash, const unsigned char *text,
                           size_t bytes, lmn_error *err)
{
    word *w = list_extend(&learner->words, sizeof *w, err);
    if (w == NULL) {
        return LMN_ERR_MEMORY;
    }
    *w = (word){.count = 1, .hash = hash, .first = learner->tokens.n, .length = bytes};
    for (size_t i = 0; i < bytes; i++) {
        uint32_t *token = list_extend(&learner->tokens, sizeof *token, err);
        if (token == NULL) {
            return LMN_ERR_MEMORY;
        }
        *token = text[i];
    }
    return LMN_OK;
}

static lmn_status count_word(bpe_learner *learner, const unsigned char *text, size_t bytes,
                             lmn_error *err)
{
    if (2 * learner->words.n >= learner->n_table) {
        const lmn_status status = grow_table(learner, err);
        if (status != LMN_OK) {
            return status;
        }
    }
    const uint64_t hash = lmn_hash64(text, bytes, 0);
    uint32_t *entry = &learner->table[table_place(learner, hash, text, bytes)];
    if (*entry != NONE) {
        word_at(learner, *entry)->count++;
        return LMN_OK;
    }
    *entry = (uint32_t)learner->words.n;
    return add_word(learner, hash, text, bytes, err);
}

/* Whether entry a is to be merged before b. */
static bool comes_first(const heap_entry *a, const heap_entry *b)
{
    if (a->count != b->count) {
        return a->count > b->count;
    }
    return a->pair.first != b->pair.first ? a->pair.first < b->pair.first
                                          : a->pair.second < b->pair.second;
}

static void swap(heap_entry *a, heap_entry *b)
{
    const heap_entry kept = *a;
    *a = *b;
    *b = kept;
}

static lmn_status heap_push(bpe_learner *learner, uint32_t index, lmn_error *err)
{
    const pair_record *record = record_at(learner, index);
    heap_entry *entry = list_extend(&learner->heap, sizeof *entry, err);
    if (entry == NULL) {
        return LMN_ERR_MEMORY;
    }
    *entry = (heap_entry){.count = record->count, .pair = record->pair, .record = index};
    heap_entry *heap = learner->heap.items;
    for (size_t i = learner->heap.n - 1; i > 0 && comes_first(&heap[i], &heap[(i - 1) / 2]);
         i = (i - 1) / 2) {
        swap(&heap[i], &heap[(i - 1) / 2]);
    }
    return LMN_OK;
}

/* Take the first entry out; the heap holds one. */
static heap_entry heap_pop(bpe_learner *learner)
{
    heap_entry *heap = learner->heap.items;
    const heap_entry top = heap[0];
    const size_t n = --learner->heap.n;
    heap[0] = heap[n];
    for (size_t i = 0; 2 * i + 1 < n;) {
        size_t child = 2 * i + 1;
        child += child + 1 < n && comes_first(&heap[child + 1], &heap[child]) ? 1 : 0;
        if (!comes_first(&heap[child], &heap[i])) {
            break;
        }
        swap(&heap[i], &heap[child]);
        i = child;
    }
    return top;
}

/* The record of a pair, a new one if need be. */
static lmn_status find_record(bpe_learner *learner, lmn_merge pair, uint32_t *index_out,
                              lmn_error *err)
{
    *index_out = lmn__pair_map_find(&learner->map, pair);
    if (*index_out != LMN__NO_PAIR) {
        return LMN_OK;
    }
    *index_out = (uint32_t)learner->records.n;
    pair_record *record = list_extend(&learner->records, sizeof *record, err);
    if (record == NULL) {
        return LMN_ERR_MEMORY;
    }
    *record = (pair_record){.pair = pair, .places = NONE};
    return lmn__pair_map_add(&learner->map, pair, *index_out, err);
}

/* Note that a word holds a pair, unless that was the last thing noted. */
static lmn_status add_place(bpe_learner *learner, uint32_t index, uint32_t word_index,
                            lmn_error *err)
{
    const word_place *places = learner->places.items;
    const uint32_t head = record_at(learner, index)->places;
    if (head != NONE && places[head].word == word_index) {
        return LMN_OK;
    }
    const uint32_t added = (uint32_t)learner->places.n;
    word_place *added_place = list_extend(&learner->places, sizeof *added_place, err);
    if (added_place == NULL) {
        return LMN_ERR_MEMORY;
    }
    *added_place = (word_place){.word = word_index, .next = head};
    record_at(learner, index)->places = added;
    return LMN_OK;
}

/* Count the pairs of a word in; where one of their tokens is at least `newest`, note the word. */
static lmn_status count_pairs(bpe_learner *learner, uint32_t word_index, uint32_t newest,
                              lmn_error *err)
{
    const word *w = word_at(learner, word_index);
    const uint32_t *tokens = tokens_of(learner, w);
    lmn_status status = LMN_OK;
    for (size_t i = 0; i + 1 < w->length && status == LMN_OK; i++) {
        const lmn_merge pair = {tokens[i], tokens[i + 1]};
        uint32_t index = 0;
        status = find_record(learner, pair, &index, err);
        if (status == LMN_OK) {
            record_at(learner, index)->count += w->count;
        }
        if (status == LMN_OK && (pair.first >= newest || pair.second >= newest)) {
            status = add_place(learner, index, word_index, err);
        }
    }
    return status;
}

static void discount_pairs(bpe_learner *learner, const word *w)
{
    const uint32_t *tokens = tokens_of(learner, w);
    for (size_t i = 0; i + 1 < w->length; i++) {
        const lmn_merge pair = {tokens[i], tokens[i + 1]};
        record_at(learner, lmn__pair_map_find(&learner->map, pair))->count -= w->count;
    }
}

/* Join each occurrence of the pair, from the left; returns how many tokens are left of [n]. */
static size_t join(uint32_t *tokens, size_t n, lmn_merge pair, uint32_t joined)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; kept++) {
        const bool is_pair = i + 1 < n && tokens[i] == pair.first && tokens[i + 1] == pair.second;
        tokens[kept] = is_pair ? joined : tokens[i];
        i += is_pair ? 2 : 1;
    }
    return kept;
}

static lmn_status merge_in_word(bpe_learner *learner, uint32_t word_index, lmn_merge pair,
                                uint32_t token, lmn_error *err)
{
    word *w = word_at(learner, word_index);
    discount_pairs(learner, w);
    w->length = join(tokens_of(learner, w), w->length, pair, token);
    return count_pairs(learner, word_index, token, err);
}

/* Put the records from `first` on into the heap. */
static lmn_status push_records(bpe_learner *learner, size_t first, lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t i = first; i < learner->records.n && status == LMN_OK; i++) {
        if (record_at(learner, i)->count > 1) {
            status = heap_push(learner, (uint32_t)i, err);
        }
    }
    return status;
}

/* All records of pairs with the new token are new ones, since no word held it before. */
static lmn_status merge(bpe_learner *learner, uint32_t index, lmn_error *err)
{
    const lmn_merge pair = record_at(learner, index)->pair;
    const size_t first_new = learner->records.n;
    const uint32_t token = (uint32_t)(LMN__BYTE_TOKENS + learner->n_merges);
    learner->merges[learner->n_merges++] = pair;
    lmn_status status = LMN_OK;
    for (uint32_t at = record_at(learner, index)->places; at != NONE && status == LMN_OK;) {
        const word_place here = ((const word_place *)learner->places.items)[at];
        status = merge_in_word(learner, here.word, pair, token, err);
        at = here.next;
    }
    return status == LMN_OK ? push_records(learner, first_new, err) : status;
}

static lmn_status read_words(bpe_learner *learner, const unsigned char *text, size_t bytes,
                             lmn_error *err)
{
    lmn_status status = LMN_OK;
    for (size_t first = 0; first < bytes && status == LMN_OK;) {
        const size_t end = lmn__word_end(text, bytes, first);
        status = count_word(learner, text + first, end - first, err);
        first = end;
    }
    for (size_t i = 0; i < learner->words.n && status == LMN_OK; i++) {
        status = count_pairs(learner, (uint32_t)i, 0, err);
    }
    return status == LMN_OK ? push_records(learner, 0, err) : status;
}

static lmn_status learn(bpe_learner *learner, size_t n_merges, lmn_error *err)
{
    lmn_status status = LMN_OK;
    while (learner->n_merges < n_merges && learner->heap.n > 0 && status == LMN_OK) {
        const heap_entry best = heap_pop(learner);
        const uint64_t count = record_at(learner, best.record)->count;
        if (count == best.count) {
            status = merge(learner, best.record, err);
        } else if (count > 1) {
            status = heap_push(learner, best.record, err);
        }
    }
    return status;
}

static void learner_free(bpe_learner *learner)
{
    lmn_free(learner->words.items);
    lmn_free(learner->tokens.items);
    lmn_free(learner->places.items);
    lmn_free(learner->records.items);
    lmn_free(learner->heap.items);
    lmn_free(learner->table);
    lmn_free(learner->merges);
    lmn__pair_map_destroy(&learner->map);
}

lmn_status lmn_vocabulary_train(const unsigned char *text, size_t bytes, size_t size,
                                lmn_vocabulary **vocabulary_out, lmn_error *err)
{
    if (size < LMN__BYTE_TOKENS || size > LMN_VOCABULARY_MAX) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "vocabulary: %zu tokens are not from %d to %d",
                             size, LMN__BYTE_TOKENS, LMN_VOCABULARY_MAX);
    }
    const size_t n_merges = size - LMN__BYTE_TOKENS;
    bpe_learner learner = {.merges = lmn_alloc(n_merges, sizeof(lmn_merge), err)};
    lmn_status status = learner.merges == NULL ? LMN_ERR_MEMORY : LMN_OK;
    if (status == LMN_OK) {
        status = read_words(&learner, text, bytes < TEXT_MAX ? bytes : TEXT_MAX, err);
    }
    if (status == LMN_OK) {
        status = learn(&learner, n_merges, err);
    }
    if (status == LMN_OK) {
        status = lmn_vocabulary_create(learner.merges, learner.n_merges, vocabulary_out, err);
    }
    learner_free(&learner);
    return status;
}

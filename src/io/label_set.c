/*
 * The distinct labels of a text file, in order: they become classes.
 *
 * An ordered array, searched by halving. Classes are few, and samples mostly repeat them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "label_set_internal.h"
#include "lamina/memory.h"
#include "numbers_internal.h"

#include <string.h>

typedef struct label_key {
    bool is_number;
    double number;
} label_key;

struct lmn__label_set {
    bool by_value;
    size_t count;
    size_t capacity;
    char **names;    /* [count] owned, each allocated */
    label_key *keys; /* [count] owned */
};

lmn_status lmn__label_set_create(bool by_value, lmn__label_set **set_out, lmn_error *err)
{
    lmn__label_set *set = lmn_alloc(1, sizeof *set, err);
    if (set == NULL) {
        return LMN_ERR_MEMORY;
    }
    set->by_value = by_value;
    *set_out = set;
    return LMN_OK;
}

void lmn__label_set_destroy(lmn__label_set *set)
{
    if (set != NULL) {
        for (size_t i = 0; i < set->count; i++) {
            lmn_free(set->names[i]);
        }
        lmn_free(set->names);
        lmn_free(set->keys);
        lmn_free(set);
    }
}

static label_key make_key(const char *label)
{
    label_key key = {0};
    key.is_number = lmn__number_f64(label, &key.number) == LMN__NUMBER_OK;
    return key;
}

/* Below 0, 0, above 0: where a label stands to entry `i`. */
static int compare(const lmn__label_set *set, label_key key, const char *label, size_t i)
{
    const label_key *other = &set->keys[i];
    if (key.is_number != other->is_number) {
        return key.is_number ? -1 : 1;
    }
    if (key.is_number && (key.number < other->number || key.number > other->number)) {
        return key.number < other->number ? -1 : 1;
    }
    return key.is_number && set->by_value ? 0 : strcmp(label, set->names[i]);
}

/* The first entry that does not come before the label; whether it is the label. */
static size_t search(const lmn__label_set *set, label_key key, const char *label, bool *found_out)
{
    size_t first = 0;
    size_t end = set->count;
    *found_out = false;
    while (first < end && !*found_out) {
        const size_t middle = first + (end - first) / 2;
        const int order = compare(set, key, label, middle);
        if (order == 0) {
            first = middle;
            *found_out = true;
        } else if (order > 0) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    return first;
}

static lmn_status grow(lmn__label_set *set, lmn_error *err)
{
    const size_t capacity = set->capacity == 0 ? 64 : 2 * set->capacity;
    char **names = lmn_alloc(capacity, sizeof *names, err);
    label_key *keys = lmn_alloc(capacity, sizeof *keys, err);
    if (names == NULL || keys == NULL) {
        lmn_free(names);
        lmn_free(keys);
        return LMN_ERR_MEMORY;
    }
    if (set->count > 0) {
        memcpy(names, set->names, set->count * sizeof *names);
        memcpy(keys, set->keys, set->count * sizeof *keys);
    }
    lmn_free(set->names);
    lmn_free(set->keys);
    set->names = names;
    set->keys = keys;
    set->capacity = capacity;
    return LMN_OK;
}

static lmn_status insert(lmn__label_set *set, size_t at, label_key key, const char *label,
                         lmn_error *err)
{
    const lmn_status status = set->count == set->capacity ? grow(set, err) : LMN_OK;
    if (status != LMN_OK) {
        return status;
    }
    const size_t bytes = strlen(label) + 1;
    char *name = lmn_alloc(bytes, 1, err);
    if (name == NULL) {
        return LMN_ERR_MEMORY;
    }
    memcpy(name, label, bytes);
    memmove(set->names + at + 1, set->names + at, (set->count - at) * sizeof *set->names);
    memmove(set->keys + at + 1, set->keys + at, (set->count - at) * sizeof *set->keys);
    set->names[at] = name;
    set->keys[at] = key;
    set->count++;
    return LMN_OK;
}

lmn_status lmn__label_set_add(lmn__label_set *set, const char *label, lmn_error *err)
{
    const label_key key = make_key(label);
    bool is_found = false;
    const size_t at = search(set, key, label, &is_found);
    return is_found ? LMN_OK : insert(set, at, key, label, err);
}

size_t lmn__label_set_count(const lmn__label_set *set)
{
    return set->count;
}

const char *const *lmn__label_set_names(const lmn__label_set *set)
{
    return (const char *const *)set->names;
}

bool lmn__label_set_find(const lmn__label_set *set, const char *label, size_t *index_out)
{
    bool is_found = false;
    const size_t at = search(set, make_key(label), label, &is_found);
    if (is_found) {
        *index_out = at;
    }
    return is_found;
}

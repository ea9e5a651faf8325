/*
 * The list of what a run must remember: named arrays, numbers and texts.
 *
 * Names are checked when they are added, so that a list that exists can be written: array names are
 * paths of which none leads through another, the others are attributes of the file's root beside
 * those that every checkpoint has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/hash.h"
#include "lamina/memory.h"
#include "state_internal.h"

#include <string.h>

/* HDF5 keeps an attribute in at most 64 KiB; long texts are stored outside and reach further, but a
 * description of a run has no need of more. */
#define TEXT_BYTES_MAX ((size_t)60000)

#define NAME_BYTES_MAX ((size_t)1000)

lmn_status lmn_state_create(lmn_state **state_out, lmn_error *err)
{
    lmn_state *state = lmn_alloc(1, sizeof *state, err);
    if (state == NULL) {
        return LMN_ERR_MEMORY;
    }
    *state_out = state;
    return LMN_OK;
}

void lmn_state_destroy(lmn_state *state)
{
    if (state == NULL) {
        return;
    }
    const lmn__state_array *arrays = lmn__state_arrays(state);
    for (size_t i = 0; i < state->arrays.count; i++) {
        lmn_free(arrays[i].name);
        lmn_free(arrays[i].unit);
    }
    const lmn__state_number *numbers = lmn__state_numbers(state);
    for (size_t i = 0; i < state->numbers.count; i++) {
        lmn_free(numbers[i].name);
    }
    const lmn__state_text *texts = lmn__state_texts(state);
    for (size_t i = 0; i < state->texts.count; i++) {
        lmn_free(texts[i].name);
        lmn_free(texts[i].value);
    }
    lmn_free(state->arrays.items);
    lmn_free(state->numbers.items);
    lmn_free(state->texts.items);
    lmn_free(state->layout);
    lmn_free(state);
}

const lmn__state_array *lmn__state_arrays(const lmn_state *state)
{
    return state->arrays.items;
}

const lmn__state_number *lmn__state_numbers(const lmn_state *state)
{
    return state->numbers.items;
}

const lmn__state_text *lmn__state_texts(const lmn_state *state)
{
    return state->texts.items;
}

static lmn_status copy_text(const char *text, char **copy_out, lmn_error *err)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = lmn_alloc(bytes, 1, err);
    if (copy == NULL) {
        return LMN_ERR_MEMORY;
    }
    memcpy(copy, text, bytes);
    *copy_out = copy;
    return LMN_OK;
}

/* Append `item`; on failure the list is as before. */
static lmn_status list_append(lmn__state_list *list, const void *item, size_t item_bytes,
                              lmn_error *err)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        unsigned char *items = lmn_alloc(capacity, item_bytes, err);
        if (items == NULL) {
            return LMN_ERR_MEMORY;
        }
        if (list->count > 0) {
            memcpy(items, list->items, list->count * item_bytes);
        }
        lmn_free(list->items);
        list->items = items;
        list->capacity = capacity;
    }
    memcpy((unsigned char *)list->items + list->count * item_bytes, item, item_bytes);
    list->count++;
    return LMN_OK;
}

/* Whether `name` is "/a/b/c" without empty or dotted parts. */
static bool is_path(const char *name)
{
    if (name[0] != '/' || strlen(name) > NAME_BYTES_MAX) {
        return false;
    }
    const char *part = name + 1;
    for (;;) {
        const size_t length = strcspn(part, "/");
        const bool is_dots = strncmp(part, "..", length) == 0 && length <= 2;
        if (length == 0 || is_dots) {
            return false;
        }
        if (part[length] == '\0') {
            return true;
        }
        part += length + 1;
    }
}

/* Whether one of two paths is the other, or leads through it. */
static bool paths_clash(const char *a, const char *b)
{
    const size_t a_length = strlen(a);
    const size_t b_length = strlen(b);
    const size_t shorter = a_length < b_length ? a_length : b_length;
    if (strncmp(a, b, shorter) != 0) {
        return false;
    }
    const char *rest = (a_length < b_length ? b : a) + shorter;
    return *rest == '\0' || *rest == '/';
}

static lmn_status check_array_name(const lmn_state *state, const char *name, lmn_error *err)
{
    if (!is_path(name)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the state's array '%.200s' needs a name such as /parameters/weight",
                             name);
    }
    const lmn__state_array *arrays = lmn__state_arrays(state);
    for (size_t i = 0; i < state->arrays.count; i++) {
        if (paths_clash(arrays[i].name, name)) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT, "the state has both '%s' and '%s'",
                                 arrays[i].name, name);
        }
    }
    return LMN_OK;
}

static lmn_status count_elements(lmn__state_array *array, lmn_error *err)
{
    size_t count = 1;
    const size_t limit = SIZE_MAX / lmn__state_type_bytes(array->type);
    for (size_t i = 0; i < array->n_dims; i++) {
        if (array->dims[i] != 0 && count > limit / array->dims[i]) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT, "the shape of '%s' overflows", array->name);
        }
        count *= array->dims[i];
    }
    array->count = count;
    return LMN_OK;
}

/* A copy of `array`, with texts of its own. */
static lmn_status append_array(lmn_state *state, lmn__state_array array, const char *name,
                               const char *unit, lmn_error *err)
{
    lmn_status status = check_array_name(state, name, err);
    if (status != LMN_OK) {
        return status;
    }
    status = copy_text(name, &array.name, err);
    if (status == LMN_OK) {
        status = copy_text(unit, &array.unit, err);
    }
    if (status == LMN_OK && array.kind != LMN_STATE_SLICED) {
        status = count_elements(&array, err);
    }
    if (status == LMN_OK) {
        status = list_append(&state->arrays, &array, sizeof array, err);
    }
    if (status != LMN_OK) {
        lmn_free(array.name);
        lmn_free(array.unit);
    }
    return status;
}

lmn_status lmn_state_add_array(lmn_state *state, const char *name, const char *unit,
                               lmn_state_kind kind, lmn_state_type type, size_t n_dims,
                               const size_t *dims, void *data, lmn_error *err)
{
    if (n_dims > LMN_STATE_DIMS_MAX) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s' has %zu dimensions; at most %d can be kept", name, n_dims,
                             LMN_STATE_DIMS_MAX);
    }
    lmn__state_array array = {.kind = kind, .type = type, .n_dims = n_dims, .data = data};
    for (size_t i = 0; i < n_dims; i++) {
        array.dims[i] = dims[i];
    }
    return append_array(state, array, name, unit, err);
}

lmn_status lmn_state_add_slice(lmn_state *state, const char *name, const char *unit,
                               lmn_state_type type, size_t total, size_t first, size_t count,
                               void *data, lmn_error *err)
{
    if (first > total || count > total - first) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "'%s' has %zu elements, and %zu from %zu on are none of them", name,
                             total, count, first);
    }
    const lmn__state_array array = {.kind = LMN_STATE_SLICED,
                                    .type = type,
                                    .n_dims = 1,
                                    .dims = {total},
                                    .count = count,
                                    .first = first,
                                    .data = data};
    return append_array(state, array, name, unit, err);
}

void lmn_state_set_elastic(lmn_state *state, lmn_state_elastic elastic)
{
    lmn__state_array *arrays = state->arrays.items;
    arrays[state->arrays.count - 1].elastic = elastic;
}

lmn_status lmn_state_set_layout(lmn_state *state, const char *layout, uint64_t workers,
                                lmn_error *err)
{
    char *copy = NULL;
    const lmn_status status = copy_text(layout, &copy, err);
    if (status == LMN_OK) {
        lmn_free(state->layout);
        state->layout = copy;
        state->workers = workers;
    }
    return status;
}

uint64_t lmn_state_ranks_read(const lmn_state *state)
{
    return state->ranks_read;
}

bool lmn_state_was_cut_anew(const lmn_state *state)
{
    return state->was_cut_anew;
}

const char *lmn__state_layout(const lmn_state *state)
{
    return state->layout == NULL ? "flat" : state->layout;
}

uint64_t lmn__state_workers(const lmn_state *state, int size)
{
    return state->workers == 0 ? (uint64_t)size : state->workers;
}

const char *lmn__state_kind_name(lmn_state_kind kind)
{
    static const char *const names[] = {[LMN_STATE_REPLICATED] = "replicated",
                                        [LMN_STATE_PER_RANK] = "per-rank",
                                        [LMN_STATE_SLICED] = "sliced"};
    return names[kind];
}

static bool is_reserved(const char *name)
{
    static const char *const reserved[] = {"lamina_format", "format_version", "created_by", "step",
                                           "ranks",         "hierarchy",      "workers"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (strcmp(name, reserved[i]) == 0) {
            return true;
        }
    }
    return false;
}

static lmn_status check_attribute_name(const lmn_state *state, const char *name, lmn_error *err)
{
    bool is_taken = false;
    const lmn__state_number *numbers = lmn__state_numbers(state);
    for (size_t i = 0; i < state->numbers.count; i++) {
        is_taken = is_taken || strcmp(numbers[i].name, name) == 0;
    }
    const lmn__state_text *texts = lmn__state_texts(state);
    for (size_t i = 0; i < state->texts.count; i++) {
        is_taken = is_taken || strcmp(texts[i].name, name) == 0;
    }
    if (is_taken) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "the state has '%.200s' twice", name);
    }
    if (name[0] == '\0' || strlen(name) > NAME_BYTES_MAX || is_reserved(name)) {
        return lmn_error_set(
            err, LMN_ERR_ARGUMENT,
            "the state cannot have '%.200s': the name is empty, too long, or every "
            "checkpoint has it already",
            name);
    }
    return LMN_OK;
}

/* Loading writes through `value`. NOLINTNEXTLINE(readability-non-const-parameter) */
lmn_status lmn_state_add_u64(lmn_state *state, const char *name, uint64_t *value, lmn_error *err)
{
    lmn_status status = check_attribute_name(state, name, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn__state_number number = {.value = value};
    status = copy_text(name, &number.name, err);
    if (status == LMN_OK) {
        status = list_append(&state->numbers, &number, sizeof number, err);
    }
    if (status != LMN_OK) {
        lmn_free(number.name);
    }
    return status;
}

lmn_status lmn_state_add_text(lmn_state *state, const char *name, const char *value,
                              bool must_match, lmn_error *err)
{
    lmn_status status = check_attribute_name(state, name, err);
    if (status != LMN_OK) {
        return status;
    }
    if (strlen(value) > TEXT_BYTES_MAX) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "the text '%s' has %zu bytes; at most %zu can be kept", name,
                             strlen(value), TEXT_BYTES_MAX);
    }
    lmn__state_text text = {.must_match = must_match};
    status = copy_text(name, &text.name, err);
    if (status == LMN_OK) {
        status = copy_text(value, &text.value, err);
    }
    if (status == LMN_OK) {
        status = list_append(&state->texts, &text, sizeof text, err);
    }
    if (status != LMN_OK) {
        lmn_free(text.name);
        lmn_free(text.value);
    }
    return status;
}

const char *lmn__state_type_name(lmn_state_type type)
{
    static const char *const names[] = {
        [LMN_STATE_F32] = "f32", [LMN_STATE_F64] = "f64", [LMN_STATE_U64] = "u64"};
    return names[type];
}

size_t lmn__state_type_bytes(lmn_state_type type)
{
    return type == LMN_STATE_F32 ? sizeof(float) : sizeof(uint64_t);
}

hid_t lmn__state_memory_type(lmn_state_type type)
{
    if (type == LMN_STATE_F32) {
        return H5T_NATIVE_FLOAT;
    }
    return type == LMN_STATE_F64 ? H5T_NATIVE_DOUBLE : H5T_NATIVE_UINT64;
}

hid_t lmn__state_file_type(lmn_state_type type)
{
    if (type == LMN_STATE_F32) {
        return H5T_IEEE_F32LE;
    }
    return type == LMN_STATE_F64 ? H5T_IEEE_F64LE : H5T_STD_U64LE;
}

lmn__h5_shape lmn__state_file_shape(const lmn__state_array *array, uint64_t ranks)
{
    lmn__h5_shape shape = {.n_dims = (int)array->n_dims};
    int first = 0;
    if (array->kind == LMN_STATE_PER_RANK) {
        shape.n_dims++;
        shape.dims[first++] = ranks;
    }
    for (size_t i = 0; i < array->n_dims; i++) {
        shape.dims[first + (int)i] = array->dims[i];
    }
    return shape;
}

static uint64_t hash_text(const char *text, uint64_t seed)
{
    return lmn_hash64(text, strlen(text) + 1, seed);
}

uint64_t lmn__state_hash(const lmn_state *state, uint64_t seed)
{
    uint64_t hash = seed;
    const lmn__state_array *arrays = lmn__state_arrays(state);
    for (size_t i = 0; i < state->arrays.count; i++) {
        const uint64_t facts[3] = {(uint64_t)arrays[i].kind, (uint64_t)arrays[i].type,
                                   arrays[i].n_dims};
        hash = hash_text(arrays[i].name, hash);
        hash = lmn_hash64(facts, sizeof facts, hash);
        hash = lmn_hash64(arrays[i].dims, sizeof arrays[i].dims, hash);
    }
    hash = lmn_hash64(&state->workers, sizeof state->workers,
                      hash_text(lmn__state_layout(state), hash));
    const lmn__state_number *numbers = lmn__state_numbers(state);
    for (size_t i = 0; i < state->numbers.count; i++) {
        hash = hash_text(numbers[i].name, hash);
    }
    const lmn__state_text *texts = lmn__state_texts(state);
    for (size_t i = 0; i < state->texts.count; i++) {
        hash = hash_text(texts[i].name, hash);
        hash = hash_text(texts[i].must_match ? texts[i].value : "", hash);
    }
    return hash;
}

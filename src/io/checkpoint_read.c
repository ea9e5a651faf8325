/*
 * Reading a checkpoint: verify, compare, and only then load.
 *
 * All ranks verify the file's seal together. Rank 0 alone compares what the file holds with what is
 * asked for, since the lists of all ranks are known to agree; nobody's memory changes before it is
 * satisfied. Arrays then go straight to their places.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_internal.h"
#include "digest_internal.h"
#include "lamina/hash.h"
#include "lamina/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "[3, 4]" */
static void format_shape(const lmn__h5_shape *shape, char text[256])
{
    size_t used = (size_t)snprintf(text, 256, "[");
    for (int i = 0; i < shape->n_dims; i++) {
        const char *separator = i == 0 ? "" : ", ";
        used += (size_t)snprintf(text + used, 256 - used, "%s%" PRIu64, separator,
                                 (uint64_t)shape->dims[i]);
    }
    (void)snprintf(text + used, 256 - used, "]");
}

static bool same_shape(const lmn__h5_shape *a, const lmn__h5_shape *b)
{
    return a->n_dims == b->n_dims &&
           memcmp(a->dims, b->dims, (size_t)a->n_dims * sizeof a->dims[0]) == 0;
}

static bool same_type(hid_t dataset, lmn_state_type type)
{
    const hid_t found = H5Dget_type(dataset);
    const bool is_same = H5Tequal(found, lmn__state_file_type(type)) > 0;
    lmn__h5_close(found);
    return is_same;
}

static lmn_status check_distribution(hid_t dataset, const lmn__state_array *array, lmn_error *err)
{
    char *found = NULL;
    lmn_status status = lmn__h5_read_text(dataset, "distribution", &found, err);
    const char *wanted = array->kind == LMN_STATE_PER_RANK ? "per-rank" : "replicated";
    if (status == LMN_OK && strcmp(found, wanted) != 0) {
        status = lmn_error_set(err, LMN_ERR_SHAPE,
                               "the array '%s' is %s in the file, and %s is "
                               "asked for",
                               array->name, found, wanted);
    }
    lmn_free(found);
    return status;
}

static lmn_status check_opened_array(hid_t dataset, const lmn__state_array *array, int size,
                                     lmn_error *err)
{
    const lmn__h5_shape wanted = lmn__state_file_shape(array, size);
    lmn__h5_shape found = {0};
    lmn_status status = lmn__h5_shape_of(dataset, &found, err);
    if (status == LMN_OK) {
        status = check_distribution(dataset, array, err);
    }
    if (status == LMN_OK && !same_shape(&found, &wanted)) {
        char found_text[256];
        char wanted_text[256];
        format_shape(&found, found_text);
        format_shape(&wanted, wanted_text);
        status = lmn_error_set(err, LMN_ERR_SHAPE,
                               "the array '%s' has the shape %s in the file, and %s is needed",
                               array->name, found_text, wanted_text);
    }
    if (status == LMN_OK && !same_type(dataset, array->type)) {
        status = lmn_error_set(err, LMN_ERR_SHAPE, "the array '%s' is not %s in the file",
                               array->name, lmn__state_type_name(array->type));
    }
    return status;
}

static lmn_status check_array(hid_t file, const lmn__state_array *array, uint64_t ranks, int size,
                              lmn_error *err)
{
    if (array->kind == LMN_STATE_PER_RANK && ranks != (uint64_t)size) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "written by %" PRIu64 " ranks and read by %d: '%s' belongs to single "
                             "ranks; run with %" PRIu64 " ranks",
                             ranks, size, array->name, ranks);
    }
    if (!lmn__h5_has_object(file, array->name)) {
        return lmn_error_set(err, LMN_ERR_SHAPE, "there is no array '%s' in the file", array->name);
    }
    const hid_t dataset = H5Dopen2(file, array->name, H5P_DEFAULT);
    if (dataset < 0) {
        return lmn_error_set(err, LMN_ERR_SHAPE, "'%s' is not an array in the file", array->name);
    }
    const lmn_status status = check_opened_array(dataset, array, size, err);
    lmn__h5_close(dataset);
    return status;
}

static lmn_status check_text(hid_t file, const lmn__state_text *text, lmn_error *err)
{
    if (!text->must_match) {
        return LMN_OK;
    }
    char *found = NULL;
    lmn_status status = lmn__h5_read_text(file, text->name, &found, err);
    if (status == LMN_OK && strcmp(found, text->value) != 0) {
        status = lmn_error_set(err, LMN_ERR_ARGUMENT,
                               "written with %s '%s', and this run has '%s'; give the same, or use "
                               "another checkpoint directory",
                               text->name, found, text->value);
    }
    lmn_free(found);
    return status;
}

/* Rank 0: compare the file with the list, and read the numbers. */
static lmn_status check_content(hid_t file, const lmn_state *state, int size, uint64_t *numbers_out,
                                lmn_error *err)
{
    uint64_t ranks = 0;
    lmn_status status = lmn__h5_read_u64(file, "ranks", &ranks, err);
    const lmn__state_text *texts = lmn__state_texts(state);
    for (size_t i = 0; status == LMN_OK && i < state->texts.count; i++) {
        status = check_text(file, &texts[i], err);
    }
    const lmn__state_array *arrays = lmn__state_arrays(state);
    for (size_t i = 0; status == LMN_OK && i < state->arrays.count; i++) {
        status = check_array(file, &arrays[i], ranks, size, err);
    }
    const lmn__state_number *numbers = lmn__state_numbers(state);
    for (size_t i = 0; status == LMN_OK && i < state->numbers.count; i++) {
        status = lmn__h5_read_u64(file, numbers[i].name, &numbers_out[i], err);
    }
    return status;
}

static lmn_status check_file(const char *path, const lmn_state *state, int size,
                             uint64_t *numbers_out, lmn_error *err)
{
    hid_t file = H5I_INVALID_HID;
    lmn_status status = lmn__h5_open_kind(path, LMN_FILE_CHECKPOINT, &file, err);
    if (status != LMN_OK) {
        return status;
    }
    status = check_content(file, state, size, numbers_out, err);
    if (status != LMN_OK) {
        lmn_error_add_context(err, "'%s'", path);
    }
    lmn__h5_close_file(file);
    return status;
}

/* Collective; nothing of the state changes. numbers_out [count] on all ranks. */
static lmn_status check_together(lmn_world *world, const char *path, const lmn_state *state,
                                 uint64_t *numbers_out, lmn_error *err)
{
    lmn_status status = lmn__seal_check(world, path, err);
    if (status != LMN_OK) {
        return status;
    }
    if (lmn_world_rank(world) == 0) {
        status = check_file(path, state, lmn_world_size(world), numbers_out, err);
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        const size_t bytes = state->numbers.count * sizeof *numbers_out;
        status = lmn_world_broadcast(world, numbers_out, bytes, 0, err);
    }
    return status;
}

lmn_status lmn_checkpoint_read(lmn_world *world, const char *path, lmn_state *state, lmn_error *err)
{
    const uint64_t path_hash = lmn_hash64(path, strlen(path), 0);
    lmn_status status = lmn_world_check_same(world, "the list of state to read",
                                             lmn__state_hash(state, path_hash), err);
    if (status != LMN_OK) {
        return status;
    }
    uint64_t *values = lmn_alloc(state->numbers.count, sizeof *values, err);
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    status = lmn_agree(world, values == NULL ? LMN_ERR_MEMORY : LMN_OK, err);
    if (status == LMN_OK) {
        status = check_together(world, path, state, values, err);
    }
    if (status == LMN_OK) {
        status = lmn__checkpoint_transfer(world, path, state, LMN__DIRECTION_READ, err);
    }
    const lmn__state_number *numbers = lmn__state_numbers(state);
    for (size_t i = 0; status == LMN_OK && values != NULL && i < state->numbers.count; i++) {
        *numbers[i].value = values[i];
    }
    lmn__h5_quiet_end(&quiet);
    lmn_free(values);
    return status;
}

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

/* The layout of one level. */
static const char flat[] = "flat";

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
    const char *wanted = lmn__state_kind_name(array->kind);
    if (status == LMN_OK && strcmp(found, wanted) != 0) {
        status = lmn_error_set(err, LMN_ERR_SHAPE,
                               "the array '%s' is %s in the file, and %s is "
                               "asked for",
                               array->name, found, wanted);
    }
    lmn_free(found);
    return status;
}

static lmn_status check_opened_array(hid_t dataset, const lmn__state_array *array, uint64_t ranks,
                                     lmn_error *err)
{
    const lmn__h5_shape wanted = lmn__state_file_shape(array, ranks);
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

/* Of a file with rows that are cut anew. */
static lmn_status check_workers(const lmn__rows *rows, lmn_error *err)
{
    if (rows->workers > 0 && rows->workers <= rows->ranks) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_ARGUMENT,
                         "written by %" PRIu64
                         " ranks with another hierarchy, of which it does not "
                         "say how many had states; run with the same ranks on the same nodes",
                         rows->ranks);
}

static lmn_status check_array(hid_t file, const lmn__state_array *array, const lmn__rows *rows,
                              int size, lmn_error *err)
{
    if (!lmn__array_is_read(file, array, rows)) {
        return LMN_OK;
    }
    const bool is_cut = array->kind == LMN_STATE_PER_RANK && rows->rule != LMN__ROWS_STAY;
    if (is_cut && array->elastic != LMN_ELASTIC_MEAN) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "written by %" PRIu64 " ranks and read by %d: '%s' belongs to single "
                             "ranks; run with %" PRIu64 " ranks on the same nodes",
                             rows->ranks, size, array->name, rows->ranks);
    }
    if (!lmn__h5_has_object(file, array->name)) {
        return lmn_error_set(err, LMN_ERR_SHAPE, "there is no array '%s' in the file", array->name);
    }
    const hid_t dataset = H5Dopen2(file, array->name, H5P_DEFAULT);
    if (dataset < 0) {
        return lmn_error_set(err, LMN_ERR_SHAPE, "'%s' is not an array in the file", array->name);
    }
    lmn_status status = is_cut ? check_workers(rows, err) : LMN_OK;
    if (status == LMN_OK) {
        status = check_opened_array(dataset, array, rows->ranks, err);
    }
    lmn__h5_close(dataset);
    return status;
}

/* Files that do not say have the layout of one level; older ones of two levels do not say how many
 * workers there were, and get 0. */
static lmn_status read_layout(hid_t file, char **layout_out, lmn__rows *rows, lmn_error *err)
{
    lmn_status status = LMN_OK;
    rows->workers = rows->ranks;
    if (lmn__h5_has_attribute(file, "hierarchy")) {
        status = lmn__h5_read_text(file, "hierarchy", layout_out, err);
    }
    if (status == LMN_OK && lmn__h5_has_attribute(file, "workers")) {
        return lmn__h5_read_u64(file, "workers", &rows->workers, err);
    }
    if (status == LMN_OK && *layout_out != NULL && strcmp(*layout_out, flat) != 0) {
        rows->workers = 0;
    }
    return status;
}

/* What becomes of the rows that the file has. */
static lmn_status find_rows(hid_t file, const lmn_state *state, int size, lmn__rows *rows_out,
                            lmn_error *err)
{
    char *layout = NULL;
    lmn_status status = lmn__h5_read_u64(file, "ranks", &rows_out->ranks, err);
    if (status == LMN_OK) {
        status = read_layout(file, &layout, rows_out, err);
    }
    const char *found = layout == NULL ? flat : layout;
    const uint64_t workers = lmn__state_workers(state, size);
    if (rows_out->ranks == (uint64_t)size && strcmp(found, lmn__state_layout(state)) == 0) {
        rows_out->rule = LMN__ROWS_STAY;
    } else if (rows_out->workers == rows_out->ranks && workers == (uint64_t)size) {
        rows_out->rule = LMN__ROWS_INTERVALS;
    } else {
        rows_out->rule = LMN__ROWS_MEAN;
    }
    lmn_free(layout);
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

/* What rank 0 finds out: the numbers of the list, and behind them the rows. */
static lmn__rows rows_behind(const uint64_t *found, size_t n_numbers)
{
    return (lmn__rows){
        .ranks = found[n_numbers], .workers = found[n_numbers + 1], .rule = found[n_numbers + 2]};
}

enum { ROW_NUMBERS = 3 };

/* Rank 0: compare the file with the list, and read the numbers. */
static lmn_status check_content(hid_t file, const lmn_state *state, int size, uint64_t *numbers_out,
                                lmn_error *err)
{
    lmn__rows rows = {.ranks = 0};
    lmn_status status = find_rows(file, state, size, &rows, err);
    uint64_t *behind = numbers_out + state->numbers.count;
    behind[0] = rows.ranks;
    behind[1] = rows.workers;
    behind[2] = rows.rule;
    const lmn__state_text *texts = lmn__state_texts(state);
    for (size_t i = 0; status == LMN_OK && i < state->texts.count; i++) {
        status = check_text(file, &texts[i], err);
    }
    const lmn__state_array *arrays = lmn__state_arrays(state);
    for (size_t i = 0; status == LMN_OK && i < state->arrays.count; i++) {
        status = check_array(file, &arrays[i], &rows, size, err);
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

/* Collective; nothing of the state changes. numbers_out [count + ROW_NUMBERS] on all ranks. */
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
        const size_t bytes = (state->numbers.count + ROW_NUMBERS) * sizeof *numbers_out;
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
    uint64_t *values = lmn_alloc(state->numbers.count + ROW_NUMBERS, sizeof *values, err);
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    status = lmn_agree(world, values == NULL ? LMN_ERR_MEMORY : LMN_OK, err);
    if (status == LMN_OK && values != NULL) {
        status = check_together(world, path, state, values, err);
    }
    if (status == LMN_OK && values != NULL) {
        const lmn__rows rows = rows_behind(values, state->numbers.count);
        state->ranks_read = rows.ranks;
        state->was_cut_anew = rows.rule != LMN__ROWS_STAY;
        status = lmn__checkpoint_load(world, path, state, &rows, err);
    }
    const lmn__state_number *numbers = lmn__state_numbers(state);
    for (size_t i = 0; status == LMN_OK && values != NULL && i < state->numbers.count; i++) {
        *numbers[i].value = values[i];
    }
    lmn__h5_quiet_end(&quiet);
    lmn_free(values);
    return status;
}

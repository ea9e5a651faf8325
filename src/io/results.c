/*
 * Results in memory: opening and closing, and attributes and lists that wait for a flush.
 *
 * What is set twice before a flush is written once. Tables are in results_table.c, and
 * results_file.c brings the file up to date.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "lamina/memory.h"
#include "results_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- opening and closing ---- */

/* Find out now, not after the first hour, that the file cannot be written. */
static lmn_status check_writable(const char *path, lmn_error *err)
{
    char part[LMN_PATH_BYTES];
    const lmn_status status = lmn__path_format(part, err, "%s.part", path);
    if (status != LMN_OK) {
        return status;
    }
    const int fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        return lmn__io_error(err, errno, "cannot write results to '%s'", path);
    }
    lmn__file_close(fd);
    (void)unlink(part);
    return LMN_OK;
}

/* With resume: whether there is a file, which must then be a good one. */
static lmn_status find_file(lmn_results *results, lmn_error *err)
{
    if (access(results->path, F_OK) != 0) {
        return LMN_OK;
    }
    hid_t file = H5I_INVALID_HID;
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    const lmn_status status = lmn__h5_open_kind(results->path, LMN_FILE_RESULTS, &file, err);
    lmn__h5_close_file(file);
    lmn__h5_quiet_end(&quiet);
    results->has_file = status == LMN_OK;
    return status;
}

lmn_status lmn_results_open(const char *path, bool resume, lmn_results **results_out,
                            lmn_error *err)
{
    lmn_results *results = lmn_alloc(1, sizeof *results, err);
    if (results == NULL) {
        return LMN_ERR_MEMORY;
    }
    lmn_status status = lmn__path_format(results->path, err, "%s", path);
    if (status == LMN_OK) {
        status = check_writable(path, err);
    }
    if (status == LMN_OK && resume) {
        status = find_file(results, err);
    }
    if (status != LMN_OK) {
        lmn_results_close(results);
        return status;
    }
    results->is_changed = !results->has_file;
    *results_out = results;
    return LMN_OK;
}

static void free_entry(lmn__entry *entry)
{
    if (entry != NULL) {
        lmn_free(entry->values);
        lmn_free(entry->texts);
        lmn_free(entry);
    }
}

void lmn__results_drop_entries(lmn_results *results)
{
    while (results->entries != NULL) {
        lmn__entry *entry = results->entries;
        results->entries = entry->next;
        free_entry(entry);
    }
}

void lmn_results_close(lmn_results *results)
{
    if (results == NULL) {
        return;
    }
    lmn__results_drop_entries(results);
    while (results->tables != NULL) {
        lmn_table *table = results->tables;
        results->tables = table->next;
        lmn__table_destroy(table);
    }
    lmn_free(results);
}

/* ---- attributes and lists ---- */

static bool is_attribute(const lmn__entry *entry)
{
    return entry->type == LMN__ENTRY_TEXT || entry->type == LMN__ENTRY_U64 ||
           entry->type == LMN__ENTRY_F64;
}

/* Whether setting `a` makes setting `b` before it superfluous. */
static bool replaces(const lmn__entry *a, const lmn__entry *b)
{
    return is_attribute(a) == is_attribute(b) && strcmp(a->place, b->place) == 0 &&
           (!is_attribute(a) || strcmp(a->name, b->name) == 0);
}

static lmn_status entry_create(lmn__entry_type type, const char *place, const char *name,
                               lmn__entry **entry_out, lmn_error *err)
{
    if (place[0] != '/' || strlen(place) >= LMN__RESULTS_NAME_BYTES ||
        strlen(name) >= LMN__RESULTS_NAME_BYTES) {
        (void)lmn_error_set(err, LMN_ERR_ARGUMENT,
                            "results cannot have '%.64s' in '%.64s': places begin with '/', and "
                            "names have less than %d bytes",
                            name, place, LMN__RESULTS_NAME_BYTES);
        return LMN_ERR_ARGUMENT;
    }
    lmn__entry *entry = lmn_alloc(1, sizeof *entry, err);
    if (entry == NULL) {
        return LMN_ERR_MEMORY;
    }
    entry->type = type;
    memcpy(entry->place, place, strlen(place) + 1);
    memcpy(entry->name, name, strlen(name) + 1);
    *entry_out = entry;
    return LMN_OK;
}

/* Put the entry into the list, in place of one that it replaces. */
static void entry_add(lmn_results *results, lmn__entry *entry)
{
    lmn__entry **link = &results->entries;
    while (*link != NULL && !replaces(entry, *link)) {
        link = &(*link)->next;
    }
    if (*link != NULL) {
        entry->next = (*link)->next;
        free_entry(*link);
    }
    *link = entry;
    results->is_changed = true;
}

static lmn_status copy_texts(const char *const *texts, size_t count, char ***copy_out,
                             lmn_error *err)
{
    size_t bytes = count * sizeof(char *);
    for (size_t i = 0; i < count; i++) {
        bytes += strlen(texts[i]) + 1;
    }
    char **copy = lmn_alloc(bytes, 1, err);
    if (copy == NULL) {
        return LMN_ERR_MEMORY;
    }
    char *to = (char *)(copy + count);
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(texts[i]) + 1;
        memcpy(to, texts[i], length);
        copy[i] = to;
        to += length;
    }
    *copy_out = copy;
    return LMN_OK;
}

lmn_status lmn_results_set_text(lmn_results *results, const char *group, const char *name,
                                const char *value, lmn_error *err)
{
    lmn__entry *entry = NULL;
    lmn_status status = entry_create(LMN__ENTRY_TEXT, group, name, &entry, err);
    if (status == LMN_OK) {
        status = copy_texts(&value, 1, &entry->texts, err);
    }
    if (status != LMN_OK) {
        free_entry(entry);
        return status;
    }
    entry_add(results, entry);
    return LMN_OK;
}

lmn_status lmn_results_set_u64(lmn_results *results, const char *group, const char *name,
                               uint64_t value, lmn_error *err)
{
    lmn__entry *entry = NULL;
    const lmn_status status = entry_create(LMN__ENTRY_U64, group, name, &entry, err);
    if (status == LMN_OK) {
        entry->u64 = value;
        entry_add(results, entry);
    }
    return status;
}

lmn_status lmn_results_set_f64(lmn_results *results, const char *group, const char *name,
                               double value, lmn_error *err)
{
    lmn__entry *entry = NULL;
    const lmn_status status = entry_create(LMN__ENTRY_F64, group, name, &entry, err);
    if (status == LMN_OK) {
        entry->f64 = value;
        entry_add(results, entry);
    }
    return status;
}

lmn_status lmn_results_set_texts(lmn_results *results, const char *path, const char *const *texts,
                                 size_t n, lmn_error *err)
{
    lmn__entry *entry = NULL;
    lmn_status status = entry_create(LMN__ENTRY_TEXTS, path, "", &entry, err);
    if (status == LMN_OK) {
        status = copy_texts(texts, n, &entry->texts, err);
    }
    if (status != LMN_OK) {
        free_entry(entry);
        return status;
    }
    entry->count = n;
    entry_add(results, entry);
    return LMN_OK;
}

/* Numbers of eight bytes each. */
static lmn_status set_numbers(lmn_results *results, const char *path, const char *unit,
                              lmn__entry_type type, const void *values, size_t n, lmn_error *err)
{
    lmn__entry *entry = NULL;
    lmn_status status = entry_create(type, path, unit, &entry, err);
    if (status == LMN_OK) {
        entry->values = lmn_alloc(n, sizeof(uint64_t), err);
        status = entry->values == NULL ? LMN_ERR_MEMORY : LMN_OK;
    }
    if (status != LMN_OK) {
        free_entry(entry);
        return status;
    }
    if (n > 0) {
        memcpy(entry->values, values, n * sizeof(uint64_t));
    }
    entry->count = n;
    entry_add(results, entry);
    return LMN_OK;
}

lmn_status lmn_results_set_u64s(lmn_results *results, const char *path, const char *unit,
                                const uint64_t *values, size_t n, lmn_error *err)
{
    return set_numbers(results, path, unit, LMN__ENTRY_U64S, values, n, err);
}

lmn_status lmn_results_set_f64s(lmn_results *results, const char *path, const char *unit,
                                const double *values, size_t n, lmn_error *err)
{
    return set_numbers(results, path, unit, LMN__ENTRY_F64S, values, n, err);
}

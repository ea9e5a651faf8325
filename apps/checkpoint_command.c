/*
 * Commands about checkpoints: what verify, diff, prune, export and import have in common.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_command.h"

#include "console.h"
#include "session.h"

#include <stdio.h>
#include <string.h>

static lmn_status check_words(const option_table *table, size_t n_words, const option_words *words,
                              lmn_error *err)
{
    if (n_words == 0 ? words->count > 0 : words->count == n_words) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_USAGE, "%s takes %s, and %zu words were given; see --help",
                         table->command, table->arguments, words->count);
}

exit_code checkpoint_command_run(const option_table *table, size_t n_words, int argc, char **argv,
                                 checkpoint_fn work, void *user)
{
    console c = console_make(false);
    option_words words;
    lmn_error err = lmn_error_none();
    lmn_status status = options_parse(table, argc, argv, &words, &err);
    if (status == LMN_OK && words.wants_help) {
        options_print_help(table);
        return EXIT_CODE_DONE;
    }
    if (status == LMN_OK) {
        status = check_words(table, n_words, &words, &err);
    }
    if (status == LMN_OK) {
        status = work(user, &words, &err);
    }
    if (status != LMN_OK) {
        console_error(&c, &err);
    }
    return session_exit_code(status);
}

lmn_status checkpoint_open(const char *path, lmn_file **file_out, lmn_error *err)
{
    lmn_file *file = NULL;
    const lmn_status status = lmn_file_open(path, &file, err);
    if (status != LMN_OK) {
        return status;
    }
    const lmn_file_kind kind = lmn_file_get_kind(file);
    if (kind != LMN_FILE_CHECKPOINT) {
        lmn_file_close(file);
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is a %s file, not a checkpoint", path,
                             lmn_file_kind_name(kind));
    }
    *file_out = file;
    return LMN_OK;
}

typedef struct reading {
    const char *folder;
    array_list *list;
} reading;

static lmn_status grow(array_list *list, lmn_error *err)
{
    const size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
    array_fact *items = lmn_alloc(capacity, sizeof *items, err);
    if (items == NULL) {
        return LMN_ERR_MEMORY;
    }
    if (list->count > 0) {
        memcpy(items, list->items, list->count * sizeof *items);
    }
    lmn_free(list->items);
    list->items = items;
    list->capacity = capacity;
    return LMN_OK;
}

static lmn_status take_array(void *user, const lmn_file_array *array, lmn_error *err)
{
    const reading *job = user;
    array_list *list = job->list;
    if (strncmp(array->path, job->folder, strlen(job->folder)) != 0) {
        return LMN_OK;
    }
    if (list->count == list->capacity && grow(list, err) != LMN_OK) {
        return LMN_ERR_MEMORY;
    }
    array_fact *fact = &list->items[list->count++];
    *fact = (array_fact){.n_dims = array->n_dims, .bytes = array->bytes, .offset = array->offset};
    (void)snprintf(fact->path, sizeof fact->path, "%s", array->path);
    (void)snprintf(fact->type, sizeof fact->type, "%s", array->type);
    memcpy(fact->dims, array->dims, sizeof fact->dims);
    return LMN_OK;
}

lmn_status array_list_read(const lmn_file *file, const char *folder, array_list *list_out,
                           lmn_error *err)
{
    *list_out = (array_list){.count = 0};
    reading job = {.folder = folder, .list = list_out};
    const lmn_status status = lmn_file_visit_arrays(file, take_array, &job, err);
    if (status != LMN_OK) {
        lmn_free(list_out->items);
        *list_out = (array_list){.count = 0};
    }
    return status;
}

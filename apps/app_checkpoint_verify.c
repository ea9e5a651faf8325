/*
 * `lamina checkpoint verify`: whether a checkpoint is whole, and what is damaged in one that is
 * not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_command.h"
#include "console.h"
#include "inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Arrays named for each damaged part; the others are counted. */
#define NAMED_MAX 8

static bool overlaps(const array_fact *array, uint64_t first, uint64_t end)
{
    return array->offset != UINT64_MAX && array->offset < end &&
           array->offset + array->bytes > first;
}

static void print_arrays(const array_list *arrays, uint64_t first, uint64_t end)
{
    size_t n = 0;
    for (size_t i = 0; i < arrays->count; i++) {
        if (!overlaps(&arrays->items[i], first, end)) {
            continue;
        }
        if (n < NAMED_MAX) {
            (void)printf("%s%s", n == 0 ? ", in reach of " : ", ", arrays->items[i].path);
        }
        n++;
    }
    if (n > NAMED_MAX) {
        (void)printf(" and %zu more", n - NAMED_MAX);
    }
    (void)printf("%s\n", n == 0 ? ", the file's own tables" : "");
}

/* As much as can be told. */
static void print_damage(const char *path)
{
    lmn_damage damage;
    lmn_file *file = NULL;
    array_list arrays = {.count = 0};
    if (lmn_checkpoint_find_damage(path, &damage, NULL) != LMN_OK) {
        return;
    }
    const bool has_names = lmn_file_open(path, &file, NULL) == LMN_OK &&
                           array_list_read(file, "/", &arrays, NULL) == LMN_OK;
    for (size_t i = 0; i < damage.count; i++) {
        (void)printf("%s: damaged in bytes %" PRIu64 " to %" PRIu64, path, damage.first[i],
                     damage.end[i] - 1);
        if (has_names) {
            print_arrays(&arrays, damage.first[i], damage.end[i]);
        } else {
            (void)printf("; its list of arrays cannot be read\n");
        }
    }
    lmn_free(arrays.items);
    lmn_file_close(file);
}

static lmn_status print_whole(const char *path, lmn_error *err)
{
    lmn_file *file = NULL;
    lmn_status status = checkpoint_open(path, &file, err);
    attribute step = {.is_there = false};
    attribute ranks = {.is_there = false};
    array_totals all = {.folder = "/"};
    if (status == LMN_OK) {
        status = inspect_find(file, "/", "step", &step, err);
    }
    if (status == LMN_OK) {
        status = inspect_find(file, "/", "ranks", &ranks, err);
    }
    if (status == LMN_OK) {
        status = inspect_count_arrays(file, &all, err);
    }
    if (status == LMN_OK) {
        (void)printf("%s: whole; step %" PRIu64 ", written by %" PRIu64 " rank%s, %" PRIu64
                     " arrays of %" PRIu64 " bytes\n",
                     path, step.u64, ranks.u64, ranks.u64 == 1 ? "" : "s", all.count, all.bytes);
    }
    lmn_file_close(file);
    return status;
}

static lmn_status verify_one(const char *path, lmn_error *err)
{
    const lmn_status status = lmn_checkpoint_verify(path, err);
    if (status == LMN_OK) {
        return print_whole(path, err);
    }
    if (status == LMN_ERR_FORMAT) {
        print_damage(path);
    }
    return status;
}

/* All are looked at; the last failure is for the caller to print. */
static lmn_status verify(void *user, const option_words *words, lmn_error *err)
{
    console *c = user;
    lmn_status status = LMN_OK;
    lmn_error found = lmn_error_none();
    for (size_t i = 0; i < words->count; i++) {
        lmn_error cause = lmn_error_none();
        const lmn_status one = verify_one(words->words[i], &cause);
        if (one == LMN_OK) {
            continue;
        }
        if (status != LMN_OK) {
            console_error(c, &found);
        }
        status = one;
        found = cause;
    }
    *err = found;
    return status;
}

static exit_code run(int argc, char **argv)
{
    const option_table table = {
        .command = "lamina checkpoint verify",
        .arguments = "FILE...",
        .summary = "Read checkpoints whole and compare their checksums. Exits with 0 only when all "
                   "are whole; of one that is not, tells which part and which arrays are damaged."};
    console c = console_make(false);
    return checkpoint_command_run(&table, 0, argc, argv, verify, &c);
}

const command command_checkpoint_verify = {
    .path = "checkpoint verify", .summary = "whether checkpoints are whole", .run = run};

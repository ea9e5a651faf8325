/*
 * Checkpoints in a directory: their names, which is the newest, and which may go.
 *
 * A checkpoint is named checkpoint-<step>.h5, its step without leading zeros, and while it is being
 * written .checkpoint-<step>.h5.part. Other files in the directory are left alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_internal.h"
#include "digest_internal.h"
#include "files_internal.h"
#include "lamina/memory.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

lmn_status lmn__checkpoint_path(char path_out[LMN_PATH_BYTES], const char *directory, uint64_t step,
                                lmn_error *err)
{
    return lmn__path_format(path_out, err, "%s/checkpoint-%" PRIu64 ".h5", directory, step);
}

lmn_status lmn__checkpoint_part(char path_out[LMN_PATH_BYTES], const char *directory, uint64_t step,
                                lmn_error *err)
{
    return lmn__path_format(path_out, err, "%s/.checkpoint-%" PRIu64 ".h5.part", directory, step);
}

/* Whether `name` is prefix + step + suffix, and which step. */
static bool parse_name(const char *name, const char *prefix, const char *suffix, uint64_t *step_out)
{
    const size_t prefix_length = strlen(prefix);
    if (strncmp(name, prefix, prefix_length) != 0) {
        return false;
    }
    const char *digits = name + prefix_length;
    const bool is_zero = digits[0] == '0' && strcmp(digits + 1, suffix) == 0;
    if (!isdigit((unsigned char)digits[0]) || (digits[0] == '0' && !is_zero)) {
        return false;
    }
    char *end = NULL;
    errno = 0;
    const uint64_t step = strtoull(digits, &end, 10);
    if (errno != 0 || strcmp(end, suffix) != 0) {
        return false;
    }
    *step_out = step;
    return true;
}

static int is_checkpoint(const struct dirent *entry)
{
    uint64_t step = 0;
    return parse_name(entry->d_name, "checkpoint-", ".h5", &step) ? 1 : 0;
}

/* With anything behind it: MPI may keep files of its own beside the one it writes. */
static int is_part(const struct dirent *entry)
{
    const char prefix[] = ".checkpoint-";
    const char *name = entry->d_name;
    return strncmp(name, prefix, strlen(prefix)) == 0 && strstr(name, ".h5.part") != NULL ? 1 : 0;
}

static int by_step_descending(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;
    return (left < right) - (left > right);
}

static void free_entries(struct dirent **entries, int count)
{
    for (int i = 0; i < count; i++) {
        free(entries[i]);
    }
    free(entries);
}

/* Steps of the checkpoints in a directory, newest first; none when it is missing. */
static lmn_status list_steps(const char *directory, uint64_t **steps_out, size_t *count_out,
                             lmn_error *err)
{
    struct dirent **entries = NULL;
    const int found = scandir(directory, &entries, is_checkpoint, NULL);
    if (found < 0 && errno != ENOENT) {
        return lmn__io_error(err, errno, "cannot list the directory '%s'", directory);
    }
    const size_t count = found > 0 ? (size_t)found : 0;
    uint64_t *steps = lmn_alloc(count, sizeof *steps, err);
    for (size_t i = 0; steps != NULL && i < count; i++) {
        (void)parse_name(entries[i]->d_name, "checkpoint-", ".h5", &steps[i]);
    }
    free_entries(entries, found);
    if (steps == NULL) {
        return LMN_ERR_MEMORY;
    }
    qsort(steps, count, sizeof *steps, by_step_descending);
    *steps_out = steps;
    *count_out = count;
    return LMN_OK;
}

void lmn__checkpoint_remove_parts(const char *directory)
{
    struct dirent **entries = NULL;
    const int found = scandir(directory, &entries, is_part, NULL);
    for (int i = 0; i < found; i++) {
        char path[LMN_PATH_BYTES];
        if (lmn__path_format(path, NULL, "%s/%s", directory, entries[i]->d_name) == LMN_OK) {
            (void)unlink(path);
        }
    }
    free_entries(entries, found);
}

/* Whether pruning may remove the checkpoint at `path`; counts the ones that stay. */
static bool is_superfluous(const char *path, uint64_t step, uint64_t newest, size_t keep,
                           size_t *kept)
{
    if (step > newest) {
        return false;
    }
    const bool is_complete = step == newest || lmn__seal_check_length(path, NULL) == LMN_OK;
    if (!is_complete || *kept >= keep) {
        return true;
    }
    *kept += 1;
    return false;
}

lmn_status lmn__checkpoint_prune(const char *directory, uint64_t step, size_t keep, lmn_error *err)
{
    uint64_t *steps = NULL;
    size_t count = 0;
    if (keep == 0) {
        return LMN_OK;
    }
    lmn_status status = list_steps(directory, &steps, &count, err);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        char path[LMN_PATH_BYTES];
        if (lmn__checkpoint_path(path, directory, steps[i], err) == LMN_OK &&
            is_superfluous(path, steps[i], step, keep, &kept) && unlink(path) != 0) {
            status = lmn__io_error(err, errno, "cannot remove '%s'", path);
        }
    }
    lmn_free(steps);
    return status;
}

/* What to do with each of the checkpoints, which are in order; false when none is complete. */
static bool judge(const char *directory, const uint64_t *steps, size_t count, size_t keep,
                  lmn_prune_action *actions_out)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        char path[LMN_PATH_BYTES];
        const bool is_complete = kept < keep &&
                                 lmn__checkpoint_path(path, directory, steps[i], NULL) == LMN_OK &&
                                 lmn_checkpoint_verify(path, NULL) == LMN_OK;
        if (is_complete) {
            actions_out[i] = LMN_PRUNE_KEEP;
            kept++;
        } else {
            actions_out[i] = kept < keep ? LMN_PRUNE_DAMAGED : LMN_PRUNE_OLD;
        }
    }
    return kept > 0;
}

static lmn_status prune_one(const char *directory, uint64_t step, lmn_prune_action action, bool dry,
                            lmn_prune_fn tell, void *user, lmn_error *err)
{
    char path[LMN_PATH_BYTES];
    const lmn_status status = lmn__checkpoint_path(path, directory, step, err);
    if (status != LMN_OK) {
        return status;
    }
    if (action != LMN_PRUNE_KEEP && !dry && unlink(path) != 0) {
        return lmn__io_error(err, errno, "cannot remove '%s'", path);
    }
    tell(user, path, action);
    return LMN_OK;
}

lmn_status lmn_checkpoint_prune(const char *directory, size_t keep, bool dry, lmn_prune_fn tell,
                                void *user, lmn_error *err)
{
    if (keep == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "at least 1 checkpoint must be kept");
    }
    uint64_t *steps = NULL;
    size_t count = 0;
    lmn_status status = list_steps(directory, &steps, &count, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_prune_action *actions = lmn_alloc(count, sizeof *actions, err);
    if (actions == NULL) {
        status = LMN_ERR_MEMORY;
    } else if (!judge(directory, steps, count, keep, actions)) {
        status = lmn_error_set(err, LMN_ERR_IO,
                               "'%s' holds no complete checkpoint among %zu; nothing was removed",
                               directory, count);
    }
    for (size_t i = 0; status == LMN_OK && i < count; i++) {
        status = prune_one(directory, steps[i], actions[i], dry, tell, user, err);
    }
    lmn_free(actions);
    lmn_free(steps);
    return status;
}

/* Go through the candidates, which rank 0 alone knows, until one is whole. Collective. */
static lmn_status find_whole(lmn_world *world, const char *directory, const uint64_t *steps,
                             uint64_t count, char *path_out, uint64_t *step_out, lmn_error *err)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t step = steps == NULL ? 0 : steps[i];
        lmn_status status = lmn_world_broadcast(world, &step, sizeof step, 0, err);
        char path[LMN_PATH_BYTES];
        if (status == LMN_OK) {
            status = lmn_agree(world, lmn__checkpoint_path(path, directory, step, err), err);
        }
        if (status != LMN_OK) {
            return status;
        }
        lmn_error damage = lmn_error_none();
        status = lmn__seal_check(world, path, &damage);
        if (status == LMN_OK) {
            memcpy(path_out, path, sizeof path);
            *step_out = step;
            return LMN_OK;
        }
        if (status != LMN_ERR_FORMAT) {
            /* Out of reach is not damaged: going on without it would begin anew. */
            return lmn_error_set(err, status, "%s", damage.message);
        }
        if (lmn_world_rank(world) == 0) {
            lmn_log_write(lmn_world_log(world), LMN_LOG_WARN, "checkpoint passed over: %s",
                          damage.message);
        }
    }
    path_out[0] = '\0';
    *step_out = 0;
    return LMN_OK;
}

lmn_status lmn_checkpoint_latest(lmn_world *world, const char *directory, char *path_out,
                                 uint64_t *step_out, lmn_error *err)
{
    uint64_t *steps = NULL;
    size_t found = 0;
    lmn_status status = LMN_OK;
    if (lmn_world_rank(world) == 0) {
        status = list_steps(directory, &steps, &found, err);
    }
    status = lmn_agree(world, status, err);
    uint64_t count = found;
    if (status == LMN_OK) {
        status = lmn_world_broadcast(world, &count, sizeof count, 0, err);
    }
    if (status == LMN_OK) {
        status = find_whole(world, directory, steps, count, path_out, step_out, err);
    }
    lmn_free(steps);
    return status;
}

/*
 * Which checkpoint is meant, and what it says of its model.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_facts.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* The file that was meant, where a directory was given. */
static lmn_status find_file(lmn_world *world, const char *path, checkpoint_facts *facts,
                            lmn_error *err)
{
    struct stat info;
    uint64_t is_directory = stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? 1 : 0;
    lmn_status status = lmn_world_max_u64(world, &is_directory, 1, err);
    if (status != LMN_OK) {
        return status;
    }
    if (is_directory == 0) {
        (void)snprintf(facts->path, sizeof facts->path, "%s", path);
        return LMN_OK;
    }
    status = lmn_checkpoint_latest(world, path, facts->path, &facts->step, err);
    if (status == LMN_OK && facts->path[0] == '\0') {
        return lmn_error_set(err, LMN_ERR_IO, "'%s' holds no complete checkpoint", path);
    }
    return status;
}

static lmn_status take_attribute(void *user, const lmn_value *value, lmn_error *err)
{
    checkpoint_facts *facts = user;
    const struct {
        const char *name;
        char *text;
    } texts[] = {{"model", facts->model},
                 {"task", facts->task},
                 {"vocabulary_hash", facts->vocabulary_hash}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(value->name, texts[i].name) == 0 && value->type == LMN_VALUE_TEXT) {
            const int length = snprintf(texts[i].text, FACT_BYTES, "%s", value->text);
            if (length < 0 || length >= FACT_BYTES) {
                return lmn_error_set(err, LMN_ERR_FORMAT, "its %s has an overlong name",
                                     value->name);
            }
        }
    }
    if (strcmp(value->name, "step") == 0 && value->type == LMN_VALUE_U64) {
        facts->step = value->u64;
    }
    return LMN_OK;
}

/* Local. */
static lmn_status read_attributes(checkpoint_facts *facts, lmn_error *err)
{
    lmn_file *file = NULL;
    lmn_status status = lmn_file_open(facts->path, &file, err);
    if (status != LMN_OK) {
        return status;
    }
    if (lmn_file_get_kind(file) != LMN_FILE_CHECKPOINT) {
        status = lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is a %s file, not a checkpoint",
                               facts->path, lmn_file_kind_name(lmn_file_get_kind(file)));
    } else {
        status = lmn_file_visit_attributes(file, "/", take_attribute, facts, err);
    }
    lmn_file_close(file);
    if (status == LMN_OK && facts->model[0] == '\0') {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "'%s' does not say which model it holds (attribute 'model')",
                               facts->path);
    }
    return status;
}

lmn_status checkpoint_facts_read(lmn_world *world, const char *path, checkpoint_facts *facts_out,
                                 lmn_error *err)
{
    *facts_out = (checkpoint_facts){.step = 0};
    const lmn_status status = find_file(world, path, facts_out, err);
    return status == LMN_OK ? lmn_agree(world, read_attributes(facts_out, err), err) : status;
}

lmn_status checkpoint_load_parameters(lmn_world *world, const checkpoint_facts *facts,
                                      lmn_parameters *parameters, lmn_error *err)
{
    lmn_state *state = NULL;
    lmn_status status = lmn_state_create(&state, err);
    if (status == LMN_OK) {
        status = lmn_parameters_add_state(parameters, state, err);
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        status = lmn_checkpoint_read(world, facts->path, state, err);
    }
    lmn_state_destroy(state);
    return status;
}

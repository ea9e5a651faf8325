/*
 * Writing a checkpoint: create, fill, seal, name.
 *
 * Rank 0 creates the file with all its attributes and empty arrays and makes sure that the disk
 * holds all of it, so that a full disk is found before any data moves. Then all ranks write their
 * arrays together, hash the file together, and rank 0 seals it and gives it its name. Each phase
 * ends in an agreement; after a failure rank 0 removes the part.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_internal.h"
#include "digest_internal.h"
#include "files_internal.h"
#include "h5_output_internal.h"

#include <inttypes.h>
#include <unistd.h>

#include <hdf5_hl.h>

static lmn_status write_array(hid_t file, const lmn__state_array *array, int size, lmn_error *err)
{
    const lmn__h5_shape shape = lmn__state_file_shape(array, (uint64_t)size);
    const bool is_per_rank = array->kind == LMN_STATE_PER_RANK;
    const char *kind = lmn__state_kind_name(array->kind);
    hid_t dataset = H5I_INVALID_HID;
    lmn_status status = lmn__h5_create_array(file, array->name, lmn__state_file_type(array->type),
                                             &shape, array->unit, &dataset, err);
    if (status == LMN_OK) {
        status = lmn__h5_write_text(dataset, "distribution", kind, err);
    }
    if (status == LMN_OK && is_per_rank && H5DSset_label(dataset, 0, "rank") < 0) {
        status = lmn__h5_error(err, LMN_ERR_IO, "cannot label '%s'", array->name);
    }
    lmn__h5_close(dataset);
    return status;
}

static lmn_status write_content(hid_t file, const lmn_state *state, uint64_t step, int size,
                                lmn_error *err)
{
    lmn_status status = lmn__h5_write_kind(file, LMN_FILE_CHECKPOINT, err);
    if (status == LMN_OK) {
        status = lmn__h5_write_u64(file, "step", step, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_write_u64(file, "ranks", (uint64_t)size, err);
    }
    if (status == LMN_OK && state->layout != NULL) {
        status = lmn__h5_write_text(file, "hierarchy", state->layout, err);
    }
    if (status == LMN_OK && state->layout != NULL) {
        status = lmn__h5_write_u64(file, "workers", state->workers, err);
    }
    const lmn__state_number *numbers = lmn__state_numbers(state);
    for (size_t i = 0; status == LMN_OK && i < state->numbers.count; i++) {
        status = lmn__h5_write_u64(file, numbers[i].name, *numbers[i].value, err);
    }
    const lmn__state_text *texts = lmn__state_texts(state);
    for (size_t i = 0; status == LMN_OK && i < state->texts.count; i++) {
        status = lmn__h5_write_text(file, texts[i].name, texts[i].value, err);
    }
    const lmn__state_array *arrays = lmn__state_arrays(state);
    for (size_t i = 0; status == LMN_OK && i < state->arrays.count; i++) {
        status = write_array(file, &arrays[i], size, err);
    }
    return status;
}

static lmn_status length_of(const char *path, uint64_t *bytes_out, lmn_error *err)
{
    int fd = -1;
    lmn_status status = lmn__file_open_read(path, &fd, err);
    if (status == LMN_OK) {
        status = lmn__file_length(fd, path, bytes_out, err);
        lmn__file_close(fd);
    }
    return status;
}

/* Rank 0: the file with everything but the arrays' data, on a disk that has room for that too. */
static lmn_status create_part(const char *directory, const char *part, const lmn_state *state,
                              uint64_t step, int size, uint64_t *bytes_out, lmn_error *err)
{
    lmn_status status = lmn__directory_create(directory, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn__checkpoint_remove_parts(directory);
    lmn__h5_output output = LMN__H5_OUTPUT_NONE;
    status = lmn__h5_output_create(&output, part, LMN__SEAL_BYTES, err);
    if (status == LMN_OK) {
        status = write_content(output.file, state, step, size, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_output_finish(&output, err);
    }
    if (status == LMN_OK) {
        status = length_of(part, bytes_out, err);
    }
    if (status == LMN_OK) {
        status = lmn__file_reserve(part, *bytes_out, err);
    }
    if (status != LMN_OK) {
        lmn__h5_output_discard(&output);
    }
    return status;
}

/* Local: whether this rank sees the file that rank 0 made. */
static lmn_status check_shared(const char *part, const char *directory, uint64_t bytes,
                               lmn_error *err)
{
    uint64_t seen = 0;
    const lmn_status status = length_of(part, &seen, NULL);
    if (status == LMN_OK && seen == bytes) {
        return LMN_OK;
    }
    return lmn_error_set(err, LMN_ERR_IO,
                         "the checkpoint directory '%s' is not the same on all ranks; use one on a "
                         "file system that all of them share",
                         directory);
}

/* Rank 0: put the seal into the file and give it its name. */
static lmn_status seal_and_name(const char *part, const char *path, const lmn__seal *seal,
                                lmn_error *err)
{
    const lmn_status status = lmn__file_patch(part, 0, seal->bytes, sizeof seal->bytes, err);
    return status == LMN_OK ? lmn__file_publish(part, path, err) : status;
}

/* The phases. Collective; agrees before it returns, and leaves the part to the caller. */
static lmn_status write_phases(lmn_world *world, const char *directory, const char *part,
                               uint64_t step, const lmn_state *state, lmn_error *err)
{
    const bool is_first = lmn_world_rank(world) == 0;
    uint64_t bytes = 0;
    lmn_status status = LMN_OK;
    if (is_first) {
        status = create_part(directory, part, state, step, lmn_world_size(world), &bytes, err);
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        status = lmn_world_broadcast(world, &bytes, sizeof bytes, 0, err);
    }
    if (status == LMN_OK) {
        status = lmn_agree(world, check_shared(part, directory, bytes, err), err);
    }
    if (status == LMN_OK) {
        status = lmn__checkpoint_transfer(world, part, state, LMN__DIRECTION_WRITE, NULL, err);
    }
    lmn__seal seal = {{0}};
    if (status == LMN_OK) {
        status = lmn__seal_compute(world, part, 1, &seal, err);
    }
    char path[LMN_PATH_BYTES];
    if (status == LMN_OK && is_first) {
        status = lmn__checkpoint_path(path, directory, step, err);
    }
    if (status == LMN_OK && is_first) {
        status = seal_and_name(part, path, &seal, err);
    }
    return lmn_agree(world, status, err);
}

lmn_status lmn_checkpoint_write(lmn_world *world, const char *directory, uint64_t step,
                                const lmn_state *state, size_t keep, lmn_error *err)
{
    char part[LMN_PATH_BYTES];
    lmn_status status = lmn_agree(world, lmn__checkpoint_part(part, directory, step, err), err);
    if (status == LMN_OK) {
        status = lmn_world_check_same(world, "the list of state to write",
                                      lmn__state_hash(state, step), err);
    }
    if (status != LMN_OK) {
        return status;
    }
    const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
    status = write_phases(world, directory, part, step, state, err);
    lmn__h5_quiet_end(&quiet);
    if (lmn_world_rank(world) == 0 && status == LMN_OK) {
        lmn__checkpoint_prune(directory, step, keep, lmn_world_log(world));
    } else if (lmn_world_rank(world) == 0) {
        (void)unlink(part);
    }
    /* No rank goes on before the directory is in order. */
    return lmn_agree(world, status, err);
}

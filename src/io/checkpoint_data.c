/*
 * The arrays of a checkpoint from file to memory, by all ranks at once.
 *
 * Every rank takes part in every transfer, also with nothing to move and also after a failure of
 * its own: what failed is agreed on once, at the end of each phase.
 *
 * A run of elements in row-major order is not what HDF5 selects, which is boxes; such a run is made
 * of at most 2 * n_dims - 1 of them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "checkpoint_internal.h"
#include "lamina/memory.h"
#include "lamina/partition.h"

#include <stdio.h>
#include <string.h>

/* From where, and by whom. */
typedef struct course {
    lmn_world *world;      /* borrowed */
    hid_t file;            /* borrowed */
    const lmn__rows *rows; /* borrowed */
} course;

/* One array on its way; none without a dataset. */
typedef struct transfer {
    bool has_rows;      /* that are cut anew: of those nothing but the dataset is open */
    hid_t dataset;      /* owned */
    hid_t file_space;   /* owned, selected */
    hid_t memory_space; /* owned, selected */
    hid_t type;         /* borrowed */
    void *data;         /* borrowed; first element that this rank reads */
} transfer;

/* The largest box that begins at element `first` and holds no more than `count` elements. */
static uint64_t largest_box(const lmn__h5_shape *shape, uint64_t first, uint64_t count,
                            hsize_t start[LMN__H5_DIMS_MAX], hsize_t extent[LMN__H5_DIMS_MAX])
{
    uint64_t stride = 1; /* elements that one step along dimension i passes over */
    uint64_t best = 0;
    uint64_t rest = first;
    for (int i = shape->n_dims - 1; i >= 0; i--) {
        start[i] = rest % shape->dims[i];
        rest /= shape->dims[i];
    }
    for (int i = shape->n_dims - 1; i >= 0 && first % stride == 0 && count >= stride; i--) {
        const uint64_t whole = count / stride;
        const uint64_t room = shape->dims[i] - start[i];
        const uint64_t steps = whole < room ? whole : room;
        for (int k = 0; k < shape->n_dims; k++) {
            extent[k] = k < i ? 1 : shape->dims[k];
        }
        extent[i] = steps;
        best = steps * stride;
        stride *= shape->dims[i];
    }
    return best;
}

bool lmn__select_range(hid_t space, const lmn__h5_shape *shape, uint64_t first, uint64_t count)
{
    if (count == 0) {
        return H5Sselect_none(space) >= 0;
    }
    if (count == lmn__h5_elements(shape)) {
        return H5Sselect_all(space) >= 0;
    }
    H5S_seloper_t how = H5S_SELECT_SET;
    uint64_t done = 0;
    while (done < count) {
        hsize_t start[LMN__H5_DIMS_MAX] = {0};
        hsize_t extent[LMN__H5_DIMS_MAX] = {0};
        done += largest_box(shape, first + done, count - done, start, extent);
        if (H5Sselect_hyperslab(space, how, start, NULL, extent, NULL) < 0) {
            return false;
        }
        how = H5S_SELECT_OR;
    }
    return true;
}

/* Which elements of the file's array this rank reads. */
static lmn_range file_range(const lmn__state_array *array, const lmn_world *world)
{
    const size_t rank = (size_t)lmn_world_rank(world);
    if (array->kind == LMN_STATE_PER_RANK) {
        return (lmn_range){.first = rank * array->count, .count = array->count};
    }
    if (array->kind == LMN_STATE_SLICED) {
        return (lmn_range){.first = array->first, .count = array->count};
    }
    return (lmn_range){.first = 0, .count = array->count};
}

static hid_t open_as(const lmn_world *world, const char *path)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    hid_t file = H5I_INVALID_HID;
    if (H5Pset_fapl_mpio(access, lmn_world_comm(world), MPI_INFO_NULL) >= 0 &&
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0) {
        file = H5Fopen(path, H5F_ACC_RDONLY, access);
    }
    lmn__h5_close(access);
    return file;
}

/* Some MPI-IO (ROMIO) takes what stands before a colon for the kind of a file system, and refuses a
 * path that merely has one; behind a kind that it knows the path is taken as it is. */
static hid_t open_file(lmn_world *world, const char *path)
{
    const hid_t file = open_as(world, path);
    if (strchr(path, ':') == NULL ||
        lmn_agree(world, file >= 0 ? LMN_OK : LMN_ERR_IO, NULL) == LMN_OK) {
        return file;
    }
    char typed[LMN_PATH_BYTES + sizeof "ufs:"];
    (void)snprintf(typed, sizeof typed, "ufs:%s", path);
    return file >= 0 ? file : open_as(world, typed);
}

/* Local: dataset and selections. */
static lmn_status select_part(transfer *item, const course *to, const lmn__state_array *array,
                              lmn_error *err)
{
    const lmn__h5_shape shape = lmn__state_file_shape(array, (uint64_t)lmn_world_size(to->world));
    const lmn_range range = file_range(array, to->world);
    const hsize_t memory_dims[1] = {range.count > 0 ? range.count : 1};
    item->file_space = H5Dget_space(item->dataset);
    item->memory_space = H5Screate_simple(1, memory_dims, NULL);
    item->type = lmn__state_memory_type(array->type);
    item->data = array->data;
    const bool is_selected =
        item->dataset >= 0 &&
        lmn__select_range(item->file_space, &shape, range.first, range.count) &&
        (range.count > 0 || H5Sselect_none(item->memory_space) >= 0);
    return is_selected ? LMN_OK : lmn__h5_error(err, LMN_ERR_IO, "cannot open '%s'", array->name);
}

static bool cuts_anew(const course *to, const lmn__state_array *array)
{
    return to->rows->rule != LMN__ROWS_STAY && array->kind == LMN_STATE_PER_RANK;
}

static lmn_status prepare(transfer *item, const course *to, const lmn__state_array *array,
                          lmn_error *err)
{
    if (!lmn__array_is_read(to->file, array, to->rows)) {
        return LMN_OK;
    }
    item->dataset = H5Dopen2(to->file, array->name, H5P_DEFAULT);
    item->has_rows = cuts_anew(to, array);
    if (item->has_rows && item->dataset >= 0) {
        return LMN_OK;
    }
    return select_part(item, to, array, err);
}

static transfer *prepare_all(const course *to, const lmn_state *state, lmn_status *status_out,
                             lmn_error *err)
{
    const lmn__state_array *arrays = lmn__state_arrays(state);
    transfer *items = lmn_alloc(state->arrays.count, sizeof *items, err);
    lmn_status status = items == NULL ? LMN_ERR_MEMORY : LMN_OK;
    for (size_t i = 0; items != NULL && i < state->arrays.count; i++) {
        items[i].dataset = items[i].file_space = items[i].memory_space = H5I_INVALID_HID;
    }
    for (size_t i = 0; status == LMN_OK && i < state->arrays.count; i++) {
        status = prepare(&items[i], to, &arrays[i], err);
    }
    *status_out = status;
    return items;
}

static void release_all(transfer *items, size_t count)
{
    for (size_t i = 0; items != NULL && i < count; i++) {
        lmn__h5_close(items[i].dataset);
        lmn__h5_close(items[i].file_space);
        lmn__h5_close(items[i].memory_space);
    }
    lmn_free(items);
}

static lmn_status move_one(const transfer *item, const course *to, const lmn__state_array *array,
                           hid_t how, lmn_error *err)
{
    if (item->has_rows) {
        return lmn__checkpoint_read_rows(item->dataset, array, to->rows, lmn_world_rank(to->world),
                                         lmn_world_size(to->world), err);
    }
    const herr_t code =
        H5Dread(item->dataset, item->type, item->memory_space, item->file_space, how, item->data);
    return code >= 0 ? LMN_OK : lmn__h5_error(err, LMN_ERR_IO, "cannot read '%s'", array->name);
}

/* Collective: goes through all arrays whatever happens. Returns this rank's own outcome. */
static lmn_status move_all(const transfer *items, const course *to, const lmn_state *state,
                           lmn_error *err)
{
    const lmn__state_array *arrays = lmn__state_arrays(state);
    const hid_t how = H5Pcreate(H5P_DATASET_XFER);
    (void)H5Pset_dxpl_mpio(how, H5FD_MPIO_COLLECTIVE);
    lmn_status status = LMN_OK;
    for (size_t i = 0; i < state->arrays.count; i++) {
        if (items[i].dataset < 0) {
            continue;
        }
        lmn_error cause = lmn_error_none();
        const lmn_status one = move_one(&items[i], to, &arrays[i], how, &cause);
        if (one != LMN_OK && status == LMN_OK) {
            status = one;
            *err = cause;
        }
    }
    lmn__h5_close(how);
    return status;
}

/* Between opening and closing of the file; agrees before it returns. */
static lmn_status transfer_opened(const course *to, const lmn_state *state, lmn_error *err)
{
    lmn_status status = LMN_OK;
    transfer *items = prepare_all(to, state, &status, err);
    status = lmn_agree(to->world, status, err);
    if (status == LMN_OK) {
        status = move_all(items, to, state, err);
    }
    release_all(items, state->arrays.count);
    return lmn_agree(to->world, status, err);
}

lmn_status lmn__checkpoint_load(lmn_world *world, const char *path, const lmn_state *state,
                                const lmn__rows *rows, lmn_error *err)
{
    const hid_t file = open_file(world, path);
    const course to = {.world = world, .file = file, .rows = rows};
    lmn_status status =
        file >= 0 ? LMN_OK : lmn__h5_error(err, LMN_ERR_IO, "cannot open '%s' on all ranks", path);
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        status = transfer_opened(&to, state, err);
        if (status != LMN_OK) {
            lmn_error_add_context(err, "'%s'", path);
        }
    }
    /* On a failure too: closing is collective, and all ranks come here with the same outcome. */
    const bool is_closed = file < 0 || H5Fclose(file) >= 0;
    if (status == LMN_OK && !is_closed) {
        status = lmn__h5_error(err, LMN_ERR_IO, "cannot close '%s'", path);
    }
    return lmn_agree(world, status, err);
}

/*
 * Sweeps: results files copied into one, group by group.
 *
 * HDF5 copies a group with all that is in it, but the references by which a table's columns name
 * their key still point into the file they came from. They are dropped from the copy and made anew.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/sweep.h"

#include "files_internal.h"
#include "h5_output_internal.h"
#include "lamina/memory.h"
#include "sweep_internal.h"

#include <stdio.h>
#include <string.h>

#include <hdf5_hl.h>

static herr_t drop_references(hid_t root, const char *name, const H5O_info_t *info, void *user)
{
    (void)user;
    if (info->type != H5O_TYPE_DATASET) {
        return 0;
    }
    static const char *const references[] = {"DIMENSION_LIST", "REFERENCE_LIST"};
    herr_t result = 0;
    for (size_t i = 0; i < sizeof references / sizeof references[0] && result >= 0; i++) {
        if (H5Aexists_by_name(root, name, references[i], H5P_DEFAULT) > 0) {
            result = H5Adelete_by_name(root, name, references[i], H5P_DEFAULT);
        }
    }
    return result;
}

/* The first column of a table is its key. */
static lmn_status attach_key(hid_t group, const char *name, lmn_error *err)
{
    char *columns = NULL;
    lmn_status status = lmn__h5_read_text(group, "columns", &columns, err);
    if (status != LMN_OK) {
        return status;
    }
    columns[strcspn(columns, " ")] = '\0';
    const hid_t key = H5Dopen2(group, columns, H5P_DEFAULT);
    H5G_info_t info = {.nlinks = 0};
    bool is_good = key >= 0 && H5Gget_info(group, &info) >= 0;
    for (hsize_t i = 0; is_good && i < info.nlinks; i++) {
        const hid_t column = H5Oopen_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, H5P_DEFAULT);
        is_good = H5DSis_scale(column) > 0 || H5DSattach_scale(column, key, 0) >= 0;
        lmn__h5_close(column);
    }
    lmn__h5_close(key);
    lmn_free(columns);
    return is_good ? LMN_OK : lmn__h5_error(err, LMN_ERR_FORMAT, "the table '%s' is damaged", name);
}

static lmn_status attach_keys(hid_t run, lmn_error *err)
{
    H5G_info_t info = {.nlinks = 0};
    if (H5Gget_info(run, &info) < 0) {
        return lmn__h5_error(err, LMN_ERR_FORMAT, "its groups cannot be listed");
    }
    lmn_status status = LMN_OK;
    for (hsize_t i = 0; status == LMN_OK && i < info.nlinks; i++) {
        char name[LMN_PATH_BYTES] = "";
        (void)H5Lget_name_by_idx(run, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name,
                                 H5P_DEFAULT);
        const hid_t group = H5Oopen(run, name, H5P_DEFAULT);
        if (H5Iget_type(group) == H5I_GROUP && lmn__h5_has_attribute(group, "columns")) {
            status = attach_key(group, name, err);
        }
        lmn__h5_close(group);
    }
    return status;
}

static lmn_status finish_copy(hid_t file, const char *place, const char *path, lmn_error *err)
{
    const hid_t run = H5Gopen2(file, place, H5P_DEFAULT);
    lmn_status status = LMN_OK;
    if (run < 0 || H5Ovisit(run, H5_INDEX_NAME, H5_ITER_NATIVE, drop_references, NULL) < 0) {
        status = lmn__h5_error(err, LMN_ERR_IO, "cannot copy '%s'", path);
    }
    if (status == LMN_OK) {
        status = attach_keys(run, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_write_text(run, "file", path, err);
    }
    lmn__h5_close(run);
    return status;
}

static lmn_status copy_run(hid_t file, size_t index, const char *path, lmn_error *err)
{
    char place[32];
    (void)snprintf(place, sizeof place, "/runs/%04zu", index);
    hid_t run = H5I_INVALID_HID;
    lmn_status status = lmn__h5_open_kind(path, LMN_FILE_RESULTS, &run, err);
    if (status != LMN_OK) {
        return status;
    }
    const hid_t parents = lmn__h5_make_parents();
    if (H5Ocopy(run, "/", file, place, H5P_DEFAULT, parents) < 0) {
        status = lmn__h5_error(err, LMN_ERR_FORMAT, "cannot copy '%s'", path);
    }
    lmn__h5_close(parents);
    lmn__h5_close_file(run);
    return status == LMN_OK ? finish_copy(file, place, path, err) : status;
}

static lmn_status write_all(lmn__h5_output *output, const char *const *paths, size_t n,
                            lmn_error *err)
{
    lmn__sweep_table table = {.n_rows = n};
    lmn_status status = lmn__h5_write_kind(output->file, LMN_FILE_SWEEP, err);
    if (status == LMN_OK) {
        status = lmn__h5_write_texts(output->file, "/table/file", paths, n, err);
    }
    for (size_t i = 0; status == LMN_OK && i < n; i++) {
        status = copy_run(output->file, i, paths[i], err);
        if (status == LMN_OK) {
            status = lmn__sweep_table_add(&table, i, paths[i], err);
        }
        if (status == LMN_OK) {
            status = lmn__h5_output_check(output, err);
        }
    }
    if (status == LMN_OK) {
        status = lmn__sweep_table_write(&table, output->file, err);
    }
    lmn__sweep_table_free(&table);
    return status;
}

static lmn_status write_part(const char *path, const char *part, const char *const *paths, size_t n,
                             lmn_error *err)
{
    lmn__h5_output output = LMN__H5_OUTPUT_NONE;
    lmn_status status = lmn__h5_output_create(&output, part, 0, err);
    if (status == LMN_OK) {
        status = write_all(&output, paths, n, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_output_finish(&output, err);
    }
    if (status == LMN_OK) {
        status = lmn__file_publish(part, path, err);
    }
    if (status != LMN_OK) {
        lmn__h5_output_discard(&output);
    }
    return status;
}

lmn_status lmn_sweep_write(const char *path, const char *const *paths, size_t n, lmn_error *err)
{
    if (n == 0) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT, "a sweep needs the results of one run or more");
    }
    char part[LMN_PATH_BYTES];
    lmn_status status = lmn__path_format(part, err, "%s.part", path);
    if (status == LMN_OK) {
        const lmn__h5_quiet quiet = lmn__h5_quiet_begin();
        status = write_part(path, part, paths, n, err);
        lmn__h5_quiet_end(&quiet);
    }
    return status;
}

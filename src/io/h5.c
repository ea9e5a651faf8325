/*
 * Thin helpers over HDF5: errors, opening files, kinds, groups and arrays.
 *
 * HDF5 keeps the reasons of a failure on a stack; the innermost says what really happened, and one
 * line of it goes into our message.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "files_internal.h"
#include "h5_internal.h"
#include "lamina/memory.h"
#include "lamina/version.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

lmn__h5_quiet lmn__h5_quiet_begin(void)
{
    lmn__h5_quiet quiet = {0};
    (void)H5Eget_auto2(H5E_DEFAULT, &quiet.print, &quiet.user);
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return quiet;
}

void lmn__h5_quiet_end(const lmn__h5_quiet *quiet)
{
    (void)H5Eset_auto2(H5E_DEFAULT, quiet->print, quiet->user);
}

typedef struct h5_reason {
    char text[256];
} h5_reason;

static herr_t take_reason(unsigned depth, const H5E_error2_t *entry, void *user)
{
    h5_reason *reason = user;
    if (depth == 0 && entry->desc != NULL) {
        (void)snprintf(reason->text, sizeof reason->text, "%s", entry->desc);
    }
    return 0;
}

lmn_status lmn__h5_error(lmn_error *err, lmn_status status, const char *format, ...)
{
    h5_reason reason = {{0}};
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_reason, &reason);
    char what[LMN_ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (reason.text[0] == '\0') {
        return lmn_error_set(err, status, "%s", what);
    }
    return lmn_error_set(err, status, "%s (HDF5: %s)", what, reason.text);
}

void lmn__h5_close(hid_t id)
{
    if (id >= 0) {
        (void)H5Idec_ref(id);
    }
}

void lmn__h5_close_file(hid_t file)
{
    if (file >= 0) {
        (void)H5Fclose(file);
    }
}

/* Strong closing takes along what a failing function left open. */
static hid_t read_access(void)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    (void)H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
#if H5_VERSION_GE(1, 10, 7)
    (void)H5Pset_file_locking(access, false, true);
#endif
    return access;
}

lmn_status lmn__h5_open(const char *path, hid_t *file_out, lmn_error *err)
{
    /* The plain call first: it knows why a file cannot be read. */
    int fd = -1;
    const lmn_status status = lmn__file_open_read(path, &fd, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn__file_close(fd);
    if (H5Fis_hdf5(path) <= 0) {
        return lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is not an HDF5 file", path);
    }
    const hid_t access = read_access();
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, access);
    const lmn_status opened =
        file >= 0 ? LMN_OK
                  : lmn__h5_error(err, LMN_ERR_FORMAT, "'%s' is damaged or truncated", path);
    lmn__h5_close(access);
    if (opened == LMN_OK) {
        *file_out = file;
    }
    return opened;
}

static const struct {
    const char *name;
    uint64_t version; /* newest one that can be read */
} file_kinds[] = {
    [LMN_FILE_DATASET] = {"dataset", LMN__DATASET_VERSION},
    [LMN_FILE_CHECKPOINT] = {"checkpoint", LMN__CHECKPOINT_VERSION},
    [LMN_FILE_RESULTS] = {"results", LMN__RESULTS_VERSION},
    [LMN_FILE_SWEEP] = {"sweep", LMN__SWEEP_VERSION},
};

#define FILE_KIND_COUNT (sizeof file_kinds / sizeof file_kinds[0])

const char *lmn_file_kind_name(lmn_file_kind kind)
{
    return (size_t)kind < FILE_KIND_COUNT ? file_kinds[kind].name : "unknown";
}

static lmn_status find_kind(const char *name, const char *path, lmn_file_kind *kind_out,
                            lmn_error *err)
{
    for (size_t i = 0; i < FILE_KIND_COUNT; i++) {
        if (strcmp(name, file_kinds[i].name) == 0) {
            *kind_out = (lmn_file_kind)i;
            return LMN_OK;
        }
    }
    return lmn_error_set(err, LMN_ERR_FORMAT,
                         "'%s' holds '%.64s', which this version does not know", path, name);
}

lmn_status lmn__h5_kind(hid_t file, const char *path, lmn_file_kind *kind_out, lmn_error *err)
{
    if (!lmn__h5_has_attribute(file, "lamina_format")) {
        return lmn_error_set(err, LMN_ERR_FORMAT,
                             "'%s' is not a Lamina file: its root has no attribute 'lamina_format'",
                             path);
    }
    char *name = NULL;
    lmn_file_kind kind = LMN_FILE_DATASET;
    uint64_t version = 0;
    lmn_status status = lmn__h5_read_text(file, "lamina_format", &name, err);
    if (status == LMN_OK) {
        status = lmn__h5_read_u64(file, "format_version", &version, err);
    }
    if (status != LMN_OK) {
        lmn_error_add_context(err, "'%s'", path);
    } else {
        status = find_kind(name, path, &kind, err);
    }
    if (status == LMN_OK && version > file_kinds[kind].version) {
        status = lmn_error_set(err, LMN_ERR_FORMAT,
                               "'%s' has %s format version %llu, and this Lamina reads up to %llu; "
                               "use a newer Lamina",
                               path, name, (unsigned long long)version,
                               (unsigned long long)file_kinds[kind].version);
    }
    lmn_free(name);
    if (status == LMN_OK) {
        *kind_out = kind;
    }
    return status;
}

lmn_status lmn__h5_open_kind(const char *path, lmn_file_kind kind, hid_t *file_out, lmn_error *err)
{
    hid_t file = H5I_INVALID_HID;
    lmn_status status = lmn__h5_open(path, &file, err);
    if (status != LMN_OK) {
        return status;
    }
    lmn_file_kind found = kind;
    status = lmn__h5_kind(file, path, &found, err);
    if (status == LMN_OK && found != kind) {
        status = lmn_error_set(err, LMN_ERR_FORMAT, "'%s' is a %s file, not a %s file", path,
                               lmn_file_kind_name(found), lmn_file_kind_name(kind));
    }
    if (status != LMN_OK) {
        lmn__h5_close_file(file);
        return status;
    }
    *file_out = file;
    return LMN_OK;
}

lmn_status lmn__h5_write_kind(hid_t file, lmn_file_kind kind, lmn_error *err)
{
    char maker[64];
    (void)snprintf(maker, sizeof maker, "lamina %d.%d.%d", LMN_VERSION_MAJOR, LMN_VERSION_MINOR,
                   LMN_VERSION_PATCH);
    lmn_status status = lmn__h5_write_text(file, "lamina_format", lmn_file_kind_name(kind), err);
    if (status == LMN_OK) {
        status = lmn__h5_write_u64(file, "format_version", file_kinds[kind].version, err);
    }
    if (status == LMN_OK) {
        status = lmn__h5_write_text(file, "created_by", maker, err);
    }
    return status;
}

bool lmn__h5_has_object(hid_t file, const char *path)
{
    char prefix[LMN_PATH_BYTES];
    const size_t length = strlen(path);
    if (length >= sizeof prefix) {
        return false;
    }
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(prefix, path, i);
        prefix[i] = '\0';
        if (strcmp(prefix, "/") != 0 && H5Lexists(file, prefix, H5P_DEFAULT) <= 0) {
            return false;
        }
    }
    return length > 0 && H5Oexists_by_name(file, path, H5P_DEFAULT) > 0;
}

lmn_status lmn__h5_shape_of(hid_t dataset, lmn__h5_shape *shape_out, lmn_error *err)
{
    const hid_t space = H5Dget_space(dataset);
    const int n_dims = H5Sget_simple_extent_ndims(space);
    lmn__h5_shape shape = {.n_dims = n_dims};
    lmn_status status = LMN_OK;
    if (n_dims < 0 || n_dims > LMN__H5_DIMS_MAX ||
        H5Sget_simple_extent_dims(space, shape.dims, NULL) < 0) {
        status =
            lmn_error_set(err, LMN_ERR_FORMAT, "an array has %d dimensions; 0 to %d can be read",
                          n_dims, LMN__H5_DIMS_MAX);
    } else {
        *shape_out = shape;
    }
    lmn__h5_close(space);
    return status;
}

uint64_t lmn__h5_elements(const lmn__h5_shape *shape)
{
    uint64_t elements = 1;
    for (int i = 0; i < shape->n_dims; i++) {
        elements *= shape->dims[i];
    }
    return elements;
}

hid_t lmn__h5_make_parents(void)
{
    const hid_t list = H5Pcreate(H5P_LINK_CREATE);
    (void)H5Pset_create_intermediate_group(list, 1);
    return list;
}

lmn_status lmn__h5_create_array(hid_t file, const char *path, hid_t type,
                                const lmn__h5_shape *shape, const char *unit, hid_t *dataset_out,
                                lmn_error *err)
{
    const hid_t space = shape->n_dims == 0 ? H5Screate(H5S_SCALAR)
                                           : H5Screate_simple(shape->n_dims, shape->dims, NULL);
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    const hid_t parents = lmn__h5_make_parents();
    hid_t dataset = H5I_INVALID_HID;
    if (H5Pset_layout(creation, H5D_CONTIGUOUS) >= 0 &&
        H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) >= 0 &&
        H5Pset_obj_track_times(creation, false) >= 0) {
        dataset = H5Dcreate2(file, path, type, space, parents, creation, H5P_DEFAULT);
    }
    lmn__h5_close(parents);
    lmn__h5_close(creation);
    lmn__h5_close(space);
    if (dataset < 0) {
        return lmn__h5_error(err, LMN_ERR_IO, "cannot create the array '%s'", path);
    }
    const lmn_status status = lmn__h5_write_text(dataset, "units", unit, err);
    if (status != LMN_OK) {
        lmn__h5_close(dataset);
        return status;
    }
    *dataset_out = dataset;
    return LMN_OK;
}

lmn_status lmn__h5_require_group(hid_t file, const char *path, hid_t *group_out, lmn_error *err)
{
    if (lmn__h5_has_object(file, path)) {
        *group_out = H5Gopen2(file, path, H5P_DEFAULT);
    } else {
        const hid_t parents = lmn__h5_make_parents();
        *group_out = H5Gcreate2(file, path, parents, H5P_DEFAULT, H5P_DEFAULT);
        lmn__h5_close(parents);
    }
    return *group_out >= 0 ? LMN_OK
                           : lmn__h5_error(err, LMN_ERR_IO, "cannot create the group '%s'", path);
}

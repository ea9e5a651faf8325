/*
 * Thin helpers over HDF5, shared by everything in this room.
 *
 * Handles are hid_t; H5I_INVALID_HID is "none" and may be closed. HDF5's own error printing is off
 * between lmn__h5_quiet_begin and lmn__h5_quiet_end, which every public function that calls HDF5
 * puts around its work; what HDF5 had to say goes into our message instead.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_H5_INTERNAL_H
#define LAMINA_IO_H5_INTERNAL_H

#include "lamina/checkpoint.h"
#include "lamina/inspect.h"
#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What we call is what HDF5 1.10 had, also with a newer library. */
#define H5_USE_110_API 1
#include <hdf5.h>

/** Newest version of each file kind that this library reads, and the one that it writes. */
#define LMN__DATASET_VERSION    1
#define LMN__CHECKPOINT_VERSION 2
#define LMN__RESULTS_VERSION    1
#define LMN__SWEEP_VERSION      1

#define LMN__H5_DIMS_MAX 8

/** What to give back to HDF5 when we are done. */
typedef struct lmn__h5_quiet {
    H5E_auto2_t print;
    void *user;
} lmn__h5_quiet;

lmn__h5_quiet lmn__h5_quiet_begin(void);
void lmn__h5_quiet_end(const lmn__h5_quiet *quiet);

/** `status` with the formatted text and the innermost reason that HDF5 gives, if it gives one. */
lmn_status lmn__h5_error(lmn_error *err, lmn_status status, const char *format, ...)
    LMN_PRINTF(3, 4);

/** Close any handle but a file's. */
void lmn__h5_close(hid_t id);

/** Close a file that was opened for reading, with everything that is still open in it. */
void lmn__h5_close_file(hid_t file);

/**
 * Open for reading, without file locks (they do not work on many cluster file systems, and a
 * complete file of ours is never written to).
 * Errors: LMN_ERR_IO (missing, unreadable), LMN_ERR_FORMAT (not HDF5, truncated).
 */
lmn_status lmn__h5_open(const char *path, hid_t *file_out, lmn_error *err) LMN_NODISCARD;

/** Which kind of file this is. Errors: LMN_ERR_FORMAT (not Lamina's, newer version). */
lmn_status lmn__h5_kind(hid_t file, const char *path, lmn_file_kind *kind_out,
                        lmn_error *err) LMN_NODISCARD;

/** Open a file of one kind for reading. */
lmn_status lmn__h5_open_kind(const char *path, lmn_file_kind kind, hid_t *file_out,
                             lmn_error *err) LMN_NODISCARD;

/** Write the attributes that every Lamina file begins with. */
lmn_status lmn__h5_write_kind(hid_t file, lmn_file_kind kind, lmn_error *err) LMN_NODISCARD;

/** True when each step of `path` leads to an object. */
bool lmn__h5_has_object(hid_t file, const char *path);

/* Attributes of the object `id`; writing replaces. Reading a missing one, or one that is not a
 * single value of that kind, is LMN_ERR_FORMAT; reading a number takes any numeric type. */
bool lmn__h5_has_attribute(hid_t id, const char *name);
lmn_status lmn__h5_write_text(hid_t id, const char *name, const char *value,
                              lmn_error *err) LMN_NODISCARD;
lmn_status lmn__h5_write_u64(hid_t id, const char *name, uint64_t value,
                             lmn_error *err) LMN_NODISCARD;
lmn_status lmn__h5_write_f64(hid_t id, const char *name, double value,
                             lmn_error *err) LMN_NODISCARD;
lmn_status lmn__h5_read_u64(hid_t id, const char *name, uint64_t *value_out,
                            lmn_error *err) LMN_NODISCARD;
lmn_status lmn__h5_read_f64(hid_t id, const char *name, double *value_out,
                            lmn_error *err) LMN_NODISCARD;

/** Texts in one piece of memory, freed by lmn_free(items). */
typedef struct lmn__texts {
    size_t count;
    char **items;
} lmn__texts;

/** All texts of a dataset or an attribute, of fixed or variable length. */
lmn_status lmn__h5_read_texts(hid_t id, lmn__texts *texts_out, lmn_error *err) LMN_NODISCARD;

/** The text of an attribute; freed with lmn_free. */
lmn_status lmn__h5_read_text(hid_t id, const char *name, char **text_out,
                             lmn_error *err) LMN_NODISCARD;

/** Shape of a dataset; plain data. */
typedef struct lmn__h5_shape {
    int n_dims;
    hsize_t dims[LMN__H5_DIMS_MAX];
} lmn__h5_shape;

/** Errors: LMN_ERR_FORMAT when it has more dimensions than we hold. */
lmn_status lmn__h5_shape_of(hid_t dataset, lmn__h5_shape *shape_out, lmn_error *err) LMN_NODISCARD;
uint64_t lmn__h5_elements(const lmn__h5_shape *shape);

/**
 * Create a contiguous dataset whose place in the file is fixed at once, with the groups that lead
 * to it. `unit` becomes the attribute "units".
 */
lmn_status lmn__h5_create_array(hid_t file, const char *path, hid_t type,
                                const lmn__h5_shape *shape, const char *unit, hid_t *dataset_out,
                                lmn_error *err) LMN_NODISCARD;

/** Write a list of texts as a dataset of fixed-length UTF-8, replacing one that is there. */
lmn_status lmn__h5_write_texts(hid_t file, const char *path, const char *const *texts, size_t count,
                               lmn_error *err) LMN_NODISCARD;

/** Open or create a group and those that lead to it. */
lmn_status lmn__h5_require_group(hid_t file, const char *path, hid_t *group_out,
                                 lmn_error *err) LMN_NODISCARD;

/** Link creation properties: make the groups that lead to the new object. Closed by the caller. */
hid_t lmn__h5_make_parents(void);

#endif

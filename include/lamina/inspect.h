/*
 * Reading any Lamina file without knowing its kind, for tools.
 *
 * Serial; no MPI needed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_INSPECT_H
#define LAMINA_INSPECT_H

#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lmn_file_kind {
    LMN_FILE_DATASET = 0,
    LMN_FILE_CHECKPOINT = 1,
    LMN_FILE_RESULTS = 2,
    LMN_FILE_SWEEP = 3
} lmn_file_kind;

typedef struct lmn_file lmn_file;

/**
 * Open a Lamina file for reading.
 * Errors: LMN_ERR_IO, LMN_ERR_FORMAT (not HDF5, not Lamina's, newer version, truncated).
 */
lmn_status lmn_file_open(const char *path, lmn_file **file_out, lmn_error *err) LMN_NODISCARD;
void lmn_file_close(lmn_file *file);
lmn_file_kind lmn_file_get_kind(const lmn_file *file);

/** "dataset", "checkpoint", "results" or "sweep". */
const char *lmn_file_kind_name(lmn_file_kind kind);

typedef enum lmn_value_type { LMN_VALUE_TEXT, LMN_VALUE_U64, LMN_VALUE_F64 } lmn_value_type;

/** One attribute; text is valid during the visit only. */
typedef struct lmn_value {
    const char *name;
    lmn_value_type type;
    const char *text;
    uint64_t u64;
    double f64;
} lmn_value;

typedef lmn_status (*lmn_value_fn)(void *user, const lmn_value *value, lmn_error *err);

/** Visit the attributes of a group or dataset in order of their names; none when it is missing. */
lmn_status lmn_file_visit_attributes(const lmn_file *file, const char *path, lmn_value_fn visit,
                                     void *user, lmn_error *err) LMN_NODISCARD;

/** One array in the file; texts are valid during the visit only. */
typedef struct lmn_file_array {
    const char *path;
    const char *type; /* "f32", "u8", ... */
    const char *unit; /* "" when the file gives none */
    size_t n_dims;
    uint64_t dims[8];
    uint64_t bytes;
    uint64_t offset; /* of its first byte in the file; UINT64_MAX where it is not contiguous */
} lmn_file_array;

typedef lmn_status (*lmn_array_fn)(void *user, const lmn_file_array *array, lmn_error *err);

/** Visit all arrays in order of their paths. */
lmn_status lmn_file_visit_arrays(const lmn_file *file, lmn_array_fn visit, void *user,
                                 lmn_error *err) LMN_NODISCARD;

/**
 * A numeric array as doubles. *values_out is the caller's, freed with lmn_free; *count_out
 * elements. Errors: LMN_ERR_ARGUMENT when there is no such array.
 */
lmn_status lmn_file_read_f64(const lmn_file *file, const char *path, double **values_out,
                             size_t *count_out, lmn_error *err) LMN_NODISCARD;

/** Element `index` of a list of texts into `text`. */
lmn_status lmn_file_read_text(const lmn_file *file, const char *path, size_t index, char *text,
                              size_t capacity, lmn_error *err) LMN_NODISCARD;

/** Check the file's checksums over all its data. Errors: LMN_ERR_FORMAT naming what is damaged. */
lmn_status lmn_file_verify(const lmn_file *file, lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif

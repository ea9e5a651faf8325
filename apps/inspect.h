/*
 * Inspecting files: what the parts of `lamina inspect` share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_APPS_INSPECT_H
#define LAMINA_APPS_INSPECT_H

#include "lamina/lamina.h"

#include <jansson.h>

/** An open file and the name it was given by. */
typedef struct inspected {
    const char *path; /* borrowed */
    const char *root; /* borrowed; group of the results, in a sweep; NULL: the file's own */
    lmn_file *file;   /* owned */
    bool is_verified; /* its checksums were compared */
} inspected;

/** One attribute of a file, copied. */
typedef struct attribute {
    lmn_value_type type; /* meaningless when it is not there */
    bool is_there;
    uint64_t u64;
    double f64; /* of any number */
    char text[512];
} attribute;

/** The attribute `name` of the group `path`. */
lmn_status inspect_find(const lmn_file *file, const char *path, const char *name,
                        attribute *attribute_out, lmn_error *err) LMN_NODISCARD;

/** True for whole numbers that are hashes, and are shown in hexadecimal. */
bool inspect_is_hash(const char *name);

/** What the arrays of a file below one folder add up to. */
typedef struct array_totals {
    const char *folder; /* in: "/parameters/"; "/" is all */
    uint64_t count, elements, bytes;
} array_totals;

lmn_status inspect_count_arrays(const lmn_file *file, array_totals *totals,
                                lmn_error *err) LMN_NODISCARD;

/** Explain a file in words. */
lmn_status inspect_print(const inspected *one, lmn_error *err) LMN_NODISCARD;

/** Print who waited for whom in a run, as its results know it. */
lmn_status inspect_print_waiting(const lmn_file *file, lmn_error *err) LMN_NODISCARD;

/** Print the runs of a sweep side by side. */
lmn_status inspect_print_sweep(const inspected *one, lmn_error *err) LMN_NODISCARD;

/** Print a table of runs side by side. */
lmn_status inspect_print_comparison(const inspected *runs, size_t count,
                                    lmn_error *err) LMN_NODISCARD;

/** The file as a JSON object, owned by the caller. */
lmn_status inspect_to_json(const inspected *one, json_t **json_out, lmn_error *err) LMN_NODISCARD;

#endif

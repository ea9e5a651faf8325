/*
 * Specs: the one notation for choosing a method and its parameters, `name:key=value,key=value`.
 *
 * A method describes its keys in a constant table of fields; parsing fills a plain struct. The same
 * table gives the error text for a wrong key, `--help` and the documentation, so they cannot
 * disagree. Elements of a list are separated by '/' or 'x', as in `topk:levels=0.001/0.01/0.1` or
 * `mlp:hidden=512x512`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SPEC_H
#define LAMINA_SPEC_H

#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LMN_SPEC_NAME_BYTES 32
#define LMN_SPEC_LIST_MAX   32

typedef enum lmn_spec_type {
    LMN_SPEC_F64,     /* double */
    LMN_SPEC_U64,     /* uint64_t */
    LMN_SPEC_BOOL,    /* bool; 0, 1, true, false, yes, no, on, off */
    LMN_SPEC_CHOICE,  /* uint64_t: index into `choices` */
    LMN_SPEC_F64_LIST /* lmn_spec_list */
} lmn_spec_type;

typedef struct lmn_spec_list {
    size_t count;
    double values[LMN_SPEC_LIST_MAX];
} lmn_spec_list;

/** One key of a spec. */
typedef struct lmn_spec_field {
    const char *key;
    lmn_spec_type type;
    size_t offset;       /* of the member in the struct that lmn_spec_parse fills */
    double min;          /* smallest legal value (each element of a list) */
    double max;          /* largest legal value */
    bool min_exclusive;  /* min itself is refused */
    const char *choices; /* LMN_SPEC_CHOICE: "grad|zero", else NULL; "auto" may be given to an F64
                            field as choices = "auto", which stores NaN */
    const char *help;    /* one line: meaning, unit, default */
} lmn_spec_field;

/**
 * The name in front of the first ':' of `text`.
 * Errors: LMN_ERR_USAGE for an empty or overlong name or one with characters outside [a-z0-9_-].
 */
lmn_status lmn_spec_name(const char *text, char name_out[LMN_SPEC_NAME_BYTES],
                         lmn_error *err) LMN_NODISCARD;

/**
 * Parse what follows the name into `values`, a struct that the caller filled with defaults.
 * what    what kind of method this is, for messages ("compressor", "schedule")
 * fields  [n_fields] the legal keys
 * values  written at each field's offset; undefined after an error
 * Errors: LMN_ERR_USAGE naming the wrong key (with the nearest known one and the list of all), the
 * repeated key, the missing '=', or the value that is not a number or out of range.
 */
lmn_status lmn_spec_parse(const char *what, const char *text, const lmn_spec_field *fields,
                          size_t n_fields, void *values, lmn_error *err) LMN_NODISCARD;

/** The name of a method and its one-line summary, as registries list them. */
typedef struct lmn_spec_entry {
    const char *name;
    const char *summary;
    const lmn_spec_field *fields;
    size_t n_fields;
} lmn_spec_entry;

/**
 * Error for a name that is in no registry: says what was asked for, the nearest known name, and all
 * known names. Returns LMN_ERR_USAGE.
 */
lmn_status lmn_spec_unknown(const char *what, const char *name, const char *const *known,
                            size_t n_known, lmn_error *err);

/** "512MiB", "4k", "1.5GB", "1000" to bytes: k, M, G are powers of 1000, Ki, Mi, Gi of 1024. */
lmn_status lmn_parse_bytes(const char *text, uint64_t *bytes_out, lmn_error *err) LMN_NODISCARD;

/** "90", "90s", "10m", "1.5h", "2d" to seconds. */
lmn_status lmn_parse_seconds(const char *text, double *seconds_out, lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif

/*
 * What all methods that are chosen by a spec share.
 *
 * A method (a compressor family, a feedback mechanism, an allocator, an optimiser, a schedule) is a
 * constant table in a file of its own: its name, its keys, the plain struct that they fill with its
 * defaults, and functions that get this struct. The registry of each kind lists its methods, one
 * line each, and does what is the same for all of them through the functions below.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_ALGOS_INTERNAL_H
#define LAMINA_ALGOS_INTERNAL_H

#include "lamina/spec.h"
#include "lamina/status.h"

#include <stddef.h>

/** How a method is configured; constant. */
typedef struct lmn__method {
    lmn_spec_entry entry;
    size_t config_bytes;  /* of the struct that the keys fill */
    const void *defaults; /* [config_bytes] */
    /* Check what single keys cannot say and derive what follows from them; may be NULL. */
    lmn_status (*complete)(void *config, lmn_error *err);
} lmn__method;

/** A registry as a function: method `index`, or NULL past the last. */
typedef const lmn__method *(*lmn__method_list)(size_t index);

/**
 * Find the method that `spec` names and make its configuration.
 * what        kind of method, for messages
 * index_out   its place in the list
 * config_out  defaults, overwritten by the keys of the spec, completed; the caller frees it with
 *             lmn_free
 * Errors: LMN_ERR_USAGE, LMN_ERR_MEMORY.
 */
lmn_status lmn__method_configure(const char *what, const char *spec, lmn__method_list list,
                                 size_t *index_out, void **config_out,
                                 lmn_error *err) LMN_NODISCARD;

/** The public entry of method `index`, or NULL past the last. */
const lmn_spec_entry *lmn__method_entry(lmn__method_list list, size_t index);

#endif

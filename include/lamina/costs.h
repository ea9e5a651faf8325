/*
 * Files with a stated allocation problem: what every layer costs at every level.
 *
 * A plain HDF5 file of anybody's making, or the results of a run whose allocator decided;
 * docs/formats.md describes both. Serial; no MPI needed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_COSTS_H
#define LAMINA_COSTS_H

#include "lamina/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A table in memory of its own; the arrays are owned. */
typedef struct lmn_costs {
    size_t n_layers, n_levels;
    uint64_t *bytes;      /* [n_layers][n_levels] */
    double *error;        /* [n_layers][n_levels] finite, not negative */
    size_t *static_level; /* [n_layers] each below n_levels */
} lmn_costs;

/**
 * Read a table: /bytes, /error (both layers x levels) and /static_level (layers), or of the results
 * of a run the costs of one of its decisions. On failure costs_out holds nothing to free.
 * decision  of results: which one, from 1 on, or 0 for the last one; else not looked at
 * Errors: LMN_ERR_IO (missing, unreadable), LMN_ERR_FORMAT (not HDF5, an array that is missing, of
 * another shape, or holds what it may not: negative or broken bytes, errors that are NaN, infinite
 * or negative, levels that do not exist), LMN_ERR_MEMORY.
 */
lmn_status lmn_costs_read(const char *path, uint64_t decision, lmn_costs *costs_out,
                          lmn_error *err) LMN_NODISCARD;

/**
 * Give the layers of `costs` the levels of `other` as well, as further levels: families mixed in
 * one table. Static levels stay. Errors, with `costs` unchanged: LMN_ERR_ARGUMENT (another number
 * of layers), LMN_ERR_MEMORY.
 */
lmn_status lmn_costs_join(lmn_costs *costs, const lmn_costs *other, lmn_error *err) LMN_NODISCARD;

/** Free the arrays; a zeroed table is allowed. */
void lmn_costs_free(lmn_costs *costs);

#ifdef __cplusplus
}
#endif

#endif

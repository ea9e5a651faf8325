/*
 * Sweeps: the results of several runs in one file, for comparisons and plots.
 *
 * Serial; no MPI needed. File format: docs/formats.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_SWEEP_H
#define LAMINA_SWEEP_H

#include "lamina/status.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Copy n results files into one: every run whole, and a table with a row for each run of all that
 * their configurations and summaries tell. The file appears under its name when it is complete and
 * replaces one that is there; the runs may go on being written meanwhile.
 * paths  [n] of results files, n >= 1; also kept as names of the runs
 * Errors: LMN_ERR_ARGUMENT (no path); LMN_ERR_IO, LMN_ERR_FORMAT naming the file.
 */
lmn_status lmn_sweep_write(const char *path, const char *const *paths, size_t n,
                           lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif

/*
 * An HDF5 file being written by one process, beside the name that it will get.
 *
 * HDF5 cannot recover from a write that fails while it closes a file: the handle stays open and the
 * process dies on exit. These files therefore go through a driver of our own that keeps the first
 * error number and tells HDF5 that all is well; lmn__h5_output_finish then reports it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_H5_OUTPUT_INTERNAL_H
#define LAMINA_IO_H5_OUTPUT_INTERNAL_H

#include "h5_internal.h"

/** Starts as LMN__H5_OUTPUT_NONE; must stay where it is while the file is open. */
typedef struct lmn__h5_output {
    hid_t file;                /* for HDF5 calls; owned */
    hid_t driver;              /* owned */
    int code;                  /* first error number that the file system gave, 0 for none */
    char part[LMN_PATH_BYTES]; /* the file that is written */
} lmn__h5_output;

#define LMN__H5_OUTPUT_NONE                                                                        \
    {                                                                                              \
        .file = H5I_INVALID_HID, .driver = H5I_INVALID_HID                                         \
    }

/** Create `part`, replacing what is there. user_block: bytes before HDF5's own, 0 or 512. */
lmn_status lmn__h5_output_create(lmn__h5_output *output, const char *part, hsize_t user_block,
                                 lmn_error *err) LMN_NODISCARD;

/** Open an existing `part` for changes. */
lmn_status lmn__h5_output_open(lmn__h5_output *output, const char *part,
                               lmn_error *err) LMN_NODISCARD;

/** LMN_ERR_IO when something could not be written so far: lets long writers stop early. */
lmn_status lmn__h5_output_check(const lmn__h5_output *output, lmn_error *err) LMN_NODISCARD;

/** Close the file. Errors: LMN_ERR_IO when anything could not be written; `part` is then removed.
 */
lmn_status lmn__h5_output_finish(lmn__h5_output *output, lmn_error *err) LMN_NODISCARD;

/** Close what is open and remove `part`; for half-built and finished outputs as well. */
void lmn__h5_output_discard(lmn__h5_output *output);

#endif

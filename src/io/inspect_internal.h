/*
 * An open file of any kind.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_INSPECT_INTERNAL_H
#define LAMINA_IO_INSPECT_INTERNAL_H

#include "h5_internal.h"

struct lmn_file {
    char path[LMN_PATH_BYTES];
    hid_t h5; /* owned */
    lmn_file_kind kind;
};

#endif

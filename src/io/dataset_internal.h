/*
 * What an open dataset holds, for its reader; and opening without MPI.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_DATASET_INTERNAL_H
#define LAMINA_IO_DATASET_INTERNAL_H

#include "lamina/dataset.h"

typedef struct lmn__split_data {
    uint64_t offset; /* of the first image in the file, bytes */
    int32_t *labels; /* [sample_count] owned */
} lmn__split_data;

struct lmn_dataset {
    lmn_dataset_info info;
    char *path;                /* owned */
    int fd;                    /* owned; only pread is called on it */
    bool is_f32;               /* stored as f32, else u8 */
    size_t sample_values;      /* height * width * channels */
    size_t sample_bytes;       /* of one image as stored */
    lmn__split_data splits[2]; /* by lmn_split */
    char **class_names;        /* [n_classes] owned, one piece of memory */
    uint64_t fingerprint;
};

/** Open on this process alone. Not collective. Errors: as lmn_dataset_open. */
lmn_status lmn__dataset_load(const char *path, lmn_dataset **dataset_out,
                             lmn_error *err) LMN_NODISCARD;

#endif

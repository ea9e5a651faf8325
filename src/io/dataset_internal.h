/*
 * What an open dataset holds, for its reader; and opening without MPI.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_DATASET_INTERNAL_H
#define LAMINA_IO_DATASET_INTERNAL_H

#include "h5_internal.h"
#include "lamina/dataset.h"

/* More classes than any classifier has; a larger label is taken for a mistake. */
#define LMN__CLASSES_MAX 1000000

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

/** A file while it is being opened. */
typedef struct lmn__opening {
    hid_t file;           /* owned */
    uint64_t length;      /* of the file, bytes */
    lmn_dataset *dataset; /* borrowed */
    size_t n_classes;     /* named in the file; 0 when it names none */
    int64_t max_label;
    uint64_t hash; /* becomes the fingerprint */
} lmn__opening;

/** Check one split's images and note where they are. name: their path, for messages. */
lmn_status lmn__dataset_check_images(lmn__opening *open, hid_t images, lmn_split split,
                                     const char *name, lmn_error *err) LMN_NODISCARD;

/** Check one split's labels and keep them; the images must have been checked. */
lmn_status lmn__dataset_read_labels(lmn__opening *open, hid_t dataset, lmn_split split,
                                    const char *name, lmn_error *err) LMN_NODISCARD;

/** Open on this process alone. Not collective. Errors: as lmn_dataset_open. */
lmn_status lmn__dataset_load(const char *path, lmn_dataset **dataset_out,
                             lmn_error *err) LMN_NODISCARD;

#endif

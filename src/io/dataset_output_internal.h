/*
 * A dataset being written: arrays that fill row by row, classes, and what makes it complete.
 *
 * An importer calls lmn__dataset_output_write with a function that fills the output. Each array is
 * begun with its full shape, takes rows in any pieces, and is ended when the last row is in;
 * several may be open at a time. Memory is about 1 MiB for each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_DATASET_OUTPUT_INTERNAL_H
#define LAMINA_IO_DATASET_OUTPUT_INTERNAL_H

#include "digest_internal.h"
#include "h5_output_internal.h"
#include "label_set_internal.h"
#include "lamina/dataset.h"
#include "lamina/import.h"
#include "moments_internal.h"

typedef struct lmn__dataset_output {
    lmn__h5_output h5;               /* owned */
    const lmn_import_common *common; /* borrowed */
    size_t n_numbered;               /* classes that numbered labels have needed so far */
} lmn__dataset_output;

/** Write everything; `job` is the importer's. */
typedef lmn_status (*lmn__fill_fn)(void *job, lmn__dataset_output *output, lmn_error *err);

/**
 * Create `path` beside its name, let `fill` write, and give it its name. After an error nothing is
 * left, and a file that had the name before stays as it was.
 * kind  "images", "vectors" or "text"
 * Errors: LMN_ERR_IO, and those of `fill`.
 */
lmn_status lmn__dataset_output_write(const char *path, const char *kind,
                                     const lmn_import_common *common, lmn__fill_fn fill, void *job,
                                     lmn_error *err) LMN_NODISCARD;

/** The arrays that a dataset may hold; each has its path, description and names of its axes. */
typedef enum lmn__array_role {
    LMN__ARRAY_IMAGES,    /* u8 or f32 [N, H, W, C] */
    LMN__ARRAY_VECTORS,   /* f32 [N, D] */
    LMN__ARRAY_ROW_START, /* u64 [N + 1] */
    LMN__ARRAY_COLUMN,    /* u32 [values] */
    LMN__ARRAY_VALUE,     /* f32 [values] */
    LMN__ARRAY_LABELS,    /* any integer [N] */
    LMN__ARRAY_TARGETS,   /* f32 [N] */
    LMN__ARRAY_TOKENS,    /* u8 or u16 [N] */
    LMN__ARRAY_MEAN,      /* f32 [C] or [D]; written when the training samples are ended */
    LMN__ARRAY_DEVIATION  /* the same */
} lmn__array_role;

typedef struct lmn__output_array {
    lmn__dataset_output *output; /* borrowed */
    lmn__array_role role;
    char path[32];
    hid_t dataset; /* owned */
    hid_t type;    /* of an element in memory; borrowed */
    lmn__h5_shape shape;
    size_t row_bytes;
    size_t capacity;         /* rows that the block holds */
    size_t n_waiting;        /* rows in the block */
    uint64_t n_written;      /* rows in the file */
    unsigned char *block;    /* owned */
    lmn__checksum *checksum; /* owned */
    lmn__moments *moments;   /* owned; NULL when the array is not standardised */
} lmn__output_array;

#define LMN__OUTPUT_ARRAY_NONE                                                                     \
    {                                                                                              \
        .dataset = H5I_INVALID_HID                                                                 \
    }

/**
 * Begin an array of a split.
 * type  of an element in memory: H5T_NATIVE_UINT8, ...; the file has the same, little-endian
 */
lmn_status lmn__output_array_begin(lmn__output_array *array, lmn__dataset_output *output,
                                   lmn_split split, lmn__array_role role, hid_t type,
                                   const lmn__h5_shape *shape, lmn_error *err) LMN_NODISCARD;

/** Begin one with a single axis. */
lmn_status lmn__output_array_begin_list(lmn__output_array *array, lmn__dataset_output *output,
                                        lmn_split split, lmn__array_role role, hid_t type,
                                        uint64_t count, lmn_error *err) LMN_NODISCARD;

/** Take the next rows. Errors: LMN_ERR_IO; LMN_ERR_FORMAT when there is no place for so many. */
lmn_status lmn__output_array_append(lmn__output_array *array, const void *rows, size_t n_rows,
                                    lmn_error *err) LMN_NODISCARD;

/**
 * All rows are in: write what waits, and the attributes; of training samples that are standardised
 * mean and deviation, too.
 * source  the file that it came from
 * Errors: LMN_ERR_IO; LMN_ERR_FORMAT when rows are missing.
 */
lmn_status lmn__output_array_end(lmn__output_array *array, const char *source,
                                 lmn_error *err) LMN_NODISCARD;

/** Free what an array holds, ended or not. */
void lmn__output_array_close(lmn__output_array *array);

/** Begin labels that are places in a set; u8 or u16. The set has at most 65536. */
lmn_status lmn__output_begin_labels(lmn__output_array *array, lmn__dataset_output *output,
                                    lmn_split split, const lmn__label_set *labels, uint64_t count,
                                    lmn_error *err) LMN_NODISCARD;

/** Take the next one. Errors: LMN_ERR_IO; LMN_ERR_FORMAT when it is not in the set. */
lmn_status lmn__output_append_label(lmn__output_array *array, const lmn__label_set *labels,
                                    const char *label, lmn_error *err) LMN_NODISCARD;

/**
 * Take note of a label that is the number of a class.
 * Errors: LMN_ERR_FORMAT, naming file and sample, when it is negative, beyond all sense, or classes
 * are named and it is none of them.
 */
lmn_status lmn__output_check_label(lmn__dataset_output *output, int64_t label, uint64_t sample,
                                   const char *source, lmn_error *err) LMN_NODISCARD;

/** Write the names that were given, or numbers for as many classes as the labels needed. */
lmn_status lmn__output_numbered_classes(lmn__dataset_output *output, lmn_error *err) LMN_NODISCARD;

/**
 * Write names of classes, in place of which as many others may have been given.
 * Errors: LMN_ERR_ARGUMENT when they are not as many.
 */
lmn_status lmn__output_named_classes(lmn__dataset_output *output, const char *const *names,
                                     size_t count, lmn_error *err) LMN_NODISCARD;

#endif

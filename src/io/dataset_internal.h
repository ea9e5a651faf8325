/*
 * What an open dataset holds, how samples of each kind are kept, and opening without MPI.
 *
 * A kind of dataset is an lmn__store: what must be in the file, and how rows of a batch are read
 * from it. Opening and the reader know nothing else of it, so a new kind is one file with a store,
 * and a line in dataset.c where stores are chosen.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_DATASET_INTERNAL_H
#define LAMINA_IO_DATASET_INTERNAL_H

#include "h5_internal.h"
#include "lamina/augment.h"
#include "lamina/dataset.h"

/* More classes than any classifier has; a larger label is taken for a mistake. */
#define LMN__CLASSES_MAX 1000000

typedef struct lmn__split_data {
    uint64_t offset;       /* of the first sample in the file, bytes; sparse rows: of the columns */
    uint64_t value_offset; /* sparse rows: of the values, bytes */
    uint64_t *row_start;   /* sparse rows: [sample_count + 1] owned; ascends */
    int32_t *labels;       /* [sample_count] owned; NULL: none */
    float *targets;        /* [sample_count] owned; NULL: none */
} lmn__split_data;

typedef struct lmn__store lmn__store;

struct lmn_dataset {
    lmn_dataset_info info;
    const lmn__store *store;
    char *path; /* owned */
    int fd;     /* owned; only pread is called on it */

    bool is_f32;          /* images, dense vectors: stored as f32, else u8 */
    float scale, offset;  /* the same: value = scale * stored + offset */
    size_t sample_values; /* images, vectors: numbers of a sample; text: tokens of a window */
    size_t sample_bytes;  /* of an image or dense vector as stored */
    size_t row_max;       /* sparse rows: entries of the longest row */
    float *mean;          /* [sample_values] owned; NULL: not standardised */
    float *deviation;     /* [sample_values] part of the mean's memory */

    size_t token_bytes;         /* text: of one token as stored */
    lmn_vocabulary *vocabulary; /* text: owned */

    lmn__split_data splits[2]; /* by lmn_split */
    char **class_names;        /* [n_classes] owned, one piece of memory; NULL: none */
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

/** The rows of one rank's part of a batch, to be read. */
typedef struct lmn__rows {
    lmn_split split;
    size_t count;               /* rows of the batch */
    size_t valid;               /* leading rows that hold samples */
    const uint64_t *samples;    /* [valid] */
    const uint64_t *epochs;     /* [valid] in which each sample is met */
    bool shuffle;               /* as in lmn_reader_options */
    uint64_t seed;              /* the same */
    const lmn_augment *augment; /* NULL: none */
    unsigned char *scratch; /* as many bytes as `scratch_bytes` says; aligned to LMN_ALIGNMENT */
    void *fields[LMN_FIELDS_MAX]; /* [count, ...] to fill, all rows of them */
} lmn__rows;

/** How the samples of a kind are kept. */
struct lmn__store {
    /** Check everything, and set the info and what reading needs; class names are loaded before. */
    lmn_status (*load)(lmn__opening *open, lmn_error *err);

    /** Samples that a reader goes through before it begins anew; NULL: as the info says. */
    uint64_t (*count)(const lmn_dataset *dataset, lmn_split split, bool shuffle);

    /** Memory that reading `rows` rows takes beside the fields. */
    size_t (*scratch_bytes)(const lmn_dataset *dataset, size_t rows);

    /** Fill the fields. No heap allocation. Errors: LMN_ERR_IO, LMN_ERR_FORMAT. */
    lmn_status (*read)(const lmn_dataset *dataset, const lmn__rows *rows, lmn_error *err);
};

extern const lmn__store lmn__store_dense; /* images, and vectors in full */
extern const lmn__store lmn__store_sparse;
extern const lmn__store lmn__store_text;

/** "train" or "test". */
const char *lmn__split_name(lmn_split split);

/** Samples of a split, as a reader goes through them. */
uint64_t lmn__dataset_count(const lmn_dataset *dataset, lmn_split split, bool shuffle);

/** Call `load_split` on the training split, which must hold samples, and the test split if any. */
lmn_status lmn__dataset_load_splits(lmn__opening *open,
                                    lmn_status (*load_split)(lmn__opening *open, lmn_split split,
                                                             lmn_error *err),
                                    lmn_error *err) LMN_NODISCARD;

/** Open on this process alone. Not collective. Errors: as lmn_dataset_open. */
lmn_status lmn__dataset_load(const char *path, lmn_dataset **dataset_out,
                             lmn_error *err) LMN_NODISCARD;

/* ---- dataset_arrays.c ---- */

#define LMN__ARRAY_PATH_BYTES 32

/** An array of a dataset that is being opened; begins as LMN__ARRAY_NONE. */
typedef struct lmn__array {
    char path[LMN__ARRAY_PATH_BYTES];
    hid_t id; /* owned; closed by lmn__array_close */
    lmn__h5_shape shape;
} lmn__array;

#define LMN__ARRAY_NONE                                                                            \
    {                                                                                              \
        .id = H5I_INVALID_HID                                                                      \
    }

/** Whether the split has an array of that name. */
bool lmn__array_exists(const lmn__opening *open, lmn_split split, const char *leaf);

/** Open one. Close it also after an error. Errors: LMN_ERR_FORMAT (missing, not an array). */
lmn_status lmn__array_open(const lmn__opening *open, lmn_split split, const char *leaf,
                           lmn__array *array_out, lmn_error *err) LMN_NODISCARD;
lmn_status lmn__array_open_path(const lmn__opening *open, const char *path, lmn__array *array_out,
                                lmn_error *err) LMN_NODISCARD;
void lmn__array_close(lmn__array *array);

/** Enter its checksum, where it has one, into the fingerprint. */
void lmn__array_hash(lmn__opening *open, const lmn__array *array);

/** Whether its bytes are elements of the native type `type`. */
bool lmn__array_is(const lmn__array *array, hid_t type);

/** Whether it holds integers or floating-point numbers: H5T_INTEGER, H5T_FLOAT. */
bool lmn__array_is_class(const lmn__array *array, H5T_class_t class);

/** Whether it is a list of `count` elements. */
bool lmn__array_is_list(const lmn__array *array, uint64_t count);

/**
 * Where the array begins in the file, 0 when it is empty.
 * Errors: LMN_ERR_FORMAT (not in one piece, never written, the file ends in it).
 */
lmn_status lmn__array_find(const lmn__opening *open, const lmn__array *array, size_t element_bytes,
                           uint64_t *offset_out, lmn_error *err) LMN_NODISCARD;

/** Read elements of a list, converted to the native type `type`. */
lmn_status lmn__array_read(const lmn__array *array, uint64_t first, size_t count, hid_t type,
                           void *to, lmn_error *err) LMN_NODISCARD;

/* ---- dataset_answers.c: classes, labels, targets ---- */

/** Names of classes, where the file has some. */
lmn_status lmn__dataset_load_classes(lmn__opening *open, lmn_error *err) LMN_NODISCARD;

/** Labels or targets of a split, whose samples are counted; they become field 1. */
lmn_status lmn__dataset_load_answers(lmn__opening *open, lmn_split split,
                                     lmn_error *err) LMN_NODISCARD;

/** The number of classes, when all labels were seen; names them by numbers where the file does
    not. */
lmn_status lmn__dataset_count_classes(lmn__opening *open, lmn_error *err) LMN_NODISCARD;

/** Fill field 1. */
void lmn__answers_read(const lmn_dataset *dataset, const lmn__rows *rows);

/* ---- dataset_values.c: from stored numbers to values ---- */

/** Scale and offset of the images or vectors of a split. */
lmn_status lmn__values_load_scale(lmn__opening *open, const lmn__array *array, lmn_split split,
                                  lmn_error *err) LMN_NODISCARD;

/**
 * Mean and deviation, where the file has them; sample_values must be set. n_columns: of the last
 * axis, of which each has its own.
 */
lmn_status lmn__values_load_standard(lmn__opening *open, size_t n_columns,
                                     lmn_error *err) LMN_NODISCARD;

/** One sample: [sample_values] as stored into values. */
void lmn__values_convert(const lmn_dataset *dataset, const unsigned char *stored, float *values);

/** Standardise one sample in place: [sample_values]. */
void lmn__values_standardise(const lmn_dataset *dataset, float *values);

#endif

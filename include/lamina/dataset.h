/*
 * Datasets: samples in one HDF5 file, read in parallel and ahead of time.
 *
 * The file is opened by all ranks. Which samples a global batch holds is a function of (seed, step)
 * only: an epoch is a pseudo-random permutation, and epochs follow each other without a gap; where
 * ranks have shards (lamina/shard.h), the ranks and their number matter, too. Each rank reads its
 * slice of every batch. A thread of the reader fetches batches ahead with pread
 * and converts them; it calls neither HDF5 nor MPI. File format: docs/formats.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_DATASET_H
#define LAMINA_DATASET_H

#include "lamina/dtype.h"
#include "lamina/status.h"
#include "lamina/vocabulary.h"
#include "lamina/world.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_dataset lmn_dataset;

typedef enum lmn_split { LMN_SPLIT_TRAIN = 0, LMN_SPLIT_TEST = 1 } lmn_split;

#define LMN_FIELDS_MAX     4
#define LMN_FIELD_DIMS_MAX 4

/** One array of every sample; a batch has a leading axis of rows before these. */
typedef struct lmn_field {
    const char *name;
    lmn_dtype dtype;
    size_t n_dims;
    size_t dims[LMN_FIELD_DIMS_MAX];
} lmn_field;

/** What the samples of a dataset are, and so which fields they have. */
typedef enum lmn_dataset_kind {
    LMN_DATASET_IMAGES = 0,  /* "images" f32 [H, W, C] */
    LMN_DATASET_VECTORS = 1, /* "vectors" f32 [D], stored dense or as sparse rows */
    LMN_DATASET_TEXT = 2     /* "tokens" i32 [T], "targets" i32 [T]: the token after each */
} lmn_dataset_kind;

/**
 * What a dataset file holds; plain data. Images and vectors carry a second field: "labels" i32 [],
 * or "targets" f32 [] where the answer is a number (n_classes is 0 then).
 */
typedef struct lmn_dataset_info {
    lmn_dataset_kind kind;
    size_t n_fields;
    lmn_field fields[LMN_FIELDS_MAX];
    size_t n_classes;         /* of labels; of text: tokens in the vocabulary */
    uint64_t sample_count[2]; /* by lmn_split; the test split may be empty */
    uint64_t text_bytes[2];   /* text: bytes that the tokens of each split stand for, else 0 */
    uint64_t text_tokens[2];  /* text: tokens of each split, else 0 */
} lmn_dataset_info;

/** The field of that name, or NULL. */
const lmn_field *lmn_dataset_info_field(const lmn_dataset_info *info, const char *name);

/**
 * Open a dataset for reading on all ranks.
 * Collective over world (borrowed). Errors, the same on all ranks: LMN_ERR_IO (missing,
 * unreadable), LMN_ERR_FORMAT (not a Lamina dataset, newer version, damaged, images that are not
 * contiguous: the message then gives the h5repack command that mends it).
 */
lmn_status lmn_dataset_open(lmn_world *world, const char *path, lmn_dataset **dataset_out,
                            lmn_error *err) LMN_NODISCARD;

/** Readers must be gone. NULL is allowed. Not collective. */
void lmn_dataset_close(lmn_dataset *dataset);

const lmn_dataset_info *lmn_dataset_get_info(const lmn_dataset *dataset);

/**
 * Text only: tokens of one sample, 128 unless set. Sample i of N tokens in file order is the tokens
 * from i * context on, and there are floor((N - 1) / context) of them. A shuffled reader starts the
 * windows of every epoch at an offset in [0, context) that (seed, epoch) draws, and takes
 * floor(N / context) - 1 windows from there. sample_count says the latter of the training split,
 * which is an epoch, and the former of the test split. Before readers are made. Local; the same on
 * all ranks.
 * Errors: LMN_ERR_ARGUMENT (not text; a training split shorter than two windows).
 */
lmn_status lmn_dataset_set_context(lmn_dataset *dataset, size_t context,
                                   lmn_error *err) LMN_NODISCARD;

/** Text only: the vocabulary of the file, borrowed; else NULL. */
const lmn_vocabulary *lmn_dataset_vocabulary(const lmn_dataset *dataset);
const char *lmn_dataset_class_name(const lmn_dataset *dataset, size_t index);

/** XXH3-64 of the file's description (shapes, counts, checksums): tells runs whether data changed.
 */
uint64_t lmn_dataset_fingerprint(const lmn_dataset *dataset);

typedef struct lmn_reader lmn_reader;

struct lmn_shard; /* lamina/shard.h */

typedef struct lmn_reader_options {
    lmn_split split;
    bool shuffle;         /* false: in file order, once, for evaluation */
    uint64_t seed;        /* of the shuffle */
    size_t global_batch;  /* samples of one batch over all ranks */
    int rank, size;       /* which slice of each batch: lmn_partition(global_batch, size, rank) */
    uint64_t first_batch; /* where to begin: the training step that is next */
    size_t read_ahead;    /* batches fetched ahead, at least 1 */
    const char *augment;  /* of images, as in lamina/augment.h; NULL: none */
    /* The samples of this rank, borrowed: its part of every batch is drawn from them, in an order
       of its own, each of them once before any comes again. Only with shuffle. NULL: a batch is
       drawn from all samples. */
    const struct lmn_shard *shard;
} lmn_reader_options;

/** One rank's slice of a batch. Memory is the reader's, valid until the next call. */
typedef struct lmn_batch {
    size_t rows;        /* capacity: the largest slice of any rank, the same for every batch */
    size_t valid;       /* leading rows that hold samples; the others are 0, labels -1 */
    uint64_t first_row; /* place of row 0 in the global batch */
    const void *fields[LMN_FIELDS_MAX]; /* as in lmn_dataset_info: [rows, ...] */
} lmn_batch;

/** Errors: LMN_ERR_ARGUMENT (batch smaller than `size`, empty split), LMN_ERR_MEMORY. */
lmn_status lmn_reader_create(const lmn_dataset *dataset, const lmn_reader_options *options,
                             lmn_reader **reader_out, lmn_error *err) LMN_NODISCARD;

/** Stops the thread; NULL is allowed. */
void lmn_reader_destroy(lmn_reader *reader);

/** Batches in the split when not shuffled, the last one possibly short; UINT64_MAX when shuffled.
 */
uint64_t lmn_reader_batch_count(const lmn_reader *reader);

/**
 * The next batch. Not collective. Waits for the read-ahead where it must. No heap allocation.
 * Errors: LMN_ERR_IO, LMN_ERR_FORMAT (file became shorter); LMN_ERR_ARGUMENT past the last batch.
 */
lmn_status lmn_reader_next(lmn_reader *reader, lmn_batch *batch_out, lmn_error *err) LMN_NODISCARD;

/** Seconds that lmn_reader_next has waited so far. */
double lmn_reader_waited_seconds(const lmn_reader *reader);

#ifdef __cplusplus
}
#endif

#endif

/*
 * What writing and reading checkpoints share: names in a directory, the image of a file that is
 * written, and the reading of arrays.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_CHECKPOINT_INTERNAL_H
#define LAMINA_IO_CHECKPOINT_INTERNAL_H

#include "digest_internal.h"
#include "lamina/checkpoint.h"
#include "lamina/world.h"
#include "state_internal.h"

#include <stdatomic.h>

lmn_status lmn__checkpoint_path(char path_out[LMN_PATH_BYTES], const char *directory, uint64_t step,
                                lmn_error *err) LMN_NODISCARD;

/** Where a checkpoint is written before it gets its name. */
lmn_status lmn__checkpoint_part(char path_out[LMN_PATH_BYTES], const char *directory, uint64_t step,
                                lmn_error *err) LMN_NODISCARD;

/** Remove parts that runs left behind which were killed while they wrote. */
void lmn__checkpoint_remove_parts(const char *directory);

/**
 * Remove the checkpoints of steps up to `step` but the newest `keep` complete ones, the one of
 * `step` always among them; those of later steps are not ours to judge. keep 0 removes none.
 * Goes on after an error; err tells one of them. Errors: LMN_ERR_IO, LMN_ERR_MEMORY.
 */
lmn_status lmn__checkpoint_prune(const char *directory, uint64_t step, size_t keep, lmn_error *err);

/**
 * Rank 0: create `part` with everything but the arrays' data, on a disk that has room for that,
 * too. Local; calls HDF5.
 * places_out  [1 + arrays] the file's length, and where each array begins, bytes
 */
lmn_status lmn__checkpoint_create(const char *part, const lmn_state *state, uint64_t step, int size,
                                  uint64_t *places_out, lmn_error *err) LMN_NODISCARD;

/** Where a part of the file's array data comes from. */
typedef struct lmn__piece {
    uint64_t first, end;       /* bytes of the file */
    const unsigned char *data; /* borrowed; NULL: another rank writes it */
} lmn__piece;

/** The file as one rank sees it: what it writes, and what it knows of the blocks' hashes. */
typedef struct lmn__image {
    const char *path; /* borrowed */
    lmn__blocks blocks;
    size_t n_pieces;
    lmn__piece *pieces;   /* [n_pieces] owned; ascending, with gaps where HDF5's own bytes are */
    uint64_t *hashes;     /* [2][blocks.count] owned: hashes, and which are known (1, else 0) */
    unsigned char *block; /* [blocks.bytes] owned */
} lmn__image;

/**
 * Local. places as above; state's data is borrowed until the image is destroyed or copied.
 * Errors: LMN_ERR_MEMORY; the image is then to be destroyed all the same.
 */
lmn_status lmn__image_create(const char *path, const lmn_state *state, const uint64_t *places,
                             int rank, int size, lmn__image *image_out,
                             lmn_error *err) LMN_NODISCARD;
void lmn__image_destroy(lmn__image *image);

/** Bytes that this rank writes. */
uint64_t lmn__image_bytes(const lmn__image *image);

/** Copy what this rank writes into memory [lmn__image_bytes], and borrow that from now on. */
void lmn__image_copy(lmn__image *image, unsigned char *memory);

/**
 * Write this rank's pieces and flush them to the disk; hashes blocks that no other rank writes to.
 * Local, without MPI and HDF5.
 * cancelled  ends it early when it becomes true; NULL: never
 * Errors: LMN_ERR_IO, LMN_ERR_FORMAT (the file has become shorter).
 */
lmn_status lmn__image_fill(const lmn__image *image, const atomic_bool *cancelled,
                           lmn_error *err) LMN_NODISCARD;

/**
 * Hash this rank's share of the blocks that are not known, by reading them. Local. Errors as above.
 */
lmn_status lmn__image_hash_rest(const lmn__image *image, int rank, int size,
                                const atomic_bool *cancelled, lmn_error *err) LMN_NODISCARD;

/** What becomes of rows of per-rank arrays when they are read. */
typedef enum lmn__row_rule {
    LMN__ROWS_STAY,      /* each rank has the row that it wrote */
    LMN__ROWS_INTERVALS, /* lmn_partition_overlap */
    LMN__ROWS_MEAN       /* the mean of all workers */
} lmn__row_rule;

/** The rows of a file and what becomes of them; plain data. */
typedef struct lmn__rows {
    uint64_t ranks, workers; /* that wrote the file */
    uint64_t rule;           /* lmn__row_rule */
} lmn__rows;

/** Whether an array of the list is read at all. */
bool lmn__array_is_read(hid_t file, const lmn__state_array *array, const lmn__rows *rows);

/**
 * Read what rank `rank` of `size` gets of a per-rank array's rows, which are not its own. Local.
 * Errors: LMN_ERR_IO, LMN_ERR_MEMORY.
 */
lmn_status lmn__checkpoint_read_rows(hid_t dataset, const lmn__state_array *array,
                                     const lmn__rows *rows, int rank, int size,
                                     lmn_error *err) LMN_NODISCARD;

/**
 * Read all arrays of `state` from the file's arrays, which must be there and fit, by collective
 * parallel HDF5.
 * rows  of the file
 * Collective. Errors, the same on all ranks: LMN_ERR_IO; arrays may then be half read.
 */
lmn_status lmn__checkpoint_load(lmn_world *world, const char *path, const lmn_state *state,
                                const lmn__rows *rows, lmn_error *err) LMN_NODISCARD;

/**
 * Select `count` elements from element `first` on in the row-major order of `space`, which has the
 * extent `shape`. Returns false when HDF5 fails.
 */
bool lmn__select_range(hid_t space, const lmn__h5_shape *shape, uint64_t first, uint64_t count);

#endif

/*
 * What writing and reading checkpoints share: names in a directory, and the transfer of arrays.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_IO_CHECKPOINT_INTERNAL_H
#define LAMINA_IO_CHECKPOINT_INTERNAL_H

#include "lamina/checkpoint.h"
#include "lamina/log.h"
#include "lamina/world.h"
#include "state_internal.h"

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
 */
void lmn__checkpoint_prune(const char *directory, uint64_t step, size_t keep,
                           const lmn_logger *log);

typedef enum lmn__direction { LMN__DIRECTION_WRITE, LMN__DIRECTION_READ } lmn__direction;

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
 * Move all arrays of `state` to or from the file's arrays, which must be there and fit, by
 * collective parallel HDF5. Writing, each rank gives its slice of a replicated array; reading, each
 * gets the whole.
 * rows  of the file, when reading; NULL when writing
 * Collective. Errors, the same on all ranks: LMN_ERR_IO; arrays may then be half read.
 */
lmn_status lmn__checkpoint_transfer(lmn_world *world, const char *path, const lmn_state *state,
                                    lmn__direction direction, const lmn__rows *rows,
                                    lmn_error *err) LMN_NODISCARD;

/**
 * Select `count` elements from element `first` on in the row-major order of `space`, which has the
 * extent `shape`. Returns false when HDF5 fails.
 */
bool lmn__select_range(hid_t space, const lmn__h5_shape *shape, uint64_t first, uint64_t count);

#endif

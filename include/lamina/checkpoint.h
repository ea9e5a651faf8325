/*
 * Checkpoints: the whole state of a run in one HDF5 file, complete or absent.
 *
 * The rooms describe what they must remember as a list of named arrays and attributes (lmn_state);
 * writing and reading walk the same list, so they cannot disagree. All ranks write into one file
 * beside the final name; it is flushed, its checksum is put into the HDF5 user block, and only then
 * is it renamed to checkpoint-<step>.h5. A file that was cut short or changed by a single byte is
 * recognised before anything is read from it. File format: docs/formats.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_CHECKPOINT_H
#define LAMINA_CHECKPOINT_H

#include "lamina/status.h"
#include "lamina/world.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lmn_state_kind {
    LMN_STATE_REPLICATED, /* the same on all ranks; each rank writes a slice, all read the whole */
    LMN_STATE_PER_RANK,   /* every rank has its own; stored as [ranks, ...] */
    LMN_STATE_SLICED      /* one vector of which every rank has a run, or nothing */
} lmn_state_kind;

/**
 * What becomes of an array when the ranks that read it are not those that wrote it: another number
 * of them, or another layout (lmn_state_set_layout).
 */
typedef enum lmn_state_elastic {
    LMN_ELASTIC_SAME,    /* a replicated or sliced array is read as ever; one per rank is refused */
    LMN_ELASTIC_MEAN,    /* per rank, f32: rows are cut anew so that their mean stays the same */
    LMN_ELASTIC_FRESH,   /* it is not read: what memory holds is the start */
    LMN_ELASTIC_IF_THERE /* read as ever where the file has it; else what memory holds stays */
} lmn_state_elastic;

typedef enum lmn_state_type { LMN_STATE_F32, LMN_STATE_F64, LMN_STATE_U64 } lmn_state_type;

#define LMN_STATE_DIMS_MAX 6

typedef struct lmn_state lmn_state;

/** An empty list. */
lmn_status lmn_state_create(lmn_state **state_out, lmn_error *err) LMN_NODISCARD;

/** Not the arrays it names. NULL is allowed. */
void lmn_state_destroy(lmn_state *state);

/**
 * Add an array. Order, names, kinds, types and shapes must agree on all ranks.
 * name  path in the file, such as "/parameters/conv1/weight"; copied
 * unit  for people, "1" when there is none; copied
 * data  [product of dims] read when written and overwritten when loaded; borrowed until destroy
 */
lmn_status lmn_state_add_array(lmn_state *state, const char *name, const char *unit,
                               lmn_state_kind kind, lmn_state_type type, size_t n_dims,
                               const size_t *dims, void *data, lmn_error *err) LMN_NODISCARD;

/**
 * Add a vector of `total` elements of which this rank has elements first .. first + count - 1.
 * Together the runs of all ranks must cover it once. Any number of ranks, each with runs of its
 * own, reads it again. total must agree on all ranks; count may be 0.
 */
lmn_status lmn_state_add_slice(lmn_state *state, const char *name, const char *unit,
                               lmn_state_type type, size_t total, size_t first, size_t count,
                               void *data, lmn_error *err) LMN_NODISCARD;

/** What becomes of the array added last when other ranks read it; LMN_ELASTIC_SAME without. */
void lmn_state_set_elastic(lmn_state *state, lmn_state_elastic elastic);

/**
 * Say whose the rows of per-rank arrays are: kept as the attributes `hierarchy` and `workers`.
 * layout   two runs with the same number of ranks and the same text may exchange rows; copied
 * workers  how many rows hold anything; the others are zeros, and hold nothing when read, either
 * Without it the layout is "flat" and every rank a worker. Must agree on all ranks.
 */
lmn_status lmn_state_set_layout(lmn_state *state, const char *layout, uint64_t workers,
                                lmn_error *err) LMN_NODISCARD;

/** Ranks that wrote what was read last into the list; 0 when nothing was read. */
uint64_t lmn_state_ranks_read(const lmn_state *state);

/** Whether rows of per-rank arrays, had there been any, were cut anew when it was read. */
bool lmn_state_was_cut_anew(const lmn_state *state);

/** Add a number kept as an attribute of the file; `value` as data above. */
lmn_status lmn_state_add_u64(lmn_state *state, const char *name, uint64_t *value,
                             lmn_error *err) LMN_NODISCARD;

/**
 * Add a text kept as an attribute of the file (copied). On loading a different text in the file is
 * an error when `must_match`, which names both: how a resumed run learns that its model changed.
 */
lmn_status lmn_state_add_text(lmn_state *state, const char *name, const char *value,
                              bool must_match, lmn_error *err) LMN_NODISCARD;

/**
 * Write directory/checkpoint-<step>.h5 (created with its directory where missing) and then remove
 * all but the newest `keep` complete checkpoints (keep 0: all stay; the one just written always
 * stays), and left-over parts.
 * Collective. Errors, the same on all ranks: LMN_ERR_IO (with how much space was needed when the
 * disk is full); earlier checkpoints are then untouched and no part is left behind.
 */
lmn_status lmn_checkpoint_write(lmn_world *world, const char *directory, uint64_t step,
                                const lmn_state *state, size_t keep, lmn_error *err) LMN_NODISCARD;

/**
 * Checkpoints of one run in one directory, at once or in the background. A writer knows of one
 * checkpoint that is being written, at most.
 *
 * In the background a rank copies what it writes of the file, which is the file's size divided by
 * the ranks where all have equal shares, and a thread of its own writes the copy, without MPI and
 * HDF5. The file is complete after lmn_checkpoint_advance, called on all ranks whenever
 * lmn_checkpoint_is_ready is true on all of them, has brought it to its end; how the ranks learn
 * that of each other is the caller's to say (a number in a reduction that they make anyway). The
 * bytes of the file are the same either way.
 */
typedef struct lmn_checkpoint_writer lmn_checkpoint_writer;

/**
 * Collective. Creates the directory where it is missing; if it is missing later, that is an error.
 * Errors, the same on all ranks: LMN_ERR_IO, LMN_ERR_ARGUMENT (path too long), LMN_ERR_MEMORY.
 */
lmn_status lmn_checkpoint_writer_create(lmn_world *world, const char *directory,
                                        lmn_checkpoint_writer **writer_out,
                                        lmn_error *err) LMN_NODISCARD;

/** A checkpoint that is being written is given up, and its part removed. Local. NULL is allowed. */
void lmn_checkpoint_writer_destroy(lmn_checkpoint_writer *writer);

/**
 * Write directory/checkpoint-<step>.h5 as lmn_checkpoint_write does; first finish the one that is
 * being written. In the background it returns as soon as the file exists, with its space reserved,
 * and the state is copied: it may change then. The copy's memory is allocated the first time, kept,
 * and freed with the writer.
 * Collective; background must agree. Errors as of lmn_checkpoint_write, of either checkpoint, and
 * LMN_ERR_MEMORY for the copy.
 */
lmn_status lmn_checkpoint_begin(lmn_checkpoint_writer *writer, uint64_t step,
                                const lmn_state *state, size_t keep, bool background,
                                lmn_error *err) LMN_NODISCARD;

/** Whether one is being written; the same on all ranks. */
bool lmn_checkpoint_is_open(const lmn_checkpoint_writer *writer);

/** Whether one is, and this rank has nothing to do for it before the next advance. Local. */
bool lmn_checkpoint_is_ready(const lmn_checkpoint_writer *writer);

/**
 * Take the checkpoint one phase on, of which it has three at most; waits for this rank and for the
 * others where they are not ready. Nothing to do is LMN_OK.
 * Collective. Errors, the same on all ranks: LMN_ERR_IO, LMN_ERR_MEMORY; the part is removed then,
 * and earlier checkpoints are untouched.
 */
lmn_status lmn_checkpoint_advance(lmn_checkpoint_writer *writer, lmn_error *err) LMN_NODISCARD;

/** Advance to the end. Collective. Errors as above. */
lmn_status lmn_checkpoint_finish(lmn_checkpoint_writer *writer, lmn_error *err) LMN_NODISCARD;

/**
 * What the last complete checkpoint took from this rank, seconds: all of its time, or in the
 * background that of the calls above and the processor time of the thread. 0 before the first.
 */
double lmn_checkpoint_cost(const lmn_checkpoint_writer *writer);

/**
 * Load the arrays and numbers of `state` from one file, which may hold more: a list with the
 * parameters alone reads the parameters. The number of ranks matters only to per-rank arrays, of
 * which lmn_state_set_elastic says what becomes. Of LMN_ELASTIC_MEAN the rule is that of
 * lmn_partition_overlap where every rank is a worker on both sides: worker j of m gets
 * sum over i of overlap(i, j) / n times row i of n, added in double in the order of i. Else every
 * rank gets the mean of all workers.
 * Collective. Damage and misfits are found before anything is changed; should reading fail after
 * that, the arrays are undefined on all ranks.
 * Errors, the same on all ranks: LMN_ERR_IO, LMN_ERR_FORMAT (truncated, checksum, not a checkpoint,
 * newer version), LMN_ERR_SHAPE (array missing or of another shape, naming it), LMN_ERR_ARGUMENT
 * (written by another number of ranks; a text that must match differs).
 */
lmn_status lmn_checkpoint_read(lmn_world *world, const char *path, lmn_state *state,
                               lmn_error *err) LMN_NODISCARD;

#define LMN_PATH_BYTES 4096

/**
 * The newest complete checkpoint of a directory. Damaged ones are named in the world's log (warn)
 * and passed over.
 * Collective. path_out [LMN_PATH_BYTES] gets "" when there is none (also when the directory is
 * missing); step_out its step.
 */
lmn_status lmn_checkpoint_latest(lmn_world *world, const char *directory, char *path_out,
                                 uint64_t *step_out, lmn_error *err) LMN_NODISCARD;

/** Check one file's checksum without MPI. Errors: LMN_ERR_IO, LMN_ERR_FORMAT naming the file. */
lmn_status lmn_checkpoint_verify(const char *path, lmn_error *err) LMN_NODISCARD;

#define LMN_DAMAGE_MAX 24

/** Which bytes of a checkpoint are not what was written: first[i] .. end[i] - 1, ascending. */
typedef struct lmn_damage {
    size_t count;
    uint64_t first[LMN_DAMAGE_MAX];
    uint64_t end[LMN_DAMAGE_MAX];
} lmn_damage;

/**
 * Narrow down the damage of a file that lmn_checkpoint_verify refuses, to one of 24 parts each.
 * None is named where the seal itself is damaged, or too old to know of parts. Without MPI.
 * Errors: LMN_ERR_IO, LMN_ERR_FORMAT (truncated, or no checkpoint), LMN_ERR_MEMORY.
 */
lmn_status lmn_checkpoint_find_damage(const char *path, lmn_damage *damage_out,
                                      lmn_error *err) LMN_NODISCARD;

/** What lmn_checkpoint_prune did with one file, newest first. */
typedef enum lmn_prune_action {
    LMN_PRUNE_KEEP,   /* complete, and one of the newest */
    LMN_PRUNE_OLD,    /* removed: enough newer ones are complete */
    LMN_PRUNE_DAMAGED /* removed: cut short or damaged */
} lmn_prune_action;

typedef void (*lmn_prune_fn)(void *user, const char *path, lmn_prune_action action);

/**
 * Remove all but the newest `keep` (at least 1) complete checkpoints of a directory, and damaged
 * ones. What counts as complete is read whole. Where none is complete nothing is removed. Files
 * that a run is writing are left alone. Without MPI.
 * dry   say what would be done, and do nothing
 * Errors: LMN_ERR_ARGUMENT (keep 0), LMN_ERR_IO (a file cannot be removed, no complete one).
 */
lmn_status lmn_checkpoint_prune(const char *directory, size_t keep, bool dry, lmn_prune_fn tell,
                                void *user, lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif

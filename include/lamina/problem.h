/*
 * Files of convex problems: a matrix and answers for every worker, and plain samples.
 *
 * An HDF5 problem file has one group for each worker, /rank_0, /rank_1, ..., with the datasets A
 * (rows x columns) and b (rows); rows may differ between workers, columns may not. /x0, where to
 * start, may be there. A LIBSVM file holds samples that belong to nobody yet. Everything is read by
 * each rank for itself. File format: docs/convex.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_PROBLEM_H
#define LAMINA_PROBLEM_H

#include "lamina/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lmn_problem_file lmn_problem_file;

/**
 * Open an HDF5 problem file and check the shapes of all workers. Local.
 * path  borrowed until close
 * Errors: LMN_ERR_IO; LMN_ERR_FORMAT naming the dataset that is missing, empty, no numbers or of
 * another shape; LMN_ERR_MEMORY.
 */
lmn_status lmn_problem_file_open(const char *path, lmn_problem_file **file_out,
                                 lmn_error *err) LMN_NODISCARD;

/** NULL is allowed. */
void lmn_problem_file_close(lmn_problem_file *file);

size_t lmn_problem_file_workers(const lmn_problem_file *file);
size_t lmn_problem_file_columns(const lmn_problem_file *file);
size_t lmn_problem_file_rows(const lmn_problem_file *file, size_t worker);

/** Elements of /x0; 0 when the file has none. */
size_t lmn_problem_file_start_count(const lmn_problem_file *file);

/* Read as f64. Errors: LMN_ERR_FORMAT (damaged; NaN or infinity, and where), LMN_ERR_IO. */

/** matrix [rows x columns] row by row */
lmn_status lmn_problem_file_read_matrix(const lmn_problem_file *file, size_t worker, double *matrix,
                                        lmn_error *err) LMN_NODISCARD;
/** answers [rows] */
lmn_status lmn_problem_file_read_answers(const lmn_problem_file *file, size_t worker,
                                         double *answers, lmn_error *err) LMN_NODISCARD;
/** start [lmn_problem_file_start_count] */
lmn_status lmn_problem_file_read_start(const lmn_problem_file *file, double *start,
                                       lmn_error *err) LMN_NODISCARD;

/** Sparse samples with an answer each: entries starts[i] .. starts[i + 1] - 1 are those of sample
 *  i. */
typedef struct lmn_samples {
    size_t count;
    size_t columns;    /* the largest index of any sample, and one more */
    size_t *starts;    /* [count + 1] owned */
    uint32_t *indices; /* [starts[count]] ascending within a sample; owned */
    double *values;    /* [starts[count]] finite; owned */
    double *answers;   /* [count] finite; owned */
} lmn_samples;

/**
 * All samples of a LIBSVM file, plain or gzip; values are rounded to f32. Local.
 * samples_out  freed with lmn_samples_free
 * Errors: LMN_ERR_IO, LMN_ERR_MEMORY; LMN_ERR_FORMAT naming the line, or that there is no sample or
 * no entry.
 */
lmn_status lmn_samples_read_libsvm(const char *path, lmn_samples *samples_out,
                                   lmn_error *err) LMN_NODISCARD;

/** Zeroed samples are allowed. */
void lmn_samples_free(lmn_samples *samples);

#ifdef __cplusplus
}
#endif

#endif

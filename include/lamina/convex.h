/*
 * Convex problems: least squares and logistic regression, minimised with compressed gradients.
 *
 * f(x) is the mean over V workers of f_i(x) and a regulariser r(x). Each worker has its own data,
 * error state and random numbers; workers are dealt out to ranks in order, and every rank gets
 * every worker's message and adds them in the order of workers. So iterates are bit-identical for
 * any number of ranks from 1 to V. Numbers are f64, or f32 for comparison; mathematics and
 * conventions: docs/convex.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_CONVEX_H
#define LAMINA_CONVEX_H

#include "lamina/spec.h"
#include "lamina/status.h"
#include "lamina/world.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lmn_convex_loss {
    LMN_CONVEX_LEAST_SQUARES, /* f_i = 1/2 |A_i x - b_i|^2 */
    LMN_CONVEX_LOGISTIC       /* f_i = mean of -log p(label); two classes, or more: softmax */
} lmn_convex_loss;

/** Whether f_i adds over the rows of A_i or takes their mean. */
typedef enum lmn_convex_scale {
    LMN_CONVEX_SCALE_AUTO, /* least squares: sum; logistic: mean */
    LMN_CONVEX_SCALE_SUM,
    LMN_CONVEX_SCALE_MEAN
} lmn_convex_scale;

/** How samples of one file, which belong to nobody, are dealt out to workers. */
typedef enum lmn_convex_split {
    LMN_CONVEX_SPLIT_CONTIGUOUS, /* as they follow each other in the file */
    LMN_CONVEX_SPLIT_IID,        /* shuffled */
    LMN_CONVEX_SPLIT_LABEL       /* ordered by answer */
} lmn_convex_split;

typedef struct lmn_convex_problem_options {
    lmn_convex_loss loss;
    const char *data; /* an HDF5 problem file (lamina/problem.h), a LIBSVM file, or synthetic:... */
    lmn_convex_scale scale;
    const char *regularizer; /* "none", "l2:lambda=L" is L/2 |x|^2, "nonconvex:lambda=L" is
                                L sum x^2 / (1 + x^2); NULL: what synthetic data says, or none */
    size_t workers;          /* V; 0: as many as the data has, for LIBSVM files one a rank */
    lmn_convex_split split;
    uint64_t seed; /* of the split */
} lmn_convex_problem_options;

/** LMN_CONVEX_LEAST_SQUARES, contiguous, everything else 0 or NULL. */
lmn_convex_problem_options lmn_convex_problem_options_default(void);

typedef struct lmn_convex_problem lmn_convex_problem;

/** The most workers that there may be. */
#define LMN_CONVEX_WORKERS_MAX 65534

/**
 * Read or make the data of this rank's workers. Collective over world (borrowed); options must
 * agree.
 * Errors, the same on all ranks: LMN_ERR_USAGE (specs; more ranks than workers; another number of
 * workers than the data has), LMN_ERR_FORMAT (files), LMN_ERR_ARGUMENT (labels that are no
 * classes), LMN_ERR_IO, LMN_ERR_MEMORY, LMN_ERR_COMM.
 */
lmn_status lmn_convex_problem_create(lmn_world *world, const lmn_convex_problem_options *options,
                                     lmn_convex_problem **problem_out,
                                     lmn_error *err) LMN_NODISCARD;

/** NULL is allowed. Not collective. */
void lmn_convex_problem_destroy(lmn_convex_problem *problem);

/** What a problem is; plain data. */
typedef struct lmn_convex_info {
    size_t workers;
    size_t dimension; /* of x: features, or classes x features, row-major, with more than two */
    size_t features;
    size_t classes;   /* of logistic problems, 0 of least squares */
    uint64_t samples; /* rows of all workers */
    double sigma; /* E |noise|^2 = sigma^2 is added to every worker's gradient; synthetic data */
    const char *regularizer; /* "none", "l2", "nonconvex" */
    double lambda;           /* of the regulariser */
    lmn_convex_scale scale;  /* never auto */
    bool optimum_is_known;   /* from the making of the data */
} lmn_convex_info;

lmn_convex_info lmn_convex_problem_info(const lmn_convex_problem *problem);

/** Where runs start: /x0 of the file, what synthetic data says, or 0. [dimension] borrowed */
const double *lmn_convex_problem_start(const lmn_convex_problem *problem);

/**
 * f(x) and its gradient, the same bits on all ranks and for any number of them. Collective; x must
 * agree.
 * x, gradient_out  [dimension]; gradient_out may be NULL
 */
lmn_status lmn_convex_evaluate(lmn_convex_problem *problem, const double *x, double *objective_out,
                               double *gradient_out, lmn_error *err) LMN_NODISCARD;

/**
 * The minimiser of f, as it is known from the making of the data, or by Newton's method whose
 * systems are solved by conjugate gradients. Of several (least squares with dependent columns) the
 * one next to the start. Collective.
 * x_out  [dimension]
 * Errors: LMN_ERR_ARGUMENT (the nonconvex regulariser; a logistic problem without l2, which need
 * not have one; no convergence), LMN_ERR_MEMORY, LMN_ERR_COMM.
 */
lmn_status lmn_convex_optimum(lmn_convex_problem *problem, double *x_out,
                              lmn_error *err) LMN_NODISCARD;

/** A point of a run. */
typedef struct lmn_convex_record {
    uint64_t step;
    double objective;
    double grad_norm;
    double bits_per_rank; /* sent so far by a worker, in the mean over workers */
    double distance;      /* |x - x*|^2; NaN without optimum */
    double suboptimality; /* f(x) - f(x*); NaN without optimum */
} lmn_convex_record;

typedef struct lmn_convex_run_options {
    const char *compress; /* compressor spec; the whole of x is one layer */
    const char *feedback; /* feedback spec, "adef" or "ec-ideal" */
    bool is_f32;          /* iterates, gradients and states are f32 instead of f64 */
    double lr;
    uint64_t steps;
    size_t batch;          /* rows, drawn with replacement, of every worker's gradient; 0: all */
    uint64_t seed;         /* of batches, noise and the compressor */
    uint64_t record_every; /* steps between records; the first and the last point always are */
    bool with_optimum;     /* compute x* first */
    bool with_iterates;    /* record x as well */
    const char *out;       /* results file; NULL: none */
    /* Called by rank 0 for each record. NULL: not. */
    void (*on_record)(void *user, const lmn_convex_record *record);
    void *user;
} lmn_convex_run_options;

/** dense, none, f64, lr 0.01, 1000 steps, full gradients, seed 1, every step recorded, no file. */
lmn_convex_run_options lmn_convex_run_options_default(void);

typedef struct lmn_convex_run lmn_convex_run;

/**
 * Take all memory of a run, find the optimum if that is asked for. Collective; options must agree.
 * problem, options' texts  borrowed until destroy
 * Errors, the same on all ranks: LMN_ERR_USAGE (specs; more workers than the compressor can add up
 * over), LMN_ERR_ARGUMENT (a message too large), those of lmn_convex_optimum, LMN_ERR_IO (the file
 * cannot be written), LMN_ERR_MEMORY, LMN_ERR_COMM.
 */
lmn_status lmn_convex_run_create(lmn_convex_problem *problem, const lmn_convex_run_options *options,
                                 lmn_convex_run **run_out, lmn_error *err) LMN_NODISCARD;
void lmn_convex_run_destroy(lmn_convex_run *run);

/** Keep a text with the results, as an attribute of /configuration; before lmn_convex_run_all. */
lmn_status lmn_convex_run_describe(lmn_convex_run *run, const char *name, const char *value,
                                   lmn_error *err) LMN_NODISCARD;

/**
 * Make all steps and write the results. Collective. No heap allocation in a step.
 * Errors, the same on all ranks: LMN_ERR_NONFINITE (the run diverged: the results end before that
 * step, and say so), LMN_ERR_IO, LMN_ERR_COMM, LMN_ERR_MESSAGE.
 */
lmn_status lmn_convex_run_all(lmn_convex_run *run, lmn_error *err) LMN_NODISCARD;

/** Keys of synthetic data, of each problem, for help texts: entry `index`, or NULL past the last.
 */
const lmn_spec_entry *lmn_convex_data_entry(size_t index);

/** Mechanisms that only these runs have, for help texts: entry `index`, or NULL past the last. */
const lmn_spec_entry *lmn_convex_method_entry(size_t index);

/** The present iterate. [dimension] borrowed; the same bits on all ranks */
const double *lmn_convex_run_x(const lmn_convex_run *run);

/** The last record. */
lmn_convex_record lmn_convex_run_last(const lmn_convex_run *run);

#ifdef __cplusplus
}
#endif

#endif

/*
 * The time of a step as a function of the levels of its layers, and the levels that make it
 * shortest.
 *
 * Gradients become ready one after the other while a rank computes. Layers of a bucket leave
 * together, once the last of them is ready and all are encoded; buckets pass the link one after the
 * other. When everything has arrived, messages are decoded and parameters updated. docs/plan.md
 * derives the formulas and says what is left out. Pure functions: no clock, no MPI.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef LAMINA_TIMEPLAN_H
#define LAMINA_TIMEPLAN_H

#include "lamina/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Kinds of messages: layers of a bucket whose messages are of one kind travel together. */
#define LMN_TIME_KINDS 4

/**
 * A step. All times in seconds, counted from the beginning of the step; tables are row-major
 * [n_layers][n_levels]. Layers come in the order in which they pass the link. Level 0 is dense: its
 * error is 0, and it is always allowed.
 */
typedef struct lmn_time_problem {
    size_t n_layers;
    size_t n_levels;       /* at most 256 */
    const size_t *bucket;  /* [n_layers] equal for layers that leave together, never falling */
    const double *ready;   /* [n_layers] when the gradient is there, encoding not counted */
    const double *encode;  /* of a layer at a level */
    const double *decode;  /* the same, after everything has arrived */
    const double *wire;    /* time on the link, without latency */
    const double *error;   /* squared error; INFINITY: the level is not allowed */
    const uint64_t *bytes; /* only to choose between plans of equal time and error */
    const uint8_t *kind;   /* [n_levels] of messages, below LMN_TIME_KINDS */
    double latency[LMN_TIME_KINDS]; /* of a bucket with layers of that kind in it, once */
    double compute;                 /* when the last gradient is there, encoding not counted */
    double update;                  /* after decoding */
    bool has_spare_cores;           /* encoding takes nothing from what computes gradients */
} lmn_time_problem;

/** What a plan takes; plain data. */
typedef struct lmn_time_prediction {
    double seconds; /* the whole step */
    double encode;  /* of these, of all layers */
    double decode;
    double link;  /* when the last message has arrived */
    double error; /* of all layers */
    uint64_t bytes;
} lmn_time_prediction;

/** The time of a plan. levels [n_layers], each below n_levels. */
lmn_time_prediction lmn_time_predict(const lmn_time_problem *problem, const size_t *levels);

/**
 * Bytes of scratch memory that lmn_time_solve needs, SIZE_MAX when too many to say.
 */
size_t lmn_time_scratch_bytes(size_t n_layers, size_t buckets);

/**
 * The levels with the shortest step among those whose errors add up to at most `budget`. Of all
 * plans within 1 % of the shortest, the one with the smallest error is taken, then the one with the
 * fewest bytes: a layer that travels behind the computation stays dense.
 * Dynamic programming over the budget, cut into `buckets` parts to which errors are rounded up, so
 * the budget holds (to the last bit where errors and budget are whole numbers below 2^40); states
 * are Pareto fronts of times, of at most 4 points each, beyond which the most alike are left out;
 * what is better by less than 0.4 % of the step in all is left out. Never slower than all layers
 * dense. scratch     [lmn_time_scratch_bytes] 64-byte aligned, of any content levels_out [n_layers]
 * No heap allocation. Time n_layers * n_levels * buckets. Errors: LMN_ERR_ARGUMENT (times that are
 * no numbers, no levels, a dense level with an error).
 */
lmn_status lmn_time_solve(const lmn_time_problem *problem, double budget, size_t buckets,
                          void *scratch, size_t *levels_out, lmn_error *err) LMN_NODISCARD;

#ifdef __cplusplus
}
#endif

#endif
